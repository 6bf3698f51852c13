"""Matrix products of float32 on a CPU by oneDNN, where that is faster: the same numbers as `F.linear`.

PyTorch takes MKL for these products, which does not use all of an AVX-512 processor that is not Intel's. Where there is
AVX2 alone MKL's are the faster ones: `mobius bench` and `mobius bench --what twistor` measure it, and `data/bench` has
both kinds. What is called is an operation that PyTorch's own compiler uses; where it is missing, or anything else does
not fit, `F.linear` does the work.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib import transforms
from mobius_lib.native import concrete

_by_torch = False

WORTH = 2**20
"""Multiply-adds below which a call costs more than it saves; measured on one processor."""
MANY = 8
"""Products for which putting a weight in order pays: about what it costs at 16 x 256 x 1024, on the same processor."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias, not to be differentiated: `linear` is.

    Args:
        x: (M, K); weight: (N, K), or what `packed` made of it; bias: (N,). All may be views of any kind.
    Returns:
        (M, N).
    """
    if weight.is_mkldnn:  # it is packed
        return _call()(x.contiguous(), weight, None if bias is None else bias.contiguous(), "none", [], "")
    if not worth(x, weight, bias):
        return F.linear(x, weight, bias)
    bias = None if bias is None else bias.contiguous()  # oneDNN would not mind its stride
    # what is neither a matrix nor a transpose, such as some columns of one, oneDNN takes with a thousandfold delay
    x, weight = (
        part if part.is_contiguous() or part.t().is_contiguous() else part.contiguous() for part in (x, weight)
    )
    return _call()(x, weight, bias, "none", [], "")


def packed(weight: Tensor, rows: int, products: int) -> Tensor:
    """A weight in the order in which oneDNN reads it, or as it is where that does not pay: for `product` alone.

    Args:
        weight: (N, K). rows: M of the products. products: how many there will be.
    """
    if products < MANY or rows * weight.numel() < WORTH or not works(weight):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`: x (..., K), weight (N, K), bias (N,) to (..., N)."""
    if not worth(x, weight, bias) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear`, its products by `linear`: same parameters, same numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def worth(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN can take x weight^T + bias here, and soon enough. What torch would refuse is left to torch."""
    if not works(x) or x.ndim == 0 or weight.ndim != 2 or not x.shape[-1] == weight.shape[1] > 0:
        return False
    alike = weight.dtype == x.dtype and weight.device == x.device
    if bias is not None:
        alike = alike and bias.shape == weight.shape[:1] and bias.dtype == x.dtype and bias.device == x.device
    return alike and x.numel() * weight.shape[0] >= WORTH


@contextmanager
def by_torch() -> Iterator[None]:
    """Inside, torch's own products are taken: to see what the others are worth."""
    global _by_torch
    before, _by_torch = _by_torch, True
    try:
        yield
    finally:
        _by_torch = before


def pays() -> bool:
    """Whether oneDNN's products are the faster ones on this processor, with the instructions that torch uses."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def works(x: Tensor) -> bool:
    """Whether oneDNN can take products of such tensors here, and is the faster one."""
    if _by_torch:
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and concrete(x) and pays() and _there()


@functools.cache
def _call() -> Callable[..., Tensor]:
    return torch.ops.mkldnn._linear_pointwise.default  # the overload itself: a microsecond or two less for each call


@functools.cache
def _there() -> bool:
    """Whether this PyTorch has the operations, and they compute the product."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        with torch.no_grad():
            plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the defaults are just now
            x, weight = torch.ones(2, 3, **plain), torch.arange(12, **plain).view(4, 3)
            ready = torch.ops.mkldnn._reorder_linear_weight(weight, 2)
            found = _call()(x, ready, None, "none", [], "")
            return torch.equal(found, F.linear(x, weight))
    except (AttributeError, RuntimeError, TypeError):
        return False


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        # a gradient that is to be differentiated again is left to torch
        again = transforms.again(grad)
        by_x, by_weight = (torch.mm, _weight_gradient_by_torch) if again else (_times, weight_gradient)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            return (
                by_x(rows, weight).view(x.shape) if wants_x else None,
                by_weight(rows, inputs) if wants_weight else None,
                rows.sum(0) if ctx.biased and wants_bias else None,
            )


def _times(grad: Tensor, weight: Tensor) -> Tensor:
    return product(grad, weight.t())


def _weight_gradient_by_torch(grad: Tensor, x: Tensor) -> Tensor:
    return grad.t() @ x


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x, for grad (M, N) and x (M, K): (N, K)."""
    if grad.shape[1] > x.shape[1]:  # with the shorter side first oneDNN is faster
        return product(x.t(), grad.t()).t()
    return product(grad.t(), x.t())
