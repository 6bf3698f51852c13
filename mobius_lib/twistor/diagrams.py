"""The four pictures that the README names, each drawn from a model: what it has, in its own shapes and counts."""

from typing import Any

import torch
from torch import nn

from mobius_lib.diagram import Box, flow, shapes
from mobius_lib.twistor.hope import TwistorHopeArchitecture

NAMES = {
    "embedding": "twistor of each token",
    "self_modifying": "recurrence, then Möbius maps",
    "memory": "slots, written and read",
    "continuum": "weights that change while read",
    "nested": "nested levels",
    "out": "width halved",
    "norm": "layer norm",
    "head": "logits",
}
"""Of the model's parts, in the order in which it calls them."""


def diagrams(model: TwistorHopeArchitecture, length: int = 8) -> dict[str, Any]:
    """The pictures by name: data flow, components, memory update, nested levels; the last two where a model has those.

    Args:
        length: tokens of the sequence whose shapes are written.
    Returns:
        for each an SVG that a notebook shows; its `data` is the text.
    """
    parts = {name: getattr(model, name) for name in NAMES if getattr(model, name) is not None}
    found = {"data flow": _data_flow(model, parts, length), "components": _components(model, parts)}
    if model.memory is not None:
        found["memory update"] = _memory(model.memory)
    if model.nested is not None:
        found["nested levels"] = _nested(model.nested)
    return found


def _data_flow(model: TwistorHopeArchitecture, parts: dict[str, nn.Module], length: int) -> Any:
    training = model.training
    tokens = torch.zeros(1, length, dtype=torch.int64, device=model.embedding.weight.device)
    leaves = shapes(model.eval(), parts, tokens)
    model.train(training)
    boxes = [Box(f"{length} tokens", leaves=(length,)), *(Box(NAMES[name], name, leaves[name]) for name in parts)]
    ways = "both ways" if model.config.bidirectional else "one way"
    return flow(boxes, f"Data flow: {length} tokens through {', '.join(parts)} to logits, read {ways}.")


def _components(model: TwistorHopeArchitecture, parts: dict[str, nn.Module]) -> Any:
    boxes = [Box(type(part).__name__[:30], f"{_count(part):,} parameters") for part in parts.values()]
    return flow(boxes, f"Components: {len(parts)} parts with {_count(model):,} parameters in all.")


def _memory(memory: Any) -> Any:
    paces = ", ".join(f"{pace:.3g}" for pace in torch.sigmoid(memory.pace.detach())[:4].tolist())
    slots, every = memory.num_memories, (memory.num_memories, memory.dim)
    boxes = [
        Box("x(t)", "what the recurrence gives", (memory.dim,)),
        Box("value, key, query", f"shares of {slots} slots", f"{memory.dim}, {slots}, {slots}"),
    ]
    if memory.cycles:
        boxes.append(Box("turned for each slot", f"{len(memory.cycles[0].couplings)} Möbius cycles", every))
    boxes.append(Box("M ← (1 - w) M + w value", f"paces {paces}", every))
    if memory.compression is not None:
        kept = f", kept in {memory.slot_bits} bits" if memory.slot_bits else ""
        boxes.append(Box("read by phases" + kept, f"{memory.compression.ratio:.0%} of the numbers", every))
    boxes.append(Box("sum by query, out", "added to x(t)", (memory.dim,)))
    told = f"Memory update: every step writes to {slots} slots, each at its own pace, and reads from them."
    return flow(boxes, told, {(1, len(boxes) - 1): "x"})


def _nested(nested: Any) -> Any:
    boxes = []
    for level in range(nested.num_nested_levels):
        period = nested.period_of(level)
        when = "each step" if period == 1 else f"every {period} steps"
        boxes.append(Box(f"level {level}: {when}", f"learning rate × {nested.rate_of(level):.3g}", (nested.dim,)))
    held = "" if nested.constant is None else f"; after each |omega . pi| is held at {nested.constant:g}"
    return flow(boxes, f"Nested levels: {nested.num_nested_levels} levels, each updated at its own times{held}.")


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
