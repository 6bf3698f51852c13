"""Chapter 5: what arms of its runs differ by; and what only runs on a GPU can show of presets and mixed precision."""

import functools
import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.measures import incomplete
from mobius_lib.ledger.checks.runs import no_file, reported_number
from mobius_lib.ledger.claims import Claim, load_claims
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.ledger.stats import LESS, MORE, NO_DIFFERENCE, UNDECIDED, Effect, Interval, effect, holm, interval


@dataclass(frozen=True)
class Outcome:
    """What a paired difference came to."""

    found: Interval
    """Of the first arm minus the second, by Holm's rule over all that were looked at together."""
    said: Effect
    why: str
    """In words, with a full stop."""


@register
def run_effect(
    claim: Claim,
    results: Results,
    *,
    run: str,
    better: str,
    than: str,
    measure: str,
    unit: str,
    smallest: float,
    scale: str | None = None,
    longer: str | None = None,
    times: float = 5.0,
) -> Measurement:
    """Paired difference of a measure of which less is better, `better` (the arm that has more of it) minus `than`.

    The interval is Holm's, over all claims of the chapter that this check decides and that have their runs: whoever
    looks at many differences finds some by chance. Differences below `smallest` are none. Nothing is decided

    - where the learning rate of an arm was chosen by less than `smallest` over the next best: another might be right;
    - where `longer`, an arm with the model of `better` trained for more steps, has gained so much by them that a line
      through the logarithm of the steps closes the gap within so many `times` the steps: it was still learning.
    """
    file = results.find(run, better, than, scale=scale)
    if file is None:
        return no_file(run, (better, than), scale)
    family = outcomes(claim.chapter, results, claim)
    outcome, name = family[claim.id], measure.replace("_", " ")
    found, verdicts = outcome.found, {MORE: REPRODUCED, LESS: REFUTED}
    return Measurement(
        round(found.mean, 3),
        unit,
        verdicts.get(outcome.said, PARTLY),
        f"{name[0].upper()}{name[1:]}, {better} minus {than}, paired by seed: {found.mean:+.3f} {unit}, 95 % interval "
        f"by Holm's rule over {len(family)} comparisons [{found.low:+.3f}, {found.high:+.3f}], {found.n} seeds, "
        f"{file.scale} scale: {outcome.why}",
        (file.source,),
    )


def outcomes(chapter: int, results: Results, *also: Claim) -> dict[str, Outcome]:
    """The outcomes of all claims of a chapter that `run_effect` decides, by id.

    Args:
        results: where the runs' files lie; claims whose file is not there are left out.
        also: claims in the place of those of the same id.
    """
    claims = {claim.id: claim for claim in (*_compared(chapter), *also)}
    files = {name: _file(claim, results) for name, claim in claims.items()}
    there = {name: file for name, file in files.items() if file is not None}
    found = holm({name: _differences(file, claims[name].arguments) for name, file in there.items()})
    return {name: _outcome(found[name], file, claims[name].arguments) for name, file in there.items()}


@functools.cache
def _compared(chapter: int) -> tuple[Claim, ...]:
    return tuple(claim for claim in load_claims() if claim.chapter == chapter and claim.check == run_effect.__name__)


def _file(claim: Claim, results: Results) -> RunFile | None:
    given = claim.arguments
    return results.find(given["run"], given["better"], given["than"], scale=given.get("scale"))


def _differences(file: RunFile, given: dict[str, Any]) -> list[float]:
    """`better` minus `than`, seed by seed."""
    better, than, measure = given["better"], given["than"], given["measure"]
    pairs = zip(file.numbers(better, measure, than), file.numbers(than, measure, better), strict=True)
    return [first - second for first, second in pairs]


def _outcome(found: Interval, file: RunFile, given: dict[str, Any]) -> Outcome:
    smallest, better, than = given["smallest"], given["better"], given["than"]
    said = effect(found, smallest)
    for arm in (better, than):
        if (lead := _lead(file, arm)) < smallest:
            why = f"undecided: the learning rate of {arm} was chosen over the next best by {lead:.3f} only."
            return Outcome(found, UNDECIDED, why)
    longer, times = given.get("longer"), given.get("times", 5.0)
    if longer is not None and said == MORE and _would_close(file, better, than, longer, given["measure"], times):
        why = (
            f"undecided: {better} was still learning. {longer} has {_mean(file, longer, given['measure']):.3f}, and a "
            f"line through the logarithm of the steps reaches {than} within {times:g} times as many."
        )
        return Outcome(found, UNDECIDED, why)
    why = {
        MORE: f"beyond {smallest:g}, which counts as an effect.",
        LESS: f"beyond {smallest:g}, which counts as an effect, and against the claim.",
        NO_DIFFERENCE: f"within {smallest:g}, so no difference that matters.",
        UNDECIDED: f"undecided by these seeds, as {smallest:g} and more count as an effect.",
    }[said]
    return Outcome(found, said, why)


def _lead(file: RunFile, arm: str) -> float:
    """By how much the rate that was chosen was better than the next best, on the first seed; inf where none was."""
    tried = file.arms[arm][min(file.arms[arm])].get("held_out") or {}
    bits = sorted(value for value in tried.values() if isinstance(value, int | float))
    return bits[1] - bits[0] if len(bits) > 1 else math.inf


def _would_close(file: RunFile, better: str, than: str, longer: str, measure: str, times: float) -> bool:
    """Whether more steps would bring `better` to `than`, if they help by as much for each doubling as to `longer`."""
    before, after, other = (_mean(file, arm, measure) for arm in (better, longer, than))
    ratio = _mean(file, longer, "steps") / _mean(file, better, "steps")
    return before - (before - after) * math.log(times) / math.log(ratio) <= other


def _mean(file: RunFile, arm: str, measure: str) -> float:
    return fmean(file.numbers(arm, measure))


@register
def run_presets(
    claim: Claim, results: Results, *, run: str, measure: str, unit: str, decides: bool, scale: str | None = None
) -> Measurement:
    """A measure of every preset against the table {preset: number}; not more than reported, and its tolerance, counts.

    Where another machine could do better (`decides` false: a time on a machine that nobody named), more than reported
    refutes nothing.
    """
    if not isinstance(claim.reported, dict) or not claim.reported:
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads one number for each preset.")
    file = results.find(run, *claim.reported, scale=scale)
    if file is None:
        return no_file(run, tuple(claim.reported), scale)
    found = {}
    for preset in claim.reported:
        values = [file.entry(preset, seed, measure) for seed in file.seeds(*claim.reported)]
        if None in values:
            return incomplete(file, preset, measure)
        found[preset] = interval([value for value in values if value is not None])
    slack = 1 + (claim.tolerance or 0.0)
    good = [name for name, f in found.items() if f.mean <= claim.reported[name] * slack]
    verdict: Word = REPRODUCED if len(good) == len(found) else PARTLY if good or not decides else REFUTED
    return Measurement(
        {name: float(f"{f.mean:.4g}") for name, f in found.items()},
        unit,
        verdict,
        "Measured on "
        + file.device
        + ": "
        + ", ".join(f"{f.mean:.4g} ± {f.spread:.2g} (reported {claim.reported[n]:g}, {n})" for n, f in found.items())
        + f" {unit}; {len(good)} of {len(found)} presets need no more than was said, and {slack - 1:.0%}.",
        (file.source,),
    )


@register
def run_saving(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str,
    than: str,
    measure: str,
    unit: str,
    faster: bool = False,
    scale: str | None = None,
) -> Measurement:
    """How much less of a measure one arm takes than another, or how much faster it is; paired by seed."""
    file = results.find(run, arm, than, scale=scale)
    if file is None:
        return no_file(run, (arm, than), scale)
    pairs = [(file.entry(arm, s, measure), file.entry(than, s, measure)) for s in file.seeds(arm, than)]
    known = [(a, b) for a, b in pairs if a and b]
    if len(known) < len(pairs):
        return incomplete(file, arm, measure)
    found = interval([b / a - 1 if faster else 1 - a / b for a, b in known])
    bar = reported_number(claim) - (claim.tolerance or 0.0)
    verdict: Word = REPRODUCED if found.mean >= bar else PARTLY if found.low > 0 else REFUTED
    return Measurement(
        round(found.mean, 3),
        unit,
        verdict,
        f"{measure.replace('_', ' ').capitalize()}: {arm} "
        + ("is faster than" if faster else "takes less than")
        + f" {than} by {found.mean:.1%} (95 % interval [{found.low:.1%}, {found.high:.1%}], {found.n} seeds, "
        f"{file.scale} scale, on {file.device}); from {bar:.0%} on it counts as the reported "
        f"{reported_number(claim):.0%}.",
        (file.source,),
    )
