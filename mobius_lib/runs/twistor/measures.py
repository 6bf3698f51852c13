"""What is read off a twistor language model while it learns and afterwards, on held-out text."""

from typing import Any

import torch
from torch import Tensor

from mobius_lib.twistor import TwistorHopeArchitecture
from mobius_lib.twistor import math as twistor


@torch.no_grad()
def pairing_spread(model: TwistorHopeArchitecture, x: Tensor) -> float:
    """Standard deviation over mean of |omega . pi| of what leaves the nested levels, over all characters of a text.

    Args:
        x: (batch, time).
    """
    found: list[Tensor] = []
    hook = model.nested.register_forward_hook(lambda module, given, out: found.append(out[0]))
    try:
        model.eval()(x)
    finally:
        hook.remove()
    real, imag = twistor.pairing(found[0].double())
    modulus = torch.hypot(real, imag)
    return (modulus.std() / modulus.mean()).item()


@torch.no_grad()
def slots_over_time(model: TwistorHopeArchitecture, x: Tensor) -> Tensor:
    """The memory after every character: (batch, time, K, 4n)."""
    model.eval()
    y, _ = model.self_modifying(model.embedding(x))
    return model.memory.trajectory(y)


def different_memories(slots: Tensor) -> float:
    """How many of K slots are different: (sum s^2)^2 / sum s^4 of their singular values, from 1 to K; mean over rows.

    Args:
        slots: (..., K, 4n).
    """
    square = torch.linalg.svdvals(slots.double()).square()
    return (square.sum(-1).square() / square.square().sum(-1)).mean().item()


def memory_summary(slots: Tensor) -> dict[str, Any]:
    """Of a trajectory (batch, time, K, 4n): each slot's mean length, the share of it by which a character moves the
    slot, and how many slots differ at the end."""
    length = slots.norm(dim=-1)
    moved = (slots[:, 1:] - slots[:, :-1]).norm(dim=-1) / length[:, :-1].clamp_min(torch.finfo(slots.dtype).tiny)
    return {
        "memory_length": length.mean((0, 1)).tolist(),
        "memory_movement": moved.mean((0, 1)).tolist(),
        "different_memories": different_memories(slots[:, -1]),
    }


def trajectory(slots: Tensor, points: int = 64) -> list[list[float]]:
    """The length of each slot along the first row of a trajectory (batch, time, K, 4n), at so many evenly spread
    characters."""
    length = slots.norm(dim=-1)[0]
    return length[:: max(1, len(length) // points)].tolist()


def curves(model: TwistorHopeArchitecture, x: Tensor) -> dict[str, Any]:
    """What the chapter draws of a twistor model after an interval.

    Args:
        x: held-out text, (batch, time).
    """
    found: dict[str, Any] = {}
    if model.nested is not None:
        found["level_weights"] = model.nested.level_weights().detach().tolist()
    if model.memory is not None:
        found |= memory_summary(slots_over_time(model, x))
    return found


def level_rates(model: TwistorHopeArchitecture, lr: float) -> list[float]:
    """The rates of the levels in an interval, from its own."""
    return [lr * model.nested.rate_of(level) for level in range(model.nested.num_nested_levels)]


def level_weights(model: TwistorHopeArchitecture) -> dict[str, Tensor]:
    """The weights of the levels, and the factor of each that is learned; the rest is a course that is planned."""
    nested = model.nested
    return {"weight": nested.level_weights().detach().clone(), "factor": 2 * torch.sigmoid(nested.weights.detach())}


def level_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """The largest relative change of a level's weight, and of its learned factor alone."""
    return {f"level_{name}_change": ((after[name] / before[name]) - 1).abs().max().item() for name in before}
