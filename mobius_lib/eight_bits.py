"""Weights in a byte each: what a page can fetch, and a repository can keep."""

from collections.abc import Mapping

import torch
from torch import Tensor

LEAST = 1024
"""Matrices with fewer numbers than that stay as they are, as everything does that is no matrix."""
MOST, DIGITS = 127, 2**11
SCALE = ".scale"


def packed(state: Mapping[str, Tensor], least: int = LEAST) -> dict[str, Tensor]:
    """A state dict with each large matrix as int8, and under its name + ".scale" what a row is multiplied by.

    A scale has 11 binary digits, so that its products with whole numbers are exact in float32: whoever multiplies gets
    the same weights, and to pack those again changes nothing.

    Args:
        state: (rows, columns) matrices and others; the others become float32.
        least: numbers that a matrix has to have to be packed.
    """
    found = {}
    for name, value in state.items():
        value = value.detach().cpu().float().contiguous()
        if value.ndim == 2 and value.numel() >= least:
            mantissa, exponent = torch.frexp(value.abs().amax(1) / MOST)
            scale = torch.ldexp((mantissa * DIGITS).round() / DIGITS, exponent)
            found[name + SCALE] = scale
            value = (value / torch.where(scale > 0, scale, 1.0).unsqueeze(1)).round().clamp(-MOST, MOST).to(torch.int8)
        found[name] = value
    return found


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` has packed, in float32."""
    return {
        name: value.float() * state[name + SCALE].unsqueeze(1) if value.dtype == torch.int8 else value
        for name, value in state.items()
        if not name.endswith(SCALE)
    }
