"""The plain ways to store a matrix in fewer bits, which the ladder is measured against.

Each gives the approximation and the bits of everything that is needed to rebuild it, by the rule of `gauge/bits.py`. So
each keeps a matrix that is symmetric as such: half its entries, or half its coefficients, or one factor in place of
two. `at_bits` asks one of them for the best it can do within a number of bits.

Source: textbook facts; the code is ours.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge.base import check_matrix, check_whole
from mobius_lib.gauge.bits import FLOAT_BITS, entries, is_symmetric, places_bits
from mobius_lib.gauge.fit import seeded_svd

GROUP = 64
"""Weights that share one scale, when quantised."""

EXACT = 2_000
"""Up to so many rows or columns a singular value decomposition is exact."""


class Approximation(NamedTuple):
    """What a baseline returns."""

    matrix: Tensor
    """As large as the one it was made from."""
    bits: int
    """Of everything that is needed to rebuild it."""


def truncated_svd(w: Tensor, rank: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The nearest matrix of a rank, as U sqrt(S) and sqrt(S) V^T: rank (M + V) floats.

    Of a symmetric matrix U and V are the same but for signs, and eigenvectors: rank V floats, and rank signs. Up to
    2,000 rows or columns exact; beyond that by random projection with four power iterations.

    Args:
        w: (M, V).
        rank: 0 ... min(M, V).
        float_bits: of each number.
    Raises:
        ValueError: a matrix that is empty or not finite, or a rank that it cannot have.
    """
    w = check_matrix(w)
    rank = check_whole("rank", rank, 0, min(w.shape))
    small = min(w.shape) <= EXACT
    if is_symmetric(w):
        # what a random projection finds is a span; eight more directions are drawn, so that the last are good too
        basis = None if small else seeded_svd(w, rank + 8)[0]
        s, turn = torch.linalg.eigh(w if basis is None else basis.mT @ w @ basis)
        kept = s.abs().argsort(descending=True)[:rank]
        s, turn = s[kept], turn[:, kept]
        u = v = turn if basis is None else basis @ turn
    elif small:
        u, s, vh = torch.linalg.svd(w, full_matrices=False)
        u, s, v = u[:, :rank], s[:rank], vh[:rank].mT
    else:
        u, s, v = seeded_svd(w, rank)
    return Approximation((u * s) @ v.mT, _svd_bits(w, rank, float_bits))


def top_k_dct(w: Tensor, k: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The k largest coefficients of the discrete cosine transform in both directions: k floats and where they stand.

    Args:
        w: (M, V).
        k: 0 ... M V; of a symmetric matrix, whose transform is symmetric too, 0 ... V (V + 1) / 2.
        float_bits: of each number.
    Raises:
        ValueError: as `truncated_svd`.
    """
    w = check_matrix(w)
    k = check_whole("k", k, 0, entries(w))
    kept = _largest(dct(dct(w).mT).mT, k, is_symmetric(w))
    return Approximation(inverse_dct(inverse_dct(kept.mT).mT), _sparse_bits(w, k, float_bits))


def magnitude_pruning(w: Tensor, k: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The k largest entries, the others 0: k floats and where they stand.

    Args:
        w: (M, V).
        k: 0 ... M V; of a symmetric matrix 0 ... V (V + 1) / 2.
        float_bits: of each number.
    Raises:
        ValueError: as `truncated_svd`.
    """
    w = check_matrix(w)
    k = check_whole("k", k, 0, entries(w))
    return Approximation(_largest(w, k, is_symmetric(w)), _sparse_bits(w, k, float_bits))


def quantised(w: Tensor, bits: int = 4, *, group: int = GROUP, float_bits: int = FLOAT_BITS) -> Approximation:
    """Each entry one of 2^bits evenly spaced values between the least and the largest of its group of neighbours.

    Args:
        w: (M, V).
        bits: of an entry, 1 ... 16.
        group: entries that share a least and a largest value, two floats.
        float_bits: of these two.
    Raises:
        ValueError: a matrix that is empty or not finite, bits or group that make no sense.
    """
    w = check_matrix(w)
    bits, group = check_whole("bits", bits, most=16), check_whole("group", group)
    symmetric, above = is_symmetric(w), torch.ones_like(w, dtype=torch.bool)
    if symmetric:
        above.triu_()
    flat = w[above]
    short = -len(flat) % group
    groups = torch.cat((flat, flat[-1:].expand(short))).view(-1, group)
    low, high = groups.aminmax(dim=1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    level = ((groups - low) / torch.where(step > 0, step, 1.0)).round()
    matrix = torch.zeros_like(w)
    matrix[above] = (low + level * step).flatten()[: len(flat)]
    return Approximation(_mirrored(matrix, symmetric), _quantised_bits(w, bits, group, float_bits))


def at_bits(name: str, w: Tensor, bits: int, *, float_bits: int = FLOAT_BITS) -> Approximation | None:
    """The best that a baseline can do within a number of bits.

    Args:
        name: in `BASELINES`.
        w: (M, V).
        bits: it may use at most.
        float_bits: of each float.
    Returns:
        None when it has nothing so small (a rank of 0, or less than 1 bit an entry).
    Raises:
        ValueError: another name, or a matrix that is empty or not finite.
    """
    if name not in BASELINES:
        raise ValueError(f"There is no baseline {name!r}; there are {', '.join(BASELINES)}.")
    w = check_matrix(w)
    if name == "svd":
        most = min(bits // _svd_bits(w, 1, float_bits), *w.shape)
    elif name == "quantised":
        most = min(16, (bits - _quantised_bits(w, 0, GROUP, float_bits)) // entries(w))
    else:
        all_of_them = entries(w)
        most = _most(lambda k: k * float_bits + places_bits(all_of_them, k), bits, all_of_them)
    return None if most < 1 else BASELINES[name](w, most, float_bits=float_bits)


def dct(x: Tensor) -> Tensor:
    """The orthonormal discrete cosine transform (type 2) along the last axis, through one FFT of the same length.

    X[k] = c_k sum_j x[j] cos(pi (2 j + 1) k / (2 V)), c_0 = sqrt(1 / V), c_k = sqrt(2 / V). Laws: keeps lengths;
    `inverse_dct` undoes it.
    """
    size = x.shape[-1]
    folded = torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), dim=-1)
    turned = torch.fft.fft(folded) * _turns(size, x)
    return turned.real * _lengths(size, x)


def inverse_dct(x: Tensor) -> Tensor:
    """Undoes `dct`."""
    size = x.shape[-1]
    real = x / _lengths(size, x)
    imaginary = -torch.cat((torch.zeros_like(real[..., :1]), real[..., 1:].flip(-1)), dim=-1)
    folded = torch.fft.ifft(torch.complex(real, imaginary) * _turns(size, x).conj()).real
    result = torch.empty_like(x)
    half = (size + 1) // 2
    result[..., ::2], result[..., 1::2] = folded[..., :half], folded[..., half:].flip(-1)
    return result


BASELINES: dict[str, Callable[..., Approximation]] = {
    "svd": truncated_svd,
    "dct": top_k_dct,
    "magnitude": magnitude_pruning,
    "quantised": quantised,
}
"""By the names that `at_bits` knows."""


def _turns(size: int, like: Tensor) -> Tensor:
    angles = -math.pi / (2 * size) * torch.arange(size, dtype=like.dtype, device=like.device)
    return torch.polar(torch.ones_like(angles), angles)


def _lengths(size: int, like: Tensor) -> Tensor:
    lengths = torch.full((size,), math.sqrt(2 / size), dtype=like.dtype, device=like.device)
    lengths[0] = math.sqrt(1 / size)
    return lengths


def _svd_bits(w: Tensor, rank: int, float_bits: int) -> int:
    return rank * (len(w) * float_bits + 1 if is_symmetric(w) else sum(w.shape) * float_bits)


def _sparse_bits(w: Tensor, k: int, float_bits: int) -> int:
    return k * float_bits + places_bits(entries(w), k)


def _quantised_bits(w: Tensor, bits: int, group: int, float_bits: int) -> int:
    return entries(w) * bits + 2 * math.ceil(entries(w) / group) * float_bits


def _largest(x: Tensor, k: int, symmetric: bool) -> Tensor:
    """The k numbers that hold most of x's norm, and 0; where x is symmetric, k pairs or numbers of the diagonal."""
    worth = x.abs()
    if symmetric:
        worth.diagonal().mul_(0.5**0.5)  # beside a pair, which stands for two
        worth.masked_fill_(torch.ones_like(x, dtype=torch.bool).tril_(-1), -1.0)
    places = worth.flatten().topk(k, sorted=False).indices
    kept = torch.zeros_like(x).flatten()
    kept[places] = x.flatten()[places]
    kept = kept.view_as(x)
    return _mirrored(kept, symmetric)


def _mirrored(upper: Tensor, symmetric: bool) -> Tensor:
    """What stands above the diagonal also below it, if that is asked for."""
    return upper + upper.triu(1).mT if symmetric else upper


def _most(cost: Callable[[int], int], bits: int, limit: int) -> int:
    """The largest k up to the limit whose cost, which grows with k, is within the bits."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= bits else (low, middle - 1)
    return low
