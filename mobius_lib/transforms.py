"""Gradients that are differentiated: where a backward pass written by hand leaves the work to autograd.

Such a pass knows one derivative of one batch. Where it is itself to be differentiated, or batched, `again` says so, and
`gradients` does the same through a readable form, of torch's own operations.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import concrete


def again(*grads: Tensor | None) -> bool:
    """In a backward pass: whether it is to be differentiated itself, or many gradients are asked for at once."""
    return torch.is_grad_enabled() or not concrete(*grads)


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, numbers keep their type where a tensor lies; on devices without autocast nothing has to be done."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


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
    tensors = [x for x in given if isinstance(x, Tensor)]
    with torch.enable_grad(), no_autocast(tensors[0]):
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
