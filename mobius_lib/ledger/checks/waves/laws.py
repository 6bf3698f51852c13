"""Chapter 1: what the printed class does by construction. Random draws are repeatable: a check is called with its own
random state."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.waves import PRESETS, MobiusConvBlock, MobiusLens, MobiusNet
from mobius_lib.waves import math as waves

CLIP = "mobius_tiny_s_clip"


@register
def depth_parameter(claim: Claim, results: Results) -> Measurement:
    """t runs evenly from the first to the last reported value, and the initial angles are t pi and -t pi."""
    first, last = _rows(claim)
    worst, lenses = 0.0, 0
    for preset in PRESETS:
        found = _lenses(preset)
        for index, lens in enumerate(found):
            t = first + (last - first) * index / (len(found) - 1)
            errors = (lens.t - t, lens.twist_in_angle.item() - t * math.pi, lens.twist_out_angle.item() + t * math.pi)
            worst, lenses = max(worst, *map(abs, errors)), lenses + 1
    return Measurement(
        [found[0].t, found[-1].t],
        "t at the ends",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"Over the {lenses} lenses of {len(PRESETS)} presets, t and both initial angles differ from "
        f"an even path from {first:g} to {last:g}, tπ and -tπ by at most {worst:.1e}.",
        ("mobius_lib.waves.MobiusLens",),
    )


@register
def scale_formula(claim: Claim, results: Results) -> Measurement:
    """The formula gives one scale, first + t (last - first); how many has a lens, and does it give one of them?"""
    worst, counts = 0.0, set()
    for preset, sizes in PRESETS.items():
        first, last = sizes.scale_range
        for lens in _lenses(preset):
            worst = max(worst, abs(lens.scales[0].item() - (first + lens.t * (last - first))))
            counts.add(len(lens.scales))
    holds = worst <= (claim.tolerance or 0.0)
    return Measurement(
        max(counts),
        "scales per lens",
        REPRODUCED if holds and counts == {claim.reported} else PARTLY if holds else REFUTED,
        f"The formula gives the first scale of every lens (to {worst:.1e}), but a lens has {_listed(counts)}: "
        "the second lies (last - first)/lenses above the first, and its wave multiplies the first one's.",
        ("mobius_lib.waves.MobiusLens",),
    )


@register
def nested_sampling(claim: Claim, results: Results, *, lenses: list[int]) -> Measurement:
    """What a coarse and finer networks have in common where their t agree."""
    grids = [[MobiusLens(3, i, n) for i in range(n)] for n in lenses]
    gaps = dict.fromkeys(("t", "angles", "first scale", "second scale"), 0.0)
    for fine in grids[1:]:
        step = (len(fine) - 1) // (len(grids[0]) - 1)
        for coarse, other in zip(grids[0], fine[::step], strict=True):
            found = {
                "t": coarse.t - other.t,
                "angles": (coarse.twist_in_angle - other.twist_in_angle).item(),
                "first scale": (coarse.scales[0] - other.scales[0]).item(),
                "second scale": (coarse.scales[1] - other.scales[1]).item(),
            }
            gaps = {name: max(worst, abs(found[name])) for name, worst in gaps.items()}
    kept = [name for name, gap in gaps.items() if gap <= (claim.tolerance or 0.0)]
    lost = [f"{name} (by up to {gap:.2f})" for name, gap in gaps.items() if name not in kept]
    return Measurement(
        kept,
        "",
        REPRODUCED if set(_rows(claim)) <= set(kept) else PARTLY if "t" in kept else REFUTED,
        f"Networks of {_listed(lenses)} lenses compared where their t agree: the same {', '.join(kept)}"
        + (f"; other {', '.join(lost)}, as the step to it is divided by the number of lenses." if lost else "."),
        ("mobius_lib.waves.MobiusLens",),
    )


@register
def activations(claim: Claim, results: Results, *, preset: str) -> Measurement:
    """Calls of ordinary activation functions in one forward pass, in the blocks and outside them."""
    model, sizes = _meta(preset, 200).eval(), PRESETS[preset]
    everywhere = _activation_calls(model, torch.empty(1, sizes.in_chans, 32, 32, device="meta"))
    blocks = 0
    for block in model.blocks:
        width = block.thirds_mask.shape[1]
        blocks += _activation_calls(block, torch.empty(1, width, 4, 4, device="meta"))
    reported = reported_number(claim)
    verdict: Word = REPRODUCED if everywhere == reported else PARTLY if blocks == reported else REFUTED
    return Measurement(
        everywhere,
        "activation calls",
        verdict,
        f"One forward pass of {preset} calls ReLU, GELU, SiLU or the like {blocks} times in its {len(model.blocks)} "
        f"blocks and {everywhere - blocks} time(s) outside them (the integrator, as the seed itself says).",
        ("mobius_lib.waves.MobiusNet",),
    )


@register
def xor_table(claim: Claim, results: Results) -> Measurement:
    """|L + R - 2LR| at the four corners."""
    return _truth_table(claim, waves.soft_xor)


@register
def and_table(claim: Claim, results: Results) -> Measurement:
    """L R at the four corners."""
    return _truth_table(claim, waves.soft_and)


@register
def ghost_path_initial(claim: Claim, results: Results) -> Measurement:
    """The middle path's drift and its share of the mix before training."""
    lens = MobiusLens(3, 0, 1)
    left, middle, right = torch.softmax(lens.accum_weights.detach().double(), dim=0).tolist()
    drift = lens.drift_m.abs().max().item()
    holds = drift == 0 and 0 < middle < min(left, right)
    return Measurement(
        round(middle, 3),
        "share of the mix",
        REPRODUCED if holds else REFUTED,
        f"softmax of the initial path weights gives L {left:.3f}, M {middle:.3f}, R {right:.3f}, and the drift of M is "
        f"{drift:g}: {'present, and less than each edge' if holds else 'not both present and diminished'}.",
        ("mobius_lib.waves.MobiusLens",),
    )


@register
def card_formula(claim: Claim, results: Results) -> Measurement:
    """The wave formula as the card writes it, and completed, against the waves of the printed class."""
    lens, x = MobiusLens(16, 2, 6).double(), _normal(256, 16)
    t = waves.drift_coordinate(x)
    with torch.no_grad():
        found = lens.paths(x)
        printed = [_sine_bump(x + d * t, lens.alpha, lens.omega, lens.scales[0]) for d in (1, 0, -1)]
        u, sharp = torch.tanh(x), lens.alpha.abs() + 0.1
        full = [math.prod(_sine_bump(u + d * t, sharp, lens.omega, s) for s in lens.scales) for d in (1, 0, -1)]
        off, left = (max((a - b).abs().max().item() for a, b in zip(found, f, strict=True)) for f in (printed, full))
    tolerance = claim.tolerance or 0.0
    return Measurement(
        round(off, 3),
        "largest difference",
        REPRODUCED if off <= tolerance else PARTLY if left <= tolerance else REFUTED,
        f"The formula as written is off by up to {off:.2f} on waves that lie in (0, 1]; with tanh x for x, |α| + 0.1 "
        "for α and the product over two scales it is "
        f"{'equal' if left <= tolerance else 'still off'} (to {tolerance:.0e}).",
        ("mobius_lib.waves.MobiusLens.paths",),
    )


@register
def twist_is_rotation(claim: Claim, results: Results) -> Measurement:
    """How much the initial twists between the ends stretch a vector: 1 and 1 for a rotation."""
    lenses, stretches = [block.lens for block in MobiusNet(**dict(PRESETS[CLIP])).blocks], []
    goal = torch.tensor(_rows(claim), dtype=torch.float64)
    for lens in lenses[1:-1]:
        angle, matrix = lens.twist_in_angle.detach().double(), lens.twist_in_proj.weight.detach().double()
        stretches.append(torch.linalg.svdvals(torch.cos(angle) * torch.eye(len(matrix)) + torch.sin(angle) * matrix))
    least, most = (float(f(torch.cat(stretches))) for f in (torch.min, torch.max))
    ends = [torch.stack([s.min(), s.max()]) for s in stretches]
    turning = sum(bool((end - goal).abs().max() <= (claim.tolerance or 0.0)) for end in ends)
    return Measurement(
        [round(least, 3), round(most, 3)],
        "least and largest stretch",
        REPRODUCED if turning == len(stretches) else PARTLY if turning else REFUTED,
        f"Singular values of cos(a) I + sin(a) W at initialisation lie in [{least:.3f}, {most:.3f}] over the "
        f"{len(stretches)} lenses between the ends, so {turning} of them keep lengths; at t = 0 and t = 1 the twist is "
        "I and -I. W is an unconstrained matrix.",
        ("mobius_lib.waves.math.twist",),
    )


@register
def mask_rotation(claim: Claim, results: Results) -> Measurement:
    """The turned-down slice at layers 0 to 3, for every width from 3 to 300."""
    wrong = 0
    for channels in range(3, 301):
        cuts = [0, channels // 3, 2 * (channels // 3), channels]
        for layer in range(4):
            lowered = (waves.thirds_mask(channels, layer) < 1).nonzero().flatten().tolist()
            turn = _rows(claim)[layer]
            wrong += lowered != list(range(cuts[turn], cuts[turn + 1]))
    turns = [int((waves.thirds_mask(300, layer) < 1).nonzero()[0]) // 100 for layer in range(4)]
    return Measurement(
        turns,
        "(third masked at layers 0 to 3)",
        REPRODUCED if wrong == 0 else REFUTED,
        f"Of 4 layers × 298 widths, {wrong} masks lower other channels than the listed third (the last third takes the "
        "remainder when the width is not divisible by 3).",
        ("mobius_lib.waves.math.thirds_mask",),
    )


@register
def mask_suppression(claim: Claim, results: Results) -> Measurement:
    """The factor on the third whose turn it is."""
    factor = float(MobiusConvBlock(6, 0, 1).thirds_mask.min())
    reported = reported_number(claim)
    return Measurement(
        factor,
        "factor",
        REPRODUCED if factor == reported else PARTLY if factor < 1 else REFUTED,
        f"The third whose turn it is is multiplied by {factor:g}, where suppression would be {reported:g}: "
        + ("nothing is silenced." if factor else "it is silenced."),
        ("mobius_lib.waves.MobiusConvBlock",),
    )


@register
def mask_coverage(claim: Claim, results: Results) -> Measurement:
    """In how many stages of the presets every channel has its turn."""
    covered, stages = 0, 0
    designs = {(sizes.channels, sizes.depths) for sizes in PRESETS.values()}
    for channels, depths in designs:
        layer = 0
        for width, depth in zip(channels, depths, strict=True):
            masks = torch.stack([waves.thirds_mask(width, layer + i) for i in range(depth)])
            covered, stages, layer = covered + bool((masks.min(0).values < 1).all()), stages + 1, layer + depth
    return Measurement(
        round(covered / stages, 2),
        "share of the stages",
        REPRODUCED if covered == stages * reported_number(claim) else PARTLY if covered else REFUTED,
        "Three successive layers of one width lower each channel once, but a stage of two blocks ends before that: in "
        f"{covered} of the {stages} stages of the {len(designs)} published designs every channel has its turn.",
        ("mobius_lib.waves.math.thirds_mask", "mobius_lib.waves.PRESETS"),
    )


@register
def norm_amplification(claim: Claim, results: Results, *, channels: int, at_least: float) -> Measurement:
    """Spread of the gate for a pattern of the reported spread, with the layer norm and without."""
    pattern = 0.5 + reported_number(claim) * _normal(256, channels)
    plain, normed = torch.sigmoid(pattern).std(-1).mean().item(), waves.gate(pattern).std(-1).mean().item()
    gain = normed / plain
    return Measurement(
        round(gain, 1),
        "times the spread",
        REPRODUCED if gain >= at_least else REFUTED,
        f"A pattern with σ = {reported_number(claim):g} gives gates with σ = {normed:.3f} through the layer norm and "
        f"{plain:.4f} without it: {gain:.0f} times.",
        ("mobius_lib.waves.math.gate",),
    )


@register
def sharp_waves_make_winners(claim: Claim, results: Results, *, at_most: float) -> Measurement:
    """Share of channels that carry the gate at the table's flattest and sharpest row, layer norm as initialised."""
    rows = _rows(claim)
    flat, sharp = min(rows, key=lambda row: row["alpha"]), max(rows, key=lambda row: row["alpha"])
    (pattern_flat, gate_flat), (pattern_sharp, gate_sharp) = (_participations(row, rows) for row in (flat, sharp))
    verdict: Word = REPRODUCED if gate_sharp <= at_most else PARTLY if gate_sharp < gate_flat / 2 else REFUTED
    return Measurement(
        round(gate_sharp, 2),
        "share of the channels",
        verdict,
        f"Going from α = {flat['alpha']} to {sharp['alpha']} the pattern thins from {pattern_flat:.2f} to "
        f"{pattern_sharp:.2f} of the channels, but the gate goes from {gate_flat:.2f} to {gate_sharp:.2f}: the norm "
        "centres it at 1/2 again, so only a learned norm weight and bias could make winners.",
        ("mobius_lib.waves.MobiusLens.gate",),
    )


class _CountActivations(TorchDispatchMode):
    """Counts calls of activation functions, as modules or as functions."""

    NAMES = ("relu", "relu_", "gelu", "silu", "elu", "leaky_relu", "hardswish", "mish", "softplus", "prelu", "hardtanh")

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func._schema.name.removeprefix("aten::") in self.NAMES
        return func(*args, **(kwargs or {}))


def _activation_calls(module: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), _CountActivations() as counter:
        module(x)
    return counter.calls


def _meta(preset: str, classes: int) -> MobiusNet:
    """A preset without memory: enough to count and to see shapes."""
    with torch.device("meta"):
        return MobiusNet(num_classes=classes, **dict(PRESETS[preset]))


def _lenses(preset: str) -> list[MobiusLens]:
    """The lenses of a preset, with 3 channels: only their scalars matter here."""
    sizes = PRESETS[preset]
    total = sum(sizes.depths)
    return [MobiusLens(3, i, total, sizes.scale_range) for i in range(total)]


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _sine_bump(position: Tensor, sharp: Tensor, omega: Tensor, scale: Tensor) -> Tensor:
    return torch.exp(-sharp * torch.sin(omega * scale * position).square())


def _participations(row: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[float, float]:
    """How many channels carry pattern and gate of a lens with a row's values, for normal inputs."""
    lens = MobiusNet(**dict(PRESETS[CLIP])).blocks[rows.index(row)].lens.double()
    with torch.no_grad():
        lens.omega.fill_(row["omega"])
        lens.alpha.fill_(row["alpha"])
        lens.xor_weight.fill_(math.log(row["xor"] / (1 - row["xor"])))
        x = _normal(256, lens.gate_norm.normalized_shape[0])
        pattern = waves.interference(*lens.paths(x), lens.accum_weights, lens.xor_weight)
        return waves.participation(pattern).mean().item(), waves.participation(lens.gate(x)).mean().item()


def _truth_table(claim: Claim, operation: Any) -> Measurement:
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    table = [int(v) if v in (0, 1) else v for v in operation(*corners.T).tolist()]
    left, right = (column.clone().requires_grad_() for column in torch.rand(32, 2, dtype=torch.float64).T)
    smooth = torch.autograd.gradcheck(operation, (left, right), raise_exception=False)
    flat = _corners_without_slope(corners, operation)
    return Measurement(
        table,
        "at 00, 01, 10, 11",
        REPRODUCED if table == claim.reported and smooth else PARTLY if table == claim.reported else REFUTED,
        f"At the corners (0,0), (0,1), (1,0), (1,1) it gives {', '.join(map(str, table))}; autograd and finite "
        f"differences {'agree' if smooth else 'differ'} at 32 random points inside the square"
        + (f", but at {' and '.join(flat)} autograd's slope is not the one towards the inside." if flat else "."),
        (f"mobius_lib.waves.math.{operation.__name__}",),
    )


def _corners_without_slope(corners: Tensor, operation: Any) -> list[str]:
    """Corners at which autograd's slope in L differs from the slope towards the inside of the square."""
    left, right = corners[:, 0].clone().requires_grad_(), corners[:, 1]
    (slope,) = torch.autograd.grad(operation(left, right).sum(), left)
    step = 1e-6 * (1 - 2 * corners[:, 0])  # inwards
    inside = (operation(corners[:, 0] + step, right) - operation(corners[:, 0], right)) / step
    return [f"({x:.0f},{y:.0f})" for x, y in corners[(slope - inside).abs() > 1e-3].tolist()]


def _rows(claim: Claim) -> list[Any]:
    if isinstance(claim.reported, list):
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a list.")


def _listed(values: Any) -> str:
    return ", ".join(map(str, sorted(values)))
