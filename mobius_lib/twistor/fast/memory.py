"""What `TwistorMemorySystem` does between its matrix products, for a CPU and float32, in C++: `memory.cpp`."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import addresses, build


@functools.cache
def library() -> ctypes.CDLL:
    """The built `memory.cpp`.

    Raises:
        RuntimeError: when it cannot be built.
    """
    lib = build(Path(__file__).with_name("memory.cpp"))
    sizes = [ctypes.c_int64] * 4 + [ctypes.c_int]
    lib.memory_forward.argtypes = [*sizes, *[ctypes.c_void_p] * 8]
    lib.memory_backward.argtypes = [*sizes, *[ctypes.c_void_p] * 15]
    lib.memory_forward.restype = lib.memory_backward.restype = None
    return lib


class MemoryNative(torch.autograd.Function):
    """value (B, T, 4n), matrices (K, 4, 4, n) or None, weight and attention (B, T, K), profile (2, n) or None and the
    first slots (B, K, 4n) to what is read (B, T, 4n) and the last slots."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, matrices: Tensor | None, weight: Tensor, attention: Tensor, profile: Tensor | None,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        given = [None if each is None else each.contiguous() for each in (value, matrices, weight, attention, profile)]
        start = start.contiguous()
        (rows, steps, width), count = value.shape, weight.shape[-1]
        slots, mixed = value.new_empty(rows, steps, count, width), torch.empty_like(given[0])
        library().memory_forward(
            rows, steps, count, width, min(torch.get_num_threads(), rows), *addresses(*given, start, slots, mixed)
        )  # fmt: skip
        ctx.save_for_backward(*given, start, slots)
        return mixed, slots[:, -1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_mixed: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        value, matrices, weight, attention, profile, start, slots = ctx.saved_tensors
        (rows, steps, width), count = value.shape, weight.shape[-1]
        d_mixed, d_last = d_mixed.contiguous(), d_last.contiguous()
        d_value, d_weight, d_attention, d_start = map(torch.empty_like, (value, weight, attention, start))
        d_matrices = None if matrices is None else value.new_zeros(rows, *matrices.shape)
        d_profile = None if profile is None else value.new_zeros(rows, *profile.shape)
        made = (d_value, d_matrices, d_weight, d_attention, d_profile, d_start)
        library().memory_backward(
            rows, steps, count, width, min(torch.get_num_threads(), rows),
            *addresses(value, matrices, weight, attention, profile, start, slots, d_mixed, d_last, *made),
        )  # fmt: skip
        sums = (None if each is None else each.sum(0) for each in (d_matrices, d_profile))
        d_matrices, d_profile = sums
        return d_value, d_matrices, d_weight, d_attention, d_profile, d_start
