"""Chapters 2 and 3: what only runs of the staircase and of GeoFractalDavid can show."""

import math

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, awaits, register
from mobius_lib.ledger.checks.runs import no_file
from mobius_lib.ledger.checks.simplex.table import COMPONENTS
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.ledger.stats import decide, interval, rank_correlation


@register
def run_alpha_near(
    claim: Claim, results: Results, *, run: str, arm: str, goal: float, near: float, scale: str | None = None
) -> Measurement:
    """How far the learned alpha ends from a goal, over seeds."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    values = [file.entry(arm, seed, "alpha") for seed in file.seeds(arm)]
    alphas = [value for value in values if value is not None]
    if len(alphas) < len(values):
        return _incomplete(file, arm, "alpha")
    gap = interval([abs(alpha - goal) for alpha in alphas])
    verdict: Word = REPRODUCED if gap.high <= near else REFUTED if gap.low > near else PARTLY
    mean = math.fsum(alphas) / len(alphas)
    return Measurement(
        round(mean, 3),
        "",
        verdict,
        f"The learned α ends at {mean:.3f} in the mean of {gap.n} seeds (from {min(alphas):.3f} to {max(alphas):.3f}), "
        f"{gap.mean:.3f} from {goal:g} (95 % interval [{gap.low:.3f}, {gap.high:.3f}]); within {near:g} counts as "
        "near.",
        (file.source,),
    )


@register
def run_scale_accuracies(claim: Claim, results: Results, *, run: str, arm: str, scale: str = "full") -> Measurement:
    """Each scale's accuracy on its own, against the table."""
    if not isinstance(claim.reported, list):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a list of scales.")
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    means = {}
    for row in claim.reported:
        found = [file.entry(arm, seed, "scale_accuracy", str(row["scale"])) for seed in file.seeds(arm)]
        if None in found:
            return _incomplete(file, arm, "scale_accuracy")
        means[row["scale"]] = interval([value for value in found if value is not None]).mean
    off = {row["scale"]: means[row["scale"]] - row["accuracy"] for row in claim.reported}
    good = sum(abs(gap) <= (claim.tolerance or 0.0) for gap in off.values())
    return Measurement(
        f"{good} of {len(off)} scales",
        "",
        REPRODUCED if good == len(off) else PARTLY if good else REFUTED,
        "Over the seeds, the scales alone have "
        + ", ".join(f"{mean:.2%} ({size}D, {100 * off[size]:+.2f} points)" for size, mean in means.items())
        + ".",
        (file.source,),
    )


@register
def run_weight_trend(
    claim: Claim, results: Results, *, run: str, arm: str, component: str, scale: str | None = None
) -> Measurement:
    """Rank correlation of one mixing weight with the scale, per seed."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    which = COMPONENTS.index(component)
    trends, columns = [], []
    for seed in file.seeds(arm):
        sizes = _sizes(file, arm, seed, "geo_weights")
        weights = [file.entry(arm, seed, "geo_weights", size, which) for size in sizes]
        if len(weights) < 2 or None in weights:
            return _incomplete(file, arm, "geo_weights")
        column = [weight for weight in weights if weight is not None]
        trends.append(rank_correlation(column, [int(size) for size in sizes]))
        columns.append(column)
    found = interval(trends)
    means = [math.fsum(values) / len(values) for values in zip(*columns, strict=True)]
    return Measurement(
        round(found.mean, 2),
        "rank correlation",
        decide(found),
        f"Rank correlation of the {component} weight with the scale: {found.mean:+.2f} ± {found.spread:.2f} over "
        f"{found.n} seeds, 95 % interval [{found.low:+.2f}, {found.high:+.2f}]; mean weights "
        + ", ".join(f"{mean:.3f} ({size}D)" for size, mean in zip(sizes, means, strict=True))
        + ".",
        (file.source,),
    )


@register
def run_prototypes_cover(
    claim: Claim, results: Results, *, run: str, arm: str, at_least: float, scale: str | None = None
) -> Measurement:
    """How much of [0, 1] the learned Cantor prototypes reach over, mean of the scales, per seed."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    covers, means = [], []
    for seed in file.seeds(arm):
        sizes = _sizes(file, arm, seed, "cantor_prototypes")
        ends = [[file.entry(arm, seed, "cantor_prototypes", s, key) for key in ("min", "max", "mean")] for s in sizes]
        known = [[value for value in row if value is not None] for row in ends]
        if not known or any(len(row) < 3 for row in known):
            return _incomplete(file, arm, "cantor_prototypes")
        shares = [max(0.0, min(high, 1.0) - max(low, 0.0)) for low, high, _ in known]
        covers.append(math.fsum(shares) / len(shares))
        means.append(math.fsum(row[2] for row in known) / len(known))
    found = interval(covers)
    return Measurement(
        round(found.mean, 3),
        "share of [0, 1]",
        decide(found, at_least),
        f"From the smallest to the largest, the prototypes reach over {found.mean:.0%} ± {found.spread:.0%} of [0, 1] "
        f"over {found.n} seeds (95 % interval [{found.low:.2f}, {found.high:.2f}]); their mean is "
        f"{math.fsum(means) / len(means):.3f}.",
        (file.source,),
    )


def _sizes(file: RunFile, arm: str, seed: int, key: str) -> list[str]:
    """The scales of a record's table, smallest first."""
    return sorted(file.arms[arm][seed].get(key, {}), key=int)


def _incomplete(file: RunFile, arm: str, what: str) -> Measurement:
    return awaits(f"{file.source} holds no {what} of arm {arm}; make it again.")
