"""The ledger's statistics against scipy and numpy."""

import random

import numpy as np
import pytest
from scipy import stats as reference

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED
from mobius_lib.ledger.stats import Interval, decide, interval, rank_correlation, ranks, student_quantile


@pytest.mark.parametrize("degrees", [*range(1, 31), 99, 100])
def test_the_quantile_is_scipys(degrees: int) -> None:
    for probability in (0.5, 0.6, 0.9, 0.95, 0.975, 0.995):
        # 1e-9: both are exact to about 1e-12; the finite sum loses a few digits of cancellation near t = 0
        expected = reference.t.ppf(probability, degrees)
        assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("probability", "degrees"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_no_quantile_where_there_is_none(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="No quantile"):
        student_quantile(probability, degrees)


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_is_scipys(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.8, 0.01, size=2 + seed % 7)
    found = interval(values.tolist())
    low, high = reference.t.interval(0.95, len(values) - 1, values.mean(), reference.sem(values))
    # 1e-9: the quantile's own accuracy
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-9)
    assert found.spread == pytest.approx(values.std(ddof=1), rel=1e-9) and found.n == len(values)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 4))
    hits = sum(i.low <= 0 <= i.high for i in map(interval, draws.tolist()))
    # 0.95 ± 4 standard errors of a proportion over 4,000 draws (0.0034 each)
    assert hits / len(draws) == pytest.approx(0.95, abs=0.014)


def test_one_value_is_its_own_interval_and_none_is_an_error() -> None:
    assert interval([0.8]) == Interval(0.8, 0.8, 0.8, 0.0, 1)
    with pytest.raises(ValueError, match="at least one"):
        interval([])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.3, REPRODUCED), (-0.3, -0.1, REFUTED), (-0.1, 0.3, PARTLY), (0.0, 0.3, PARTLY), (-0.3, 0.0, PARTLY)],
)
def test_the_word_follows_the_interval(low: float, high: float, word: str) -> None:
    found = Interval((low + high) / 2, low, high, 0.1, 3)
    assert decide(found) == word
    shifted = Interval(found.mean + 5, low + 5, high + 5, 0.1, 3)
    assert decide(shifted, threshold=5) == word


@pytest.mark.parametrize("seed", range(20))
def test_ranks_and_their_correlation_are_scipys_ties_included(seed: int) -> None:
    draw = random.Random(seed)
    a, b = ([draw.randrange(5) for _ in range(9)] for _ in range(2))
    assert ranks(a) == reference.rankdata(a).tolist()
    assert rank_correlation(a, b) == pytest.approx(reference.spearmanr(a, b).statistic, abs=1e-12)  # sums of 9 terms


def test_a_constant_has_no_order() -> None:
    assert rank_correlation([1.5] * 6, range(6)) == 0.0
