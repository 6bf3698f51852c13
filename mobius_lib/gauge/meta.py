"""L5: three scales at once, each carried into a common fibre and weighted by attention."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import Rung, Stored, at_any_scale, check_terms
from mobius_lib.gauge.bits import permutation_bits
from mobius_lib.gauge.bridge import MobiusHarmonicBridge, resolve
from mobius_lib.gauge.harmonic import spread_positions

WINDOWS = (5, 15, 50)
HIDDEN = 32
"""Width of the connection's middle layer, as in the seed."""
ACTIVATIONS = ("linear", "tanh")


class MetaMobiusLinear(Rung):
    """L5: y = sum_s alpha_s hw_s tau_s(z_s), where z_s = G_s x are the N coordinates of x in the fibre of scale s.

        transport   tau_s(z) = z + A_s(z), A_s two linear maps N -> 32 -> N with biases: the printed first-order step
        attention   alpha = softmax over s of q . k_s / sqrt(N), with q = W_q (mean of the z_s)
        cascades    one L4 each: G_s[k, j] = exp(-(pi_s(j) - mu_sk)^2 / (2 sigma_s^2 k^(2/3)))

    Choices that are ours, because the source is silent or contradicts itself:

        It counts W_q as N x N while x has V numbers, and the fibre as N while it calls it R^3N: so attention and
        transport act on the N coordinates z.
        It counts mu as out x N. Then there would be no z in common to which they could be applied; so mu is shared by
        the rows, N numbers per scale. `seed_count` is the seed's own sum; this layer stores fewer.
        It says neither what A_s does between its two maps nor how y stays linear. "linear" does nothing, so A_s is in
        gl(N) as printed; "tanh" is the perceptron that it also speaks of.
        Keys are drawn at random and W_q starts as zero, so every alpha_s starts as 1 / 3.

    With the connection linear and W_q zero, as `from_dense` and `from_l4_bridges` leave them, this is a linear map and
    `to_dense` its matrix. **Then the transport is pure gauge: hw_s (1 + A_s) is a free out x N matrix with or without
    A_s**, so it costs numbers and allows no matrix that would be out of reach without it; `change_gauge` shows it.

    Args:
        in_features, out_features, terms, bias, device, dtype: as `Rung`; terms is N.
        windows: s, a name for each scale.
        activation: "linear" or "tanh".
    Raises:
        ValueError: as `Rung`; no window, a window twice, or an unknown activation.
    Source:
        seed 003; what is ours is said above.
    """

    level = "L5"
    places: Tensor

    def __init__(
        self, in_features: int, out_features: int, terms: int = 8, *, windows: Sequence[int] = WINDOWS,
        activation: str = "linear", bias: bool = False, device: Any = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        _check_windows(windows)
        if activation not in ACTIVATIONS:
            raise ValueError(f"There is no activation={activation!r}; there is {' and '.join(ACTIVATIONS)}.")
        self.windows, self.activation = tuple(windows), activation
        scales = len(self.windows)
        width = torch.tensor([in_features / (2.0 * terms)])
        self.hw = nn.Parameter(torch.randn(scales, out_features, terms) * in_features**-0.5)
        self.mu = nn.Parameter(spread_positions(in_features, terms).expand(scales, terms).clone())
        self.sigma_0 = nn.Parameter(width.expand(scales).clone())
        self.register_buffer("places", torch.arange(in_features).expand(scales, in_features).clone())
        self.down, self.down_bias = (nn.Parameter(torch.zeros(scales, HIDDEN, *rest)) for rest in ((terms,), ()))
        self.up, self.up_bias = (nn.Parameter(torch.zeros(scales, terms, *rest)) for rest in ((HIDDEN,), ()))
        nn.init.normal_(self.down, std=terms**-0.5)  # up is zero: tau starts as the identity, and can be learned
        self.query = nn.Parameter(torch.zeros(terms, terms))
        self.keys = nn.Parameter(torch.randn(scales, terms))
        self.to(device, dtype or torch.get_default_dtype())

    @property
    def linear(self) -> bool:
        """Whether y is a linear function of x now: no activation, no query, no offset in the connection."""
        offset = self.up_bias.any() or (self.activation == "linear" and self.down_bias.any())
        bent = self.activation != "linear" and bool(self.up.any())
        return not (offset or bent or self.query.any())

    def frames(self) -> Tensor:
        """G of every scale, columns in their own order: (S, N, V)."""
        sigma = gauge.kpz_widths(self.sigma_0, self.terms)
        return gauge.gaussians(self.mu, sigma, self.places.to(self.mu.dtype).unsqueeze(1))

    def coordinates(self, x: Tensor) -> Tensor:
        """z: (..., V) to (..., S, N)."""
        return (x @ self.frames().flatten(0, 1).mT).unflatten(-1, (len(self.windows), self.terms))

    def attention(self, z: Tensor) -> Tensor:
        """alpha: (..., S, N) to (..., S), which add up to 1."""
        q = z.mean(dim=-2) @ self.query.mT
        return torch.softmax(q @ self.keys.mT / self.terms**0.5, dim=-1)

    def transport(self, z: Tensor) -> Tensor:
        """tau_s(z_s) = z_s + A_s(z_s): (..., S, N) to the same."""
        h = torch.einsum("...sn,shn->...sh", z, self.down) + self.down_bias
        if self.activation == "tanh":
            h = torch.tanh(h)
        return z + torch.einsum("...sh,snh->...sn", h, self.up) + self.up_bias

    def links(self) -> Tensor:
        """1 + A_s without activation and offset, the matrix of each transport: (S, N, N)."""
        return torch.eye(self.terms, dtype=self.up.dtype, device=self.up.device) + self.up @ self.down

    def weight_free_forward(self, x: Tensor) -> Tensor:
        z = self.coordinates(x)
        weighted = self.attention(z).unsqueeze(-1) * self.transport(z)
        return weighted.flatten(-2) @ self.hw.permute(0, 2, 1).flatten(0, 1)

    def to_dense(self) -> Tensor:
        """The matrix of the layer, when it is linear.

        Raises:
            ValueError: when it is not.
        """
        if not self.linear:
            raise ValueError(
                "This layer is not linear: its query, or its connection's activation or offset, is not zero, so no "
                "matrix is equal to it; call it instead."
            )
        return (self._readout() @ self.frames()).sum(0)

    def storage(self) -> Mapping[str, Stored]:
        scales, n = len(self.windows), self.terms
        return {
            "hw": Stored(scales * self.out_features * n),
            "mu": Stored(scales * n),
            "sigma_0": Stored(scales),
            "permutations": Stored(scales * self.in_features, scales * permutation_bits(self.in_features)),
            "connections": Stored(connection_count(n, scales)),
            "attention": Stored(scales * n + n * n),
        }

    @classmethod
    @at_any_scale
    def from_dense(cls, w: Tensor, terms: int = 8, *, windows: Sequence[int] = WINDOWS) -> Self:
        """Of a matrix. Scale after scale, widest window first, is resolved as an L4 from what the others have left (so
        each sorts the columns its own way); at the end all amplitudes together by least squares. The connection stays
        zero, because no other would be nearer.

        Args:
            w: (out_features, in_features).
            terms: N.
            windows: s, a name for each scale.
        Raises:
            ValueError: as the class, and for a matrix that is empty or not finite.
        """
        check_terms(terms, w.shape[1])
        _check_windows(windows)
        rung = cls(w.shape[1], w.shape[0], terms, windows=windows).to(w)
        rest = w
        with torch.no_grad():
            for scale in sorted(range(len(windows)), key=lambda each: -windows[each]):
                found = resolve(rest, terms)
                rung.mu[scale], rung.sigma_0[scale], rung.places[scale] = found.mu, found.sigma_0, found.places
                rest = rest - found.hw @ rung.frames()[scale]
            rung._set_readout(gauge.amplitudes(w, rung.frames().flatten(0, 1)))
        return rung

    @classmethod
    def from_l4_bridges(
        cls, bridges: Sequence[MobiusHarmonicBridge], V: int, tokens: Tensor,
        k0s: Sequence[Tensor | None] | None = None, *, product: str = "printed", sweeps: int = 3,
    ) -> Self:  # fmt: skip
        """Of one bridge per window, which are derived from the tokens here. The target is the mean of their matrices.

        Cascades and hw_s come from the bridges. The connections are found by alternating least squares: for one scale
        at a time, the link that brings the sum nearest to the target, in closed form. Ours, because the source calls
        them learned, and the rung free of gradients.

        Args:
            bridges: with different windows and the same number of terms.
            V: size of the vocabulary.
            tokens: (T,), as `log_cooccurrence`.
            k0s: one kernel per bridge; None, or None for one of them, takes `math.kernel` of its D.
            product: as `MobiusHarmonicBridge.derive`.
            sweeps: rounds over the scales.
        Raises:
            ValueError: no bridge, bridges that differ in their terms, another number of kernels; or as `derive`.
        """
        bridges = list(bridges)
        k0s = [None] * len(bridges) if k0s is None else list(k0s)
        if not bridges or len({bridge.terms for bridge in bridges}) > 1:
            raise ValueError("bridges must hold at least one MobiusHarmonicBridge, and all must have the same terms.")
        if len(k0s) != len(bridges):
            raise ValueError(f"k0s holds {len(k0s)} kernels for {len(bridges)} bridges; give one each, or None.")
        _check_windows([bridge.window for bridge in bridges])
        rung = cls(V, V, bridges[0].terms, windows=[bridge.window for bridge in bridges])
        target = torch.zeros(V, V)
        with torch.no_grad():
            for scale, (bridge, k0) in enumerate(zip(bridges, k0s, strict=True)):
                w = bridge.target(tokens, V, k0, product=product)
                bridge._adopt(w)
                target += w / len(bridges)
                rung.hw[scale], rung.mu[scale], rung.sigma_0[scale] = bridge.hw, bridge.mu, bridge.sigma_0
                rung.places[scale] = bridge.places
            rung._connect(target, sweeps)
        return rung

    @torch.no_grad()
    def change_gauge(self, bases: Tensor) -> Self:
        """Another basis in each transported fibre, in place: links g_s (1 + A_s), amplitudes hw_s g_s^-1. The matrix
        stays the same.

        Args:
            bases: (S, N, N), invertible; N <= 32, else the connection's middle is too narrow to hold them.
        Raises:
            ValueError: when N is too large, or the layer is not linear.
        """
        if self.terms > HIDDEN or not self.linear:
            raise ValueError(f"change_gauge needs a linear layer of at most {HIDDEN} terms.")
        links = bases @ self.links()
        self.hw.copy_(torch.linalg.solve(bases, self.hw, left=False))
        self._set_links(links)
        return self

    def _readout(self) -> Tensor:
        """alpha_s hw_s (1 + A_s), the amplitudes of the Gaussians themselves: (S, out, N)."""
        return self.hw @ self.links() / len(self.windows)

    def _set_readout(self, readout: Tensor) -> None:
        """Amplitudes (out, S N) of all Gaussians, with a connection that is zero."""
        self.hw.copy_(readout.unflatten(1, (len(self.windows), self.terms)).permute(1, 0, 2) * len(self.windows))
        self.up.zero_()

    def _set_links(self, links: Tensor) -> None:
        """A_s = links - 1 as a product through the narrow middle: exact up to N = 32, else its best rank-32 part."""
        u, s, vh = torch.linalg.svd(links - torch.eye(self.terms, dtype=links.dtype, device=links.device))
        rank = min(HIDDEN, self.terms)
        self.up.zero_()
        self.down.zero_()
        self.up[:, :, :rank] = u[:, :, :rank] * s[:, None, :rank]
        self.down[:, :rank] = vh[:, :rank]

    def _connect(self, target: Tensor, sweeps: int) -> None:
        """The links that bring the layer nearest to a matrix, scale by scale, beginning with 1.

        With H_st = hw_s^T hw_t and K_ts = G_t G_s^T all of it happens among N x N matrices: what a step changes is
        H_ss^+ (S hw_s^T target G_s^T - sum_t H_st T_t K_ts) K_ss^+, which cannot make the error larger.
        """
        scales, hw, g = range(len(self.windows)), self.hw.double(), self.frames().double()
        h, k = torch.einsum("sio,tip->stop", hw, hw), torch.einsum("tnv,spv->tsnp", g, g)
        aim = torch.stack([hw[s].mT @ (target @ g[s].mT.to(target)).double() for s in scales]) * len(self.windows)
        links = self.links().double()
        for _ in range(sweeps):
            for s in scales:
                rest = aim[s] - sum(h[s, t] @ links[t] @ k[t, s] for t in scales)
                # directions in which hw or G are a thousandth of their strongest stay as they are: links stay moderate
                inner = (torch.linalg.pinv(each[s, s], rtol=1e-6, hermitian=True) for each in (h, k))
                links[s] += next(inner) @ rest @ next(inner)
        self._set_links(links.to(self.hw))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, windows={self.windows}, activation={self.activation!r}"


def connection_count(terms: int, scales: int = 3) -> int:
    """Numbers of the connections: scales (N 32 + 32 + 32 N + N). For N = 8, 1,656 (the seed prints 1,584)."""
    return scales * (2 * HIDDEN * terms + HIDDEN + terms)


def seed_count(out_features: int, terms: int = 8, scales: int = 3) -> int:
    """What seed 003's formulas add up to: per scale out N 2 + N, the connections, and 3 N + N N of attention.

    For N = 8 that is 49,768 at 1,000 outputs. (The seed prints 3.44.)
    """
    return (
        scales * (2 * out_features * terms + terms) + connection_count(terms, scales) + scales * terms + terms * terms
    )


def _check_windows(windows: Sequence[int]) -> None:
    if not len(windows) or len(set(windows)) != len(windows) or min(windows) < 1:
        raise ValueError(f"windows must be at least one number of words from 1 on, and none twice, not {windows!r}.")
