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
        for (first, *_), x, out in zip(_both(networks), _halves(z), _halves(before), strict=True):
            torch.mm(x, first.t(), out=out)
        inner = F.gelu(before.add_(torch.cat(networks[1::4])))
        for (_, _, second, _), x, out in zip(_both(networks), _halves(inner), _halves(step), strict=True):
            torch.mm(x, second.t(), out=out)
        bias = torch.cat(networks[3::4])
        library().level_forward(*_sizes(z), *_at(z, step, bias, weights), modulus, *_at(held, size))
        ctx.save_for_backward(z, weights, before, inner, step, *networks)
        ctx.modulus = modulus
        return held, size

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_held: Tensor, d_size: Tensor) -> tuple[Tensor | None, ...]:
        z, weights, before, inner, step, *networks = ctx.saved_tensors
        d_held, d_size = d_held.contiguous(), d_size.contiguous()
        d_sum, d_inner, d_weights = torch.empty_like(z), torch.empty_like(z), z.new_empty(len(z), 2)
        library().level_backward(
            *_sizes(z), *_at(z, step, weights), ctx.modulus, *_at(d_held, d_size, d_sum, d_weights)
        )
        made: list[list[Tensor]] = [[], []]
        for part, (network, weight) in enumerate(zip(_both(networks), weights, strict=True)):
            grad = _halves(d_sum)[part]  # of the step it is this times the weight, which goes where fewer numbers are
            torch.mm(grad, network[2] * weight, out=_halves(d_inner)[part])
            made[part] = [(grad.t() @ _halves(inner)[part]).mul_(weight), grad.sum(0).mul_(weight)]
        d_before = torch.ops.aten.gelu_backward(d_inner, before)
        for part, network in enumerate(_both(networks)):
            grad = _halves(d_before)[part]
            made[part] = [grad.t() @ _halves(z)[part], grad.sum(0), *made[part]]
            _halves(d_sum)[part].addmm_(grad, network[0])
        return d_sum, d_weights.sum(0), None, *made[0], *made[1]


def _both(networks: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Omega's network and pi's."""
    return tuple(networks[:4]), tuple(networks[4:])


def _halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Views of omega and pi."""
    return rows.chunk(2, dim=-1)


def _sizes(rows: Tensor) -> tuple[int, int, int]:
    """Rows, n and threads."""
    return len(rows), rows.shape[1] // 4, max(1, min(torch.get_num_threads(), len(rows) // ROWS_PER_THREAD))


def _at(*tensors: Tensor) -> list[int]:
    """Where they lie; the caller keeps them alive."""
    return [each.data_ptr() for each in tensors]
