"""What readers see of a verdict in words: values, outcome and basis, the terminal, the README."""

import io
import os
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from mobius_lib.ledger import LedgerError, Verdict, show
from mobius_lib.ledger.claims import BASES
from mobius_lib.ledger.readme import BEGIN, END, readme_table, stale, update_readme
from mobius_lib.ledger.rules import OUTCOMES
from mobius_lib.ledger.sources import load_sources
from mobius_lib.ledger.terminal import print_facts, print_verdicts
from mobius_lib.ledger.values import format_value
from mobius_lib.ledger.words import (
    ANSWER,
    BASIS,
    OUTCOME,
    facts,
    legend,
    lines,
    measured_text,
    reported_text,
    summary_counts,
    verdict_text,
    word,
)

MARKDOWN = MarkdownIt("commonmark").enable("table")


class Cells(HTMLParser):
    """Rows of an HTML table as lists of text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (33_709_338, "parameters", "33.71 M"),
        (950_534, "parameters", "950.5 K"),
        (999, "parameters", "999"),
        (2_661_883_904, "multiply-adds", "2.662 G"),
        (0.566, "accuracy", "56.6 %"),
        (0.036, "standard deviation", "standard deviation 0.036"),
        (-0.6, "rank correlation", "rank correlation −0.6"),
        ({"a": -0.2, "b": 0.25}, "rank correlation", "rank correlation: a −0.2; b 0.25"),
        (1.0, "share of the lenses", "100 % of the lenses"),
        (0.0083, "share of the channels", "0.83 % of the channels"),
        (65_000, "vertices", "65,000 vertices"),
        (2.0, "doublings", "4 times"),
        (-0.5, "doublings", "0.707 times"),
        (13_920_037.0, "words", "13,920,037 words"),
        (2.03e15, "numbers", "2.03e+15 numbers"),
        (-1.73, "percentage points", "−1.73 percentage points"),
        (-0.5, "power of s", "power of s −0.5"),
        ({"V = 5:": 20.12, "V = 7:": 3.0}, "times", "V = 5: 20.12; V = 7: 3 times"),
        ([[64, 24, 32], [128, 12, 16]], "channels × height × width", "64×24×32, 128×12×16"),
        ([0, 1, 1, 0], "", "0, 1, 1, 0"),
        ({"a": None, "b": True}, "", "a not yet; b yes"),
        (-7e-16, "", "0 to rounding"),
        (1e-11, "", "1e-11"),
        (0.0, "", "0"),
        ("longer", "anything", "longer"),
        (False, "anything", "no"),
        (None, "parameters", "not yet"),
    ],
)
def test_values_are_printed_for_people(value: object, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_every_outcome_and_every_basis_has_its_words() -> None:
    assert [name for name in OUTCOME if name not in ANSWER.values()] == [*OUTCOMES] and (*BASIS,) == BASES
    assert len({OUTCOME[outcome][0] for outcome in OUTCOMES}) == len(OUTCOMES), "two outcomes look alike"


def test_a_question_of_ours_is_answered(made_up: list[Verdict], every: list[Verdict]) -> None:
    """Nobody reported what we ask, so nothing of it is reproduced or refuted: not in any verdict, nor in its parts."""
    for v in [*made_up, *every]:
        said = {word(v), *(word(v, part.outcome) for part in v.parts)}
        assert not said & ({"reproduced", "refuted"} if v.claim.whose == "ours" else {"yes", "no"}), v.claim.id
    v = next(v for v in made_up if v.outcome == "refuted")
    v = v.model_copy(update={"claim": v.claim.model_copy(update={"whose": "ours", "quote": None, "headline": True})})
    screen = io.StringIO()
    print_verdicts(Console(file=screen, width=120, color_system=None), [v])
    for text in (verdict_text(v), screen.getvalue(), readme_table([v]), repr(show([v])), show([v])._repr_html_()):
        assert "✗ no" in text or "1 no" in text
        assert "refuted" not in text
    assert [name for name, _ in legend([v])] == ["✗ no", v.basis]


def test_what_was_measured_small_is_never_refuted(every: list[Verdict]) -> None:
    assert any(v.basis == "measured small" for v in every)
    for v in every:
        texts = [verdict_text(v), *(part.outcome for part in v.parts)]
        assert v.basis != "measured small" or not any("refuted" in text or "reproduced" in text for text in texts), v


def test_outcome_and_basis_stand_together(made_up: list[Verdict]) -> None:
    (v,) = (v for v in made_up if v.outcome == "not seen here")
    assert verdict_text(v) == "▽ not seen here · measured small: 10,000 rows, 5 seeds"
    (v,) = (v for v in made_up if v.outcome == "refuted" and v.basis == "arithmetic")
    assert verdict_text(v) == "✗ refuted · arithmetic"


def test_a_legend_has_what_occurs_and_no_more(made_up: list[Verdict]) -> None:
    (v,) = (v for v in made_up if v.outcome == "partly" and v.basis == "arithmetic")
    assert [word for word, _ in legend([v])] == ["✗ no", "? undecided", "◐ partly", "arithmetic"]
    assert len(legend(made_up)) == len(OUTCOME) + len(BASIS)


def test_values_of_parts_bounds_and_what_is_awaited(made_up: list[Verdict]) -> None:
    partly = next(v for v in made_up if v.outcome == "partly" and v.basis == "arithmetic")
    assert measured_text(partly) == "? left 0.5; ✗ right 2.5 points"
    bound = partly.model_copy(update={"claim": partly.claim.model_copy(update={"bound": "at most", "reported": 3})})
    assert reported_text(bound) == "at most 3 points"
    waiting = next(v for v in made_up if v.outcome == "awaits")
    assert measured_text(waiting) == f"`{waiting.command}`"


def test_counts_add_up(made_up: list[Verdict]) -> None:
    """Claims, faults behind those that fail, and our own questions, each counted by hand here."""
    claims, ours = (sum(v.claim.whose == whose for v in made_up) for whose in ("source", "ours"))
    failed = [v.claim for v in made_up if v.outcome in ("refuted", "not seen here") and v.claim.whose == "source"]
    shared = sum(claim.fault == "slip" for claim in failed)
    assert shared > 1
    text = summary_counts(made_up)
    first, second = text.split(" Of our own, ")
    assert first.startswith(f"{claims} claims: ") and second.startswith(f"{ours} questions: ")
    behind = f"the {len(failed)} refuted or not seen here go back to {len(failed) - shared + 1} faults"
    assert first.endswith(f"; {behind}, since one can make several claims fail.")
    for part, total in ((first.split(";")[0], claims), (second, ours)):
        assert sum(int(each.split()[0]) for each in part.split(": ")[1].split(", ")) == total
    assert (
        summary_counts([v for v in made_up if v.claim.id == "claim-1"])
        == "1 claim: 1 refuted; the 1 refuted or not seen here goes back to 1 fault."
    )


def test_facts_leave_nothing_out(made_up: list[Verdict]) -> None:
    v = next(v for v in made_up if v.basis == "measured small" and v.outcome == "partly")
    text = dict(facts(v))
    number, line = v.claim.source[0].split(":")
    assert text["said in"] == f"{load_sources()[number].name}, line {line}: “{v.claim.quote}”"
    assert text["how"] == v.words and text["left"] == "? undecided. left alone."
    assert text["smallest effect"] == "0.5 points. Half a <digit>." and "tolerance" not in text
    assert text["evidence"] == "`run.short.json`, made 2026-01-02, commit abc, verified 2026-01-03"
    assert text["command"] == f"`{v.command}`"
    plain = dict(facts(next(v for v in made_up if v.basis == "construction")))
    assert (
        plain["tolerance"] == "0.25 points. Half a <digit>." and plain["found with"] == "`mobius_lib.waves.math.gate`"
    )
    foreign = v.claim.model_copy(update={"quote": "默认3层", "in_english": "3 layers by default"})
    assert dict(facts(v.model_copy(update={"claim": foreign})))["our translation"] == "“3 layers by default”"
    question = next(v for v in made_up if v.claim.whose == "ours" and len(v.claim.source) > 1)
    assert dict(facts(question))["question of ours"] == "MobiusNet card, line 1; distillation card, line 2"
    assert lines(["000:9", "001:19", "000:137"]) == "MobiusNet card, lines 9, 137; distillation card, line 19"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_shows_all_within_its_width(made_up: list[Verdict], width: int) -> None:
    screen = io.StringIO()
    print_verdicts(Console(file=screen, width=width, color_system=None), made_up)
    lines = screen.getvalue().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("──"))
    ends = [i for i, line in enumerate(lines) if i > start and not line.strip()]
    head, inside = lines[start - 1], lines[start + 1 : ends[0]]
    edges = [head.index(name) for name in ("Verdict", "Claim", "Reported", "Measured")]
    cells = [[line[a:b] for line in inside] for a, b in zip(edges, [*edges[1:], width], strict=True)]
    assert max(map(len, inside)) <= width
    said = ["".join("".join(cell).split()) for cell in cells]  # a narrow column folds inside words
    for v in made_up:
        found = "not yet" if v.outcome == "awaits" else measured_text(v)
        texts = (f"{OUTCOME[word(v)][0]} {word(v)} · {v.basis}", v.claim.id, reported_text(v), found)
        for text, column in zip(texts, said, strict=True):
            assert "".join(text.split()) in column
    for v in made_up:
        if v.outcome in ("awaits", "stale"):
            assert f"{v.command}  settles {v.claim.id}" in lines
    assert lines[-1] == summary_counts(made_up)


def test_the_terminal_tells_all_of_one(made_up: list[Verdict]) -> None:
    screen = io.StringIO()
    print_facts(Console(file=screen, width=200, color_system=None), made_up)
    shown = " ".join(screen.getvalue().split())
    for v in made_up:
        assert f"{v.claim.id}: {verdict_text(v)} {v.claim.statement}" in shown
        assert all(text.replace("`", "") in shown for _, text in facts(v))


# The README.


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_bytes(f"# Book\r\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter – π\n".encode())
    return path


def test_the_readme_shows_the_headlines(made_up: list[Verdict]) -> None:
    """Whatever a cell holds (|, *, _, <, $) survives a Markdown parser."""
    page = Cells(MARKDOWN.render(readme_table(made_up)))
    shown = [v for v in made_up if v.claim.headline]
    assert all(f"**{name}**: {meaning}" in readme_table(made_up) for name, meaning in legend(shown))
    assert len(shown) > 5 and page.tags.count("br") == len(shown)
    for row, v in zip(page.rows[1:], shown, strict=True):
        found = f"awaits {v.command}" if v.outcome == "awaits" else f"measured: {measured_text(v)}"
        assert row[0] == f"{verdict_text(v)}: {v.claim.statement.replace('`', '')}"
        asked = "reported" if v.claim.whose == "source" else "asked"
        assert row[1].startswith(f"{asked}: {reported_text(v)}{found}")  # a line break lies between


def test_the_readme_is_stale_until_it_is_written(readme: Path, made_up: list[Verdict]) -> None:
    readme.chmod(0o640)
    assert stale(readme, made_up)
    assert update_readme(readme, made_up) and not stale(readme, made_up)
    assert not update_readme(readme, made_up)  # nothing left to do
    text = readme.read_bytes().decode()
    assert text.startswith(f"# Book\r\nbefore\n\n{BEGIN}\n**✓ ") and text.endswith(f"\n{END}\n\nafter – π\n")
    assert stat.S_IMODE(os.stat(readme).st_mode) == 0o640
    assert [path.name for path in readme.parent.iterdir()] == ["README.md"]


def test_a_changed_verdict_makes_the_readme_stale(readme: Path, made_up: list[Verdict]) -> None:
    update_readme(readme, made_up)
    for i, v in enumerate(made_up):
        other = "undecided" if v.outcome != "undecided" else "stale"
        changed = [*made_up[:i], v.model_copy(update={"outcome": other}), *made_up[i + 1 :]]
        assert stale(readme, changed), v.claim.id  # by its row, or by the counts


@pytest.mark.parametrize("text", ["no markers", BEGIN, END + BEGIN, BEGIN + END + BEGIN + END])
def test_a_readme_without_its_markers_is_an_error(tmp_path: Path, made_up: list[Verdict], text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    for function in (stale, update_readme):
        with pytest.raises(LedgerError, match=r"README\.md needs one line"):
            function(path, made_up)
    assert path.read_text() == text


def test_a_missing_readme_is_named(tmp_path: Path, made_up: list[Verdict]) -> None:
    with pytest.raises(LedgerError, match=r"README\.md cannot be read"):
        stale(tmp_path / "README.md", made_up)
