"""The first three rungs: each row its own Gaussians (L1), the rule applied to itself (L2), Gaussians in common (L3)."""

import functools
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import Rung, Stored, at_any_scale, check_terms, check_whole
from mobius_lib.gauge.bits import index_bits
from mobius_lib.gauge.fit import essence, pursue_rows, pursue_shared, seeded_svd, width_grid


def spread_positions(columns: int, terms: int) -> Tensor:
    """The middles of N equal parts: where Gaussians stand that have not been fitted."""
    return (torch.arange(terms) + 0.5) * columns / terms - 0.5


class HarmonicLinear(Rung):
    """L1: each row is a sum of N Gaussians of its own, W[i, j] = sum_k A[i, k] exp(-(j - mu[i, k])^2 / (2 sigma_k^2)).

    The source writes A_k, mu_k, sigma_k of one row. Here amplitudes and positions are each row's own, and widths common
    to all (ours, because the source does not say; L3 is the form whose positions are common too). Positions are whole
    columns. So the forward smooths x with N widths, by FFT, and each output looks N numbers up: O(N V log V) for the
    first, O(N out_features) for the second. The matrix is not bound to rank N.

    `from_dense`: matching pursuit in every row at once, then least squares in each row.

    Args:
        in_features, out_features, terms, bias, device, dtype: as `Rung`; terms is N.
    Source:
        the formula is of the MetaMobius note's siblings; the fit and the choices above are ours.
    """

    level, heights = "L1", ("amplitudes",)
    mu: Tensor

    def __init__(
        self, in_features: int, out_features: int, terms: int = 8, *, bias: bool = False, device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        self.amplitudes = nn.Parameter(torch.randn(out_features, terms) * in_features**-0.5)
        self.sigma = nn.Parameter(gauge.kpz_widths(in_features / (2 * terms), terms))
        positions = spread_positions(in_features, terms).round().long()
        self.register_buffer("mu", positions.expand(out_features, terms).clone())
        self.to(device, dtype or torch.get_default_dtype())

    def weight_free_forward(self, x: Tensor) -> Tensor:
        smoothed = smooth(x, self.sigma)  # (..., N, V)
        found = smoothed.gather(-1, self.mu.mT.expand(*smoothed.shape[:-1], self.out_features))
        return torch.einsum("...no,on->...o", found, self.amplitudes)

    def to_dense(self) -> Tensor:
        """The matrix W: (out_features, in_features). Under autograd it holds N matrices of that size; without, two."""
        places = torch.arange(self.in_features, dtype=self.sigma.dtype, device=self.sigma.device)
        w = self.sigma.new_zeros(self.out_features, self.in_features)
        for n in range(self.terms):
            bell = gauge.gaussians(self.mu[:, n].to(self.sigma.dtype), self.sigma[n], places)
            w = torch.addcmul(w, self.amplitudes[:, n : n + 1], bell)
        return w

    def storage(self) -> Mapping[str, Stored]:
        count = self.out_features * self.terms
        return {
            "amplitudes": Stored(count),
            "mu": Stored(count, index_bits(self.in_features, count)),
            "sigma": Stored(self.terms),
        }

    @classmethod
    @at_any_scale
    def from_dense(cls, w: Tensor, terms: int = 8) -> Self:
        """Of a matrix; its columns should stand in an order in which neighbours are alike.

        Args:
            w: (out_features, in_features).
            terms: N.
        Raises:
            ValueError: as `Rung`, and for a matrix that is empty or not finite.
        """
        check_terms(terms, w.shape[1])
        found, amplitudes = pursue_rows(w, [width_grid(w.shape[1])] * terms)
        rung = cls(w.shape[1], w.shape[0], terms).to(w)
        with torch.no_grad():
            rung.amplitudes.copy_(amplitudes)
            rung.sigma.copy_(found.sigma)
            rung.mu.copy_(found.mu)
        return rung


class FractalHarmonicLinear(Rung):
    """L2: the rule applied to itself. The amplitudes, as a row of numbers over the outputs, are Gaussians again:

        W[i, j] = sum_{m, k} B[m, k] exp(-(i - nu_m)^2 / (2 rho_m^2)) exp(-(j - mu_k)^2 / (2 sigma_k^2))

    so the number of numbers, M N + 2 M + 2 N, does not depend on the size of the matrix. **Ours, because the source
    gives none**: the MetaMobius note names this rung and its ratio (270), and prints no formula. It is the only rung
    whose ratio grows with the square of the vocabulary, as those of the note's table do.

    `from_dense`: both sets of Gaussians by pursuit, B = H^+ W G^+ in closed form.

    Args:
        in_features, out_features, bias, device, dtype: as `Rung`.
        terms: N, Gaussians over the inputs.
        out_terms: M, Gaussians over the outputs; None takes N, or as many as there are outputs, if these are fewer.
    Source:
        ours.
    """

    level, heights = "L2", ("core",)

    def __init__(
        self, in_features: int, out_features: int, terms: int = 8, *, out_terms: int | None = None, bias: bool = False,
        device: Any = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        self.out_terms = check_whole(
            "out_terms", min(self.terms, self.out_features) if out_terms is None else out_terms, most=self.out_features
        )
        self.core = nn.Parameter(torch.randn(self.out_terms, terms) * in_features**-0.5)
        self.mu = nn.Parameter(spread_positions(in_features, terms))
        self.sigma = nn.Parameter(torch.full((terms,), in_features / (2 * terms)))
        self.nu = nn.Parameter(spread_positions(out_features, self.out_terms))
        self.rho = nn.Parameter(torch.full((self.out_terms,), out_features / (2 * self.out_terms)))
        self.to(device, dtype or torch.get_default_dtype())

    def frames(self) -> tuple[Tensor, Tensor]:
        """The Gaussians over outputs (M, out_features), and over inputs (N, in_features)."""
        outputs = torch.arange(self.out_features, dtype=self.mu.dtype, device=self.mu.device)
        inputs = torch.arange(self.in_features, dtype=self.mu.dtype, device=self.mu.device)
        return gauge.gaussians(self.nu, self.rho, outputs), gauge.gaussians(self.mu, self.sigma, inputs)

    def weight_free_forward(self, x: Tensor) -> Tensor:
        h, g = self.frames()
        return x @ g.mT @ self.core.mT @ h

    def to_dense(self) -> Tensor:
        h, g = self.frames()
        return h.mT @ self.core @ g

    def storage(self) -> Mapping[str, Stored]:
        return {
            "core": Stored(self.out_terms * self.terms),
            "mu, sigma": Stored(2 * self.terms),
            "nu, rho": Stored(2 * self.out_terms),
        }

    @classmethod
    @at_any_scale
    def from_dense(cls, w: Tensor, terms: int = 8, *, out_terms: int | None = None) -> Self:
        """Of a matrix; its rows and its columns should stand in an order in which neighbours are alike.

        Args:
            w: (out_features, in_features).
            terms, out_terms: N and M.
        Raises:
            ValueError: as `Rung`, and for a matrix that is empty or not finite.
        """
        check_terms(terms, w.shape[1])
        rung = cls(w.shape[1], w.shape[0], terms, out_terms=out_terms).to(w)
        out_terms = rung.out_terms
        u, s, v = seeded_svd(w, 2 * max(terms, out_terms) + 16)
        over_inputs, _ = pursue_shared((v * s).mT.contiguous(), [width_grid(w.shape[1])] * terms)
        over_outputs, _ = pursue_shared((u * s).mT.contiguous(), [width_grid(w.shape[0])] * out_terms)
        with torch.no_grad():
            for target, source in zip(
                (rung.mu, rung.sigma, rung.nu, rung.rho), (*over_inputs, *over_outputs), strict=True
            ):
                target.copy_(source)
            h, g = rung.frames()
            rung.core.copy_(gauge.amplitudes(gauge.amplitudes(w, g).mT, h).mT)
        return rung


class TriLevelHarmonicLinear(Rung):
    """L3: W[i, j] = sum_n hw[i, n] exp(-(j - mu_n)^2 / (2 sigma_n^2)), with mu and sigma shared by the rows.

    So W = hw G is a factorisation of rank N, and no better than the singular value decomposition cut off after N terms
    (`laws.shared_gaussians_are_a_factorisation`). What it saves beside that is the right factor: 2 N numbers, not N V.

    `from_dense`: simultaneous orthogonal matching pursuit, then hw = W G^+.

    Args:
        in_features, out_features, terms, bias, device, dtype: as `Rung`; terms is N.
    Source:
        the MetaMobius note's siblings; the fit is ours.
    """

    level = "L3"

    def __init__(
        self, in_features: int, out_features: int, terms: int = 8, *, bias: bool = False, device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        self.hw = nn.Parameter(torch.randn(out_features, terms) * in_features**-0.5)
        self.mu = nn.Parameter(spread_positions(in_features, terms))
        self.sigma = nn.Parameter(torch.full((terms,), in_features / (2 * terms)))
        self.to(device, dtype or torch.get_default_dtype())

    def frame(self) -> Tensor:
        """G: (N, in_features)."""
        places = torch.arange(self.in_features, dtype=self.mu.dtype, device=self.mu.device)
        return gauge.gaussians(self.mu, self.sigma, places)

    def weight_free_forward(self, x: Tensor) -> Tensor:
        return x @ self.frame().mT @ self.hw.mT

    def to_dense(self) -> Tensor:
        return self.hw @ self.frame()

    def storage(self) -> Mapping[str, Stored]:
        return {"hw": Stored(self.out_features * self.terms), "mu": Stored(self.terms), "sigma": Stored(self.terms)}

    @classmethod
    @at_any_scale
    def from_dense(cls, w: Tensor, terms: int = 8) -> Self:
        """Of a matrix; its columns should stand in an order in which neighbours are alike.

        Args:
            w: (out_features, in_features).
            terms: N.
        Raises:
            ValueError: as `Rung`, and for a matrix that is empty or not finite.
        """
        check_terms(terms, w.shape[1])
        found, _ = pursue_shared(essence(w, terms), [width_grid(w.shape[1])] * terms)
        rung = cls(w.shape[1], w.shape[0], terms).to(w)
        with torch.no_grad():
            rung.mu.copy_(found.mu)
            rung.sigma.copy_(found.sigma)
            rung.hw.copy_(gauge.amplitudes(w, rung.frame()))
        return rung


@functools.cache
def read_from_planted(columns: int = 1000, terms: int = 16, draws: int = 5) -> tuple[float, ...]:
    """The exponents that L3's fit reads where sigma_k = sigma_0 k^(1/3) is planted: one for each drawn matrix.

    They show how far an exponent of fitted widths can be trusted: widths come from a list in equal ratios, and one
    Gaussian may stand for two.

    Args:
        columns, terms: of the matrices, whose rows are random sums of the planted Gaussians.
        draws: how many matrices, with sigma_0 = 4, 5.5, 7, ...
    """
    read = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        middles = columns * torch.rand(terms, generator=generator)
        planted = gauge.gaussians(middles, gauge.kpz_widths(4.0 + 1.5 * draw, terms), torch.arange(float(columns)))
        fitted = TriLevelHarmonicLinear.from_dense(torch.randn(500, terms, generator=generator) @ planted, terms)
        read.append(gauge.power_law(torch.arange(1, terms + 1), fitted.sigma.detach().sort().values)[0])
    return tuple(read)


def smooth(x: Tensor, sigma: Tensor) -> Tensor:
    """x convolved with a Gaussian of each width, with zeros beyond both ends: (..., V) to (..., N, V).

    Law: number m of result n is sum_j x[j] exp(-(j - m)^2 / (2 sigma_n^2)).
    """
    columns = x.shape[-1]
    if not x.numel():  # no FFT of nothing
        return x.new_zeros(*x.shape[:-1], len(sigma), columns)
    size = 2 * columns
    steps = torch.arange(size, device=x.device)
    distance = torch.minimum(steps, size - steps).to(sigma.dtype)
    filters = torch.fft.rfft(gauge.gaussians(torch.zeros_like(sigma), sigma, distance))
    return torch.fft.irfft(torch.fft.rfft(x, n=size).unsqueeze(-2) * filters, n=size)[..., :columns]
