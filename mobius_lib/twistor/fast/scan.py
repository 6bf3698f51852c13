"""`TwistorScanCell.scan` for a CPU and float32: gates, recurrence and read-out as C++ sweeps, `scan.cpp`.

On a CPU with few cores one sweep over the steps of each row, which touches every number once, is faster than a parallel
scan, which touches each several times; the numbers are the same.
"""

import ctypes
import functools
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import addresses, build

ROWS_PER_THREAD = 4


@functools.cache
def library() -> ctypes.CDLL:
    """The built `scan.cpp`.

    Raises:
        RuntimeError: when it cannot be built.
    """
    lib = build(Path(__file__).with_name("scan.cpp"))
    n, i, f, p = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    lib.scan_forward.argtypes = [n, n, n, i, p, p, p, p, p, f, f, p, p, p]
    lib.scan_backward.argtypes = [n, n, n, i, p, p, p, p, p, p, f, p, p, p, p, p, p, p, p]
    lib.read_forward.argtypes = [n, n, i, p, p, p, f, f, p, p]
    lib.read_backward.argtypes = [n, n, i, p, p, p, f, f, p, p, p, p, p, p]
    for function in (lib.scan_forward, lib.scan_backward, lib.read_forward, lib.read_backward):
        function.restype = None
    return lib


class ScanNative(torch.autograd.Function):
    """drive (T, B, 3.5 H), start (B, H), angle (n), and surprise (H) and rate () or None, to z (T, B, H), the output
    gate o (T, B, H) and, where there is a rate, its squashed logit (T, B)."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, start: Tensor, angle: Tensor, surprise: Tensor | None, rate: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        steps, rows, width = drive.shape[0], drive.shape[1], start.shape[-1]
        drive, start = drive.contiguous(), start.contiguous()
        acts, z = torch.empty_like(drive), drive.new_empty(steps, rows, width)
        squash = None if rate is None else drive.new_empty(steps, rows)
        cos, sin = torch.cos(angle), torch.sin(angle)
        level = 0.0 if rate is None else rate.item()
        library().scan_forward(
            steps, rows, width, _threads(rows), *addresses(drive, start, cos, sin, surprise), level, math.sqrt(width),
            *addresses(acts, z, squash),
        )  # fmt: skip
        ctx.save_for_backward(acts, start, z, cos, sin, surprise, squash)
        return z, acts[..., width : 2 * width].clone(), squash

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_z: Tensor, d_open: Tensor, d_squash: Tensor | None) -> tuple[Tensor | None, ...]:
        acts, start, z, cos, sin, surprise, squash = ctx.saved_tensors
        steps, rows, width = z.shape
        d_z, d_open = d_z.contiguous(), d_open.contiguous()
        d_squash = None if squash is None else d_squash.contiguous()
        d_drive, d_start = torch.empty_like(acts), torch.empty_like(start)
        d_angle = z.new_empty(rows, width // 4)
        d_logit = None if squash is None else torch.empty_like(squash)
        root = math.sqrt(width)
        library().scan_backward(
            steps, rows, width, _threads(rows), *addresses(acts, start, z, cos, sin, surprise), root,
            *addresses(squash, d_z, d_open, d_squash, d_drive, d_logit, d_start, d_angle),
        )  # fmt: skip
        d_surprise = None
        if surprise is not None:
            gap = acts[..., 2 * width : 3 * width] - torch.cat([start.unsqueeze(0), z[:-1]])
            d_surprise = torch.mv(gap.abs_().view(-1, width).t(), d_logit.view(-1)) / root
        return d_drive, d_start, d_angle.sum(0), d_surprise, None if d_logit is None else d_logit.sum()


class ReadNative(torch.autograd.Function):
    """z, o, the rate's squashed logit and the direction (or None twice) to h = o tanh(z + r direction), (T, B, H)."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, opened: Tensor, squash: Tensor | None, direction: Tensor | None, least: float, span: float
    ) -> Tensor:
        hidden = torch.empty_like(z)
        direction = None if direction is None else direction.contiguous()
        rows, width = z.shape[0] * z.shape[1], z.shape[-1]
        library().read_forward(
            rows, width, _threads(rows), *addresses(opened, z, squash), least, span, *addresses(direction, hidden)
        )  # fmt: skip
        ctx.save_for_backward(z, opened, squash, direction)
        ctx.least, ctx.span = least, span
        return hidden

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor | None, ...]:
        z, opened, squash, direction = ctx.saved_tensors
        rows, width = z.shape[0] * z.shape[1], z.shape[-1]
        d_hidden = d_hidden.contiguous()
        d_z, d_open = torch.empty_like(z), torch.empty_like(z)
        d_squash = None if squash is None else torch.zeros_like(squash)
        d_direction = None if direction is None else torch.empty_like(direction)
        library().read_backward(
            rows, width, _threads(rows), *addresses(opened, z, squash), ctx.least, ctx.span,
            *addresses(direction, d_hidden, d_z, d_open, d_squash, d_direction),
        )  # fmt: skip
        return d_z, d_open, d_squash, d_direction, None, None


def _threads(rows: int) -> int:
    return max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
