"""Turning and the maps that rows set, in C++, against torch in float64: values, gradients, threads, fallback."""

from pathlib import Path

import pytest
import torch

from mobius_lib import native
from mobius_lib.twistor import AdaptiveMobiusLayer, MobiusCycles, MobiusLayer, mobius
from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.fast import choice, turning
from mobius_lib.twistor.fast import turn as turn_native

pytestmark = pytest.mark.compiler

# Rows: one; fewer than a block of 32; blocks of 32 that the rows do not fill; blocks of more than 32. Pairs: no wide
# register, a part of one, and several.
SHAPES = [((), 3), ((1,), 64), ((5, 7), 1), ((33,), 3), ((3, 2, 40), 64), ((2500,), 3)]

TOLERANCE, SUM_TOLERANCE = 3e-6, 1e-5
"""Of the largest number of a row, or of the matrix's gradient, and of the gradient of strength. One number takes some
40 operations of float32, each good to 6e-8, and a sum over 2,500 rows as many additions, whose roundings grow as a
root; 1.5e-6 is the most that twelve draws have shown. strength sums terms of either sign, so that less is left to
compare with: 3.2e-6."""


def case(leading: tuple[int, ...], n: int, seed: int = 0):
    """z with rows of all sizes, one of them zeros, and some so small that EPS is what they are divided by; a weight."""
    torch.manual_seed(seed)
    sizes = torch.tensor([1.0, 0.0, 1e-6, 1e3, 1e-2]).repeat(1 + torch.Size(leading).numel() // 5)
    z = torch.randn(*leading, 4 * n) * sizes[: torch.Size(leading).numel()].view(*leading, 1)
    return z, torch.randn(*leading, 4 * n)


def turned_and_gradients(form, z, matrix, weight):
    z, matrix = (each.detach().requires_grad_() for each in (z, matrix))
    y = form(z, matrix)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), (z, matrix))]


def sheared_and_gradients(form, z, logits, strength, weight):
    given = [each.detach().requires_grad_() for each in (z, logits, strength)]
    y = form(*given)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), given)]


def readable_shear(z, logits, strength):
    return twistor.shear(z, (strength * torch.tanh(logits)).unflatten(-1, (6, z.shape[-1] // 4)))


def check(found, expected):
    """Row by row where there are rows, for those of small z have small results and large gradients."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == torch.float32
        over = (-1,) if other.shape[:-1] == found[0].shape[:-1] else tuple(range(other.ndim))
        size = other.abs().amax(over, keepdim=True)
        assert ((one - other).abs() <= (TOLERANCE if other.ndim else SUM_TOLERANCE) * size).all()


def check_turn(z, weight, n):
    matrix = MobiusCycles(4 * n, 3).matrix().detach()
    found = turned_and_gradients(turning.turn, z, matrix, weight)
    check(found, turned_and_gradients(twistor.turn, z.double(), matrix.double(), weight.double()))


def check_shear(z, weight, n):
    given = [z, torch.randn(*z.shape[:-1], 6 * n), torch.tensor(0.7)]
    found = sheared_and_gradients(turn_native.shear, *given, weight)
    check(found, sheared_and_gradients(readable_shear, *(each.double() for each in given), weight.double()))


@pytest.mark.parametrize("check_one", [check_turn, check_shear])
@pytest.mark.parametrize(("leading", "n"), SHAPES, ids=str)
def test_the_sweeps_are_the_readable_forms(leading, n, check_one):
    check_one(*case(leading, n), n)


@pytest.mark.parametrize("check_one", [check_turn, check_shear])
@pytest.mark.parametrize("view", [lambda x: x[:, ::2], lambda x: x.transpose(0, 1), lambda x: x[0].expand(3, -1, -1),
                                  lambda x: x[:, 0]], ids=["steps", "transposed", "repeated", "column"])  # fmt: skip
def test_what_does_not_lie_in_a_row_is_taken(view, check_one):
    z, weight = (view(each) for each in case((6, 8), 5))
    assert not z.is_contiguous()
    check_one(z, weight, 5)


def test_a_gradient_that_is_repeated_is_taken():
    """The sum's own: one number for all."""
    z, _ = case((9,), 5)
    check_turn(z, torch.ones(1).expand(9, 20), 5)
    check_shear(z, torch.ones(1).expand(9, 20), 5)


def test_no_rows():
    matrix, strength = MobiusCycles(12, 3).matrix().detach(), torch.tensor(0.7)
    empty, d_z, d_matrix = turned_and_gradients(turning.turn, torch.ones(0, 12), matrix, 1.0)
    assert empty.shape == d_z.shape == (0, 12) and not d_matrix.any()
    given = (torch.ones(0, 12), torch.ones(0, 18), strength)
    assert not sheared_and_gradients(turn_native.shear, *given, 1.0)[-1].any()


@pytest.mark.parametrize("rows", [33, 2500])
def test_threads_do_not_change_a_bit(rows, threads):
    z, weight = case((rows,), 7)
    matrix, logits = MobiusCycles(28, 3).matrix().detach(), torch.randn(rows, 42)
    found = []
    for count in (1, 2, 5):
        threads(count)
        assert turn_native._sizes(z)[-1] == min(count, -(-rows // turn_native._sizes(z)[2]))
        found.append(turned_and_gradients(turn_native.turn, z, matrix, weight))
        found[-1] += sheared_and_gradients(turn_native.shear, z, logits, torch.tensor(0.7), weight)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


def test_the_sum_over_rows_needs_little_room():
    """However many rows: never more than 64 matrices, and no block left without rows."""
    for rows in (1, 32, 33, 2048, 2049, 10**6):
        _, _, block, _ = turn_native._sizes(torch.empty(1, 4).expand(rows, 4))
        assert 1 <= -(-rows // block) <= 64


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return AdaptiveMobiusLayer(20)


def layer_and_gradients(layer, x):
    x = x.detach().to(layer.strength.dtype).requires_grad_()
    y = layer(x)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])]


def test_the_layer_takes_both_and_trains_alike(layer):
    x = torch.randn(3, 50, 20)
    y = layer(x)
    assert "ShearNative" in y.grad_fn.name() and "TurnNative" in y.grad_fn.next_functions[0][0].name()
    assert "TurnNative" in MobiusLayer(20)(x).grad_fn.name()
    found = layer_and_gradients(layer, x)
    expected = layer_and_gradients(layer.double(), x)
    for one, other in zip(found, expected, strict=True):
        # MobiusCycles makes its matrix in float32 in either; two products more than above, and gradients through them
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_without_a_gradient_the_numbers_are_the_same(layer):
    x = torch.randn(3, 50, 20)
    expected = layer(x).detach()
    with torch.no_grad():
        assert torch.equal(layer(x), expected)
    with torch.inference_mode():
        assert torch.equal(layer(x), expected)
    frozen = layer.requires_grad_(False)
    assert not frozen(x).requires_grad and torch.equal(frozen(x), expected)
    frozen(x.requires_grad_()).sum().backward()  # the gradient of x alone
    assert x.grad.isfinite().all() and layer.strength.grad is None


def second_derivatives(layer, x):
    x = x.detach().to(layer.strength.dtype).requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
    weight = torch.linspace(-1, 1, grad.numel(), dtype=grad.dtype).view_as(grad)
    return torch.autograd.grad((grad * weight).sum(), [x, *layer.parameters()], allow_unused=True)


def test_a_second_derivative_is_that_of_the_readable_form(layer):
    x = torch.randn(2, 20)
    for one, other in zip(second_derivatives(layer, x), second_derivatives(layer.double(), x), strict=True):
        if other is not None:
            # derivatives of float32 twice over: sums of some hundred products, each of three roundings
            assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_under_autocast(layer):
    """The network's products in bf16, which has 8 bits; the twistors themselves in float32."""
    x = torch.randn(3, 50, 20)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32
    # three roundings to bf16 on the way to the maps (x, the narrow row, logits), and each map moves a pair by its error
    torch.testing.assert_close(y, layer(x), rtol=0, atol=4 * 2**-8 * x.abs().max().item())
    y.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in layer.parameters())


def test_what_the_sweeps_cannot_take_is_left_to_torch(layer, monkeypatch):
    z, matrix = torch.randn(7, 1, 12, requires_grad=True), torch.randn(4, 4, 3)
    assert "TurnNative" in turning.turn(z, matrix).grad_fn.name()
    for given in [
        (z, torch.randn(5, 4, 4, 3)),
        (z, torch.randn(4, 4, 1)),
        (z.double(), matrix),
        (z.bfloat16(), matrix),
    ]:
        assert "TurnNative" not in turning.turn(*given).grad_fn.name()
    with pytest.raises(RuntimeError):
        turning.turn(z, torch.randn(4, 4, 2))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert "TurnNative" not in turning.turn(z, matrix).grad_fn.name()
    assert "ShearNative" not in layer(torch.randn(2, 20)).grad_fn.name()


def test_a_failing_compiler_is_survived(layer, monkeypatch):
    x = torch.randn(3, 50, 20)
    expected = layer(x)

    def broken():
        raise RuntimeError("c++ could not build turn.cpp")

    monkeypatch.setattr(turning, "library", broken)
    monkeypatch.setattr(mobius, "library", broken)
    monkeypatch.setattr(choice, "failed", [])
    with pytest.warns(RuntimeWarning, match="could not build"):
        found = layer(x)
    assert "ShearNative" not in found.grad_fn.name()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # two forms of float32, numbers up to 4
    layer(x)  # says it once


FAULTS = {
    "length along z": (check_turn, "+ u.into * b[k];", ";"),
    "last row": (
        check_turn,
        "row < std::min(rows, (number + 1) * block)",
        "row < std::min(rows - 1, (number + 1) * block)",
    ),
    "eps": (check_turn, "EPS = 1e-12f", "EPS = 1e-9f"),
    "sign": (check_shear, "+ t * ga + u * gb", "+ t * ga - u * gb"),
    "strength": (check_shear, "+ du * tu;", ";"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name, monkeypatch, tmp_path):
    check_one, right, wrong = FAULTS[name]
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path))
    folder = Path(turn_native.__file__).parent
    sources = {name: (folder / name).read_text() for name in ("turn.cpp", "turn.h", "vector.h")}
    assert any(right in source for source in sources.values())
    for name, source in sources.items():
        (tmp_path / name).write_text(source.replace(right, wrong))
    lib, sound = native.build(tmp_path / "turn.cpp"), turn_native.library()
    for function in ("turn_forward", "turn_backward", "shear_forward", "shear_backward"):
        getattr(lib, function).argtypes, getattr(lib, function).restype = getattr(sound, function).argtypes, None
    monkeypatch.setattr(turn_native, "library", lambda: lib)
    with pytest.raises(AssertionError):
        check_one(*case((33,), 3), 3)
