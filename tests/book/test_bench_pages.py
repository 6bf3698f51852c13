"""What `make bench-pages` measures, on a page whose figures are known."""

import gzip
import json
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from mobius_lib.bench.base import Recorder, recorded
from tools import bench_pages
from tools.bench_pages import Visit, line, middle, visit
from tools.house import BuildError, pages

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
def site(tmp_path: Path, served: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bench_pages, "STEPS", 15)  # of a drag that takes a second: 30 frames are enough to tell
    monkeypatch.setattr(bench_pages, "REST_MS", 700)  # longer than what these pages do by themselves
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
    assert found.layout_shift > 0.05 and found.phone_shift > 0.05  # most of what is seen, by 180 px
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


def test_every_widget_has_its_figure(browser: Any, site: str, tmp_path: Path):
    """In the order of the page; the worst is told of the page."""
    area = PAGE[PAGE.index('<div class="widget-subarea">') : PAGE.index("</div></div><canvas")]
    plain = '<div class="widget-subarea">No handle.</div>'
    text = PAGE.replace(area, f"{area}</div>{plain}<div class='widget-subarea'><input type='range'>")
    (tmp_path / "three.html").write_text(text, "utf-8")
    found = visit(browser, f"{site}/three.html")
    busy, none, free = found.frames_ms
    assert busy == found.frame_ms >= LEAST and none is None and free > 0


NETWORK = f"""<!doctype html><link rel="icon" href="data:,"><p>Text.</p><div class="cell_output">
<div class="widget-subarea"><button class="mw-load">Load</button><progress></progress><p class="mw-read"></p>
<div class="mw-thumbs"><button>0</button><button>1</button><button>1</button><button>2</button></div>
</div></div><script>
const after = (ms, what) => setTimeout(what, ms), at = (query) => document.querySelector(query);
at(".mw-load").onclick = () => after({DRAWN_AFTER}, () => {{
    at(".mw-load").remove();
    after({DRAWN_AFTER}, () => at("progress").classList.add("done"));
}});
for (const each of document.querySelectorAll(".mw-thumbs button"))
    each.onclick = () => after({BUSY}, () => {{ at(".mw-read").textContent = `It sees ${{each.textContent}}`; }});
</script>"""


def test_the_network_of_a_page_is_loaded_and_asked(browser: Any, site: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(bench_pages, "WIDGETS", ".none")  # nothing is drawn here
    (tmp_path / "network.html").write_text(NETWORK, "utf-8")
    found = visit(browser, f"{site}/network.html")
    assert found.network_loaded_ms >= DRAWN_AFTER and found.network_counted_ms >= 2 * DRAWN_AFTER
    assert found.network_answer_ms >= BUSY - 1


def test_a_page_without_a_widget(browser: Any, site: str):
    found = visit(browser, f"{site}/plain.html", slower=4)
    assert (found.widget_drawn_ms, found.frame_ms, found.layout_shift, found.phone_shift) == (None, None, 0, 0)
    assert found.frames_ms == () and found.network_loaded_ms is None


def test_fonts_of_the_mathematics_weigh_nothing(browser: Any, site: str, tmp_path: Path):
    style = "<style>@font-face {{ font-family: x; src: url({}) }} p {{ font-family: x }}</style><p>Text.</p>"
    for name, source in (("mathematics", "mathjax/a.woff2"), ("other", "a.woff2")):
        (tmp_path / f"{name}.html").write_text("<!doctype html><link rel='icon' href='data:,'>" + style.format(source))
    (tmp_path / "a.woff2").write_bytes((tmp_path / "mathjax/a.woff2").read_bytes())
    weights = [visit(browser, f"{site}/{name}.html").weight_kb for name in ("mathematics", "other")]
    assert weights[0] < 1 and weights[1] > 50


def test_a_row_of_the_table_tells_what_is_above_its_aim():
    slow, quick = Visit(2500.0, None, 900.0, 0.2, 0.3, 33.0), Visit(1500.0, None, 900.0, 0.0, 0.01, 35.0)
    figures = middle([slow, quick, quick])
    network = dict.fromkeys(("network_loaded_ms", "network_counted_ms", "network_answer_ms"))
    shifts = {"layout_shift": 0, "phone_shift": 0.01}
    plain = {"first_paint_ms": 1500, "widget_drawn_ms": None, "weight_kb": 900, "frame_ms": 35}
    assert figures == plain | shifts | network
    none = ["-"] * 3
    best = ["1_waves", "4x", "1,500", "-", "900", "0.000", "0.010", "35.0*", *none]
    assert line("1_waves", 4, figures).split() == best
    worst = ["1_waves", "1x", "2,500", "-", "900", "0.200*", "0.300*", "33.0*", *none]
    assert line("1_waves", 1, middle([slow])).split() == worst


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


class Whole:
    """A book of one page, as `measure` sees it."""

    def __init__(self, html: Path) -> None:
        self.html = html

    def is_current(self) -> bool:
        return True


def _same_form(record: dict[str, Any]) -> None:
    head = Recorder("pages", torch.device("cpu"), "cpu", False, {}).finish({}, None)
    assert {*head} - {"instructions"} <= {*record} and record["bench"] == head["bench"] and record["what"] == "pages"
    assert record["configuration"]["device"] == "cpu" and record["configuration"]["runs"] >= 1
    assert {"browser", "aims", "load_average"} <= {*record}
    for visits in record["pages"].values():
        assert [*visits] == ["1", "4"]
        for rows in visits.values():
            assert len(rows) == record["configuration"]["runs"]
            assert all({*row} == {each.name for each in fields(Visit)} for row in rows)


def test_the_record_has_the_form_of_the_others(
    browser: Any, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "book").mkdir()
    shutil.copy(tmp_path / "plain.html", tmp_path / "book" / "plain.html")
    monkeypatch.setattr(bench_pages, "Book", lambda: Whole(tmp_path))
    monkeypatch.setattr(bench_pages, "pages", lambda: [Path("book/plain.md"), Path("book/api_left_out.md")])
    monkeypatch.setattr(bench_pages, "REST_MS", 10)
    monkeypatch.setattr(bench_pages.browser, "opened", lambda: nullcontext(browser))  # one at a time in a process
    monkeypatch.setattr(bench_pages.sys, "argv", ["bench_pages.py", "--runs", "2"])
    bench_pages.measure([], 2, tmp_path / "pages.json")
    record = json.loads((tmp_path / "pages.json").read_text("utf-8"))
    _same_form(record)
    assert [*record["pages"]] == ["plain"] and record["configuration"]["runs"] == 2
    assert record["command"] == 'make bench-pages ARGS="--runs 2"'


def test_the_record_of_this_book():
    for record in recorded("pages").values():
        _same_form(record)
        assert {*record["pages"]} <= {page.stem for page in pages()}


def test_a_record_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bench_pages, "Book", lambda: Whole(tmp_path))
    monkeypatch.setattr(bench_pages.browser, "chromium", lambda: "chromium")
    with pytest.raises(BuildError, match=r"cannot be written \(it is a folder\)"):
        bench_pages.measure([], 1, tmp_path)
