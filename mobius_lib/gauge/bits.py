"""How many bits it takes to keep a matrix: one rule, for rungs and for plain compressors.

    a floating-point number      as many as the asker says
    a choice among n things      log2 n, and choices of one kind are rounded up together: a whole number below n takes
                                 log2 n, an order of n columns log2 n!, which k of n entries are kept log2 C(n, k), a
                                 sign 1
    a symmetric matrix           whoever rebuilds it knows that it is symmetric, so of two entries that are equal one is
                                 kept. (Of a rung's matrix, which is not symmetric, the symmetric part may be taken in
                                 its place: that costs nothing, and is never further from a symmetric matrix.)

So what is counted is what the best code needs, not what an easy one takes.
"""

import math

import torch
from torch import Tensor

FLOAT_BITS = 32


def index_bits(values: int, count: int = 1) -> int:
    """Bits of whole numbers that have so many possible values each."""
    return _whole(count * math.log2(values))


def permutation_bits(size: int) -> int:
    """Bits of one of the size! orders."""
    return _whole(_log2_factorial(size))


def places_bits(size: int, k: int) -> int:
    """Bits that say which k of `size` entries are meant, in no order."""
    return _whole(_log2_factorial(size) - _log2_factorial(k) - _log2_factorial(size - k))


def is_symmetric(w: Tensor) -> bool:
    """Whether a matrix is equal to its transpose, exactly."""
    return w.shape[0] == w.shape[1] and torch.equal(w, w.mT)


def entries(w: Tensor) -> int:
    """How many entries have to be kept of a matrix: all, or those on and above the diagonal of a symmetric one."""
    return len(w) * (len(w) + 1) // 2 if is_symmetric(w) else w.numel()


def symmetric_part(w: Tensor) -> Tensor:
    """(W + W^T) / 2, the nearest symmetric matrix. Law: no further from any symmetric matrix than W is."""
    return (w + w.mT).div_(2)


def _log2_factorial(n: int) -> float:
    return math.lgamma(n + 1) / math.log(2)


def _whole(bits: float) -> int:
    # lgamma of 10^8 is right to 10^-6 bits, and a whole number of bits must not become the next one
    return math.ceil(round(bits, 5))
