"""What lies between the twists, y = x gate(x), by exact algebra, and its derivative by hand.

Per position (a row), with channels c, paths p in {L, M, R} and scales s in {0, 1}, `math.py` prints

    u = tanh x      t = mean_c |u|
    P_p = prod_s exp(-a sin^2(s w (u + d_ps t) + f_ps))        a = |alpha| + 0.1
    z = (sum_p w_p P_p) (1/2 + 1/2 (v xor(L, R) + (1 - v) L R))
    y = x g,   g = sigmoid(n),   n = normal weight + bias,   normal = (z - mean_c z) / sqrt(var_c z + eps)

Forward. With sin^2 q = (1 - cos 2q) / 2, the product over scales becomes one exponential of a sum,

    P_p = exp(h F_p),   F_p = sum_s cos(A_s + B_ps) - 2,   h = a / 2,
    A_s = rate_s u,   rate_s = 2 s w,   B_ps = shift_ps t + phase_ps,   shift_ps = rate_s d_ps,   phase_ps = 2 f_ps.

A_s is shared by the three paths and B_ps is one number per position, so cos(A + B) = cos A cos B - sin A sin B leaves
2 sine-cosine pairs and 3 exponentials per element, where the printed form takes 6 and 6. And since L and R lie in
(0, 1], xor(L, R) = L + R - 2 L R, so

    z = mixed damped,   mixed = sum_p w_p P_p,   damped = 1/2 + each (L + R) + both L R,
    each = v / 2,       both = (1 - 3 v) / 2.

Backward. Write d for the derivative of the loss by what follows the letter. From the gate down to the pattern:

    d n = dy x g (1 - g)      d bias = sum_rows d n      d weight = sum_rows d n normal      e = d n weight
    d z = (e - mean_c e - normal mean_c(e normal)) / sqrt(var_c z + eps)
    dq = d z damped           dm = d z mixed             (of mixed and of damped)

From the pattern to the exponents h F_p, one push per path, and on to the angles:

    push_L = (w_L dq + dm (each + both R)) L      push_M = w_M dq M      push_R = (w_R dq + dm (each + both L)) R
    turn_ps = push_p sin(A_s + B_ps) = push_p (sin A_s cos B_ps + cos A_s sin B_ps)
    d A_s = -h sum_p turn_ps          d B_ps = -h sum_c turn_ps          d h = sum push_p F_p

From the angles to x: u enters by A and, through t, by every B of its position; d|u| / du is sign u, 0 at 0.

    d t = -h sum_c sum_ps shift_ps turn_ps
    d x = dy g + (sum_s rate_s d A_s + sign(u) d t / C) (1 - u^2)

The small parameters need 20 sums over all rows and channels and nothing else; `SUMS` lists them, `finish` ends the
chain rule. So backward keeps x and the parameters; the waves are made again.

Source: ours.
"""

from typing import Any

import torch
from torch import Tensor

from mobius_lib.transforms import again
from mobius_lib.waves import math as waves

SMALL = (2, 2, 2, 2, 2, 2, 0, 0, 3, 0)
"""Sizes of the small parameters, 0 for a scalar: phases, then drifts of L, M, R, omega, alpha, path weights, xor."""

SUMS = (
    *(f"turn_{p}{s}" for p in "lmr" for s in "01"),  # sum turn_ps
    *(f"turn_{p}{s} t" for p in "lmr" for s in "01"),  # sum t turn_ps
    *(f"dq {p}" for p in "lmr"),  # sum dq P_p
    "dm (l + r)",
    "dm l r",
    "push fall",  # sum push_p F_p
    *(f"turn_{s} u" for s in "01"),  # sum u sum_p turn_ps
)
"""What backward sums over all rows and channels, in this order."""


def pack(small: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """The small parameters, in the order of `SMALL`, as one vector of 18."""
    return torch.cat([part.reshape(-1) for part in small]).to(dtype)


def unpack(packed: Tensor) -> tuple[Tensor, ...]:
    """The inverse of `pack`: views."""
    parts = packed.split([max(size, 1) for size in SMALL])
    return tuple(part if size else part.reshape(()) for part, size in zip(parts, SMALL, strict=True))


def constants(packed: Tensor, scales: Tensor) -> Tensor:
    """The numbers that a call works with: rate (2), half, w (3), each, both, shift (6), phase (6), as one vector."""
    rate = 2 * packed[12] * scales
    half = waves.sharpness(packed[13:14]) / 2
    v = torch.sigmoid(packed[17:18])
    shift = (packed[6:12].view(3, 2) * rate).view(6)
    mix = torch.softmax(packed[14:17], dim=0)
    return torch.cat((rate, half, mix, v / 2, 0.5 - 1.5 * v, shift, 2 * packed[:6]))


def finish(sums: Tensor, k: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
    """The gradient of the small parameters from the 20 `SUMS`, packed.

    Args:
        sums: (20,), of the backward pass.
        k: (20,), the `constants` of the call.
        packed, scales: what they were made from.
    Returns:
        (18,), laid out as `pack` does.
    """
    half, mix = k[2], k[3:6]
    moved = -half * sums[6:12].view(3, 2)  # of rate_s d_ps
    rate = -half * sums[18:20] + (moved * packed[6:12].view(3, 2)).sum(0)
    v = 2 * k[6:7]
    path = mix * (sums[12:15] - (mix * sums[12:15]).sum())
    return torch.cat(
        (
            -2 * half * sums[:6],
            (moved * k[:2]).view(6),
            (2 * scales * rate).sum(0, keepdim=True),
            sums[17:18] * torch.sign(packed[13:14]) / 2,
            path,
            (sums[15:16] / 2 - 1.5 * sums[16:17]) * v * (1 - v),
        )
    )


def squash(x: Tensor) -> Tensor:
    """tanh x; for a compiler by one exponential, which it turns into fewer instructions, with an error of one rounding.

    The form is exact at 0, odd, and cannot overflow: (1 - e) / (1 + e) for e = exp(-2 |x|), with the sign of x.
    """
    if not torch.compiler.is_compiling():
        return torch.tanh(x)
    below = x < 0
    e = torch.exp(torch.where(below, 2 * x, -2 * x))
    size = (1 - e) / (1 + e)
    return torch.where(below, -size, size)


def positions(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, and per position t and the cosines and sines of B: (R, C), (R, 1), and twice (6, R, 1)."""
    u = squash(x)
    t = u.abs().mean(dim=-1, keepdim=True)
    angle = k[8:14].view(6, 1, 1) * t + k[14:20].view(6, 1, 1)
    return u, t, torch.cos(angle), torch.sin(angle)


def _falls(u: Tensor, cosine: Tensor, sine: Tensor, k: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """cos A_s and sin A_s per scale, and F_p per path."""
    cosines, sines = [torch.cos(k[s] * u) for s in (0, 1)], [torch.sin(k[s] * u) for s in (0, 1)]
    falls = []
    for j in (0, 2, 4):
        fall = cosines[0] * cosine[j] - sines[0] * sine[j] + cosines[1] * cosine[j + 1] - sines[1] * sine[j + 1] - 2
        falls.append(fall)
    return cosines, sines, falls


def _pattern(falls: list[Tensor], k: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The waves, and the two factors of z: mixed and damped."""
    left, middle, right = (torch.exp(k[2] * fall) for fall in falls)
    mixed = k[3] * left + k[4] * middle + k[5] * right
    return [left, middle, right], mixed, k[6] * (left + right) + k[7] * (left * right) + 0.5


def _normal(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """z with mean 0 and variance 1 in every row, and 1 / the deviation it had."""
    centred = z - z.mean(dim=-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + eps)
    return centred * scale, scale


def forward(
    x: Tensor, u: Tensor, cosine: Tensor, sine: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """x gate(x), with what `positions` gave.

    Args:
        x: (R, C), one row per position.
        u, cosine, sine: of `positions`.
        k: (20,) `constants`.
        weight, bias, eps: of the layer norm; weight and bias (C,).
    Returns:
        (R, C).
    """
    _, _, falls = _falls(u, cosine, sine, k)
    _, mixed, damped = _pattern(falls, k)
    normal, _ = _normal(mixed * damped, eps)
    return x * torch.sigmoid(normal * weight + bias)


def backward(
    dy: Tensor,
    x: Tensor,
    u: Tensor,
    t: Tensor,
    cosine: Tensor,
    sine: Tensor,
    k: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The derivative of `forward`; the letters are those at the head of this file.

    Args:
        dy: (R, C), the derivative by the result.
        t: (R, 1), of `positions`; the others as in `forward`.
    Returns:
        by x (R, C), the 20 `SUMS`, by weight (C,), by bias (C,).
    """
    cosines, sines, falls = _falls(u, cosine, sine, k)
    (left, middle, right), mixed, damped = _pattern(falls, k)
    normal, scale = _normal(mixed * damped, eps)
    gate = torch.sigmoid(normal * weight + bias)
    dn = dy * x * gate * (1 - gate)
    e = dn * weight
    dz = scale * (e - e.mean(-1, keepdim=True) - normal * (e * normal).mean(-1, keepdim=True))
    dq, dm = dz * damped, dz * mixed
    agree = dm * left * right
    by_path = [dq * left, dq * middle, dq * right]
    pushes = [
        k[3] * by_path[0] + k[6] * dm * left + k[7] * agree,
        k[4] * by_path[1],
        k[5] * by_path[2] + k[6] * dm * right + k[7] * agree,
    ]
    turns = []
    for j in range(6):
        turns.append(pushes[j // 2] * (sines[j % 2] * cosine[j] + cosines[j % 2] * sine[j]))
    turn = [turns[s] + turns[s + 2] + turns[s + 4] for s in (0, 1)]
    rows = [row.sum(-1, keepdim=True) for row in turns]
    fall = sum(push * fall for push, fall in zip(pushes, falls, strict=True))
    drift = torch.zeros_like(t)
    for j, row in enumerate(rows):
        drift = drift + k[8 + j] * row
    along = k[0] * turn[0] + k[1] * turn[1] + torch.sign(x) * (drift / x.shape[-1])
    dx = dy * gate - k[2] * along * (1 - u * u)
    sums = [
        *(row.sum() for row in rows),
        *((row * t).sum() for row in rows),
        *(part.sum() for part in by_path),
        (dm * (left + right)).sum(),
        agree.sum(),
        fall.sum(),
        *((part * u).sum() for part in turn),
    ]
    return dx, torch.stack(sums), (dn * normal).sum(0), dn.sum(0)


class Kernel:
    """How the two passes are computed; a backend gives one of these. Here: plain torch operations."""

    def forward(self, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """x gate(x) for x (R, C), R and C at least 1, contiguous."""
        u, _, cosine, sine = positions(x, k)
        return forward(x, u, cosine, sine, k, weight, bias, eps)

    def backward(
        self, dy: Tensor, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """By x, the `SUMS`, by weight, by bias; dy contiguous, too."""
        return backward(dy, x, *positions(x, k), k, weight, bias, eps)

    def constants(self, packed: Tensor, scales: Tensor) -> Tensor:
        """`function.constants`."""
        return constants(packed, scales)

    def finish(self, sums: Tensor, k: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
        """`function.finish`."""
        return finish(sums, k, packed, scales)

    reads = (torch.float32, torch.float64)
    """Types of x that it takes as they are; others are widened to float32 first."""


def plain(eps: float, scales: Tensor, x: Tensor, weight: Tensor, bias: Tensor, small: tuple[Tensor, ...]) -> Tensor:
    """What `Gated` computes, in operations that torch differentiates itself: for torch.func and forward mode."""
    kernel = Kernel()
    rows, k, weight, bias, _, _ = _prepared(kernel, scales, x, weight, bias, small)
    return kernel.forward(rows, k, weight, bias, eps).to(x.dtype)


class Gated(torch.autograd.Function):
    """x gate(x) for rows x, by a `Kernel`; keeps x and the parameters for the way back, nothing else.

    Its backward is written in torch operations where it is to be differentiated again.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, eps: float, scales: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *small: Tensor
    ) -> Tensor:
        ctx.kernel, ctx.eps, ctx.types = kernel, eps, [part.dtype for part in (weight, bias, *small)]
        ctx.save_for_backward(scales, x, weight, bias, *small)
        rows, k, weight, bias, _, _ = _prepared(kernel, scales, x, weight, bias, small)
        return kernel.forward(rows, k, weight, bias, eps).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        scales, given, weight, bias, *small = ctx.saved_tensors
        kernel = Kernel() if again(dy) else ctx.kernel
        x, k, weight, bias, packed, scales = _prepared(kernel, scales, given, weight, bias, tuple(small))
        dx, sums, dweight, dbias = kernel.backward(dy.to(x.dtype).contiguous(), x, k, weight, bias, ctx.eps)
        parts = unpack(kernel.finish(sums.to(packed.dtype), k, packed, scales))
        parameters = [part.to(dtype) for part, dtype in zip((dweight, dbias, *parts), ctx.types, strict=True)]
        return None, None, None, dx.to(given.dtype), *parameters


def _prepared(
    kernel: Kernel, scales: Tensor, x: Tensor, weight: Tensor, bias: Tensor, small: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """All inputs in the type that the arithmetic runs in: float64 where x or a parameter has it, else float32."""
    wide = torch.float64 if torch.float64 in (x.dtype, weight.dtype) else torch.float32
    packed, scales = pack(small, wide), scales.to(wide)
    rows = x.contiguous() if x.dtype in kernel.reads and wide == torch.float32 else x.to(wide).contiguous()
    return rows, kernel.constants(packed, scales), weight.to(wide), bias.to(wide), packed, scales
