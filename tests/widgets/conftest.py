"""How the widgets' JavaScript is run: in Node, and as a page in a real browser, where there is no kernel."""

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="widget.css">
<style>body {{ margin: 8px }}</style></head><body><div id="one"></div><div id="two"></div><script type="module">
  import widget from "./widget.js";
  window.frames_ms = [];
  const plain = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (f) => plain((now) => {{
    const start = performance.now();
    f(now);
    window.frames_ms.push(performance.now() - start);
  }});
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

TO_REST = 300  # ms: several frames, also on a busy machine

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


@pytest.fixture(scope="session")
def parameters() -> Callable[[Any], dict[str, Any]]:
    """What the page knows of a widget: all its own synced traits."""
    from anywidget import AnyWidget

    common = AnyWidget.class_traits()
    return lambda w: {k: v for k, v in w.get_state().items() if k not in common and not k.startswith("_")}


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


@pytest.fixture(scope="module")
def explorer() -> Any:
    """The widget that `opened` shows: a test file with pages says which."""
    raise NotImplementedError


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, explorer: Any, parameters: Any) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("widget")
    (folder / "widget.js").write_text(explorer._esm, encoding="utf-8")
    (folder / "widget.css").write_text(explorer._css, encoding="utf-8")
    page = PAGE.format(state=json.dumps(parameters(explorer)))
    (folder / "index.html").write_text(page, encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(browser: Any, site: str) -> Iterator[Callable[..., Any]]:
    """Opens the page at a size; afterwards, no test may have caused a console error or an outside request."""
    complaints: list[str] = []
    contexts = []

    def open_page(width: int, phone: bool = False) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, has_touch=phone, is_mobile=phone)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith((site[:-10], "data:")) else complaints.append(r.url))
        page.goto(site)
        page.wait_for_function("window.frames_ms.length >= 2")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def picture() -> Callable[..., str]:
    """The pixels of the first canvas of a widget, once it is at rest."""

    def of(page: Any, which: str = "one") -> str:
        page.wait_for_timeout(TO_REST)
        page.wait_for_selector(f"#{which} .mw:not(.quick)")  # drawn well, not only quickly
        return page.evaluate(f"document.querySelector('#{which} canvas').toDataURL()")

    return of


@pytest.fixture(scope="session")
def fits() -> Callable[[Any, int], list[float]]:
    """Asserts that the first widget and its text are no wider than the page; gives the heights of its controls."""

    def check(page: Any, width: int) -> list[float]:
        page.wait_for_timeout(TO_REST)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(TOO_LARGE_FOR_ITS_BOX) == [0, 0]
        assert page.evaluate(STICKING_OUT) == []
        heights = "all => all.map((e) => e.getBoundingClientRect().height)"
        return page.eval_on_selector_all("#one :is(input, button, summary)", heights)

    return check
