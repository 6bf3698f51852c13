"""What readers see of the ledger: Markdown, HTML, terminal, README."""

import io
import json
import os
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from mobius_lib.ledger import LedgerError, Verdict, judge, load_claims, print_verdicts, show
from mobius_lib.ledger.base import AWAITS, WORDS
from mobius_lib.ledger.render import (
    BEGIN,
    END,
    chapter_table,
    format_value,
    ledger_page,
    measured_text,
    readme_table,
    reported_text,
    stale,
    summary_counts,
    table,
    update_readme,
    verdict_text,
)

MARKDOWN = MarkdownIt("commonmark").enable("table")


class Cells(HTMLParser):
    """Rows of an HTML table as lists of text, and what stands around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def rendered(markdown: str) -> Cells:
    return Cells(MARKDOWN.render(markdown))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (33_709_338, "parameters", "33.71 M"),
        (950_534, "parameters", "950.5 K"),
        (999, "parameters", "999"),
        (2_661_883_904, "multiply-adds", "2.662 G"),
        (0.566, "accuracy", "56.6 %"),
        (0.036, "standard deviation", "standard deviation 0.036"),
        (-0.6, "rank correlation", "rank correlation -0.6"),
        ({"a": -0.2, "b": 0.25}, "rank correlation", "rank correlation: a -0.2; b 0.25"),
        (1.0, "share of the lenses", "100 % of the lenses"),
        (0.0083, "share of the channels", "0.83 % of the channels"),
        (0.27, "share of the training time, at most", "27 % of the training time, at most"),
        (65_000, "vertices", "65,000 vertices"),
        (-1.73, "percentage points", "-1.73 percentage points"),
        (0, "activation calls", "activation calls 0"),
        (-0.5, "power of s", "power of s -0.5"),
        (1.0, "order of the error", "order of the error 1"),
        ({"V = 5:": 20.12, "V = 7:": 3.0}, "times", "V = 5: 20.12; V = 7: 3 times"),
        ([[64, 24, 32], [128, 12, 16]], "channels × height × width", "64×24×32, 128×12×16"),
        ([0, 1, 1, 0], "", "0, 1, 1, 0"),
        ({"a": 1.0, "b": 0.508}, "times", "a 1; b 0.508 times"),
        ("longer", "anything", "longer"),
        (None, "parameters", "not yet"),
    ],
)
def test_values_are_printed_for_people(value: object, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def in_two_columns(verdict: Verdict) -> list[str]:
    """The cells of a Markdown row, as a reader sees them."""
    found = measured_text(verdict).replace("`", "")
    found = f"awaits {found}" if verdict.word == AWAITS else f"measured: {found}"
    return [
        f"{verdict_text(verdict.word)}: {verdict.claim.statement}",
        f"reported: {reported_text(verdict).replace('`', '')}{found}",  # a line break lies between
    ]


@pytest.mark.parametrize("chapter", [1, 2, 3, 4, 5])
def test_markdown_shows_each_claim_once_and_unchanged(chapter: int, without_results: list[Verdict]) -> None:
    """Whatever a cell holds (|, *, _, <, $) survives a Markdown parser."""
    page = rendered(chapter_table(chapter, without_results))
    mine = [verdict for verdict in without_results if verdict.claim.chapter == chapter]
    assert len(mine) > 15 and len(page.rows[0]) == 2
    assert page.rows[1:] == [in_two_columns(verdict) for verdict in mine]
    assert [tag for tag, _ in page.tags].count("br") == len(mine)


def test_cells_survive_every_awkward_sign(without_results: list[Verdict]) -> None:
    nasty = "a|b *c* _d_ <b>e</b> $f$ `g|h`"
    verdict = without_results[0]
    verdict = verdict.model_copy(update={"claim": verdict.claim.model_copy(update={"statement": nasty})})
    said = nasty.replace("`", "")
    assert rendered(chapter_table(1, [verdict])).rows[1][0] == f"{verdict_text(verdict.word)}: {said}"
    html = Cells(show([verdict])._repr_html_())
    assert html.rows[1][1] == said and "b" not in [tag for tag, _ in html.tags]


def test_the_html_table_can_be_read_out(without_results: list[Verdict]) -> None:
    view = show(without_results)
    page = Cells(view._repr_html_())
    assert [row[1] for row in page.rows[1:]] == [v.claim.statement for v in without_results]
    heads = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
    assert heads == ["col"] * 4 + ["row"] * len(without_results)
    # blocks on a phone: only the roles still say that it is a table
    roles = {"table": "table", "tr": "row", "td": "cell"}
    assert all(attributes.get("role") == roles[tag] for tag, attributes in page.tags if tag in roles)
    assert sum(tag == "caption" for tag, _ in page.tags) == 1
    for row, verdict in zip(page.rows[1:], without_results, strict=True):
        assert verdict.word in row[0]  # the word itself, not only a sign or a colour
        assert row[2:] == [text(verdict).replace("`", "") for text in (reported_text, measured_text)]
    assert rendered(view._repr_markdown_()).rows[1:] == [in_two_columns(verdict) for verdict in without_results]
    assert "refuted" in repr(view) and "params-tiny-s" in repr(view)


def test_a_phone_sees_what_was_measured(without_results: list[Verdict], browser: Any) -> None:
    """At 390 px nothing lies beyond the right edge, and every value says whether it was reported or measured."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for shown, stacked in (
        (show(without_results)._repr_html_(), True),
        (MARKDOWN.render(table(without_results)), False),
    ):
        page.set_content(f'<meta name="viewport" content="width=device-width">{shown}')
        width, cut = page.evaluate(
            """() => [document.documentElement.scrollWidth,
            [...document.querySelectorAll('td, th')].filter(e => e.getBoundingClientRect().right > 390).length]"""
        )
        assert width <= 390 and cut == 0
        if stacked:
            labels = page.evaluate(
                """() => [...document.querySelectorAll('td[data-label]')].map(
                    e => getComputedStyle(e, '::before').content)"""
            )
            assert labels[:2] == ['"reported: "', '"measured: "'] and '"awaits: "' in labels
            left = page.evaluate("() => [...document.querySelectorAll('td, tbody th')].map(e => e.offsetLeft)")
            assert len(set(left)) == 1  # below each other
    page.set_viewport_size({"width": 1280, "height": 900})
    page.set_content(show(without_results)._repr_html_())
    assert page.evaluate("() => getComputedStyle(document.querySelector('td')).display") == "table-cell"
    page.close()


def test_the_page_holds_every_claim_its_arithmetic_and_its_command(without_results: list[Verdict]) -> None:
    page = ledger_page(without_results)
    plain = page.replace("\\", "")
    assert page.startswith(summary_counts(without_results)) and "## Chapter 1" in page
    for verdict in without_results:
        assert plain.count(f"(`{verdict.claim.id}`, seed {verdict.claim.seed})") == 1
        assert verdict.explanation in plain and verdict.claim.tolerance_reason in plain
        assert verdict.command is None or f"`{verdict.command}`" in plain


def test_counts_add_up(without_results: list[Verdict]) -> None:
    numbers = [int(part.split()[0]) for part in summary_counts(without_results).replace(":", ",").split(", ")]
    assert numbers[0] == sum(numbers[1:]) == len(without_results) and len(numbers) == 1 + len(WORDS)
    assert summary_counts([]) == "0 claims: 0 reproduced, 0 partly, 0 refuted, 0 awaits"


def test_a_chapter_without_claims_is_an_error(without_results: list[Verdict]) -> None:
    parts = [show(without_results, chapter=chapter).verdicts for chapter in (1, 2, 3, 4, 5)]
    assert sum(map(len, parts)) == len(without_results)
    first = [verdict for verdict in without_results if verdict.claim.chapter == 1]
    for call in (lambda: show(first, chapter=5), lambda: chapter_table(5, first)):
        with pytest.raises(LedgerError, match="no claim of chapter 5"):
            call()


def test_a_chapter_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "mobius_lib.ledger.render.judge", lambda claims: seen.extend(c.id for c in claims) or judge(claims[:1])
    )
    assert len(show(chapter=2).verdicts) == 1
    assert seen == [claim.id for claim in load_claims() if claim.chapter == 2]


def test_the_page_names_the_command_that_made_the_evidence(judge_one: Any, write_run: Any) -> None:
    waiting = judge_one("better-on-features")
    assert waiting.command == waiting.claim.command
    assert f"*Would settle it.* `{waiting.claim.command}`" in ledger_page([waiting])
    rows = [{"final_accuracy": 0.8}] * 3
    write_run("waves-features", lens=rows, gelu=rows)
    settled = judge_one("better-on-features")
    assert settled.command == "mobius run waves-features --scale short --seeds 3 --device cpu"
    assert f"*Made by.* `{settled.command}`" in ledger_page([settled])
    assert judge_one("params-base").command is None


def test_a_verdict_goes_through_json(without_results: list[Verdict]) -> None:
    text = json.dumps([verdict.model_dump(mode="json") for verdict in without_results])
    assert [Verdict.model_validate_json(json.dumps(entry)).word for entry in json.loads(text)] == [
        verdict.word for verdict in without_results
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_shows_all_within_its_width(without_results: list[Verdict], width: int) -> None:
    screen = io.StringIO()
    print_verdicts(Console(file=screen, width=width, color_system=None), without_results, explain=width == 200)
    lines = screen.getvalue().splitlines()
    inside = [line for line in lines if line.startswith(("┃", "│"))]
    assert {len(line) for line in inside} and max(map(len, inside)) <= width
    assert all(line.rstrip()[-1] in "┃│" for line in inside)  # nothing cut off at the right
    # compared without any white space, for a narrow column folds inside words; bars in a statement end a cell
    said = "".join(line.split("│")[2] for line in inside if line.startswith("│"))
    for verdict in without_results:
        if width < 200 and "|" not in verdict.claim.statement:
            assert "".join((verdict.claim.id + verdict.claim.statement).split()) in "".join(said.split())
        assert verdict.claim.id in "".join(said.split())
    assert lines[-1] == summary_counts(without_results)
    for command in {v.command for v in without_results if v.word == AWAITS}:
        assert sum(line.startswith(f"{command}  ") for line in lines) == 1
    assert ("1,540,870 parameters" in " ".join(lines)) == (width == 200)


# The README.


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_bytes(f"# Book\r\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter – π\n".encode())
    return path


def test_the_readme_is_stale_until_it_is_written(readme: Path, without_results: list[Verdict]) -> None:
    readme.chmod(0o640)
    assert stale(readme, without_results)
    assert update_readme(readme, without_results) and not stale(readme, without_results)
    assert not update_readme(readme, without_results)  # nothing left to do
    text = readme.read_bytes().decode()
    assert text.startswith(f"# Book\r\nbefore\n\n{BEGIN}\n| Claim, ") and text.endswith(f"\n{END}\n\nafter – π\n")
    assert stat.S_IMODE(os.stat(readme).st_mode) == 0o640
    assert [path.name for path in readme.parent.iterdir()] == ["README.md"]


def test_a_changed_verdict_makes_the_readme_stale(readme: Path, without_results: list[Verdict]) -> None:
    update_readme(readme, without_results)
    for i, verdict in enumerate(without_results):
        other = "partly" if verdict.word != "partly" else "refuted"
        changed = [*without_results[:i], verdict.model_copy(update={"word": other}), *without_results[i + 1 :]]
        assert stale(readme, changed), verdict.claim.id  # by its row, or by the counts


def test_the_readme_shows_the_headlines(without_results: list[Verdict]) -> None:
    rows = rendered(readme_table(without_results)).rows[1:]
    assert rows == [in_two_columns(v) for v in without_results if v.claim.headline]
    assert 5 <= len(rows) <= 30  # six for each chapter


@pytest.mark.parametrize("text", ["no markers", BEGIN, END + BEGIN, BEGIN + END + BEGIN + END])
def test_a_readme_without_its_markers_is_an_error(tmp_path: Path, without_results: list[Verdict], text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    for function in (stale, update_readme):
        with pytest.raises(LedgerError, match=r"README\.md needs one line"):
            function(path, without_results)
    assert path.read_text() == text


def test_a_missing_readme_is_named(tmp_path: Path, without_results: list[Verdict]) -> None:
    with pytest.raises(LedgerError, match=r"README\.md cannot be read"):
        stale(tmp_path / "README.md", without_results)
