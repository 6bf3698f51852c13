"""`TwistorScanCell.scan` for a CPU and float32: gates, recurrence and read-out as C++ sweeps, `scan.cpp`.

On a CPU with few cores one sweep over the steps of each row, which touches every number once, is faster than a parallel
scan, which touches each several times; the numbers are the same.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import addresses, declared, ready

ROWS_PER_THREAD = 4


library = declared(
    Path(__file__).with_name("scan.cpp"),
    scan_forward="nnnipppppffppp",
    scan_backward="nnnippppppfpppppppp",
    read_forward="nnipppffpp",
    read_backward="nnipppffpppppp",
)


class ScanNative(torch.autograd.Function):
    """drive (T, B, 3.5 H), start (B, H), angle (n), and surprise (H) and rate () or None, made `ready`, to z (T, B, H),
    the output gate o (T, B, H) and, where there is a rate, its squashed logit (T, B). readable: does the same."""

    @staticmethod
    def forward(
        ctx: Any, readable: Callable[..., Any], drive: Tensor, start: Tensor, angle: Tensor, surprise: Tensor | None,
        rate: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
        steps, rows, width = drive.shape[0], drive.shape[1], start.shape[-1]
        acts, z = torch.empty_like(drive), drive.new_empty(steps, rows, width)
        squash = None if rate is None else drive.new_empty(steps, rows)
        cos, sin = torch.cos(angle), torch.sin(angle)
        level, size, n = 0.0 if rate is None else rate.item(), steps * rows, width // 4
        library().scan_forward(
            steps, rows, width, _threads(rows),
            *addresses((drive, size * 14 * n), (start, rows * width), (cos, n), (sin, n), (surprise, width)),
            level, math.sqrt(width), *addresses((acts, size * 14 * n), (z, size * width), (squash, size)),
        )  # fmt: skip
        ctx.save_for_backward(drive, start, angle, surprise, rate, acts, z, cos, sin, squash)
        ctx.readable = readable
        return z, acts[..., width : 2 * width].clone(), squash

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *given, acts, z, cos, sin, squash = ctx.saved_tensors
        if transforms.again(*grads):
            return None, *transforms.gradients(ctx.readable, given, grads)
        _, start, _, surprise, _ = given
        steps, rows, width = z.shape
        d_z, d_open, d_squash = ready(*(grads if squash is not None else (*grads[:2], None)))
        d_drive, d_start = torch.empty_like(acts), torch.empty_like(start)
        d_angle = z.new_empty(rows, width // 4)
        d_logit = None if squash is None else torch.empty_like(squash)
        root, size, n = math.sqrt(width), steps * rows, width // 4
        library().scan_backward(
            steps, rows, width, _threads(rows),
            *addresses((acts, size * 14 * n), (start, rows * width), (z, size * width), (cos, n), (sin, n)),
            *addresses((surprise, width)), root,
            *addresses((squash, size), (d_z, size * width), (d_open, size * width), (d_squash, size)),
            *addresses((d_drive, size * 14 * n), (d_logit, size), (d_start, rows * width), (d_angle, rows * n)),
        )  # fmt: skip
        d_surprise = None
        if surprise is not None:
            gap = acts[..., 2 * width : 3 * width] - torch.cat([start.unsqueeze(0), z[:-1]])
            d_surprise = torch.mv(gap.abs_().view(-1, width).t(), d_logit.view(-1)) / root
        return None, d_drive, d_start, d_angle.sum(0), d_surprise, None if d_logit is None else d_logit.sum()


class ReadNative(torch.autograd.Function):
    """z, o, the rate's squashed logit and the direction (or None twice), made `ready`, and the rate's least and span to
    h = o tanh(z + r direction), (T, B, H). readable: does the same."""

    @staticmethod
    def forward(
        ctx: Any, readable: Callable[..., Any], z: Tensor, opened: Tensor, squash: Tensor | None,
        direction: Tensor | None, least: float, span: float,
    ) -> Tensor:  # fmt: skip
        hidden, (rows, width) = torch.empty_like(z), _flat(z)
        library().read_forward(
            rows, width, _threads(rows), *addresses((opened, z.numel()), (z, z.numel()), (squash, rows)), least, span,
            *addresses((direction, z.numel()), (hidden, z.numel())),
        )  # fmt: skip
        ctx.save_for_backward(z, opened, squash, direction)
        ctx.readable, ctx.least, ctx.span = readable, least, span
        return hidden

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor | None, ...]:
        z, opened, squash, direction = ctx.saved_tensors
        if transforms.again(d_hidden):
            given = (z, opened, squash, direction, ctx.least, ctx.span)
            return None, *transforms.gradients(ctx.readable, given, (d_hidden,))
        (rows, width), (d_hidden,) = _flat(z), ready(d_hidden)
        d_z, d_open = torch.empty_like(z), torch.empty_like(z)
        d_squash = None if squash is None else torch.zeros_like(squash)
        d_direction = None if direction is None else torch.empty_like(direction)
        size = z.numel()
        library().read_backward(
            rows, width, _threads(rows), *addresses((opened, size), (z, size), (squash, rows)), ctx.least, ctx.span,
            *addresses((direction, size), (d_hidden, size), (d_z, size), (d_open, size), (d_squash, rows)),
            *addresses((d_direction, size)),
        )  # fmt: skip
        return None, d_z, d_open, d_squash, d_direction, None, None


def _flat(z: Tensor) -> tuple[int, int]:
    """Rows of all steps together, and their width."""
    return z.shape[0] * z.shape[1], z.shape[-1]


def _threads(rows: int) -> int:
    return max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
