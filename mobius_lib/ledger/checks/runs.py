"""Checks of any chapter's runs: an accuracy against the reported one, and one arm against another."""

import math
import statistics

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, awaits, register
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import ENOUGH_SEEDS, Results, RunFile
from mobius_lib.ledger.stats import decide, interval

ENOUGH_ROUNDS = 5
"""Fewer rounds of training steps than this decide nothing about time."""


@register
def run_accuracy(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str = "lens",
    scale: str = "full",
    measure: str = "best_accuracy",
    seeds: int = ENOUGH_SEEDS,
) -> Measurement:
    """Accuracy of a full run against the reported one. One seed is enough only where nothing random is left."""
    file = results.find(run, arm, scale=scale, seeds=seeds)
    if file is None:
        return no_file(run, (arm,), scale, seeds)
    found = interval(file.numbers(arm, measure))
    bar = reported_number(claim) - (claim.tolerance or 0.0)
    verdict: Word = REPRODUCED if found.mean >= bar else PARTLY if found.high >= bar else REFUTED
    return Measurement(
        round(found.mean, 4),
        "accuracy",
        verdict,
        f"{measure.replace('_', ' ').capitalize()} {found.mean:.2%} ± {found.spread:.2%} over {found.n} seed(s); "
        f"{reported_number(claim):.1%} was reported, and {bar:.1%} counts as reaching it.",
        (file.source,),
    )


@register
def run_difference(
    claim: Claim,
    results: Results,
    *,
    run: str,
    better: str,
    than: str,
    scale: str | None = None,
    measure: str = "final_accuracy",
) -> Measurement:
    """Paired difference of a measure between two arms that share their seeds.

    The final accuracy by default: the best of all epochs is chosen on the very rows it is measured on.
    """
    file = results.find(run, better, than, scale=scale)
    if file is None:
        return no_file(run, (better, than), scale)
    first, second = file.numbers(better, measure, than), file.numbers(than, measure, better)
    found = interval([a - b for a, b in zip(first, second, strict=True)])
    verdict = decide(found)
    return Measurement(
        round(100 * found.mean, 2),
        "percentage points",
        verdict,
        f"{measure.replace('_', ' ').capitalize()} of {better} minus {than}, paired by seed: "
        f"{100 * found.mean:+.2f} points, 95 % interval [{100 * found.low:+.2f}, {100 * found.high:+.2f}], "
        f"{found.n} seeds, {file.scale} scale" + (": undecided by these seeds." if verdict == PARTLY else "."),
        (file.source,),
    )


@register
def run_time_ratio(claim: Claim, results: Results, *, run: str, form: str) -> Measurement:
    """What a training step of one form costs in steps of its GELU twin, taken in turn: the median round."""
    file = results.find(run, "gelu", seeds=1)
    logs = [] if file is None else log_step_ratios(file, form)
    if file is None or len(logs) < ENOUGH_ROUNDS:
        return no_steps(run, form)
    found = interval(logs)
    others = [name for name in file.cost if name not in (form, "gelu")]
    middle = math.exp(statistics.median(logs))
    asides = [f"{name} {math.exp(statistics.median(log_step_ratios(file, name))):.2f}" for name in others]
    return Measurement(
        round(middle, 2),
        "times a step of the twin",
        decide(found),
        f"A training step of {form} over one of the GELU twin, taken in turn: median "
        f"{middle:.2f}, 95 % interval of the geometric mean [{math.exp(found.low):.2f}, {math.exp(found.high):.2f}], "
        f"{found.n} rounds, {file.scale} scale." + (f" In the same rounds: {', '.join(asides)}." if asides else ""),
        (file.source,),
    )


def log_step_ratios(file: RunFile, form: str) -> list[float]:
    """log(step of a form / step of the GELU twin), one per round; empty where the run did not measure it."""
    return [math.log(ratio) for ratio in file.cost.get(form, {}).get("ratios_to_gelu", [])]


def no_steps(run: str, form: str) -> Measurement:
    """What a check of time returns when no run has measured enough."""
    return awaits(f"No result file of {run} holds {ENOUGH_ROUNDS} rounds or more of training steps of {form}.")


def no_file(run: str, arms: tuple[str, ...], scale: str | None = None, seeds: int = ENOUGH_SEEDS) -> Measurement:
    """What a check returns when the files of a run do not suffice."""
    which = f"at {scale} scale" if scale else "at any scale"
    return awaits(f"No result file of {run} {which} holds {seeds} seed(s) or more of {' and '.join(arms)}.")


def reported_number(claim: Claim) -> float:
    """The reported value of a claim whose check compares with one number."""
    if isinstance(claim.reported, int | float):
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} compares with a number.")
