"""What `TwistorMemorySystem` does between its matrix products, for a CPU and float32, in C++: `memory.cpp`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import addresses, declared, ready

library = declared(
    Path(__file__).with_name("memory.cpp"),
    memory_forward="nnnnipppppppp",
    memory_backward="nnnnippppppppppppppp",
)


class MemoryNative(torch.autograd.Function):
    """value (B, T, 4n), matrices (K, 4, 4, n) or None, weight and attention (B, T, K), profile (2, n) or None and the
    first slots (B, K, 4n), made `ready`, to what is read (B, T, 4n) and the last slots. readable: does the same."""

    @staticmethod
    def forward(ctx: Any, readable: Callable[..., Any], *given: Tensor | None) -> tuple[Tensor, Tensor]:
        value, _, weight, *_ = given
        slots, mixed = value.new_empty(*weight.shape, value.shape[-1]), torch.empty_like(value)
        library().memory_forward(*_sizes(given), *_places(given, slots), *addresses((mixed, value.numel())))
        ctx.save_for_backward(*given, slots)
        ctx.readable = readable
        return mixed, slots[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, slots = ctx.saved_tensors
        if transforms.again(*grads):
            return None, *transforms.gradients(ctx.readable, given, grads)
        value, matrices, weight, attention, profile, start = given
        d_mixed, d_last = ready(*grads)
        # of what all rows share, one gradient for each
        made = [torch.empty_like(value), _for_rows(matrices, value), torch.empty_like(weight),
                torch.empty_like(attention), _for_rows(profile, value), torch.empty_like(start)]  # fmt: skip
        library().memory_backward(
            *_sizes(given), *_places(given, slots), *addresses((d_mixed, value.numel()), (d_last, start.numel())),
            *addresses(*((each, 0 if each is None else each.numel()) for each in made)),
        )  # fmt: skip
        made[1], made[4] = (None if each is None else each.sum(0) for each in (made[1], made[4]))
        return None, *made


def _sizes(given: Sequence[Tensor | None]) -> tuple[int, ...]:
    """Rows, steps, slots, width and threads."""
    rows, steps, width = given[0].shape
    return rows, steps, given[2].shape[-1], width, max(1, min(torch.get_num_threads(), rows))


def _places(given: Sequence[Tensor | None], slots: Tensor) -> list[int | None]:
    rows, steps, count, width, _ = _sizes(given)
    places = rows * steps * count
    sizes = (rows * steps * width, count * 4 * width, places, places, width // 2, rows * count * width, places * width)
    return addresses(*zip((*given, slots), sizes, strict=True))


def _for_rows(shared: Tensor | None, value: Tensor) -> Tensor | None:
    return None if shared is None else value.new_zeros(len(value), *shared.shape)
