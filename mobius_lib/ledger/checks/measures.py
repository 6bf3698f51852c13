"""Checks of any chapter's runs: a recorded number against a bar, how it grows, and whether it keeps to another's."""

import math
from typing import Any

from mobius_lib.ledger.base import LedgerError, Measurement, Word, awaits, register
from mobius_lib.ledger.checks.runs import no_file, reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import ENOUGH_SEEDS, Results, RunFile
from mobius_lib.ledger.stats import Interval, decide, interval


@register
def run_at_most(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str,
    measure: str,
    bar: float,
    unit: str,
    scale: str | None = None,
    seeds: int = ENOUGH_SEEDS,
) -> Measurement:
    """Whether a measure of one arm stays below a bar."""
    return _against(claim, results, run, arm, measure, bar, unit, scale, seeds, below=True)


@register
def run_at_least(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str,
    measure: str,
    bar: float,
    unit: str,
    scale: str | None = None,
    seeds: int = ENOUGH_SEEDS,
) -> Measurement:
    """Whether a measure of one arm reaches over a bar."""
    return _against(claim, results, run, arm, measure, bar, unit, scale, seeds, below=False)


@register
def run_keeps(
    claim: Claim, results: Results, *, run: str, arm: str, than: str, measure: str, scale: str | None = None
) -> Measurement:
    """Whether an arm keeps another's measure, up to the claim's tolerance; paired by seed, more is better."""
    file = results.find(run, arm, than, scale=scale)
    if file is None:
        return no_file(run, (arm, than), scale)
    first, second = file.numbers(arm, measure, than), file.numbers(than, measure, arm)
    found = interval([a - b for a, b in zip(first, second, strict=True)])
    slack = claim.tolerance or 0.0
    return Measurement(
        round(100 * found.mean, 2),
        "percentage points",
        decide(found, -slack),
        f"{_spoken(measure)} of {arm} minus {than}, paired by seed: {100 * found.mean:+.2f} points, 95 % interval "
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}], {found.n} seeds, {file.scale} scale; a loss of up to "
        f"{100 * slack:g} points counts as keeping it.",
        (file.source,),
    )


@register
def run_growth(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str,
    measure: str,
    unit: str,
    beside: str | None = None,
    scale: str | None = None,
) -> Measurement:
    """The exponent with which a table {size: number} grows, from a line through its logarithms, per seed.

    Reproduced if the interval lies at or below the reported exponent and its tolerance, refuted if above.
    """
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    slopes = [slope_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    if None in slopes:
        return incomplete(file, arm, measure)
    found = interval([slope for slope in slopes if slope is not None])
    bar = reported_number(claim) + (claim.tolerance or 0.0)
    aside = (
        [] if beside is None else [slope_of(file, beside, seed, measure) for seed in sorted(file.arms.get(beside, {}))]
    )
    others = [slope for slope in aside if slope is not None]
    return Measurement(
        round(found.mean, 3),
        unit,
        decide(_mirrored(found), -bar),
        f"{_spoken(measure)} of {arm} grows like n^{found.mean:.2f} (95 % interval [{found.low:.2f}, "
        f"{found.high:.2f}], {found.n} seeds, {file.scale} scale); up to {bar:g} counts."
        + (f" In the same run, {beside}: n^{math.fsum(others) / len(others):.2f}." if others else ""),
        (file.source,),
    )


def _against(
    claim: Claim,
    results: Results,
    run: str,
    arm: str,
    measure: str,
    bar: float,
    unit: str,
    scale: str | None,
    seeds: int,
    below: bool,
) -> Measurement:
    file = results.find(run, arm, scale=scale, seeds=seeds)
    if file is None:
        return no_file(run, (arm,), scale, seeds)
    values = [file.entry(arm, seed, measure) for seed in file.seeds(arm)]
    if None in values:
        return incomplete(file, arm, measure)
    found = interval([value for value in values if value is not None])
    verdict: Word = decide(_mirrored(found), -bar) if below else decide(found, bar)
    return Measurement(
        float(f"{found.mean:.3g}"),
        unit,
        verdict,
        f"{_spoken(measure)} of {arm}: {found.mean:.4g} ± {found.spread:.2g} over {found.n} seed(s), 95 % interval "
        f"[{found.low:.4g}, {found.high:.4g}], {file.scale} scale, on {file.device}; "
        f"{'below' if below else 'above'} {bar:g} counts.",
        (file.source,),
    )


def _mirrored(found: Interval) -> Interval:
    """The interval of the negated mean, so that "at most" can be decided as "at least"."""
    return Interval(-found.mean, -found.high, -found.low, found.spread, found.n)


def table_of(file: RunFile, arm: str, seed: int, measure: str) -> dict[float, float]:
    """A record's table {size: number}, smallest size first; empty where the record has none.

    A null is a size that the run left out, as an arm too large for its limit.
    """
    raw: Any = file.arms[arm][seed].get(measure)
    if not isinstance(raw, dict):
        return {}
    try:
        sizes = sorted((size for size, number in raw.items() if number is not None), key=float)
    except ValueError as error:
        raise LedgerError(f"{file.path}: arm {arm!r}, seed {seed}: {measure} has a size that is no number.") from error
    numbers = {float(size): file.entry(arm, seed, measure, size) for size in sizes}
    return {size: number for size, number in numbers.items() if number is not None}


def slope_of(file: RunFile, arm: str, seed: int, measure: str) -> float | None:
    """Slope of log number against log size by least squares; None with fewer than three sizes."""
    table = {size: number for size, number in table_of(file, arm, seed, measure).items() if number > 0 and size > 0}
    if len(table) < 3:
        return None
    x, y = [math.log(size) for size in table], [math.log(number) for number in table.values()]
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    return math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / math.fsum((a - mx) ** 2 for a in x)


def incomplete(file: RunFile, arm: str, what: str) -> Measurement:
    return awaits(f"{file.source} holds no {what} of arm {arm}; make it again.")


def _spoken(measure: str) -> str:
    return measure.replace("_", " ").capitalize()
