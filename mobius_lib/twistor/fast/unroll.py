"""Many steps of a `TwistorTitansCell`, forward and backward by hand: the same numbers as the loop over `cell.step`.

What makes it fast: the input's part of all gates is one product before the loop; a step is one product for the gates
and one for the fast network, with little between them; the backward loop only carries the gradient of the state, from
factors that were made for all steps at once; and every gradient of a weight is one product over all steps at the end.

Nothing here is approximated: gradients flow through all steps of a call.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib import transforms
from mobius_lib.native import concrete, ready
from mobius_lib.twistor.cell import RATES, CellState, TwistorTitansCell
from mobius_lib.twistor.fast.choice import known_backend, works
from mobius_lib.twistor.fast.plan import Plan, network_backward, network_forward, network_products
from mobius_lib.twistor.fast.step import UnrollNative, library

EPS = 1e-12
"""As in `math.turn`."""


def unroll(cell: TwistorTitansCell, drive: Tensor, state: CellState, backend: str = "auto") -> tuple[Tensor, CellState]:
    """All steps of a cell.

    Args:
        cell: whose parameters are used.
        drive: (T, B, 4H), the input's part of the gates with its bias; T >= 1.
        state: before the first step.
        backend: one of `choice.BACKENDS`. Under torch.func, forward mode and compilers all of them are the loop, and
            so is what a second derivative is taken of.
    Returns:
        the outputs, (T, B, H), and the state after the last step.
    Raises:
        ValueError: when there is no such backend.
    """
    known_backend(backend)
    matrix = None if cell.mobius is None else cell.mobius.matrix()
    if backend == "loop" or not concrete(drive, *cell.parameters()):
        return _loop(cell, drive, state, matrix)
    mix = torch.softmax(cell.scale_weights, dim=0)
    layers = [[m for m in network if isinstance(m, nn.Linear)] for network in cell.evolution]
    plan = Plan(cell.periods, tuple(len(each) for each in layers), state.clock)
    weights = [part for network in layers for layer in network for part in (layer.weight, layer.bias)]
    given = (drive, state.twistor, state.hidden, state.held, cell.recur.weight, matrix, mix, cell.surprise, cell.rate)
    with transforms.no_autocast(drive):  # a state of many steps wants all its digits
        wide = ready(*given, *weights, dtype=cell.recur.weight.dtype)
        function = UnrollNative if backend != "eager" and works(library, *wide) else Unroll
        hidden, last, held = function.apply(functools.partial(_readable, cell, state.clock), plan, *wide)
    # a copy: a view would keep the outputs of all steps alive
    return hidden, CellState(last, hidden[-1].clone(), held, state.clock + drive.shape[0])


def _loop(cell: TwistorTitansCell, drive: Tensor, state: CellState, matrix: Tensor | None) -> tuple[Tensor, CellState]:
    """`cell.step` again and again."""
    made = []
    for step in drive.unbind(0):
        hidden, state = cell.step(step, state, matrix)
        made.append(hidden)
    return torch.stack(made), state


def _readable(
    cell: TwistorTitansCell, clock: int, drive: Tensor, z0: Tensor, h0: Tensor, held0: Tensor, recur: Tensor,
    matrix: Tensor | None, mix: Tensor, surprise: Tensor | None, rate: Tensor | None, *weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The loop as a function of what `Unroll` is given."""
    names = [f"evolution.{name}" for name, _ in cell.evolution.named_parameters()]
    # the cell takes its softmax, which of these logarithms is the mix; what that does to its gradient, a number that is
    # the same for all, is undone by the softmax outside
    given = {"recur.weight": recur, "scale_weights": mix.log(), "surprise": surprise, "rate": rate}
    given |= dict(zip(names, weights, strict=True))
    inside = {f"cell.{name}": part for name, part in given.items() if part is not None}
    hidden, after = torch.func.functional_call(_Loop(cell), inside, (drive, CellState(z0, h0, held0, clock), matrix))
    return hidden, after.twistor, after.held


class _Loop(nn.Module):
    """`_loop` as a module, whose parameters can be replaced."""

    def __init__(self, cell: TwistorTitansCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, *given: Any) -> tuple[Tensor, CellState]:
        return _loop(self.cell, *given)


class Unroll(torch.autograd.Function):
    """Time first: (T, B, ...). readable: does the same from the same tensors."""

    @staticmethod
    def forward(
        ctx: Any, readable: Callable[..., Any], plan: Plan, drive: Tensor, z0: Tensor, h0: Tensor, held0: Tensor,
        recur: Tensor, matrix: Tensor | None, mix: Tensor, surprise: Tensor | None, rate: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        steps, batch, width = drive.shape[0], drive.shape[1], h0.shape[-1]
        networks, evolves = plan.split(weights), bool(plan.layers)
        gates = torch.empty_like(drive, memory_format=torch.contiguous_format)
        z1, z3, hidden = (drive.new_empty(steps, batch, width) for _ in range(3))  # before and after evolution and turn
        z2 = torch.empty_like(z1) if evolves and matrix is not None else (z3 if evolves else z1)
        directions = torch.empty_like(z1) if evolves else None
        squash = drive.new_empty(steps, batch, 1) if evolves else None
        acts: list[list[list[Tensor]]] = [[] for _ in networks]  # of each network, at each tick: inputs, output
        held, ticking = list(held0.unbind(0)), [plan.ticks(t) for t in range(steps)]
        matrix_rows = None if matrix is None else matrix.unsqueeze(0)
        recur_t = recur.t()
        z, h = z0, h0
        for t in range(steps):
            torch.addmm(drive[t], h, recur_t, out=gates[t])
            gates[t, :, : 3 * width].sigmoid_()
            gates[t, :, 3 * width :].tanh_()
            i, f, o, g = gates[t].chunk(4, dim=-1)
            torch.mul(f, z, out=z1[t]).addcmul_(i, g)
            if matrix is None and not evolves:
                z3[t] = z1[t]
            if evolves:
                for k in ticking[t]:
                    passed = network_forward(networks[k], z1[t])
                    acts[k].append(passed)
                    held[k] = passed[-1]
                torch.mul(held[0], mix[0], out=directions[t])
                for k in range(1, len(held)):
                    directions[t].addcmul_(held[k], mix[k])
                if surprise is None:
                    squash[t] = torch.sigmoid(rate)
                else:
                    logit = torch.mv((g - z).abs_(), surprise).div_(math.sqrt(width)).add_(rate)
                    torch.sigmoid(logit, out=squash[t, :, 0])
                r = squash[t] * (RATES[1] - RATES[0]) + RATES[0]
                torch.addcmul(z1[t], directions[t], r, out=z2[t])
            if matrix is not None:
                parts = z2[t].view(batch, 4, width // 4)
                turned = (matrix_rows * parts.unsqueeze(1)).sum(2)
                ratio = (parts.square().sum(1, keepdim=True) + EPS).div_(turned.square().sum(1, keepdim=True) + EPS)
                torch.mul(turned, ratio.sqrt_(), out=z3[t].view(batch, 4, width // 4))
            z = z3[t]
            h = torch.mul(torch.tanh(z), o, out=hidden[t])
        last_held = torch.stack(held) if evolves else held0.clone()
        ctx.plan, ctx.acts, ctx.ticking = plan, acts, ticking
        ctx.save_for_backward(
            drive, z0, h0, held0, recur, matrix, mix, surprise, rate, *weights,
            gates, z2, z3, hidden, directions, squash,
        )  # fmt: skip
        ctx.readable = readable
        return hidden, z3[-1].clone(), last_held

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, gates, z2, z3, hidden, directions, squash = ctx.saved_tensors
        if transforms.again(*grads):
            return None, None, *transforms.gradients(ctx.readable, given, grads)
        _, z0, h0, held0, recur, matrix, mix, surprise, _, *weights = given
        d_hidden, d_last, d_held = grads
        plan, acts = ctx.plan, [list(each) for each in ctx.acts]
        steps, batch, width = hidden.shape
        networks, evolves = plan.split(tuple(weights)), bool(plan.layers)
        # --- factors of all steps at once
        i, f, o, g = gates.chunk(4, dim=-1)
        before = torch.cat([z0.unsqueeze(0), z3[:-1]])
        squashed = torch.tanh(z3)
        out_to_state = o * (1 - squashed.square())
        factor = torch.empty_like(gates)  # from the gradient of z1 (and of h, for o) to that of the gates' logits
        for part, value in enumerate((g * i * (1 - i), before * f * (1 - f), squashed * o * (1 - o), i * (1 - g * g))):
            factor[..., part * width : (part + 1) * width] = value
        if matrix is not None:
            parts = z2.view(steps, batch, 4, width // 4)
            turned = (matrix * parts.unsqueeze(2)).sum(3)
            square, turned_square = (
                parts.square().sum(2, keepdim=True) + EPS,
                turned.square().sum(2, keepdim=True) + EPS,
            )
            stretch = (square / turned_square).sqrt()
            # of y = turned * stretch: along turned the length is taken out, and along z2 it is put in
            out_of, into = turned / turned_square, parts * (stretch / square)
            d_turned_all = torch.empty_like(turned)
            back = matrix.permute(1, 0, 2).unsqueeze(0)
        if evolves:
            rates = squash * (RATES[1] - RATES[0]) + RATES[0]
            logit_slope = (RATES[1] - RATES[0]) * squash * (1 - squash)
            d_logit = torch.empty_like(squash)
            if surprise is not None:
                gap = g - before
                sign = gap.sign() * (surprise / math.sqrt(width))
        d_gates = torch.empty_like(gates)
        pending = [torch.zeros_like(z0) for _ in networks]  # gradient of the direction, since each network's last tick
        d_mix = torch.zeros_like(mix)
        d_net: list[list[list[Tensor]]] = [[] for _ in networks]
        d_z, d_h, held_part = d_last, torch.zeros_like(h0), [each for each in d_held.unbind(0)]
        for t in range(steps - 1, -1, -1):
            d_h = d_h + d_hidden[t]
            d_z3 = torch.addcmul(d_z, d_h, out_to_state[t])
            d_z2 = d_z3
            if matrix is not None:
                grad = d_z3.view(batch, 4, width // 4)
                along = (grad * turned[t]).sum(1, keepdim=True)
                d_turned = torch.mul(torch.addcmul(grad, along, out_of[t], value=-1), stretch[t], out=d_turned_all[t])
                d_z2 = (back * d_turned.unsqueeze(1)).sum(2).addcmul_(along, into[t]).view(batch, width)
            d_z1, d_g = d_z2, None
            if evolves:
                d_direction = d_z2 * rates[t]
                torch.mul((d_z2 * directions[t]).sum(-1, keepdim=True), logit_slope[t], out=d_logit[t])
                for k in range(len(networks)):
                    pending[k] += d_direction
                for k in ctx.ticking[t]:
                    passed = acts[k].pop()
                    d_mix[k] += (pending[k] * passed[-1]).sum()
                    d_out = torch.addcmul(held_part[k], pending[k], mix[k])
                    d_input, kept = network_backward(networks[k], passed, d_out)
                    d_net[k].append(kept)
                    d_z1 = d_z1 + d_input
                    pending[k], held_part[k] = torch.zeros_like(z0), torch.zeros_like(z0)
                if surprise is not None:
                    d_g = d_logit[t] * sign[t]
            step_factor, d_step = factor[t], d_gates[t]
            torch.mul(d_z1, step_factor[:, :width], out=d_step[:, :width])
            torch.mul(d_z1, step_factor[:, width : 2 * width], out=d_step[:, width : 2 * width])
            torch.mul(d_h, step_factor[:, 2 * width : 3 * width], out=d_step[:, 2 * width : 3 * width])
            torch.mul(d_z1, step_factor[:, 3 * width :], out=d_step[:, 3 * width :])
            d_z = d_z1 * f[t]
            if d_g is not None:
                d_step[:, 3 * width :].addcmul_(d_g, 1 - g[t] * g[t])
                d_z -= d_g
            d_h = d_step @ recur
        # --- gradients of weights, each one product over all steps
        flat = d_gates.view(-1, 4 * width)
        d_recur = flat.t() @ torch.cat([h0.unsqueeze(0), hidden[:-1]]).view(-1, width)
        d_matrix = d_surprise = d_rate = None
        if matrix is not None:
            d_matrix = torch.einsum("tbik,tbjk->ijk", d_turned_all, z2.view(steps, batch, 4, width // 4))
        if evolves:
            d_rate = d_logit.sum()
            if surprise is not None:
                d_surprise = (d_logit * gap.abs()).sum((0, 1)) / math.sqrt(width)
            for k in range(len(networks)):  # what was held when the steps began
                d_mix[k] += (pending[k] * held0[k]).sum()
                held_part[k] = torch.addcmul(held_part[k], pending[k], mix[k])
        parts = (network_products(*each) for each in zip(networks, d_net, ctx.acts, strict=True))
        d_weights = [part for each in parts for part in each]
        d_held0 = torch.stack(held_part) if evolves else torch.zeros_like(held0)
        return (None, None, d_gates, d_z, d_h, d_held0, d_recur, d_matrix, d_mix, d_surprise, d_rate, *d_weights)
