"""What every rung of the ladder has in common: a linear map that stores fewer numbers than its matrix."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge.bits import FLOAT_BITS


class Stored(NamedTuple):
    """One kind of number that a rung has to keep."""

    numbers: int
    """How many."""
    bits: int | None = None
    """Of all of them together; None for floating-point numbers, whose bits the asker chooses."""


class Compression(NamedTuple):
    """What `compression_ratio` returns."""

    ratio: float
    """dense / stored."""
    dense: int
    """Numbers of the matrix, and of the bias if there is one."""
    stored: int
    """Numbers needed to rebuild the layer: floats, positions and places of permuted columns, each counted as one."""


class Rung(nn.Module):
    """A drop-in for `nn.Linear` of one level of the ladder.

    A subclass keeps its parameters, and says in `weight_free_forward` how they act on x without forming the matrix, in
    `to_dense` what the matrix is, in `storage` what has to be kept, and in `from_dense` how it is found for a given
    matrix: in closed form or by alternating least squares, never by gradients (but for L6, whose code is trained).

    Args:
        in_features: columns of the matrix, V.
        out_features: rows.
        terms: N, Gaussians (of one scale, in one row).
        bias: add one number to each output. False by default, unlike `nn.Linear`: the source speaks of matrices.
    Shape:
        (..., in_features) to (..., out_features).
    Raises:
        ValueError: for sizes below 1, or more terms than columns; in `forward`, for another last dimension.
    """

    level: ClassVar[str]

    def __init__(self, in_features: int, out_features: int, terms: int, *, bias: bool = False) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("out_features", out_features), ("terms", terms)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}.")
        if terms > in_features:
            raise ValueError(
                f"terms={terms} Gaussians are more than the {in_features} columns that they are to describe; "
                f"take terms <= {in_features}."
            )
        self.in_features, self.out_features, self.terms = in_features, out_features, terms
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"x must end in {self.in_features} features, but has the shape {tuple(x.shape)}; this layer maps "
                f"{self.in_features} to {self.out_features}."
            )
        y = self.weight_free_forward(x)
        return y if self.bias is None else y + self.bias

    def weight_free_forward(self, x: Tensor) -> Tensor:
        """W x, without W."""
        raise NotImplementedError

    def to_dense(self) -> Tensor:
        """The matrix W: (out_features, in_features)."""
        raise NotImplementedError

    def storage(self) -> Mapping[str, Stored]:
        """What has to be kept to rebuild the matrix, by name."""
        raise NotImplementedError

    @classmethod
    def from_dense(cls, w: Tensor, *args: Any, **settings: Any) -> Self:
        """The rung that approximates a given matrix, found without gradients."""
        raise NotImplementedError

    @classmethod
    def from_linear(cls, linear: nn.Linear, *args: Any, **settings: Any) -> Self:
        """The rung for the matrix of a linear layer, with its bias: the replacement of a layer in a trained network."""
        rung = cls.from_dense(linear.weight.detach(), *args, **settings)
        if linear.bias is not None:
            rung.bias = nn.Parameter(linear.bias.detach().clone())
        return rung

    def compression_ratio(self) -> Compression:
        """(dense / stored, dense, stored), in numbers; in bits, compare `stored_bits` with 32 a number."""
        own = 0 if self.bias is None else self.out_features
        dense = self.in_features * self.out_features + own
        stored = sum(kind.numbers for kind in self.storage().values()) + own
        return Compression(dense / stored, dense, stored)

    def stored_bits(self, float_bits: int = FLOAT_BITS) -> int:
        """Bits of everything that `storage` names, and of the bias, by the rule of `gauge/bits.py`.

        Args:
            float_bits: for each floating-point number.
        """
        own = 0 if self.bias is None else self.out_features * float_bits
        return own + sum(
            kind.numbers * float_bits if kind.bits is None else kind.bits for kind in self.storage().values()
        )

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, terms={self.terms}, bias={self.bias is not None}"


def check_matrix(w: Tensor, name: str = "w") -> Tensor:
    """The matrix, detached, in float32 or float64.

    Raises:
        ValueError: no matrix, an empty one, or one with NaN or infinity.
    """
    if not isinstance(w, Tensor) or w.dim() != 2 or not w.numel():
        shape = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
        raise ValueError(f"{name} must be a matrix (out_features, in_features) that is not empty, not {shape}.")
    w = w.detach()
    if w.dtype not in (torch.float32, torch.float64):
        w = w.float()
    finite = w.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds {w[row, column].item()} at row {row}, column {column}; every entry must be finite, so mend "
            "or drop what made it."
        )
    return w


def check_terms(terms: int, columns: int) -> None:
    """Raise ValueError for a number of Gaussians that makes no sense; before a long fit."""
    if not isinstance(terms, int) or isinstance(terms, bool) or not 1 <= terms <= columns:
        raise ValueError(f"terms must be a whole number from 1 to the width, {columns}, not {terms!r}.")


def relative_error(w: Tensor, approximation: Tensor) -> float:
    """|W - W'| / |W| in the Frobenius norm; 0 where both are zero."""
    size = w.norm().item()
    error = (w - approximation).norm().item()
    return error / size if size else float(error > 0)
