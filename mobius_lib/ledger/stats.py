"""The few statistics the ledger rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
_MANY = 1e9  # degrees of freedom: Student's distribution is the normal one to all digits
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
    level: float = CONFIDENCE
    """Its confidence."""


def interval(values: Sequence[float], confidence: float = CONFIDENCE, row_error: float = 0.0) -> Interval:
    """Student's interval of a mean. One value has no spread that could be seen: its interval is the value itself.

    Args:
        values: one number per seed, at least one.
        row_error: as `interval_of` takes it.
    """
    n = len(values)
    if n == 0:
        raise ValueError("An interval needs at least one value.")
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    return interval_of(mean, spread, n, confidence, row_error)


def interval_of(mean: float, spread: float, n: int, confidence: float = CONFIDENCE, row_error: float = 0.0) -> Interval:
    """The interval of the mean of n values whose standard deviation is `spread`.

    Args:
        row_error: standard error of the mean from what all seeds share, as the rows of a test set: more seeds do not
            make it smaller. The degrees of freedom of both errors together are Welch and Satterthwaite's.
    """
    error, degrees = _error(spread, n, row_error)
    half = student_quantile((1 + confidence) / 2, degrees) * error if error else 0.0
    return Interval(mean, mean - half, mean + half, spread, n, confidence)


def row_error(rows: int, *accuracies: float) -> float:
    """Standard error of an accuracy, or of the difference of two, that comes from the number of test rows.

    For two on the same rows it is what it would be on rows of their own: an upper bound where they tend to be right on
    the same ones, as classifiers do.
    """
    return math.sqrt(sum(max(0.0, p * (1 - p)) for p in accuracies) / rows)


def _error(spread: float, n: int, row_error: float) -> tuple[float, float]:
    """Standard error of the mean, and its degrees of freedom."""
    of_seeds = spread / math.sqrt(n)
    error = math.hypot(of_seeds, row_error)
    share = (of_seeds / error) ** 4 if error else 0.0
    return error, (n - 1) / share if share * _MANY > n - 1 else _MANY


def holm(
    families: Mapping[str, Sequence[float]],
    row_errors: Mapping[str, float] | None = None,
    smallest: Mapping[str, float] | float = 0.0,
) -> dict[str, Interval]:
    """Intervals of several means that are looked at together, by Holm's step-down rule.

    The means are ordered by how clear their `effect` is: their distance from what would be another effect, in standard
    errors (by p). The first gets its interval at 1 - a / m, a = 1 - CONFIDENCE and m how many there are, the next at
    1 - a / (m - 1), and so on; from the first that leaves its effect undecided, all further ones get its level. So all
    effects that are decided are right together with that confidence, or more. Stepping on where an interval only leaves
    out 0 would not do: of ten means that are just the smallest effect, one in four families got a wrong word.

    Args:
        families: name to one number per seed, at least one.
        row_errors: of those that have one, as `interval` takes it.
        smallest: the smallest effects of interest, one for all or each its own. With 0, an effect is a mean that is
            not 0, and an interval lies on one side of 0 exactly where Holm's test says so.
    Returns:
        the same names, in the same order.
    """
    rows = dict.fromkeys(families, 0.0) | dict(row_errors or {})
    least = smallest if isinstance(smallest, Mapping) else dict.fromkeys(families, smallest)
    order = sorted(families, key=lambda name: _p_value(families[name], rows[name], least[name]))
    found: dict[str, Interval] = {}
    level, stopped = 1 - CONFIDENCE, False
    for place, name in enumerate(order):
        level = level if stopped else (1 - CONFIDENCE) / (len(order) - place)
        found[name] = interval(families[name], 1 - level, rows[name])
        stopped = stopped or effect(found[name], least[name]) == UNDECIDED
    return {name: found[name] for name in families}


def effect(found: Interval, smallest: float) -> Effect:
    """What an interval of a difference says, where less than `smallest` would not matter to anybody.

    Args:
        smallest: the smallest effect of interest, in the unit of the difference; with 0, nothing is no difference.
    """
    if found.low > smallest:
        return MORE
    if found.high < -smallest:
        return LESS
    return NO_DIFFERENCE if -smallest < found.low and found.high < smallest else UNDECIDED


def student_quantile(probability: float, degrees: float) -> float:
    """The t that a Student variable with `degrees` degrees of freedom stays below with this probability."""
    return float(stdtrit(degrees, probability))


def _p_value(values: Sequence[float], row_error: float, smallest: float) -> float:
    """The least 1 - confidence at which the mean's interval has an `effect`; 1 for a single value."""
    found = interval(values)
    far = abs(abs(found.mean) - smallest)
    error, degrees = _error(found.spread, found.n, row_error)
    if found.n == 1 or far == 0:
        return 1.0
    return float(2 * stdtr(degrees, -far / error)) if error else 0.0
