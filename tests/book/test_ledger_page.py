"""The ledger's page in a real browser, without a kernel and without a network: on made-up rows, and as it was built."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from mobius_lib.ledger import page as ledger_page
from mobius_lib.ledger.sources import load_sources

pytestmark = pytest.mark.browser

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
KEYS = ("chapter", "source", "outcome", "basis", "whose")


@pytest.fixture(scope="module", params=["made up", "built"])
def address(request: pytest.FixtureRequest, made_up: list[Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "built":
        return (request.getfixturevalue("book").html / "book" / "ledger.html").as_uri()
    silent = {"paragraph": "A sentence. " * 120, "chosen": [], "ask": []}
    sources = {number: source.model_copy(update=silent) for number, source in load_sources().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_page, "load_sources", lambda: sources)
        body = f"{ledger_page.overview(made_up)}<h2 id='the-claims'>Claims</h2>{ledger_page.claims_table(made_up)}"
    path = tmp_path_factory.mktemp("page") / "ledger.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(f'<!doctype html><html data-content_root="../">{head}<article>{body}</article></html>', "utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    contexts = []

    def open_page(asked: str = "", viewport: dict[str, int] = DESK, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport=viewport, **options))
        opened = contexts[-1].new_page()
        opened.goto(address + asked)
        return opened

    yield open_page
    for context in contexts:
        context.close()


def rows(page: Any) -> list[dict[str, str]]:
    """What can be seen, from top to bottom."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.ledger-claims tbody')].filter((row) => row.getClientRects().length)
            .map((row) => ({id: row.id, text: `${row.id} ${row.textContent}`.toLowerCase(), ...row.dataset}))"""
    )


def ids(page: Any) -> list[str]:
    return [row["id"] for row in rows(page)]


def query(page: Any) -> dict[str, list[str]]:
    # as the page has it: what Playwright knows of the address comes later where the machine is busy
    return parse_qs(page.evaluate("location.search").removeprefix("?"))


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_filters_leave_what_was_asked_for(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("", viewport)
    every = rows(page)
    for key in KEYS:
        for value in sorted({part for row in every for part in row[key].split("|")}):
            page.select_option(f"select[name={key}]", value)
            expected = [row for row in every if value in row[key].split("|")]
            assert rows(page) == expected and expected, (key, value)
            assert page.locator(".ledger-form output").inner_text() == f"{len(expected)} of {len(every)} shown"
            assert query(page) == {key: [value]}
        page.click(".ledger-form button")
        assert rows(page) == every and query(page) == {}


def test_two_filters_and_a_search_together(visit: Any) -> None:
    page = visit()
    every = rows(page)
    page.select_option("select[name=outcome]", "refuted")
    page.select_option("select[name=whose]", "source")
    word = rows(page)[-1]["id"]
    page.fill(".ledger-form input[name=q]", f"{word[:4].upper()} {word[4:]}")  # all words, in any case
    kind = [row for row in every if (row["outcome"], row["whose"]) == ("refuted", "source")]
    expected = [row for row in kind if word[:4] in row["text"] and word[4:] in row["text"]]
    assert rows(page) == expected and word in ids(page)
    assert (
        visit(page.evaluate("location.search"))
        .locator(".ledger-form output")
        .inner_text()
        .startswith(f"{len(expected)} ")
    )
    page.fill(".ledger-form input[name=q]", "no row says this")
    assert ids(page) == []


def test_a_link_opens_what_it_names(visit: Any) -> None:
    """With a filter and an order; what the address holds that is not ours does no harm."""
    page = visit("?basis=arithmetic&sort=-claim&whose=nobody&length=3&highlight=x")
    everything = ids(visit())
    chosen = [row["id"] for row in rows(visit()) if row["basis"] == "arithmetic"]
    assert ids(page) == chosen[::-1] != everything


def test_the_order_is_the_readers(visit: Any) -> None:
    page = visit()
    every = rows(page)
    for key in ("outcome", "basis"):
        order = page.evaluate(f"[...document.querySelector('select[name={key}]').options].map((o) => o.value)")
        expected = sorted(every, key=lambda row: order.index(row[key]))
        page.click(f".ledger-claims thead button[value={key}]")
        assert rows(page) == expected != every and query(page) == {"sort": [key]}
        page.click(f".ledger-claims thead button[value={key}]")
        assert rows(page) == sorted(every, key=lambda row: -order.index(row[key])) and query(page) == {
            "sort": [f"-{key}"]
        }
    page.click(".ledger-claims thead button[value=claim]")
    assert rows(page) == every


def test_a_row_opens_in_place_and_has_an_address(visit: Any, address: str) -> None:
    page = visit()
    third = page.locator(".ledger-claims tbody").nth(2)
    name = third.get_attribute("id")
    assert not third.locator("dl").is_visible()
    third.locator(".ledger-claim").click()  # anywhere in the row
    assert third.locator("dl").is_visible()
    page.wait_for_url(f"{address}#{name}")  # a moment later: the browser tells of an opening when it is done
    third.locator("summary").click()
    assert not third.locator("dl").is_visible()
    for asked in (f"#{name}", f"?q=no+row+says+this#{name}"):  # also where the filter of the link would hide it
        opened = visit(asked)
        assert opened.locator(f"#{name} dl").is_visible()
        opened.wait_for_function(f"() => {{const box = document.getElementById('{name}').getBoundingClientRect();"
                                 "return box.top > -5 && box.top < innerHeight}")  # fmt: skip
    opened.evaluate("location.hash = document.querySelector('.ledger-claims tbody:last-of-type').id")
    opened.locator(".ledger-claims tbody:last-of-type dl").wait_for(state="visible")


def test_by_keyboard_alone(visit: Any) -> None:
    page = visit()
    every = rows(page)
    page.locator(".ledger-form input[name=q]").focus()
    page.keyboard.type(every[-1]["id"])
    assert ids(page)[-1] == every[-1]["id"] and len(ids(page)) < len(every)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert {row["chapter"] for row in rows(page)} == {"1"}
    page.locator(".ledger-claims thead button").first.focus()
    page.keyboard.press("Enter")
    assert query(page) == {"chapter": ["1"], "sort": ["outcome"]}
    first = ids(page)[0]
    page.locator(f"#{first} summary").focus()
    page.keyboard.press("Enter")
    assert page.locator(f"#{first} dl").is_visible()


def test_without_scripts_every_row_is_there_and_opens(visit: Any) -> None:
    page = visit(java_script_enabled=False)
    count = page.locator(".ledger-claims tbody").count()
    assert count > 20 and page.locator(".ledger-claims tbody .ledger-claim:visible").count() == count
    assert not page.locator(".ledger-form").is_visible()
    page.locator(".ledger-claims summary").first.click()
    assert page.locator(".ledger-claims dl").first.is_visible()


def test_a_bar_of_the_overview_leads_to_its_rows(visit: Any) -> None:
    page = visit()
    bar = page.locator(".ledger-bar a").last
    number = int(bar.inner_text().split()[-1])
    bar.click()
    page.wait_for_url("**basis=*")
    assert len(rows(page)) == number and urlparse(page.url).fragment == "the-claims"


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_reader_filters_within_three_screens(visit: Any, viewport: dict[str, int]) -> None:
    page = visit("", viewport)
    assert page.evaluate("document.querySelector('.ledger-form').getBoundingClientRect().top") < 3 * viewport["height"]


def test_rows_are_cards_on_a_phone(visit: Any) -> None:
    """Nothing lies beyond the right edge, cells stand below each other, and every value says what it is."""
    page = visit("", PHONE)
    page.evaluate("document.querySelectorAll('.ledger-claims details').forEach((each) => { each.open = true; })")
    width, cut = page.evaluate(
        """() => [document.documentElement.scrollWidth,
            [...document.querySelectorAll('.ledger :is(td, th, dd, a, select, input, li)')]
                .filter((e) => e.getBoundingClientRect().right > 390).length]"""
    )
    assert width <= 390 and cut == 0
    left = page.evaluate(
        "[...document.querySelectorAll('.ledger-claims tbody tr:first-child > *')].map((e) => e.offsetLeft)"
    )
    assert len(set(left)) == 1
    labels = page.evaluate(
        "[...document.querySelectorAll('.ledger-value')].map((e) => getComputedStyle(e, '::before').content)"
    )
    assert {'"measured: "'} <= {*labels} <= {'"reported: "', '"measured: "', '"awaits: "', '"asked: "'}
    desk = visit()
    assert desk.evaluate("getComputedStyle(document.querySelector('.ledger-claims td')).display") == "table-cell"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read_in_both_themes(visit: Any, address: str, scheme: str) -> None:
    """The darkest against the lightest: WCAG's contrast of text and what lies behind it, 4.5 at least."""
    if "/book/" not in address:
        pytest.skip("the made-up page has no theme")
    page = visit(color_scheme=scheme)
    page.locator(".ledger-claims summary").first.click()
    poor = page.evaluate(
        """() => {
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const light = (colours) => {
            canvas.clearRect(0, 0, 1, 1);
            for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
                .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const texts = document.querySelectorAll('.ledger :is(td, th, summary, dd, dt, a, li, p, small, button)');
        return [...texts].slice(0, 400)
            .filter((e) => e.getClientRects().length).map((e) => {
                const behind = [];
                for (let p = e; p; p = p.parentElement) behind.unshift(getComputedStyle(p).backgroundColor);
                const under = light(behind), over = light([...behind, getComputedStyle(e).color]);
                return [(Math.max(under, over) + 0.05) / (Math.min(under, over) + 0.05), e.outerHTML.slice(0, 80)];
            }).filter(([contrast]) => contrast < 4.5);
        }"""
    )
    assert not poor


def test_ids_are_unique(visit: Any) -> None:
    found = visit().evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(found) == len(set(found))


def test_the_script_stands_in_one_small_file() -> None:
    source = (Path(ledger_page.__file__).with_name("page.js")).read_text("utf-8")
    assert len(source.splitlines()) < 80 and "http" not in source and "import" not in source
