"""`turning.turn` by one matrix, and the maps of `AdaptiveMobiusLayer`, for a CPU and float32, in C++: `turn.cpp`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import addresses, declared, ready
from mobius_lib.twistor import math as twistor

ROWS, BLOCKS = 32, 64
"""Rows of a block at least, and blocks at most: of more threads than 64 some would have nothing to do."""


library = declared(
    Path(__file__).with_name("turn.cpp"),
    turn_forward="nnippp",
    turn_backward="nnnipppppp",
    shear_forward="nnippfp",
    shear_backward="nnnippfppppp",
)


def turn(z: Tensor, matrix: Tensor) -> Tensor:
    """As `math.turn`, for z (..., 4n) and one matrix (4, 4, n)."""
    return TurnNative.apply(*ready(z, matrix))


def shear(z: Tensor, logits: Tensor, strength: Tensor) -> Tensor:
    """As `math.shear` by strength * tanh(logits), for z (..., 4n), logits (..., 6n) and strength ()."""
    return ShearNative.apply(*ready(z, logits, strength))


class TurnNative(torch.autograd.Function):
    """`turn`, of tensors made `ready`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, matrix: Tensor) -> Tensor:
        n, rows, _, threads = _sizes(z)
        turned, size = torch.empty_like(z), rows * 4 * n
        library().turn_forward(rows, n, threads, *addresses((z, size), (matrix, 16 * n), (turned, size)))
        ctx.save_for_backward(z, matrix)
        return turned

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, matrix = ctx.saved_tensors
        if transforms.again(grad):
            return transforms.gradients(twistor.turn, (z, matrix), (grad,))
        n, rows, block, threads = _sizes(z)
        d_z, d_matrix, sums = torch.empty_like(z), torch.empty_like(matrix), z.new_empty(-(-rows // block), 16 * n)
        (grad,), size = ready(grad), rows * 4 * n
        given = addresses((z, size), (matrix, 16 * n), (grad, size), (d_z, size), (sums, len(sums) * 16 * n))
        library().turn_backward(rows, n, block, threads, *given, *addresses((d_matrix, 16 * n)))
        return d_z, d_matrix


class ShearNative(torch.autograd.Function):
    """`shear`, of tensors made `ready`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, logits: Tensor, strength: Tensor) -> Tensor:
        n, rows, _, threads = _sizes(z)
        sheared, size = torch.empty_like(z), rows * 4 * n
        given = addresses((z, size), (logits, rows * 6 * n))
        library().shear_forward(rows, n, threads, *given, strength.item(), *addresses((sheared, size)))
        ctx.save_for_backward(z, logits, strength)
        return sheared

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, logits, strength = ctx.saved_tensors
        if transforms.again(grad):
            return transforms.gradients(_readable_shear, (z, logits, strength), (grad,))
        n, rows, block, threads = _sizes(z)
        d_z, d_logits, d_strength = torch.empty_like(z), torch.empty_like(logits), z.new_empty(())
        (grad,), size, sums = ready(grad), rows * 4 * n, z.new_empty(-(-rows // block))
        given = addresses((z, size), (logits, rows * 6 * n))
        made = addresses((grad, size), (d_z, size), (d_logits, rows * 6 * n), (sums, len(sums)), (d_strength, 1))
        library().shear_backward(rows, n, block, threads, *given, strength.item(), *made)
        return d_z, d_logits, d_strength


def _readable_shear(z: Tensor, logits: Tensor, strength: Tensor) -> Tensor:
    return twistor.shear(z, (strength * torch.tanh(logits)).unflatten(-1, (6, z.shape[-1] // 4)))


def _sizes(z: Tensor) -> tuple[int, int, int, int]:
    """n, rows, rows of a block, threads. A block depends on the rows alone, so that threads do not change a sum."""
    rows = z.numel() // z.shape[-1]
    block = max(ROWS, -(-rows // BLOCKS))
    return z.shape[-1] // 4, rows, block, max(1, min(torch.get_num_threads(), -(-rows // block)))
