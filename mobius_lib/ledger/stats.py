"""The few statistics the ledger rests on, and the one place where an interval becomes a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr, stdtrit

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Word

CONFIDENCE = 0.95
Effect = Literal["more", "less", "no difference", "undecided"]
MORE: Effect = "more"
LESS: Effect = "less"
NO_DIFFERENCE: Effect = "no difference"
UNDECIDED: Effect = "undecided"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the range that holds the true mean with 95 % confidence."""

    mean: float
    low: float
    high: float
    spread: float
    """Standard deviation over the seeds (n - 1)."""
    n: int


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of a mean. One value has no spread that could be seen: its interval is the value itself.

    Args:
        values: one number per seed, at least one.
    """
    n = len(values)
    if n == 0:
        raise ValueError("An interval needs at least one value.")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, mean, mean, 0.0, 1)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = student_quantile((1 + confidence) / 2, n - 1) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, spread, n)


def decide(found: Interval, threshold: float = 0.0) -> Word:
    """How a claim of the form "the mean is above this threshold" fares.

    The mapping of the whole ledger for results that vary from seed to seed:
        reproduced: the interval lies wholly above the threshold;
        refuted: it lies wholly below;
        partly: it holds the threshold, so these seeds decide nothing either way.
    """
    if found.low > threshold:
        return REPRODUCED
    return REFUTED if found.high < threshold else PARTLY


def holm(families: Mapping[str, Sequence[float]], confidence: float = CONFIDENCE) -> dict[str, Interval]:
    """Intervals of several means that are looked at together, by Holm's step-down rule.

    The means are ordered by their distance from 0 in standard errors (by p). The first gets its interval at
    1 - a / m, a = 1 - confidence and m how many there are, the next at 1 - a / (m - 1), and so on; from the first that
    holds 0, all further ones get its level. So an interval lies on one side of 0 exactly where Holm's test says so, and
    all that do so are right together with that confidence, or more.

    Args:
        families: name to one number per seed, at least one.
    Returns:
        the same names, in the same order.
    """
    order = sorted(families, key=lambda name: _p_value(families[name]))
    found: dict[str, Interval] = {}
    share = 1 - confidence
    level = share
    stopped = False
    for place, name in enumerate(order):
        level = level if stopped else share / (len(order) - place)
        found[name] = interval(families[name], 1 - level)
        stopped = stopped or found[name].low <= 0 <= found[name].high
    return {name: found[name] for name in families}


def effect(found: Interval, smallest: float) -> Effect:
    """What an interval of a difference says, where less than `smallest` would not matter to anybody.

    Args:
        smallest: the smallest effect of interest, above 0, in the unit of the difference.
    """
    if found.low > smallest:
        return MORE
    if found.high < -smallest:
        return LESS
    return NO_DIFFERENCE if -smallest < found.low and found.high < smallest else UNDECIDED


def student_quantile(probability: float, degrees: int) -> float:
    """The t that a Student variable with `degrees` degrees of freedom stays below with this probability."""
    return float(stdtrit(degrees, probability))


def _p_value(values: Sequence[float]) -> float:
    """Of Student's test that the mean is 0, both sides; 1 for a single value, 0 where all are the same and not 0."""
    found = interval(values)
    if found.n == 1 or found.mean == 0:
        return 1.0
    if found.spread == 0:
        return 0.0
    return float(2 * stdtr(found.n - 1, -abs(found.mean) * math.sqrt(found.n) / found.spread))


def ranks(values: Sequence[float]) -> list[float]:
    """Rank of each value from 1; equal values share the mean of their ranks."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, in [-1, 1]: 1 when both sort alike. 0 when one of them is constant: no order."""
    a, b = ranks(first), ranks(second)
    centre = (len(a) + 1) / 2
    product = math.fsum((x - centre) * (y - centre) for x, y in zip(a, b, strict=True))
    size = math.sqrt(math.fsum((x - centre) ** 2 for x in a) * math.fsum((y - centre) ** 2 for y in b))
    return product / size if size else 0.0
