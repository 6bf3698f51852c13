"""`math.turn` for long inputs: the same numbers, without 16 numbers for each that goes in.

The readable form multiplies every pair by its 4 x 4 matrix through a tensor of that size and lets autograd keep it.
Here the 16 products are added up part by part, and the backward pass is written out; float32 on a CPU with one matrix
for all rows takes `turn`.
"""

from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import concrete
from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.fast.choice import works
from mobius_lib.twistor.fast.turn import library
from mobius_lib.twistor.fast.turn import turn as native_turn

EPS = 1e-12
"""As in `math.turn`."""


def turn(z: Tensor, matrix: Tensor) -> Tensor:
    """As `math.turn`.

    Args:
        z: (..., 4n).
        matrix: (4, 4, n), or (K, 4, 4, n) with z (..., 1, 4n) or (..., K, 4n).
    Returns:
        (..., 4n), or (..., K, 4n).
    """
    matrix = matrix.to(z.dtype)
    if not concrete(z, matrix):
        return twistor.turn(z, matrix)
    single = matrix.ndim == 3 and 4 * matrix.shape[-1] == z.shape[-1]
    return native_turn(z, matrix) if single and works(library, z, matrix) else _Turn.apply(z, matrix)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, matrix: Tensor) -> Tensor:
        parts = z.unflatten(-1, (4, -1))
        shape = torch.broadcast_shapes(parts.shape, (*matrix.shape[:-3], 1, matrix.shape[-1]))
        turned = z.new_empty(shape)
        for i in range(4):
            _products(matrix[..., i, :, :], parts, turned[..., i, :])
        before, after = _square(parts), _square(turned)
        ctx.save_for_backward(z, matrix, turned.clone(), before, after)
        return turned.mul_((before / after).sqrt().unsqueeze(-2)).flatten(-2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, matrix, turned, before, after = ctx.saved_tensors
        if transforms.again(grad):
            return transforms.gradients(twistor.turn, (z, matrix), (grad,))
        parts = z.unflatten(-1, (4, -1))
        grad = grad.unflatten(-1, (4, -1))
        stretch = (before / after).sqrt()
        along = (grad * turned).sum(-2)
        # along the result, what the length loses; along z, what it gives
        d_turned = torch.addcmul(grad, (along / after).unsqueeze(-2), turned, value=-1).mul_(stretch.unsqueeze(-2))
        into = along * stretch / before
        d_matrix = torch.stack(
            [
                torch.stack([(d_turned[..., i, :] * parts[..., j, :]).sum_to_size(matrix[..., i, j, :].shape)
                             for j in range(4)], dim=-2)
                for i in range(4)
            ],
            dim=-3,
        )  # fmt: skip
        d_parts = torch.empty_like(d_turned)
        for j in range(4):
            _products(matrix[..., :, j, :], d_turned, d_parts[..., j, :])
        d_parts.addcmul_(into.unsqueeze(-2), parts.expand_as(d_parts))
        return d_parts.sum_to_size(parts.shape).flatten(-2), d_matrix


def _products(rows: Tensor, parts: Tensor, out: Tensor) -> None:
    """out = sum over j of rows[..., j, :] parts[..., j, :]."""
    torch.mul(rows[..., 0, :], parts[..., 0, :], out=out)
    for j in range(1, 4):
        out.addcmul_(rows[..., j, :], parts[..., j, :])


def _square(parts: Tensor) -> Tensor:
    a, b, c, d = parts.unbind(-2)
    return (a * a).add_(EPS).addcmul_(b, b).addcmul_(c, c).addcmul_(d, d)
