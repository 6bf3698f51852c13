"""How a cascade is found for a matrix: matching pursuit for the Gaussians, least squares for the amplitudes.

Two kinds of cascade:

    shared  all rows share mu and sigma. Gaussians are chosen one after the other, each the one that takes most from
            what all rows together have left (simultaneous orthogonal matching pursuit); then, in turn, each is taken
            out and chosen again. All that the choice asks of W is W^T W, so it looks at the strongest singular vectors
            of W alone; the amplitudes come from W itself.
    rows    each row has positions of its own, and the widths are shared: matching pursuit in every row at once, one
            pass per width; then the amplitudes of each row by least squares.

Positions are whole columns, and correlations with all positions at once are a convolution, so by FFT.

Source: ours, because the source gives none ("no gradient descent"). Matching pursuit: Mallat and Zhang, 1993.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge import math as gauge

NARROWEST = 0.3
"""Of the widths that are tried: here a Gaussian is 1 on its own column and 0.004 beside it."""

WIDTHS = 14
"""How many widths are tried, from the narrowest to half the matrix, in equal ratios."""

ROW_BYTES = 2**26
"""Rows are worked on in groups, so that one buffer stays about this large."""

SAMPLE = 128
"""Rows that decide which width is next where each row has its own positions."""


class Cascade(NamedTuple):
    """What a pursuit finds."""

    mu: Tensor
    """(N,), or (M, N) where each row has its own: whole columns, as int64; float64 once they have left the lists."""
    sigma: Tensor
    """(N,)."""


def width_grid(columns: int, count: int = WIDTHS) -> Tensor:
    """The widths that are tried: (count,) float64."""
    widest = max(columns / 2, 2 * NARROWEST)
    return NARROWEST * (widest / NARROWEST) ** (torch.arange(count, dtype=torch.float64) / (count - 1))


def seeded_svd(w: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest singular values and vectors, W about U diag(S) V^T; the same at every call.

    Exact for a small matrix or a high rank; else by random projection and four power iterations.

    Returns:
        U (M, r), S (r,), V (V, r), r = min(rank, M, V).
    """
    rank = min(rank, *w.shape)
    if min(w.shape) <= 256 or 3 * rank >= min(w.shape):
        u, s, vh = torch.linalg.svd(w, full_matrices=False)
        return u[:, :rank], s[:rank], vh[:rank].mT
    with torch.random.fork_rng(devices=[w.device] if w.is_cuda else []):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(w, q=min(rank + 8, *w.shape), niter=4)
    return u[:, :rank], s[:rank], v[:, :rank]


def essence(w: Tensor, terms: int) -> Tensor:
    """(r, V), the strongest singular vectors of W times their values: what a shared cascade is chosen by."""
    _, s, v = seeded_svd(w, 2 * terms + 16)
    return (v * s).mT.contiguous()


def pursue_shared(essence: Tensor, widths: Sequence[Tensor], sweeps: int = 1) -> tuple[Cascade, float]:
    """N Gaussians that all rows share.

    Args:
        essence: (r, V), columns already in their places.
        widths: for each of the N, the widths that are tried: one tensor with a single entry ties it.
        sweeps: how often each is taken out and chosen again.
    Returns:
        the cascade, and the squared error that is left of the essence.
    """
    bank = _Bank(essence.shape[1], torch.cat(list(widths)).unique(), essence.dtype)
    mu = torch.zeros(len(widths), dtype=torch.int64)
    sigma = torch.ones(len(widths), dtype=torch.float64)
    chosen: list[int] = []
    for step in (*range(len(widths)), *(list(range(len(widths))) * sweeps if len(widths) > 1 else ())):
        others = [index for index in chosen if index != step]
        basis = _basis(mu[others], sigma[others], essence)
        mu[step], sigma[step] = bank.best(essence - essence @ basis.mT @ basis, basis, widths[step])
        if step not in chosen:
            chosen.append(step)
    basis = _basis(mu, sigma, essence)
    left = (essence - essence @ basis.mT @ basis).square().sum().item()
    return Cascade(mu, sigma.to(essence.dtype)), left


def share_left(g: Tensor, aim: Tensor, ridge: float = 1e-10) -> Tensor:
    """The share of |aim|^2 that no mixture of the rows of g takes away, to be differentiated.

    Args:
        g: (F, T), float64.
        aim: (M, T), float64.
        ridge: parts rows that are equal; beside rows of length 1.
    Returns:
        (), 0 ... 1.
    """
    g = g / g.square().sum(1, keepdim=True).clamp_min(1e-300).sqrt()
    gram, right = g @ g.mT + ridge * torch.eye(len(g), dtype=g.dtype, device=g.device), g @ aim.mT
    return 1 - (right * torch.cholesky_solve(right, torch.linalg.cholesky(gram))).sum() / _size(aim)


def descend(loss: Callable[[], Tensor], moved: Iterable[Tensor], steps: int) -> list[float]:
    """L-BFGS, in place, towards where no small move makes the loss smaller. Returns all losses that it saw."""
    optimizer = torch.optim.LBFGS(
        moved, max_iter=steps, history_size=20, tolerance_grad=1e-10, tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    seen: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        seen.append(found.item())
        return found

    with torch.enable_grad():
        optimizer.step(closure)
    return seen


def _size(aim: Tensor) -> Tensor:
    return aim.square().sum().clamp_min(1e-300)


def pursue_rows(w: Tensor, widths: Sequence[Tensor]) -> tuple[Cascade, Tensor]:
    """N Gaussians in each row at positions of its own, with widths that all rows share.

    Args:
        w: (M, V), columns already in their places.
        widths: as for `pursue_shared`.
    Returns:
        the cascade, mu (M, N); and the amplitudes (M, N), by least squares in each row.
    """
    rows, columns = w.shape
    bank = _Bank(columns, torch.cat(list(widths)).unique(), w.dtype)
    rest, places = w.clone(), torch.arange(columns, dtype=w.dtype)
    group = max(1, ROW_BYTES // (8 * columns))
    mu = torch.zeros(rows, len(widths), dtype=torch.int64)
    sigma = torch.ones(len(widths), dtype=torch.float64)
    sample = torch.linspace(0, rows - 1, min(rows, SAMPLE)).long()
    for step, tried in enumerate(widths):
        sigma[step] = tried[0] if len(tried) == 1 else bank.width(rest[sample], tried)
        for part in range(0, rows, group):
            some = slice(part, part + group)
            mu[some, step], amplitudes = bank.best_of_each_row(rest[some], sigma[step].item())
            g = gauge.gaussians(mu[some, step].to(w.dtype), sigma[step].to(w.dtype), places)
            rest[some] -= g.mul_(amplitudes.unsqueeze(1))
    return Cascade(mu, sigma.to(w.dtype)), row_amplitudes(w, mu, sigma.to(w.dtype))


def row_amplitudes(w: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Least squares in each row by its own Gaussians: (M, V), (M, N), (N,) to (M, N)."""
    places, found = torch.arange(w.shape[1], dtype=w.dtype), []
    group = max(1, ROW_BYTES // (4 * w.shape[1] * mu.shape[1]))
    for some, at in zip(w.split(group), mu.split(group), strict=True):
        g = gauge.gaussians(at.to(w.dtype), sigma, places)
        gram, right = (g @ g.mT).double(), (g @ some.unsqueeze(-1)).double()
        # two equal Gaussians in a row make it singular; this shares the amplitude between them
        gram.diagonal(dim1=-2, dim2=-1).mul_(1 + 1e-9)
        found.append(torch.linalg.solve(gram, right).squeeze(-1).to(w.dtype))
    return torch.cat(found)


def seriation(scores: Tensor) -> Tensor:
    """The place of each column when columns are sorted by a score: (V,) int64, a permutation; ties keep their order."""
    places = torch.empty(len(scores), dtype=torch.int64)
    places[torch.argsort(scores, stable=True)] = torch.arange(len(scores))
    return places


def moved(w: Tensor, places: Tensor) -> Tensor:
    """The matrix with column j moved to places[j]."""
    result = torch.empty_like(w)
    result[..., places] = w
    return result


class _Bank:
    """Gaussians of several widths as filters: correlations with all positions at once."""

    def __init__(self, columns: int, widths: Tensor, dtype: torch.dtype) -> None:
        self.columns, self.dtype = columns, dtype
        self.size = _smooth_size(2 * columns - 1)  # without room, what leaves on the right comes in on the left
        ones = torch.fft.rfft(torch.ones(columns, dtype=torch.float64), n=self.size)
        self.filters, self.squares = {}, {}
        for width in widths.tolist():
            self.filters[width] = self._filter(width, self.size, dtype)
            squares = torch.fft.irfft(self._filter(width / 2**0.5, self.size, torch.float64) * ones, n=self.size)
            self.squares[width] = squares[:columns].to(
                dtype
            )  # the Gaussian's own length, less what lies beyond the ends

    def correlations(self, spectrum: Tensor, width: float) -> Tensor:
        return torch.fft.irfft(spectrum * self.filters[width], n=self.size)[..., : self.columns]

    def _filter(self, width: float, size: int, dtype: torch.dtype) -> Tensor:
        distance = torch.minimum(torch.arange(size), size - torch.arange(size)).double()
        return torch.fft.rfft(torch.exp(-0.5 * (distance / width).square()).to(dtype))

    def width(self, rest: Tensor, widths: Tensor) -> float:
        """The width that takes most from these rows, each of which puts its Gaussian where it likes."""
        spectrum = torch.fft.rfft(rest, n=self.size)

        def gain(width: float) -> float:
            found = self.correlations(spectrum, width).square_().div_(self.squares[width])
            return found.amax(1).sum().item()

        return max(widths.tolist(), key=gain)

    def best_of_each_row(self, rest: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Where a Gaussian takes most from each row, and its amplitude there: twice (M,)."""
        # room for 6 widths is enough: exp(-18) is below float32's rounding, and a choice needs no more
        size = min(self.size, _smooth_size(self.columns + math.ceil(6 * width)))
        spectrum = torch.fft.rfft(rest, n=size).mul_(self._filter(width, size, rest.dtype))
        found = torch.fft.irfft(spectrum, n=size)[..., : self.columns]
        at = found.mul_(self.squares[width].rsqrt()).abs().argmax(1)
        return at, found.gather(1, at.unsqueeze(1)).squeeze(1) * self.squares[width][at].rsqrt()

    def best(self, rest: Tensor, basis: Tensor, widths: Tensor) -> tuple[int, float]:
        """The Gaussian that takes most from all rows together, beside those whose span has the orthonormal basis."""
        spectrum = torch.fft.rfft(torch.cat((rest, basis)), n=self.size)
        best: tuple[float, int, float] = (-1.0, 0, widths[0].item())
        for width in widths.tolist():
            found = self.correlations(spectrum, width).square_()
            own = self.squares[width] - found[len(rest) :].sum(0)
            # a Gaussian that nearly lies in the span already would be chosen by rounding
            gain = torch.where(own > 1e-3 * self.squares[width], found[: len(rest)].sum(0) / own, 0.0)
            value, place = gain.max(0)
            best = max(best, (value.item(), int(place), width))
        return best[1], best[2]


def _basis(mu: Tensor, sigma: Tensor, like: Tensor) -> Tensor:
    """Orthonormal rows that span the Gaussians, but for the directions that `math.amplitudes` leaves out: (r, V)."""
    if not len(mu):
        return like.new_zeros(0, like.shape[1])
    g = gauge.gaussians(mu.double(), sigma, torch.arange(like.shape[1], dtype=torch.float64))
    values, vectors = torch.linalg.eigh(g @ g.mT)
    kept = values > gauge.SMALLEST_DIRECTION * values[-1]
    return ((vectors[:, kept] * values[kept].rsqrt()).mT @ g).to(like.dtype)


def _smooth_size(least: int) -> int:
    """The next number whose factors are 2, 3 and 5: a fast length for an FFT."""
    best = 2 ** math.ceil(math.log2(max(least, 2)))
    for threes in range(8):
        for fives in range(6):
            odd = 3**threes * 5**fives
            if odd < best:
                best = min(best, odd * 2 ** max(0, math.ceil(math.log2(least / odd))))
    return best
