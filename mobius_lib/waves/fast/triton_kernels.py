"""The lens as one Triton kernel each way, for CUDA: float32, bfloat16 and float16 in and out, float32 inside.

A program takes a tile of whole rows, so every mean over channels stays in its registers. Backward walks over many
tiles, keeps the sums of the parameters tile-shaped, reduces them once at its end, and writes one row of totals; the
rows are added up in a fixed order, so the gradients are the same from run to run. Two kernels of a single program
prepare the constants and end the chain rule, in place of some thirty launches for a few numbers.

With TRITON_INTERPRET=1 in the environment before this file is imported, they run on CPU tensors.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobius_lib.waves.fast.function import SUMS, Kernel

LARGEST_WIDTH = 1024
"""Channels up to which a row fits the registers of one program; beyond it the plain algebra runs."""


@triton.jit
def _sincos(a, exact):
    """Sine and cosine together, by one reduction to [-pi/2, pi/2] and two polynomials (see kernel.cpp)."""
    if exact:
        sine, cosine = tl.sin(a), tl.cos(a)
    else:
        n = tl.floor(a * 0.31830988618 + 0.5)
        sign = 1.0 - 2.0 * (n - 2.0 * tl.floor(n * 0.5))
        r = ((a - n * 3.140625) - n * 0.0009676536) - n * 5.126566e-12  # pi in three parts: products that are exact
        s = r * r
        p = ((2.600024345e-6 * s - 1.9806601631e-4) * s + 8.3330171183e-3) * s - 1.6666656733e-1
        q = ((-2.6193549729e-7 * s + 2.4769291485e-5) * s - 1.3888569083e-3) * s + 4.1666656733e-2
        sine = sign * (r + r * s * p)
        cosine = sign * ((1.0 - 0.5 * s) + s * s * q)
    return sine, cosine


@triton.jit
def _sigmoid(n):
    return 1.0 / (1.0 + tl.exp(-n))


@triton.jit
def _waves(x, live, k, channels, eps):
    """Everything up to the normalised pattern, for a tile (rows, channels) and its mask."""
    rate0, rate1, half = tl.load(k), tl.load(k + 1), tl.load(k + 2)
    exact = tl.maximum(tl.abs(rate0), tl.abs(rate1)) > 8192.0
    e = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - e) / (1.0 + e)
    u = tl.where(x < 0, -size, size)
    t = (tl.sum(size, axis=1) / channels)[:, None]  # beyond the last channel x is 0, and so is size
    s0, c0 = _sincos(rate0 * u, exact)
    s1, c1 = _sincos(rate1 * u, exact)
    ls0, lc0 = _sincos(tl.load(k + 8) * t + tl.load(k + 14), False)
    ls1, lc1 = _sincos(tl.load(k + 9) * t + tl.load(k + 15), False)
    ms0, mc0 = _sincos(tl.load(k + 10) * t + tl.load(k + 16), False)
    ms1, mc1 = _sincos(tl.load(k + 11) * t + tl.load(k + 17), False)
    rs0, rc0 = _sincos(tl.load(k + 12) * t + tl.load(k + 18), False)
    rs1, rc1 = _sincos(tl.load(k + 13) * t + tl.load(k + 19), False)
    fall_l = c0 * lc0 - s0 * ls0 + c1 * lc1 - s1 * ls1 - 2.0
    fall_m = c0 * mc0 - s0 * ms0 + c1 * mc1 - s1 * ms1 - 2.0
    fall_r = c0 * rc0 - s0 * rs0 + c1 * rc1 - s1 * rs1 - 2.0
    left, middle, right = tl.exp(half * fall_l), tl.exp(half * fall_m), tl.exp(half * fall_r)
    mixed = tl.load(k + 3) * left + tl.load(k + 4) * middle + tl.load(k + 5) * right
    damped = tl.load(k + 6) * (left + right) + tl.load(k + 7) * (left * right) + 0.5
    z = tl.where(live, mixed * damped, 0.0)
    centred = tl.where(live, z - (tl.sum(z, axis=1) / channels)[:, None], 0.0)
    scale = (1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / channels + eps))[:, None]
    cosines = (c0, c1, lc0, lc1, mc0, mc1, rc0, rc1)
    sines = (s0, s1, ls0, ls1, ms0, ms1, rs0, rs1)
    return u, t, cosines, sines, (fall_l, fall_m, fall_r), (left, middle, right), mixed, damped, centred * scale, scale


@triton.jit
def _forward(x_ptr, k, weight_ptr, bias_ptr, y_ptr, rows, channels, eps, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    column = tl.arange(0, WIDTH)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = (row[:, None] < rows) & (column[None, :] < channels)
    place = row[:, None].to(tl.int64) * channels + column[None, :]
    x = tl.load(x_ptr + place, mask=live, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=column < channels, other=0.0)[None, :]
    bias = tl.load(bias_ptr + column, mask=column < channels, other=0.0)[None, :]
    _, _, _, _, _, _, _, _, normal, _ = _waves(x, live, k, channels, eps)
    tl.store(y_ptr + place, (x * _sigmoid(normal * weight + bias)).to(y_ptr.dtype.element_ty), mask=live)


@triton.jit
def _backward(
    dy_ptr, x_ptr, k, weight_ptr, bias_ptr, dx_ptr, totals, rows, channels, eps, tiles,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, WIDTH)
    weight = tl.load(weight_ptr + column, mask=column < channels, other=0.0)[None, :]
    bias = tl.load(bias_ptr + column, mask=column < channels, other=0.0)[None, :]
    rate0, rate1, half = tl.load(k), tl.load(k + 1), tl.load(k + 2)
    w_l, w_m, w_r, each, both = (
        tl.load(k + 3), tl.load(k + 4), tl.load(k + 5), tl.load(k + 6), tl.load(k + 7),
    )  # fmt: skip
    zero = tl.zeros((ROWS, WIDTH), tl.float32)
    a0, a1, a2, a3, a4, a5 = zero, zero, zero, zero, zero, zero
    b0, b1, b2, b3, b4, b5 = zero, zero, zero, zero, zero, zero
    q_l, q_m, q_r, one, two, push, v0, v1 = zero, zero, zero, zero, zero, zero, zero, zero
    dweight, dbias = zero, zero
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS)
        live = (row[:, None] < rows) & (column[None, :] < channels)
        place = row[:, None].to(tl.int64) * channels + column[None, :]
        x = tl.load(x_ptr + place, mask=live, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + place, mask=live, other=0.0).to(tl.float32)
        u, t, cosines, sines, falls, paths, mixed, damped, normal, scale = _waves(x, live, k, channels, eps)
        left, middle, right = paths
        c0, c1, lc0, lc1, mc0, mc1, rc0, rc1 = cosines
        s0, s1, ls0, ls1, ms0, ms1, rs0, rs1 = sines
        gate = _sigmoid(normal * weight + bias)
        dn = dy * x * gate * (1.0 - gate)
        e = dn * weight
        level = (tl.sum(e, axis=1) / channels)[:, None]
        slope = (tl.sum(e * normal, axis=1) / channels)[:, None]
        dz = tl.where(live, scale * (e - level - normal * slope), 0.0)
        dq, dm = dz * damped, dz * mixed
        on_l, on_m, on_r, agree = dq * left, dq * middle, dq * right, dm * left * right
        push_l = w_l * on_l + each * dm * left + both * agree
        push_m = w_m * on_m
        push_r = w_r * on_r + each * dm * right + both * agree
        g0 = push_l * (s0 * lc0 + c0 * ls0)
        g1 = push_l * (s1 * lc1 + c1 * ls1)
        g2 = push_m * (s0 * mc0 + c0 * ms0)
        g3 = push_m * (s1 * mc1 + c1 * ms1)
        g4 = push_r * (s0 * rc0 + c0 * rs0)
        g5 = push_r * (s1 * rc1 + c1 * rs1)
        turn0, turn1 = g0 + g2 + g4, g1 + g3 + g5
        drift = tl.load(k + 8) * g0 + tl.load(k + 9) * g1 + tl.load(k + 10) * g2
        drift += tl.load(k + 11) * g3 + tl.load(k + 12) * g4 + tl.load(k + 13) * g5
        pull = (tl.sum(drift, axis=1) / channels)[:, None]
        sign = tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))
        dx = dy * gate - half * (rate0 * turn0 + rate1 * turn1 + sign * pull) * (1.0 - u * u)
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), mask=live)
        a0, a1, a2, a3, a4, a5 = a0 + g0, a1 + g1, a2 + g2, a3 + g3, a4 + g4, a5 + g5
        b0, b1, b2, b3, b4, b5 = b0 + t * g0, b1 + t * g1, b2 + t * g2, b3 + t * g3, b4 + t * g4, b5 + t * g5
        q_l, q_m, q_r, one, two = q_l + on_l, q_m + on_m, q_r + on_r, one + dm * (left + right), two + agree
        push += push_l * falls[0] + push_m * falls[1] + push_r * falls[2]
        v0, v1, dweight, dbias = v0 + turn0 * u, v1 + turn1 * u, dweight + dn * normal, dbias + dn
    mine = totals + tl.program_id(0) * (20 + 2 * channels)
    sums = (a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5, q_l, q_m, q_r, one, two, push, v0, v1)
    for i in tl.static_range(20):
        tl.store(mine + i, tl.sum(tl.sum(sums[i], axis=1), axis=0))
    tl.store(mine + 20 + column, tl.sum(dweight, axis=0), mask=column < channels)
    tl.store(mine + 20 + channels + column, tl.sum(dbias, axis=0), mask=column < channels)


@triton.jit
def _mix(packed):
    """Softmax of the path weights, sigmoid of the xor weight."""
    a, b, c = tl.load(packed + 14), tl.load(packed + 15), tl.load(packed + 16)
    top = tl.maximum(a, tl.maximum(b, c))
    a, b, c = tl.exp(a - top), tl.exp(b - top), tl.exp(c - top)
    total = a + b + c
    return a / total, b / total, c / total, 1.0 / (1.0 + tl.exp(-tl.load(packed + 17)))


@triton.jit
def _constants(packed, scales, k):
    """`function.constants`, by one program."""
    omega = tl.load(packed + 12)
    rate0, rate1 = 2.0 * omega * tl.load(scales), 2.0 * omega * tl.load(scales + 1)
    w_l, w_m, w_r, v = _mix(packed)
    tl.store(k, rate0)
    tl.store(k + 1, rate1)
    tl.store(k + 2, (tl.abs(tl.load(packed + 13)) + 0.1) / 2.0)
    tl.store(k + 3, w_l)
    tl.store(k + 4, w_m)
    tl.store(k + 5, w_r)
    tl.store(k + 6, v / 2.0)
    tl.store(k + 7, 0.5 - 1.5 * v)
    for p in tl.static_range(3):
        tl.store(k + 8 + 2 * p, rate0 * tl.load(packed + 6 + 2 * p))
        tl.store(k + 9 + 2 * p, rate1 * tl.load(packed + 7 + 2 * p))
    for i in tl.static_range(6):
        tl.store(k + 14 + i, 2.0 * tl.load(packed + i))


@triton.jit
def _finish(sums, k, packed, scales, out):
    """`function.finish`, by one program."""
    half = tl.load(k + 2)
    for i in tl.static_range(6):
        tl.store(out + i, -2.0 * half * tl.load(sums + i))
    dw = 0.0
    for s in tl.static_range(2):
        rate = -half * tl.load(sums + 18 + s)
        for p in tl.static_range(3):
            moved = -half * tl.load(sums + 6 + 2 * p + s)
            tl.store(out + 6 + 2 * p + s, moved * tl.load(k + s))
            rate += moved * tl.load(packed + 6 + 2 * p + s)
        dw += 2.0 * tl.load(scales + s) * rate
    tl.store(out + 12, dw)
    alpha = tl.load(packed + 13)
    sign = tl.where(alpha > 0, 1.0, tl.where(alpha < 0, -1.0, 0.0))
    tl.store(out + 13, sign * tl.load(sums + 17) / 2.0)
    w_l, w_m, w_r, v = _mix(packed)
    d_l, d_m, d_r = tl.load(sums + 12), tl.load(sums + 13), tl.load(sums + 14)
    mean = w_l * d_l + w_m * d_m + w_r * d_r
    tl.store(out + 14, w_l * (d_l - mean))
    tl.store(out + 15, w_m * (d_m - mean))
    tl.store(out + 16, w_r * (d_r - mean))
    tl.store(out + 17, (tl.load(sums + 15) / 2.0 - 1.5 * tl.load(sums + 16)) * v * (1.0 - v))


class TritonKernel(Kernel):
    """Both passes, and the small steps around them, each as one launch."""

    reads = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

    def forward(self, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        if not fits(x):
            return super().forward(x.to(k.dtype), k, weight, bias, eps)
        rows, channels = x.shape
        width = triton.next_power_of_2(channels)
        tall = max(1, 2048 // width)
        y = torch.empty_like(x)
        grid = (triton.cdiv(rows, tall),)
        _forward[grid](x, k, weight, bias, y, rows, channels, eps, ROWS=tall, WIDTH=width, num_warps=4)
        return y

    def backward(
        self, dy: Tensor, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not fits(x):
            return super().backward(dy.to(k.dtype), x.to(k.dtype), k, weight, bias, eps)
        rows, channels = x.shape
        width = triton.next_power_of_2(channels)
        tall = max(1, 512 // width)  # 22 sums per element stay in registers: 4 elements to a thread
        tiles = triton.cdiv(rows, tall)
        programs = min(tiles, 4 * processors(x.device))
        dx = torch.empty_like(x)
        totals = torch.empty(programs, len(SUMS) + 2 * channels, dtype=torch.float32, device=x.device)
        _backward[(programs,)](
            dy, x, k, weight, bias, dx, totals, rows, channels, eps, tiles,
            ROWS=tall, WIDTH=width, num_warps=8 if width > 512 else 4,
        )  # fmt: skip
        return dx, *totals.sum(0).split((len(SUMS), channels, channels))

    def constants(self, packed: Tensor, scales: Tensor) -> Tensor:
        if packed.dtype != torch.float32:
            return super().constants(packed, scales)
        k = torch.empty(20, dtype=torch.float32, device=packed.device)
        _constants[(1,)](packed, scales, k, num_warps=1)
        return k

    def finish(self, sums: Tensor, k: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
        if packed.dtype != torch.float32:
            return super().finish(sums, k, packed, scales)
        out = torch.empty_like(packed)
        _finish[(1,)](sums.contiguous(), k, packed, scales, out, num_warps=1)
        return out


def fits(x: Tensor) -> bool:
    """Whether the kernels take a tensor: not float64, and a row in the registers of one program."""
    return x.dtype != torch.float64 and x.shape[-1] <= LARGEST_WIDTH


def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; a few where the interpreter stands in for one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
