"""Chapter 2: what the published staircase and the thirds mask do by construction."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mobius_lib.cantor import math as cantor
from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, register
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.waves import math as waves

MODULE = "mobius_lib.cantor.math"
POINTS = 3**8 + 1
"""Of the grid on [0, 1]: the boundaries of all thirds down to the eighth level are among them."""


@register
def staircase_range(claim: Claim, results: Results, *, alphas: list[float], tau: float) -> Measurement:
    """Least and greatest value of the published staircase at each alpha that the card names."""
    low, high = (float(end) for end in _pair(claim))
    ends = {f"α = {alpha:g}": _ends(alpha, tau) for alpha in alphas}
    slack = claim.tolerance or 0.0
    outside = {name: pair for name, pair in ends.items() if pair[0] < low - slack or pair[1] > high + slack}
    worst = next(iter(outside), next(reversed(ends)))
    return Measurement(
        f"[{ends[worst][0]:.3f}, {ends[worst][1]:.3f}] at {worst}",
        "",
        REPRODUCED if not outside else PARTLY if len(outside) < len(ends) else REFUTED,
        "Over x in [0, 1] its values lie in "
        + "; ".join(f"[{a:.3f}, {b:.3f}] at {name}" for name, (a, b) in ends.items())
        + f": in [{low:g}, {high:g}] for {len(ends) - len(outside)} of {len(ends)} values of α that the card names.",
        (f"{MODULE}.staircase_published",),
    )


@register
def staircase_self_similar(claim: Claim, results: Results, *, taus: list[float]) -> Measurement:
    """How far the published staircase is from c(x/3) = c(x)/2, the law that makes Cantor's function a fractal."""
    x = _grid()
    gaps, errors, control = {}, {}, 0.0
    for tau in taus:
        whole, third = (cantor.staircase_published(p, 0.5, tau) for p in (x, x / 3))
        gaps[tau] = (third - whole / 2).abs().max().item()
        errors[tau] = (whole - cantor.cantor_function(x)).abs().mean().item()
    exact = cantor.cantor_function(x / 3) - cantor.cantor_function(x) / 2
    control = exact.abs().max().item()
    good = sum(gap <= (claim.tolerance or 0.0) for gap in gaps.values())
    return Measurement(
        round(min(gaps.values()), 3),
        "largest |c(x/3) - c(x)/2|",
        REPRODUCED if good == len(gaps) else PARTLY if good else REFUTED,
        "At α = 1/2 the single level of the published layer misses c(x/3) = c(x)/2 by up to "
        + ", ".join(f"{gap:.2f} (τ = {tau:g})" for tau, gap in gaps.items())
        + f", where Cantor's function misses it by {control:.0e}; its mean distance from that function is "
        + ", ".join(f"{error:.3f}" for error in errors.values())
        + ". It has three steps, and no thirds of thirds.",
        (f"{MODULE}.staircase_published", f"{MODULE}.cantor_function"),
    )


@register
def triadic_is_soft(claim: Claim, results: Results, *, taus: list[float]) -> Measurement:
    """Whether the decomposition gives each x three shares that are not negative and add up to one."""
    x = _grid()
    shares = torch.stack([cantor.triadic(x, tau) for tau in taus])
    off = (shares.sum(-1) - 1).abs().max().item()
    third = (3 * x).floor().clamp(max=2).long()
    inside = (3 * x - third - 0.5).abs() < 0.499  # at a boundary two shares are equal, and neither wins
    own = (shares.argmax(-1) == third)[:, inside].double().mean().item()
    fine = shares.min().item() >= 0 and off <= (claim.tolerance or 0.0)
    return Measurement(
        round(shares.sum(-1).mean().item(), 6),
        "sum of the shares",
        REPRODUCED if fine and own == 1 else PARTLY if fine or own == 1 else REFUTED,
        f"For {len(x):,} positions and τ from {min(taus):g} to {max(taus):g} the three shares are at least "
        f"{shares.min().item():g}, their sums are off 1 by at most {off:.0e}, and inside a third the largest share is "
        f"its own at {own:.0%} of the positions.",
        (f"{MODULE}.triadic",),
    )


@register
def alpha_weighs_the_middle(claim: Claim, results: Results, *, tau: float) -> Measurement:
    """The slope of the staircase in alpha against the share of the middle interval."""
    x = _grid()
    alpha = torch.full_like(x, 0.329).requires_grad_()
    (slope,) = torch.autograd.grad(cantor.staircase_published(x, alpha, tau).sum(), alpha)
    off = (slope - cantor.triadic(x, tau)[:, 1]).abs().max().item()
    middle = cantor.staircase_published(torch.tensor([0.5], dtype=torch.float64), 0.329, tau).item()
    return Measurement(
        round(off, 12),
        "largest difference",
        REPRODUCED if off <= (claim.tolerance or 0.0) else REFUTED,
        f"The slope of c in α is the middle interval's share at every x (to {max(off, 1e-16):.0e}); in the middle, at "
        f"x = 1/2 and τ = {tau:g}, α = 0.329 gives c = {middle:.3f}.",
        (f"{MODULE}.staircase_published",),
    )


@register
def prototypes_reachable(claim: Claim, results: Results, *, alpha: float, tau: float) -> Measurement:
    """How much of the printed prototypes' range the staircase can reach at the printed alpha."""
    rows = _rows(claim)
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    least, most = _ends(alpha, tau)
    share = max(0.0, min(high, most) - max(low, least)) / (high - low)
    return Measurement(
        round(share, 3),
        "share of their range",
        REPRODUCED if share == 1 else PARTLY if share > 0 else REFUTED,
        f"At α = {alpha:g} and τ = {tau:g} the staircase has values in [{least:.4f}, {most:.4f}]; the prototypes lie "
        f"in [{low}, {high}]"
        + (f", so no feature can come nearer than {least - low:.3f} to the lowest of them." if low < least else "."),
        (f"{MODULE}.staircase_published", "data/claims.yaml"),
    )


@register
def cantor_term_can_decide(claim: Claim, results: Results, *, alpha: float, tau: float, at_least: float) -> Measurement:
    """The most the Cantor term can set two classes apart, over the most the cosine can, with the printed weights."""
    rows, shares = _rows(claim), {}
    c = cantor.staircase_published(_grid(), alpha, tau)
    for row in rows:
        nearest = c - c.clamp(row["low"], row["high"])
        farthest = torch.maximum((c - row["low"]).abs(), (c - row["high"]).abs())
        spread = (farthest.square() - nearest.square()).max().item()
        shares[row["scale"]] = row["cantor"] * spread / (2 * row["feature"])  # a cosine spans 2
    good = sum(share >= at_least for share in shares.values())
    return Measurement(
        round(max(shares.values()), 4),
        "share of the feature term, at most",
        REPRODUCED if good == len(shares) else PARTLY if good else REFUTED,
        "The most by which the Cantor term can set two classes apart, over the most by which the cosine can: "
        + ", ".join(f"{share:.2%} ({scale}D)" for scale, share in shares.items())
        + f"; {at_least:.0%} would count as a say.",
        (f"{MODULE}.staircase_published", "data/claims.yaml"),
    )


@register
def mask_pieces(claim: Claim, results: Results, *, width: int, layers: int) -> Measurement:
    """Into how many pieces n masks together cut the channels, where n steps of Cantor's construction leave 2^n."""
    product, found = torch.ones(width), []
    for layer in range(layers):
        product = product * waves.thirds_mask(width, layer)
        found.append(int((product.diff() != 0).sum()) + 1)
    expected = [2 ** (n + 1) - 1 for n in range(1, layers + 1)]  # 2^n intervals kept, and a gap between each two
    grows = all(a < b for a, b in pairwise(found))
    return Measurement(
        found,
        "pieces",
        REPRODUCED if found == expected else PARTLY if grows else REFUTED,
        f"The masks of layers 1 to {layers} together cut {width} channels into {', '.join(map(str, found))} pieces; "
        f"Cantor's construction has {', '.join(map(str, expected))} after as many steps (intervals and gaps). The mask "
        "takes whole thirds in turn and never a third of a third.",
        ("mobius_lib.waves.math.thirds_mask",),
    )


def _grid() -> Tensor:
    return torch.linspace(0, 1, POINTS, dtype=torch.float64)


def _ends(alpha: float, tau: float) -> tuple[float, float]:
    """Least and greatest value of the published staircase on [0, 1]."""
    c = cantor.staircase_published(_grid(), alpha, tau)
    return c.min().item(), c.max().item()


def _pair(claim: Claim) -> list[Any]:
    if isinstance(claim.reported, list) and len(claim.reported) == 2 and math.isfinite(sum(claim.reported)):
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads two numbers.")


def _rows(claim: Claim) -> list[dict[str, Any]]:
    if isinstance(claim.reported, list) and claim.reported:
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a list of scales.")
