"""The picture of an architecture: boxes from top to bottom, as a phone shows them, with the shapes that a model has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import nn

WIDTH, BOX, LEFT, GAP = 340, 220, 76, 30
"""Of the picture and of a box, a box's left edge, the room between two boxes; in pixels at the size of a phone."""


@dataclass(frozen=True)
class Box:
    """One step: what it is, a smaller second line, and the shape of what leaves it, written beside the arrow.

    Raises:
        ValueError: for a line that is longer than a box is wide.
    """

    text: str
    note: str = ""
    leaves: Sequence[int] | str | None = None

    def __post_init__(self) -> None:
        for line, most in ((self.text, 30), (self.note, 36)):
            if len(line) > most:
                raise ValueError(f"{line!r} has {len(line)} characters, and {most} fit into a box; say it in fewer.")


def shapes(model: nn.Module, parts: Mapping[str, nn.Module], *inputs: Any) -> dict[str, tuple[int, ...]]:
    """The shapes, without the batch, of what some parts of a model give when it is called.

    Args:
        model: called once with `inputs`, without gradients.
        parts: modules inside it, by names of one's own; a part that is called several times has its last shape.
    Raises:
        ValueError: when a part is never called, or gives no tensor.
    """
    found: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor):
                found[name] = tuple(first.shape[1:])

        return hook

    hooks = [part.register_forward_hook(remember(name)) for name, part in parts.items()]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for each in hooks:
            each.remove()
    if missing := [name for name in parts if name not in found]:
        raise ValueError(f"No tensor came out of {', '.join(missing)}: name parts that the model calls.")
    return found


def flow(boxes: Sequence[Box], told: str, around: Mapping[tuple[int, int], str] | None = None) -> Any:
    """The picture, for a notebook: an SVG in the colours of the page's text, in the light theme and the dark one.

    Args:
        boxes: from top to bottom.
        told: what the picture shows: its caption.
        around: paths that go past boxes: (first, last), indices of boxes, to a word; the path leaves the arrow above
            `first` and joins the arrow below `last`.
    """
    from IPython.display import HTML

    tops, y = [], 22
    for box in boxes:
        tops.append(y)
        y += (48 if box.note else 32) + GAP
    bottoms = [top + (48 if box.note else 32) for top, box in zip(tops, boxes, strict=True)]
    middle = LEFT + BOX / 2
    parts = []
    for top, bottom, box in zip(tops, bottoms, boxes, strict=True):
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{bottom - top}" rx="6" fill="currentColor" '
            'fill-opacity=".07" stroke="currentColor" stroke-opacity=".45"/>'
        )
        parts.append(_text(middle, top + 21, box.text, 13.5))
        if box.note:
            parts.append(_text(middle, top + 39, box.note, 11.5, ".8"))
        parts.append(_arrow(middle, bottom, bottom + GAP - 2))
        if box.leaves is not None:
            parts.append(_text(middle + 8, bottom + 19, _shape(box.leaves), 11.5, ".8", "start"))
    parts.append(_arrow(middle, 2, tops[0] - 2))
    for column, ((first, last), word) in enumerate((around or {}).items()):
        start, end, x = tops[first] - GAP / 2, bottoms[last] + GAP / 2, LEFT - 16 - 18 * column
        parts.append(
            f'<path d="M{middle} {start:g}H{x}V{end:g}H{middle}" fill="none" stroke="currentColor" '
            'stroke-opacity=".7" stroke-dasharray="4 3"/>'
        )
        parts.append(_text(x - 5, (start + end) / 2, word, 11.5, ".8", turned=True))
    svg = (
        f'<svg role="img" aria-label="{escape(told, quote=True)}" viewBox="0 0 {WIDTH} {y - GAP + 34}" '
        f'style="width:100%;max-width:{WIDTH + 80}px;height:auto;display:block;margin:0 auto" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
    return HTML(with_caption(svg, told))


def with_caption(picture: str, caption: str) -> str:
    """A picture in HTML and its caption, as one figure."""
    return f'<figure style="margin:0">{picture}<figcaption>{escape(caption)}</figcaption></figure>'


def _shape(leaves: Sequence[int] | str) -> str:
    return leaves if isinstance(leaves, str) else " × ".join(f"{size:,}" for size in leaves)


def _text(
    x: float, y: float, words: str, size: float, opacity: str = "1", anchor: str = "middle", turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="currentColor" '
        f'fill-opacity="{opacity}"{turn}>{escape(words)}</text>'
    )


def _arrow(x: float, start: float, end: float) -> str:
    return f'<path d="M{x:g} {start:g}V{end:g}m-4 -6l4 6l4 -6" fill="none" stroke="currentColor" stroke-opacity=".7"/>'
