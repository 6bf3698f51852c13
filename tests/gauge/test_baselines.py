"""The baselines: errors against independent references, and bits counted by hand."""

import math

import pytest
import torch

from mobius_lib.gauge import BASELINES, at_bits, relative_error
from mobius_lib.gauge.baselines import (
    dct,
    inverse_dct,
    magnitude_pruning,
    places_bits,
    quantised,
    top_k_dct,
    truncated_svd,
)


def drawn(rows=20, columns=30, seed=0, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_the_cosine_transform(size):
    x = drawn(3, size)
    j = torch.arange(size, dtype=torch.float64)
    for k in range(size):
        length = math.sqrt((1 if k == 0 else 2) / size)
        expected = length * (x * torch.cos(math.pi * (2 * j + 1) * k / (2 * size))).sum(-1)
        torch.testing.assert_close(dct(x)[:, k], expected, rtol=0, atol=1e-13 * size)
    torch.testing.assert_close(inverse_dct(dct(x)), x, rtol=0, atol=1e-13 * size)


def test_errors_are_those_of_what_is_left_out():
    """Each of the three keeps the largest numbers of an orthonormal form, so what is left out is the error."""
    w = drawn()
    values = torch.linalg.svdvals(w)
    coefficients = dct(dct(w).mT).flatten().abs().sort(descending=True).values
    entries = w.flatten().abs().sort(descending=True).values
    for k in (0, 1, 7, 20):
        for found, all_of_them, bits in (
            (truncated_svd(w, k), values, 32 * k * (20 + 30)),
            (top_k_dct(w, k), coefficients, 32 * k + 10 * k),  # 600 places are told by 10 bits
            (magnitude_pruning(w, k), entries, 32 * k + 10 * k),
        ):
            torch.testing.assert_close((w - found.matrix).norm(), all_of_them[k:].norm(), rtol=1e-10, atol=1e-10)
            assert found.bits == bits
    assert places_bits(600, 61) == 600, "one bit for each entry is less than 61 places of 10 bits"


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_quantised_values(bits):
    w = drawn(5, 27)  # 135 entries: two groups of 64, and one of 7
    found = quantised(w, bits)
    assert found.bits == 135 * bits + 3 * 2 * 32
    flat, made = w.flatten(), found.matrix.flatten()
    for group in (slice(0, 64), slice(64, 128), slice(128, 135)):
        low, high = flat[group].min(), flat[group].max()
        step = (high - low) / (2**bits - 1)
        assert ((made[group] - flat[group]).abs() <= step / 2 * (1 + 1e-12)).all()
        levels = (made[group] - low) / step
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)
        assert made[group].min() == low and made[group].max() == pytest.approx(high.item())
    assert torch.equal(quantised(torch.full((3, 4), 2.5)).matrix, torch.full((3, 4), 2.5))


@pytest.mark.parametrize("name", BASELINES)
def test_within_the_bits_and_no_better_one_within(name):
    w = drawn(dtype=torch.float32)
    before = 2.0
    for bits in (1, 3000, 5000, 12_000, 40_000):
        found = at_bits(name, w, bits)
        if found is None:
            assert bits < 5000
            continue
        assert found.bits <= bits
        error = relative_error(w, found.matrix)
        assert error <= before
        before = error
    assert before < 0.01, "40,000 bits hold all 600 numbers in 32 bits each, with their places"
    unit = {"svd": 32 * 50, "dct": 42, "magnitude": 42, "quantised": 600}[name]
    close = at_bits(name, w, 5000)
    assert close.bits + unit > 5000, "one more would not fit"


def test_a_large_matrix_takes_the_random_projection():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2100, 3, generator=generator), torch.randn(3, 2050, generator=generator)
    assert relative_error(left @ right, truncated_svd(left @ right, 3).matrix) < 1e-4  # float32, four iterations


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: truncated_svd(drawn(), 21), "rank must be a whole number from 0 to 20, not 21"),
        (lambda: top_k_dct(drawn(), -1), "k must be a whole number from 0 to 600, not -1"),
        (lambda: magnitude_pruning(drawn(), 1.5), "k must be a whole number from 0 to 600"),
        (lambda: quantised(drawn(), 0), "bits must be from 1 to 16"),
        (lambda: quantised(drawn(), group=0), "group at least 1"),
        (lambda: at_bits("zip", drawn(), 100), "There is no baseline 'zip'; there are svd, dct, magnitude, quantised"),
        (lambda: at_bits("svd", drawn() / 0, 100), "every entry must be finite"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
