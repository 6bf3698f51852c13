"""The README's block: the headline claims, and how all of them stand."""

import re
from collections.abc import Sequence
from pathlib import Path

from mobius_lib.files import write_whole
from mobius_lib.ledger.base import LedgerError
from mobius_lib.ledger.verdicts import Verdict, judge
from mobius_lib.ledger.words import legend, measured_text, reported_name, reported_text, summary_counts, verdict_text

BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"


def readme_table(verdicts: Sequence[Verdict] | None = None) -> str:
    """Markdown: the headline claims in two columns, which fit a phone without styles, then the counts of all."""
    verdicts = judge() if verdicts is None else verdicts
    headlines = [v for v in verdicts if v.claim.headline]
    rows = [" · ".join(f"**{name}**: {meaning}" for name, meaning in legend(headlines)), ""]
    rows += ["| Claim, and how it stands | Reported, and measured |", "| --- | --- |"]
    for v in headlines:
        said, reported, found = map(_cell, (v.claim.statement, reported_text(v), measured_text(v)))
        label = "awaits" if v.outcome == "awaits" else "measured:"
        rows.append(f"| **{_cell(verdict_text(v))}**: {said} | {reported_name(v)}: {reported}<br>{label} {found} |")
    return "\n".join([*rows, "", f"Of {summary_counts(verdicts)} Each is computed: `mobius ledger`."])


def update_readme(path: Path | str, verdicts: Sequence[Verdict] | None = None) -> bool:
    """Write the table between the README's markers, whole or not at all.

    Returns:
        whether anything changed.
    Raises:
        LedgerError: when the file cannot be read, or has not exactly one pair of markers.
    """
    path = Path(path)
    old, new = _rendered(path, verdicts)
    if new != old:
        write_whole(path, new.encode(), error=LedgerError)
    return new != old


def stale(path: Path | str, verdicts: Sequence[Verdict] | None = None) -> bool:
    """Whether the README shows another table than the one rendered now; `update_readme` mends it.

    Raises:
        LedgerError: as `update_readme`.
    """
    old, new = _rendered(Path(path), verdicts)
    return new != old


def _cell(text: str) -> str:
    """Text that a table's cell shows as it stands; code in backticks stays code."""
    escaped = re.sub(r"`[^`]*`|[*_<$]", lambda m: m[0] if m[0].startswith("`") else "\\" + m[0], text)
    return escaped.replace("|", r"\|")


def _rendered(path: Path, verdicts: Sequence[Verdict] | None) -> tuple[str, str]:
    """The README as it is, and as it should be."""
    try:
        old = path.read_bytes().decode("utf-8")  # bytes: line endings outside the block stay as they are
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be read, so its ledger table cannot be rendered: {error}.") from error
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise LedgerError(f"{path} needs one line {BEGIN} and after it one line {END}, around its ledger table.")
    before, rest = old.split(BEGIN)
    return old, f"{before}{BEGIN}\n{readme_table(verdicts)}\n{END}{rest.split(END)[1]}"
