"""Chapters 2 and 3: seed 002's own numbers, held against each other and against its own words.

What its card prints, scale by scale, stands as a table in data/claims.yaml; nothing here builds a model.
"""

import math
from typing import Any

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.ledger.stats import rank_correlation

SOURCE = ("data/claims.yaml",)
COMPONENTS = ("feature", "cantor", "crystal")
MIDDLE = (1 / 3, 2 / 3)
"""The middle third of the unit interval: where Cantor's function is 1/2."""


@register
def alpha_change(claim: Claim, results: Results, *, initial: float, final: float) -> Measurement:
    """Final minus initial alpha against the printed change; each of the three numbers was rounded on its own."""
    change = final - initial
    off = abs(change - reported_number(claim))
    return Measurement(
        round(change, 4),
        "",
        REPRODUCED if off <= (claim.tolerance or 0.0) else REFUTED,
        f"{final} - {initial} is {change:.4f}, {off:.4f} from the printed {reported_number(claim)}"
        + ("; three roundings leave room for that." if 1e-6 < off <= (claim.tolerance or 0.0) else "."),
        SOURCE,
    )


@register
def alpha_near(
    claim: Claim, results: Results, *, values: list[float], goal: float, near: float, said: bool
) -> Measurement:
    """Whether the printed values lie near a goal, where the seed says that they do (`said`) or that they do not."""
    hits = sum(abs(value - goal) <= near for value in values)
    agree = hits if said else len(values) - hits
    gaps = ", ".join(f"{value:g} lies {abs(value - goal):.3f} away" for value in values)
    return Measurement(
        values[-1],
        "",
        REPRODUCED if agree == len(values) else PARTLY if agree else REFUTED,
        f"From {goal:g}, {gaps}; within {near:g} counts as near, and the seed says that it is{'' if said else ' not'}.",
        SOURCE,
    )


@register
def prototypes_in_the_middle(claim: Claim, results: Results) -> Measurement:
    """The largest share of the classes whose prototype can lie in the middle third, given each scale's numbers."""
    rows = _rows(claim)
    most, least = zip(*(_middle_share(row) for row in rows), strict=True)
    verdict: Word = REPRODUCED if min(least) > 0.5 else REFUTED if max(most) < 0.5 else PARTLY
    return Measurement(
        round(max(most), 3),
        "share of the classes, at most",
        verdict,
        f"The largest prototype of all scales is {max(row['high'] for row in rows)}, and the means lie near "
        f"{rows[0]['mean']}: whatever the distribution, with those ends, means and deviations at least "
        f"{min(least):.0%} and at most {max(most):.0%} of the classes lie in [1/3, 2/3].",
        SOURCE,
    )


@register
def prototypes_cover(claim: Claim, results: Results, *, at_least: float) -> Measurement:
    """How much of [0, 1] lies between a scale's smallest and largest prototype."""
    rows = _rows(claim)
    shares = [max(0.0, min(row["high"], 1) - max(row["low"], 0)) for row in rows]
    below = max(max(0.0, -row["low"]) / (row["high"] - row["low"]) for row in rows)
    return Measurement(
        round(max(shares), 3),
        "share of [0, 1]",
        REPRODUCED if min(shares) >= at_least else PARTLY if max(shares) >= at_least else REFUTED,
        f"The prototypes span [{min(row['low'] for row in rows)}, {max(row['high'] for row in rows)}]: they reach over "
        f"{max(shares):.0%} of [0, 1] at most, and {below:.0%} of their range lies below 0.",
        SOURCE,
    )


@register
def prototypes_per_class(claim: Claim, results: Results) -> Measurement:
    """How many prototype statistics the card prints, and how far its scales differ in them."""
    rows = _rows(claim)
    spans = {name: max(r[name] for r in rows) - min(r[name] for r in rows) for name in ("mean", "std", "low", "high")}
    apart = max(spans.values())
    one = len(rows) == 1
    return Measurement(
        len(rows),
        "prototypes per class",
        REPRODUCED if one else PARTLY if apart <= (claim.tolerance or 0.0) else REFUTED,
        f"The card lists prototypes for {len(rows)} scale(s), so a class has {len(rows)}; over the scales their mean, "
        f"deviation and ends differ by at most {apart:.4f}"
        + (", so they are as good as one." if not one and apart <= (claim.tolerance or 0.0) else "."),
        SOURCE,
    )


@register
def weights_sum(claim: Claim, results: Results) -> Measurement:
    """The three mixing weights of each scale come from a softmax, so they add up to one."""
    sums = {str(row["scale"]): sum(row[name] for name in COMPONENTS) for row in _rows(claim)}
    worst = max(sums, key=lambda scale: abs(sums[scale] - 1))
    good = sum(abs(total - 1) <= (claim.tolerance or 0.0) for total in sums.values())
    return Measurement(
        f"{good} of {len(sums)} scales",
        "",
        REPRODUCED if good == len(sums) else PARTLY if good else REFUTED,
        f"The sums are {', '.join(f'{total:.3f}' for total in sums.values())}; the farthest from 1 is that of scale "
        f"{worst}, and three numbers rounded to three decimals can be off by {claim.tolerance:g}.",
        SOURCE,
    )


@register
def weights_differ(claim: Claim, results: Results) -> Measurement:
    """How many different mixes of the three components the scales have."""
    rows = [tuple(row[name] for name in COMPONENTS) for row in _rows(claim)]
    first = max(COMPONENTS, key=lambda name: sum(row[COMPONENTS.index(name)] for row in rows))
    leaders = [COMPONENTS[row.index(max(row))] for row in rows]
    return Measurement(
        f"{len(set(rows))} of {len(rows)} mixes",
        "",
        REPRODUCED if len(set(rows)) == len(rows) else PARTLY if len(set(rows)) > 1 else REFUTED,
        f"{len(set(rows))} of the {len(rows)} scales have a mix of their own; in {leaders.count(first)} of them "
        f"{first} weighs most, and the Cantor term weighs at most {max(row[1] for row in rows):g}.",
        SOURCE,
    )


@register
def weights_follow_scale(claim: Claim, results: Results) -> Measurement:
    """Whether the feature weight falls with the scale and the crystal weight rises."""
    rows = _rows(claim)
    scales = [row["scale"] for row in rows]
    falls, rises = (rank_correlation([row[name] for row in rows], scales) for name in ("feature", "crystal"))
    perfect, tends = falls == -1 and rises == 1, falls < 0 < rises
    worst = min(rows, key=lambda row: row["accuracy"])
    heavy = [
        f"{row['scale']}D" + (", the least accurate scale" if row is worst else "")
        for row in rows
        if row["crystal"] > row["feature"]
    ]
    return Measurement(
        {"feature": round(falls, 2), "crystal": round(rises, 2)},
        "rank correlation",
        REPRODUCED if perfect else PARTLY if tends else REFUTED,
        f"With the scale the feature weight has rank correlation {falls:+.2f} and the crystal weight {rises:+.2f}, "
        f"where -1 and +1 would be the pattern; crystal outweighs feature in "
        f"{' and '.join(heavy) or 'no scale'}.",
        SOURCE,
    )


@register
def fusion_gains(claim: Claim, results: Results, *, rows: list[dict[str, Any]], samples: int) -> Measurement:
    """The fused accuracy against the best scale's, with the sampling error of so many validation rows."""
    fused = reported_number(claim)
    best = max(rows, key=lambda row: row["accuracy"])
    gain = fused - best["accuracy"]
    error = math.sqrt(2 * best["accuracy"] * (1 - best["accuracy"]) / samples)
    return Measurement(
        round(100 * gain, 2),
        "percentage points",
        REPRODUCED if gain > 2 * error else PARTLY if gain > 0 else REFUTED,
        f"The fusion's {fused:.2%} is {100 * gain:.2f} points above the best scale ({best['scale']}, "
        f"{best['accuracy']:.2%}); two accuracies on {samples:,} rows differ by chance by {100 * error:.2f} points "
        "(standard error, taken as independent).",
        SOURCE,
    )


@register
def settings_stated(claim: Claim, results: Results) -> Measurement:
    """How many of the training's settings have a value; those in braces are a template's blanks, left unfilled."""
    if not isinstance(claim.reported, dict):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a mapping of settings.")
    blank = [name for name, value in claim.reported.items() if isinstance(value, str) and value.startswith("{")]
    count = len(claim.reported)
    return Measurement(
        f"{count - len(blank)} of {count} settings",
        "",
        REPRODUCED if not blank else PARTLY if len(blank) < count else REFUTED,
        f"{count - len(blank)} of {count} settings have a value"
        + (f"; blanks of the card's template stand for {', '.join(blank)}." if blank else "."),
        SOURCE,
    )


def _rows(claim: Claim) -> list[dict[str, Any]]:
    if isinstance(claim.reported, list) and claim.reported:
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a list of scales.")


def _middle_share(row: dict[str, Any]) -> tuple[float, float]:
    """The most and the least of a scale's classes that can lie in the middle third (Cantelli and Chebyshev)."""
    mean, variance = row["mean"], row["std"] ** 2
    low, high = MIDDLE
    if row["high"] < low or row["low"] > high:
        return 0.0, 0.0
    outside = max(low - mean, mean - high)
    if outside > 0:  # the mean lies outside the third: one-sided bound on the share beyond its nearer end
        return variance / (variance + outside**2), 0.0
    return 1.0, max(0.0, 1 - variance / outside**2) if outside else 0.0
