"""Verdicts: every claim beside what was measured, and what the rules make of the two."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mobius_lib.ledger import rules
from mobius_lib.ledger.base import Finding, Found, LedgerError, call
from mobius_lib.ledger.claims import SMALL, Basis, Claim, load_claims
from mobius_lib.ledger.formula import worked_out
from mobius_lib.ledger.results import Results, RunFile, results_folder
from mobius_lib.ledger.rules import Outcome, Ruling
from mobius_lib.ledger.sources import our_sources
from mobius_lib.ledger.stats import Interval
from mobius_lib.ledger.values import short


class Part(BaseModel):
    """A named part of a claim, and its outcome."""

    model_config = ConfigDict(frozen=True)

    name: str
    reported: Any
    measured: Any
    interval: Interval | None
    outcome: Outcome
    words: str


_OF_A_PART = ("measured", "interval", "outcome", "words")


class Verdict(BaseModel):
    """A claim and its outcome. `model_dump(mode="json")` gives plain values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: Claim
    outcome: Outcome
    measured: Any
    """A number, text, list or mapping; None while it awaits evidence."""
    interval: Interval | None
    note: str
    """How small a small measurement was: "10,000 rows, 5 seeds"."""
    words: str
    """The arithmetic with its numbers, and why it came to that."""
    why: str = ""
    """The end of `words`, where it is undecided: why."""
    parts: tuple[Part, ...]
    sources: tuple[str, ...]
    """Functions or result files."""
    evidence: tuple[dict[str, Any], ...]
    """Of each result file: when and by which commit it was made, when it was last verified, why it is stale."""
    command: str | None
    """What makes the evidence: the record's own line where a record decided, else the claim's, or where so many seeds
    would decide, the record's line with these. Always there when it awaits or is stale; None where the code alone
    decides."""

    @property
    def basis(self) -> Basis:
        return self.claim.basis


def judge(
    claims: Sequence[Claim] | None = None,
    results_dir: Path | str | None = None,
    only: str | Iterable[str] | None = None,
    chapter: int | None = None,
) -> list[Verdict]:
    """Compute the verdicts, in the order of the claims; some seconds on one core.

    Args:
        claims: by default all of data/claims.
        results_dir: folder of the result files; by default data/results.
        only: an id, or several; `*` and `?` stand for any text and any letter.
        chapter: only this one's.
    Raises:
        LedgerError: a claim or a result file is damaged, nothing is called as `only` says, there is no such chapter, or
            a check waits for evidence and its claim names no command that would make it.
    """
    every = load_claims() if claims is None else list(claims)
    chosen = select(every, only, chapter)
    results = Results(results_folder(results_dir))
    wanted = {claim.id for claim in chosen}
    chapters = {claim.chapter for claim in chosen if claim.basis == SMALL}  # these are judged together
    needed = [claim for claim in every if claim.id in wanted or (claim.basis == SMALL and claim.chapter in chapters)]
    findings = {claim.id: (claim, find(claim, results)) for claim in needed}
    intervals: dict[str, Interval] = {}
    for number in chapters:
        intervals |= rules.family({key: pair for key, pair in findings.items() if pair[0].chapter == number})
    return [_verdict(claim, rules.rule(claim, findings[claim.id][1], intervals), results) for claim in chosen]


def find(claim: Claim, results: Results) -> Finding:
    """What a claim's check or formula comes to.

    Raises:
        LedgerError: naming the claim.
    """
    try:
        if claim.check is not None:
            return call(claim.check, claim.arguments, results)
        if isinstance(claim.formula, dict):
            parts = {name: worked_out(formula, claim.numbers) for name, formula in claim.formula.items()}
            words = "; ".join(f"{name}: {said}" for name, (_, said) in parts.items())
            return Found({name: value for name, (value, _) in parts.items()}, f"{words}.")
        value, words = worked_out(str(claim.formula), claim.numbers)
        return Found(value, f"{words}.")
    except LedgerError as error:
        raise LedgerError(f"claim {claim.id!r}: {error}") from error


def _verdict(claim: Claim, ruling: Ruling, results: Results) -> Verdict:
    files = [file for source in ruling.sources if (file := results.file(source)) is not None]
    reason = next((file.stale for file in files if file.stale), None)
    outcome: Outcome = "stale" if reason else ruling.outcome
    made = next((file.command for file in files if file.command), None)
    if outcome == "awaits" and not claim.command:
        raise LedgerError(f"claim {claim.id!r}, field `command`: it awaits evidence, so name what would make it.")
    if outcome == "undecided" and ruling.seeds and made and " --seeds " in made:
        command: str | None = re.sub(r" --seeds \d+", f" --seeds {ruling.seeds} --extend", made)
    elif outcome in ("awaits", "undecided"):
        command = claim.command or made
    else:
        command = made or claim.command
    reported = claim.reported if isinstance(claim.reported, dict) else {}
    return Verdict(
        claim=claim,
        outcome=outcome,
        measured=ruling.measured,
        interval=ruling.interval,
        note=ruling.note + _share(claim, ruling, files),
        words=f"{reason} {ruling.words}" if reason else ruling.words,
        why=ruling.why if outcome == "undecided" else "",
        parts=tuple(
            Part(name=name, reported=reported[name], **{field: getattr(part, field) for field in _OF_A_PART})
            for name, part in (ruling.parts or {}).items()
        ),
        sources=ruling.sources,
        evidence=tuple(file.evidence() for file in files),
        command=command,
    )


def _share(claim: Claim, ruling: Ruling, files: Sequence[RunFile]) -> str:
    """What a small training run saw, of what the source says that its own did; empty where either is not known."""
    mine = next((file.samples for file in files if file.size == ruling.note), 0)
    its = next(filter(None, (our_sources()[place.split(":")[0]].samples for place in claim.source)), 0)
    return f": {short(mine)} of the source's {short(its)} samples" if mine and its else ""


def select(claims: list[Claim], only: str | Iterable[str] | None, chapter: int | None) -> list[Claim]:
    """Those that `judge` is asked for.

    Raises:
        LedgerError: when a name or a chapter fits none; it names those there are, the closest first.
    """
    if chapter is not None and chapter not in (chapters := sorted({claim.chapter for claim in claims})):
        raise LedgerError(f"The ledger has no chapter {chapter}; it has {', '.join(map(str, chapters))}.")
    claims = [claim for claim in claims if chapter in (None, claim.chapter)]
    if only is None:
        return claims
    patterns = [only] if isinstance(only, str) else list(only)
    for pattern in patterns:
        if not any(fnmatchcase(claim.id, pattern) for claim in claims):
            names = [claim.id for claim in claims]
            close = get_close_matches(pattern, names, 5)
            listed = [*close, *(name for name in names if name not in close)]
            raise LedgerError(f"No claim is called {pattern!r}; there are {', '.join(listed)}.")
    return [claim for claim in claims if any(fnmatchcase(claim.id, pattern) for pattern in patterns)]
