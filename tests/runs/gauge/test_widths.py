"""Widths that leave their list, and the exponent that is read off them."""

import pytest
import torch

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.fit import Cascade, pursue_shared, width_grid
from mobius_lib.runs.gauge.widths import (
    Fit,
    continuous_fits,
    exponent_of,
    planted,
    random_widths,
    read_exponent,
    refined,
)


def test_widths_on_no_list_are_found():
    """Two Gaussians between the list's widths and between columns: found to many digits, as no list could."""
    mu, sigma = torch.tensor([61.3, 140.8]).double(), torch.tensor([7.7, 23.1]).double()
    core = torch.tensor([[2.0, -1], [1, 3]]).double() @ gauge.gaussians(mu, sigma, torch.arange(200.0).double())
    found, before = pursue_shared(core, [width_grid(200)] * 2)
    moved, after = refined(core, found)
    order = moved.sigma.argsort()
    # the ridge of 1e-10 is a squared error
    torch.testing.assert_close(moved.sigma[order], sigma, rtol=1e-3, atol=0)
    torch.testing.assert_close(moved.mu[order], mu, rtol=1e-3, atol=0)
    assert after < 1e-8 * core.square().sum() < 1e-3 * before


def test_no_bound_holds_a_width():
    """A constant wants a width beyond all, and one column the narrowest: both leave the list, and nothing is NaN."""
    flat = torch.ones(1, 60).double()
    moved, left = refined(flat, Cascade(torch.tensor([30]), torch.tensor([30.0])))
    assert moved.sigma.item() > 120 and left < 1e-3 * 60
    spike = torch.zeros(1, 60).double()
    spike[0, 20] = 1
    moved, left = refined(spike, Cascade(torch.tensor([20]), torch.tensor([2.0])))
    assert moved.sigma.item() < 0.3 and left < 1e-3
    for core in (torch.zeros(1, 60).double(), spike):
        moved, left = refined(core, Cascade(torch.tensor([20, 20]), torch.tensor([1e-3, 1e-3])))
        assert moved.sigma.isfinite().all() and left == left


def of_widths(*widths, left=(0.1,)):
    cascade = [Cascade(torch.zeros(len(each)), torch.as_tensor(each).double()) for each in widths]
    return [Fit(each, each, (1.0, rest)) for each, rest in zip(cascade, left, strict=True)]


def test_an_exponent_with_its_uncertainty():
    exact = gauge.kpz_widths(torch.tensor(2.0).double(), 12)
    for exponent in (0.0, gauge.KPZ, 0.5):
        law = 2 * torch.arange(1, 13).double() ** exponent
        for widths in (law, 7 * law, law[torch.randperm(12, generator=torch.Generator().manual_seed(0))]):
            found = read_exponent(of_widths(widths), 1000)
            assert found.exponent == pytest.approx(exponent, abs=1e-9) and found.error < 1e-9 and found.inside == 12
    # another fit that leaves as much and reads otherwise is a doubt, one that leaves more is none
    other = 2 * torch.arange(1, 13).double() ** 0.5
    doubt = read_exponent(of_widths(exact, other, left=(0.1, 0.1004)), 1000)
    assert doubt.exponent == pytest.approx(1 / 3) and doubt.error == pytest.approx(1 / 6) and doubt.alike == 2
    sure = read_exponent(of_widths(exact, other, left=(0.1, 0.11)), 1000)
    assert sure.error < 1e-9 and sure.alike == 1
    noisy = exact * torch.exp(0.2 * torch.randn(12, generator=torch.Generator().manual_seed(1)).double())
    assert read_exponent(of_widths(noisy), 1000).error == pytest.approx(exponent_of(noisy)[1])
    assert read_exponent(of_widths(torch.tensor([0.1, 1.0, 5.0, 2e3])), 1000).inside == 2


def test_a_planted_exponent_is_read_back():
    """Nearer to what was planted than half of 1/3, which tells the law from none: no finer resolution is claimed."""
    for exponent in (0.0, gauge.KPZ, 0.5):
        fits = continuous_fits(planted(400, 8, exponent, seed=1), 8, starts=3)
        assert abs(read_exponent(fits, 400).exponent - exponent) < gauge.KPZ / 2
        assert all(after <= before for before, after in (fit.left for fit in fits))
    assert any(abs(exponent_of(fit.listed.sigma)[0] - 0.5) > 0.05 for fit in fits)


def test_lists_at_random():
    generator = torch.Generator().manual_seed(0)
    lists = [random_widths(400, generator) for _ in range(50)]
    assert all((each.diff() >= 0).all() and len(each) == 14 for each in lists)
    assert len({each[0].item() for each in lists}) == 50
    assert min(each[0].item() for each in lists) >= 0.15 and max(each[-1].item() for each in lists) <= 400
    w = planted(60, 3, 0.5, seed=0, noise=0.1)
    one, other = (continuous_fits(w, 3, starts=2, seed=seed) for seed in (0, 1))
    assert torch.equal(one[0].moved.sigma, other[0].moved.sigma) and not torch.equal(
        one[1].listed.sigma, other[1].listed.sigma
    )
