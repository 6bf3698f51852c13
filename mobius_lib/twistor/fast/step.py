"""`unroll` for a CPU and float32: what stands between the matrix products of a step is one C++ call, `step.cpp`.

Each step's products take weights that were put in order once for all steps (`mobius_lib.products`).
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import address, addresses, declared, ready, rows
from mobius_lib.products import packed, product, weight_gradient
from mobius_lib.twistor.cell import RATES
from mobius_lib.twistor.fast.plan import Plan, network_backward, network_forward, network_products

SPAN = RATES[1] - RATES[0]
ROWS_PER_THREAD = 16
"""Fewer rows are over before a second thread has woken."""


library = declared(
    Path(__file__).with_name("step.cpp"),
    gate_forward="nnippppppffp",
    turn_forward="nnippppfppffppppp",
    turn_backward="nnippppppppppffpppfpp",
    gate_backward="nnipppppppfp",
)


class UnrollNative(torch.autograd.Function):
    """As `unroll.Unroll`, which says what each part is, of tensors made `ready`. Time first: (T, B, ...)."""

    @staticmethod
    def forward(
        ctx: Any, readable: Callable[..., Any], plan: Plan, drive: Tensor, z0: Tensor, h0: Tensor, held0: Tensor,
        recur: Tensor, matrix: Tensor | None, mix: Tensor, surprise: Tensor | None, rate: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        steps, batch, width = drive.shape[0], drive.shape[1], h0.shape[-1]
        lib, threads = library(), _threads(batch)
        networks, evolves, quick = plan.split(weights), bool(plan.layers), plan.quick
        slow = [k for k in range(len(networks)) if k != quick]
        mixes = mix.tolist()
        # the state after step t is at t + 1, so that each step finds the one before it
        z3, hidden = drive.new_empty(steps + 1, batch, width), drive.new_empty(steps + 1, batch, width)
        z3[0], hidden[0] = z0, h0
        gates = torch.empty_like(drive)
        apart = evolves or matrix is not None
        z1 = drive.new_empty(steps, batch, width) if apart else z3[1:]
        z2 = z1 if not evolves else (torch.empty_like(z1) if matrix is not None else z3[1:])
        directions = torch.empty_like(z1) if evolves else None
        squash = drive.new_empty(steps, batch) if evolves else None
        fast = torch.empty_like(z1) if quick is not None else None
        acts: list[list[list[Tensor]]] = [[] for _ in networks]
        held, base = list(held0.unbind(0)), drive.new_zeros(batch, width) if slow else None
        stale = True  # whether base is yet to be made from the held directions
        recur_packed = packed(recur, batch, steps)
        quick_packed = None if quick is None else packed(networks[quick][0][0], batch, steps)
        size = batch * width
        at = {name: rows(x, steps, size) for name, x in {
            "z1": z1, "z2": z2, "directions": directions, "fast": fast,
        }.items()}  # fmt: skip
        at |= {name: rows(x, steps + 1, size) for name, x in {"z3": z3, "hidden": hidden}.items()}
        at |= {name: rows(x, steps, 4 * size) for name, x in {"gates": gates, "drive": drive}.items()}
        at["squash"] = rows(squash, steps, batch)
        surprise_at, matrix_at, base_at = addresses((surprise, width), (matrix, 4 * width), (base, size))
        level, root = (0.0 if rate is None else rate.item()), math.sqrt(width)
        quick_mix = mixes[quick] if quick is not None else 0.0
        h_steps, z1_steps = hidden.unbind(0), z1.unbind(0)
        for t in range(steps):
            logits = product(h_steps[t], recur_packed)
            lib.gate_forward(
                batch, width, threads, address(logits, 4 * size), at["drive"][t], at["gates"][t], at["z3"][t],
                at["z1"][t], surprise_at, level, root, at["squash"][t],
            )  # fmt: skip
            for k in plan.ticks(t):
                if k != quick:
                    acts[k].append(network_forward(networks[k], z1_steps[t]))
                    held[k], stale = acts[k][-1][-1], True
            if slow and stale:
                torch.mul(held[slow[0]], mix[slow[0]], out=base)
                for k in slow[1:]:
                    base.addcmul_(held[k], mix[k])
                stale = False
            logits = None if quick is None else product(z1_steps[t], quick_packed, networks[quick][0][1])
            lib.turn_forward(
                batch, width, threads, at["gates"][t], at["z1"][t], address(logits, size), at["fast"][t], quick_mix,
                base_at, at["squash"][t], RATES[0], SPAN, at["directions"][t], at["z2"][t], matrix_at, at["z3"][t + 1],
                at["hidden"][t + 1],
            )  # fmt: skip
        if quick is not None:
            held[quick] = fast[-1]
        ctx.plan, ctx.acts, ctx.level = plan, acts, level
        ctx.save_for_backward(
            drive, z0, h0, held0, recur, matrix, mix, surprise, rate, *weights,
            z3, hidden, gates, z1, z2, directions, squash, fast,
        )  # fmt: skip
        ctx.readable = readable
        last_held = torch.stack(held) if evolves else held0.clone()
        return hidden[1:].clone(), z3[-1].clone(), last_held

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if transforms.again(*grads):
            return None, None, *transforms.gradients(ctx.readable, ctx.saved_tensors[:-8], grads)
        with torch.autocast("cpu", enabled=False):  # C++ reads float32
            return None, None, *UnrollNative._backward(ctx, *ready(*grads))

    @staticmethod
    def _backward(ctx: Any, d_hidden: Tensor, d_last: Tensor, d_held: Tensor) -> tuple[Tensor | None, ...]:
        *given, z3, hidden, gates, z1, z2, directions, squash, fast = ctx.saved_tensors
        _, _, _, held0, recur, matrix, mix, surprise, _, *weights = given
        plan, acts = ctx.plan, [list(each) for each in ctx.acts]
        steps, batch, width = gates.shape[0], gates.shape[1], hidden.shape[-1]
        lib, threads = library(), _threads(batch)
        networks, evolves, quick = plan.split(tuple(weights)), bool(plan.layers), plan.quick
        slow = [k for k in range(len(networks)) if k != quick]
        d_gates = torch.empty_like(gates)
        d_turned = torch.empty_like(z1) if matrix is not None else None
        d_fast = torch.empty_like(fast) if fast is not None else None
        d_logit = torch.empty_like(squash) if evolves else None
        d_quick_mix = gates.new_zeros(batch) if quick is not None else None
        # every slow network's direction has the same gradient; each takes what came since its own last tick
        pending = torch.zeros_like(z1[0]) if slow else None
        taken = {k: torch.zeros_like(z1[0]) for k in slow}
        d_mix = torch.zeros_like(mix)
        d_net: list[list[list[Tensor]]] = [[] for _ in networks]
        held_part = list(d_held.unbind(0))
        d_z, d_h = d_last.clone(), torch.zeros_like(z1[0])
        recur_packed = packed(recur.t(), batch, steps)
        quick_packed = None if quick is None else packed(networks[quick][0][0].t(), batch, steps)
        size = batch * width
        at = {name: rows(x, steps, size) for name, x in {
            "z2": z2, "directions": directions, "fast": fast, "d_hidden": d_hidden, "d_turned": d_turned,
            "d_fast": d_fast,
        }.items()}  # fmt: skip
        at |= {name: rows(x, steps, 4 * size) for name, x in {"gates": gates, "d_gates": d_gates}.items()}
        at |= {name: rows(x, steps, batch) for name, x in {"squash": squash, "d_logit": d_logit}.items()}
        at["z3"] = rows(z3, steps + 1, size)
        surprise_at, matrix_at, pending_at, quick_mix_at, d_z_at = addresses(
            (surprise, width), (matrix, 4 * width), (pending, size), (d_quick_mix, batch), (d_z, size)
        )
        root, quick_mix = math.sqrt(width), mix[quick].item() if quick is not None else 0.0
        d_gates_steps, d_fast_steps = d_gates.unbind(0), () if d_fast is None else d_fast.unbind(0)
        for t in range(steps - 1, -1, -1):
            if quick is not None and t == steps - 1:  # the last output of the fast network was also put out as held
                fast_from_held = held_part[quick] * (1 - fast[t].square())
            lib.turn_backward(
                batch, width, threads, at["d_hidden"][t], address(d_h, size), d_z_at, at["gates"][t], at["z2"][t],
                at["z3"][t + 1], matrix_at, at["d_turned"][t], at["directions"][t], at["squash"][t], RATES[0], SPAN,
                at["d_logit"][t], pending_at, at["fast"][t], quick_mix, at["d_fast"][t], quick_mix_at,
            )  # fmt: skip
            if quick is not None:
                if t == steps - 1:
                    d_fast[t] += fast_from_held
                d_z += product(d_fast_steps[t], quick_packed)
            for k in plan.ticks(t):
                if k != quick:
                    passed = acts[k].pop()
                    since = pending - taken[k]
                    taken[k] = pending.clone()
                    d_mix[k] += (since * passed[-1]).sum()
                    d_input, kept = network_backward(networks[k], passed, torch.addcmul(held_part[k], since, mix[k]))
                    d_net[k].append(kept)
                    d_z += d_input
                    held_part[k] = torch.zeros_like(d_z)
            lib.gate_backward(
                batch, width, threads, at["gates"][t], at["z3"][t], at["z3"][t + 1], address(d_h, size), d_z_at,
                at["d_logit"][t], surprise_at, root, at["d_gates"][t],
            )  # fmt: skip
            d_h = product(d_gates_steps[t], recur_packed)
        # --- gradients of weights, each one product over all steps
        d_recur = weight_gradient(d_gates.view(-1, 4 * width), hidden[:-1].view(-1, width))
        d_matrix = d_surprise = d_rate = None
        if matrix is not None:
            d_matrix = _pairs(d_turned, z2)
        if evolves:
            d_rate = d_logit.sum()
            if surprise is not None:
                gap = (gates[..., 3 * width :] - z3[:-1]).abs_()
                d_surprise = torch.mv(gap.view(-1, width).t(), d_logit.view(-1)) / root
            for k in slow:  # what was held when the steps began
                since = pending - taken[k]
                d_mix[k] += (since * held0[k]).sum()
                held_part[k] = torch.addcmul(held_part[k], since, mix[k])
        d_weights: list[Tensor] = []
        for k, network in enumerate(networks):
            if k == quick:
                d_mix[k] += d_quick_mix.sum()
                held_part[k] = torch.zeros_like(d_z)
                every = d_fast.view(-1, width)
                d_weights += [weight_gradient(every, z1.reshape(-1, width)), every.sum(0)]
            else:
                d_weights += network_products(network, d_net[k], ctx.acts[k])
        d_held0 = torch.stack(held_part) if evolves else torch.zeros_like(held0)
        return (d_gates, d_z, d_h, d_held0, d_recur, d_matrix, d_mix, d_surprise, d_rate, *d_weights)


def _pairs(left: Tensor, right: Tensor) -> Tensor:
    """Sum over steps and rows of left_ik right_jk: (T, B, 4n) twice to (4, 4, n)."""
    left, right = left.reshape(-1, 4, left.shape[-1] // 4), right.reshape(-1, 4, right.shape[-1] // 4)
    return torch.stack([(left * right[:, j : j + 1]).sum(0) for j in range(4)], dim=1)


def _threads(rows: int) -> int:
    return max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
