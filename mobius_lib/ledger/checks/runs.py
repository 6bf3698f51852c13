"""Checks of any chapter's runs: an accuracy against the reported one, and one arm against another."""

import math
import statistics

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, awaits, register
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import ENOUGH_SEEDS, Results, RunFile
from mobius_lib.ledger.stats import decide, interval

WORDS = {
    "auroc_score": "AUROC of the largest logit",
    "coadaptation": "rise of the loss when a third is silenced",
    "ece_scaled": "calibration error at the fitted temperature",
    "train_test_gap": "training accuracy above test accuracy",
}
"""Measures whose names in a result file do not read as words."""
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
    unit: str = "percentage points",
) -> Measurement:
    """Paired difference of a measure between two arms that share their seeds.

    The final accuracy by default: the best of all epochs is chosen on the very rows it is measured on. For a measure
    of which less is better, `better` is the arm that has more of it. Percentage points are hundredths of the measure;
    any other unit is that of the measure itself.
    """
    file = results.find(run, better, than, scale=scale)
    if file is None:
        return no_file(run, (better, than), scale)
    first, second = file.numbers(better, measure, than), file.numbers(than, measure, better)
    points = unit == "percentage points"
    factor = 100 if points else 1
    found = interval([factor * (a - b) for a, b in zip(first, second, strict=True)])
    verdict, digits = decide(found), 2 if points else 3
    name = WORDS.get(measure, measure.replace("_", " "))
    return Measurement(
        round(found.mean, digits),
        unit,
        verdict,
        f"{name[0].upper()}{name[1:]}, {better} minus {than}, paired by seed: {found.mean:+.{digits}f} "
        f"{unit.removeprefix('percentage ')}, 95 % interval [{found.low:+.{digits}f}, {found.high:+.{digits}f}], "
        f"{found.n} seeds, {file.scale} scale" + (": undecided by these seeds." if verdict == PARTLY else "."),
        (file.source,),
    )


@register
def run_epoch_accuracy(
    claim: Claim, results: Results, *, run: str, arm: str, epoch: int, scale: str = "full"
) -> Measurement:
    """Accuracy on the validation rows after so many epochs, against the reported one."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    values = [_after(file, arm, seed, epoch) for seed in file.seeds(arm)]
    if None in values:
        return awaits(f"{file.source} holds no accuracy of arm {arm} after epoch {epoch}; make it again.")
    found = interval([value for value in values if value is not None])
    bar = reported_number(claim) - (claim.tolerance or 0.0)
    return Measurement(
        round(found.mean, 4),
        "accuracy",
        REPRODUCED if found.mean >= bar else PARTLY if found.high >= bar else REFUTED,
        f"After epoch {epoch} {arm} has {found.mean:.2%} ± {found.spread:.2%} over {found.n} seeds; {bar:.1%} counts "
        f"as the reported {reported_number(claim):.0%}.",
        (file.source,),
    )


@register
def run_epoch_difference(
    claim: Claim, results: Results, *, run: str, better: str, than: str, epoch: int, scale: str | None = None
) -> Measurement:
    """Paired difference between two arms after so many epochs."""
    file = results.find(run, better, than, scale=scale)
    if file is None:
        return no_file(run, (better, than), scale)
    pairs = [(_after(file, better, s, epoch), _after(file, than, s, epoch)) for s in file.seeds(better, than)]
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    if len(gaps) < len(pairs):
        return awaits(f"{file.source} holds no accuracy after epoch {epoch} for each seed; make it again.")
    found = interval(gaps)
    verdict = decide(found)
    return Measurement(
        round(100 * found.mean, 2),
        "percentage points",
        verdict,
        f"After epoch {epoch}, {better} minus {than}, paired by seed: {100 * found.mean:+.2f} points, 95 % interval "
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}], {found.n} seeds, {file.scale} scale"
        + (": undecided by these seeds." if verdict == PARTLY else "."),
        (file.source,),
    )


@register
def run_seconds(claim: Claim, results: Results, *, run: str, arm: str, scale: str = "full") -> Measurement:
    """How long a training run took on our machine. A seed that names no machine cannot be refuted by a slower one."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    found = interval(file.numbers(arm, "seconds"))
    reported = reported_number(claim)
    return Measurement(
        round(found.mean),
        "seconds",
        REPRODUCED if found.mean <= reported + (claim.tolerance or 0.0) else PARTLY,
        f"{arm} took {found.mean:,.0f} ± {found.spread:,.0f} seconds over {found.n} seeds on {file.device}, against "
        f"{reported:,.0f} on a machine that the seed does not name.",
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


def _after(file: RunFile, arm: str, seed: int, epoch: int) -> float | None:
    """Validation accuracy of one training after so many epochs, counted from 1; None where it was not noted."""
    rows = file.arms[arm][seed].get("history", [])
    place = next((i for i, row in enumerate(rows) if row.get("epoch") == epoch), None)
    return None if place is None else file.entry(arm, seed, "history", place, "val_accuracy")


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
