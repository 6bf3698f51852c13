"""The ledger's statistics against scipy and numpy."""

import numpy as np
import pytest
from scipy import stats as reference

from mobius_lib.ledger.stats import (
    Interval,
    effect,
    holm,
    interval,
    row_error,
    student_quantile,
)


def test_the_quantile_is_the_tables() -> None:
    # printed in any table of Student's distribution
    assert student_quantile(0.975, 4) == pytest.approx(2.776, abs=5e-4)
    assert student_quantile(0.975, 2) == pytest.approx(4.303, abs=5e-4)


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


def test_the_error_of_the_rows_is_binomial() -> None:
    draws = np.random.default_rng(0).binomial(500, [0.8, 0.7], size=(20_000, 2)) / 500
    # the standard deviation of 20,000 draws is off by 0.5 %; four of these
    assert row_error(500, 0.8) == pytest.approx(draws[:, 0].std(), rel=0.02)
    assert row_error(500, 0.8, 0.7) == pytest.approx((draws[:, 0] - draws[:, 1]).std(), rel=0.02)


@pytest.mark.parametrize("rows", [0.0, 0.5, 5.0])
def test_an_interval_with_an_error_of_the_rows_covers_as_often_as_it_says(rows: float) -> None:
    """What all five seeds share is drawn once for them."""
    draw = np.random.default_rng(1)
    values = draw.normal(size=(4000, 5)) + draw.normal(0, rows, size=(4000, 1))
    found = [interval(each, row_error=rows) for each in values.tolist()]
    hits = sum(each.low <= 0 <= each.high for each in found)
    # as above; Welch and Satterthwaite's degrees of freedom are an approximation, good to a hundredth here
    assert hits / len(values) == pytest.approx(0.95, abs=0.02)
    assert interval([0.3], row_error=0.1).high == pytest.approx(0.3 + 1.95996 * 0.1, abs=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_holms_intervals_decide_as_holms_test(seed: int) -> None:
    draw = np.random.default_rng(seed)
    means = draw.choice([0.0, 0.5, 2.0], size=6)
    values = {f"{n}": draw.normal(mean, 1, size=5).tolist() for n, mean in enumerate(means)}
    p = {name: reference.ttest_1samp(each, 0).pvalue for name, each in values.items()}
    rejected: set[str] = set()
    for place, name in enumerate(sorted(p, key=p.__getitem__)):
        if p[name] >= 0.05 / (6 - place):
            break
        rejected.add(name)
    found = holm(values)
    assert list(found) == list(values)
    assert {name for name, each in found.items() if each.low > 0 or each.high < 0} == rejected
    alone = {name: interval(each) for name, each in values.items()}
    for name, each in found.items():
        assert each.mean == alone[name].mean and each.low <= alone[name].low and each.high >= alone[name].high
    smallest = min(p, key=p.__getitem__)
    assert found[smallest] == interval(values[smallest], 1 - 0.05 / 6)


@pytest.mark.parametrize("seed", range(40))
def test_holms_intervals_have_an_effect_as_holms_test_of_it(seed: int) -> None:
    """p of an effect: of Student's test that the mean is the nearest one with another effect, at 1 or at -1."""
    draw = np.random.default_rng(seed)
    values = {f"{n}": draw.normal(mean, 0.4, size=6).tolist() for n, mean in enumerate(draw.uniform(-3, 3, size=6))}
    nearest = {name: np.copysign(1, np.mean(each)) for name, each in values.items()}
    p = {name: reference.ttest_1samp(each, nearest[name]).pvalue for name, each in values.items()}
    decided: set[str] = set()
    for place, name in enumerate(sorted(p, key=p.__getitem__)):
        if p[name] >= 0.05 / (6 - place):
            break
        decided.add(name)
    found = holm(values, smallest=1.0)
    assert {name for name, each in found.items() if effect(each, 1.0) != "undecided"} == decided
    assert holm(values, smallest=dict.fromkeys(values, 1.0)) == found


@pytest.mark.parametrize(("spread", "rows"), [(0.02, 0.1), (0.1, 0.0)])
def test_a_family_at_the_smallest_effect_is_rarely_decided(spread: float, rows: float) -> None:
    """Each mean is the smallest effect itself, so that every word but undecided is wrong."""
    draw, smallest = np.random.default_rng(0), 1.0
    wrong = 0
    for _ in range(400):
        values = draw.normal(smallest, spread, size=(10, 5)) + draw.normal(0, rows, size=(10, 1))
        family = {f"{n}": each.tolist() for n, each in enumerate(values)}
        found = holm(family, row_errors=dict.fromkeys(family, rows), smallest=smallest)
        wrong += any(effect(each, smallest) != "undecided" for each in found.values())
    # 0.05 and 4 standard errors of a proportion over 400 families (0.011 each); by the distance from 0 it was 0.23
    assert wrong / 400 <= 0.094


def test_errors_of_any_size_have_an_interval() -> None:
    for tiny in (1e-90, 1e-200, 0.0):
        assert interval([0.3, 0.3 + tiny], row_error=0.1).high == pytest.approx(0.3 + 1.95996 * 0.1, abs=1e-5)
        assert interval([0.0, tiny], row_error=0.1).high == pytest.approx(1.95996 * 0.1, abs=1e-5)
    assert interval([1e90, -1e90]).high == pytest.approx(1e90 * student_quantile(0.975, 1))


def test_holms_intervals_of_degenerate_families() -> None:
    assert holm({}) == {}
    assert holm({"one": [0.3, 0.4, 0.5]}) == {"one": interval([0.3, 0.4, 0.5])}
    found = holm({"single": [0.3], "same": [1.0, 1.0], "none": [0.0, 0.0]})
    assert (found["single"].low, found["same"].low, found["none"].low) == (0.3, 1.0, 0.0)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.02, 0.05, "more"),
        (-0.05, -0.02, "less"),
        (-0.009, 0.009, "no difference"),
        (0.002, 0.009, "no difference"),
        (0.005, 0.05, "undecided"),
        (0.01, 0.05, "undecided"),
        (-0.05, 0.05, "undecided"),
        (-0.05, -0.005, "undecided"),
    ],
)
def test_what_an_interval_says_of_an_effect_that_matters(low: float, high: float, word: str) -> None:
    assert effect(Interval((low + high) / 2, low, high, 0.1, 5), 0.01) == word
