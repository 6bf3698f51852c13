"""L4: one scale of the ladder. Columns are sorted, and shared Gaussians get widths sigma_k = sigma_0 k^(1/3)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import Rung, Stored, as_tensor, check_matrix, check_terms, check_whole, scale_of
from mobius_lib.gauge.bits import permutation_bits
from mobius_lib.gauge.cooccurrence import log_cooccurrence
from mobius_lib.gauge.fit import essence, moved, pursue_shared, seriation, width_grid
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


def resolve(w: Tensor, terms: int, *, sort: bool = True) -> Resolution:
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
    """
    columns = w.shape[1]
    core = essence(w, terms)
    places = seriation(core[0]) if sort else torch.arange(columns)
    placed, k = moved(core, places), gauge.kpz_widths(1.0, terms).double()
    tried = {
        first: pursue_shared(placed, list((first * k).split(1)))
        for first in width_grid(columns).tolist()
    }  # fmt: skip
    first = min(tried, key=lambda each: tried[each][1])
    mu, sigma_0 = tried[first][0].mu.to(w.dtype), torch.tensor(first, dtype=w.dtype)
    g = gauge.gaussians(mu, gauge.kpz_widths(sigma_0, terms), places.to(w.dtype))
    return Resolution(gauge.amplitudes(w, g), mu, sigma_0, places)


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
        seed 003 for the steps and the width law; `resolve` says what is ours.
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
        self, tokens: Tensor, vocabulary: int, k0: Tensor | None = None, *, product: str = "printed", eps: float = 0.1
    ) -> Self:
        """The five steps from a stream of tokens, in place: D, its product with the kernel, and `resolve`.

        Args:
            tokens: (T,), as `log_cooccurrence`.
            vocabulary: V.
            k0: (V,), the kernel; None takes `math.kernel(D, eps)`.
            product: of D with the kernel. "printed" IFFT2(FFT2(D) . FFT2(circ(k0))), after which **only the sums along
                D's diagonals are left** (`math.fft_product`); "rows" D circ(k0), ours; "none" D itself, ours.
            eps: of the kernel.
        Returns:
            the bridge.
        Raises:
            ValueError: as `log_cooccurrence` and `math.kernel`; an unknown product; a k0 of another length.
        """
        return self._adopt(self.target(tokens, vocabulary, k0, product=product, eps=eps))

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
