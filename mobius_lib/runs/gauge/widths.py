"""The exponent of a cascade's widths, read off a matrix: how far it is the matrix's own, and how far it can be told.

A pursuit takes widths from a list, and its exponent is in part the list's. So every cascade is moved continuously
afterwards (`refined`), from several lists, of which all but the first are drawn at random; and the same is done to
matrices in which an exponent is planted.

Source: ours. That widths grow like k^(1/3) is the claim of the MetaMobius note.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.fit import NARROWEST, WIDTHS, Cascade, descend, essence, pursue_shared, share_left, width_grid

ALIKE = 0.01
"""Fits that leave at most so much more than the best, as a share of it, are as good: their exponents are in doubt."""


class Fit(NamedTuple):
    """A cascade before and after its widths left their list."""

    listed: Cascade
    moved: Cascade
    left: tuple[float, float]
    """Of the squared essence, with the list's widths and with the moved ones."""


class Reading(NamedTuple):
    """An exponent with its uncertainty."""

    exponent: float
    error: float
    """A standard error: of the slope, and of the choice among fits that are as good."""
    alike: int
    """How many fits are as good as the best, itself among them."""
    inside: int
    """How many of the best fit's widths are wider than a single column's and narrower than the matrix. A width beyond
    is none: the Gaussian is one column, or a constant, whatever the number says."""


def random_widths(columns: int, generator: torch.Generator, count: int = WIDTHS) -> Tensor:
    """A list of widths that is drawn: uniform in the logarithm, between ends that are drawn too: (count,) float64.

    The ends are within a factor of 2 of `fit.width_grid`'s.
    """
    ends = width_grid(columns)[[0, -1]].log()
    low, high = ends + (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1) * torch.tensor(2.0).log()
    return (low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)).exp().sort().values


def refined(essence: Tensor, found: Cascade, steps: int = 100) -> tuple[Cascade, float]:
    """A shared cascade whose places and widths leave the lists that they came from: moved continuously, to where no
    small change leaves less. Widths have no bounds but 0 and infinity, since their logarithms are moved.

    L-BFGS on the squared error that is left when heights are the best (variable projection: Golub and Pereyra, 1973),
    in float64.

    Args:
        essence: (r, V), columns already in their places.
        found: where to begin.
        steps: of L-BFGS, at most.
    Returns:
        the cascade, mu and sigma in float64; and the squared error that is left of the essence.
    """
    core, places = essence.double(), torch.arange(essence.shape[1], dtype=torch.float64)
    mu, sigma = found.mu.double(), found.sigma.double()
    moves = torch.zeros(2, len(mu), dtype=torch.float64, requires_grad=True)

    def left() -> Tensor:
        return share_left(gauge.gaussians(mu + sigma * moves[0], sigma * moves[1].exp(), places), core)

    descend(left, [moves], steps)
    with torch.no_grad():
        return Cascade(mu + sigma * moves[0], sigma * moves[1].exp()), (left() * core.square().sum()).item()


def continuous_fits(w: Tensor, terms: int, starts: int = 4, *, seed: int = 0, steps: int = 100) -> list[Fit]:
    """Cascades of a matrix that all its rows share, with widths that are on no list.

    Args:
        w: (M, V), columns in an order in which neighbours are alike.
        terms: N.
        starts: lists of widths to begin from: `fit.width_grid`, and others drawn at random.
        seed: of these.
        steps: of each, as `refined`.
    Returns:
        one fit for each start.
    """
    core, generator = essence(w, terms), torch.Generator().manual_seed(seed)
    size = core.double().square().sum().item()
    fits = []
    for start in range(starts):
        tried = random_widths(w.shape[1], generator) if start else width_grid(w.shape[1])
        listed, before = pursue_shared(core, [tried] * terms)
        moved, after = refined(core, listed, steps)
        fits.append(Fit(listed, moved, (before / size, after / size)))
    return fits


def read_exponent(fits: Sequence[Fit], columns: int) -> Reading:
    """The b of sigma_k = sigma_0 k^b, of the fit that leaves least, widths sorted (k is not said in the source).

    Laws: of widths that follow a law exactly, its exponent with the error 0, whatever their order; a multiple of all
    widths has the same exponent.

    Args:
        fits: of one matrix, at least one, of at least 3 terms.
        columns: V.
    """
    best = min(fits, key=lambda fit: fit.left[1])
    floor = 1e-9  # below this what is left is rounding, and no fit is better than another
    alike = [fit for fit in fits if fit.left[1] <= max((1 + ALIKE) * best.left[1], floor)]
    exponent, error = exponent_of(best.moved.sigma)
    doubt = max((abs(exponent_of(fit.moved.sigma)[0] - exponent) for fit in alike), default=0.0)
    inside = ((best.moved.sigma > NARROWEST) & (best.moved.sigma < columns)).sum().item()
    return Reading(exponent, (error**2 + doubt**2) ** 0.5, len(alike), int(inside))


def exponent_of(sigma: Tensor) -> tuple[float, float]:
    """The exponent of sorted widths (N,), and its standard error, as `math.power_law`."""
    return gauge.power_law(torch.arange(1, len(sigma) + 1), sigma.sort().values)


def planted(columns: int, terms: int, exponent: float, seed: int, *, noise: float = 0.0, rows: int = 500) -> Tensor:
    """A matrix in which widths follow a law: rows are random sums of Gaussians at random places, and noise.

    Args:
        columns, terms: V and N.
        exponent: of the widths, the first of which is drawn from 4 to 10 columns.
        seed: of all that is drawn.
        noise: white, |noise| / |sums of Gaussians|.
        rows: M.
    Returns:
        (M, V).
    """
    generator = torch.Generator().manual_seed(seed)
    middles, first = columns * torch.rand(terms, generator=generator), 4 + 6 * torch.rand(1, generator=generator).item()
    g = gauge.gaussians(middles, gauge.kpz_widths(first, terms, exponent), torch.arange(float(columns)))
    w = torch.randn(rows, terms, generator=generator) @ g
    white = torch.randn(rows, columns, generator=generator)
    return w + noise * w.norm() / white.norm() * white
