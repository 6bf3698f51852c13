"""`make bench-pages`: how long the built pages take to show text and widgets, what they weigh, and how they drag.

Each page is opened by the tests' browser, in a fresh context each time, with the processor as it is and slowed down
four times, and once more as a phone. Of each figure the median of the openings is told, beside what it is meant to be.
For a quiet machine. Where all pages are measured, every single figure is written into `data/bench/pages.json`.
"""

import argparse
import gzip
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mobius_lib.files import WriteError, check_writable, write_json
from tools import browser
from tools.build_book import Book, one_sentence
from tools.house import ROOT, BuildError, pages

RATES = (1, 4)
"""By how much the processor is slowed down."""
VIEW = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
WIDGETS = ".widget-subarea, script[type='application/vnd.jupyter.widget-view+json']"
"""A widget, or what will be one."""
PATIENCE_MS = 120_000  # for a widget to be drawn
REST_MS = 1500  # after the last request: widgets draw, and what still moves then is no fault of loading
STEPS = 60  # of a drag
AIMS = {
    "first_paint_ms": {4: 2000},
    "widget_drawn_ms": {4: 4000},
    "weight_kb": {1: 1500, 4: 1500},
    "layout_shift": {1: 0.05, 4: 0.05},
    "phone_shift": {1: 0.05, 4: 0.05},
    "frame_ms": {1: 17, 4: 34},
}
"""At most so much, by the slowing."""
SHOWN = {
    "first_paint_ms": "paint",
    "widget_drawn_ms": "drawn",
    "weight_kb": "kB",
    "layout_shift": "shift",
    "phone_shift": "phone",
    "frame_ms": "frame",
    "network_loaded_ms": "loaded",
    "network_counted_ms": "counted",
    "network_answer_ms": "answer",
}
"""The figures of the table, and how its head names them."""
RECORD = ROOT / "data" / "bench" / "pages.json"

WATCH = """(() => {
    window.bench = {drawn: null, shift: 0, frames: []};
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) bench.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});
    const of = CanvasRenderingContext2D.prototype, plain = {};
    for (const name of ["fill", "stroke", "fillRect", "fillText", "drawImage", "putImageData"]) {
        plain[name] = of[name];
        of[name] = function (...given) {
            if (this.canvas.closest?.(".widget-subarea")) {
                Object.assign(of, plain);
                requestAnimationFrame(() => setTimeout(() => { bench.drawn = performance.now(); }));
            }
            return plain[name].apply(this, given);
        };
    }
})()"""
"""Before any script of the page: notes when a canvas of a widget is first drawn, and every shift of the layout."""

FRAMES = """() => {
    bench.frames = [];
    bench.dragging = true;
    let last = null;
    const next = (now) => {
        if (last !== null) bench.frames.push(now - last);
        last = now;
        if (bench.dragging) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
}"""


NETWORK = """async (patience) => {
    const load = document.querySelector(".mw-load"), area = load.closest(".widget-subarea"), begun = performance.now();
    const until = (met, most = patience) => new Promise((done) => {
        const from = performance.now(), look = () => {
            const now = performance.now();
            if (met()) done(now);
            else if (now - from > most) done(null);
            else requestAnimationFrame(look);
        };
        look();
    });
    const after = (from, to) => (to === null ? null : to - from);
    const said = () => area.querySelector(".mw-read").textContent;
    load.click();
    const loaded = await until(() => !load.isConnected);
    const counted = loaded && await until(() => area.querySelector("progress.done"));
    const answers = [];
    for (const picture of [...area.querySelectorAll(".mw-thumbs button")].slice(1, 8)) {
        const before = said(), asked = performance.now();
        picture.click();
        answers.push(after(asked, await until(() => said() !== before, 5000)));  // the same words are no answer to time
    }
    return [after(begun, loaded), after(begun, counted), answers.filter((each) => each !== null)];
}"""
"""Loads the network of a page, waits until it has judged all that it is judged on, and then asks it of pictures."""


@dataclass(frozen=True)
class Visit:
    """What one opening of a page measured; None for what the page has not."""

    first_paint_ms: float | None
    widget_drawn_ms: float | None
    weight_kb: float
    layout_shift: float
    phone_shift: float  # the layout's, as a phone has it
    frame_ms: float | None  # the 95th percentile, of the widget that drags worst
    frames_ms: tuple[float | None, ...] = ()  # of each widget, in the order of the page
    network_loaded_ms: float | None = None  # from the button to weights in their workers
    network_counted_ms: float | None = None  # from the button to the classes of all pictures held out
    network_answer_ms: float | None = None  # from a picture that is chosen to its class; the median


def visit(running: Any, address: str, slower: int = 1) -> Visit:
    """Open a page, wait until it rests, and drag each of its widgets from end to end.

    Args:
        running: Playwright's handle of a browser.
        address: of the page.
        slower: by how much the processor is slowed down.
    """
    with opened(running, address, slower, PHONE) as (page, _):
        phone_shift = page.evaluate("bench.shift")
    with opened(running, address, slower, VIEW) as (page, bodies):
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
        drawn, shift = page.evaluate("[bench.drawn, bench.shift]")
        frames = [drag(page, area) for area in page.locator(".cell_output .widget-subarea").all()]
        sizes = weight(bodies)
        network = (None, None, None)
        if page.locator(".mw-load").count():
            loaded, counted, answers = page.evaluate(NETWORK, PATIENCE_MS)
            network = (loaded, counted, statistics.median(answers) if answers else None)
        worst = max((each for each in frames if each), default=None)
        return Visit(paint, drawn, sizes, shift, phone_shift, worst, tuple(frames), *network)


@contextmanager
def opened(running: Any, address: str, slower: int, view: dict[str, int]) -> Iterator[tuple[Any, list[Any]]]:
    """A page once it rests, in a context of its own, and the requests that it made."""
    from playwright.sync_api import TimeoutError

    context = running.new_context(viewport=view)
    try:
        page = context.new_page()
        bodies: list[Any] = []
        page.on("requestfinished", lambda request: bodies.append(request))
        page.add_init_script(WATCH)
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.goto(address, wait_until="networkidle")
        if page.locator(WIDGETS).count() and view is VIEW:  # on a phone the first may lie below the screen
            with suppress(TimeoutError):
                page.wait_for_function("bench.drawn !== null", timeout=PATIENCE_MS)
        settle(page)
        page.wait_for_timeout(REST_MS)
        yield page, bodies
    finally:
        context.close()


def settle(page: Any) -> None:
    """Wait until the widgets of a page are all there, and then its mathematics, which comes after those first seen."""
    for met in (
        "!window.widgetsDrawn || !document.querySelector('.widget-subarea:not(.shown)')",
        "!window.MathJax || !!window.MathJax.startup?.promise",
    ):
        page.wait_for_function(met, timeout=PATIENCE_MS)
    page.evaluate("() => window.MathJax?.startup.promise.then(() => true)")


def drag(page: Any, widget: Any) -> float | None:
    """The 95th percentile of the time from frame to frame, in ms, while a widget's first slider is dragged.

    A widget without one is dragged across the middle of its first canvas; one without that has no figure.
    """
    handles = [widget.locator(f"{each}:visible").first for each in ("input[type=range]", "canvas")]
    handle = next((each for each in handles if each.count()), None)
    if handle is None:
        return None
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    left, right, middle = box["x"] + 2, box["x"] + box["width"] - 2, box["y"] + box["height"] / 2
    page.mouse.move(left, middle)
    page.mouse.down()
    page.evaluate(FRAMES)
    for way in (range(STEPS + 1), range(STEPS, -1, -1)):
        for step in way:
            page.mouse.move(left + (right - left) * step / STEPS, middle)
    page.mouse.up()
    frames = sorted(page.evaluate("() => { bench.dragging = false; return bench.frames; }"))
    return frames[math.ceil(0.95 * len(frames)) - 1] if frames else None


def weight(requests: list[Any]) -> float:
    """kB of what was fetched, gzipped where that makes it smaller, without the fonts of the mathematics."""
    total = 0
    for request in requests:
        path = urlparse(request.url).path
        response = request.response()
        if urlparse(request.url).scheme not in ("http", "https") or response is None:
            continue
        if "mathjax" in path and path.endswith((".woff", ".woff2")):
            continue
        body = response.body()
        total += min(len(body), len(gzip.compress(body, 6)))
    return total / 1000


def middle(visits: list[Visit]) -> dict[str, float | None]:
    """The median of each figure, over the visits that have it."""
    rows = [asdict(each) for each in visits]
    found = {key: [row[key] for row in rows if row[key] is not None] for key in SHOWN}
    return {key: statistics.median(values) if values else None for key, values in found.items()}


def line(name: str, slower: int, figures: dict[str, float | None]) -> str:
    """A row of the table; what is more than it is meant to be has a star."""
    cells = []
    for key, value in figures.items():
        digits = 3 if key.endswith("shift") else 1 if key == "frame_ms" else 0
        over = value is not None and value > AIMS.get(key, {}).get(slower, math.inf)
        cells.append(f"{'-' if value is None else f'{value:,.{digits}f}'}{'*' if over else ' '}".rjust(10))
    return f"{name:<16}{slower}x" + "".join(cells)


def main() -> None:
    """Measure the pages that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="their names, such as 1_waves; all but the API's where none is given")
    parser.add_argument("--runs", type=int, default=3, help="how often each is opened (3)")
    parser.add_argument("--json", type=Path, help="a file for every single figure [all pages: data/bench/pages.json]")
    given = parser.parse_args()
    with one_sentence():
        measure(given.pages, given.runs, given.json or (None if given.pages else RECORD))


def measure(names: list[str], runs: int, record: Path | None) -> None:
    """Print the table, and write the record where one is asked for.

    Raises:
        BuildError: without a browser, a built book or a positive number of runs, for a page that the book lacks, or
            for a record that cannot be written.
    """
    book = Book()
    known = [page.stem for page in pages()]
    if wrong := [name for name in names if name not in known]:
        raise BuildError(f"The book has no page {wrong[0]!r}; it has {', '.join(known)}.")
    if runs < 1:
        raise BuildError(f"--runs is {runs}; open each page at least once.")
    if browser.chromium() is None:
        raise BuildError(f"There is {browser.NO_CHROMIUM}.")
    if not book.is_current():
        raise BuildError("The book is not built from these sources: `make book`.")
    if record is not None:
        try:
            check_writable(record)
        except WriteError as error:
            raise BuildError(str(error)) from error
    begun = time.perf_counter()
    found: dict[str, dict[str, list[dict[str, float | None]]]] = {}
    print(" " * 18 + "".join(name.rjust(9) + " " for name in SHOWN.values()))
    with browser.served(book.html) as site, browser.opened() as running:
        for name in names or [name for name in known if not name.startswith("api_")]:
            for slower in RATES:
                visits = [visit(running, f"{site}/book/{name}.html", slower) for _ in range(runs)]
                found.setdefault(name, {})[str(slower)] = [asdict(each) for each in visits]
                print(line(name, slower, middle(visits)), flush=True)
        version = running.version
    print("Medians; times in ms; *: above the aim. phone: shift at 390 px. frame: the worst widget's 95th percentile.")
    print("loaded, counted, answer: of the network in the page, until its weights, all pictures, a picture are there.")
    if record is not None:
        write_json(record, origin(runs, version) | {"wall_seconds": time.perf_counter() - begun, "pages": found})


def origin(runs: int, browser_version: str) -> dict[str, Any]:
    """On what and how it was measured, as the records of `mobius bench` have it."""
    import torch

    from mobius_lib.runs.provenance import describe_device, provenance

    given = sys.argv[1:]
    return {
        "bench": 1,
        "what": "pages",
        "configuration": {"device": "cpu", "quick": False, "runs": runs, "view": VIEW, "phone": PHONE},
        "aims": {key: {str(slower): bound for slower, bound in aim.items()} for key, aim in AIMS.items()},
        "browser": browser_version,
        "device": describe_device(torch.device("cpu")),
        "load_average": os.getloadavg()[0],
        "command": "make bench-pages" + (f' ARGS="{shlex.join(given)}"' if given else ""),
        **provenance(),
    }


if __name__ == "__main__":
    main()
