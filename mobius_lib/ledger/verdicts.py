"""Verdicts: every claim beside what its check measured."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mobius_lib.ledger.base import AWAITS, LedgerError, Word, call
from mobius_lib.ledger.claims import Claim, load_claims
from mobius_lib.ledger.results import Results


class Verdict(BaseModel):
    """A claim and its outcome. `model_dump()` gives plain values, ready for JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: Claim
    measured: Any
    """A number, list, mapping or text; None while it awaits evidence."""
    measured_unit: str
    word: Word
    """The verdict itself."""
    explanation: str
    sources: tuple[str, ...]
    command: str | None
    """What makes the evidence: the record's own line where a record decided, else what would settle it. Always there
    when the word is `awaits`; None where the code alone decides."""


def judge(
    claims: Sequence[Claim] | None = None,
    results_dir: Path | str | None = None,
    only: str | Iterable[str] | None = None,
) -> list[Verdict]:
    """Compute the verdicts, in the order of the claims; some seconds on one core.

    Args:
        claims: by default all of data/claims.yaml.
        results_dir: folder of the result files; by default data/results.
        only: an id, or several; `*` and `?` stand for any text and any letter.
    Raises:
        LedgerError: a claim or a result file is damaged, `only` fits no claim, or a check waits for evidence and its
            claim names no command that would make it.
    """
    claims = load_claims() if claims is None else list(claims)
    if only is not None:
        claims = _select(claims, [only] if isinstance(only, str) else list(only))
    if results_dir is None:
        from mobius_lib.datasets.paths import data_dir

        results_dir = data_dir() / "results"
    results = Results(Path(results_dir))
    return [_verdict(claim, results) for claim in claims]


def _verdict(claim: Claim, results: Results) -> Verdict:
    found = call(claim, results)
    if found.verdict == AWAITS and not claim.command:
        raise LedgerError(f"claim {claim.id!r}, field `command`: it awaits evidence, so name what would make it.")
    made_by = next(filter(None, map(results.command, found.sources)), None)
    return Verdict(
        claim=claim,
        measured=found.value,
        measured_unit=found.unit,
        word=found.verdict,
        explanation=found.explanation,
        sources=found.sources,
        command=made_by or claim.command,
    )


def _select(claims: list[Claim], patterns: list[str]) -> list[Claim]:
    for pattern in patterns:
        if not any(fnmatchcase(claim.id, pattern) for claim in claims):
            raise LedgerError(f"No claim is called {pattern!r}; there are {', '.join(claim.id for claim in claims)}.")
    return [claim for claim in claims if any(fnmatchcase(claim.id, pattern) for pattern in patterns)]
