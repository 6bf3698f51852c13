"""Calibration error, temperature and rejection against counting, scikit-learn, and cases whose answer is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mobius_lib.runs.simplex.calibration import (
    auroc,
    calibration_error,
    error_of_rows,
    fit_temperature,
    negative_log_likelihood,
)


def draws(n: int = 20_000, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from their softmax: calibrated by construction at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def test_a_calibrated_classifier_has_no_error():
    logits, y = draws()
    # 15 bins of some 1,300 rows: each strays by 0.5 / sqrt(1300) = 0.014 at most, their mean by less
    assert calibration_error(logits.softmax(1), y) < 0.012
    assert calibration_error((4 * logits).softmax(1), y) > 0.1, "over-confident"
    assert calibration_error((logits / 4).softmax(1), y) > 0.1, "under-confident"


def test_error_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.42, 0.58], [0.35, 0.65]])
    y = torch.tensor([0, 1, 1, 0])
    # ten bins: (0.8, 0.9] holds two, half of them right; (0.5, 0.6] one, right; (0.6, 0.7] one, wrong
    expected = 0.5 * 0.4 + 0.25 * 0.42 + 0.25 * 0.65
    assert calibration_error(probabilities, y, bins=10) == pytest.approx(expected, abs=1e-7)  # float32 inputs
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert calibration_error(certain, torch.tensor([0, 1])) == 0
    assert calibration_error(certain, torch.tensor([1, 0])) == 1


@pytest.mark.parametrize("factor", [0.01, 0.3, 1.0, 7.0, 500.0])
def test_temperature_undoes_a_factor(factor):
    logits, y = draws()
    one, other = fit_temperature(logits, y), fit_temperature(factor * logits, y)
    # the slope at the minimum is known to 1 / sqrt(20,000), and so is the temperature
    assert one == pytest.approx(1.0, abs=0.03)
    assert other == pytest.approx(factor * one, rel=1e-5)  # float32 of the scaled logits
    best = negative_log_likelihood(logits, y, one)
    for elsewhere in (0.9, 1.1):
        assert negative_log_likelihood(logits, y, one * elsewhere) > best


def test_temperature_where_there_is_no_minimum():
    logits = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1e-4), "all right: as sharp as it goes"
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(1e4), "all wrong: as flat as it goes"


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_auroc_is_scikit_learns(levels):
    generator = np.random.default_rng(0)
    inside, outside = (generator.integers(levels, size=n) + shift for n, shift in ((300, levels // 3), (170, 0)))
    expected = roc_auc_score([1] * 300 + [0] * 170, np.concatenate([inside, outside]))
    found = auroc(torch.from_numpy(inside), torch.from_numpy(outside))
    assert found == pytest.approx(expected, abs=1e-12) and 0.5 < found < 1
    assert auroc(torch.from_numpy(outside), torch.from_numpy(inside)) == pytest.approx(1 - found, abs=1e-12)


def test_likelihood():
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert negative_log_likelihood(logits, torch.tensor([0])) == pytest.approx(math.log(4 / 3), rel=1e-6)
    assert negative_log_likelihood(logits, torch.tensor([0]), 1e9) == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("rows", [100, 1_000])
def test_the_error_of_rows_is_that_of_a_mean(rows):
    """s / sqrt(n), within four of the bootstrap's own errors: 1 / sqrt(2 draws) of it."""
    x = torch.randn(rows, generator=torch.Generator().manual_seed(rows))
    known = x.std(unbiased=False).item() / rows**0.5
    assert error_of_rows(lambda v: v.mean().item(), (x,), draws=400) == pytest.approx(known, rel=4 / 28)


def test_the_error_of_a_rejection_is_delongs():
    """DeLong, DeLong and Clarke-Pearson 1988: from each score the share of the other side's that it beats."""
    generator = torch.Generator().manual_seed(1)
    inside, outside = torch.randn(300, generator=generator) + 1, torch.randn(200, generator=generator)
    beats = (inside[:, None] > outside).double()
    known = (beats.mean(1).var() / 300 + beats.mean(0).var() / 200).sqrt().item()
    found = error_of_rows(auroc, (inside,), (outside,), draws=400)
    assert found == pytest.approx(known, rel=4 / 28)


def test_rows_that_belong_together_are_drawn_together():
    x = torch.arange(50.0)
    assert error_of_rows(lambda a, b: (a - b).abs().sum().item(), (x, x)) == 0
    assert error_of_rows(lambda a, b: (a - b).abs().sum().item(), (x,), (x,)) > 0
