"""Chapter 4: what the seed's formulas do, whatever numbers go into them. Random draws are repeatable: a check is called
with its own random state."""

import math

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.gauge.sizes import connections
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results

MODULE = "mobius_lib.gauge.math"


@register
def fft_is_circular(claim: Claim, results: Results, *, sizes: list[int]) -> Measurement:
    """The product of two transforms against a circular convolution in both directions, summed shift by shift."""
    worst = 0.0
    for size in sizes:
        d, k0 = _counts(size), torch.randn(size, dtype=torch.float64)
        shifts = [(a, b) for a in range(size) for b in range(size)]
        summed = sum(d[a, b] * gauge.circulant(k0).roll((a, b), (0, 1)) for a, b in shifts)
        worst = max(worst, ((gauge.fft_product(d, k0) - summed).norm() / summed.norm()).item())
    return Measurement(
        float(f"{worst:.1e}"),
        "relative difference",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"For matrices of {', '.join(map(str, sizes))} words the product of the transforms of D and of the circulant "
        f"of k0, transformed back, is their circular convolution to {worst:.0e}.",
        (f"{MODULE}.fft_product",),
    )


@register
def fft_product_keeps(claim: Claim, results: Results, *, size: int) -> Measurement:
    """How many of D's numbers the printed product still tells apart."""
    k0 = torch.randn(size, dtype=torch.float64)
    d = _counts(size)
    # another matrix with the same sums along its cyclic diagonals: words exchanged in a circle
    other = d.roll((1, 1), (0, 1))
    apart = ((d - other).norm() / d.norm()).item()
    seen = ((gauge.fft_product(d, k0) - gauge.fft_product(other, k0)).norm() / gauge.fft_product(d, k0).norm()).item()
    # the rank of the linear map D -> product, from one unit matrix for each of its entries
    units = torch.eye(size * size, dtype=torch.float64).unflatten(-1, (size, size))
    images = torch.stack([gauge.fft_product(unit, k0).flatten() for unit in units])
    rank = int(torch.linalg.matrix_rank(images))
    return Measurement(
        round(rank / size**2, 4),
        "share of the numbers",
        REPRODUCED if rank == size**2 else PARTLY if rank > size**2 / 2 else REFUTED,
        f"For {size} words the product depends on {rank} of the {size**2:,} numbers of D: the circulant factor leaves "
        f"the sums along the cyclic diagonals alone. A matrix that differs from D by {apart:.0%} gives the same "
        f"product (to {seen:.0e}).",
        (f"{MODULE}.fft_product",),
    )


@register
def transport_order(claim: Claim, results: Results, *, dimension: int, steps: list[float]) -> Measurement:
    """The order with which the printed step approaches the printed transport, and its inverse."""
    a = torch.randn(dimension, dimension, dtype=torch.float64) / math.sqrt(dimension)
    f = torch.randn(16, dimension, dtype=torch.float64)
    printed = _order(f, a, steps, 1.0)
    inverse = _order(f, a, steps, -1.0)
    slack = claim.tolerance or 0.0
    good = [abs(order - reported_number(claim)) <= slack for order in (printed, inverse)]
    verdict: Word = REPRODUCED if good[0] else PARTLY if good[1] else REFUTED
    return Measurement(
        round(printed, 2),
        "order of the error",
        verdict,
        f"f + A f misses P exp(-∫A) f by an error of order {printed:.2f} in the step, and exp(+A) f by one of order "
        f"{inverse:.2f}; the first two terms of an exponential leave one of order 2. As printed, the step is the "
        "infinitesimal transport along the path backwards: the minus sign is missing.",
        (f"{MODULE}.transport_first_order", f"{MODULE}.path_ordered"),
    )


@register
def connection_linear(claim: Claim, results: Results, *, terms: int, hidden: int, scales: int) -> Measurement:
    """Whether a network of the counted size, even without its activation, is a linear map of the fibre."""
    plain = nn.Sequential(nn.Linear(terms, hidden), nn.Linear(hidden, terms)).double()
    bent = nn.Sequential(plain[0], nn.GELU(), plain[1])
    count = sum(p.numel() for p in plain.parameters())
    f = torch.randn(64, terms, dtype=torch.float64)
    with torch.no_grad():
        gaps = [((net(2 * f) - 2 * net(f)).norm() / (2 * net(f)).norm()).item() for net in (plain, bent)]
    counted = scales * count == connections(terms, hidden, scales)
    return Measurement(
        round(gaps[0], 3),
        "departure from A(2f) = 2 A(f)",
        REPRODUCED if min(gaps) <= (claim.tolerance or 0.0) else REFUTED,
        f"An element of gl is a linear map. A network {terms} → {hidden} → {terms} with the {count} numbers per scale "
        f"that the count {'has' if counted else 'has not'} misses A(2f) = 2 A(f) by {gaps[0]:.0%} (its biases, if it "
        f"has no activation) or {gaps[1]:.0%} (with GELU).",
        ("mobius_lib.ledger.checks.gauge.sizes.connections",),
    )


def _counts(size: int) -> Tensor:
    """A made matrix of co-occurrences, log(1 + counts), symmetric."""
    counts = torch.poisson(torch.rand(size, size, dtype=torch.float64) * 5)
    return torch.log1p(counts + counts.mT)


def _order(f: Tensor, a: Tensor, steps: list[float], sign: float) -> float:
    """Slope of log error against log step, from the first step to the last; sign -1 turns the transport round."""
    first, last = (
        (gauge.transport_first_order(f, h * a) - f @ gauge.path_ordered(sign * h * a.unsqueeze(0)).mT).norm().item()
        for h in (steps[0], steps[-1])
    )
    return math.log(last / first) / math.log(steps[-1] / steps[0])
