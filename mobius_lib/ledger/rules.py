"""The one place where numbers become an outcome: what was measured beside what was reported.

| outcome | when |
|---|---|
| reproduced, refuted | within the tolerance, or not: all of the interval, where there is one |
| seen here, not seen here | measured small: beyond the smallest effect of interest, as reported or the other way |
| no difference | measured small: the whole interval within plus or minus the smallest effect |
| undecided | none of these, or something that must hold before anything is decided does not |
| partly | parts with outcomes of their own that are not alike |
| awaits | there is no evidence yet |
| stale | the evidence was made by other code, data or configuration (`verdicts` says so) |

What was measured small is never refuted. Intervals of one chapter's small measurements are Holm's, all together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from mobius_lib.ledger.base import Finding, Found, Gate, LedgerError, Missing, Sample
from mobius_lib.ledger.claims import EFFECTS, SMALL, Bound, Claim
from mobius_lib.ledger.stats import CONFIDENCE, NO_DIFFERENCE, UNDECIDED, Interval, effect, holm, interval, interval_of

Outcome = Literal[
    "reproduced",
    "refuted",
    "seen here",
    "not seen here",
    "no difference",
    "undecided",
    "partly",
    "awaits",
    "stale",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
ENOUGH_SEEDS = 5
"""For what is measured small. Of four, a sign test could not reach one in ten."""
ENOUGH_AT_SETTING = 3
"""Runs at full scale: two have one degree of freedom, and an interval 12.7 standard deviations wide."""
MOST_SEEDS = 200
"""Beyond this many, nobody is told how many seeds would decide."""


@dataclass(frozen=True)
class Ruling:
    """What came out of one finding, or of a part of one."""

    outcome: Outcome
    measured: Any
    words: str
    interval: Interval | None = None
    parts: Mapping[str, "Ruling"] | None = None
    sources: tuple[str, ...] = ()
    note: str = ""
    why: str = ""
    """The end of `words`: why nothing is decided, or how many seeds would decide."""
    seeds: int = 0
    """How many would decide, where nothing else is in the way; 0: not known, or more than anybody would train."""


def agrees(measured: Any, reported: Any, tolerance: float | None = None, bound: Bound = "equal") -> bool:
    """Whether a value is what was reported: numbers within the tolerance, all else exactly, lists entry by entry."""
    if isinstance(reported, Mapping):
        return (
            isinstance(measured, Mapping)
            and measured.keys() == reported.keys()
            and all(agrees(measured[key], reported[key], tolerance, bound) for key in reported)
        )
    if isinstance(reported, list | tuple):
        return (
            isinstance(measured, list | tuple)
            and len(measured) == len(reported)
            and all(agrees(a, b, tolerance, bound) for a, b in zip(measured, reported, strict=True))
        )
    if isinstance(reported, bool | str) or isinstance(measured, bool | str) or measured is None:
        return type(measured) is type(reported) and measured == reported
    # a tolerance is itself a decimal, whose nearest double may lie on the wrong side of a value that is just within
    slack = (tolerance or 0.0) * (1 + 1e-9)
    return (bound == "at most" or measured >= reported - slack) and (
        bound == "at least" or measured <= reported + slack
    )


def family(claims: Mapping[str, tuple[Claim, Finding]]) -> dict[str, Interval]:
    """Holm's intervals of every sample among the findings that was measured small, under "claim/part".

    Values are counted from the claim's `against`.
    """
    samples = {
        name: (claim, sample)
        for key, (claim, finding) in claims.items()
        if claim.basis == SMALL
        for name, sample in _samples(key, finding)
    }
    values = {name: [value - claim.against for value in sample.values] for name, (claim, sample) in samples.items()}
    rows = {name: sample.row_error or 0.0 for name, (_, sample) in samples.items()}
    return holm(values, row_errors=rows, smallest={name: claim.smallest or 0.0 for name, (claim, _) in samples.items()})


def rule(claim: Claim, finding: Finding, intervals: Mapping[str, Interval]) -> Ruling:
    """The outcome of a claim.

    Args:
        claim: with what was reported.
        finding: what its check or formula came to.
        intervals: from `family`, of all findings that are judged together.
    Raises:
        LedgerError: when what was reported has not the shape of what was found.
    """
    if isinstance(claim.reported, dict):
        return _in_parts(claim, finding, intervals)
    tolerance = claim.tolerance if not isinstance(claim.tolerance, dict) else None
    return _one(claim, claim.id, claim.reported, tolerance, finding, intervals)


def _in_parts(claim: Claim, finding: Finding, intervals: Mapping[str, Interval]) -> Ruling:
    reported = claim.reported
    if isinstance(finding, Missing):
        return Ruling("awaits", None, finding.words)
    if not isinstance(reported, dict) or not isinstance(finding, Found) or not isinstance(finding.value, Mapping):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: it names parts, and the check finds none.")
    if finding.value.keys() != reported.keys():
        raise LedgerError(f"claim {claim.id!r}, field `reported`: the check finds the parts {list(finding.value)}.")
    parts = {}
    for name, value in finding.value.items():
        part = value if isinstance(value, Found | Sample | Missing) else Found(value, "")
        slack = claim.tolerance.get(name) if isinstance(claim.tolerance, dict) else claim.tolerance
        parts[name] = _one(claim, f"{claim.id}/{name}", reported[name], slack, part, intervals)
    outcomes = {part.outcome for part in parts.values()}
    outcome: Outcome = "undecided" if _why_not(finding.gates) else outcomes.pop() if len(outcomes) == 1 else "partly"
    words = f"{finding.words} {_why_not(finding.gates)}".strip()
    sources = dict.fromkeys((*finding.sources, *(source for part in parts.values() for source in part.sources)))
    measured = {name: part.measured for name, part in parts.items()}
    note = finding.note or next((part.note for part in parts.values() if part.note), "")
    why = _why_not(finding.gates) or next((part.why for part in parts.values() if part.why), "")
    return Ruling(outcome, measured, words, parts=parts, sources=tuple(sources), note=note, why=why)


def _one(
    claim: Claim,
    name: str,
    reported: Any,
    tolerance: float | None,
    finding: Finding,
    intervals: Mapping[str, Interval],
) -> Ruling:
    if isinstance(finding, Missing):
        return Ruling("awaits", None, finding.words)
    small = claim.basis == SMALL
    if isinstance(finding, Found):
        if finding.value is not None and _kind(finding.value) != _kind(reported):
            said = f"it is {_kind(reported)}, and the finding is {_kind(finding.value)}"
            raise LedgerError(f"claim {claim.id!r}, field `reported`: {said}, {finding.value!r}.")
        closed = _why_not(finding.gates)
        right = agrees(finding.value, reported, tolerance, claim.bound)
        outcome: Outcome = "undecided" if closed else _WORD[small, right]
        words = f"{finding.words} {closed}".strip()
        return Ruling(outcome, finding.value, words, sources=finding.sources, note=finding.note, why=closed)
    if small:
        return _small(claim, reported, finding, intervals[name])
    return _at_setting(claim, reported, tolerance or 0.0, finding)


def _kind(value: Any) -> str:
    kinds = {bool: "yes or no", int: "a number", float: "a number", str: "a text", list: "a list", tuple: "a list"}
    return kinds.get(type(value), "a mapping" if isinstance(value, Mapping) else "nothing to compare")


_WORD: dict[tuple[bool, bool], Outcome] = {
    (False, True): "reproduced",
    (False, False): "refuted",
    (True, True): "seen here",
    (True, False): "not seen here",
}


def _at_setting(claim: Claim, reported: Any, tolerance: float, sample: Sample) -> Ruling:
    if isinstance(reported, bool | str) or not isinstance(reported, int | float):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: a sample at the setting is compared with a number.")
    found = interval(sample.values, row_error=sample.row_error or 0.0)
    low = -math.inf if claim.bound == "at most" else reported - tolerance
    high = math.inf if claim.bound == "at least" else reported + tolerance
    closed, seeds = _why_not((_enough(found.n, ENOUGH_AT_SETTING), *sample.gates)), 0

    def decided(found: Interval) -> Outcome:
        inside, outside = low <= found.low and found.high <= high, found.high < low or high < found.low
        return "reproduced" if inside else "refuted" if outside else "undecided"

    outcome: Outcome = "undecided" if closed else decided(found)
    if outcome == "undecided" and not closed:
        closed, seeds = _how_many(found, sample, ENOUGH_AT_SETTING, lambda more: decided(more) != "undecided")
    words = f"{sample.words} {_spoken(found, sample.unit or claim.unit)} {closed}".strip()
    return Ruling(outcome, found.mean, words, found, sources=sample.sources, note=sample.note, why=closed, seeds=seeds)


def _small(claim: Claim, reported: Any, sample: Sample, about: Interval) -> Ruling:
    if reported not in EFFECTS or claim.smallest is None:
        raise LedgerError(
            f"claim {claim.id!r}: what is measured small has `reported` {', '.join(EFFECTS)}, and a `smallest`."
        )
    seen = effect(about, claim.smallest)
    known = Gate("the error that the finite test set adds is not known", sample.row_error is not None)
    closed, seeds = _why_not((_enough(about.n, ENOUGH_SEEDS), known, *sample.gates)), 0
    outcome: Outcome
    if closed or seen == UNDECIDED:
        outcome = "undecided"
    elif seen == reported:
        outcome = "seen here"
    else:
        outcome = "no difference" if seen == NO_DIFFERENCE else "not seen here"
    base = claim.against
    found = replace(about, mean=about.mean + base, low=about.low + base, high=about.high + base)
    words = f"{sample.words} {_spoken(found, sample.unit or claim.unit)}"
    words += f" Less than {claim.smallest:g} is no difference."
    if outcome == "undecided" and not _why_not((known, *sample.gates)):
        least = claim.smallest
        more, seeds = _how_many(about, sample, ENOUGH_SEEDS, lambda found: effect(found, least) != UNDECIDED)
        closed = closed or more
    words = f"{words} {closed}".strip()
    return Ruling(outcome, found.mean, words, found, sources=sample.sources, note=sample.note, why=closed, seeds=seeds)


def _enough(seeds: int, least: int) -> Gate:
    return Gate(f"{seeds} of at least {least} seeds", seeds >= least)


def _why_not(gates: Sequence[Gate]) -> str:
    """Why nothing is decided; empty where nothing stands in the way."""
    closed = "; ".join(gate.text for gate in gates if not gate.open)
    return f"Nothing is decided: {closed}." if closed else ""


def _how_many(about: Interval, sample: Sample, least: int, decided: Callable[[Interval], bool]) -> tuple[str, int]:
    """How many seeds would decide, if they went on as these did: in words, and the number, 0 for more than the most."""
    spread = about.spread / sample.wider(about.n)
    for n in range(max(about.n + 1, least), MOST_SEEDS + 1):
        if decided(interval_of(about.mean, spread * sample.wider(n), n, about.level, sample.row_error or 0.0)):
            return f"Some {n} seeds would decide it, if they spread as these do.", n
    return f"Even {MOST_SEEDS} seeds would not decide it, if they spread as these do.", 0


def _spoken(found: Interval, unit: str) -> str:
    mean = f"Mean {found.mean:.4g}{unit and ' ' + unit}"
    joint, alone = ("joint ", f" (by itself, {100 * found.level:.4g} %)") if found.level > CONFIDENCE else ("", "")
    words = f"{mean}, {joint}95 % interval {found.low:.4g} to {found.high:.4g}{alone}, n = {found.n}."
    return words.replace(" -", " −")


def _samples(name: str, finding: Finding) -> Sequence[tuple[str, Sample]]:
    if isinstance(finding, Sample):
        return [(name, finding)]
    if isinstance(finding, Found) and isinstance(finding.value, Mapping):
        return [(f"{name}/{part}", value) for part, value in finding.value.items() if isinstance(value, Sample)]
    return []
