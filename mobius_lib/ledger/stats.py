"""The few statistics the ledger rests on, and the one place where an interval becomes a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Word

CONFIDENCE = 0.95


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


def student_quantile(probability: float, degrees: int) -> float:
    """The t that a Student variable with `degrees` degrees of freedom stays below with this probability.

    Bisection on the distribution function, which for whole degrees is a finite sum (Abramowitz and Stegun 26.7.3-4).

    Args:
        probability: in [0.5, 1).
        degrees: at least 1.
    """
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"No quantile for probability {probability} and {degrees} degrees of freedom.")
    inside = 2 * probability - 1
    low, high = 0.0, 1.0
    while _within(high, degrees) < inside:
        high *= 2
    for _ in range(80):  # halves the bracket below the spacing of doubles
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < inside else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """Probability that a Student variable lies in [-t, t]."""
    theta = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(theta)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return (theta + math.sin(theta) * total) * 2 / math.pi if odd else math.sin(theta) * total


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
