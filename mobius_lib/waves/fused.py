"""The lens's gate by exact algebra: the same numbers as `math.py` for a fraction of the sines and exponentials.

Three identities (FACTS, checked in the tests against the printed form, values and all gradients):

    prod_s exp(-a sin^2 p_s)  =  exp(-a sum_s sin^2 p_s)
    sin^2 p                   =  (1 - cos 2p) / 2
    cos(A + B)                =  cos A cos B - sin A sin B

with A = 2 s omega u, which the three paths share, and B = 2 (s omega drift t + phase), which is one number per
position. Per element that leaves 2 sine-cosine pairs and 3 exponentials, where the printed form takes 6 sines and
6 exponentials.

Source: ours.
"""

from functools import cache

import torch
from torch import Tensor

from mobius_lib.waves import math as waves


def paths(
    u: Tensor, t: Tensor, phases: Tensor, drifts: Tensor, omega: Tensor, alpha: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The three waves at once: `math.wave` of each row of `phases` and `drifts`.

    Args:
        u: (..., C), the squashed input tanh x.
        t: (..., 1), the drift coordinate.
        phases, drifts: (3, S), the paths L, M, R.
        omega, alpha: scalars.
        scales: (S,).
    Returns:
        three of (..., C).
    """
    half = waves.sharpness(alpha) / 2
    rate = 2 * scales * omega
    angles = [r * u for r in rate]
    shared = [(torch.cos(angle), torch.sin(angle)) for angle in angles]
    result = []
    for phase, drift in zip(phases, drifts, strict=True):
        total = -len(rate)
        for s, (cos_a, sin_a) in enumerate(shared):
            shift = rate[s] * drift[s] * t + 2 * phase[s]
            total = total + cos_a * torch.cos(shift) - sin_a * torch.sin(shift)
        result.append(torch.exp(half * total))
    left, middle, right = result
    return left, middle, right


def gated(
    x: Tensor,
    phases: Tensor,
    drifts: Tensor,
    omega: Tensor,
    alpha: Tensor,
    scales: Tensor,
    path_weights: Tensor,
    xor_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """x gate(x): all of the lens between its two twists.

    Args:
        x: (..., C), twisted in.
        weight, bias, eps: of the gate's layer norm; weight and bias (C,).
        the others: as in `paths` and `math.interference`.
    Returns:
        (..., C).
    """
    u, t = torch.tanh(x), waves.drift_coordinate(x)
    pattern = waves.interference(*paths(u, t, phases, drifts, omega, alpha, scales), path_weights, xor_weight)
    return x * waves.gate(pattern, weight, bias, eps)


@cache
def compiled():
    """`gated` under torch.compile, made once per process; needs a C++ compiler on CPU."""
    return torch.compile(gated, dynamic=True)
