"""L4: one scale of the ladder. Columns are sorted, and shared Gaussians get widths sigma_k = sigma_0 k^(1/3)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import (
    Rung,
    Stored,
    as_tensor,
    check_matrix,
    check_terms,
    check_whole,
    relative_error,
    scale_of,
)
from mobius_lib.gauge.bits import FLOAT_BITS, entries, index_bits, permutation_bits
from mobius_lib.gauge.codes import GaugeTensor, gauge_tensor, integer_normal, number_of_cascade
from mobius_lib.gauge.cooccurrence import log_cooccurrence
from mobius_lib.gauge.fit import Cascade, essence, moved, pursue_shared, seriation, width_grid
from mobius_lib.gauge.harmonic import spread_positions

PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "printed": gauge.fft_product,
    "rows": gauge.fft_product_by_rows,
    "none": None,
}
"""What becomes of D before it is resolved; `MobiusHarmonicBridge.derive` says what each is."""


class Resolution(NamedTuple):
    """{hw, mu, sigma} of one scale, and the order of its columns."""

    hw: Tensor
    """(M, N)."""
    mu: Tensor
    """(N,), whole columns in the sorted order, as floats."""
    sigma_0: Tensor
    """(), width of the first Gaussian."""
    places: Tensor
    """(V,) int64: where each column goes."""


class Step(NamedTuple):
    """What one of the five steps hands on."""

    name: str
    value: Any
    """The product (V, V); an `IntegerNormal`; by each first width that was tried the relative error that its cascade
    leaves, the least of which decides; the number of the cascade (`codes.cascade_of_number`); a `GaugeTensor`."""
    bits: int
    """Of the value: of the third, of the choice of the first width; of the last, of the whole layer."""
    error: float
    """Of the product, its distance from the nearest multiple of D, beside its own length; of the integer normal, what
    is lost of the product by rounding; of the scaling, by how much tied widths leave more than free ones; of the last
    two, what is left of the product."""


def resolve(w: Tensor, terms: int, *, sort: bool = True, exponent: float = gauge.KPZ) -> Resolution:
    """The steps from a matrix to {hw, mu, sigma}: integer normal, KPZ scaling, normal cascade, amplitudes.

    The source names these steps and prints no formula, so each is ours:

        integer normal   columns are numbered by rank: sorted by the leading right singular vector, along which
                         neighbouring columns are most alike
        KPZ scaling      every sigma_0 of a grid gives the widths sigma_0 k^(1/3), k = 1 ... N
        normal cascade   the Gaussians k = 1, 2, ... are put, one after the other, where they take most of what is left;
                         the sigma_0 that leaves least is kept
        resolution       hw = W G^+

    Args:
        w: (M, V), checked.
        terms: N.
        sort: False leaves the columns where they are.
        exponent: of the widths, in the place of 1/3.
    """
    placed, places = _placed(w, terms, sort)
    tried = _scaled(placed, terms, exponent)
    first = min(tried, key=lambda each: tried[each][1])
    mu, sigma_0 = tried[first][0].mu.to(w.dtype), torch.tensor(first, dtype=w.dtype)
    g = gauge.gaussians(mu, gauge.kpz_widths(sigma_0, terms, exponent), places.to(w.dtype))
    return Resolution(gauge.amplitudes(w, g), mu, sigma_0, places)


def _placed(w: Tensor, terms: int, sort: bool = True) -> tuple[Tensor, Tensor]:
    """What the cascade is chosen by, its columns in their new places; and these places."""
    core = essence(w, terms)
    places = seriation(core[0]) if sort else torch.arange(w.shape[1])
    return moved(core, places), places


def _scaled(placed: Tensor, terms: int, exponent: float = gauge.KPZ) -> dict[float, tuple[Cascade, float]]:
    """By each first width that is tried, its cascade and the squared error that it leaves."""
    k = gauge.kpz_widths(1.0, terms, exponent).double()
    return {
        first: pursue_shared(placed, list((first * k).split(1)))
        for first in width_grid(placed.shape[1]).tolist()
    }  # fmt: skip


class MobiusHarmonicBridge(Rung):
    """L4: y = hw G x, where G[k, j] = exp(-(pi(j) - mu_k)^2 / (2 sigma_k^2)) and sigma_k = sigma_0 k^(1/3).

    As L3, but columns are sorted first (pi), and one width stands for all. The permutation is not free: V numbers, log2
    V! bits. The Gaussians are taken at pi(j), so the forward permutes nothing.

    A bridge can be made before the vocabulary is known, `MobiusHarmonicBridge(window=5)`, and gets its matrix from
    tokens by `derive`; or from any matrix by `from_dense`.

    Args:
        in_features, out_features: None while not known.
        terms: N.
        window: s, the window of the co-occurrences that it resolves.
        bias, device, dtype: as `Rung`.
    Raises:
        ValueError: as `Rung`, and for a window below 1; in `forward`, while sizes are not known.
    Source:
        the MetaMobius note for the steps and the width law; `resolve` says what is ours.
    """

    level = "L4"
    places: Tensor

    def __init__(
        self, in_features: int | None = None, out_features: int | None = None, terms: int = 8, *, window: int = 5,
        bias: bool = False, device: Any = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        window = check_whole("window", window)
        if (in_features is None) != (out_features is None):
            raise ValueError("in_features and out_features must be given both, or neither.")
        known = in_features is not None
        columns, rows = (terms, 1) if in_features is None or out_features is None else (in_features, out_features)
        super().__init__(columns, rows, terms, bias=bias and known)
        self.window, self._bias = window, bias
        self.ready = known
        self._steps: list[Step] | None = None
        if known:
            self._set(
                Resolution(
                    torch.randn(rows, terms) * columns**-0.5,
                    spread_positions(columns, terms),
                    torch.tensor(columns / (2.0 * terms)),
                    torch.arange(columns),
                )
            )
        self.to(device, dtype or torch.get_default_dtype())

    def derive(
        self, tokens: Tensor, vocabulary: int, k0: Tensor | None = None, *, product: str = "printed", eps: float = 0.1,
        whole_bits: int | None = None, observe: bool = False,
    ) -> Self:  # fmt: skip
        """The five steps from a stream of tokens, in place: D, its product with the kernel, and `resolve`.

        Args:
            tokens: (T,), as `log_cooccurrence`.
            vocabulary: V.
            k0: (V,), the kernel; None takes `math.kernel(D, eps)`.
            product: of D with the kernel. "printed" IFFT2(FFT2(D) . FFT2(circ(k0))), after which **only the sums along
                D's diagonals are left** (`math.fft_product`); "rows" D circ(k0), ours; "none" D itself, ours.
            eps: of the kernel.
            whole_bits: of each entry of the product, which the integer normal then rounds (`codes.integer_normal`);
                None leaves entries as they are.
            observe: keep every step for `steps`: some matrices of V x V, and twice the time.
        Returns:
            the bridge.
        Raises:
            ValueError: as `log_cooccurrence` and `math.kernel`; an unknown product; a k0 of another length; whole
                numbers of fewer than 2 bits or more than 32.
        """
        if whole_bits is not None:
            check_whole("whole_bits", whole_bits, 2, 32)
        w = self.target(tokens, vocabulary, k0, product=product, eps=eps)
        columns = torch.arange(vocabulary)
        rounded = w if whole_bits is None else integer_normal(w, columns, whole_bits).decode().to(w)
        self._adopt(rounded)
        self._steps = None
        if observe:
            d = w if product == "none" else log_cooccurrence(tokens, vocabulary, self.window)
            self._steps = self._observed(d, w, rounded, product, whole_bits)
        return self

    def steps(self) -> list[Step]:
        """The five steps of the last `derive`, in their order: what each hands on, its bits and its error.

        Raises:
            ValueError: where they were not kept.
        """
        if self._steps is None:
            raise ValueError("This bridge has not kept its steps; call derive(tokens, vocabulary, observe=True).")
        return self._steps

    def _observed(self, d: Tensor, w: Tensor, rounded: Tensor, product: str, whole_bits: int | None) -> list[Step]:
        placed, places = _placed(rounded, self.terms)
        tried, grid = _scaled(placed, self.terms), width_grid(len(places)).tolist()
        first = min(grid, key=lambda each: tried[each][1])
        whole, beyond = rounded.double().square().sum().item(), placed.double().square().sum().item()

        def left(squared: float) -> float:  # of all of it: what is no part of the essence is left in any case
            return (max(0.0, squared + whole - beyond) / (whole or 1.0)) ** 0.5

        _, free = pursue_shared(placed, [width_grid(len(places))] * self.terms)
        normal = integer_normal(w, places, whole_bits)
        choices = [grid.index(first), *tried[first][0].mu.tolist()]
        sizes = [len(grid), *[len(places)] * self.terms]
        cosine = (w.double() * d).sum() / (w.double().norm() * d.double().norm()).clamp_min(1e-300)
        return [
            Step(
                "FFT product",
                w,
                FLOAT_BITS * (len(w) if product == "printed" else entries(w)),
                max(0.0, 1 - cosine.item() ** 2) ** 0.5,
            ),
            Step("integer normal", normal, normal.bits, relative_error(w, normal.decode().to(w))),
            Step(
                "KPZ scaling",
                {each: left(squared) for each, (_, squared) in tried.items()},
                index_bits(len(grid)),
                left(tried[first][1]) - left(free),
            ),
            Step(
                "normal cascade",
                number_of_cascade(choices, sizes),
                index_bits(len(grid)) + index_bits(len(places), self.terms),
                left(tried[first][1]),
            ),
            Step("gauge tensor", self.resolved(), self.stored_bits(), relative_error(rounded, self.to_dense())),
        ]

    def resolved(self) -> GaugeTensor:
        """{hw, mu, sigma} and the order of the columns in the one form that all equal bridges have in common.

        Widths that are tied to one first width leave of the symmetries of `codes.gauge_tensor` only the sign of that,
        the mirror and terms of height 0.
        """
        return gauge_tensor(self.hw, self.mu, self.sigma(), self.places)

    def target(
        self, tokens: Tensor, vocabulary: int, k0: Tensor | None = None, *, product: str = "printed", eps: float = 0.1
    ) -> Tensor:
        """The matrix (V, V) that `derive` resolves."""
        if product not in PRODUCTS:
            raise ValueError(f"There is no product={product!r}; the products are {', '.join(PRODUCTS)}.")
        check_terms(self.terms, vocabulary)
        d = log_cooccurrence(tokens, vocabulary, self.window)
        multiply = PRODUCTS[product]
        if multiply is None:
            return d
        k0 = gauge.kernel(d, eps) if k0 is None else as_tensor(k0)
        if k0.shape != (vocabulary,) or not k0.isfinite().all():
            raise ValueError(f"k0 must be {vocabulary} finite numbers, one per word, not of shape {tuple(k0.shape)}.")
        return multiply(d, k0.to(d))

    def sigma(self) -> Tensor:
        """The widths: (N,)."""
        self._check()
        return gauge.kpz_widths(self.sigma_0, self.terms)

    def frame(self) -> Tensor:
        """G, columns in their own order: (N, V)."""
        return gauge.gaussians(self.mu, self.sigma(), self.places.to(self.mu.dtype))

    def forward(self, x: Tensor) -> Tensor:
        self._check()
        return super().forward(x)

    def weight_free_forward(self, x: Tensor) -> Tensor:
        return x @ self.frame().mT @ self.hw.mT

    def to_dense(self) -> Tensor:
        self._check()
        return self.hw @ self.frame()

    def storage(self) -> Mapping[str, Stored]:
        self._check()
        return {
            "hw": Stored(self.out_features * self.terms),
            "mu": Stored(self.terms),
            "sigma_0": Stored(1),
            "permutation": Stored(self.in_features, permutation_bits(self.in_features)),
        }

    @classmethod
    def from_dense(cls, w: Tensor, terms: int = 8, *, window: int = 5) -> Self:
        """Of a matrix, as `resolve` says; the window is only remembered.

        Raises:
            ValueError: as `Rung`, and for a matrix that is empty or not finite.
        """
        w = check_matrix(w)
        check_terms(terms, w.shape[1])
        return cls(terms=terms, window=window)._adopt(w).to(w.device)

    def _adopt(self, w: Tensor) -> Self:
        w = check_matrix(w)
        self.out_features, self.in_features = w.shape
        size = scale_of(w)  # as `at_any_scale`
        found = resolve(w.cpu() / size, self.terms)
        self._set(found._replace(hw=found.hw * size))
        if w.dtype == torch.float64:
            self._like = self._like.double()
        if self._bias:
            self.bias = nn.Parameter(self._like.new_zeros(self.out_features))
        self.ready = True
        return self.to(self._like.device)

    def _set(self, found: Resolution) -> None:
        self.hw, self.mu, self.sigma_0 = (nn.Parameter(each) for each in found[:3])
        self.register_buffer("places", found.places)

    def _check(self) -> None:
        if not self.ready:
            raise ValueError(
                f"This bridge of window {self.window} has no matrix yet: call derive(tokens, vocabulary) first, or "
                "make it with from_dense(w)."
            )

    def extra_repr(self) -> str:
        return (super().extra_repr() if self.ready else f"terms={self.terms}") + f", window={self.window}"
