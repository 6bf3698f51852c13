"""Orders, columns and cascades as whole numbers, and the one form of {hw, mu, sigma}."""

import math
from itertools import permutations, product

import pytest
import torch

from mobius_lib.gauge import TriLevelHarmonicLinear, gauge_tensor, integer_normal
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.bits import permutation_bits
from mobius_lib.gauge.codes import cascade_of_number, number_of_cascade, number_of_order, order_of_number


def test_every_order_has_its_number():
    orders = sorted(permutations(range(5)))
    assert [number_of_order(torch.tensor(order)) for order in orders] == list(range(120))
    assert [tuple(order_of_number(number, 5).tolist()) for number in range(120)] == orders
    places = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    number = number_of_order(places)
    assert torch.equal(order_of_number(number, 1000), places) and number.bit_length() <= permutation_bits(1000)
    # the last of them takes every bit that is counted
    assert number_of_order(torch.arange(1000).flip(0)).bit_length() == permutation_bits(1000)
    with pytest.raises(ValueError, match="An order of 5 columns has a number from 0 to 5! - 1, not 120"):
        order_of_number(120, 5)
    with pytest.raises(ValueError, match="places must hold every number from 0 to 2 once"):
        number_of_order(torch.tensor([0, 2, 2]))


def test_every_cascade_of_the_family_has_its_number():
    sizes = [3, 4, 4]
    members = list(product(*map(range, sizes)))
    assert [number_of_cascade(member, sizes) for member in members] == list(range(48))
    assert [tuple(cascade_of_number(number, sizes)) for number in range(48)] == members
    with pytest.raises(ValueError, match="The family ends before number 48"):
        cascade_of_number(48, sizes)
    with pytest.raises(ValueError, match="There is no choice 4 among 4"):
        number_of_cascade([0, 4, 0], sizes)


@pytest.mark.parametrize("whole_bits", [None, 2, 8, 32])
def test_columns_in_whole_numbers_can_be_had_back(whole_bits):
    generator = torch.Generator().manual_seed(1)
    w, places = torch.randn(20, 30, generator=generator).double(), torch.randperm(30, generator=generator)
    code = integer_normal(w, places, whole_bits)
    made = code.decode()
    assert torch.equal(code.columns[:, places], integer_normal(w, torch.arange(30), whole_bits).columns)
    again = integer_normal(made, places, whole_bits)
    assert torch.equal(again.columns, code.columns) and again.order == code.order
    if whole_bits is None:
        assert torch.equal(made, w) and code.bits == permutation_bits(30) + 32 * 600
    else:
        assert (made - w).abs().max() <= code.unit / 2 * (1 + 1e-9)  # the rounding of float64
        assert code.columns.abs().max() == 2 ** (whole_bits - 1) - 1
        assert code.bits <= permutation_bits(30) + whole_bits * 600 + 32
        symmetric = integer_normal(w[:, :20] + w[:, :20].mT, torch.arange(20), whole_bits)
        assert symmetric.bits <= permutation_bits(20) + whole_bits * 210 + 32
    assert integer_normal(torch.zeros(2, 3), torch.arange(3), 8).decode().tolist() == [[0.0] * 3] * 2


def dense(hw, mu, sigma, places, gain=None):
    return hw @ (gauge.gaussians(mu, sigma, places.double()) * (1 if gain is None else gain.unsqueeze(1)))


def drawn(seed, columns=40, terms=5):
    generator = torch.Generator().manual_seed(seed)
    hw = torch.randn(12, terms, generator=generator, dtype=torch.float64)
    mu = columns * torch.rand(terms, generator=generator, dtype=torch.float64)
    sigma = 1 + 4 * torch.rand(terms, generator=generator, dtype=torch.float64)
    return hw, mu, sigma, torch.randperm(columns, generator=generator)


def equivalents(hw, mu, sigma, places, seed):
    """The same layer in other numbers: one symmetry at a time, and then all together."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(mu), generator=generator)
    gain = torch.tensor(2.0, dtype=torch.float64) ** torch.randint(-3, 4, (len(mu),), generator=generator)
    gain = gain * torch.tensor([1, -1]).repeat(len(mu))[: len(mu)]
    last, one = len(places) - 1, torch.ones_like(mu)
    yield hw[:, order], mu[order], sigma[order], places, None
    yield hw / gain, mu, sigma, places, gain
    yield hw, mu, -sigma, places, None
    yield hw, last - mu, sigma, last - places, None
    share = torch.cat((hw, hw[:, :1]), 1)
    share[:, 0] *= 0.25
    share[:, -1] *= 0.75
    yield share, torch.cat((mu, mu[:1])), torch.cat((sigma, sigma[:1])), places, None
    empty = torch.cat((torch.zeros_like(hw[:, :1]), hw), 1)
    yield empty, torch.cat((3 * one[:1], mu)), torch.cat((7 * one[:1], sigma)), places, None
    yield (hw / gain)[:, order], last - mu[order], -sigma[order], last - places, gain[order]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("columns", [40, 41])
def test_equal_layers_resolve_to_the_same_numbers(seed, columns):
    hw, mu, sigma, places = drawn(seed, columns)
    w, form = dense(hw, mu, sigma, places), gauge_tensor(hw, mu, sigma, places)
    torch.testing.assert_close(dense(*form), w)
    assert (form.sigma.diff() > 0).all()
    for other in equivalents(hw, mu, sigma, places, seed):
        torch.testing.assert_close(dense(*other), w)
        for one, two in zip(form, gauge_tensor(*other), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-12)  # V - 1 - mu rounds
    again = gauge_tensor(*form)
    assert all(torch.equal(one, two) for one, two in zip(form, again, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_other_numbers_are_another_layer(seed):
    """Changed by a hundredth in any one of them, the form is another, and so is the matrix."""
    hw, mu, sigma, places = drawn(seed)
    w, form = dense(hw, mu, sigma, places), gauge_tensor(hw, mu, sigma, places)
    for part in range(3):
        changed = [hw.clone(), mu.clone(), sigma.clone()]
        changed[part][..., seed % len(mu)] += 0.01
        other = gauge_tensor(*changed, places)
        assert (dense(*other) - w).norm() / w.norm() > 1e-4
        assert max((one - two).abs().max() for one, two in zip(form, other, strict=True)) > 1e-3
    # and of these Gaussians the heights are the only ones: they are found again from the matrix alone
    g = gauge.gaussians(form.mu, form.sigma, form.places.double())
    torch.testing.assert_close(gauge.amplitudes(w, g), form.hw, rtol=0, atol=1e-6)


def test_terms_of_a_rung_in_any_order():
    generator = torch.Generator().manual_seed(0)
    rung = TriLevelHarmonicLinear.from_dense(torch.randn(20, 50, generator=generator), 6)
    hw, mu, sigma = (each.detach() for each in (rung.hw, rung.mu, rung.sigma))
    order, places = torch.randperm(6, generator=generator), torch.arange(50)
    one, two = gauge_tensor(hw, mu, sigma, places), gauge_tensor(hw[:, order], mu[order], sigma[order], places)
    assert all(map(torch.equal, one, two)) and math.prod(one.hw.shape) <= 120
