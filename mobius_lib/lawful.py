"""What the laws of every chapter have in common: how they are called, found and compared.

A law draws its inputs from a seed and asserts itself. The chapter runs its laws in its cells, and the unit tests run
them over more seeds and both precisions. Every tolerance says why it is as large as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Law = Callable[[int, torch.dtype], None]
"""From a seed and a precision: it raises AssertionError where it does not hold, and returns nothing."""


def laws_in(names: Mapping[str, Any]) -> tuple[Law, ...]:
    """All laws among the globals of a module, in the order in which they stand there, which is that of its chapter."""
    taken = {"seed": int, "dtype": torch.dtype, "return": None}
    return tuple(each for each in names.values() if getattr(each, "__annotations__", None) == taken)


def close(a: Tensor, b: Tensor | float, tolerance: float = 0.0) -> None:
    """Assert that two tensors agree to an absolute tolerance, or that all of one is a number."""
    torch.testing.assert_close(a, b if isinstance(b, Tensor) else torch.full_like(a, b), rtol=0, atol=tolerance)
