"""Chapter 2: what the published staircase and the thirds mask do by construction."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mobius_lib.cantor import math as cantor
from mobius_lib.ledger.base import Found, register
from mobius_lib.waves import math as waves

PUBLISHED = ("mobius_lib.cantor.math.staircase_published",)
GRID = torch.linspace(0, 1, 3**8 + 1, dtype=torch.float64)
"""On [0, 1]: the boundaries of all thirds down to the eighth level are among these."""


@register
def staircase_outside(*, alphas: Mapping[str, float], tau: float) -> Found:
    """How far the values of the published staircase reach outside [0, 1], for each alpha."""
    ends = {name: _steps(alpha, tau).aminmax() for name, alpha in alphas.items()}
    outside = {name: max(-low.item(), high.item() - 1, 0.0) for name, (low, high) in ends.items()}
    spoken = "; ".join(f"[{low:.4f}, {high:.4f}] at {name}" for name, (low, high) in ends.items())
    return Found(outside, f"Over x in [0, 1] and at τ = {tau:g} the values lie in {spoken}.", PUBLISHED)


@register
def staircase_self_similar(*, tau: float) -> Found:
    """How far the published staircase is from c(x/3) = c(x)/2, the law that makes Cantor's function a fractal."""
    third, whole = (cantor.staircase_published(x, 0.5, tau) for x in (GRID / 3, GRID))
    gap = (third - whole / 2).abs().max().item()
    exact = (cantor.cantor_function(GRID / 3) - cantor.cantor_function(GRID) / 2).abs().max().item()
    words = (
        f"At α = 1/2 and τ = {tau:g} the one level of the published layer misses c(x/3) = c(x)/2 by up to {gap:.3f}, "
        f"Cantor's function by {exact:.0e}: it has three steps, and no thirds of thirds."
    )
    return Found(gap, words, (*PUBLISHED, "mobius_lib.cantor.math.cantor_function"))


@register
def staircase_reach(*, alpha: float, tau: float, ends: tuple[float, float]) -> Found:
    """How much of a range of positions the published staircase can take."""
    least, most = (end.item() for end in _steps(alpha, tau).aminmax())
    share = max(0.0, min(ends[1], most) - max(ends[0], least)) / (ends[1] - ends[0])
    words = f"At α = {alpha:g} and τ = {tau:g} it has values in [{least:.4f}, {most:.4f}], of [{ends[0]}, {ends[1]}]."
    return Found(share, words, PUBLISHED)


@register
def mask_pieces(*, width: int, layers: int) -> Found:
    """Into how many pieces the masks of the first layers together cut the channels."""
    together, pieces = torch.ones(width), []
    for layer in range(layers):
        together = together * waves.thirds_mask(width, layer)
        pieces.append(int((together.diff() != 0).sum()) + 1)
    words = (
        f"The masks of layers 1 to {layers} together cut {width} channels into {', '.join(map(str, pieces))} pieces: "
        "whole thirds in turn, never a third of a third."
    )
    return Found(pieces, words, ("mobius_lib.waves.math.thirds_mask",))


def _steps(alpha: float, tau: float) -> Tensor:
    return cantor.staircase_published(GRID, alpha, tau)
