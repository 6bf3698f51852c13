"""What readers see of the ledger: Markdown, HTML, terminal, README."""

import io
import json
import os
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from mobius_lib.ledger import LedgerError, Verdict, print_verdicts, show
from mobius_lib.ledger.base import AWAITS, WORDS
from mobius_lib.ledger.render import (
    BEGIN,
    END,
    chapter_table,
    format_value,
    ledger_page,
    readme_table,
    stale,
    summary_counts,
    update_readme,
    verdict_text,
)


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
    return Cells(MarkdownIt("commonmark").enable("table").render(markdown))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (33_709_338, "parameters", "33.71 M"),
        (950_534, "parameters", "950.5 K"),
        (999, "parameters", "999"),
        (2_661_883_904, "multiply-adds", "2.662 G"),
        (0.566, "accuracy", "56.6 %"),
        (0.036, "standard deviation", "0.036 standard deviation"),
        (-0.6, "rank correlation", "-0.6 rank correlation"),
        ([[64, 24, 32], [128, 12, 16]], "channels × height × width", "64×24×32, 128×12×16"),
        ([0, 1, 1, 0], "", "0, 1, 1, 0"),
        ({"a": 1.0, "b": 0.508}, "times", "a 1; b 0.508 times"),
        ("longer", "anything", "longer"),
        (None, "parameters", "not yet"),
    ],
)
def test_values_are_printed_for_people(value: object, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_markdown_shows_each_claim_once_and_unchanged(without_results: list[Verdict]) -> None:
    """Whatever a cell holds (|, *, _, <, $) survives a Markdown parser."""
    page = rendered(chapter_table(1, without_results))
    assert page.rows[0] == ["Verdict", "Claim", "Reported", "Measured"]
    assert [row[1] for row in page.rows[1:]] == [v.claim.statement for v in without_results]
    assert [row[0] for row in page.rows[1:]] == [verdict_text(v.word) for v in without_results]
    for row, verdict in zip(page.rows[1:], without_results, strict=True):
        assert all(row) and len(row) == 4
        if verdict.word == AWAITS:
            assert row[3] == verdict.command


def test_cells_survive_every_awkward_sign(without_results: list[Verdict]) -> None:
    nasty = "a|b *c* _d_ <b>e</b> $f$ `g|h`"
    verdict = without_results[0]
    verdict = verdict.model_copy(update={"claim": verdict.claim.model_copy(update={"statement": nasty})})
    assert rendered(chapter_table(1, [verdict])).rows[1][1] == nasty.replace("`", "")
    html = Cells(show([verdict])._repr_html_())
    assert html.rows[1][1] == nasty.replace("`", "") and "b" not in [tag for tag, _ in html.tags]


def test_the_html_table_can_be_read_out(without_results: list[Verdict]) -> None:
    view = show(without_results)
    page = Cells(view._repr_html_())
    assert [row[1] for row in page.rows[1:]] == [v.claim.statement for v in without_results]
    heads = [attributes["scope"] for tag, attributes in page.tags if tag == "th"]
    assert heads == ["col"] * 4 + ["row"] * len(without_results)
    assert sum(tag == "caption" for tag, _ in page.tags) == 1
    for row, verdict in zip(page.rows[1:], without_results, strict=True):
        assert verdict.word in row[0]  # the word itself, not only a sign or a colour
    assert rendered(view._repr_markdown_()).rows == page.rows
    assert "refuted" in repr(view) and "params-tiny-s" in repr(view)


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
    assert len(show(without_results, chapter=1).verdicts) == len(without_results)
    for call in (lambda: show(without_results, chapter=5), lambda: chapter_table(5, without_results)):
        with pytest.raises(LedgerError, match="no claim of chapter 5"):
            call()


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
    assert text.startswith(f"# Book\r\nbefore\n\n{BEGIN}\n| Verdict |") and text.endswith(f"\n{END}\n\nafter – π\n")
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
    assert [row[1] for row in rows] == [v.claim.statement for v in without_results if v.claim.headline]
    assert 5 <= len(rows) <= 15


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
