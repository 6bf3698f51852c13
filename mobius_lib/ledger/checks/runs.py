"""Checks of any chapter's runs: a recorded number, the difference of two, how a number grows, what a step costs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

from mobius_lib.ledger.base import Found, Gate, LedgerError, Missing, Sample, register
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.ledger.stats import row_error
from mobius_lib.runs.predictions import ENDING, load_predictions, paired_row_error

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
) -> Sample:
    """A recorded number of one arm, seed by seed.

    Args:
        measure: a field of the record, "lens_state" entries and deeper ones with slashes: "block0/alpha".
        epoch: take `measure` from the history after so many epochs, counted from 1.
        rows: of the test set, where the number is an accuracy; 0 where no test set has a part in it.
        above: arms or baselines that this arm must beat, else the run says nothing.
    """
    file = results.find(run, arm, scale=scale)
    found = file.numbers(arm, measure, epoch=epoch)
    error = row_error(rows, statistics.mean(found)) if rows else rows
    return file.sample(found, f"{spoken(measure, epoch)} of {arm}.", gates(file, (arm,), above), error)


@register
def run_parts(
    results: Results,
    *,
    run: str,
    scale: str,
    measures: Mapping[str, str],
    arm: str | None = None,
    rows: int | None = None,
) -> Found:
    """Recorded numbers, each a named part: of one arm, or of the arm of that name; `rows` as of `run_value`."""
    ask = {"run": run, "scale": scale, "rows": rows}
    found = {name: run_value(results, arm=arm or name, measure=each, **ask) for name, each in measures.items()}
    return Found(found, "")


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
) -> Sample:
    """A measure of one arm minus another's, paired by seed.

    The final accuracy by default: the best of all epochs is chosen on the very rows it is measured on. Of bits per
    character by pieces of the test text, the pieces give the error of the finite text; of accuracies the predictions,
    where they are kept.

    Args:
        factor: what a unit of the measure counts; 100 for percentage points.
        measure, epoch, rows, above: as of `run_value`; both arms must beat `above`.
    """
    file = results.find(run, better, than, scale=scale)
    sides = [file.numbers(one, measure, other, epoch=epoch) for one, other in ((better, than), (than, better))]
    first, second = map(statistics.mean, sides)
    error = _error_of_rows(file, better, than, measure, epoch, rows, first, second)
    error = _error_of_pieces(file, better, than) if error is None else factor * error
    words = f"{spoken(measure, epoch)}: {better} {first:.4g}, {than} {second:.4g}; the difference is paired by seed."
    away = [factor * (a - b) for a, b in zip(*sides, strict=True)]
    found = file.sample(away, words, gates(file, (better, than), above), error)
    settings = {arm.partition(", ")[2] for arm in (better, than)}  # "david, 5 per class" beside "cosine, 5 per class"
    return replace(found, note=", ".join([found.note, *filter(None, settings)])) if len(settings) == 1 else found


@register
def run_growth(results: Results, *, run: str, arm: str, measure: str, scale: str | None = None) -> Sample:
    """The exponent with which a table {size: number} grows, seed by seed: the slope of its logarithms."""
    file = results.find(run, arm, scale=scale)
    found = [slope_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    return file.sample(found, f"{spoken(measure)} of {arm} grows like n to the power of {statistics.mean(found):.2f}.")


@register
def run_step_ratio(results: Results, *, run: str, form: str, baseline: str = "gelu") -> Sample:
    """log2 of a training step of one form over one of the baseline, taken in turn: one number per round."""
    file = results.find(run, baseline)
    logs = log_step_ratios(file, form, baseline)
    middle, enough = 2 ** statistics.median(logs), len(logs) >= ENOUGH_ROUNDS
    words = f"A training step of {form} takes {middle:.2f} times one of {baseline}, the median of rounds taken in turn."
    found = file.sample(logs, words, [Gate(f"{len(logs)} of at least {ENOUGH_ROUNDS} rounds", enough)])
    return replace(found, note=f"{len(logs)} rounds")


def gates(file: RunFile, arms: Sequence[str], above: Sequence[str] = ()) -> tuple[Gate, ...]:
    """What must hold of these arms: the best learning rate inside the search, more than the trivial baselines, and of
    two that their rates differ by more than chance, or not at all."""
    return (
        *(edge_gate(file, arm, len(arms) > 1) for arm in arms),
        *(_above(file, arm, other) for arm in arms for other in above),
        *(_told_apart(file, *pair) for pair in permutations(arms, 2)),
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
        return Gate(f"no other learning rate of `{arm}` was tried", not (trained and compared))
    end = "largest" if best == rates[-1] else "smallest"
    return Gate(f"the best learning rate of `{arm}`, {best}, is the {end} tried", rates[0] < best < rates[-1])


def _told_apart(file: RunFile, arm: str, other: str) -> Gate:
    """Whether the held-out rows show that the other arm's learning rate is a worse one for this arm.

    Else two arms may differ by their rates alone, which chance has chosen: a part that is taken away seems to be worth
    what a rate is. Of a rate that was not tried, the nearest that was; they must be apart by the error of an accuracy,
    or several seeds must have judged between them.
    """
    mine, theirs = (file.tuning.get(each) or file.tuning.get(each.partition(", ")[0]) for each in (arm, other))
    rows = (file.configuration.get("train_samples") or 0) // 5  # as the trainer holds them out
    if not mine or not theirs or not rows or mine["lr"] == theirs["lr"]:
        return Gate("", True)
    held_out = {float(rate): accuracy for rate, accuracy in mine["held_out"].items()}
    near = min(held_out, key=lambda rate: abs(math.log(rate / theirs["lr"])))
    if near in map(float, mine.get("compared", ())):
        return Gate("", True)
    best = max(held_out.values())
    words = f"`{arm}` took a learning rate of {mine['lr']:g} and `{other}` {theirs['lr']:g}, which {rows:,} held-out"
    return Gate(f"{words} rows do not tell apart for `{arm}`", best - held_out[near] > row_error(rows, best))


def _above(file: RunFile, arm: str, other: str) -> Gate:
    mine = statistics.mean(file.numbers(arm, "final_accuracy"))
    theirs = (
        file.extra[other]["accuracy"]
        if other in file.extra
        else statistics.mean(file.numbers(other, "final_accuracy") if other in file.arms else [math.inf])
    )
    words = f"`{arm}` ({100 * mine:.1f} %) is not above the baseline `{other}` ({100 * theirs:.1f} %)"
    return Gate(words, mine > theirs)


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


def _error_of_rows(
    file: RunFile, one: str, other: str, measure: str, epoch: int | None, rows: int | None, *means: float
) -> float | None:
    """Standard error of a difference that comes from the test rows being so many; None where it is not known.

    Of accuracies whose predictions are kept it is the paired one; else that of rows of their own, an upper bound: from
    what the record says of the measure's error, or from the number of rows.
    """
    if measure == "final_accuracy" and epoch is None and file.path.with_suffix(ENDING).is_file():
        labels, classes = load_predictions(file.path)
        return paired_row_error(labels, classes[one], classes[other])
    kept = [file.arms[arm][seed].get(f"{measure}_error") for arm in (one, other) for seed in file.seeds(one, other)]
    if epoch is None and all(error is not None for error in kept):
        return math.sqrt(2 * statistics.mean(error * error for error in kept))
    return row_error(rows, *means) if rows else None


def _error_of_pieces(file: RunFile, better: str, than: str) -> float | None:
    """Standard error of a difference of bits from the pieces of the test text; None where none are kept."""
    kept = [[file.arms[arm][seed].get("bits_by_piece") for seed in file.seeds(better, than)] for arm in (better, than)]
    if not all(pieces for side in kept for pieces in side):
        return None
    means = [[statistics.mean(piece) for piece in zip(*side, strict=True)] for side in kept]
    gaps = [a - b for a, b in zip(*means, strict=True)]
    return statistics.stdev(gaps) / math.sqrt(len(gaps))


def slope_of(file: RunFile, arm: str, seed: int, measure: str) -> float:
    """Slope of log number against log size by least squares.

    A null is a size that the run left out, as an arm too large for its limit.

    Raises:
        Missing: with fewer than three sizes.
    """
    raw = file.arms[arm][seed].get(measure)
    try:
        sizes = sorted((size for size, number in raw.items() if number is not None), key=float)
    except (AttributeError, ValueError) as error:
        raise LedgerError(f"{file.path}: arm {arm!r}, seed {seed}: {measure} is no table of sizes.") from error
    numbers = {float(size): file.number(arm, seed, f"{measure}/{size}") for size in sizes}
    pairs = [(math.log(n), math.log(value)) for n, value in numbers.items() if value > 0 and n > 0]
    if len(pairs) < 3:
        raise Missing(f"{file.path.name} has {measure} of {arm} at fewer than three sizes.")
    return statistics.linear_regression(*zip(*pairs, strict=True)).slope


def log_step_ratios(file: RunFile, form: str, baseline: str = "gelu") -> list[float]:
    """log2(step of a form / step of the baseline), one per round.

    Raises:
        Missing: where the run did not measure it.
    """
    ratios = file.cost.get(form, {}).get(f"ratios_to_{baseline}")
    if not ratios:
        raise Missing(f"{file.path.name} does not tell what training steps of {form} and {baseline} take in turn.")
    return list(map(math.log2, ratios))


def spoken(measure: str, epoch: int | None = None) -> str:
    """The name of a measure as the beginning of a sentence."""
    name = WORDS.get(measure, measure.replace("_", " "))
    return name[0].upper() + name[1:] + (f" after epoch {epoch}" if epoch else "")
