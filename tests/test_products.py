"""Products by oneDNN: the numbers of `F.linear`, forward and back, whatever the operands look like."""

import platform

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobius_lib import products

SHAPES = [(1, 1, 1), (2, 3, 5), (16, 256, 1024), (130, 96, 128), (2048, 128, 128), (64, 700, 33)]
"""(M, K, N), below and above `WORTH`."""

# sums of K products of N(0, 1) in float32, in two orders: each off by some roundings of sqrt(K), here up to 700
CLOSE = {"rtol": 1e-5, "atol": 3e-4}


@pytest.fixture(autouse=True)
def by_one_dnn(monkeypatch):
    """As on a processor where it pays, whichever this is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("looks", ["plain", "transposed", "columns", "rows apart"])
def test_product_is_that_of_torch(m, k, n, looks):
    def dressed(x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        if looks == "transposed":
            return x.t().contiguous().t()
        if looks == "columns":
            return torch.cat([drawn(rows, 3), x, drawn(rows, 2)], dim=1)[:, 3 : 3 + columns]
        return torch.stack([x, x], dim=1).flatten(0, 1)[::2] if looks == "rows apart" else x

    x, weight, bias = drawn(m, k), drawn(n, k), drawn(n)
    for b in (None, bias, bias.expand(2, -1).t().contiguous()[:, 0]):  # the last with a stride
        found = products.product(dressed(x), dressed(weight), b)
        torch.testing.assert_close(
            found, F.linear(x.double(), weight.double(), None if b is None else b.double()).float(), **CLOSE
        )
    torch.testing.assert_close(
        products.product(x, products.packed(dressed(weight), m, 99), bias), F.linear(x, weight, bias), **CLOSE
    )
    torch.testing.assert_close(products.weight_gradient(dressed(drawn(m, n)), dressed(x)), drawn(m, n).t() @ x, **CLOSE)


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("biased", [True, False])
def test_linear_and_its_gradients_are_those_of_torch(m, k, n, biased):
    torch.manual_seed(0)
    ours, torchs = products.Linear(k, n, bias=biased), nn.Linear(k, n, bias=biased)
    torchs.load_state_dict(ours.state_dict())
    x = drawn(2, m, k)
    weights = drawn(2, m, n)
    found = []
    for layer in (ours, torchs.double()):
        own = x.to(layer.weight.dtype).requires_grad_()
        y = layer(own)
        found.append([y, *torch.autograd.grad((y * weights).sum(), [own, *layer.parameters()])])
    for one, other in zip(*found, strict=True):
        # as above, and gradients of weights add up 2 M rows, of which the largest stands for the scale
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one / scale, (other / scale).float(), **CLOSE)


def test_only_what_is_asked_for_gets_a_gradient():
    x, weight, bias = drawn(512, 96), drawn(128, 96).requires_grad_(), drawn(128)
    y = products.linear(x, weight, bias)
    assert "Linear" in y.grad_fn.name()
    y.sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(128, -1), **CLOSE)
    with torch.no_grad():
        assert products.linear(x, weight, bias).grad_fn is None


@pytest.mark.parametrize("how", ["float64", "autocast", "missing", "AVX2"])
def test_others_are_served_by_torch(how, monkeypatch):
    def refuse(*_):
        raise AssertionError("oneDNN was called")

    monkeypatch.setattr(products, "_call", lambda: refuse)
    if how == "missing":
        monkeypatch.setattr(products, "_there", lambda: False)
    if how == "AVX2":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: how)
    layer, x = products.Linear(96, 128), drawn(512, 96)
    if how == "float64":
        layer, x = layer.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        y = layer(x)
        assert y.dtype == (torch.bfloat16 if how == "autocast" else x.dtype)
    y.sum().backward()
    weight = layer.weight if how == "AVX2" else layer.weight.double()
    assert products.packed(weight, 64, 99).is_mkldnn is False


def outcome(function, *given):
    """What comes of it: the kind of error, or the shape."""
    try:
        return function(*given).shape
    except (RuntimeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [
        ((64, 96), (2, 128, 96), None),
        ((64, 96), (96,), None),
        ((64, 96), (128, 96), (1,)),
        ((64, 96), (128, 96), (127,)),
        ((64, 96), (128, 95), None),
        ((4, 0), (5, 0), (5,)),
        ((0, 96), (128, 96), (128,)),
        ((96,), (20_000, 96), (20_000,)),
    ],
)
def test_what_torch_takes_or_refuses_is_taken_or_refused(x, weight, bias):
    given = [None if shape is None else drawn(*shape) for shape in (x, weight, bias)]
    assert outcome(products.linear, *given) == outcome(F.linear, *given)
    double = [given[0], given[1].double(), given[2]]
    assert outcome(products.linear, *double) == outcome(F.linear, *double)


def test_gradients_under_autocast_and_of_gradients():
    x, weight = drawn(512, 96).requires_grad_(), drawn(128, 96).requires_grad_()
    found = []
    for function in (products.linear, F.linear):
        y = function(x, weight)
        (once,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(once.square().sum(), [x, weight]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one / other.abs().max(), other / other.abs().max(), **CLOSE)
    y = products.linear(x, weight)
    expected = torch.autograd.grad(y.sum(), weight, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(torch.autograd.grad(y.sum(), weight), expected)


def test_inside_by_torch_the_products_are_torchs(monkeypatch):
    def refuse(*_):
        raise AssertionError("oneDNN was called")

    layer, x = products.Linear(96, 128), drawn(512, 96)
    outside = layer(x)
    with monkeypatch.context() as patch, products.by_torch():
        patch.setattr(products, "_call", lambda: refuse)
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert torch.equal(layer(x), outside) and products.works(x)


def test_a_torch_without_the_operation_is_survived(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such operation")

    products._there.cache_clear()
    monkeypatch.setattr(products, "_call", lambda: broken)
    try:
        assert not products._there()
        layer, x = products.Linear(96, 128), drawn(512, 96)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    finally:
        products._there.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for other processors may lack oneDNN")
def test_the_operation_is_there():
    """With the pinned PyTorch the fast form is what is tested above."""
    assert products._there()
