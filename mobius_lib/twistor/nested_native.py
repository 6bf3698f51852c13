"""A level of `TwistorNestedLearning` for a CPU and float32: its products by torch, all between them by `nested.cpp`.

The readable form keeps omega and pi as two matrices and sweeps over them some forty times a level and training step.
Here a row keeps both, each network reads and writes its half of it in place, and one sweep each way does the rest.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.native import build

ROWS_PER_THREAD = 16


@functools.cache
def library() -> ctypes.CDLL:
    """The built `nested.cpp`.

    Raises:
        RuntimeError: when it cannot be built.
    """
    lib = build(Path(__file__).with_name("nested.cpp"))
    n, i, f, p = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    lib.level_forward.argtypes = [n, n, i, p, p, p, p, f, p, p]
    lib.level_backward.argtypes = [n, n, i, p, p, p, f, p, p, p, p]
    lib.level_forward.restype = lib.level_backward.restype = None
    return lib


class LevelNative(torch.autograd.Function):
    """Rows (R, 4n), the level's weights (2,), the modulus, and of omega's network and then pi's both weights and biases
    (weight, bias, weight, bias, each (2n, 2n) or (2n,)) to the rows after the level and |omega . pi| before the move,
    (R,)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor, modulus: float, *networks: Tensor) -> tuple[Tensor, Tensor]:
        z, weights = z.contiguous(), weights.contiguous()
        before, step, held = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
        size = z.new_empty(len(z))
        first, bias, second, other = (torch.stack([networks[i], networks[i + 4]]) for i in range(4))
        torch.bmm(_parts(z), first.mT, out=_parts(before))
        inner = F.gelu(before.add_(bias.view(-1)))
        torch.bmm(_parts(inner), second.mT, out=_parts(step))
        library().level_forward(*_sizes(z), *_at(z, step, other, weights), modulus, *_at(held, size))
        ctx.save_for_backward(z, weights, before, inner, step, first, second)
        ctx.modulus = modulus
        return held, size

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_held: Tensor, d_size: Tensor) -> tuple[Tensor | None, ...]:
        z, weights, before, inner, step, first, second = ctx.saved_tensors
        d_held, d_size = d_held.contiguous(), d_size.contiguous()
        d_sum, d_inner, d_weights = torch.empty_like(z), torch.empty_like(z), z.new_empty(len(z), 2)
        library().level_backward(
            *_sizes(z), *_at(z, step, weights), ctx.modulus, *_at(d_held, d_size, d_sum, d_weights)
        )
        # the gradient of a step is that of the sum times the level's weight, which goes where there are fewer numbers
        each = weights.view(2, 1, 1)
        d_second, d_other = torch.bmm(_parts(d_sum).mT, _parts(inner)).mul_(each), _sums(d_sum).mul_(weights[:, None])
        torch.bmm(_parts(d_sum), second * each, out=_parts(d_inner))
        d_before = torch.ops.aten.gelu_backward(d_inner, before)
        d_first, d_bias = torch.bmm(_parts(d_before).mT, _parts(z)), _sums(d_before)
        _parts(d_sum).baddbmm_(_parts(d_before), first)
        made = (d_first, d_bias, d_second, d_other)
        return d_sum, d_weights.sum(0), None, *(part[0] for part in made), *(part[1] for part in made)


def _parts(rows: Tensor) -> Tensor:
    """Omega and pi of rows (R, 4n) as a view of two matrices, (2, R, 2n)."""
    return rows.unflatten(-1, (2, -1)).transpose(0, 1)


def _sums(rows: Tensor) -> Tensor:
    """Over all rows, of omega and pi: (2, 2n)."""
    return rows.sum(0).view(2, -1)


def _sizes(rows: Tensor) -> tuple[int, int, int]:
    """Rows, n and threads."""
    return len(rows), rows.shape[1] // 4, max(1, min(torch.get_num_threads(), len(rows) // ROWS_PER_THREAD))


def _at(*tensors: Tensor) -> list[int]:
    """Where they lie; the caller keeps them alive."""
    return [each.data_ptr() for each in tensors]
