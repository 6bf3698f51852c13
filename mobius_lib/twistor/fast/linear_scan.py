"""h_t = gate_t h_{t-1} + drive_t for all t at once: in chunks, so that T steps cost about 2 sqrt(T) in a row.

Within each of about sqrt(T) chunks the steps are done one after the other, but in all chunks at the same time; then
the chunks' last states are chained, and each step adds what came into its chunk, damped by the gates since. Nothing is
divided, so gates may be 0, and with gates up to 1 nothing grows.

Source: the chunked prefix scan is common knowledge; a linear recurrence with gates of the input alone is what minGRU
and Mamba run so. The code is ours.
"""

import math
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import concrete


def linear_scan(gate: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """All states of h_t = gate_t h_{t-1} + drive_t.

    Args:
        gate: (T, ...), broadcasting with drive (an axis of 1 where several entries share a gate).
        drive: (T, ...), T >= 1.
        start: (...), h_{-1}.
    Returns:
        (T, ...).
    """
    return _Scan.apply(gate, drive, start) if concrete(gate, drive, start) else _scan(gate, drive, start)


class _Scan(torch.autograd.Function):
    """The scan; its gradient is the scan that runs backwards."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, drive: Tensor, start: Tensor) -> Tensor:
        states = _scan(gate, drive, start)
        ctx.save_for_backward(gate, states, start)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, states, start = ctx.saved_tensors
        # what a state passes back is the gate of the step after it; after the last there is none
        later = torch.cat([gate[1:], torch.zeros_like(gate[:1])]).flip(0)
        total = _scan(later, grad.flip(0), torch.zeros_like(start)).flip(0)
        before = torch.cat([start.unsqueeze(0), states[:-1]])
        return (total * before).sum_to_size(gate.shape), total, gate[0] * total[0]


def _scan(gate: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """The scan, of operations that autograd and torch.func can follow."""
    steps = drive.shape[0]
    length = max(1, math.isqrt(steps - 1) + 1) if steps > 1 else 1
    chunks = -(-steps // length)
    missing = chunks * length - steps
    if missing:
        gate = torch.cat([gate, gate.new_ones(missing, *gate.shape[1:])])
        drive = torch.cat([drive, drive.new_zeros(missing, *drive.shape[1:])])
    # reshape, for batched gradients have no rule for flatten and unflatten
    gate, drive = (each.reshape(chunks, length, *each.shape[1:]) for each in (gate, drive))
    local, damping = [drive[:, 0]], [gate[:, 0]]
    for j in range(1, length):
        local.append(torch.addcmul(drive[:, j], gate[:, j], local[-1]))
        damping.append(gate[:, j] * damping[-1])
    came = [start]
    for number in range(chunks - 1):
        came.append(torch.addcmul(local[-1][number], damping[-1][number], came[-1]))
    since = torch.stack(came).unsqueeze(1)
    made = torch.addcmul(torch.stack(local, 1), torch.stack(damping, 1), since)
    if torch.compiler.is_compiling():  # of a batch of any size it cannot tell that this lies in one row
        return torch.cat(made.unbind(0))[:steps]
    return made.reshape(chunks * length, *made.shape[2:])[:steps]
