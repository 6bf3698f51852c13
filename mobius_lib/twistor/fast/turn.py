"""`turning.turn` by one matrix, and the maps of `AdaptiveMobiusLayer`, for a CPU and float32, in C++: `turn.cpp`."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import addresses, build

ROWS, BLOCKS = 32, 64
"""Rows of a block at least, and blocks at most: of more threads than 64 some would have nothing to do."""


@functools.cache
def library() -> ctypes.CDLL:
    """The built `turn.cpp`.

    Raises:
        RuntimeError: when it cannot be built.
    """
    lib = build(Path(__file__).with_name("turn.cpp"))
    n, i, f, p = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    lib.turn_forward.argtypes = [n, n, i, p, p, p]
    lib.turn_backward.argtypes = [n, n, n, i, p, p, p, p, p, p]
    lib.shear_forward.argtypes = [n, n, i, p, p, f, p, p]
    lib.shear_backward.argtypes = [n, n, n, i, p, p, f, p, p, p, p, p]
    for function in (lib.turn_forward, lib.turn_backward, lib.shear_forward, lib.shear_backward):
        function.restype = None
    return lib


class TurnNative(torch.autograd.Function):
    """z (..., 4n) and one matrix (4, 4, n) to (..., 4n)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, matrix: Tensor) -> Tensor:
        z, matrix = z.contiguous(), matrix.contiguous()
        n, rows, _, threads = _sizes(z)
        turned = torch.empty_like(z)
        library().turn_forward(rows, n, threads, *addresses(z, matrix, turned))
        ctx.save_for_backward(z, matrix)
        return turned

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        z, matrix = ctx.saved_tensors
        grad = grad.contiguous()
        n, rows, block, threads = _sizes(z)
        d_z, d_matrix, sums = torch.empty_like(z), torch.empty_like(matrix), z.new_empty(-(-rows // block), 16 * n)
        library().turn_backward(rows, n, block, threads, *addresses(z, matrix, grad, d_z, sums, d_matrix))
        return d_z, d_matrix


class ShearNative(torch.autograd.Function):
    """z (..., 4n), logits (..., 6n) and strength () to (..., 4n): the row's own maps, strength * tanh(logits)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, logits: Tensor, strength: Tensor) -> Tensor:
        z, logits = z.contiguous(), logits.contiguous()
        n, rows, _, threads = _sizes(z)
        acts, sheared = torch.empty_like(logits), torch.empty_like(z)
        ctx.strength = strength.item()
        library().shear_forward(rows, n, threads, *addresses(z, logits), ctx.strength, *addresses(acts, sheared))
        ctx.save_for_backward(z, acts)
        return sheared

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, acts = ctx.saved_tensors
        grad = grad.contiguous()
        n, rows, block, threads = _sizes(z)
        d_z, d_logits, d_strength = torch.empty_like(z), torch.empty_like(acts), z.new_empty(())
        sums = z.new_empty(-(-rows // block))
        library().shear_backward(
            rows,
            n,
            block,
            threads,
            *addresses(z, acts),
            ctx.strength,
            *addresses(grad, d_z, d_logits, sums, d_strength),
        )
        return d_z, d_logits, d_strength


def _sizes(z: Tensor) -> tuple[int, int, int, int]:
    """n, rows, rows of a block, threads. A block depends on the rows alone, so that threads do not change a sum."""
    rows = z.numel() // z.shape[-1]
    block = max(ROWS, -(-rows // BLOCKS))
    return z.shape[-1] // 4, rows, block, max(1, min(torch.get_num_threads(), -(-rows // block)))
