"""A bridge in whole numbers, and in one form: the order of its columns, its entries and its Gaussians as integers.

The source names "integer normal encoding", "normal cascade enumeration" and "gauge tensor resolution", and prints no
formula. Here they are

    integer normal      the columns in their sorted order, the order as one whole number below V!, and where asked for
                        the entries as whole multiples of a unit: a code that can be undone
    cascade             the members of a fixed list (a first width, and a place for each of N Gaussians) are numbered
                        from 0 on, so a cascade is one whole number
    gauge tensor        {hw, mu, sigma} in the one form that is left when everything is taken away that changes the
                        numbers and not the layer

Source: ours; Lehmer's code of a permutation is a textbook fact.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge.bits import FLOAT_BITS, entries, index_bits, permutation_bits


def number_of_order(places: Tensor) -> int:
    """An order of V columns as one whole number, its place among the V! orders when these are sorted.

    Laws: from 0 for the columns as they are to V! - 1 for the columns reversed; `order_of_number` undoes it.

    Args:
        places: (V,), where each column goes.
    Raises:
        ValueError: where two columns go to one place, or one goes nowhere.
    """
    free, number = list(range(len(places))), 0
    if places.sort().values.tolist() != free:
        raise ValueError(f"places must hold every number from 0 to {len(places) - 1} once.")
    for place in places.tolist():
        at = bisect_left(free, place)
        number = number * len(free) + at
        del free[at]
    return number


def order_of_number(number: int, size: int) -> Tensor:
    """The order of `size` columns that has this number: (V,) int64.

    Raises:
        ValueError: for a number that is not one of the V!.
    """
    digits, rest = [], number
    for radix in range(1, size + 1):
        rest, digit = divmod(rest, radix)
        digits.append(digit)
    if rest:
        raise ValueError(f"An order of {size} columns has a number from 0 to {size}! - 1, not {number}.")
    free = list(range(size))
    return torch.tensor([free.pop(digit) for digit in reversed(digits)], dtype=torch.int64)


class IntegerNormal(NamedTuple):
    """The columns of a matrix, sorted and in whole numbers."""

    order: int
    """The number of the order."""
    columns: Tensor
    """(M, V), sorted: int64 where there is a unit, else the columns themselves."""
    unit: float | None
    """What 1 stands for; None where the entries are no whole numbers."""

    def decode(self) -> Tensor:
        """The matrix, columns in their own order: float64 where there is a unit."""
        whole = self.columns[:, order_of_number(self.order, self.columns.shape[1])]
        return whole if self.unit is None else whole.double() * self.unit

    @property
    def bits(self) -> int:
        """Of the order, of the entries and of the unit, by the rule of `bits.py`."""
        order, plain = permutation_bits(self.columns.shape[1]), self.decode()
        if self.unit is None:
            return order + entries(plain) * FLOAT_BITS
        values = int(self.columns.max() - self.columns.min()) + 1
        return order + index_bits(values, entries(plain)) + FLOAT_BITS


def integer_normal(w: Tensor, places: Tensor, whole_bits: int | None = None) -> IntegerNormal:
    """The code of a matrix.

    Laws: decoded, it is the matrix itself without `whole_bits`, else within half a unit of it; and a decoded matrix has
    the same code.

    Args:
        w: (M, V).
        places: (V,), where each column goes.
        whole_bits: b, for entries from -(2^(b-1) - 1) to 2^(b-1) - 1 units, the largest of which is the largest
            |entry|; None leaves entries as they are.
    """
    columns = torch.empty_like(w)
    columns[:, places] = w
    number = number_of_order(places)
    if whole_bits is None:
        return IntegerNormal(number, columns, None)
    unit = w.abs().max().item() / (2 ** (whole_bits - 1) - 1) or 1.0
    return IntegerNormal(number, (columns.double() / unit).round().long(), unit)


def number_of_cascade(choices: Sequence[int], sizes: Sequence[int]) -> int:
    """The number of a member of a family in which so many choices are made one after the other.

    Laws: from 0 to the product of the sizes less 1, each once; `cascade_of_number` undoes it.

    Args:
        choices: each from 0 to its size less 1; of a bridge, which first width, and where each Gaussian stands.
        sizes: among how many.
    Raises:
        ValueError: for a choice that there is not.
    """
    number = 0
    for choice, size in zip(choices, sizes, strict=True):
        if not 0 <= choice < size:
            raise ValueError(f"There is no choice {choice} among {size}.")
        number = number * size + choice
    return number


def cascade_of_number(number: int, sizes: Sequence[int]) -> list[int]:
    """The choices that have this number.

    Raises:
        ValueError: for a number beyond the family.
    """
    choices, rest = [], number
    for size in reversed(sizes):
        rest, choice = divmod(rest, size)
        choices.append(choice)
    if rest:
        raise ValueError(f"The family ends before number {number}.")
    return choices[::-1]


class GaugeTensor(NamedTuple):
    """{hw, mu, sigma} in their one form; what the layer is, and nothing else."""

    hw: Tensor
    """(M, N), N the Gaussians that are different and matter."""
    mu: Tensor
    """(N,)."""
    sigma: Tensor
    """(N,), positive, from the narrowest to the widest; of equal ones by mu."""
    places: Tensor
    """(V,), where each column goes."""


def gauge_tensor(hw: Tensor, mu: Tensor, sigma: Tensor, places: Tensor, gain: Tensor | None = None) -> GaugeTensor:
    """The one form of W[i, j] = sum_n hw[i, n] gain_n exp(-(place(j) - mu_n)^2 / (2 sigma_n^2)).

    What changes the numbers and not W, and how it is taken away:

        rescaling       hw c and gain / c: every gain becomes 1
        sign            -sigma: positive
        permutation     of the terms: sorted by sigma, then mu
        equal terms     heights may be shared between them in any way: they are added up, and one is left
        empty terms     of height 0, at any mu and sigma: left out
        mirror          places V - 1 - p with mu V - 1 - mu: the first column that is not in the middle stands in the
                        left half

    Law: parameter sets that differ by any of these have the same form (but for the rounding of c and 1 / c). And since
    different Gaussians are linearly independent over the whole numbers, no others have the same W, as long as the
    columns are enough to tell them apart.

    Args:
        hw: (M, N).
        mu, sigma: (N,), sigma not 0.
        places: (V,), whole.
        gain: (N,); None: 1.
    """
    hw = hw.detach() if gain is None else hw.detach() * gain
    mu, sigma, last = mu.detach(), sigma.detach().abs(), len(places) - 1
    aside = (2 * places - last).nonzero().flatten()
    if len(aside) and 2 * places[aside[0]] > last:
        mu, places = last - mu, last - places
    both, which = torch.stack((sigma, mu)).unique(dim=1, return_inverse=True)  # sorted by sigma, then by mu
    heights = hw.new_zeros(len(hw), both.shape[1]).index_add_(1, which, hw)
    kept = heights.any(dim=0)
    return GaugeTensor(heights[:, kept], both[1, kept], both[0, kept], places)
