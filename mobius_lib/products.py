"""Matrix products of float32 on a CPU by oneDNN, where PyTorch has it: the same numbers as `F.linear`, sooner.

PyTorch takes MKL for these products. On processors that are not Intel's that leaves the widest registers idle, and
oneDNN takes about half the time (`mobius bench --what twistor` measures what that is worth in a training step). What is
called is an operation that PyTorch's own compiler uses; where it is missing, or anything else does not fit, `F.linear`
does the work.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_by_torch = False

WORTH = 2**15
"""Multiply-adds below which a call costs more than it saves."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias, not to be differentiated: `linear` is.

    Args:
        x: (M, K); weight: (N, K); bias: (N,). x and weight may be transposed views.
    Returns:
        (M, N), contiguous.
    """
    if weight.is_mkldnn:  # it is packed
        return _call()(x, weight, bias, "none", [], "")
    if x.shape[0] * weight.numel() < WORTH or not works(x):
        return F.linear(x, weight, bias)
    # what is neither a matrix nor a transpose, such as some columns of one, oneDNN takes with a thousandfold delay
    x, weight = (
        part if part.is_contiguous() or part.t().is_contiguous() else part.contiguous() for part in (x, weight)
    )
    return _call()(x, weight, bias, "none", [], "")


def packed(weight: Tensor, rows: int) -> Tensor:
    """A weight in the order in which oneDNN reads it, for many products with so many rows: (N, K), for `product` alone.

    Args:
        weight: (N, K). rows: M of the products.
    """
    if rows * weight.numel() < WORTH or not works(weight):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`: x (..., K), weight (N, K), bias (N,) to (..., N)."""
    if not works(x) or torch.is_autocast_enabled(x.device.type) or x.numel() // x.shape[-1] * weight.numel() < WORTH:
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear`, its products by `linear`: same parameters, same numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


@contextmanager
def by_torch() -> Iterator[None]:
    """Inside, torch's own products are taken: to see what the others are worth."""
    global _by_torch
    before, _by_torch = _by_torch, True
    try:
        yield
    finally:
        _by_torch = before


def works(x: Tensor) -> bool:
    """Whether oneDNN can take products of such tensors here."""
    if _by_torch:
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling() and _there()


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
            x, weight = torch.ones(2, 3), torch.arange(12.0).view(4, 3)
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
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()).view(x.shape) if wants_x else None,
            weight_gradient(grad, x.reshape(-1, x.shape[-1])) if wants_weight else None,
            grad.sum(0) if ctx.biased and wants_bias else None,
        )


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x, for grad (M, N) and x (M, K): (N, K)."""
    if grad.shape[1] > x.shape[1]:  # with the shorter side first oneDNN is sooner
        return product(x.t(), grad.t()).t()
    return product(grad.t(), x.t())
