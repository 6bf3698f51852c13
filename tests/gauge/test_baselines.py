"""The baselines: errors against independent references, and bits counted by hand."""

import math

import pytest
import torch

from mobius_lib.datasets import text
from mobius_lib.gauge import BASELINES, MetaMobiusLinear, at_bits, log_cooccurrence, relative_error
from mobius_lib.gauge.baselines import (
    dct,
    inverse_dct,
    magnitude_pruning,
    quantised,
    top_k_dct,
    truncated_svd,
)
from mobius_lib.gauge.bits import entries, index_bits, is_symmetric, permutation_bits, places_bits, symmetric_part


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
    largest = w.flatten().abs().sort(descending=True).values
    for k in (0, 1, 7, 20):
        for found, all_of_them, bits in (
            (truncated_svd(w, k), values, 32 * k * (20 + 30)),
            (top_k_dct(w, k), coefficients, 32 * k + choice(600, k)),
            (magnitude_pruning(w, k), largest, 32 * k + choice(600, k)),
        ):
            torch.testing.assert_close((w - found.matrix).norm(), all_of_them[k:].norm(), rtol=1e-10, atol=1e-10)
            assert found.bits == bits


def choice(size, k):
    """ceil(log2 C(size, k)), exactly."""
    return (math.comb(size, k) - 1).bit_length()


def symmetric(size=40, *, dtype=torch.float64):
    """Eigenvalues of both signs, one of them much the largest, as in a matrix of co-occurrences."""
    w = drawn(size, size, dtype=dtype)
    return symmetric_part(w) + 2


def test_bits_are_those_of_the_choice():
    """Against whole numbers without rounding; one that is a power of 2 takes no bit more."""
    for size in (1, 2, 3, 8, 60, 600):
        assert permutation_bits(size) == (math.factorial(size) - 1).bit_length()
        for k in {0, 1, size // 2, size}:
            assert places_bits(size, k) == choice(size, k)
            assert index_bits(size, k) == (size**k - 1).bit_length()
    # of every word of the Bible, where whole numbers are too long: Stirling's series, beside n log2 n
    n = 12_756**2
    stirling = n * math.log2(n) - (n - math.log(2 * math.pi * n) / 2 - 1 / (12 * n)) / math.log(2)
    assert abs(permutation_bits(n) - stirling) < 1.001


@pytest.mark.parametrize("size", [7, 40])
def test_a_symmetric_matrix_is_kept_as_such_by_all(size):
    """Half as many entries; errors against eigenvalues and against the entries on and above the diagonal."""
    w, own = symmetric(size), size * (size + 1) // 2
    assert is_symmetric(w) and entries(w) == own and entries(w[:, 1:]) == size * (size - 1)
    above = torch.ones_like(w).triu(1) + torch.ones_like(w).triu()  # 2 above the diagonal, 1 on it
    values = torch.linalg.eigvalsh(w).abs().sort(descending=True).values
    coefficients, largest = (
        (above.sqrt() * x).flatten().abs().sort(descending=True).values for x in (dct(dct(w).mT).mT, w)
    )
    for k in (0, 1, 3, 7):
        for found, all_of_them, bits in (
            (truncated_svd(w, k), values, k * (32 * size + 1)),
            (top_k_dct(w, k), coefficients, 32 * k + choice(own, k)),
            (magnitude_pruning(w, k), largest, 32 * k + choice(own, k)),
        ):
            torch.testing.assert_close((w - found.matrix).norm(), all_of_them[k:].norm(), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(found.matrix, found.matrix.mT, rtol=0, atol=1e-12)
            assert found.bits == bits
    found = quantised(w, 4)
    assert found.bits == 4 * own + 2 * 32 * math.ceil(own / 64) and torch.equal(found.matrix, found.matrix.mT)
    assert (found.matrix - w).abs().max() <= (w.max() - w.min()) / 15 / 2 * (1 + 1e-12)
    for whole in (top_k_dct(w, own), magnitude_pruning(w, own), truncated_svd(w, size)):
        torch.testing.assert_close(whole.matrix, w, rtol=0, atol=1e-12 * size)


def test_a_symmetric_matrix_in_its_bits_is_nearer_than_one_that_may_be_any():
    """On a real text. An entry that differs by next to nothing takes the symmetry away."""
    words = 300
    d = log_cooccurrence(text.words(text.king_james(), words)[0], words, 5)
    other = d.clone()
    other[0, 1] *= 1 + 1e-6
    bits = 16 * words * 32
    for name in ("svd", "dct", "magnitude"):
        near, far = at_bits(name, d, bits), at_bits(name, other, bits)
        assert near.bits <= bits and far.bits <= bits
        assert relative_error(d, near.matrix) < 0.98 * relative_error(d, far.matrix), name
    assert at_bits("quantised", d, 5 * words**2).bits < 5 * words**2
    # within the bits of an L5 of a thousand words; both figures were found by other code
    d = sum(log_cooccurrence(text.words(text.king_james(), 1000)[0], 1000, window) for window in (5, 15, 50)) / 3
    d[0, 1] *= 1 + 1e-6
    bits = MetaMobiusLinear(1000, 1000).stored_bits()
    errors = [relative_error(d, at_bits(name, d, bits).matrix) for name in ("magnitude", "dct")]
    assert errors == pytest.approx([0.869, 0.2696], abs=5e-4)


def test_the_rank_of_a_symmetric_matrix():
    w, other = symmetric(300), symmetric(300)
    other[0, 1] += 1e-6
    bits = 16 * 300 * 32
    ranks = [torch.linalg.matrix_rank(at_bits("svd", each, bits).matrix, rtol=1e-5) for each in (w, other)]
    assert ranks == [15, 8], "16 factors would fit but for 16 signs"


def test_the_symmetric_part_is_never_further():
    for seed in range(5):
        target, w = symmetric(20), symmetric(20) + drawn(20, 20, seed)
        assert relative_error(target, symmetric_part(w)) < relative_error(target, w)


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
    unit = {"svd": 32 * 50, "dct": 42, "magnitude": 42, "quantised": 600}[name]  # a place takes less than 10 bits
    close = at_bits(name, w, 5000)
    assert close.bits + unit > 5000, "one more would not fit"


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("made", [drawn, symmetric])
def test_a_multiple_of_a_matrix_has_the_same_error(name, made):
    w = made(dtype=torch.float32)
    error = relative_error(w, at_bits(name, w, 8000).matrix)
    for size in (1e-25, 1e25):
        assert relative_error(w * size, at_bits(name, w * size, 8000).matrix) == pytest.approx(error, rel=1e-4)


def test_a_large_matrix_takes_the_random_projection():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2100, 3, generator=generator), torch.randn(3, 2050, generator=generator)
    assert relative_error(left @ right, truncated_svd(left @ right, 3).matrix) < 1e-4  # float32, four iterations
    half = symmetric_part(left @ left.mT - 2 * torch.outer(left[:, 0], left[:, 0]))  # eigenvalues of both signs
    assert is_symmetric(half) and relative_error(half, truncated_svd(half, 3).matrix) < 1e-4
    assert truncated_svd(half, 3).bits == 3 * (2100 * 32 + 1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: truncated_svd(drawn(), 21), "rank must be a whole number from 0 to 20, not 21"),
        (lambda: top_k_dct(drawn(), -1), "k must be a whole number from 0 to 600, not -1"),
        (lambda: magnitude_pruning(drawn(), 1.5), "k must be a whole number from 0 to 600"),
        (lambda: quantised(drawn(), 0), "bits must be a whole number from 1 to 16, not 0"),
        (lambda: quantised(drawn(), group=0), "group must be a whole number from 1 on, not 0"),
        (lambda: at_bits("zip", drawn(), 100), "There is no baseline 'zip'; there are svd, dct, magnitude, quantised"),
        (lambda: at_bits("svd", drawn() / 0, 100), "every entry must be finite"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
