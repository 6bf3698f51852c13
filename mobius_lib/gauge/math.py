"""Gaussian cascades, circular convolution, and transport between scales: pure functions.

Each function is one equation of chapter 4. They import only torch and hold no state; the rungs of the ladder bind them
to parameters.

Shapes: `V` columns (or the side of a square matrix), `N` Gaussians, `F` the dimension of a fibre, `...` any number of
leading axes. Positions and widths are in columns.

Source: the MetaMobius note and its siblings' formulas, unless a docstring says "ours" or names a textbook fact.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

KPZ = 1 / 3
"""Exponent of the cascade's widths. In the Kardar-Parisi-Zhang class heights spread as time^(1/3)."""

SMALLEST_EIGENVALUE = 1e-6
"""Beside the largest: what is not above this counts as zero or negative (float32 rounding of a large matrix)."""

SMALLEST_DIRECTION = 1e-8
"""Beside the strongest eigenvalue of G G^T: weaker directions are not used."""


# --- cascades ---------------------------------------------------------------------------------------------------------


def gaussians(mu: Tensor, sigma: Tensor, places: Tensor) -> Tensor:
    """G_n(j) = exp(-(j - mu_n)^2 / (2 sigma_n^2)).

    Laws: 1 at j = mu; exp(-1/2) at a distance of sigma; even around mu; a shift of mu is a shift of j.

    Args:
        mu: (..., N), in columns; need not be whole.
        sigma: (..., N) or anything that spreads to it, positive.
        places: (V,), the place j of each column; after a permutation, where the column has moved to.
    Returns:
        (..., N, V).
    """
    return torch.exp(-0.5 * ((places - mu.unsqueeze(-1)) / sigma.unsqueeze(-1)).square())


def cascade(amplitudes: Tensor, mu: Tensor, sigma: Tensor, places: Tensor) -> Tensor:
    """W[j] = sum_n A_n exp(-(j - mu_n)^2 / (2 sigma_n^2)): one row, or one for each leading index.

    Args:
        amplitudes: (..., N).
        mu, sigma: (..., N) or (N,); in the latter case all rows share them.
        places: (V,).
    Returns:
        (..., V).
    """
    return (amplitudes.unsqueeze(-2) @ gaussians(mu, sigma, places)).squeeze(-2)


def kpz_widths(sigma_0: Tensor | float, terms: int, exponent: Tensor | float = KPZ) -> Tensor:
    """sigma_k = sigma_0 k^(1/3), k = 1 ... N.

    Law: `power_law` of it is the exponent, exactly.

    Args:
        sigma_0: (...,), width of the first.
        terms: N.
        exponent: another one, or (...,) one for each.
    Returns:
        (..., N).
    """
    first = torch.as_tensor(sigma_0)
    k = torch.arange(1, terms + 1, dtype=first.dtype if first.is_floating_point() else None, device=first.device)
    return first.unsqueeze(-1) * k ** (exponent.unsqueeze(-1) if isinstance(exponent, Tensor) else exponent)


def power_law(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The exponent b of y = a x^b, by least squares on the logarithms, and the standard error of b.

    Args:
        x, y: (N,), positive, N >= 3.
    Returns:
        b and its standard error (normal errors of equal size in log y).
    Raises:
        ValueError: fewer than three points, a value that is not positive, or all x equal.
    Source:
        a textbook fact.
    """
    if x.shape != y.shape or x.dim() != 1 or len(x) < 3:
        raise ValueError(f"x and y must be two lists of at least 3 numbers, not {tuple(x.shape)} and {tuple(y.shape)}.")
    if not ((x > 0) & (y > 0)).all():
        raise ValueError("x and y must be positive; a power law has no other values.")
    u, v = x.double().log(), y.double().log()
    u, v = u - u.mean(), v - v.mean()
    spread = u.square().sum()
    if spread == 0:
        raise ValueError("x must hold different values; else no exponent can be told.")
    slope = (u * v).sum() / spread
    variance = (v - slope * u).square().sum() / (len(x) - 2) / spread
    return slope.item(), variance.sqrt().item()


def amplitudes(w: Tensor, g: Tensor) -> Tensor:
    """The A for which A G is nearest to W: W G^+, the least squares solution in closed form.

    Law: with G fixed, A G has at most rank N; so it is no nearer to W than W's singular value decomposition cut off
    after N terms (Eckart and Young).

    Args:
        w: (M, V).
        g: (N, V), rows that may be nearly dependent: directions below 1e-4 of the strongest are left out, since they
            would ask for amplitudes that cancel each other beyond what float32 can hold.
    Returns:
        (M, N).
    """
    exact = g.double()
    values, vectors = torch.linalg.eigh(exact @ exact.mT)
    kept = values > SMALLEST_DIRECTION * values[-1].clamp_min(torch.finfo(torch.float64).tiny)
    inverse = exact.mT @ (vectors[:, kept] / values[kept]) @ vectors[:, kept].mT
    return torch.cat([(rows.double() @ inverse).to(w.dtype) for rows in w.split(1024)])


def symmetric_frame(g: Tensor) -> Tensor:
    """(G G^T)^(-1/2) G: the orthonormal rows with the same span that are nearest to those of G. Ours.

    Loewdin's orthogonalisation, a textbook fact. It depends on G alone, so it need not be stored. Directions that
    `amplitudes` leaves out are left out here: then the rows are those of a projection.

    Args:
        g: (N, V).
    Returns:
        (N, V).
    """
    exact = g.double()
    values, vectors = torch.linalg.eigh(exact @ exact.mT)
    kept = values > SMALLEST_DIRECTION * values[-1]
    # by a mask and not by an index, so that it also works where there are no values, as in tracing
    roots = torch.where(kept, values, torch.inf).rsqrt()
    return ((vectors * roots) @ vectors.mT @ exact).to(g.dtype)


# --- convolution ------------------------------------------------------------------------------------------------------


def circulant(k: Tensor) -> Tensor:
    """circ(k)[i, j] = k[(j - i) mod V]: (V,) to (V, V). Its first row is k; each row is the one above, moved by one."""
    # row i is the part of k k that begins at V - i; an index of V x V places would take more than the matrix
    return torch.cat((k, k)).unfold(0, len(k), 1)[1:].flip(0)


def circular_convolution(x: Tensor, k: Tensor) -> Tensor:
    """(x * k)[j] = sum_m x[m] k[(j - m) mod V] = IFFT(FFT(x) . FFT(k)): along the last axis.

    Law: x @ circ(k); commutes with every cyclic shift.

    Args:
        x: (..., V).
        k: (V,).
    Returns:
        (..., V).
    """
    size = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(k), n=size)


def fft_product(d: Tensor, k0: Tensor) -> Tensor:
    """IFFT2(FFT2(D) . FFT2(circ(k0))), the printed product, without forming FFT2 of either.

    It is the circular convolution of D with circ(k0) in both directions, and that is **always a circulant matrix**:

        sum_{a,b} D[a, b] k0[(j - b) - (i - a)]  depends on j - i alone,

    so of the V^2 numbers of D only the V sums along its (cyclic) diagonals are left: circ(diagonal sums * k0).

    Args:
        d: (V, V).
        k0: (V,).
    Returns:
        (V, V).
    """
    return circulant(circular_convolution(diagonal_sums(d), k0))


def fft_product_by_rows(d: Tensor, k0: Tensor) -> Tensor:
    """D circ(k0): each row of D convolved with k0. Ours: the product that keeps D, where `fft_product` does not."""
    return circular_convolution(d, k0)


def diagonal_sums(d: Tensor) -> Tensor:
    """s[m] = sum_a D[a, (a + m) mod V]: (V, V) to (V,)."""
    sums = d.new_zeros(len(d), dtype=torch.float64)
    j = torch.arange(len(d), device=d.device)
    for rows, numbers in zip(d.split(1024), j.split(1024), strict=True):
        sums.index_add_(0, ((j - numbers.unsqueeze(-1)) % len(d)).flatten(), rows.double().flatten())
    return sums.to(d.dtype)


def kernel(d: Tensor, eps: float = 0.1, *, floor: float = SMALLEST_EIGENVALUE) -> Tensor:
    """k0, the first row of Q diag(lambda^(eps - 1)) Q^T, where D = Q diag(lambda) Q^T.

    A power of a negative eigenvalue is no real number, and that of 0 is infinite; D = log(1 + counts) has about as many
    negative ones as positive. **Eigenvalues of at most `floor` times the largest are left out**: they add 0 (as in a
    pseudo-inverse), which is what clipping means here.

    Laws: for eps = 1 and D positive definite it is the first unit vector; for a positive circulant D,
    D circ(k0) = D^eps.

    All eigenvalues are computed, in float64, whatever the size: lambda^(eps - 1) lives on the smallest, which Lanczos'
    method finds last, so that it would be no faster.

    Args:
        d: (V, V), symmetric (of another matrix, the symmetric part is taken).
        eps: small and positive.
        floor: what counts as zero, beside the largest eigenvalue.
    Returns:
        (V,).
    Raises:
        ValueError: not square, or no eigenvalue is positive.
    """
    d = torch.as_tensor(d)
    if d.dim() != 2 or d.shape[0] != d.shape[1]:
        raise ValueError(f"d must be a square matrix of co-occurrences, but has the shape {tuple(d.shape)}.")
    values, basis = torch.linalg.eigh(d.to(torch.float64, copy=True).add_(d.mT).div_(2))
    kept = values > floor * values[-1]
    if values[-1] <= 0 or not kept.any():
        raise ValueError(
            "d has no positive eigenvalue, so lambda^(eps - 1) is defined for none; is it a matrix of co-occurrences?"
        )
    return (basis @ torch.where(kept, values.abs() ** (eps - 1) * basis[0], 0.0)).to(d.dtype)


# --- transport --------------------------------------------------------------------------------------------------------


def transport_first_order(f: Tensor, a: Tensor) -> Tensor:
    """tau(f) = f + A f, the printed step: the first two terms of exp(A) f.

    The note's own path-ordered exponential has a minus sign, exp(-integral A): its A is minus this one. As in
    `path_ordered`, a step along a path from x to x + dx is then `transport_first_order(f, -A(x) dx)`.

    Law: differs from exp(A) f by A^2 f / 2 and less, so with the square of the step.

    Args:
        f: (..., F), vectors of a fibre.
        a: (F, F).
    Returns:
        (..., F).
    """
    return f + f @ a.mT


def path_ordered(steps: Tensor) -> Tensor:
    """P exp(-integral A dx) = exp(-A_m) ... exp(-A_2) exp(-A_1): the first step of the path stands on the right.

    Laws: transport along a path is that along its second part times that along its first; along the path backwards it
    is the inverse; (g A_i g^-1 for a constant g) gives g U g^-1.

    Args:
        steps: (m, F, F), the integral of A over each of m short pieces, in the order of the path (`along`); a path
            without pieces gives 1.
    Returns:
        (F, F).
    """
    result = torch.eye(steps.shape[-1], dtype=steps.dtype, device=steps.device)
    for step in torch.linalg.matrix_exp(-steps) if len(steps) else ():
        result = step @ result
    return result


def along(connection: Callable[[float], Tensor], start: float, end: float, pieces: int) -> Tensor:
    """The integral of A over each piece of a straight path, by the middle: A(x) dx, with an error of order dx^3.

    Args:
        connection: x to A(x), (F, F).
        start, end: of the path; dx is negative when it runs backwards.
        pieces: m >= 1.
    Returns:
        (m, F, F).
    """
    dx = (end - start) / pieces
    return torch.stack([connection(start + (i + 0.5) * dx) * dx for i in range(pieces)])


def gauge_transform(
    connection: Callable[[float], Tensor], gauge: Callable[[float], Tensor], derivative: Callable[[float], Tensor]
) -> Callable[[float], Tensor]:
    """A' = g A g^-1 - (dg/dx) g^-1: the same connection after the basis of every fibre has been changed by g(x).

    Law: path_ordered(A') = g(end) path_ordered(A) g(start)^-1.

    Args:
        connection: x to A(x), (F, F).
        gauge: x to g(x), (F, F), invertible.
        derivative: x to dg/dx.
    Returns:
        x to A'(x).
    """

    def transformed(x: float) -> Tensor:
        g = gauge(x)
        return torch.linalg.solve(g, g @ connection(x) - derivative(x), left=False)

    return transformed


def frame_transport(source: Tensor, target: Tensor) -> Tensor:
    """The transport that two cascades themselves define: the vector of the target's fibre that is nearest. Ours.

    A vector f of a fibre stands for the row f^T G. Its transport is the f' for which f'^T G_target is nearest to
    f^T G_source: f' = (f^T G_source G_target^+)^T. No connection has to be learned for it.

    Laws: from a cascade to itself, 1; under changes of basis G -> g^-T G (so that f -> g f), it becomes
    g_target T g_source^-1; back and forth it is 1 only where the two span the same rows, else it shrinks.

    Args:
        source, target: (F, V), the Gaussians of two scales, columns in the same order.
    Returns:
        (F, F), to be applied to f from the left.
    """
    return amplitudes(source, target).mT


def holonomy(links: Sequence[Tensor]) -> Tensor:
    """Transport once round a closed loop, such as 5 -> 15 -> 50 -> 5: the last link on the left.

    What comes back need not be what went: the matrix that says how it turned. On a line, a connection A(x) dx gives 1
    for every loop, because the way back undoes the way out; first-order steps, and `frame_transport`, do not.

    Laws: after changes of basis, links become g_to T g_from^-1 and the holonomy g H g^-1 with the g of the point where
    it starts: its eigenvalues, trace and determinant stay.

    Args:
        links: (F, F) each, in the order of the loop.
    Returns:
        (F, F).
    """
    result = links[0]
    for link in links[1:]:
        result = link @ result
    return result
