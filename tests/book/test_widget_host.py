"""What runs the widgets of a page where there is no kernel, in a real browser: as ipywidgets leave them there."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import pytest
from traitlets import Bytes, Dict, Int, List, Unicode

from mobius_lib.widgets import CantorExplorer
from tools.house import ROOT

VIEW = '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "%s", "version_major": 2}</script>'
PAGE = """<!doctype html><html lang="en" data-content_root="./"><head><meta charset="utf-8">
<link rel="icon" href="data:,"><link rel="stylesheet" href="book.css"><script>window.told = [];</script>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script defer src="widget-host.js"></script></head><body>{body}</body></html>"""
FAR = '<div style="height: 5000px">Text.</div>'

PROBE = """export default {
  initialize({ model }) { told.push(`initialize ${model.get("name")}`); },
  render({ model, el }) {
    const { get, set } = model; // without their owner, as they may be used
    told.push(`render ${get("name")}`);
    const raw = new Uint8Array(get("raw").buffer).join(), plain = [get("count"), get("numbers"), raw];
    plain.push(get("inside").deep[1].getInt8(0));
    const said = (text) => el.append(Object.assign(document.createElement("p"), { textContent: text }));
    said(JSON.stringify(plain));
    const heard = (_, value) => said(`count is ${value}`), any = () => said("changed");
    model.on("change:count", heard);
    model.on("change", any);
    el.onclick = () => { set("count", get("count") + 1); model.save_changes(); model.send({}); };
    el.ondblclick = () => { model.off("change:count", heard); model.off("change", any); };
    el.onkeydown = () => set("numbers", [...get("numbers")]); // the same values are no change
  },
};"""


class Probe(anywidget.AnyWidget):
    """Says what it was given."""

    _esm = PROBE
    _css = ".widget-subarea p { color: rgb(1, 2, 3) }"
    name = Unicode("one").tag(sync=True)
    count = Int(3).tag(sync=True)
    numbers = List([1.5, -2]).tag(sync=True)
    raw = Bytes(b"\x00\xff\x10").tag(sync=True)
    inside = Dict({"deep": [0, b"\xfe"]}).tag(sync=True)


class Broken(anywidget.AnyWidget):
    _esm = "export default { render() { nothing_of_that_name(); } };"


class Unreadable(anywidget.AnyWidget):
    _esm = "export default {"


@pytest.fixture
def shown(browser: Any, tmp_path: Path, served: Callable[[Path], str]) -> Iterator[Callable[..., Any]]:
    """Opens a page with widgets, or text between them; it has asked for nothing but its own files when it closes."""
    pages, asked = [], []

    def show(*parts: Any, way: str = "served", query: str = "", errors: int = 0) -> Any:
        widgets = [each for each in parts if not isinstance(each, str)]
        state = ipywidgets.Widget.get_manager_state(widgets=widgets)
        for name in ("widget-host.js", "book.css"):
            shutil.copy(ROOT / "book/style" / name, tmp_path / name)
        body = "".join(each if isinstance(each, str) else f"<div>{VIEW % each.model_id}</div>" for each in parts)
        text = PAGE.format(state=json.dumps(state).replace("</", "<\\/"), body=body)
        (tmp_path / "page.html").write_text(text, "utf-8")
        root = served(tmp_path) if way == "served" else tmp_path.as_uri()
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.complaints = []
        page.on("request", lambda r: None if r.url.startswith((f"{root}/", "data:", "blob:")) else asked.append(r.url))
        page.on("console", lambda note: note.type == "error" and page.complaints.append(note.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        pages.append((page, errors))
        page.goto(f"{root}/page.html{query}")
        return page

    yield show
    for page, errors in pages:
        assert len(page.complaints) == errors, page.complaints
        page.close()
    assert not asked, "requests to others"


def _drawn(page: Any, count: int) -> Any:
    """Waits for so many widgets; gives their places."""
    page.wait_for_function(f"document.querySelectorAll('.widget-subarea.shown').length >= {count}")
    return page.locator(".widget-subarea")


@pytest.mark.parametrize("way", ["served", "file"])
def test_values_come_back_and_changes_are_heard(shown: Any, way: str):
    """Numbers, lists, and what is binary, wherever it is; on a server and from a disk."""
    page = shown(Probe(), way=way)
    area = _drawn(page, 1)
    assert page.evaluate("told") == ["initialize one", "render one"]
    said = area.locator("p")
    assert json.loads(said.first.inner_text()) == [3, [1.5, -2], "0,255,16", -2]
    assert said.first.evaluate("p => getComputedStyle(p).color") == "rgb(1, 2, 3)"
    area.locator("div").evaluate("e => e.onclick()")
    assert said.all_inner_texts()[1:] == ["count is 4", "changed"]
    area.locator("div").evaluate("e => { e.onkeydown(); e.ondblclick(); e.onclick(); }")
    assert said.count() == 3, "the same values are no change, and nobody listens any more"


def test_two_views_of_one_widget_move_together(shown: Any):
    one, other = Probe(), Probe(name="other", count=7)
    page = shown(one, one, other)
    area = _drawn(page, 3)
    assert page.evaluate("told") == ["initialize one", "render one", "render one", "initialize other", "render other"]
    area.nth(0).locator("div").evaluate("e => e.onclick()")
    assert "count is 4" in area.nth(1).inner_text()
    assert "count is" not in area.nth(2).inner_text() and area.nth(2).inner_text().startswith("[7,")
    assert page.locator("head style").count() == 1, "a style sheet stands once in a page"


def test_a_module_may_be_made_by_a_function(shown: Any):
    made = Probe()
    made._esm = "export default async () => ({ render({ el }) { el.textContent = 'made'; } });"
    assert _drawn(shown(made), 1).inner_text() == "made"


BUSY = "<script>window.requestIdleCallback = (f) => { window.idle = f; };</script>"


def test_what_is_far_below_waits_until_it_comes_near_or_there_is_time(shown: Any):
    """In the order of the page, however the reader gets there; room is kept for it meanwhile."""
    page = shown(BUSY, Probe(name="a"), FAR, Probe(name="b"), FAR, Probe(name="c"), FAR)
    area = _drawn(page, 1)
    page.wait_for_function("!!window.idle")
    assert page.evaluate("told") == ["initialize a", "render a"]
    assert area.nth(1).bounding_box()["height"] > 400
    page.evaluate("idle()")
    _drawn(page, 2)
    assert page.evaluate("told").count("render b") == 1
    page = shown(BUSY, Probe(name="a"), FAR, Probe(name="b"), FAR, Probe(name="c"), FAR)
    page.evaluate("document.querySelectorAll('.widget-subarea')[2].scrollIntoView()")
    _drawn(page, 3)
    assert [each for each in page.evaluate("told") if "render" in each] == ["render a", "render b", "render c"]


def test_what_is_folded_is_drawn_when_it_is_opened(shown: Any):
    page = shown(BUSY, "<details><summary>More</summary>", Probe(name="folded"), "</details>")
    page.wait_for_function("!!window.idle")
    assert page.evaluate("told") == []
    page.click("summary")
    _drawn(page, 1)
    assert page.evaluate("told") == ["initialize folded", "render folded"]


@pytest.mark.parametrize("below", [False, True])
def test_the_mathematics_waits_for_what_is_seen_alone(shown: Any, below: bool):
    """Not for a widget that is far below, or for none."""
    page = shown(BUSY, *([FAR, Probe()] if below else []))
    assert page.evaluate("widgetsDrawn.then(() => told)") == []


def test_an_address_with_values_draws_all(shown: Any):
    page = shown(BUSY, CantorExplorer(), FAR, CantorExplorer(), query="?cantor-2.alpha=0.75")
    area = _drawn(page, 2)
    alpha = [area.nth(i).locator("input[data-trait=alpha]") for i in (0, 1)]
    page.wait_for_function("[...document.querySelectorAll('input[data-trait=alpha]')].at(-1).value === '0.75'")
    assert alpha[0].input_value() != "0.75"


def test_a_broken_widget_says_so_and_the_others_live(shown: Any):
    parts = [Broken(), Probe(), Unreadable(), ipywidgets.IntSlider(), CantorExplorer()]
    page = shown(*parts, VIEW % "gone", errors=4)
    area = _drawn(page, 6)
    told = area.all_inner_texts()
    cure = "; its cell shows it in JupyterLab and in Colab."
    assert told[0] == f"This widget cannot be shown here (nothing_of_that_name is not defined){cure}"
    assert told[1].startswith("[3,")
    assert told[2].startswith("This widget cannot be shown here (") and told[2].endswith(cure)
    assert told[3] == f"This widget cannot be shown here (it is one of @jupyter-widgets/controls){cure}"
    assert area.nth(4).locator("canvas").count() >= 1
    assert told[5] == f"This widget cannot be shown here (its state is not in the page){cure}"


SHIFT = """new PerformanceObserver((list) => {
    for (const each of list.getEntries()) window.shift = (window.shift ?? 0) + each.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.parametrize("width", [1280, 390])
def test_text_below_a_widget_does_not_move(shown: Any, browser: Any, width: int, tmp_path: Path):
    """As on the first screen of a chapter."""
    above = "<p>Text.</p>" * 3 + '<div style="height: 300px"></div>'
    shown(above, CantorExplorer(), "<p>Text below.</p>")  # writes the page
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.add_init_script(SHIFT)
    page.goto((tmp_path / "page.html").as_uri())
    _drawn(page, 1)
    page.wait_for_timeout(500)
    assert page.evaluate("window.shift ?? 0") < 0.05
    page.close()
