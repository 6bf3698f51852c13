"""The two operations around every activation, lens or GELU, in the form that costs least: matrix and residual."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.native import concrete
from mobius_lib.products import pays


def matrix(x: Tensor, weight: Tensor) -> Tensor:
    """Every row of x times a matrix, as `F.linear` does it.

    On a CPU in float32, where oneDNN is the faster one, it goes through the 1 x 1 convolution: that is oneDNN's, and
    reads pictures that lie channels last without a copy.

    Shape:
        x (..., C), weight (D, C), to (..., D).
    Source:
        ours.
    """
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() == 0 or not concrete(x, weight)
    if plain or x.ndim < 2 or not pays():
        return F.linear(x, weight)
    *lead, channels = x.shape
    # the samples stay apart: over them the convolution shares out its work
    picture = x.reshape(lead[0] if len(lead) > 1 else 1, -1, 1, channels).permute(0, 3, 1, 2)
    return F.conv2d(picture, weight[:, :, None, None]).permute(0, 2, 3, 1).reshape(*lead, -1)


def residual(h: Tensor, x: Tensor, keep: Tensor) -> Tensor:
    """h + keep x, with a backward pass that makes no copy of a picture but the one it must return.

    Autograd's own multiplies the whole picture twice and adds it up once; here the derivative by `keep` is one dot
    product, and the one by h is what came in.

    Shape:
        h, x (N, C, H, W), keep a scalar, to (N, C, H, W).
    Source:
        ours.
    """
    return _Residual.apply(h, x, keep) if concrete(h, x, keep) else _sum(h, x, keep)


def _sum(h: Tensor, x: Tensor, keep: Tensor) -> Tensor:
    return torch.addcmul(h, x, keep.to(h.dtype)) if h.dtype == x.dtype else h + keep * x


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(x, keep)
        ctx.type = h.dtype
        return _sum(h, x, keep)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, keep = ctx.saved_tensors
        dkeep = None
        if ctx.needs_input_grad[2]:
            dkeep = torch.dot(_flat(dy), _flat(x).to(dy.dtype)).to(keep.dtype)
        dx = (dy * keep.to(dy.dtype)).to(x.dtype) if ctx.needs_input_grad[1] else None
        return dy.to(ctx.type), dx, dkeep


def _flat(picture: Tensor) -> Tensor:
    """All numbers, channels last; a view where they lie so."""
    return picture.permute(0, 2, 3, 1).reshape(-1)
