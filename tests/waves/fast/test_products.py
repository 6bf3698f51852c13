import pytest
import torch
from torch.nn import functional as F

from mobius_lib.waves import GELUTwin, MobiusNet, use_backend
from mobius_lib.waves.fast import products

SHAPES = [
    (5,),
    (1, 5),
    (7, 5),
    (2, 3, 5),
    (2, 3, 4, 5),
    (2, 1, 1, 5),
    (1, 3, 3, 1),
    (0, 5),
    (0, 2, 2, 5),
    (2, 2, 2, 2, 5),
]


@pytest.fixture(autouse=True, params=["AVX512", "AVX2"])
def capability(request, monkeypatch):
    """By oneDNN and by MKL, whichever pays here."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_matrix_is_linear_with_its_gradients(shape, dtype):
    torch.manual_seed(0)
    x, w = (
        torch.randn(shape, dtype=dtype, requires_grad=True),
        torch.randn(3, shape[-1], dtype=dtype, requires_grad=True),
    )
    y, reference = products.matrix(x, w), F.linear(x, w)
    assert y.shape == reference.shape and y.dtype == dtype
    dy = torch.randn_like(reference)
    # at most 36 products are added in another order: a few roundings
    tolerance = 40 * torch.finfo(dtype).eps
    torch.testing.assert_close(y, reference, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(
        torch.autograd.grad(y, (x, w), dy), torch.autograd.grad(reference, (x, w), dy), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_matrix_copies_no_picture_that_lies_channels_last():
    """What lies (N, H, W, C) in memory comes out so, and a strided input is still right."""
    x = torch.randn(2, 6, 4, 5).permute(0, 2, 3, 1)  # channels first in memory
    w = torch.randn(3, 6)
    torch.testing.assert_close(products.matrix(x, w), F.linear(x, w), rtol=1e-5, atol=1e-5)  # six products in float32
    assert products.matrix(x.contiguous(), w).is_contiguous()


def test_a_convolution_takes_the_place_where_it_is_the_faster_one(capability, monkeypatch):
    taken = []
    monkeypatch.setattr(F, "conv2d", lambda *given, own=F.conv2d: taken.append(1) or own(*given))
    products.matrix(torch.randn(2, 6), torch.randn(3, 6))
    assert len(taken) == (capability == "AVX512")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_residual_is_its_formula_with_all_gradients(layout):
    torch.manual_seed(0)
    h, x = (torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=layout) for _ in range(2))
    keep = torch.tensor(0.3, dtype=torch.float64)
    given = [part.requires_grad_() for part in (h, x, keep)]
    assert torch.equal(products.residual(*given), torch.addcmul(h, x, keep))
    assert torch.autograd.gradcheck(products.residual, given)
    # the gradient may come in the other layout
    dy = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    ours = torch.autograd.grad(products.residual(*given), given, dy)
    theirs = torch.autograd.grad(h + keep * x, given, dy)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_residual_asks_only_for_what_is_wanted():
    h, x = torch.randn(1, 2, 3, 3, requires_grad=True), torch.randn(1, 2, 3, 3)
    (dh,) = torch.autograd.grad(products.residual(h, x, torch.tensor(0.5)).sum(), h)
    assert torch.equal(dh, torch.ones_like(h))


@pytest.mark.parametrize("network", [MobiusNet, GELUTwin])
def test_a_network_in_its_fast_form_is_the_plain_one(network):
    """Logits and every gradient, in float64 and so to rounding: the twin's matrices, mask and residual, too."""
    torch.manual_seed(0)
    model = network(1, 7, (6, 10), (1, 2)).double()
    x = torch.randn(3, 1, 9, 8, dtype=torch.float64)
    outcomes = []
    for backend in ("printed", "eager"):
        logits = use_backend(model, backend)(x)
        outcomes.append((logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))))
    for fast, plain in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)
