"""The pages of the API: every public name has its entry; docstrings as the library writes them are read as meant."""

import html
import inspect
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from docutils.core import publish_doctree
from docutils.nodes import literal_block, strong, system_message
from sphinx.pycode import ModuleAnalyzer

from mobius_lib.ledger.sources import Source
from tools.api import KINDS, contents, kind, place, restructured, share_comments, signature
from tools.build_book import Book
from tools.house import ROOT, pages

PACKAGES = [page.stem.removeprefix("api_") for page in pages() if page.stem.startswith("api_")]


def read(text: str) -> Any:
    """What docutils makes of it; its complaints are errors."""
    tree = publish_doctree("\n".join(restructured(text.split("\n"))), settings_overrides={"report_level": 5})
    assert not list(tree.findall(system_message)), tree.pformat()
    return tree


def test_mathematics_is_no_markup():
    tree = read("The mean of |tanh x|, at most |x| * |y|; and `a * b|c` stands as it is.")
    assert tree.astext() == "The mean of |tanh x|, at most |x| * |y|; and a * b|c stands as it is."


def test_what_has_weight_is_strong_and_a_power_is_not():
    tree = read("It **always\nholds**, for 2**3 and n**-0.5; **not `x`**.\n\nSo:\n    a **b** c")
    assert [each.astext() for each in tree.findall(strong)] == ["always\nholds"]
    assert tree.astext() == "It always\nholds, for 2**3 and n**-0.5; not x.\n\nSo:\n\na b c"


def test_what_begins_with_a_dot_leads_nowhere():
    """To which of several attributes of that name, nobody says; and Sphinx would warn."""
    assert restructured(["Each has `.logits`, as `math.gate` has."]) == ["Each has ``.logits``, as `math.gate` has."]


@pytest.mark.parametrize(
    ("name", "home", "where"),
    [
        ("math.FORMS", "cantor.laws", "mobius_lib.cantor.FORMS"),  # an entry, under a shorter name
        ("MobiusNet", "cantor.mask", "mobius_lib.waves.MobiusNet"),  # on another page
        ("CellState.twistor", "widgets.twistor", "mobius_lib.twistor.CellState.twistor"),
        ("staircase_published", "cantor.math", "mobius_lib/cantor/math.py"),  # no entry: its file
        ("KINDS", "simplex.math", "mobius_lib/simplex/math.py"),  # the nearest of several
        ("choice.BACKENDS", "twistor.memory", "mobius_lib/twistor/fast/choice.py"),
        ("gauge/bits.py", "gauge.base", "mobius_lib/gauge/bits.py"),
        ("gauge.cooccurrence", "widgets.gauge", "mobius_lib/gauge/cooccurrence.py"),
        ("turn", "widgets.gauge", None),  # a trait there, whatever else is called so
        ("nn.Linear", "gauge.base", None),
        ("recipe.lr", "training.loop", None),
    ],
)
def test_a_name_leads_to_its_entry_or_to_its_file(name: str, home: str, where: str | None):
    assert place(name, f"mobius_lib.{home}", {"turn"}) == where
    (line,) = restructured([f"As `{name}`."], partial(place, home=f"mobius_lib.{home}", own={"turn"}))
    role = ":source:" if where and where.endswith(".py") else ""
    assert line == (f"As {role}`{name} <{where}>`." if where else f"As `{name}`.")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_points_to_what_its_page_does_not_show(package: str):
    """The head of a module is not on the page."""
    module = import_module(f"mobius_lib.{package}")
    for name in module.__all__:
        value = getattr(module, name)
        inside = vars(value).values() if inspect.isclass(value) else ()
        for each in (value, *inside):
            text = " ".join((inspect.getdoc(each) or "").split()) if callable(each) else ""
            assert not re.search(r"(?i)module's head|head of (the|this) (module|file)|this file", text), name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_of_the_library_is_a_link(package: str, book: Book):
    """On every page of the API: whatever stands there as code, and is a name of the library, leads somewhere."""
    text = (book.html / f"book/api_{package}.html").read_text("utf-8")
    text = re.sub(r"(?s)<a [^>]*>.*?</a>", "", text[text.index("<article") : text.index("</article")])
    codes = {html.unescape(re.sub("<.*?>", "", code)) for code in re.findall(r"(?s)<code.*?>(.*?)</code>", text)}
    names = {code for code in codes if re.fullmatch(r"[A-Za-z_][\w./]*", code)}
    told = {name for name in names if not name.islower() or "." in name}  # a plain word may be that of an argument
    assert not {name for name in told if place(name, f"mobius_lib.{package}")}


@pytest.mark.parametrize("gap", ["", "\n"])
def test_what_is_indented_under_a_colon_stands_as_it_was_typed(gap: str):
    tree = read(f"By its name:\n{gap}    one   | 1\n    two   * 2\nAnd on.")
    (block,) = tree.findall(literal_block)
    assert block.astext() == "one   | 1\ntwo   * 2"
    assert tree.astext().startswith("By its name:") and tree.astext().endswith("And on.")


def test_a_list_under_a_sentence_is_one():
    tree = read("Proof. Let T be so.\n    1. One thing\n       and more of it.\n    2. Another.\nSo it is.")
    (items,) = (node for node in tree.findall() if node.tagname == "enumerated_list")
    assert [item.astext() for item in items] == ["One thing\nand more of it.", "Another."]


def test_sections_are_left_to_napoleon():
    text = "One.\n\nArgs:\n    x: what is\n        told of it.\n    y: |z|.\nShape:\n    (a, b) to c."
    assert [line for line in restructured(text.split("\n")) if line] == [
        line for line in text.replace("|z|", r"\|z\|").split("\n") if line
    ]


def test_a_model_of_pydantic_is_made_of_its_fields():
    """And not of what pydantic makes of them, which is wider than a page."""
    said, result = signature(None, "class", "", Source, {}, "(*, number: Annotated[...])", "")
    assert said == f"(*, {', '.join(Source.model_fields)})" and result == ""
    assert signature(None, "class", "", Path, {}, "(*args)", "") == ("(*args)", "")


def test_a_package_tells_what_it_holds():
    """Every public name, the classes first and the constants after all that is called."""
    lines = [line for line in contents("mobius_lib.training") if line]
    assert [line.partition("**:")[0].strip("*") for line in lines] == [*KINDS[:4]]
    assert "`~mobius_lib.training.fit`" in lines[1] and "TrainingError" in lines[2]
    assert contents("mobius_lib.cantor")[-1].startswith("**Constants and types**: `~mobius_lib.cantor.DIMENSION`, ")


def test_every_package_of_public_names_has_a_page():
    packages = {path.parent.name for path in (ROOT / "mobius_lib").glob("*/__init__.py")} - {"bench"}  # which has none
    assert set(PACKAGES) == packages


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_constant_says_what_it_is(package: str):
    """Under its name, where it is made; so that it has an entry."""
    module = import_module(f"mobius_lib.{package}")
    share_comments(module.__name__)
    comments = ModuleAnalyzer.for_module(module.__name__).attr_docs
    constants = [name for name in module.__all__ if not callable(getattr(module, name))]
    assert not [name for name in constants if not comments.get(("", name))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_entry_with_words(package: str, book: Book):
    text = (book.html / f"book/api_{package}.html").read_text("utf-8")
    module, order = import_module(f"mobius_lib.{package}"), {}
    for name in module.__all__:
        before, found, entry = text.partition(f'id="mobius_lib.{package}.{name}"')
        assert found, f"{name} has no entry"
        assert "<dd><p>" in entry.partition('class="sig sig-object')[0], f"{name} has an entry without words"
        order[len(before)] = KINDS.index(kind(getattr(module, name)))
    in_order = [order[place] for place in sorted(order)]
    assert in_order == sorted(in_order), "its kinds are mixed"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_entry_fits_a_phone(package: str, book: Book, served: Callable[[Path], str], browser: Any):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{served(book.html)}/book/api_{package}.html", wait_until="load")
    wide = """() => [...document.querySelectorAll('article :is(p, li, dt, dd, pre, h1, h2)')].filter(e =>
        e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not page.evaluate(wide)
    broken = """() => {  // of the title a word that stands on two lines
        const title = document.querySelector('article h1').firstChild, range = document.createRange();
        return [...title.data.matchAll(/\\S+/g)].filter(({ index, 0: word }) => {
            range.setStart(title, index);
            range.setEnd(title, index + word.length);
            return range.getClientRects().length > 1;
        }).length;
    }"""
    assert not page.evaluate(broken)
    page.close()


def test_the_search_finds_a_name(book: Book, served: Callable[[Path], str], browser: Any):
    page = browser.new_page()
    page.goto(f"{served(book.html)}/search.html?q=cayley_menger_volume")
    page.wait_for_selector("#search-results a[href*='api_simplex.html#mobius_lib.simplex.cayley_menger_volume']")
    page.close()


@pytest.mark.parametrize("page", [page for page in pages() if page.stem[0].isdigit()], ids=lambda page: page.stem)
def test_a_chapter_leads_to_its_names(page: Path, book: Book):
    """Where its code has them."""
    package = page.stem.partition("_")[2]
    text = (book.html / f"book/{page.stem}.html").read_text("utf-8")
    assert f"api_{package}.html#mobius_lib.{package}." in text
