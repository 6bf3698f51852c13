"""The plain ways to store a matrix in fewer bits, which the ladder is measured against.

Each gives the approximation and the bits of everything that is needed to rebuild it. `at_bits` asks one of them for the
best it can do within a number of bits.

Source: textbook facts; the code is ours.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge.base import FLOAT_BITS, check_matrix, index_bits
from mobius_lib.gauge.fit import seeded_svd

GROUP = 64
"""Weights that share one scale, when quantised."""


class Approximation(NamedTuple):
    """What a baseline returns."""

    matrix: Tensor
    """As large as the one it was made from."""
    bits: int
    """Of everything that is needed to rebuild it."""


def truncated_svd(w: Tensor, rank: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The nearest matrix of a rank, as U sqrt(S) and sqrt(S) V^T: rank (M + V) floats.

    Up to 2,000 rows or columns exact; beyond that by random projection with four power iterations.

    Args:
        w: (M, V).
        rank: 0 ... min(M, V).
        float_bits: of each number.
    Raises:
        ValueError: a matrix that is empty or not finite, or a rank that it cannot have.
    """
    w = check_matrix(w)
    _check_count("rank", rank, min(w.shape))
    if min(w.shape) <= 2000:
        u, s, vh = torch.linalg.svd(w, full_matrices=False)
        u, s, v = u[:, :rank], s[:rank], vh[:rank].mT
    else:
        u, s, v = seeded_svd(w, rank)
    return Approximation((u * s) @ v.mT, rank * sum(w.shape) * float_bits)


def top_k_dct(w: Tensor, k: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The k largest coefficients of the discrete cosine transform in both directions: k floats and where they stand.

    Args:
        w: (M, V).
        k: 0 ... M V.
        float_bits: of each number.
    Raises:
        ValueError: as `truncated_svd`.
    """
    w = check_matrix(w)
    _check_count("k", k, w.numel())
    transformed = dct(dct(w).mT).mT
    kept = _largest(transformed, k)
    return Approximation(inverse_dct(inverse_dct(kept.mT).mT), k * float_bits + places_bits(w.numel(), k))


def magnitude_pruning(w: Tensor, k: int, *, float_bits: int = FLOAT_BITS) -> Approximation:
    """The k largest entries, the others 0: k floats and where they stand.

    Args:
        w: (M, V).
        k: 0 ... M V.
        float_bits: of each number.
    Raises:
        ValueError: as `truncated_svd`.
    """
    w = check_matrix(w)
    _check_count("k", k, w.numel())
    return Approximation(_largest(w, k), k * float_bits + places_bits(w.numel(), k))


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
    if not 1 <= bits <= 16 or group < 1:
        raise ValueError(f"bits must be from 1 to 16, and group at least 1, not bits={bits}, group={group}.")
    flat = w.flatten()
    short = -len(flat) % group
    groups = torch.cat((flat, flat[-1:].expand(short))).view(-1, group)
    low, high = groups.aminmax(dim=1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    level = ((groups - low) / torch.where(step > 0, step, 1.0)).round()
    matrix = (low + level * step).flatten()[: len(flat)].view_as(w)
    return Approximation(matrix, w.numel() * bits + 2 * len(groups) * float_bits)


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
        most = min(bits // (sum(w.shape) * float_bits), *w.shape)
    elif name == "quantised":
        most = min(16, (bits - 2 * math.ceil(w.numel() / GROUP) * float_bits) // w.numel())
    else:
        most = _most(lambda k: k * float_bits + places_bits(w.numel(), k), bits, w.numel())
    return None if most < 1 else BASELINES[name](w, most, float_bits=float_bits)


def places_bits(size: int, k: int) -> int:
    """Bits that say which k of `size` entries are kept: a list of places, or one bit for each entry if that is less."""
    return min(size, k * index_bits(size))


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


def _largest(x: Tensor, k: int) -> Tensor:
    kept = torch.zeros_like(x).flatten()
    places = x.flatten().abs().topk(k, sorted=False).indices
    kept[places] = x.flatten()[places]
    return kept.view_as(x)


def _most(cost: Callable[[int], int], bits: int, limit: int) -> int:
    """The largest k up to the limit whose cost, which grows with k, is within the bits."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= bits else (low, middle - 1)
    return low


def _check_count(name: str, value: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}, not {value!r}.")
