"""`make pdf`: the whole book as one file, `_build/mobius-book.pdf`, printed by a Chromium.

Each built page is opened, and what it shows is taken over: equations as they are typeset, a picture in place of each
widget, hints and solutions open. All of them together are one document, in which links lead on, and which is printed
twice: the first time tells on which page a chapter begins, and the second has that in the table of contents.
"""

import html
from pathlib import Path
from typing import Any

from pypdf import PdfReader

from tools import browser
from tools.build_book import Book, one_sentence
from tools.house import BuildError, pages

SCALE = 0.8
"""Of the screen's sizes: text of 16 px is 9.6 pt on paper."""
WIDTH = round((210 - 2 * 16) / 25.4 * 96 / SCALE)
"""CSS px of a line: A4 without its margins. At this width widgets draw and equations break."""
PAPER = {
    "format": "A4",
    "margin": {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
    "scale": SCALE,
    "print_background": True,
    "outline": True,
    "tagged": True,
    "display_header_footer": True,
    "header_template": "<span></span>",
    "footer_template": (
        '<span class="pageNumber" style="width: 100%; text-align: center; font: 9px sans-serif; color: #555"></span>'
    ),
}
HTML = "text/html; charset=utf-8"
LONGEST = 120_000  # ms, for one page to be drawn or the whole to be printed, however busy the machine

STYLE = """
body.whole { background: none; }
.whole-title { margin-top: 40vh; text-align: center; }
section.page, #contents { break-before: page; }
#contents ol { list-style: none; padding: 0; }
#contents a { display: flex; justify-content: space-between; text-decoration: none; line-height: 1.8; }
"""

TAKE = Path(__file__).with_suffix(".js").read_text("utf-8")
"""A function of a page's name, the names of all, and the ms that a widget may take; `taken` says what it gives."""


def taken(running: Any, site: str, name: str, names: list[str]) -> dict[str, str]:
    """What a built page shows, as HTML whose anchors and links have the page's name before them; title and styles."""
    page = running.new_page(
        viewport={"width": WIDTH, "height": 1000}, color_scheme="light", device_scale_factor=2, reduced_motion="reduce"
    )
    page.set_default_timeout(LONGEST)
    page.emulate_media(media="print")
    page.goto(f"{site}/book/{name}.html", wait_until="networkidle")
    found = page.evaluate(TAKE, [name, names, LONGEST])
    page.close()
    return found


def contents(titles: dict[str, str], numbers: dict[str, int]) -> str:
    """The table of contents: the pages' titles, and where they begin, as far as that is known."""
    rows = "".join(
        f'<li><a href="#{name}"><span>{html.escape(title)}</span><span>{numbers.get(name, "")}</span></a></li>'
        for name, title in titles.items()
    )
    return f'<nav id="contents"><h1>Contents</h1><ol>{rows}</ol></nav>'


def write(running: Any, folder: Path, names: list[str], goal: Path, title: str) -> None:
    """Print the pages of a built book.

    Args:
        running: Playwright's handle of a browser.
        folder: of the HTML.
        names: of the pages, in order.
        goal: the file; it is there whole or not at all.
        title: of the book.
    """
    with browser.served(folder) as site:
        parts = {}
        for name in names:
            print(f"Taking {name} ...", flush=True)
            parts[name] = taken(running, site, name, names)
        titles = {name: part["title"] for name, part in parts.items()}
        body = "".join(f'<section class="page" id="{name}">{part["body"]}</section>' for name, part in parts.items())
        equations = "\n".join(dict.fromkeys(rule for part in parts.values() for rule in part["equations"].split("\n")))
        styles = f"{parts[names[0]]['styles']}<style>{equations}{STYLE}</style>"
        page = running.new_page()
        page.set_default_timeout(LONGEST)
        whole: dict[str, str] = {}  # by its address
        page.route("**/whole-*.html", lambda route: route.fulfill(body=whole[route.request.url], content_type=HTML))
        numbers: dict[str, int] = {}
        for time in ("first", "second"):
            address = f"{site}/book/whole-{time}.html"
            whole[address] = (
                '<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
                f"<title>{html.escape(title)}</title>{styles}</head>"
                f'<body class="whole"><h1 class="whole-title">{html.escape(title)}</h1>{contents(titles, numbers)}'
                f'<article class="bd-article">{body}</article></body></html>'
            )
            page.goto(address, wait_until="networkidle")
            page.evaluate("document.fonts.ready")
            part = goal.with_suffix(".part")
            print(f"Printing, the {time} time ...", flush=True)
            page.pdf(path=part, **PAPER)
            numbers = where(part, names)
        part.replace(goal)


def where(file: Path, names: list[str]) -> dict[str, int]:
    """On which page of a PDF each name is an anchor."""
    reader = PdfReader(file)
    anchors = {name.lstrip("/"): place for name, place in reader.named_destinations.items()}
    return {name: reader.get_destination_page_number(anchors[name]) + 1 for name in names if name in anchors}


def main() -> None:
    book = Book()
    goal = book.build_dir / "mobius-book.pdf"
    with one_sentence():
        if browser.chromium() is None:
            raise BuildError(f"A PDF is printed by a Chromium, and there is {browser.NO_CHROMIUM}.")
        if not book.is_current():
            raise BuildError("The book is not built from these sources: `make book`.")
        with browser.opened() as running:
            write(running, book.html, [page.stem for page in pages()], goal, book.config["title"])
    print(f"{goal}: {len(PdfReader(goal).pages)} pages, {goal.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
