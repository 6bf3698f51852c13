"""The built pages in a real browser: they ask nobody else, complain of nothing, and their widgets move."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlparse

import pytest

from tools.bench_pages import AIMS, WATCH, settle, weight
from tools.build_book import Book
from tools.house import notebooks, pages

NO_NPM = "the book was built without npm and asks CDNs for its scripts: install npm, then `make test`"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
PAGES = {page.stem: page for page in pages() if not page.stem.startswith("api_")}  # those have tests/book/test_api.py
CHAPTERS = [name for name in PAGES if name[0].isdigit()]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CUT_CODE = """() => [...document.querySelectorAll('article div.highlight pre')]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 120))"""


@dataclass
class Visit:
    """A page that has been opened, and everything it said meanwhile."""

    page: Any
    name: str = ""
    requests: list[str] = field(default_factory=list)
    fetched: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def blank(self, widget: int = 0) -> list[str]:
        """What every canvas inside one widget would hold if nothing had been drawn."""
        return self.page.evaluate(
            "i => [...document.querySelectorAll('.cell_output .widget-subarea')[i].querySelectorAll('canvas')]"
            ".map(c => Object.assign(document.createElement('canvas'), {width: c.width, height: c.height}))"
            ".map(empty => empty.toDataURL())",
            widget,
        )

    def canvas(self, widget: int = 0) -> list[str]:
        """The pixels of every canvas inside one widget."""
        return self.page.evaluate(
            "i => [...document.querySelectorAll('.cell_output .widget-subarea')[i].querySelectorAll('canvas')]"
            ".map(canvas => canvas.toDataURL())",
            widget,
        )


@pytest.fixture(scope="module")
def site(book: Book, lacking: Callable[[str], None], served: Callable[[Path], str]) -> str:
    """The address of the built book on this machine."""
    if not book.record()["local"]:
        lacking(NO_NPM)
    return served(book.html)


def _open(context: Any, address: str, name: str = "") -> Visit:
    seen = Visit(context.new_page(), name)
    seen.page.add_init_script(WATCH)
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("requestfinished", lambda request: seen.fetched.append(request))
    seen.page.on("console", lambda note: note.type == "error" and seen.complaints.append(note.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("response", lambda got: got.status >= 400 and seen.complaints.append(f"{got.status} {got.url}"))
    seen.page.goto(address, wait_until="networkidle")
    settle(seen.page)
    seen.page.wait_for_timeout(300)
    return seen


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    contexts = []

    def open_page(address: str, viewport: dict[str, int] = DESK) -> Visit:
        contexts.append(browser.new_context(viewport=viewport))
        return _open(contexts[-1], address)

    yield open_page
    for context in contexts:
        context.close()


def _once(params: Iterable[Any], viewport: dict[str, int]) -> Any:
    """A fixture: each page in turn, opened once for all tests of it, which find it as the one before has left it."""

    @pytest.fixture(scope="module", params=params, ids=str)
    def opened(request: pytest.FixtureRequest, browser: Any, site: str, book: Book) -> Iterator[Visit]:
        name, _, way = request.param.partition(" ")
        context = browser.new_context(viewport=viewport)
        yield _open(context, _address(book.html.as_uri() if way else site, name), name)
        context.close()

    return opened


read = _once(PAGES, DESK)
phone = _once(PAGES, PHONE)
chapter = _once([name + way for name in CHAPTERS for way in ("", " from a file")], DESK)


def _address(site: str, name: str) -> str:
    return f"{site}/book/{name}.html"


def _widgets(book: Book, name: str) -> int:
    """How many widgets the executed notebook shows."""
    if PAGES[name] not in notebooks():
        return 0
    cells = [cell for cell in book.executed(PAGES[name]).cells if cell.cell_type == "code"]
    shown = [cell for cell in cells if "remove-output" not in cell.metadata.get("tags", [])]
    return sum(WIDGET_MIME in output.get("data", {}) for cell in shown for output in cell.outputs)


def test_a_page_asks_nobody_and_complains_of_nothing(read: Visit, site: str):
    assert len(read.requests) > 5
    outside = [url for url in read.requests if not url.startswith((f"{site}/", "data:", f"blob:{site}/"))]
    assert not outside, "requests to other hosts"
    assert not read.complaints


def test_mathematics_is_typeset(read: Visit):
    formulas = read.page.locator("span.math, div.math")
    assert read.page.locator("mjx-container").count() >= formulas.count()
    assert read.page.locator("mjx-merror").count() == 0
    if read.name == "notation":
        assert formulas.count() > 20
    left = read.page.evaluate("() => document.querySelector('article').innerText")
    assert "$$" not in left and "\\(" not in left and "\\frac" not in left


def test_what_a_cell_prints_stands_in_one_box(read: Visit):
    """However many pieces the kernel sent it in."""
    assert read.page.locator(".cell_output > .output.stream + .output.stream").count() == 0


def test_no_code_is_cut_off(read: Visit):
    assert not read.page.evaluate(CUT_CODE)


def test_text_waits_for_no_large_script(read: Visit, site: str, book: Book):
    scripts = "() => [...document.querySelectorAll('script[src]:not([defer], [async], [type=module])')].map(e => e.src)"
    sizes = {url: (book.html / urlparse(url).path.lstrip("/")).stat().st_size for url in read.page.evaluate(scripts)}
    index = f"{site}/searchindex.js"
    assert not [url for url, size in sizes.items() if size > 50_000 and not url.startswith(index)], sizes


def test_a_page_weighs_little_and_holds_still(read: Visit):
    """Without what its reader has to ask for; the figures are of `make bench-pages`, and none of a clock."""
    assert weight(read.fetched) < AIMS["weight_kb"][1]
    assert read.page.evaluate("bench.shift") < AIMS["layout_shift"][1]


def test_every_icon_is_drawn_here(read: Visit):
    """By book/style/icons.css, and not by fonts of all icons that there are."""
    icons = read.page.locator("[class*='fa-']")
    assert icons.count() > 5
    undrawn = icons.evaluate_all(
        """all => all.filter(e => getComputedStyle(e, '::before').maskImage === 'none').map(e => e.outerHTML)"""
    )
    assert not undrawn
    assert not [url for url in read.requests if "fontawesome" in url]


def test_nothing_in_the_source_of_a_page_was_misread(read: Visit):
    assert read.page.locator("article .system-message, article .problematic").count() == 0


def test_every_widget_of_the_notebook_is_in_the_page(read: Visit, book: Book):
    expected = _widgets(book, read.name)
    if read.name in CHAPTERS:
        assert expected >= 1
    areas = read.page.locator(".cell_output .widget-subarea")
    assert areas.count() == expected
    for i in range(expected):
        box = areas.nth(i).bounding_box()
        assert box and box["width"] > 100 and box["height"] > 20, f"widget {i} is empty: {box}"


def test_every_control_of_a_widget_has_a_name(read: Visit):
    """What a screen reader says for each slider and button."""
    unnamed = read.page.evaluate(
        """() => [...document.querySelectorAll('.widget-subarea :is(input, button, select)')].filter(c =>
            !(c.ariaLabel || c.getAttribute('aria-labelledby') || c.labels?.length || c.textContent.trim() || c.title)
        ).map(c => c.outerHTML.slice(0, 100))"""
    )
    assert not unnamed


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_dragged_slider_changes_the_picture(name: str, viewport: dict[str, int], site: str, book: Book, visit: Any):
    """With the mouse, and with the arrow keys; there is no kernel."""
    seen = visit(_address(site, name), viewport)
    sliders = seen.page.locator(".cell_output .widget-subarea").first.locator("input[type=range]:visible")
    assert sliders.count() >= 2
    top = seen.page.evaluate(
        "document.querySelector('.cell_output .widget-subarea').getBoundingClientRect().top + scrollY"
    )
    most = viewport["height"] * (1 if viewport is DESK else 1.5)  # on a phone question and answer fill a screen
    assert top < most, f"the widget begins below the first screen, at {top:.0f} px"
    pictures = seen.canvas()
    assert pictures and not set(pictures) & set(seen.blank()), "a canvas is blank"

    slider = sliders.first
    slider.evaluate("e => e.scrollIntoView({block: 'end', behavior: 'instant'})")  # below the plot, which sticks on top
    box, value = slider.bounding_box(), slider.input_value()
    low, high = float(slider.get_attribute("min")), float(slider.get_attribute("max"))
    thumb = box["x"] + box["width"] * (float(value) - low) / (high - low)
    goal = box["x"] + box["width"] * (0.15 if float(value) > (low + high) / 2 else 0.85)
    middle = box["y"] + box["height"] / 2
    seen.page.mouse.move(thumb, middle)
    seen.page.mouse.down()
    seen.page.mouse.move(goal, middle, steps=8)
    seen.page.mouse.up()
    seen.page.wait_for_timeout(300)
    assert slider.input_value() != value
    dragged = seen.canvas()
    assert dragged != pictures

    slider.focus()
    for _ in range(5):
        seen.page.keyboard.press("ArrowRight" if float(slider.input_value()) < (low + high) / 2 else "ArrowLeft")
    seen.page.wait_for_timeout(300)
    assert seen.canvas() != dragged
    assert not seen.complaints


def test_a_widget_is_drawn(chapter: Visit):
    """Also where the page is opened from disk, without a server, as the address that `make book` prints does."""
    assert chapter.page.locator(".cell_output .widget-subarea canvas").count() >= 1
    assert chapter.canvas()


def test_the_book_opens_from_a_file(book: Book, visit: Any):
    visit((book.html / "index.html").as_uri()).page.wait_for_url("**/book/intro.html")


def test_a_word_of_the_glossary_shows_its_entry(chapter: Visit):
    """To the pointer and to the keyboard; Escape closes it."""
    page = chapter.page
    link = page.locator("article a[href*='glossary.html#']").first
    box = page.locator("#glossary-entry")
    link.hover()
    box.wait_for(state="visible")
    assert len(box.inner_text()) > 40 and link.get_attribute("aria-describedby") == "glossary-entry"
    page.keyboard.press("Escape")
    box.wait_for(state="hidden")
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")  # from now on the focus is that of a keyboard
    link.focus()
    box.wait_for(state="visible")
    page.keyboard.press("Escape")
    box.wait_for(state="hidden")
    assert not chapter.complaints


PACKS = {
    "1_waves": ("waves-network", "It sees"),
    "2_cantor": ("simplex-network", "It says"),
    "3_simplex": ("simplex-network", "It says"),
    "4_gauge": ("squeezed-network", "It sees"),
    "5_twistor": ("twistor-readers", "Expected next"),
}
"""The network of each chapter, and what its widget says."""


def test_a_trained_network_runs_in_its_page(chapter: Visit):
    """Only once its reader asks for it, and without asking anybody else."""
    pack, says = PACKS[chapter.name]
    root = chapter.page.url.removesuffix(f"/book/{chapter.name}.html")
    assert not [url for url in chapter.requests if pack in url] and not chapter.page.workers
    chapter.page.click("button:has-text('Load the trained network')")
    chapter.page.wait_for_selector("progress.done", timeout=120_000)  # seconds, on a quiet machine
    assert [url for url in chapter.requests if pack in url] == [f"{root}/_static/{pack}.js"]
    assert not [url for url in chapter.requests if not url.startswith((root, "data:", "blob:"))]
    assert not chapter.complaints
    assert says in chapter.page.inner_text("article")


def test_every_figure_has_a_caption(read: Visit):
    captions = read.page.eval_on_selector_all(
        "article figure:has(> svg)", "all => all.map(f => f.querySelector('figcaption')?.innerText ?? '')"
    )
    assert all(len(caption) > 20 and caption.endswith((".", "?")) for caption in captions), captions
    pictures = "article .cell_output :is(svg[role=img], img)"
    assert read.page.locator(pictures).count() == read.page.locator(f"{pictures} + figcaption").count()
    if read.name in CHAPTERS:
        assert captions


def test_the_section_on_real_data_opens_with_its_answer_in_one_sentence(read: Visit):
    if read.name in CHAPTERS:
        first = read.page.locator("#on-real-data > :not(h2)").first.inner_text().strip()
        lead, _, said = first.partition("In one sentence. ")
        assert lead == "" and said.endswith(".") and ". " not in said and len(said.split()) < 60, first


def test_a_number_is_not_broken(read: Visit):
    """As in "9.4e-" at the end of a line and "02" on the next, or "84.0" and "%"; code has its numbers as words of its
    own."""
    loose = read.page.evaluate(
        """() => {
            const found = [], article = document.querySelector('article');
            const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
            while (texts.nextNode()) {
                const { data, parentElement } = texts.currentNode;
                if (parentElement.closest('script, style, svg')) continue;
                if (/\\d %/.test(data) && !parentElement.closest('pre, code')) found.push(data.trim().slice(0, 80));
                if (!/\\de-\\d/.test(data)) continue;
                if (getComputedStyle(parentElement).whiteSpace !== 'nowrap') found.push(data.trim().slice(0, 80));
            }
            return found;
        }"""
    )
    assert not loose


DRAWN = """() => [...document.querySelectorAll('article figure svg :is(text, tspan)')].map(letter => {
    const svg = letter.closest('svg'), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return scale * parseFloat(getComputedStyle(letter).fontSize);
})"""
WIDE = """() => [...document.querySelectorAll('article .pst-scrollable-table-container:not(:has(> table.numbers))')]
    .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText.slice(0, 100))"""
LOST = """() => [...document.querySelectorAll('article table.numbers')].filter(table => {
    const box = table.parentElement, [first, ...others] = table.tBodies[0].rows[0].cells;
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.scrollLeft = 1e4;
    const { right } = first.getBoundingClientRect(), start = box.getBoundingClientRect().left;
    const seen = others.every(cell => !/\\d/.test(cell.textContent) || cell.textContent.length > 28
        || getComputedStyle(cell).whiteSpace === 'nowrap');
    const stays = Math.abs(first.getBoundingClientRect().left - start) < 2 && right - start < box.clientWidth / 2;
    box.scrollLeft = 0;
    return wide && !(stays && seen && box.tabIndex === 0);
}).map(table => table.innerText.slice(0, 100))"""
HANGING = """() => {
    const wrapped = [];
    for (const line of document.querySelectorAll('article div.highlight pre .line')) {
        const text = document.createTreeWalker(line, NodeFilter.SHOW_TEXT), range = document.createRange();
        const boxes = [];
        while (text.nextNode()) {
            const at = text.currentNode.data.search(/\\S/);
            if (at < 0) continue;
            range.setStart(text.currentNode, at);
            range.setEnd(text.currentNode, text.currentNode.data.trimEnd().length);
            boxes.push(...range.getClientRects());
        }
        const [first, ...others] = boxes.filter(box => box.width > 0);
        const below = others.filter(box => box.top > first.bottom - 2);
        if (below.length) wrapped.push([line.textContent, Math.min(...below.map(box => box.left)) > first.left]);
    }
    return wrapped;
}"""


def test_a_page_holds_still_on_a_phone(phone: Visit):
    assert phone.page.evaluate("bench.shift") < AIMS["layout_shift"][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(phone: Visit, scheme: str):
    page = phone.page
    page.emulate_media(color_scheme=scheme)
    page.wait_for_timeout(200)  # widgets draw in other colours
    width, inner = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner, f"{phone.name} is {width} px wide on a screen of {inner}"
    # Not merely cut off: what is wider than the screen must lie in something that scrolls.
    cut = page.evaluate(
        """() => [...document.querySelectorAll(
            'article :is(p, li, h1, h2, img, table, pre, mjx-container[display=true], .widget-subarea)'
        )].filter(e => {
            const box = e.getBoundingClientRect();
            if (box.width === 0 || box.right <= window.innerWidth + 1) return false;
            for (let p = e; p && p.tagName !== 'ARTICLE'; p = p.parentElement)
                if (['auto', 'scroll'].includes(getComputedStyle(p).overflowX)) return false;
            return true;
        }).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert not cut
    assert not page.evaluate(CUT_CODE)
    unseen = page.evaluate(
        """() => [...document.querySelectorAll(
            'article :is(mjx-container[display=true], .pst-scrollable-table-container)'
        )].filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).backgroundImage === 'none')
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert not unseen, "nothing shows that it scrolls"


def test_a_wide_screen_shows_every_table_whole(read: Visit):
    read.page.evaluate("dispatchEvent(new Event('resize'))")  # else it is set tighter when there is time
    assert not read.page.evaluate(WIDE)


def test_code_that_wraps_keeps_its_indentation(phone: Visit):
    wrapped = phone.page.evaluate(HANGING)
    assert phone.name not in CHAPTERS or len(wrapped) > 20
    assert not [line for line, hangs in wrapped if not hangs]


BROKEN = """() => [...document.querySelectorAll('article .ledger code')].filter(code => {
    const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT), range = document.createRange();
    while (texts.nextNode()) { // between the marks at which a name may go on in the next line stands a text of its own
        const { currentNode: text } = texts, word = text.data.search(/\\w/);
        if (word < 0) continue;
        range.selectNodeContents(text);
        if (!text.data.includes(' ') && !text.data.includes('-') && range.getClientRects().length > 1) return true;
    }
}).map(code => code.textContent)"""


def test_a_name_of_code_is_not_broken_within_a_word(phone: Visit):
    shut = phone.page.locator("article details:not([open])").element_handles()
    for each in shut:
        each.evaluate("e => { e.open = true; }")
    broken = phone.page.evaluate(BROKEN)
    for each in shut:
        each.evaluate("e => { e.open = false; }")
    assert not broken


def test_nothing_floats_over_the_page_of_a_phone(phone: Visit):
    """ "Back to top" comes where one scrolls up again, and would lie on what stands there."""
    phone.page.mouse.wheel(0, 3000)
    phone.page.wait_for_timeout(200)
    phone.page.mouse.wheel(0, -300)
    phone.page.wait_for_timeout(200)
    assert not phone.page.locator("#pst-back-to-top").is_visible()
    phone.page.evaluate("scrollTo(0, 0)")


def test_a_phone_shows_figures_and_tables_that_can_be_read(phone: Visit):
    """Letters of 11 pixels, also where the screen lies on its side; tables of sentences as wide as the screen, or as
    cards, and tables of numbers beside their first column."""
    page = phone.page
    letters = page.evaluate(DRAWN)
    assert phone.name not in CHAPTERS or letters
    assert min(letters, default=11) >= 11
    assert not page.evaluate(WIDE), "a table scrolls"
    assert not page.evaluate(LOST), "scrolled, its numbers have lost the names of their rows"
    for cell in page.locator("table.cards td[data-name]").all()[:50]:
        assert cell.evaluate("cell => getComputedStyle(cell, '::before').content.length > 2")
    page.set_viewport_size(DESK)  # in the last test of a phone
    page.wait_for_timeout(200)
    assert page.locator("table.cards, table.numbers").count() == 0, "a table that has the room is a table again"


def test_links_and_pictures(read: Visit, site: str, book: Book):
    """Every address inside the book leads somewhere, anchors included; every picture is there and described."""
    links = read.page.evaluate("() => [...document.querySelectorAll('a[href]')].map(a => a.href)")
    inside = sorted({link for link in links if link.startswith(site)})
    assert len(inside) > 3
    for link in inside:
        address, anchor = urldefrag(link)
        path = urlparse(address).path.lstrip("/") or "index.html"
        target = book.html / path
        assert target.is_file(), f"{read.name} links to {path}, which is not there"
        if anchor and target.suffix == ".html":
            text = target.read_text("utf-8")
            assert f'id="{anchor}"' in text or f'name="{anchor}"' in text, f"{read.name} links to {path}#{anchor}"
    pictures = read.page.evaluate(
        "() => [...document.querySelectorAll('article img')].map(i => [i.src.slice(0, 80), i.alt, i.naturalWidth])"
    )
    for source, alternative, width in pictures:
        assert width > 0, f"{source} does not load"
        assert alternative.strip() and not Path(alternative).suffix, f"{source} has no description: {alternative!r}"


def test_the_search_finds_a_word(site: str, visit: Any):
    seen = visit(f"{site}/search.html?q=sharpness")
    seen.page.wait_for_selector("#search-results li", timeout=10_000)
    assert "Notation" in seen.page.locator("#search-results").inner_text()
