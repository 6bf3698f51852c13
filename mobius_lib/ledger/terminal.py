"""Verdicts in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobius_lib.ledger.verdicts import Verdict
from mobius_lib.ledger.words import (
    facts,
    legend,
    measured_text,
    outcome_text,
    reported_text,
    summary_counts,
    verdict_text,
    word,
)

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"reproduced": "green", "seen here": "green", "refuted": "red", "not seen here": "red", "stale": "yellow"}


def print_verdicts(console: "Console", verdicts: Sequence[Verdict]) -> None:
    """A legend, a compact table, the commands that are awaited, and the counts."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for name, meaning in legend(verdicts):
        console.print(Text.assemble((name, "bold"), f": {meaning}"))
    out = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    widths = {"Verdict": 18, "Claim": min(30, max((len(v.claim.id) for v in verdicts), default=5))}
    for name in ("Verdict", "Claim", "Reported", "Measured"):
        out.add_column(name, overflow="fold", width=widths.get(name))
    for v in verdicts:
        found = "not yet" if v.outcome == "awaits" else measured_text(v)
        verdict = Text(f"{outcome_text(word(v))}\n· {v.basis}", style=_COLOURS.get(v.outcome, ""))
        out.add_row(verdict, Text(v.claim.id), Text(reported_text(v)), Text(found))
    console.print(out)
    waiting = [v for v in verdicts if v.outcome in ("awaits", "stale")]
    for command in dict.fromkeys(v.command for v in waiting):
        names = ", ".join(v.claim.id for v in waiting if v.command == command)
        console.print(Text(f"{command}  settles {names}"), soft_wrap=True)
    console.print(Text(summary_counts(verdicts)), soft_wrap=True)


def print_facts(console: "Console", verdicts: Sequence[Verdict]) -> None:
    """Each verdict with its statement, its place in the source, and all its numbers."""
    from rich.table import Table
    from rich.text import Text

    for v in verdicts:
        console.print(Text(f"{v.claim.id}: {verdict_text(v)}", style=f"bold {_COLOURS.get(v.outcome, '')}"))
        console.print(Text(v.claim.statement))
        out = Table.grid(padding=(0, 2))
        out.add_column(style="dim", max_width=16)
        out.add_column(overflow="fold")
        for name, text in facts(v):
            out.add_row(Text(name), Text(text.replace("`", "")))
        console.print(out, "", sep="\n")
