"""L5: three scales at once, each carried into a common fibre and weighted by attention."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import Rung, Stored, at_any_scale, check_matrix, check_terms, check_whole
from mobius_lib.gauge.bits import permutation_bits
from mobius_lib.gauge.bridge import MobiusHarmonicBridge, Resolution, resolve
from mobius_lib.gauge.fit import descend, share_left
from mobius_lib.gauge.harmonic import spread_positions

WINDOWS = (5, 15, 50)
"""Windows of co-occurrence, in tokens; each is the name of a scale."""
HIDDEN = 32
"""Width of the connection's middle layer, as in the note."""
ACTIVATIONS = ("linear", "tanh")
ROUTES = ("direct", "steps", "path")
"""How a scale's vector gets into the common fibre; `MetaMobiusLinear` says what each is."""
PIECES = 8
"""Into which a link is cut where its connection bends: steps of Runge and Kutta's fourth order."""
BETAS = ("kpz", "root", "free")
EXPONENTS = (0.0, 1 / 6, gauge.KPZ, 1 / 2, 2 / 3, 1.0)
"""Tried for each scale in `from_dense` where its exponent is free."""
PARTS: dict[str, tuple[str, ...]] = {
    "connection": ("down", "down_bias", "up", "up_bias"),
    "attention": ("query", "keys"),
    "cascade": ("mu", "sigma_0", "beta"),
}
"""What `learn` can train, by name."""


class MetaMobiusLinear(Rung):
    """L5: y = sum_s alpha_s hw_s tau_s(z_s), where z_s = G_s x are the N coordinates of x in the fibre of scale s.

        transport   tau_s(z) = z + A_s(z), A_s two linear maps N -> 32 -> N with biases: the printed first-order step
        attention   alpha = softmax over s of q . k_s / sqrt(N), with q = W_q (mean of the z_s)
        cascades    one L4 each: G_s[k, j] = exp(-(pi_s(j) - mu_sk)^2 / (2 sigma_s^2 k^(2/3)))

    Choices that are ours, because the source is silent or contradicts itself:

        It counts W_q as N x N while x has V numbers, and the fibre as N while it calls it R^3N: so attention and
        transport act on the N coordinates z.
        It counts mu as out x N. Then there would be no z in common to which they could be applied; so mu is shared by
        the rows, N numbers per scale. `seed_count` is the note's own sum; this layer stores fewer.
        It says neither what A_s does between its two maps nor how y stays linear. "linear" does nothing, so A_s is in
        gl(N) as printed; "tanh" is the perceptron that it also speaks of.
        Keys are drawn at random and W_q starts as zero, so every alpha_s starts as 1 / 3.
        It speaks of transport between scales, of a path-ordered exponential, and prints f + A(f). `route` has all
        three. "direct": the printed step from each scale to the common fibre. "steps" and "path": A_s is the connection
        between one window and the next wider one (of the widest, the common fibre), and a vector goes 5 -> 15 -> 50 ->
        common, in each link by the printed step, or by the exponential, exp(A_s) for a linear connection and else the
        flow df/dx = A_s(f) from 0 to 1: the path-ordered product. (With the note's minus sign, its A is minus this.)
        It ties all widths to k^(1/3), and its exponents to beta_0 / sqrt(s). `beta` has both, and one of its own for
        each scale: "kpz", "root", "free".

    With the connection linear and W_q zero, as `from_dense` and `from_l4_bridges` leave them, this is a linear map and
    `to_dense` its matrix. **Then the transport is pure gauge: hw_s (1 + A_s) is a free out x N matrix with or without
    A_s**, so it costs numbers and allows no matrix that would be out of reach without it; `change_gauge` shows it.

    Args:
        in_features, out_features, terms, bias, device, dtype: as `Rung`; terms is N.
        windows: s, a name for each scale.
        activation: "linear" or "tanh".
        route: "direct", "steps" or "path".
        beta: "kpz" for widths sigma_0 k^(1/3), and nothing to store; "root" for k^(beta_0 / sqrt(s)), one number, with
            which the narrowest window starts at 1/3; "free" for k^(beta_s), a number for each scale.
    Raises:
        ValueError: as `Rung`; no window, a window twice, or an unknown activation, route or beta.
    Source:
        the MetaMobius note; what is ours is said above.
    """

    level = "L5"
    places: Tensor
    beta: nn.Parameter | None

    def __init__(
        self, in_features: int, out_features: int, terms: int = 8, *, windows: Sequence[int] = WINDOWS,
        activation: str = "linear", route: str = "direct", beta: str = "kpz", bias: bool = False, device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        _check_windows(windows)
        for name, value, known in (
            ("activation", activation, ACTIVATIONS), ("route", route, ROUTES), ("beta", beta, BETAS)
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"There is no {name}={value!r}; there is {' and '.join(known)}.")
        self.windows, self.activation, self.route, self.law = tuple(windows), activation, route, beta
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
        first = {"root": torch.tensor(gauge.KPZ * min(windows) ** 0.5), "free": torch.full((scales,), gauge.KPZ)}
        self.register_parameter("beta", nn.Parameter(first[beta]) if beta in first else None)
        self.to(device, dtype or torch.get_default_dtype())

    @property
    def linear(self) -> bool:
        """Whether y is a linear function of x now: no activation, no query, no offset in the connection."""
        offset = self.up_bias.any() or (self.activation == "linear" and self.down_bias.any())
        bent = self.activation != "linear" and bool(self.up.any())
        return not (offset or bent or self.query.any())

    def exponents(self) -> Tensor:
        """beta_s, by which the widths of each scale grow: (S,)."""
        if self.beta is None:
            return torch.full_like(self.sigma_0, gauge.KPZ)
        roots = torch.tensor(self.windows, dtype=self.beta.dtype, device=self.beta.device).sqrt()
        return self.beta / roots if self.law == "root" else self.beta

    def frames(self) -> Tensor:
        """G of every scale, columns in their own order: (S, N, V)."""
        sigma = gauge.kpz_widths(self.sigma_0, self.terms, gauge.KPZ if self.beta is None else self.exponents())
        return gauge.gaussians(self.mu, sigma, self.places.to(self.mu.dtype).unsqueeze(1))

    def coordinates(self, x: Tensor) -> Tensor:
        """z: (..., V) to (..., S, N)."""
        return (x @ self.frames().flatten(0, 1).mT).unflatten(-1, (len(self.windows), self.terms))

    def attention(self, z: Tensor) -> Tensor:
        """alpha: (..., S, N) to (..., S), which add up to 1."""
        q = z.mean(dim=-2) @ self.query.mT
        return torch.softmax(q @ self.keys.mT / self.terms**0.5, dim=-1)

    def transport(self, z: Tensor) -> Tensor:
        """tau_s(z_s), of the printed route z_s + A_s(z_s): (..., S, N) to the same."""
        if self.route != "direct":
            return self._by_links(z)
        h = self._bend(torch.einsum("...sn,shn->...sh", z, self.down) + self.down_bias)
        return z + torch.einsum("...sh,snh->...sn", h, self.up) + self.up_bias

    def _bend(self, h: Tensor) -> Tensor:
        """What the connection does between its two maps: nothing, or tanh."""
        return h if self.activation == "linear" else torch.tanh(h)

    def _by_links(self, z: Tensor) -> Tensor:
        """`transport` of the other routes: link after link, each for all scales that it lies ahead of."""
        vectors = list(z.unbind(-2))
        for at, scale in enumerate(self._path()):
            for way in self._path()[: at + 1]:
                vectors[way] = self._follow(vectors[way], scale)
        return torch.stack(vectors, dim=-2)

    def _path(self) -> list[int]:
        """The scales from the narrowest window to the widest."""
        return sorted(range(len(self.windows)), key=self.windows.__getitem__)

    def _follow(self, f: Tensor, scale: int) -> Tensor:
        """Along the link that begins at a scale: (..., N) to the same."""

        def connection(f: Tensor) -> Tensor:
            h = f @ self.down[scale].mT + self.down_bias[scale]
            return self._bend(h) @ self.up[scale].mT + self.up_bias[scale]

        if self.route == "steps":
            return f + connection(f)
        if self.activation == "linear":  # df/dx = A f + a, solved: the exponential of A with a column more
            n, offset = self.terms, self.up[scale] @ self.down_bias[scale] + self.up_bias[scale]
            flow = torch.cat((self.up[scale] @ self.down[scale], offset.unsqueeze(1)), 1)
            exact = torch.linalg.matrix_exp(nn.functional.pad(flow, (0, 0, 0, 1)))
            return f @ exact[:n, :n].mT + exact[:n, n]
        dx = 1 / PIECES
        for _ in range(PIECES):
            first = connection(f)
            second = connection(f + dx / 2 * first)
            third = connection(f + dx / 2 * second)
            f = f + dx / 6 * (first + 2 * second + 2 * third + connection(f + dx * third))
        return f

    def links(self) -> Tensor:
        """The matrix of each scale's transport, without activation and offset; 1 + A_s if direct: (S, N, N)."""
        a, one = self.up @ self.down, torch.eye(self.terms, dtype=self.up.dtype, device=self.up.device)
        if self.route == "direct":
            return one + a
        path = self._path()
        found = {
            scale: gauge.path_ordered(-a[path[at:]])
            if self.route == "path"
            else gauge.holonomy([one + a[each] for each in path[at:]])
            for at, scale in enumerate(path)
        }
        return torch.stack([found[scale] for scale in range(len(path))])

    def between(self, first: int, second: int) -> Tensor:
        """tau from one window to another, by way of the common fibre, without activation and offset: (N, N).

        Laws: 1 from a window to itself; from 5 to 50 it is that from 15 to 50 times that from 5 to 15; the way back is
        the inverse.

        Args:
            first, second: windows.
        Raises:
            ValueError: for a window that the layer does not have.
        """
        for window in (first, second):
            if window not in self.windows:
                raise ValueError(f"There is no window {window}; the layer has {', '.join(map(str, self.windows))}.")
        links = self.links()
        start, end = (links[self.windows.index(window)] for window in (first, second))
        return torch.linalg.solve(end, start)

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
            **({} if self.beta is None else {"beta": Stored(self.beta.numel())}),
        }

    @classmethod
    @at_any_scale
    def from_dense(
        cls, w: Tensor, terms: int = 8, *, windows: Sequence[int] = WINDOWS, activation: str = "linear",
        route: str = "direct", beta: str = "kpz",
    ) -> Self:  # fmt: skip
        """Of a matrix. Scale after scale, widest window first, is resolved as an L4 from what the others have left (so
        each sorts the columns its own way); at the end all amplitudes together by least squares. The connection stays
        zero, because no other would be nearer.

        Args:
            w: (out_features, in_features).
            terms: N.
            windows: s, a name for each scale.
            activation, route, beta: as the class. Free exponents are the best of `EXPONENTS`, scale by scale.
        Raises:
            ValueError: as the class, and for a matrix that is empty or not finite.
        """
        check_terms(terms, w.shape[1])
        _check_windows(windows)
        rung = cls(
            w.shape[1], w.shape[0], terms, windows=windows, activation=activation, route=route, beta=beta
        ).to(w)  # fmt: skip
        rest = w
        with torch.no_grad():
            for scale in sorted(range(len(windows)), key=lambda each: -windows[each]):
                tried = (
                    EXPONENTS if beta == "free" else (rung.exponents()[scale].item() if beta == "root" else gauge.KPZ,)
                )
                found, exponent, rest = min(
                    (rung._resolved(scale, rest, exponent) for exponent in tried),
                    key=lambda each: each[2].norm().item(),
                )
                rung._place(scale, found, exponent)
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
            ValueError: when N is too large, or the layer is not linear, or goes another route than the direct one.
        """
        if self.terms > HIDDEN or not self.linear or self.route != "direct":
            raise ValueError(f"change_gauge needs a linear layer of at most {HIDDEN} terms and route='direct'.")
        links = bases @ self.links()
        self.hw.copy_(torch.linalg.solve(bases, self.hw, left=False))
        self._set_links(links)
        return self

    @torch.no_grad()
    def solve(self, x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> float:
        """The heights hw that bring the layer nearest to y on rows x, by least squares, in place: the closed form.

        Attention and transport stay as they are; y is linear in hw whatever these do to x. A bias stays, too.

        Args:
            x: (T, in_features), T at least the S N heights of an output.
            y: (T, out_features).
        Returns:
            the mean squared error that is left.
        Raises:
            ValueError: for other shapes, or what is not finite.
        """
        x, y = self._pairs(x, y)
        heights = gauge.amplitudes(self._aim(y), self._features(self.coordinates(x)))
        self.hw.copy_(heights.unflatten(1, (len(self.windows), self.terms)).permute(1, 0, 2))
        return (self._wide_forward(x) - y).square().mean().item()

    def learn(
        self, x: Tensor | np.ndarray, y: Tensor | np.ndarray, parts: Collection[str] = ("connection", "attention"), *,
        steps: int = 100,
    ) -> list[float]:  # fmt: skip
        """Train some parts of the layer to give y for rows x, in place, with the heights that are best beside them.

        By L-BFGS on all rows at once, in float64, of what the best heights leave (variable projection: Golub and
        Pereyra, 1973); at the end the heights are set as by `solve`. The rest of the layer stays as it is. It gets no
        worse on these rows, and the same call gives the same: nothing is drawn.

        Args:
            x: (T, in_features), T at least the S N heights of an output.
            y: (T, out_features).
            parts: of `PARTS`.
            steps: of L-BFGS, at most.
        Returns:
            the mean squared error that the best heights leave: at first, wherever it was looked at, and at the end.
        Raises:
            ValueError: for other shapes, what is not finite, or an unknown part.
        """
        if not parts or not set(parts) <= set(PARTS):
            raise ValueError(f"parts must name some of {', '.join(PARTS)}, not {', '.join(map(str, parts))}.")
        x, y = self._pairs(x, y)
        check_whole("steps", steps)
        names = [name for part in parts for name in PARTS[part] if getattr(self, name) is not None]
        names = [name for name in names if getattr(self, name).requires_grad]
        if not names:
            raise ValueError(f"Nothing can be trained of {', '.join(parts)}: call requires_grad_() first.")
        wide = copy.deepcopy(self).double()
        rows, aim = x.double(), self._aim(y).double()
        kept = None if "cascade" in parts else wide.coordinates(rows).detach()

        def left() -> Tensor:
            z = wide.coordinates(rows) if kept is None else kept
            return share_left(wide._features(z), aim, gauge.SMALLEST_DIRECTION)

        before = self.solve(x, y)
        first = {name: getattr(self, name).detach().clone() for name in names}
        seen = descend(left, [getattr(wide, name) for name in names], steps)
        with torch.no_grad():
            for made in ({name: getattr(wide, name) for name in names}, first):
                for name, value in made.items():
                    getattr(self, name).copy_(value)
                after = self.solve(x, y)
                if after <= before:  # else rounding has eaten it, and what was there comes back
                    break
        size = aim.square().mean().item()
        return [before, *(share * size for share in seen), after]

    def _features(self, z: Tensor) -> Tensor:
        """alpha_s tau_s(z_s), which the heights are multiplied by: (T, S, N) to (S N, T)."""
        return (self.attention(z).unsqueeze(-1) * self.transport(z)).flatten(-2).mT

    def _aim(self, y: Tensor) -> Tensor:
        """What is left of y for the heights: (T, out) to (out, T)."""
        return (y if self.bias is None else y - self.bias.detach().to(y.dtype)).mT

    def _pairs(self, x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        x, y = check_matrix(x, "x").to(self.hw), check_matrix(y, "y").to(self.hw)
        if x.shape[1] != self.in_features or y.shape != (len(x), self.out_features):
            raise ValueError(
                f"x must be (T, {self.in_features}) and y (T, {self.out_features}), not {tuple(x.shape)} and "
                f"{tuple(y.shape)}."
            )
        return x, y

    def _place(self, scale: int, found: Resolution, exponent: float) -> None:
        """The cascade of one scale."""
        self.mu[scale], self.sigma_0[scale], self.places[scale] = found.mu, found.sigma_0, found.places
        if self.beta is not None and self.law == "free":
            self.beta[scale] = exponent

    def _resolved(self, scale: int, w: Tensor, exponent: float) -> tuple[Resolution, float, Tensor]:
        """The cascade of one scale for a matrix, with these widths; and what it leaves."""
        found = resolve(w, self.terms, exponent=exponent)
        self._place(scale, found, exponent)
        return found, exponent, w - found.hw @ self.frames()[scale]

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
        said = f"{super().extra_repr()}, windows={self.windows}, activation={self.activation!r}"
        return f"{said}, route={self.route!r}, beta={self.law!r}"


class Bundle(NamedTuple):
    """Dimensions of what the note calls the product bundle, and of what stands for it here."""

    base: int
    """A circle for each scale."""
    fibre_sum: int
    """3N numbers of each scale, side by side: what is stored of one output."""
    fibre: int
    """Of the tensor product of the fibres, as printed: (3N)^S."""
    algebra: int
    """Of gl of that fibre, in which a connection 1-form takes its values, for each direction of the base."""
    algebra_of_scales: int
    """Of gl(3N), as the note says of A, once for each scale."""
    connection: int
    """Numbers of the connections that the layer has: `connection_count`."""


def bundle(terms: int = 8, scales: int = 3) -> Bundle:
    """The dimensions of E = tensor_s E_s, E_s = S^1 x R^(3N). For N = 8 the fibre has 13,824.

    Source:
        the MetaMobius note prints S^1, R^(3N), the tensor product and gl(3N), and counts none of them.
    """
    fibre = 3 * terms
    return Bundle(
        scales, scales * fibre, fibre**scales, fibre ** (2 * scales), scales * fibre**2, connection_count(terms, scales)
    )


def connection_count(terms: int, scales: int = 3) -> int:
    """Numbers of the connections: scales (N 32 + 32 + 32 N + N). For N = 8, 1,656 (the note prints 1,584)."""
    return scales * (2 * HIDDEN * terms + HIDDEN + terms)


def seed_count(out_features: int, terms: int = 8, scales: int = 3) -> int:
    """What the note's formulas add up to: per scale out N 2 + N, the connections, and 3 N + N N of attention.

    For N = 8 that is 49,768 at 1,000 outputs. (The note prints 3.44.)
    """
    return (
        scales * (2 * out_features * terms + terms) + connection_count(terms, scales) + scales * terms + terms * terms
    )


def _check_windows(windows: Sequence[int]) -> None:
    if not len(windows) or len(set(windows)) != len(windows) or min(windows) < 1:
        raise ValueError(f"windows must be at least one number of words from 1 on, and none twice, not {windows!r}.")
