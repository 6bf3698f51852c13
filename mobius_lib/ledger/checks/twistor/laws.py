"""Chapter 5: what seed 004 says of twistors, Möbius maps and memory, against the mathematics and its public code.

Where the public code differs from the seed's words, the formula of the public code is written out here, in a few lines
of our own. Random draws are repeatable: a check is called with its own random state.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.twistor import laws
from mobius_lib.twistor import math as twistor

MODULE = "mobius_lib.twistor.math"


@register
def layer_is_mobius(claim: Claim, results: Results, *, strengths: list[float]) -> Measurement:
    """Whether the public layer, z + c Jz, moves the point omega / pi by a map of that point alone.

    Both components times one phase leave the point where it is; a map of the point must then leave its image too.
    """
    pairs = torch.randn(500, 4, dtype=torch.float64)
    phase = torch.polar(torch.ones(500, 1, dtype=torch.float64), torch.rand(500, 1, dtype=torch.float64) * 2 * math.pi)
    before = laws.images_apart(lambda z: z, pairs, phase)
    moved = [laws.images_apart(partial(twistor.couple, strength=c), pairs, phase) for c in strengths]
    maps = twistor.special_linear(torch.randn(500, 3, dtype=torch.complex128) / 2)

    def by_maps(z: Tensor) -> Tensor:
        return twistor.from_complex(*twistor.move(maps, torch.cat(twistor.to_complex(z), dim=-1)).split(1, dim=-1))

    true = laws.images_apart(by_maps, pairs, phase)
    worst = max(moved)
    return Measurement(
        round(worst, 3),
        "largest distance of two images of one point",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"The public layer adds c J z, J(ω, π) = (conj π, -conj ω). On the unit sphere of ω/π, points {before:.0e} "
        f"apart get images up to {worst:.2f} apart (c = {', '.join(f'{c:.3f}' for c in strengths)}), so it is no map "
        f"of the point, and none (az + b)/(cz + d); such maps keep them within {true:.0e}.",
        (f"{MODULE}.couple", f"{MODULE}.move"),
    )


@register
def mobius_keeps(claim: Claim, results: Results, *, draws: int) -> Measurement:
    """Circles, angles, and the determinant, for maps (az + b)/(cz + d) drawn at random."""
    maps = twistor.special_linear(torch.randn(draws, 3, dtype=torch.complex128) / 2)
    a, b, c, d = maps.flatten(-2).unbind(-1)
    determinant = (a * d - b * c - 1).abs().max().item()
    centre = torch.randn(draws, 1, dtype=torch.complex128)
    angles = torch.rand(draws, 4, dtype=torch.float64).cumsum(-1) + 0.1
    circle = centre + torch.polar(torch.rand(draws, 1, dtype=torch.float64) + 0.5, angles)
    points = twistor.homogeneous(circle)
    images = twistor.move(maps.unsqueeze(1), points)
    ratio = twistor.cross_ratio(*images.unbind(1))
    circles = (ratio.imag.abs() / ratio.abs()).max().item()
    # the angle between two directions at a point, before and after: by central differences
    z, h = centre.squeeze(1), 1e-6
    one, two = torch.polar(torch.ones(2, draws, dtype=torch.float64), torch.rand(2, draws, dtype=torch.float64) * 6)
    first, second = ((twistor.mobius(maps, z + h * u) - twistor.mobius(maps, z - h * u)) for u in (one, two))
    turned = ((second / first) / (two / one)).angle().abs().max().item()
    slack = claim.tolerance or 0.0
    good = sum(value <= slack for value in (determinant, circles, turned))
    return Measurement(
        float(f"{max(circles, turned):.1e}"),
        "largest departure",
        REPRODUCED if good == 3 else PARTLY if good else REFUTED,
        f"Over {draws} maps with ad - bc = 1 (to {determinant:.0e}), four points of a circle have a real cross-ratio "
        f"after it (to {circles:.0e}), so they lie on a circle again, and angles stay (to {turned:.0e} radians).",
        (f"{MODULE}.special_linear", f"{MODULE}.cross_ratio", f"{MODULE}.mobius"),
    )


@register
def layer_is_residual(claim: Claim, results: Results, *, strengths: list[float]) -> Measurement:
    """How much of its input the public layer passes on unchanged: the share of z in z + c Jz."""
    z = torch.randn(200, 16, dtype=torch.float64)
    shares = [((twistor.couple(z, c) * z).sum(-1) / z.square().sum(-1)) for c in strengths]
    least, most = min(s.min().item() for s in shares), max(s.max().item() for s in shares)
    kept = [1 / math.sqrt(1 + c * c) for c in strengths]
    residual = abs(least - 1) < 1e-9 and abs(most - 1) < 1e-9
    return Measurement(
        round(least, 6),
        "share of the input passed on",
        REFUTED if residual else REPRODUCED if most < 0.5 else PARTLY,
        f"The public layer is z + c J z, and J z stands at right angles to z: exactly {least:.6f} times the input goes "
        f"through, {min(kept):.1%} of the output's length at c = {max(strengths):g}. That is a residual connection.",
        (f"{MODULE}.couple",),
    )


@register
def constraint_pins(claim: Claim, results: Results, *, dim: int, steps: int) -> Measurement:
    """What lowering the public constraint loss does to |omega . pi|: the size of a learned number falls, and no more.

    The loss is a tenth of |net(z)|, and the net's weights are trained with all others: here on twistors that stay.
    """
    z = torch.randn(256, 2 * dim)
    net = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = 0.1 * net(z).abs().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    size = torch.stack(twistor.pairing(z)).norm(dim=0)
    spread = (size.std() / size.mean()).item()
    fell, bar = losses[-1] / losses[0], claim.tolerance or 0.0
    return Measurement(
        round(spread, 3),
        "deviation over mean of |ω·π|",
        REPRODUCED if spread <= bar else PARTLY if fell > 0.1 else REFUTED,
        f"The public constraint is a tenth of a small network's output, in size. {steps} steps on that network bring "
        f"the loss to {fell:.1%} of its start, while |ω·π| of the {len(z)} twistors goes from {size.min():.1f} to "
        f"{size.max():.1f} as before: nothing in the loss holds |ω·π|.",
        (f"{MODULE}.pairing",),
    )


@register
def tokens_are_rays(claim: Claim, results: Results, *, tokens: int) -> Measurement:
    """The share of embedded tokens whose twistor is null, as that of a real light ray is."""
    z = torch.randn(tokens, 8, dtype=torch.float64)  # n = 2, as drawn by an embedding
    share = (_helicity(z) <= (claim.tolerance or 0.0)).double().mean().item()
    point, pi = torch.randn(tokens, 4, dtype=torch.float64), torch.randn(tokens, 2, dtype=torch.complex128)
    rays = _helicity(twistor.incident(point, pi)).max().item()
    return Measurement(
        round(share, 4),
        "share of the tokens",
        REPRODUCED if share == 1 else PARTLY if share >= 0.5 else REFUTED,
        f"The twistor of a light ray is null, <z, z> = 0 (to {rays:.0e} for {tokens:,} rays made by the incidence "
        f"relation). Of {tokens:,} twistors drawn as an embedding draws them, {share:.2%} are null to "
        f"{claim.tolerance:g} of their length squared; the others have a helicity, and no real ray.",
        (f"{MODULE}.hermitian", f"{MODULE}.incident"),
    )


@register
def slots_differ(claim: Claim, results: Results, *, dim: int, steps: int, rate: float) -> Measurement:
    """How many different memories the public update leaves: every slot moves to the same mean, from the same start."""
    count = int(reported_number(claim))
    memory = torch.zeros(count, 2 * dim, dtype=torch.float64)
    for _ in range(steps):
        mean = torch.randn(4, 32, 2 * dim, dtype=torch.float64).mean((0, 1))
        memory = (1 - rate) * memory + rate * mean
    power = torch.linalg.svdvals(memory).square()
    effective = (power.sum().square() / power.square().sum()).item()
    apart = (memory - memory[0]).abs().max().item()
    return Measurement(
        round(effective, 3),
        "different memories",
        REPRODUCED if effective > count - 0.5 else PARTLY if effective > 1.5 else REFUTED,
        f"After {steps} updates M ← (1 - r) M + r h, r = {rate:g}, with one h for all slots as in the public code, the "
        f"{count} slots differ by {apart:.0e}: they are one memory, {count} times.",
        ("mobius_lib.ledger.checks.twistor.laws.slots_differ",),
    )


@register
def compression_keeps(claim: Claim, results: Results, *, dim: int, states: int) -> Measurement:
    """What is lost at best when twistors are halved: by a linear map, and by keeping their phases."""
    z = torch.randn(states, 2 * dim, dtype=torch.float64)
    power = torch.linalg.eigvalsh(z.mT @ z)  # in rising order
    linear = (power[:dim].sum() / power.sum()).item()  # no rank-dim map loses less (Eckart and Young)
    complexes = torch.complex(*z.chunk(2, -1))
    modulus = complexes.abs().mean()  # one number for all; the best, in the mean square, for unknown moduli
    phases = ((complexes - modulus * torch.exp(1j * complexes.angle())).abs().square().sum() / z.square().sum()).item()
    least = min(linear, phases)
    return Measurement(
        round(least, 3),
        "share of the variance lost, at least",
        REPRODUCED if least <= (claim.tolerance or 0.0) else REFUTED,
        f"Of {states:,} independent states of {2 * dim} numbers, the best linear map to half as many and back loses "
        f"{linear:.1%} of the variance, and keeping all phases and one modulus {phases:.1%}. Only states in a space of "
        f"{dim} dimensions could come back whole; a handful of slots that never change would.",
        ("mobius_lib.ledger.checks.twistor.laws.compression_keeps",),
    )


@register
def coupling_is_causal(claim: Claim, results: Results, *, dim: int, length: int) -> Measurement:
    """How far the public adaptive layer's first outputs move when the last token changes.

    Its strength is 0.1 + 0.4 (0.7 g + 0.3 l - 0.5), where l reads each token and g the mean over the whole sequence.
    """
    width = 2 * dim
    local, whole = (
        nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, 1), nn.Sigmoid()).double() for _ in range(2)
    )
    x = torch.randn(8, length, width, dtype=torch.float64)
    changed = torch.cat([x[:, :-1], torch.randn_like(x[:, -1:])], dim=1)
    with torch.no_grad():
        first, second = (
            twistor.couple(s, 0.1 + 0.4 * (0.7 * whole(s.mean(1, keepdim=True)) + 0.3 * local(s) - 0.5))[:, :-1]
            for s in (x, changed)
        )
    worst = (first - second).abs().max().item()
    return Measurement(
        float(f"{worst:.1e}"),
        "largest change",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"The public adaptive layer takes a part of its strength from the mean over all {length} tokens: with another "
        f"last token, outputs before it move by up to {worst:.0e}. So the past sees the future, and a loss on the next "
        "token would be one that the model has read.",
        (f"{MODULE}.couple",),
    )


def _helicity(z: Tensor) -> Tensor:
    """|<z, z>| over |z|^2: 0 for a null twistor, at most 1."""
    return twistor.hermitian(z, z)[0].abs() / z.square().sum(-1)
