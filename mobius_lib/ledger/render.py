"""Verdicts for eyes: Markdown for the ledger page and the README, HTML for notebooks, a table for the terminal."""

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobius_lib.files import write_whole
from mobius_lib.ledger.base import AWAITS, PARTLY, REFUTED, REPRODUCED, WORDS, LedgerError, Word
from mobius_lib.ledger.claims import load_claims
from mobius_lib.ledger.values import format_value
from mobius_lib.ledger.verdicts import Verdict, judge

if TYPE_CHECKING:
    from rich.console import Console

SYMBOLS: dict[Word, str] = {REPRODUCED: "✓", PARTLY: "◐", REFUTED: "✗", AWAITS: "…"}
MEANINGS: dict[Word, str] = {
    REPRODUCED: "what we measured agrees with what was said, within the stated tolerance",
    PARTLY: "it agrees in one reading or one part only, or our seeds do not decide it",
    REFUTED: "what we measured disagrees with what was said",
    AWAITS: "nothing has been measured yet; the command would settle it",
}
BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
COLUMNS = ("Verdict", "Claim", "Reported", "Measured")
NARROW_COLUMNS = ("Claim, and how it stands", "Reported, and measured")  # two: a phone shows both
_CLASSES = "table dataframe mobius-ledger"  # "dataframe": what else a cell shows, the theme frames in white by night
# Where the table gets less than 40em (a phone, or a narrow window) each row becomes a block that names its values. The
# roles keep it a table for a screen reader, which a browser forgets once the cells are blocks.
_STYLE = """\
<style>
.mobius-ledger-frame { container-type: inline-size; }
.mobius-ledger { width: 100%; }
.mobius-ledger :is(td, th) { text-align: left; overflow-wrap: anywhere; }
article :not(pre) > code, article :not(pre) > code .pre { overflow-wrap: anywhere; white-space: normal; }
.mobius-ledger .ledger-claim { font-weight: normal; min-width: 12em; }
.mobius-ledger .ledger-word { font-weight: bold; white-space: nowrap; }
.mobius-ledger .ledger-value { min-width: 8em; }
@container (max-width: 40em) {
  .mobius-ledger thead { display: none; }
  .mobius-ledger :is(tbody, tr, td, th) { display: block; border: 0 !important; padding: 0; }
  .mobius-ledger tbody tr { padding: 0.6em 0.5em; border-bottom: 1px solid #8888 !important; }
  .mobius-ledger .ledger-value::before { content: attr(data-label) ": "; opacity: 0.75; }
}
</style>"""


# One verdict.


def reported_text(verdict: Verdict) -> str:
    """What the seed says."""
    claim = verdict.claim
    return claim.reported_text or format_value(claim.reported, claim.unit)


def measured_text(verdict: Verdict) -> str:
    """What the check found; while it waits, the command that would find it."""
    if verdict.word == AWAITS:
        return f"`{verdict.command}`"
    return format_value(verdict.measured, verdict.measured_unit)


def verdict_text(word: Word) -> str:
    """Symbol and word, so that no colour is needed."""
    return f"{SYMBOLS[word]} {word}"


# Markdown.


def summary_counts(verdicts: Sequence[Verdict] | None = None) -> str:
    """`41 claims: 13 reproduced, 12 partly, …` in one line."""
    verdicts = judge() if verdicts is None else verdicts
    counts = Counter(verdict.word for verdict in verdicts)
    return f"{len(verdicts)} claims: " + ", ".join(f"{counts[word]} {word}" for word in WORDS)


def legend() -> str:
    """What the four words mean, as a Markdown list."""
    return "\n".join(f"- **{verdict_text(word)}**: {MEANINGS[word]}." for word in WORDS)


def table(verdicts: Sequence[Verdict]) -> str:
    """Verdict and claim, reported and measured, as a Markdown table of two columns: it fits a phone without styles."""
    rows = [NARROW_COLUMNS, ("---",) * len(NARROW_COLUMNS), *map(_narrow_row, verdicts)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def chapter_table(chapter: int, verdicts: Sequence[Verdict] | None = None) -> str:
    """The Markdown table of one chapter's claims.

    Raises:
        LedgerError: when there is no claim of that chapter.
    """
    return table(_of_chapter(chapter, verdicts))


def readme_table(verdicts: Sequence[Verdict] | None = None) -> str:
    """The README's block: the headline claims, and how all of them stand."""
    verdicts = judge() if verdicts is None else verdicts
    shown = [verdict for verdict in verdicts if verdict.claim.headline]
    return f"{table(shown)}\n\nOf {summary_counts(verdicts)}. Each is computed: `mobius ledger`."


def details(verdicts: Sequence[Verdict]) -> str:
    """Every verdict with its arithmetic, rule, evidence and command, as Markdown sections."""
    return "\n\n".join(_detail(verdict) for verdict in verdicts)


def ledger_page(verdicts: Sequence[Verdict] | None = None) -> str:
    """The whole ledger as Markdown below a page's title: legend, counts, and per chapter a table and the details."""
    verdicts = judge() if verdicts is None else verdicts
    parts = [summary_counts(verdicts) + ".", legend()]
    for chapter in sorted({verdict.claim.chapter for verdict in verdicts}):
        mine = _of_chapter(chapter, verdicts)
        parts += [f"## Chapter {chapter}", table(mine), f"### How chapter {chapter} was measured", details(mine)]
    return "\n\n".join(parts) + "\n"


# Notebooks.


@dataclass(frozen=True)
class LedgerView:
    """Verdicts that a notebook shows as a table, and a terminal as text."""

    verdicts: tuple[Verdict, ...]
    caption: str

    def _repr_markdown_(self) -> str:
        return f"{self.caption}\n\n{table(self.verdicts)}"

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in COLUMNS)
        body = "".join(_html_row(verdict) for verdict in self.verdicts)
        return (
            f'{_STYLE}<div class="mobius-ledger-frame" style="overflow-x: auto">'
            f'<table class="{_CLASSES}" role="table"><caption>{html.escape(self.caption)}</caption>'
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{body}</tbody>'
            "</table></div>"
        )

    def __repr__(self) -> str:
        return "\n".join([self.caption, *(f"{verdict_text(v.word):13} {v.claim.id}" for v in self.verdicts)])


def show(verdicts: Sequence[Verdict] | None = None, *, chapter: int | None = None) -> LedgerView:
    """A table of verdicts, as the last expression of a notebook cell.

    Args:
        verdicts: from `judge`; None judges now.
        chapter: keep this chapter's claims only.
    """
    if chapter is not None:
        verdicts = _of_chapter(chapter, verdicts)
    verdicts = judge() if verdicts is None else verdicts
    return LedgerView(tuple(verdicts), summary_counts(verdicts) + ".")


# The terminal.


def print_verdicts(console: "Console", verdicts: Sequence[Verdict], explain: bool = False) -> None:
    """A table of verdicts, the commands that are awaited, and the counts.

    Args:
        console: a rich console.
        verdicts: from `judge`.
        explain: also print each one's arithmetic.
    """
    from rich.table import Table
    from rich.text import Text

    colours: dict[Word, str] = {REPRODUCED: "green", PARTLY: "yellow", REFUTED: "red", AWAITS: "dim"}
    out = Table(title="What was said, and what we measured", title_justify="left", show_lines=True)
    for name in COLUMNS:
        out.add_column(name, overflow="fold", min_width=12 if name == "Verdict" else None)
    for verdict in verdicts:
        said = Text.assemble((verdict.claim.id, "bold"), f"\n{verdict.claim.statement}")
        if explain:
            said.append(f"\n→ {verdict.explanation}")
        measured = "not yet" if verdict.word == AWAITS else measured_text(verdict)
        word = Text(verdict_text(verdict.word), style=colours[verdict.word])
        out.add_row(word, said, Text(reported_text(verdict)), Text(measured))
    console.print(out)
    for command in dict.fromkeys(verdict.command for verdict in verdicts if verdict.word == AWAITS):
        names = ", ".join(v.claim.id for v in verdicts if v.word == AWAITS and v.command == command)
        console.print(Text(f"{command}  settles {names}"), soft_wrap=True)
    console.print(Text(summary_counts(verdicts)))


# The README.


def update_readme(path: Path | str, verdicts: Sequence[Verdict] | None = None) -> bool:
    """Write the table between the README's markers, whole or not at all.

    Returns:
        whether anything changed.
    Raises:
        LedgerError: when the file cannot be read, or has not exactly one pair of markers.
    """
    path = Path(path)
    old = _read(path)
    new = _replaced(path, old, readme_table(verdicts))
    if new == old:
        return False
    write_whole(path, new.encode(), error=LedgerError)
    return True


def stale(path: Path | str, verdicts: Sequence[Verdict] | None = None) -> bool:
    """Whether the README shows another table than the one rendered now; `update_readme` mends it.

    Raises:
        LedgerError: as `update_readme`.
    """
    path = Path(path)
    content = _read(path)
    return _replaced(path, content, readme_table(verdicts)) != content


# What they share.


def _row(verdict: Verdict) -> tuple[str, str, str, str]:
    return verdict_text(verdict.word), verdict.claim.statement, reported_text(verdict), measured_text(verdict)


def _narrow_row(verdict: Verdict) -> tuple[str, str]:
    word, statement, reported, measured = map(_cell, _row(verdict))
    found = f"awaits {measured}" if verdict.word == AWAITS else f"measured: {measured}"
    return f"**{word}**: {statement}", f"reported: {reported}<br>{found}"


def _cell(text: str) -> str:
    return _escape(text).replace("|", r"\|")


def _escape(text: str) -> str:
    """Text that Markdown shows as it stands; code in backticks stays code."""
    return re.sub(r"`[^`]*`|[*_<$]", lambda m: m[0] if m[0].startswith("`") else "\\" + m[0], text)


def _detail(verdict: Verdict) -> str:
    claim = verdict.claim
    tolerance = "" if claim.tolerance is None else f" Tolerance {claim.tolerance:g}."
    lines = [
        f"**{verdict_text(verdict.word)}: {_escape(claim.statement)}** (`{claim.id}`, seed {claim.seed})",
        f"Reported {_escape(reported_text(verdict))}. {_escape(verdict.explanation)}",
        f"*Rule.*{tolerance} {_escape(claim.tolerance_reason)}",
    ]
    if verdict.sources:
        lines.append("*Measured with* " + ", ".join(f"`{source}`" for source in verdict.sources) + ".")
    if verdict.command:
        made = "Would settle it" if verdict.word == AWAITS else "Made by"
        lines.append(f"*{made}.* `{verdict.command}`")
    return "  \n".join(lines)


def _html_row(verdict: Verdict) -> str:
    word, statement, reported, measured = (_html(text) for text in _row(verdict))
    title = html.escape(verdict.explanation, quote=True)
    label = "awaits" if verdict.word == AWAITS else "measured"
    return (
        f'<tr role="row"><td role="cell" class="ledger-word">{word}</td>'
        f'<th scope="row" role="rowheader" class="ledger-claim">{statement}</th>'
        f'<td role="cell" class="ledger-value" data-label="reported">{reported}</td>'
        f'<td role="cell" class="ledger-value" data-label="{label}" title="{title}">{measured}</td></tr>'
    )


def _html(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _of_chapter(chapter: int, verdicts: Sequence[Verdict] | None) -> list[Verdict]:
    if verdicts is None:
        verdicts = judge([claim for claim in load_claims() if claim.chapter == chapter])
    mine = [v for v in verdicts if v.claim.chapter == chapter]
    if not mine:
        raise LedgerError(f"The ledger holds no claim of chapter {chapter}.")
    return mine


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # bytes: line endings outside the block stay as they are
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be read, so its ledger table cannot be rendered: {error}.") from error


def _replaced(path: Path, content: str, block: str) -> str:
    if content.count(BEGIN) != 1 or content.count(END) != 1 or content.index(BEGIN) > content.index(END):
        raise LedgerError(f"{path} needs one line {BEGIN} and after it one line {END}, around its ledger table.")
    before, rest = content.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"
