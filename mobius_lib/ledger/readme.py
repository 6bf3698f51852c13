"""The README's block: the headline claims, and how all of them stand."""

import re
from collections.abc import Sequence
from pathlib import Path

from mobius_lib.files import write_whole
from mobius_lib.ledger.base import LedgerError
from mobius_lib.ledger.verdicts import Verdict, judge
from mobius_lib.ledger.words import measured_text, reported_name, reported_text, summary_counts, verdict_text

BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"


def readme_table(verdicts: Sequence[Verdict] | None = None) -> str:
    """Markdown: the headline claims in two columns, which fit a phone without styles, then the counts of all."""
    verdicts = judge() if verdicts is None else verdicts
    rows = ["| Claim, and how it stands | Reported, and measured |", "| --- | --- |"]
    for v in verdicts:
        if v.claim.headline:
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


def _cell(text: str) -> str:
    """Text that a table's cell shows as it stands; code in backticks stays code."""
    escaped = re.sub(r"`[^`]*`|[*_<$]", lambda m: m[0] if m[0].startswith("`") else "\\" + m[0], text)
    return escaped.replace("|", r"\|")


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
