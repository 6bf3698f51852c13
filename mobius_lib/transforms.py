"""Where a derivative written by hand does not reach: torch.func, forward mode, and gradients that are differentiated.

A kernel and a hand-written backward pass know one derivative of one batch. Under a transform of torch.func (grad, vmap,
jvp, ...) or inside forward-mode differentiation the readable form is to be computed instead, of torch's own operations:
`active` says when. And a backward pass that is itself to be differentiated is left to autograd, by `gradients`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def active() -> bool:
    """Whether a transform of torch.func, forward mode, a tracer or a compiler is looking on."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch.jit.is_tracing()
    )


def again() -> bool:
    """In a backward pass: whether it is to be differentiated itself, or many gradients are asked for at once."""
    return torch.is_grad_enabled() or active()


def gradients(
    readable: Callable[..., Any], given: Sequence[Any], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """What a hand-written backward pass returns, by autograd through a readable form: it can be differentiated again.

    Args:
        readable: of torch's own operations, from what was given to what the function returned.
        given: the function's arguments; its tensors as they were given, for they carry the graph.
        grads: of each thing returned.
    Returns:
        for each argument its gradient, None where it needs none.
    """
    once_more = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        # views: where one argument is made of another, only the way through the function itself is asked for
        own = [x.view_as(x) if isinstance(x, Tensor) and x.requires_grad else x for x in given]
        made = readable(*own)
        pairs = zip((made,) if isinstance(made, Tensor) else made, grads, strict=True)
        kept = [(y, grad) for y, grad in pairs if y is not None and y.requires_grad and grad is not None]
        wanted = [isinstance(x, Tensor) and x.requires_grad for x in own]
        inputs = [x for x, wants in zip(own, wanted, strict=True) if wants]
        if not kept or not inputs:
            return (None,) * len(own)
        outputs, along = zip(*kept, strict=True)
        found = iter(torch.autograd.grad(outputs, inputs, along, create_graph=once_more, allow_unused=True))
    return tuple(next(found) if wants else None for wants in wanted)
