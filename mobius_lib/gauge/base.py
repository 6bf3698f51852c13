"""What every rung of the ladder has in common: a linear map that stores fewer numbers than its matrix."""

import functools
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, cast

import numpy as np
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

    Half precision (`.half()`, `.bfloat16()`, `dtype=`, autocast) is that of what goes in and comes out, and of the
    bias. What the Gaussians are made of stays in float32, and so does what happens between: 1,000 has no neighbour
    nearer than 1,004 in bfloat16, and heights of Gaussians that overlap cancel each other, which multiplies their
    rounding. So the layer errs no more than a matrix of that precision does.

    Args:
        in_features: columns of the matrix, V.
        out_features: rows.
        terms: N, Gaussians (of one scale, in one row).
        bias: add one number to each output. False by default, unlike `nn.Linear`: the source speaks of matrices.
        device, dtype: as `nn.Linear`.
    Shape:
        (..., in_features) to (..., out_features).
    Raises:
        ValueError: for sizes below 1, or more terms than columns; in `forward`, for another last dimension, or what is
            no tensor of floating-point numbers.
    """

    level: ClassVar[str]
    heights: ClassVar[tuple[str, ...]] = ("hw",)
    """Parameters that are multiplied when the matrix is."""
    _like: Tensor

    def __init__(self, in_features: int, out_features: int, terms: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features = check_whole("in_features", in_features)
        self.out_features = check_whole("out_features", out_features)
        self.terms = check_whole("terms", terms)
        if self.terms > self.in_features:
            raise ValueError(
                f"terms={terms} Gaussians are more than the {in_features} columns that they are to describe; "
                f"take terms <= {in_features}."
            )
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        self.register_buffer("_like", torch.empty(0), persistent=False)  # of the type that was asked for

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        follows = [self._like] if self.bias is None else [self._like, self.bias, self.bias.grad]

        def careful(t: Tensor) -> Tensor:
            made = fn(t)
            if made.dtype not in HALF or any(t is each for each in follows):
                return made
            return t.to(made.device, torch.promote_types(t.dtype, torch.float32))

        return super()._apply(careful, recurse)

    @property
    def weight(self) -> Tensor:
        """The matrix that the layer stands for, where other code asks an `nn.Linear` for it: made anew at each call.

        Raises:
            ValueError: as `to_dense`.
        """
        return self.to_dense().to(self._like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = x.dtype if isinstance(x, Tensor) else f"{type(x).__module__}.{type(x).__name__}"
            raise ValueError(f"x must be a torch.Tensor of floating-point numbers, not {what}.")
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"x must end in {self.in_features} features, but has the shape {tuple(x.shape)}; this layer maps "
                f"{self.in_features} to {self.out_features}."
            )
        device, dtype = x.device.type, x.dtype
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            if dtype != torch.float64:  # which autocast leaves as it is
                dtype = torch.get_autocast_dtype(device)
            with torch.autocast(device, enabled=False):
                return self._wide_forward(x).to(dtype)
        return self._wide_forward(x).to(dtype)

    def _wide_forward(self, x: Tensor) -> Tensor:
        x = x.float() if x.dtype in HALF else x
        y = self.weight_free_forward(x)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def weight_free_forward(self, x: Tensor) -> Tensor:
        """W x, without W; x in float32 or float64."""
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
        return cls.from_dense(linear.weight.detach(), *args, **settings).take_from(linear)

    def take_from(self, layer: Any) -> Self:
        """The bias, device and dtype of a layer in whose place this rung comes."""
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.detach().clone())
        return self.to(layer.weight.device, layer.weight.dtype)

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


HALF = (torch.float16, torch.bfloat16)


Fit = TypeVar("Fit", bound=Callable[..., Any])


def at_any_scale(fit: Fit) -> Fit:
    """Of a `from_dense`: it sees the matrix checked, on the CPU, and of a largest entry between 1 and 2.

    Squares of entries of 10^25 or 10^-25 do not exist in float32. A power of 2 rounds nothing, so a matrix of ordinary
    size has the very rung that it would have without this.
    """

    @functools.wraps(fit)
    def scaled(cls: type[Rung], w: Tensor | np.ndarray, *args: Any, **settings: Any) -> Rung:
        w = check_matrix(w)
        size = scale_of(w)
        rung = fit(cls, w.cpu() / size, *args, **settings)
        with torch.no_grad():
            for name in cls.heights:
                getattr(rung, name).mul_(size)
        return rung.to(w.device)

    return cast(Fit, scaled)


def scale_of(w: Tensor) -> float:
    """The power of 2 next below the largest |entry|, as far as it and its inverse are normal numbers."""
    limit = round(-math.log2(torch.finfo(w.dtype).tiny))
    exponent = math.frexp(max(map(abs, torch.stack(w.aminmax()).tolist())))[1] - 1
    return 2.0 ** max(-limit, min(limit, exponent))


def as_tensor(value: Any) -> Any:
    """A numpy array as a tensor of its own; anything else as it is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return value
    return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))


def check_matrix(w: Tensor | np.ndarray, name: str = "w") -> Tensor:
    """The matrix, detached, in float32 or float64.

    Raises:
        ValueError: no matrix, an empty one, one with NaN or infinity, or within a factor of 32 of its type's limit.
    """
    w = as_tensor(w)
    if not isinstance(w, Tensor) or w.dim() != 2 or not w.numel():
        shape = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
        raise ValueError(f"{name} must be a matrix (out_features, in_features) that is not empty, not {shape}.")
    w = w.detach()
    if w.is_complex():
        raise ValueError(f"{name} must hold real numbers, not {w.dtype}.")
    if w.dtype not in (torch.float32, torch.float64):
        w = w.float()
    finite = w.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds {w[row, column].item()} at row {row}, column {column}; every entry must be finite, so mend "
            "or drop what made it."
        )
    largest = float(w.abs().max())
    if largest > torch.finfo(w.dtype).max / 32:  # sums of rows, or of three scales, would leave the type's range
        raise ValueError(f"{name} holds {largest:.0e}, too near the limit of {w.dtype} to add up; divide it first.")
    return w


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """The value as an int.

    Raises:
        ValueError: for what is no whole number, or beyond the bounds.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bounds}, not {value!r}.")
    return int(value)


def check_terms(terms: int, columns: int) -> None:
    """Raise ValueError for a number of Gaussians that makes no sense; before a long fit."""
    check_whole("terms", terms, most=columns)


def relative_error(w: Tensor, approximation: Tensor) -> float:
    """|W - W'| / |W| in the Frobenius norm, whatever the size of W; 0 where both are zero."""
    unit = scale_of(w)
    size, error = (torch.linalg.vector_norm(each / unit, dtype=torch.float64).item() for each in (w, w - approximation))
    return error / size if size else float(error > 0)
