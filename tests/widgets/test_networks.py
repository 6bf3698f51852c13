"""What holds for every trained network in the page: it comes when it is asked for, from the book or from a kernel."""

import base64
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from mobius_lib.runs.gauge import squeezed
from mobius_lib.runs.simplex import network as simplex
from mobius_lib.runs.twistor import reader
from mobius_lib.runs.waves import network as waves
from mobius_lib.widgets.source import served

MADE = {
    "waves_network": waves.explorer,
    "simplex_network": simplex.explorer,
    "gauge_network": squeezed.explorer,
    "twistor_reader": reader.explorer,
}
MEGABYTES = {"gauge_network": 2.5}
"""Of the script; else 1.5. Chapter 4 has 27 sets of matrices: its weights are 1.4 MB, and a script a third more."""
OFFERS = 3
"""Buttons that every widget has."""
COUNTING = "#one progress:not(.done):visible"
READ = "#one .mw-read:not(:empty)"
SET = {
    "waves_network": {"omega": [0, 1, 2, 3, 4, 5.5], "picture": 77},
    "simplex_network": {"mix": [0.25, 0, 1], "alpha": -0.25, "picture": 499},
    "gauge_network": {"form": "svd", "bits": 4, "where": "3 x 3", "picture": 77},
    "twistor_reader": {"text": "And it came to pass", "at": 3, "off": "nested"},
}
"""Of each: values that its reader can bring about."""
CHOICES = {
    "waves_network": ("ω = 0", "omega", [0] * 6),
    "simplex_network": ("Cantor", "mix", [0, 1, 0]),
    "gauge_network": ("SVD", "form", "svd"),
    "twistor_reader": ("memory", "off", "memory"),
}
"""Of each: a button, and what it sets."""
pytestmark = pytest.mark.parametrize("chapter", MADE)


@pytest.fixture
def shown(chapter: str) -> Any:
    return MADE[chapter]()


def test_a_kernel_sends_the_files_to_whoever_asks(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(shown, "send", lambda content, buffers: sent.append((content, buffers)))
    shown._answer(shown, {"ask": "something else"}, [])
    assert not sent
    shown._answer(shown, {"ask": "files"}, [])
    ((content, buffers),) = sent
    assert dict(zip(content["names"], buffers, strict=True)) == shown.files()
    assert content["engine"] == served(*shown.engine)


def test_the_script_of_the_page_holds_the_same(chapter: str, shown: Any) -> None:
    script, most = shown.page_script("a-name"), MEGABYTES.get(chapter, 1.5)
    assert len(script) / 1e6 == pytest.approx(shown.megabytes, abs=0.01) and shown.megabytes < most
    pack = json.loads(re.fullmatch(r'\(globalThis\.mobiusPacks \?\?= \{\}\)\["a-name"\] = (.*);\n', script)[1])
    assert {name: base64.b64decode(text) for name, text in pack["files"].items()} == shown.files()
    assert pack["engine"] == served(*shown.engine)


# ---- in a browser


def test_nothing_is_loaded_before_the_reader_asks(opened: Any) -> None:
    page = opened()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.rest()
    assert not asked and not page.workers and page.locator("#one button:visible").count() == 1 + OFFERS


def test_a_closed_view_leaves_no_worker(asked: Any) -> None:
    page = asked()
    page.evaluate("close_one()")
    for _ in range(100):  # a browser tells of their end when it has time
        if page.workers:
            page.rest()
    assert not page.workers


def test_a_page_without_files_and_kernel_says_so(opened: Any) -> None:
    page = opened()
    page.click("#one button:has-text('Load')")
    page.wait_for_selector("#one .mw-note:has-text('neither its files nor a kernel')")
    assert page.locator("#one button:visible").count() == OFFERS


def test_a_kernel_answers_in_the_files_place(opened: Any, asked: Any, shown: Any) -> None:
    of_the_book = asked()
    of_the_book.wait_for_selector(READ)
    page = opened()
    files = {name: base64.b64encode(content).decode() for name, content in shown.files().items()}
    page.evaluate(
        """([engine, files]) => { one.send = ({ ask }) => setTimeout(() => {
            const buffers = Object.values(files).map((text) =>
                new DataView(Uint8Array.from("xy" + atob(text), (c) => c.charCodeAt(0)).buffer, 2));
            if (ask === "files")
                one.listeners["msg:custom"].forEach((f) => f({ engine, names: Object.keys(files) }, buffers));
        }); }""",
        [served(*shown.engine), files],
    )
    page.click("#one button:has-text('Load')")
    page.wait_for_selector(READ)
    assert page.inner_text(READ) == of_the_book.inner_text(READ)


def seen(page: Any) -> tuple[str, str]:
    """The picture and the words of the first widget, once nothing in them changes any more."""
    words = ""
    while words != (words := page.inner_text("#one .mw-card")) or "so far" in words or page.locator(COUNTING).count():
        page.rest()
    return page.picture(), words


def test_from_a_disk_it_runs_without_a_connection(asked: Any, folder: Path) -> None:
    asked(offline=True, root=folder.as_uri()).wait_for_selector(READ)


@pytest.mark.parametrize("way", ["keyboard", "touch"])
def test_what_a_button_sets_is_set_by_keyboard_and_by_touch(asked: Any, chapter: str, way: str) -> None:
    name, trait, value = CHOICES[chapter]
    page = asked(*((390, True) if way == "touch" else ()))
    page.wait_for_selector(READ)
    button = page.locator(f"#one button:visible:has-text('{name}') >> nth=0")
    before = page.get(trait), page.picture()
    if way == "touch":
        button.tap()
    else:
        button.focus()
        page.keyboard.press("Enter")
    assert page.get(trait) == value != before[0]
    page.wait_for_function("before => document.querySelector('#one canvas').toDataURL() !== before", arg=before[1])


def test_its_link_and_its_picture_hold_what_was_seen(asked: Any, chapter: str) -> None:
    page = asked(address="book.html")
    page.wait_for_selector(READ)
    first = seen(page)
    page.evaluate("(all) => { for (const [k, v] of Object.entries(all)) one.set(k, v); }", SET[chapter])
    changed = seen(page)
    assert changed[0] != first[0] and changed[1] != first[1]
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("#one .mw-keep button:has-text('Copy link')")
    page.wait_for_function("window.copied")
    with page.expect_download() as saved:
        page.click("#one .mw-keep button:has-text('Save picture')")
    root = ET.fromstring(Path(saved.value.path()).read_text("utf-8"))
    words = " ".join(" ".join(e.text for e in root.iter("{http://www.w3.org/2000/svg}text")).split())
    assert " ".join(page.inner_text(READ).split()) in words
    other = asked(address=page.evaluate("copied").partition(f"/{chapter}/")[2])
    other.wait_for_selector(READ)
    assert {k: other.get(k) for k in SET[chapter]} == SET[chapter]
    assert seen(other)[0] == changed[0] and other.inner_text(READ) == page.inner_text(READ)


def test_loaded_it_follows_the_theme(asked: Any) -> None:
    page = asked()
    page.wait_for_selector(READ)
    light = seen(page)[0]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.picture() != light
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.picture() == light


def test_fifty_changes_leave_no_memory_behind(asked: Any) -> None:
    page = asked()
    page.wait_for_selector(READ)
    session = page.context.new_cdp_session(page._page)

    def held() -> float:
        session.send("HeapProfiler.collectGarbage")
        return page.evaluate("performance.memory.usedJSHeapSize") / 2**20

    before = held()
    page.focus("#one :is(input, .mw-thumbs button) >> nth=0")
    for step in range(50):
        page.keyboard.press("ArrowRight" if step % 2 else "ArrowLeft")
        page.evaluate(f"one.set('picture', {10 * step}); one.set('text', 'And it came to pass, '.repeat({step % 25}))")
        page.wait_for_timeout(40)  # a few frames
    assert held() - before < 50  # MB
