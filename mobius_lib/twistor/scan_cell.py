"""The recurrence whose gates see the input alone, so that all steps are computed at once."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import concrete, ready
from mobius_lib.products import linear
from mobius_lib.twistor.cell import RATES, CellState, TwistorTitansCell
from mobius_lib.twistor.fast.choice import works
from mobius_lib.twistor.fast.linear_scan import linear_scan
from mobius_lib.twistor.fast.scan import ReadNative, ScanNative, library


class TwistorScanCell(TwistorTitansCell):
    """z_t = f_t e^{i theta} z_{t-1} + i_t g_t, with the gates from x_t only: a parallel scan.

    omega turns by +theta and pi by -theta, and their gates differ; so omega_k / pi_k moves by the loxodromic map z ->
    (f_omega / f_pi) e^{2 i theta} z, with the fixed points 0 and infinity, which the products before and after can put
    anywhere. What is lost against `TwistorTitansCell`:

    1. gates and candidate cannot depend on the state, so what to keep is decided without knowing what is kept (a
       counter that resets on what it has counted is out of reach of one layer);
    2. evolution and its rate act on what is read out, and do not flow back into the state;
    3. the learned maps are one rotation each, not any Möbius map, and have no J between them.

    Args:
        as `TwistorTitansCell`, without num_mobius_cycles and coupled: there is no J. use_mobius=False leaves theta out.
    Source:
        ours; linear recurrences with gates of the input alone are minGRU's and Mamba's.
    """

    def __init__(self, input_dim: int, hidden_dim: int, *, use_mobius: bool = True, **options: Any) -> None:
        super().__init__(input_dim, hidden_dim, use_mobius=False, **options)
        del self.recur
        half = hidden_dim // 2  # re and im of a component share a forget gate, so that it commutes with the rotation
        self.input = torch.nn.Linear(input_dim, 3 * hidden_dim + half)
        with torch.no_grad():
            self.input.bias[3 * hidden_dim :] = torch.linspace(0.0, 5.0, half)  # memories from 2 to 150 steps at first
        self.angle = torch.nn.Parameter(0.1 * torch.randn(hidden_dim // 4)) if use_mobius else None

    def scan(self, drive: Tensor, state: CellState, backend: str = "auto") -> tuple[Tensor, CellState]:
        """All steps from the input's gates, (T, B, 3.5 H), to outputs (T, B, H) and the state after the last.

        Args:
            backend: "eager" is the parallel scan; "native", for float32 on a CPU, one sweep in C++; "auto" the faster.
        """
        width = self.hidden_dim
        drive, start = drive.to(self.input.weight.dtype), state.twistor
        given = (drive, start, self.angle, self.surprise, self.rate)
        native = backend in ("auto", "native") and works(library, *given)
        if native:
            angle = drive.new_zeros(width // 4) if self.angle is None else self.angle
            z, opened, squash = ScanNative.apply(_sweep, *ready(drive, start, angle, self.surprise, self.rate))
        else:
            z, opened, squash = _sweep(*given)
        direction, held = self._directions(z, state) if self.scales else (None, state.held)
        read, bounds = (z, opened, squash, direction), (RATES[0], RATES[1] - RATES[0])
        native = native and works(library, *read)
        h = ReadNative.apply(_read, *ready(*read), *bounds) if native else _read(*read, *bounds)
        # copies: views would keep all steps alive
        return h, CellState(z[-1].clone(), h[-1].clone(), held, state.clock + drive.shape[0])

    def step(self, drive: Tensor, state: CellState, matrix: Tensor | None = None) -> tuple[Tensor, CellState]:
        h, state = self.scan(drive.unsqueeze(0), state)
        return h.squeeze(0), state

    def _directions(self, z: Tensor, state: CellState) -> tuple[Tensor, Tensor]:
        """The mixed directions of all steps, and those held after the last."""
        firsts, given, held = [], [], []
        for network, period, before in zip(self.evolution, self.periods, state.held, strict=True):
            firsts.append(min(-state.clock % period, len(z)))
            asked = z[firsts[-1] :: period]
            # one that is not asked is not called: it has no gradient then, None and not 0, as in the loop
            made = _through(network, asked).to(z.dtype) if len(asked) else asked
            given += [before, made]
            held.append(made[-1] if len(made) else before)
        weights = torch.softmax(self.scale_weights, dim=0)
        mix = _Mix.apply if concrete(z, *given) else _mixed
        return mix(len(z), self.periods, tuple(firsts), weights, *given), torch.stack(held)


def _through(network: Any, x: Tensor) -> Tensor:
    """What a network makes of x, its products by `linear`."""
    for part in network:
        x = linear(x, part.weight, part.bias) if isinstance(part, torch.nn.Linear) else part(x)
    return x


def _sweep(
    drive: Tensor, start: Tensor, angle: Tensor | None, surprise: Tensor | None, rate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `ScanNative` gives, by the parallel scan."""
    steps, width = drive.shape[0], start.shape[-1]
    i, o = torch.sigmoid(drive[..., : 2 * width]).chunk(2, dim=-1)
    g, f = torch.tanh(drive[..., 2 * width : 3 * width]), torch.sigmoid(drive[..., 3 * width :])
    f = f.unflatten(-1, (2, 1, -1)).expand(*f.shape[:-1], 2, 2, -1).flatten(-3)  # the same for re and im
    if angle is None:
        z = linear_scan(f, i * g, start)
    else:  # in coordinates that turn with the state nothing turns, and the scan is real
        # in float64, for after thousands of steps an angle of float32 has few digits left
        time = torch.arange(1, steps + 1, device=drive.device, dtype=torch.float64)
        turned = time[:, None, None] * torch.cat([angle, -angle])
        cos, sin = torch.cos(turned).to(drive.dtype), torch.sin(turned).to(drive.dtype)
        z = _turn(linear_scan(f, _turn(i * g, cos, -sin), start), cos, sin)
    if rate is None:
        return z, o, None
    logit = rate.expand(z.shape[:2])
    if surprise is not None:
        before = torch.cat([start.unsqueeze(0), z[:-1]])
        logit = logit + (g - before).abs() @ surprise / math.sqrt(width)
    return z, o, torch.sigmoid(logit)


def _read(
    z: Tensor, opened: Tensor, squash: Tensor | None, direction: Tensor | None, least: float, span: float
) -> Tensor:
    """What `ReadNative` gives."""
    moved = z
    if direction is not None and squash is not None:  # both, or neither
        moved = z + (least + span * squash).unsqueeze(-1) * direction
    return opened * torch.tanh(moved)


def _mixed(steps: int, periods: tuple[int, ...], firsts: tuple[int, ...], weights: Tensor, *given: Tensor) -> Tensor:
    """What `_Mix` gives, with each direction copied out to the steps that hold it."""
    total = None
    for s, (period, first) in enumerate(zip(periods, firsts, strict=True)):
        before, made = given[2 * s : 2 * s + 2]
        rows = torch.cat([before.expand(first, *before.shape), made.repeat_interleave(period, 0)])[:steps]
        total = weights[s] * rows if total is None else total + weights[s] * rows
    assert total is not None  # there is a scale
    return total


class _Mix(torch.autograd.Function):
    """sum_s weights_s E_s over all steps, from what each network gave.

    Network s gives one direction every periods_s steps, from step firsts_s on, and each is held until the next; before
    the first, one that came with the state is. Nothing is copied out to all the steps of its period, and its gradient
    is a sum over them.

    Args:
        steps: T.
        periods, firsts: of each network.
        weights: (S,).
        given: of each network, what was held before, (B, H), and what it gave, (K_s, B, H).
    Returns:
        (T, B, H).
    """

    @staticmethod
    def forward(
        ctx: Any, steps: int, periods: tuple[int, ...], firsts: tuple[int, ...], weights: Tensor, *given: Tensor
    ) -> Tensor:
        ctx.periods, ctx.firsts = periods, firsts
        ctx.save_for_backward(weights, *given)
        total = given[0].new_empty(steps, *given[0].shape)
        for s, (period, first) in enumerate(zip(periods, firsts, strict=True)):
            before, made = given[2 * s : 2 * s + 2]
            for part, rows in _held(total, before, made, period, first):
                if s:
                    part.addcmul_(weights[s], rows)
                else:
                    torch.mul(rows.expand_as(part), weights[s], out=part)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *given = ctx.saved_tensors
        if transforms.again(grad):
            readable = functools.partial(_mixed, len(grad), ctx.periods, ctx.firsts)
            return None, None, None, *transforms.gradients(readable, (weights, *given), (grad,))
        d_weights, d_given = torch.zeros_like(weights), []
        for s, (period, first) in enumerate(zip(ctx.periods, ctx.firsts, strict=True)):
            before, made = given[2 * s : 2 * s + 2]
            d_before, d_made = torch.zeros_like(before), torch.empty_like(made)
            for (part, rows), (_, d_rows) in zip(
                _held(grad, before, made, period, first), _held(grad, d_before, d_made, period, first), strict=True
            ):
                sums = part if part.shape[1] == 1 else part.sum(1, keepdim=True)
                d_weights[s] += (sums * rows).sum()
                torch.mul(sums, weights[s], out=d_rows)
            d_given += [d_before, d_made]
        return None, None, None, d_weights, *d_given


def _held(steps: Tensor, before: Tensor, made: Tensor, period: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of the steps (K, as many as each is held for, B, H), and of what is held there, (K, 1, B, H)."""
    whole = (len(steps) - first) // period
    end = first + whole * period
    if first:
        yield steps[:first].unsqueeze(0), before[None, None]
    if whole:
        yield steps[first:end].unflatten(0, (whole, period)), made[:whole].unsqueeze(1)
    if end < len(steps):
        yield steps[end:].unsqueeze(0), made[whole:].unsqueeze(1)


def _turn(z: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., 4n) times e^{i angle}, the angle of each complex component: cos and sin (..., 2n), of omega and then pi."""
    a, b, c, d = z.chunk(4, dim=-1)
    (p, r), (q, s) = cos.chunk(2, dim=-1), sin.chunk(2, dim=-1)
    return torch.cat([a * p - b * q, a * q + b * p, c * r - d * s, c * s + d * r], dim=-1)
