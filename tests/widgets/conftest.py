"""How the widgets' JavaScript is run: in Node, and as a page in a real browser, where there is no kernel."""

import json
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobius_lib import widgets
from mobius_lib.runs.gauge import squeezed
from mobius_lib.runs.simplex import network as david
from mobius_lib.runs.twistor import reader
from mobius_lib.runs.waves import network
from mobius_lib.widgets.pack import Packed

PAGE = """<!doctype html><html lang="en"{book}><head><meta charset="utf-8"><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="widget.css">
<style>body {{ margin: 8px }}</style></head><body><div id="one"></div><div id="two"></div><script type="module">
  window.frames_ms = [];
  const plain = window.requestAnimationFrame.bind(window), cancel = window.cancelAnimationFrame.bind(window);
  const awaited = new Set();
  window.requestAnimationFrame = (f) => {{
    const id = plain((now) => {{
      awaited.delete(id);
      const start = performance.now();
      f(now);
      window.frames_ms.push(performance.now() - start);
    }});
    awaited.add(id);
    return id;
  }};
  window.cancelAnimationFrame = (id) => {{
    awaited.delete(id);
    cancel(id);
  }};
  window.rested = (still, most) => new Promise((done) => {{
    let frames = 0;
    const end = performance.now() + most, look = () => {{
      frames = awaited.size || document.querySelector(".mw.quick") ? 0 : frames + 1;
      if (frames === still || performance.now() > end) done();
      else plain(look);
    }};
    plain(look);
  }});
  const code = new Blob([{code}], {{ type: "text/javascript" }}); // as anywidget does; also from a disk
  const {{ default: widget }} = await import(URL.createObjectURL(code));
  // As anywidget's model where there is no kernel; saving fails loudly, to see that the widget bears it.
  const model = () => {{
    const state = {state}, listeners = {{}};
    return {{
      listeners,
      get: (k) => state[k],
      set: (k, v) => {{ state[k] = v; (listeners["change:" + k] ?? []).forEach((f) => f()); }},
      on: (e, f) => (listeners[e] ??= []).push(f),
      off: (e, f) => {{ listeners[e] = listeners[e].filter((g) => g !== f); }},
      save_changes: () => {{ throw new Error("no kernel"); }},
    }};
  }};
  window.one = model();
  window.two = model();
  window.close_one = widget.render({{ model: one, el: document.getElementById("one") }});
  widget.render({{ model: two, el: document.getElementById("two") }});
</script></body></html>"""
"""Two of one widget."""

TOO_LARGE_FOR_ITS_BOX = """() => {  // as JupyterLab lays out an output; a pixel too much is a scroll bar
    const box = document.querySelector("#one");
    box.style = "position: relative; overflow: auto";
    const more = [box.scrollWidth - box.clientWidth, box.scrollHeight - box.clientHeight];
    box.style = "";
    return more;
}"""

STICKING_OUT = """() => {
    const edge = document.querySelector("#one .mw-card").getBoundingClientRect().right;
    return [...document.querySelectorAll("#one .mw-card *")].filter((e) => {
        const range = document.createRange();
        range.selectNodeContents(e);
        return Math.max(e.getBoundingClientRect().right, range.getBoundingClientRect().right) > edge;
    }).map((e) => e.outerHTML);
}"""


class Page:
    """A page with two of one widget: Playwright's, and what the tests do with it again and again."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def __getattr__(self, name: str) -> Any:
        return getattr(self._page, name)

    def rest(self) -> None:
        """Wait until everything is drawn: no frame is awaited for six; what plays for ever is given three seconds."""
        if self.workers:  # nothing tells when they have answered
            self.wait_for_timeout(300)
        self.evaluate("rested(6, 3000)")

    def hear(self, words: str) -> None:
        """Wait until screen readers are told these words of the first widget: half a second after its last change."""
        self.wait_for_selector(f"#one .mw-live:has-text('{words}')", state="attached")

    def get(self, trait: str) -> Any:
        """A trait of the first widget."""
        return self.evaluate(f"one.get('{trait}')")

    def picture(self, which: str = "one", canvas: int = 0) -> str:
        """The pixels of a canvas of a widget, once it is at rest."""
        self.rest()
        self.wait_for_selector(f"#{which} .mw:not(.quick)")  # drawn well, not only quickly
        return self.evaluate(f"document.querySelectorAll('#{which} canvas')[{canvas}].toDataURL()")

    def middle(self, selector: str) -> tuple[float, float]:
        box = self.locator(selector).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, x: float, y: float, dx: float, dy: float, wait: int = 0) -> None:
        """With the mouse, in 25 steps with a wait of so many ms between them; and back again, when it is let go."""
        self.mouse.move(x, y)
        self.mouse.down()
        for step in range(1, 26):
            self.mouse.move(x + dx * step / 25, y + dy * step / 25)
            self.wait_for_timeout(wait)
        self.mouse.up()
        self.mouse.move(x, y, steps=3)

    def drag_by_finger(self, x: float, y: float, dx: float, dy: float) -> None:
        """Real touches, through DevTools."""
        touch = partial(self.context.new_cdp_session(self._page).send, "Input.dispatchTouchEvent")
        touch({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 11):
            touch({"type": "touchMove", "touchPoints": [{"x": x + dx * step / 10, "y": y + dy * step / 10}]})
        touch({"type": "touchEnd", "touchPoints": []})
        self.rest()

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Asserts that what is done inside redraws the first widget, more than a few times, and not the second."""
        before, other, drawn = self.picture(), self.picture("two"), self.evaluate("frames_ms.length")
        yield
        redraws = self.evaluate("frames_ms")[drawn:]
        assert self.picture() != before and self.picture("two") == other
        assert len(redraws) >= 5
        print(f"\nredraw: median {statistics.median(redraws):.1f} ms, longest {max(redraws):.1f} ms of {len(redraws)}")

    def fits(self, width: int) -> list[float]:
        """Asserts that the first widget and its text are no wider than the page; gives the heights of its controls."""
        self.rest()
        assert self.evaluate("document.documentElement.scrollWidth") == width
        assert self.evaluate(TOO_LARGE_FOR_ITS_BOX) == [0, 0]
        assert self.evaluate(STICKING_OUT) == []
        heights = "all => all.map((e) => e.getBoundingClientRect().height)"
        return self.eval_on_selector_all("#one :is(input, button, summary)", heights)


@pytest.fixture(scope="session")
def parameters() -> Callable[[Any], dict[str, Any]]:
    """What the page knows of a widget: all its own synced traits."""
    from anywidget import AnyWidget

    common = AnyWidget.class_traits()
    return lambda w: {
        k: v for k, v in w.get_state().items()
        if k == "_anywidget_id" or (k not in common and not k.startswith("_"))
    }  # fmt: skip


@pytest.fixture
def in_node(tmp_path: Path, lacking: Callable[[str], None]) -> Callable[[type, str, list[Any]], list[Any]]:
    """Runs `script`, a function body from one case `c` to its answer, with a widget's served module as `w`."""

    def run(widget: type, script: str, cases: list[Any]) -> list[Any]:
        (tmp_path / "widget.mjs").write_text(widget._esm, encoding="utf-8")
        (tmp_path / "cases.json").write_text(json.dumps(cases))
        driver = f"""
            import * as w from {json.dumps((tmp_path / "widget.mjs").as_uri())};
            import {{ readFileSync }} from "node:fs";
            const cases = JSON.parse(readFileSync({json.dumps(str(tmp_path / "cases.json"))}));
            console.log(JSON.stringify(cases.map((c) => {{ {script} }})));
        """
        node = shutil.which("node") or lacking("no node: install Node.js 18 or later to check the widgets' JavaScript")
        done = subprocess.run(
            [node, "--input-type=module"], input=driver, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def of_the_book(widget: type, explorer: Callable[..., Any]) -> type:
    """Made as the others are, without a network of one's own."""
    return type(widget.__name__, (widget,), {"__new__": lambda cls, **traits: explorer(**traits)})


NETWORKS = {
    "waves_network": of_the_book(widgets.WavesNetwork, network.explorer),
    "simplex_network": of_the_book(widgets.SimplexNetwork, david.explorer),
    "gauge_network": of_the_book(widgets.GaugeNetwork, squeezed.explorer),
    "twistor_reader": of_the_book(widgets.TwistorReader, reader.explorer),
}
PATIENCE = 300_000  # ms: a quiet machine counts 500 pictures in seconds, a busy one in minutes


@pytest.fixture(scope="session")
def explorers() -> dict[str, type]:
    """The class of each widget, by its file; of one that is made for a network, with the book's."""
    classes = (getattr(widgets, name) for name in widgets.__all__)
    return {each.__module__.rpartition(".")[2]: each for each in classes} | NETWORKS


@pytest.fixture
def chapter(request: pytest.FixtureRequest) -> str:
    """Whose widget `opened` shows: that of the test's file, where the test does not say."""
    return request.path.stem.removeprefix("test_")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, explorers: dict[str, type], parameters: Any) -> Path:
    """A folder for each chapter, with its widget's page: index.html, and book.html, which says it is the book's."""
    root = tmp_path_factory.mktemp("widgets")
    for name, widget in explorers.items():
        folder = root / name
        folder.mkdir()
        (folder / "widget.css").write_text(widget._css, encoding="utf-8")
        made = widget()
        state = json.dumps(parameters(made), sort_keys=True)  # as the book has it
        code = json.dumps(widget._esm).replace("</", "<\\/")
        for file, book in (("index", ""), ("book", ' data-content_root="./"')):
            page = PAGE.format(state=state, code=code, book=book)
            (folder / f"{file}.html").write_text(page, encoding="utf-8")
        if isinstance(made, Packed):
            (folder / "_static").mkdir()
            (folder / "_static" / f"{made.pack}.js").write_text(made.page_script(made.pack), encoding="utf-8")

    return root


@pytest.fixture(scope="session")
def site(folder: Path, served: Any) -> str:
    """The address of the folder."""
    return served(folder)


@pytest.fixture
def opened(browser: Any, site: str, folder: Path, chapter: str) -> Iterator[Callable[..., Page]]:
    """Opens the page at a size; afterwards, no test may have caused a console error or an outside request."""
    complaints: list[str] = []
    contexts = []

    def open_page(width: int = 1000, phone: bool = False, address: str = "index.html", root: str = site) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, has_touch=phone, is_mobile=phone)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on(
            "request",
            lambda r: None if r.url.startswith((site, folder.as_uri(), "data:", "blob:")) else complaints.append(r.url),
        )
        page.goto(f"{root}/{chapter}/{address}")
        page.wait_for_function("window.frames_ms.length >= 2")
        return Page(page)

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def asked(opened: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the page as the book has it, and asks for the network; it and its pictures or its text are then there."""

    def ask(width: int = 1000, phone: bool = False, offline: bool = False, **where: str) -> Page:
        page = opened(width, phone, **where)
        page.context.set_offline(offline)
        page.set_default_timeout(PATIENCE)
        page.evaluate("document.documentElement.dataset.content_root = './'")
        page.click("#one button:has-text('Load')")
        page.wait_for_selector("#one :is(.mw-thumbs button, textarea)")
        return page

    return ask
