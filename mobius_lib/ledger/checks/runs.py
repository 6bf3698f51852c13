"""Checks of any chapter's runs: a recorded number, the difference of two, how a number grows, what a step costs."""

import math
import statistics
from collections.abc import Sequence

from mobius_lib.ledger.base import Finding, Gate, LedgerError, Missing, Sample, register
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.ledger.stats import row_error

WORDS = {
    "auroc_score": "AUROC of the largest logit",
    "bits_per_character": "bits per character",
    "coadaptation": "rise of the loss when a third is silenced",
    "ece_scaled": "calibration error at the fitted temperature",
    "gate_participation": "share of the channels that carry the gate",
    "train_test_gap": "training accuracy above test accuracy",
    "weight_m": "share of the middle path",
    "xor_weight": "share of xor",
}
"""Measures whose names in a result file do not read as words."""
ENOUGH_ROUNDS = 5
"""Fewer rounds of training steps than this decide nothing about time."""
POINTS = 100
"""Percentage points in 1."""


@register
def run_value(
    results: Results,
    *,
    run: str,
    arm: str = "lens",
    measure: str = "final_accuracy",
    scale: str | None = None,
    epoch: int | None = None,
    rows: int | None = None,
    above: Sequence[str] = (),
) -> Finding:
    """A recorded number of one arm, seed by seed.

    Args:
        measure: a field of the record, "lens_state" entries and deeper ones with slashes: "block0/alpha".
        epoch: take `measure` from the history after so many epochs, counted from 1.
        rows: of the test set, where the number is an accuracy; 0 where no test set has a part in it.
        above: arms or baselines that this arm must beat, else the run says nothing.
    """
    file = results.find(run, arm, scale=scale, seeds=1)
    values = [] if file is None else [value_of(file, arm, seed, measure, epoch) for seed in file.seeds(arm)]
    found = [value for value in values if value is not None]
    if file is None or len(found) < len(values):
        return missing(run, (arm,), scale, measure)
    what = spoken(measure) + (f" after epoch {epoch}" if epoch else "")
    return Sample(
        tuple(found),
        f"{what} of {arm}.",
        gates=gates(file, (arm,), above),
        row_error=row_error(rows, statistics.mean(found)) if rows else rows,
        sources=(file.source,),
        note=file.size,
    )


@register
def run_difference(
    results: Results,
    *,
    run: str,
    better: str,
    than: str,
    measure: str = "final_accuracy",
    scale: str | None = None,
    epoch: int | None = None,
    factor: float = POINTS,
    rows: int | None = None,
    above: Sequence[str] = (),
) -> Finding:
    """A measure of one arm minus another's, paired by seed.

    The final accuracy by default: the best of all epochs is chosen on the very rows it is measured on. Of bits per
    character by pieces of the test text, the pieces give the error of the finite text.

    Args:
        factor: what a unit of the measure counts; 100 for percentage points.
        measure, epoch, rows, above: as of `run_value`; both arms must beat `above`.
    """
    file = results.find(run, better, than, scale=scale, seeds=1)
    seeds = [] if file is None else file.seeds(better, than)
    pairs = [
        (value_of(file, better, s, measure, epoch), value_of(file, than, s, measure, epoch)) for s in seeds if file
    ]
    found = [(a, b) for a, b in pairs if a is not None and b is not None]
    if file is None or len(found) < len(pairs):
        return missing(run, (better, than), scale, measure)
    first, second = (statistics.mean(side) for side in zip(*found, strict=True))
    error = factor * row_error(rows, first, second) if rows else _error_of_pieces(file, better, than, seeds)
    what = spoken(measure) + (f" after epoch {epoch}" if epoch else "")
    return Sample(
        tuple(factor * (a - b) for a, b in found),
        f"{what}: {better} {first:.4g}, {than} {second:.4g}; the difference is paired by seed.",
        gates=gates(file, (better, than), above),
        row_error=error,
        sources=(file.source,),
        note=file.size,
    )


@register
def run_growth(results: Results, *, run: str, arm: str, measure: str, scale: str | None = None) -> Finding:
    """The exponent with which a table {size: number} grows, seed by seed: the slope of its logarithms."""
    file = results.find(run, arm, scale=scale, seeds=1)
    slopes = [] if file is None else [slope_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    found = [slope for slope in slopes if slope is not None]
    if file is None or len(found) < len(slopes):
        return missing(run, (arm,), scale, measure)
    words = f"{spoken(measure)} of {arm} grows like n to the power of {statistics.mean(found):.2f}."
    return Sample(tuple(found), words, row_error=0.0, sources=(file.source,), note=file.size)


@register
def run_step_ratio(results: Results, *, run: str, form: str, baseline: str = "gelu") -> Finding:
    """log2 of a training step of one form over one of the baseline, taken in turn: one number per round."""
    file = results.find(run, baseline, seeds=1)
    logs = [] if file is None else log_step_ratios(file, form, baseline)
    if file is None or not logs:
        return missing(run, (form, baseline), None, "training steps taken in turn")
    middle = 2 ** statistics.median(logs)
    return Sample(
        tuple(logs),
        f"A training step of {form} takes {middle:.2f} times one of {baseline}, the median of rounds taken in turn.",
        gates=(Gate(f"{len(logs)} of at least {ENOUGH_ROUNDS} rounds", len(logs) >= ENOUGH_ROUNDS),),
        row_error=0.0,
        sources=(file.source,),
        note=f"{len(logs)} rounds",
    )


def value_of(file: RunFile, arm: str, seed: int, measure: str, epoch: int | None = None) -> float | None:
    """A number of a record, or of its history after an epoch; None where it does not have it."""
    if epoch is not None:
        rows = file.arms[arm][seed].get("history", [])
        place = next((i for i, row in enumerate(rows) if row.get("epoch") == epoch), None)
        return None if place is None else file.entry(arm, seed, "history", place, measure)
    found = file.entry(arm, seed, *measure.split("/"))
    return file.entry(arm, seed, "lens_state", measure) if found is None else found


def gates(file: RunFile, arms: Sequence[str], above: Sequence[str] = ()) -> tuple[Gate, ...]:
    """What must hold of these arms: the best learning rate inside the search, and more than the trivial baselines."""
    return tuple(edge_gate(file, arm, len(arms) > 1) for arm in arms) + tuple(
        _above(file, arm, other) for arm in arms for other in above
    )


def edge_gate(file: RunFile, arm: str, compared: bool = False) -> Gate:
    """Whether the best of the learning rates that were tried lies inside the search.

    "david, 5 per class" is the arm david in another setting, and has the rate of its search.

    Args:
        compared: with another arm: then what was trained at one rate alone says nothing, as another might suit it.
    """
    record = next(iter(file.arms[arm].values()))
    searched = file.tuning.get(arm) or file.tuning.get(arm.partition(", ")[0], record)
    rates, best = sorted(map(float, searched.get("held_out", {}))), searched.get("lr")
    if len(rates) < 2:
        trained = bool(record.get("history") or "lr" in record)
        return Gate(f"no other learning rate of {arm} was tried", not (trained and compared))
    end = "largest" if best == rates[-1] else "smallest"
    return Gate(f"the best learning rate of {arm}, {best}, is the {end} tried", rates[0] < best < rates[-1])


def _above(file: RunFile, arm: str, other: str) -> Gate:
    mine = statistics.mean(file.numbers(arm, "final_accuracy"))
    theirs = (
        file.extra[other]["accuracy"]
        if other in file.extra
        else statistics.mean(file.numbers(other, "final_accuracy") if other in file.arms else [math.inf])
    )
    return Gate(f"{arm} has {mine:.1%} where {other} has {theirs:.1%}", mine > theirs)


def reachable(file: RunFile, arm: str, far: float) -> Gate:
    """AdamW at rate r moves a parameter by about r per step at most, weight decay aside: is it enough to go so far?"""
    rows, batch = file.configuration.get("train_samples"), file.configuration.get("batch_size")
    if not rows or not batch:
        return Gate("how many steps were taken is not recorded", False)
    history = next(iter(file.arms[arm].values())).get("history", [])
    most = math.ceil(rows / batch) * sum(epoch["lr"] for epoch in history)
    steps = math.ceil(rows / batch) * len(history) * far / most if most else math.inf
    words = f"a parameter would move by {far:.2f}, and the rates of all steps sum to {most:.2f}; some"
    return Gate(f"{words} {steps:,.0f} steps at such rates could take it there", far < most)


def _error_of_pieces(file: RunFile, better: str, than: str, seeds: Sequence[int]) -> float | None:
    """Standard error of a difference of bits from the pieces of the test text; None where none are kept."""
    kept = [[file.arms[arm][seed].get("bits_by_piece") for seed in seeds] for arm in (better, than)]
    if not all(pieces for side in kept for pieces in side):
        return None
    means = [[statistics.mean(piece) for piece in zip(*side, strict=True)] for side in kept]
    gaps = [a - b for a, b in zip(*means, strict=True)]
    return statistics.stdev(gaps) / math.sqrt(len(gaps))


def slope_of(file: RunFile, arm: str, seed: int, measure: str) -> float | None:
    """Slope of log number against log size by least squares; None with fewer than three sizes.

    A null is a size that the run left out, as an arm too large for its limit.
    """
    raw = file.arms[arm][seed].get(measure)
    try:
        sizes = sorted((size for size, number in raw.items() if number is not None), key=float)
    except (AttributeError, ValueError) as error:
        raise LedgerError(f"{file.path}: arm {arm!r}, seed {seed}: {measure} is no table of sizes.") from error
    numbers = {float(size): file.entry(arm, seed, measure, size) for size in sizes}
    pairs = [(math.log(n), math.log(value)) for n, value in numbers.items() if value and value > 0 and n > 0]
    return None if len(pairs) < 3 else statistics.linear_regression(*zip(*pairs, strict=True)).slope


def log_step_ratios(file: RunFile, form: str, baseline: str = "gelu") -> list[float]:
    """log2(step of a form / step of the baseline), one per round; empty where the run did not measure it."""
    return [math.log2(ratio) for ratio in file.cost.get(form, {}).get(f"ratios_to_{baseline}", [])]


def missing(run: str, arms: Sequence[str], scale: str | None, what: str) -> Missing:
    """What a check returns when the files of a run do not suffice."""
    which = f"at {scale} scale" if scale else "at any scale"
    return Missing(f"No result file of {run} {which} holds {spoken(what).lower()} of {' and '.join(arms)}.")


def spoken(measure: str) -> str:
    """The name of a measure as the beginning of a sentence."""
    name = WORDS.get(measure, measure.replace("_", " "))
    return name[0].upper() + name[1:]
