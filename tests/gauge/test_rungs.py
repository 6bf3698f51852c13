"""Every rung: what it computes without its matrix, what it stores, what it finds again, and what it refuses."""

import math

import pytest
import torch

from mobius_lib.gauge import (
    RUNGS,
    relative_error,
)
from mobius_lib.gauge.fit import width_grid
from mobius_lib.waves.cost import multiply_adds

LEVELS = list(RUNGS)
CLOSED = LEVELS[:-1]
"""The rungs that are fitted without gradients."""


@pytest.mark.parametrize("made", ["new", "fitted"])
@pytest.mark.parametrize("level", LEVELS)
def test_forward_is_the_dense_matrix(level, made, smooth_matrix, fit):
    rung = RUNGS[level](60, 40, 4) if made == "new" else fit(level, smooth_matrix())
    w = rung.to_dense()
    assert w.shape == (40, 60)
    for shape in ((60,), (3, 60), (2, 3, 60), (0, 60)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        y = rung(x)
        assert y.shape == (*shape[:-1], 40)
        # float32 sums of 60 products, and amplitudes that cancel up to a hundredfold
        torch.testing.assert_close(y, x @ w.mT, rtol=0, atol=1e-4 * (1 + w.abs().max().item()))
    torch.testing.assert_close(rung(torch.eye(60)), w.mT, rtol=0, atol=1e-4 * (1 + w.abs().max().item()))


@pytest.mark.parametrize("level", LEVELS)
def test_a_layer_that_can_be_trained_saved_and_loaded(level, smooth_matrix, fit):
    rung = RUNGS[level](30, 20, 3, bias=True)
    loss = (rung(torch.randn(8, 30)) - torch.randn(8, 20)).square().mean()
    loss.backward()
    assert rung.bias.grad.abs().max() > 0
    moved = [name for name, each in rung.named_parameters() if each.grad is not None and each.grad.abs().max() > 0]
    assert len(moved) >= 3 and all(each.grad is None or each.grad.isfinite().all() for each in rung.parameters())
    other = RUNGS[level](30, 20, 3, bias=True)
    fitted = fit(level, smooth_matrix(20, 30), 3)
    other.load_state_dict(fitted.state_dict() | {"bias": torch.ones(20)})
    x = torch.randn(4, 30)
    torch.testing.assert_close(other(x), fitted(x) + 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_forward_never_forms_the_matrix(level, largest):
    """No tensor that it makes is nearly as large as the matrix of 600 x 500."""
    rung = RUNGS[level](500, 600, 2)
    with largest() as made, torch.no_grad():
        rung(torch.randn(1, 500))
    assert made.size < 600 * 500 / 10


MULTIPLIED = {  # for one row, of V columns, M rows, N terms
    "L3": lambda v, m, n: n * (v + m),
    "L4": lambda v, m, n: n * (v + m),
    # three scales, each with its way through 32 hidden numbers and back, its key, and one query for all
    "L5": lambda v, m, n: 3 * (n * (v + m) + 2 * 32 * n + n) + n * n,
}


@pytest.mark.parametrize("level", MULTIPLIED)
def test_multiply_adds_of_a_row(level):
    """By which the performance page tells what a forward pass saves: not (V + M) N of a layer with three scales."""

    def of_a_row(*sizes):
        with torch.device("meta"):
            rung = RUNGS[level](*sizes)
        # what is computed for all rows at once falls out
        return multiply_adds(rung, (2, sizes[0])) - multiply_adds(rung, (1, sizes[0]))

    for sizes in ((4096, 4096, 8), (60, 40, 4)):
        assert of_a_row(*sizes) == MULTIPLIED[level](*sizes)
    assert MULTIPLIED["L5"](4096, 4096, 8) == 198_232


EXPECTED = {  # of 60 columns, 40 rows, 4 terms; 3 scales; floats, and bits of what is no float
    "L1": (40 * 4 + 4, 40 * 4, 946),
    "L2": (4 * 4 + 8 + 8, 0, 0),
    "L3": (40 * 4 + 8, 0, 0),
    "L4": (40 * 4 + 4 + 1, 60, 273),
    "L5": (3 * (40 * 4 + 4 + 1) + 3 * (4 * 32 + 32 + 32 * 4 + 4) + 3 * 4 + 16, 180, 3 * 273),
    "L6": (40 * 8 + (8 * 16 + 16 + 16 * 32 + 32 + 32 * 12 + 12) + 13 + 3 * 5, 180, 3 * 273),
}


@pytest.mark.parametrize("level", LEVELS)
def test_every_number_is_counted(level):
    """60! is between 2^272 and 2^273, and the 60^160 ways to place L1's Gaussians between 2^945 and 2^946."""
    assert 2**272 < math.factorial(60) <= 2**273 and 2**945 < 60**160 <= 2**946
    rung = RUNGS[level](60, 40, 4)
    floats, whole, bits = EXPECTED[level]
    ratio, dense, stored = rung.compression_ratio()
    assert (dense, stored, ratio) == (2400, floats + whole, 2400 / (floats + whole))
    assert rung.stored_bits() == 32 * floats + bits and rung.stored_bits(16) == 16 * floats + bits
    # and it is what the module holds: every parameter and buffer, or a number it is made from
    held = sum(each.numel() for each in rung.state_dict().values())
    assert stored == held
    with_bias = RUNGS[level](60, 40, 4, bias=True).compression_ratio()
    assert (with_bias.dense, with_bias.stored) == (2440, stored + 40)


def planted(level, dtype=torch.float64):
    """A matrix that the rung can hold exactly, with widths and places that the pursuit tries."""
    generator = torch.Generator().manual_seed(3)
    rung = RUNGS[level](90, 50, 2).to(dtype)
    widths = width_grid(90)
    with torch.no_grad():
        for name, parameter in rung.named_parameters():
            if name in ("hw", "core", "amplitudes"):
                parameter.copy_(1 + torch.rand(parameter.shape, generator=generator, dtype=dtype))
        for place, width, columns in (("mu", "sigma", 90), ("nu", "rho", 50)):
            if hasattr(rung, place):
                if level == "L1":
                    rung.mu.copy_(torch.tensor([20, 70]) + torch.randint(-9, 9, (50, 2), generator=generator))
                    rung.sigma.copy_(torch.stack((widths[5], widths[5])))
                else:
                    getattr(rung, place).copy_(torch.tensor([columns // 5, 3 * columns // 4]))
                    getattr(rung, width).copy_(width_grid(columns)[[7, 5]])
    return rung


@pytest.mark.parametrize("level", ["L1", "L2", "L3"])
def test_a_planted_matrix_is_found_again(level):
    w = planted(level).to_dense().detach()
    found = RUNGS[level].from_dense(w, 2)
    assert relative_error(w, found.to_dense()) < 1e-6  # float64, and least squares of well separated Gaussians


@pytest.mark.parametrize("level", CLOSED)
def test_more_terms_are_nearer(level, smooth_matrix, fit):
    w = smooth_matrix(120, 150)
    errors = [relative_error(w, fit(level, w, terms).to_dense()) for terms in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] < 1


@pytest.mark.parametrize("level", ["L2", "L3", "L4", "L5"])
def test_singular_values_bound_the_error_from_below(level, smooth_matrix, fit):
    for seed in range(3):
        w = smooth_matrix(70, 80, noise=0.5, seed=seed)
        rank = 4 * (3 if level == "L5" else 1)
        values = torch.linalg.svdvals(w.double())
        bound = (values[rank:].square().sum() / values.square().sum()).sqrt().item()
        error = relative_error(w, fit(level, w).to_dense())
        assert bound * (1 - 1e-6) <= error < 1  # float32's rounding


def test_amplitudes_are_least_squares(smooth_matrix, fit):
    """No small change of any amplitude is nearer."""
    w = smooth_matrix(dtype=torch.float64)
    for level, name in (("L1", "amplitudes"), ("L2", "core"), ("L3", "hw"), ("L4", "hw"), ("L5", "hw")):
        rung = fit(level, w)
        before = (w - rung.to_dense()).norm()
        parameter = getattr(rung, name)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            change = 1e-3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            for side in (1, -2):
                with torch.no_grad():
                    parameter += side * change
                assert (w - rung.to_dense()).norm() > before, level
            with torch.no_grad():
                parameter += change


@pytest.mark.parametrize("level", CLOSED)
def test_fitting_is_the_same_each_time_and_leaves_the_generator_alone(level, smooth_matrix, fit):
    w = smooth_matrix(300, 300)  # large enough for the random projection
    state = torch.random.get_rng_state()
    first = fit(level, w).to_dense()
    torch.manual_seed(5)
    torch.testing.assert_close(fit(level, w).to_dense(), first, rtol=0, atol=0)
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("level", LEVELS)
def test_matrices_at_the_edge(level, fit):
    zero = fit(level, torch.zeros(6, 8), 2)
    assert relative_error(torch.zeros(6, 8), zero.to_dense()) == 0 or zero.to_dense().abs().max() < 1e-6
    one = fit(level, torch.tensor([[2.0]]), 1)
    # one number through a sigmoid-free decoder trained for 60 steps is near; the others are exact
    assert one.to_dense().item() == pytest.approx(2.0, rel=0.05 if level == "L6" else 1e-5)
    assert fit(level, torch.randn(5, 30).half(), 2).to_dense().isfinite().all()
    assert fit(level, torch.ones(1, 9), 3).to_dense().shape == (1, 9)


@pytest.mark.parametrize("level", LEVELS)
def test_a_multiple_of_a_matrix_has_the_same_rung(level, smooth_matrix, fit):
    """A power of 2 rounds nothing, so the rung is the same; 10^25 rounds, as every number does."""
    w = smooth_matrix(noise=0.3)
    made = fit(level, w).to_dense()
    for size in (2.0**100,) if level == "L6" else (2.0**-100, 0.25, 2.0**100):
        # what is 10^-10 of the others has fewer digits at 2^-100
        assert relative_error(made, fit(level, w * size).to_dense() / size) < 1e-9, size
    for size in (1e-25, 1e36):
        # sixty steps of training amplify rounding
        allowed = 1e-2 if level == "L6" else 1e-5
        assert relative_error(made * size, fit(level, w * size).to_dense()) < allowed, size
    if level != "L6":
        with pytest.raises(ValueError, match="too near the limit"):
            fit(level, w / w.abs().max() * 3e37)
        assert fit(level, w * 1e-42).to_dense().isfinite().all()  # three digits are left of such numbers
        doubles = w.double() * 1e-200
        assert relative_error(doubles, fit(level, doubles).to_dense()) == pytest.approx(relative_error(w, made))


@pytest.mark.parametrize("level", LEVELS)
def test_bad_matrices(level):
    cls, broken = RUNGS[level], torch.randn(5, 8)
    broken[2, 3] = float("nan")
    for w, terms, sentence in (
        (broken, 2, "w holds nan at row 2, column 3; every entry must be finite"),
        (torch.full((5, 8), float("inf")), 2, "w holds inf at row 0, column 0"),
        (torch.zeros(5), 2, "w must be a matrix"),
        (torch.zeros(0, 8), 2, "w must be a matrix .* that is not empty"),
        ([[1.0]], 1, "w must be a matrix .* not list"),
        (torch.randn(5, 8), 9, "terms must be a whole number from 1 to 8, not 9"),
        (torch.randn(5, 8), 0, "terms must be a whole number from 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            cls.from_dense(w, terms)
