"""Wave interference as pure functions, in the form in which it is printed.

Each function is one equation of chapter 1. They import only torch, hold no state, and broadcast over any leading
axes, so that a reader can try them on three numbers and a network can use them on a batch. `mobius_lib.waves.lens`
binds them to parameters.

Shapes: `...` is any number of leading axes (batch, height, width), `C` the channels, `S` the scales (2 in every
published model). Nothing here has a physical unit; angles are in radians.

Source: the class printed in the distillation card, unless a docstring says "ours".
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SHARPNESS_FLOOR = 0.1
"""Added to |alpha|, so that no learned alpha can flatten the wave completely."""


def sharpness(alpha: Tensor) -> Tensor:
    """How steeply a wave falls from its crest: a = |alpha| + 0.1.

    Laws: at least 0.1; even, so the sign of a learned alpha has no effect.

    Args:
        alpha: any shape.
    Returns:
        the same shape, >= 0.1.
    """
    return alpha.abs() + SHARPNESS_FLOOR


def drift_coordinate(x: Tensor) -> Tensor:
    """Where a position stands along the drift axis: the mean of |tanh x| over its channels.

    Laws: in [0, 1); even in x; 0 only where all channels are 0.

    Args:
        x: (..., C).
    Returns:
        (..., 1).
    """
    return torch.tanh(x).abs().mean(dim=-1, keepdim=True)


def wave(u: Tensor, t: Tensor, phase: Tensor, drift: Tensor, omega: Tensor, alpha: Tensor, scales: Tensor) -> Tensor:
    """One path: prod over scales s of exp(-a sin^2(s omega (u + drift_s t) + phase_s)), a = |alpha| + 0.1.

    Laws:
        range: exp(-a S) <= wave <= 1, and the crest 1 is reached where every sine is 0;
        periodic: with one scale, period pi / (s omega) in u; in each phase_s, period pi;
        even: with phase 0 and drift 0, wave(-u) = wave(u);
        mirror: with phase 0, wave(-u; -drift) = wave(u; drift), so the initial L and R mirror each other.

    Args:
        u: (..., C), the squashed input tanh x.
        t: (..., 1), the drift coordinate.
        phase: (S,) radians.
        drift: (S,).
        omega: scalar, angular frequency.
        alpha: scalar; only its size counts.
        scales: (S,).
    Returns:
        (..., C).
    """
    shifted = u.unsqueeze(-2) + drift.unsqueeze(-1) * t.unsqueeze(-2)
    angle = scales.unsqueeze(-1) * omega * shifted + phase.unsqueeze(-1)
    return torch.exp(-sharpness(alpha) * torch.sin(angle).square()).prod(dim=-2)


def soft_xor(left: Tensor, right: Tensor) -> Tensor:
    """|L + R - 2LR|: high where exactly one of two waves is.

    Laws, for L and R in [0, 1]: equals exclusive or at the corners; symmetric; in [0, 1]; and since it is
    L(1-R) + R(1-L), a sum of two terms that are not negative, the absolute value never acts.

    Args:
        left, right: the same shape.
    Returns:
        that shape.
    """
    return (left + right - 2 * left * right).abs()


def soft_and(left: Tensor, right: Tensor) -> Tensor:
    """L R: high only where both waves are.

    Laws, for L and R in [0, 1]: equals and at the corners; symmetric; soft_and + soft_xor + (1-L)(1-R) = 1.

    Args:
        left, right: the same shape.
    Returns:
        that shape.
    """
    return left * right


def interference(left: Tensor, middle: Tensor, right: Tensor, path_weights: Tensor, xor_weight: Tensor) -> Tensor:
    """The three paths, mixed, and damped where L and R neither differ nor agree on high.

    (w_L L + w_M M + w_R R) (1/2 + 1/2 (v xor(L, R) + (1 - v) and(L, R))), w = softmax(path_weights),
    v = sigmoid(xor_weight).

    Laws, for paths in (0, 1]: in (0, 1]; linear in M; unchanged when L and R swap together with their weights.

    Args:
        left, middle, right: (..., C).
        path_weights: (3,) logits of L, M, R.
        xor_weight: scalar logit.
    Returns:
        (..., C).
    """
    w_left, w_middle, w_right = torch.softmax(path_weights, dim=0)
    v = torch.sigmoid(xor_weight)
    mixed = w_left * left + w_middle * middle + w_right * right
    blend = v * soft_xor(left, right) + (1 - v) * soft_and(left, right)
    return mixed * (0.5 + 0.5 * blend)


def gate(pattern: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """sigmoid(LayerNorm(pattern)): how much of each channel passes.

    Laws: in (0, 1); with weight and bias None, unchanged (up to eps) by pattern -> c pattern + d for c > 0: only
    the contrast between the channels of one position counts, not the level of the waves.

    Args:
        pattern: (..., C), the interference pattern.
        weight, bias: (C,) of the layer norm, or None for 1 and 0.
        eps: added to the variance, as `torch.nn.LayerNorm` does.
    Returns:
        (..., C).
    """
    return torch.sigmoid(F.layer_norm(pattern, pattern.shape[-1:], weight, bias, eps))


def twist(x: Tensor, matrix: Tensor, angle: Tensor) -> Tensor:
    """x cos(angle) + (W x) sin(angle): a turn from the identity towards a learned matrix.

    Laws: angle 0 gives x; pi/2 gives W x; pi gives -x; linear in x, so it is the one matrix
    cos(angle) I + sin(angle) W. That is a rotation at every angle exactly where W is orthogonal and W W = -I (that is,
    where W is orthogonal and antisymmetric), which nothing enforces; at a single angle other W give one too, such as
    tan(angle / 2) I, which gives the identity.
    At angle 0 the gradient with respect to W is exactly zero, because sin 0 = 0.

    Args:
        x: (..., C).
        matrix: (C, C), laid out as `torch.nn.Linear.weight`.
        angle: scalar, radians.
    Returns:
        (..., C).
    """
    return x * torch.cos(angle) + F.linear(x, matrix) * torch.sin(angle)


def thirds_mask(channels: int, layer_idx: int, reduction: float = 0.5) -> Tensor:
    """1 everywhere, `reduction` on the third of the channels whose turn it is (layer_idx modulo 3).

    Laws: period 3 in layer_idx; the three masks of three successive layers turn down every channel exactly once;
    the last third also takes the remainder of channels / 3.

    Args:
        channels: C, positive.
        layer_idx: the position of the block in the network, from 0.
        reduction: the factor on that third.
    Returns:
        (C,) float32.
    """
    third, turn = channels // 3, layer_idx % 3
    stop = channels if turn == 2 else (turn + 1) * third
    mask = torch.ones(channels)
    mask[turn * third : stop] = reduction
    return mask


def participation(weights: Tensor) -> Tensor:
    """The effective share of the channels that carry the total: (sum g)^2 / (C sum g^2).

    Laws: 1 where all are equal, 1/C where one takes all, k/C where k are equal and the rest are 0; the same for c g.

    Args:
        weights: (..., C), not negative.
    Returns:
        (...), in [1/C, 1]; 0 where all weights are 0.
    Source:
        the participation ratio of physics; its use for gates is ours.
    """
    square_of_sum, sum_of_squares = weights.sum(-1).square(), weights.square().sum(-1)
    return square_of_sum / (weights.shape[-1] * sum_of_squares).clamp_min(torch.finfo(weights.dtype).tiny)
