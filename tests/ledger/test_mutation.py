"""Every claim of ours: another report has another outcome, and so has other evidence. Nothing is exempt."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from mobius_lib.datasets.paths import data_dir
from mobius_lib.ledger import Claim, load_claims
from mobius_lib.ledger.base import Finding, Found, Missing, Sample
from mobius_lib.ledger.claims import EFFECTS, SMALL
from mobius_lib.ledger.results import Results
from mobius_lib.ledger.rules import Ruling, family, rule
from mobius_lib.ledger.verdicts import find

CLAIMS = {claim.id: claim for claim in load_claims()}
each_claim = pytest.mark.parametrize("name", CLAIMS)


@cache
def finding(name: str) -> Finding:
    return find(CLAIMS[name], Results(data_dir() / "results"))


def judged(claim: Claim, found: Finding) -> Ruling:
    return rule(claim, found, family({claim.id: (claim, found)}))


def outcomes(ruling: Ruling) -> dict[str, str]:
    return {"": ruling.outcome} | {name: part.outcome for name, part in (ruling.parts or {}).items()}


def far(claim: Claim, value: Any, part: str | None = None) -> float:
    """A step that no tolerance and no smallest effect spans, in the direction in which the claim is bounded."""
    slack = claim.tolerance.get(part, 0.0) if isinstance(claim.tolerance, dict) and part else claim.tolerance
    slack = slack if isinstance(slack, int | float) else 0.0
    step = 3 * slack + abs(value) + 10 * (claim.smallest or 0.0) + 1
    return -step if claim.bound == "at most" else step


def invented(claim: Claim, reported: Any, part: str | None = None) -> Finding:
    """Evidence that bears a report out, for a claim whose own is missing or decides nothing."""
    if claim.basis != SMALL or reported not in EFFECTS:
        return Found(reported, "Invented.")
    size = {"more": 3.0, "less": -3.0, "no difference": 0.0}[reported] * (claim.smallest or 0.0)
    return Sample((claim.against + size,) * 5, "Invented.", row_error=0.0)


def decided(claim: Claim, found: Finding) -> Finding:
    """The finding as it is where it decides, part by part; else what bears the report out."""
    if not isinstance(claim.reported, dict):
        undecided = isinstance(found, Missing) or judged(claim, found).outcome in ("undecided", "no difference")
        return invented(claim, claim.reported) if undecided else found
    if isinstance(found, Missing):
        return Found({name: invented(claim, value, name) for name, value in claim.reported.items()}, "Invented.")
    assert isinstance(found, Found)
    parts = judged(claim, replace(found, gates=())).parts or {}
    kept = {
        name: invented(claim, claim.reported[name], name)
        if part.outcome in ("awaits", "undecided", "no difference")
        else found.value[name]
        for name, part in parts.items()
    }
    return replace(found, value=kept, gates=())


def reports(claim: Claim, right: bool, value: Any, measured: Any, part: str | None = None) -> Iterator[Any]:
    """Other reports: such as do not fit where this one fits, and the measured one where it does not."""
    if isinstance(value, str) and value in EFFECTS and claim.basis == SMALL:
        if right or measured is None:
            yield from (effect for effect in EFFECTS if effect != value)
        else:
            other = "less" if measured < claim.against else "more"
            yield {"more": "less", "less": "more", "no difference": other}[value]
    elif not right:
        yield measured
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, str):
        yield f"not {value}"
    elif isinstance(value, list):
        for place in range(len(value)):
            for other in reports(claim, right, value[place], None, part):
                yield [*value[:place], other, *value[place + 1 :]]
    else:
        yield value + far(claim, value, part)
        if claim.bound == "equal":
            yield value - far(claim, value, part)


@each_claim
def test_another_report_has_another_outcome(name: str) -> None:
    claim = CLAIMS[name]
    found = decided(claim, finding(name))
    before = judged(claim, found)
    good = ("reproduced", "seen here")
    changed = 0
    if isinstance(claim.reported, dict):
        for part, value in claim.reported.items():
            ruling = (before.parts or {})[part]
            for other in reports(claim, ruling.outcome in good, value, ruling.measured, part):
                after = judged(claim.model_copy(update={"reported": claim.reported | {part: other}}), found)
                assert outcomes(after)[part] != ruling.outcome, f"{part}: {other!r} for {value!r}"
                changed += 1
    else:
        for other in reports(claim, before.outcome in good, claim.reported, before.measured):
            after = judged(claim.model_copy(update={"reported": other}), found)
            assert after.outcome != before.outcome, f"{other!r} for {claim.reported!r}"
            changed += 1
    assert changed


def moved(claim: Claim, found: Any, part: str | None = None) -> Iterator[Any]:
    """Other evidence, both ways."""
    if isinstance(found, Sample):
        for sign in (1, -1):
            shift = sign * (abs(far(claim, max(map(abs, found.values)), part)) + abs(claim.against))
            yield replace(found, values=tuple(value + shift for value in found.values))
    elif isinstance(found, Found):
        yield from (replace(found, value=value) for value in moved(claim, found.value, part))
    elif isinstance(found, bool):
        yield not found
    elif isinstance(found, str):
        yield f"not {found}"
    elif isinstance(found, list | tuple):
        for place in range(len(found)):
            for other in moved(claim, found[place], part):
                yield [*found[:place], other, *found[place + 1 :]]
    else:
        for sign in (1, -1):
            yield found + sign * abs(far(claim, found, part))


@each_claim
def test_other_evidence_has_another_outcome(name: str) -> None:
    """A claim that stands falls by some change of its evidence, part by part, at least."""
    claim = CLAIMS[name]
    reported = claim.reported
    parts = list(reported) if isinstance(reported, dict) else [None]
    for part in parts:
        value = reported if part is None else reported[part]
        alone = claim.model_copy(update={"reported": value, "tolerance": _of(claim.tolerance, part)})
        found = invented(alone, value)
        before = judged(alone, found)
        assert before.outcome in ("reproduced", "seen here")
        assert any(judged(alone, other).outcome != before.outcome for other in moved(alone, found, part))


def _of(tolerance: Any, part: str | None) -> Any:
    return tolerance.get(part) if isinstance(tolerance, dict) and part is not None else tolerance


@each_claim
def test_what_was_measured_small_is_never_refuted(name: str) -> None:
    claim = CLAIMS[name]
    said = set(outcomes(judged(claim, finding(name))).values())
    assert not said & ({"reproduced", "refuted"} if claim.basis == SMALL else {"seen here", "not seen here"})
