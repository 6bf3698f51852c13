"""Records of chapter 5 in numbers and words: what its pages print of them."""

from statistics import mean, stdev
from typing import Any

from mobius_lib.ledger.stats import LESS, MORE, NO_DIFFERENCE, UNDECIDED, Interval, effect, interval

SMALLEST = 0.01  # bits per character: below that a difference matters to nobody


def column(record: dict[str, Any], arm: str, key: str) -> list[Any]:
    """An entry of every seed of an arm."""
    return [run[key] for run in record["arms"][arm]]


def minus(record: dict[str, Any], first: str, second: str, key: str = "bits_per_character") -> list[float]:
    """First minus second, seed by seed."""
    return [a - b for a, b in zip(column(record, first, key), column(record, second, key), strict=True)]


def gap(record: dict[str, Any], first: str, second: str, key: str = "bits_per_character") -> Interval:
    """The interval of first minus second by itself; of a single seed the difference."""
    return interval(minus(record, first, second, key))


def in_words(found: Interval, unit: str, less: str, more: str) -> str:
    """An interval and what it says, where a difference counts from `SMALLEST` on."""
    verdicts = {LESS: less, MORE: more, NO_DIFFERENCE: "no difference that matters", UNDECIDED: "undecided"}
    verdict = "one seed, which says nothing of the spread" if found.n == 1 else verdicts[effect(found, SMALLEST)]
    return f"{found.mean:+.3f} {unit} (interval {found.low:+.3f} to {found.high:+.3f}): {verdict}"


def listed(record: dict[str, Any], key: str = "bits_per_character") -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the seeds, by arm."""
    each = {arm: column(record, arm, key) for arm in record["arms"]}
    return {arm: (mean(values), stdev(values) if len(values) > 1 else 0.0) for arm, values in each.items()}
