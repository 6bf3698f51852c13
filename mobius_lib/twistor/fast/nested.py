"""A level of `TwistorNestedLearning` for a CPU and float32: its products, and between them one sweep each way,
`nested.cpp`, where the readable form has one for each of torch's operations.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.native import addresses, build
from mobius_lib.products import product, weight_gradient

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
    lib.level_backward.argtypes = [n, n, i, p, p, p, p, f, p, p, p, p]
    lib.level_forward.restype = lib.level_backward.restype = None
    return lib


class LevelNative(torch.autograd.Function):
    """Omega and pi (2, R, 2n), the level's weights (2,), the modulus, and of omega's network and then pi's both weights
    and biases (weight, bias, weight, bias, each (2n, 2n) or (2n,)) to the rows after the level, and |omega . pi| before
    the move, (R,)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor, modulus: float, *networks: Tensor) -> tuple[Tensor, Tensor]:
        z, weights = z.contiguous(), weights.contiguous()
        before = [product(x, networks[4 * part], networks[4 * part + 1]) for part, x in enumerate(z)]
        inner = [F.gelu(x) for x in before]
        step = [product(x, networks[4 * part + 2], networks[4 * part + 3]) for part, x in enumerate(inner)]
        held, size = torch.empty_like(z), z.new_empty(z.shape[1])
        library().level_forward(*_sizes(z), *addresses(z, *step, weights), modulus, *addresses(held, size))
        ctx.save_for_backward(z, weights, *before, *inner, *step, *networks)
        ctx.modulus = modulus
        return held, size

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_held: Tensor, d_size: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # C++ reads float32
            return LevelNative._backward(ctx, d_held, d_size)

    @staticmethod
    def _backward(ctx: Any, d_held: Tensor, d_size: Tensor) -> tuple[Tensor | None, ...]:
        z, weights, *kept = ctx.saved_tensors
        before, inner, step, networks = kept[:2], kept[2:4], kept[4:6], kept[6:]
        d_held, d_size = d_held.contiguous(), d_size.contiguous()
        d_sum, d_weights = torch.empty_like(z), z.new_empty(z.shape[1], 2)
        library().level_backward(
            *_sizes(z), *addresses(z, *step, weights), ctx.modulus, *addresses(d_held, d_size, d_sum, d_weights)
        )
        made: list[Tensor] = []
        for part, weight in enumerate(weights):
            first, _, second, _ = networks[4 * part : 4 * part + 4]
            # the gradient of a step is that of the sum times the weight, which goes where there are fewer numbers
            d_second, d_other = weight_gradient(d_sum[part], inner[part]).mul_(weight), d_sum[part].sum(0).mul_(weight)
            d_inner = product(d_sum[part], (second * weight).t())
            d_before = torch.ops.aten.gelu_backward(d_inner, before[part])
            made += [weight_gradient(d_before, z[part]), d_before.sum(0), d_second, d_other]
            d_sum[part] += product(d_before, first.t())
        return d_sum, d_weights.sum(0), None, *made


def _sizes(z: Tensor) -> tuple[int, int, int]:
    """Rows, n and threads."""
    rows, width = z.shape[1:]
    return rows, width // 2, max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
