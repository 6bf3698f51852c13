"""The algebra under torch.compile: small graphs over rows, built once per process and number of channels."""

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import torch_compile
from mobius_lib.waves.fast import function
from mobius_lib.waves.fast.function import Kernel

STAGES = ("positions", "forward", "backward")
"""What is compiled by itself: with `positions` in one graph with the rest, its sines would be taken per element."""


class CompiledKernel(Kernel):
    """Both passes of `function.py` under torch.compile; inductor keeps what it built on disk."""

    def forward(self, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        if x.shape[0] < 2:  # a compiler would make a graph of its own for one row
            return super().forward(x, k, weight, bias, eps)
        u, _, cosine, sine = _run("positions", x, k)
        return _run("forward", x, u, cosine, sine, k, weight, bias, eps)

    def backward(
        self, dy: Tensor, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if x.shape[0] < 2:
            return super().backward(dy, x, k, weight, bias, eps)
        u, t, cosine, sine = _run("positions", x, k)
        return _run("backward", dy, x, u, t, cosine, sine, k, weight, bias, eps)


def _run(stage: str, *given: Any) -> Any:
    channels = given[0].shape[-1]
    given = tuple(part.detach() if isinstance(part, Tensor) else part for part in given)
    for part in given:
        if isinstance(part, Tensor) and part.ndim > 1:
            torch._dynamo.maybe_mark_dynamic(part, part.ndim - 2)  # the rows
    # autocast has been dealt with: the arithmetic is in float32 or wider
    with torch.autocast(given[0].device.type, enabled=False):
        return graph(stage, channels, given[0].dtype, given[0].device.type)(*given)


@cache
def graph(stage: str, channels: int, dtype: torch.dtype, device: str) -> Callable[..., Any]:
    """A stage compiled for one number of channels, type and kind of device.

    Each has a code object of its own: torch limits how often one code object is compiled, and a network of many
    widths would meet that limit.
    """
    plain = getattr(function, stage)
    name = f"{stage}_{channels}_{str(dtype).removeprefix('torch.')}_{device}"
    code = plain.__code__.replace(co_name=name)
    return torch_compile(types.FunctionType(code, plain.__globals__, name, plain.__defaults__), fullgraph=True)
