"""L1 to L3: rows of their own Gaussians, smoothing, and least squares."""

import pytest
import torch

from mobius_lib.gauge import (
    FractalHarmonicLinear,
    HarmonicLinear,
    TriLevelHarmonicLinear,
    relative_error,
)
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.harmonic import read_from_planted, smooth


def test_rows_of_their_own_are_not_bound_by_rank():
    """A diagonal matrix: one narrow Gaussian per row holds it, and no matrix of a small rank comes near."""
    w = torch.eye(64)
    rung = HarmonicLinear.from_dense(w, 1)
    assert relative_error(w, rung.to_dense()) < 0.01  # beside the diagonal, exp(-1 / 0.18) = 0.004
    assert relative_error(w, TriLevelHarmonicLinear.from_dense(w, 1).to_dense()) > 0.9


def test_smoothing_against_the_sum():
    x, sigma = torch.randn(3, 50, dtype=torch.float64), torch.tensor([0.4, 3.0, 40.0], dtype=torch.float64)
    j = torch.arange(50, dtype=torch.float64)
    for n, width in enumerate(sigma):
        bells = torch.exp(-((j - j.unsqueeze(1)) ** 2) / (2 * width**2))
        torch.testing.assert_close(smooth(x, sigma)[:, n], x @ bells, rtol=0, atol=1e-12)


def test_a_bad_count_of_terms_across():
    with pytest.raises(ValueError, match="out_terms must be a whole number from 1 to 4, not 5"):
        FractalHarmonicLinear(8, 4, 2, out_terms=5)


def test_an_exponent_is_read_as_far_as_a_list_of_widths_allows():
    read = read_from_planted(columns=300, draws=3)
    # equal ratios of (150 / 0.3)^(1/13) = 1.6 between widths that grow 2.5-fold in all: an exponent is off by up to 0.2
    assert len(read) == 3 and max(read) - min(read) > 0.1
    assert all(abs(each - gauge.KPZ) < 0.2 for each in read)
    assert read_from_planted(columns=300, draws=2) == read[:2]
