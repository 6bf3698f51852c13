"""What `make bench-pages` measures, on a page whose figures are known."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import bench_pages
from tools.bench_pages import Visit, line, middle, visit
from tools.house import BuildError

DRAWN_AFTER, BUSY = 400, 60  # ms
LEAST = BUSY - 1000 / 60  # a frame is timed at the refresh with which it begins, and that may be one earlier

PAGE = f"""<!doctype html><html lang="en"><head><link rel="icon" href="data:,"><script src="noise.js"></script></head>
<body style="margin: 0"><p id="first">Text.</p><div style="height: 450px">More text.</div>
<div class="cell_output"><div class="widget-subarea">
<canvas width="100" height="50"></canvas><input type="range" min="0" max="100" value="0" style="width: 400px">
</div></div><canvas id="other"></canvas><script>
document.querySelector("#other").getContext("2d").fillRect(0, 0, 9, 9);  // of no widget
const canvas = document.querySelector(".widget-subarea canvas").getContext("2d");
setTimeout(() => canvas.fillRect(0, 0, 9, 9), {DRAWN_AFTER});
setTimeout(() => {{ document.querySelector("#first").style.marginTop = "180px"; }}, 100);
document.querySelector("input").oninput = () => {{
    const end = performance.now() + {BUSY};
    while (performance.now() < end);
}};
</script></body></html>"""


@pytest.fixture
def site(tmp_path: Path, served: Callable[[Path], str]) -> str:
    (tmp_path / "page.html").write_text(PAGE, "utf-8")
    (tmp_path / "plain.html").write_text("<!doctype html><link rel='icon' href='data:,'><p>Text.</p>", "utf-8")
    (tmp_path / "noise.js").write_text(f"// {random.Random(0).randbytes(20_000).hex()}", "utf-8")
    (tmp_path / "mathjax").mkdir()
    (tmp_path / "mathjax/a.woff2").write_bytes(random.Random(1).randbytes(50_000))
    return served(tmp_path)


def test_a_page_whose_figures_are_known(browser: Any, site: str, tmp_path: Path):
    """Bounds from below alone: a busy machine is slower, and no faster."""
    found = visit(browser, f"{site}/page.html")
    assert found.widget_drawn_ms >= DRAWN_AFTER and found.first_paint_ms > 0
    assert found.frame_ms >= LEAST
    assert found.layout_shift > 0.05  # most of what is seen, by 180 px
    files = [(tmp_path / name).read_bytes() for name in ("page.html", "noise.js")]
    assert found.weight_kb == pytest.approx(sum(len(gzip.compress(each, 6)) for each in files) / 1000)


def test_a_widget_without_a_slider_is_dragged_by_its_picture(browser: Any, site: str, tmp_path: Path):
    slow = PAGE.replace('<input type="range"', '<input type="text"').replace("oninput", "x").replace(
        "</script></body>",
        f"""document.querySelector(".widget-subarea canvas").onpointermove = () => {{
            const end = performance.now() + {BUSY};
            while (performance.now() < end);
        }};</script></body>""",
    )  # fmt: skip
    (tmp_path / "picture.html").write_text(slow, "utf-8")
    assert visit(browser, f"{site}/picture.html").frame_ms >= LEAST


def test_a_page_without_a_widget(browser: Any, site: str):
    found = visit(browser, f"{site}/plain.html", slower=4)
    assert (found.widget_drawn_ms, found.frame_ms, found.layout_shift) == (None, None, 0)


def test_fonts_of_the_mathematics_weigh_nothing(browser: Any, site: str, tmp_path: Path):
    style = "<style>@font-face {{ font-family: x; src: url({}) }} p {{ font-family: x }}</style><p>Text.</p>"
    for name, source in (("mathematics", "mathjax/a.woff2"), ("other", "a.woff2")):
        (tmp_path / f"{name}.html").write_text("<!doctype html><link rel='icon' href='data:,'>" + style.format(source))
    (tmp_path / "a.woff2").write_bytes((tmp_path / "mathjax/a.woff2").read_bytes())
    weights = [visit(browser, f"{site}/{name}.html").weight_kb for name in ("mathematics", "other")]
    assert weights[0] < 1 and weights[1] > 50


def test_a_row_of_the_table_tells_what_is_above_its_aim():
    slow, quick = Visit(2500.0, None, 900.0, 0.2, 33.0), Visit(1500.0, None, 900.0, 0.0, 35.0)
    figures = middle([slow, quick, quick])
    assert figures == {
        "first_paint_ms": 1500, "widget_drawn_ms": None, "weight_kb": 900, "layout_shift": 0, "frame_ms": 35
    }  # fmt: skip
    assert line("1_waves", 4, figures).split() == ["1_waves", "4x", "1,500", "-", "900", "0.000", "35.0*"]
    assert line("1_waves", 1, middle([slow])).split() == ["1_waves", "1x", "2,500", "-", "900", "0.200*", "33.0*"]


@pytest.mark.parametrize(
    ("names", "runs", "said"),
    [(["9_none"], 1, "The book has no page '9_none'; it has intro, "), ([], 0, "--runs is 0; open each page")],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(names: list[str], runs: int, said: str):
    with pytest.raises(BuildError, match=said):
        bench_pages.measure(names, runs, None)


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_pages.browser, "chromium", lambda: None)
    with pytest.raises(BuildError, match=r"There is no Chromium .*apt install chromium"):
        bench_pages.measure([], 1, None)
