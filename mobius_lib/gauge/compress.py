"""Any trained network with rungs in the place of its linear layers: `compress`, and what it is made of."""

import copy
import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mobius_lib.gauge.base import Rung, check_whole, relative_error
from mobius_lib.gauge.bits import FLOAT_BITS, entries
from mobius_lib.gauge.bridge import MobiusHarmonicBridge
from mobius_lib.gauge.cosmic import CosmicLinear
from mobius_lib.gauge.harmonic import FractalHarmonicLinear, HarmonicLinear, TriLevelHarmonicLinear
from mobius_lib.gauge.meta import MetaMobiusLinear

RUNGS: dict[str, type[Rung]] = {
    rung.level: rung
    for rung in (
        HarmonicLinear,
        FractalHarmonicLinear,
        TriLevelHarmonicLinear,
        MobiusHarmonicBridge,
        MetaMobiusLinear,
        CosmicLinear,
    )
}
"""L1 to L6. (L0 is `torch.nn.Linear`.)"""

TERMS = 8
"""N, as in the note."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Fitted(NamedTuple):
    """A matrix as a rung keeps it, or as it was, where the rung would need no fewer bits."""

    matrix: Tensor
    """As large as the one that was given."""
    bits: int
    """To rebuild it."""
    numbers: int
    """To rebuild it: floats, positions and places of columns."""
    rung: Rung | None
    """None where the matrix is kept."""


def fitted(w: Tensor, rung: type[Rung], terms: int, *, float_bits: int = FLOAT_BITS, **settings: Any) -> Fitted:
    """A matrix (out, in) by a rung of so many terms, or of as many as it has columns, if these are fewer."""
    made = rung.from_dense(w, min(terms, w.shape[1]), **settings)
    bits = made.stored_bits(float_bits)
    if bits < entries(w) * float_bits:
        return Fitted(made.to_dense(), bits, made.compression_ratio().stored, made)
    return Fitted(w, entries(w) * float_bits, w.numel(), None)


def mixing(model: nn.Module) -> dict[str, Any]:
    """The layers that multiply by a matrix, by name, in their order: linear ones, and convolutions of one group.

    `layer.weight.flatten(1)` is the matrix (out, in), with a column for each channel and place of the kernel. What is
    called by several names comes by its first. What is inside of a rung is none of the network's layers.
    """
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, *CONVOLUTIONS))}
    inside = tuple(f"{name}." if name else "" for name, layer in model.named_modules() if isinstance(layer, Rung))
    return {
        name: layer for name, layer in found.items()
        if getattr(layer, "groups", 1) == 1 and not name.startswith(inside)
    }  # fmt: skip


def is_pointwise(layer: Any) -> bool:
    """Whether a layer of `mixing` is a convolution that is a linear layer at each place: all sides of its kernel 1."""
    return not isinstance(layer, nn.Linear) and math.prod(layer.kernel_size) == 1 and not any(_padding(layer))


def replaced(model: nn.Module, by: Mapping[str, Tensor | nn.Module]) -> nn.Module:
    """A copy of a network in which some layers of `mixing`, by name, are others.

    Args:
        model: stays as it is.
        by: for each name a matrix (out, in), which the layer then multiplies by, or another layer in its place,
            wherever the network has it.
    """
    other = copy.deepcopy(model)
    for name, new in by.items():
        layer: Any = other.get_submodule(name)
        if isinstance(new, Tensor):
            layer.weight.data.copy_(new.view(layer.weight.shape))
        elif layer is other:
            return new
        else:
            for place, found in list(other.named_modules(remove_duplicate=False)):
                if found is layer:
                    parent, _, last = place.rpartition(".")
                    setattr(other.get_submodule(parent), last, new)
    return other


class Pointwise(nn.Module):
    """A rung in the place of a convolution whose kernel has sides of 1.

    Args:
        rung: over the channels.
        stride: of each of the last dimensions.
    Shape:
        (..., in_features, *places) to (..., out_features, *places), without the places that the stride leaves out.
    """

    def __init__(self, rung: Rung, stride: Iterable[int]) -> None:
        super().__init__()
        self.rung, self.stride = rung, tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        channels = -1 - len(self.stride)
        places: Any = (..., *(slice(None, None, step) for step in self.stride))
        return self.rung(x[places].movedim(channels, -1)).movedim(-1, channels)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


@dataclass(frozen=True)
class Layer:
    """What `compress` did to one layer; its bias is kept and not counted."""

    shape: tuple[int, int]
    """(out, in)."""
    terms: int | None
    """N; None where the layer is kept, because no rung with so few bits, or with fewer than it has, stands for it."""
    bits: int
    dense_bits: int
    """With all entries as they are."""
    norm: float
    """|W|, Frobenius."""
    relative_error: float
    """|W - W'| / |W|."""


@dataclass(frozen=True)
class Compressed:
    """What `compress` returns. Printed, it is a table."""

    model: nn.Module
    """The network with other layers."""
    layers: dict[str, Layer]
    """All that were chosen, by name."""
    dense_network_bits: int
    """Of all parameters of the network as it was."""
    network_bits: int
    """Of all that has to be kept now."""

    @property
    def bits(self) -> int:
        """Of the chosen layers' matrices."""
        return sum(layer.bits for layer in self.layers.values())

    @property
    def ratio(self) -> float:
        """By how much fewer bits these are than they were."""
        return sum(layer.dense_bits for layer in self.layers.values()) / self.bits

    @property
    def network_ratio(self) -> float:
        """By how much fewer bits the whole network is."""
        return self.dense_network_bits / self.network_bits

    @property
    def relative_error(self) -> float:
        """|W - W'| / |W| of the chosen layers together."""
        norm = math.hypot(*(layer.norm for layer in self.layers.values()))
        off = math.hypot(*(layer.norm * layer.relative_error for layer in self.layers.values()))
        return off / norm if norm else 0.0

    def __str__(self) -> str:
        wide = max(map(len, (*self.layers, "together")))
        rows = [
            f"{name:{wide}}  {each.shape[0]:6} x {each.shape[1]:<6}  "
            f"{'kept' if each.terms is None else f'N = {each.terms}':>8}  {each.dense_bits / each.bits:7.1f} times "
            f"smaller, relative error {each.relative_error:.3f}"
            for name, each in self.layers.items()
        ]
        rows.append(f"{'together':{wide}}  {'':25}  {self.ratio:7.1f} times smaller, relative error "
                    f"{self.relative_error:.3f}; the whole network {self.network_ratio:.1f} times")  # fmt: skip
        return "\n".join(rows)


def compress(
    model: nn.Module, rung: str | type[Rung] = "L5", *,
    layers: str | Iterable[str] | Callable[[str, nn.Module], bool] | None = None,
    terms: int | None = None, bits: float | None = None, **settings: Any,
) -> Compressed:  # fmt: skip
    """A copy of any network with rungs in the place of its linear layers and pointwise convolutions.

    Each rung is fitted to its layer's matrix (`from_dense`), and nothing is trained again; biases, device, dtype and
    whether a layer is trained stay. A layer of which the rung would need no fewer bits is kept as it is.

        small = compress(network, "L5", layers="blocks.*", bits=2)
        print(small)
        small.model(x)

    Args:
        model: stays as it is.
        rung: its level, "L1" to "L6", or its class.
        layers: which: names or patterns of names (`*` stands for anything), or a function of name and layer; None: all
            linear layers and pointwise convolutions (of one group, and without padding). What is the same layer at
            several places is named by its first, and replaced at all.
        terms: N, or as many as a layer has columns, if these are fewer. 8, as in the note, if neither is given.
        bits: in place of terms: for each entry of a matrix at most so many, as in "2 bits a weight". Each layer gets
            the largest N that this allows, and is kept if it allows none.
        settings: further ones of the rung's `from_dense`.
    Returns:
        the network, and for each layer and all together bits and relative error, by the rule of `gauge/bits.py`. A
        float counts the bits of the layer's own dtype, but at least 32 in a rung, which keeps its Gaussians so.
    Raises:
        ValueError: an unknown rung; terms and bits both; layers that name none of the network's; a matrix that is not
            finite, or that has no size yet (`nn.LazyLinear`).
    """
    cls = _rung(rung)
    if terms is not None and bits is not None:
        raise ValueError("Give terms or bits, not both: bits choose the terms.")
    real = isinstance(bits, numbers.Real) and not isinstance(bits, bool)  # of NumPy, too
    if bits is not None and not (real and 0 < bits < math.inf):
        raise ValueError(f"bits must be a finite number above 0, of each entry of a matrix, not {bits!r}.")
    terms = TERMS if terms is None else check_whole("terms", terms)
    report, new = {}, {}
    for name, layer in _chosen(model, layers).items():
        if isinstance(layer.weight, nn.parameter.UninitializedParameter):
            raise ValueError(f"Layer {name!r} has no size yet; call the network once before it is compressed.")
        w = layer.weight.detach().flatten(1)
        own = torch.finfo(w.dtype).bits
        float_bits = max(own, FLOAT_BITS)
        n = terms if bits is None else _most_terms(cls, w, bits, float_bits, settings)
        found = None
        if n:
            try:
                found = fitted(w, cls, n, float_bits=float_bits, **settings)
            except ValueError as wrong:
                raise ValueError(f"Layer {name!r} cannot be replaced: {wrong}") from wrong
        size = torch.linalg.vector_norm(w, dtype=torch.float64).item()
        if found is None or found.rung is None or found.bits >= entries(w) * own:
            report[name] = Layer(tuple(w.shape), None, entries(w) * own, w.numel() * own, size, 0.0)
            continue
        off = relative_error(w, found.matrix.detach().to(w))
        report[name] = Layer(tuple(w.shape), found.rung.terms, found.bits, w.numel() * own, size, off)
        new[name] = _in_place_of(layer, found.rung)
    other = replaced(model, new)
    left = sum(each.numel() * each.dtype.itemsize * 8 for each in _others(other, new.values()))
    whole = sum(each.numel() * each.dtype.itemsize * 8 for each in model.parameters())
    return Compressed(other, report, whole, left + sum(report[name].bits for name in new))


def _rung(rung: str | type[Rung]) -> type[Rung]:
    if isinstance(rung, type) and issubclass(rung, Rung):
        return rung
    if rung not in RUNGS:
        raise ValueError(f"There is no rung {rung!r}; there are {', '.join(RUNGS)}.")
    return RUNGS[rung]


def _chosen(model: nn.Module, layers: Any) -> dict[str, Any]:
    can = {name: each for name, each in mixing(model).items() if isinstance(each, nn.Linear) or is_pointwise(each)}
    if not can:
        raise ValueError(f"This {type(model).__name__} has no linear layer and no pointwise convolution to replace.")
    if layers is None:
        return can
    if callable(layers):
        found = {name for name, each in can.items() if layers(name, each)}
    else:
        found = set()
        for pattern in [layers] if isinstance(layers, str) else list(layers):
            matched = {name for name in can if fnmatchcase(name, pattern)}
            if not matched:
                near = difflib.get_close_matches(pattern, can, 3, 0) or list(can)[:3]
                raise ValueError(
                    f"layers has {pattern!r}, but no linear layer or pointwise convolution is named so; near it are "
                    f"{', '.join(map(repr, near))}."
                )
            found |= matched
    if not found:
        raise ValueError(f"layers chooses none of the network's {len(can)} layers that can be replaced.")
    return {name: each for name, each in can.items() if name in found}


def _most_terms(cls: type[Rung], w: Tensor, bits: float, float_bits: int, settings: Mapping[str, Any]) -> int:
    """The largest N that has no more bits than allowed; 0 if there is none. What is asked is only a rung's size."""
    taken = {name: value for name, value in settings.items() if name in inspect.signature(cls).parameters}
    low, high = 0, w.shape[1]
    with torch.device("meta"):
        while low < high:
            middle = (low + high + 1) // 2
            rung = cls(w.shape[1], w.shape[0], middle, **taken)
            low, high = (middle, high) if rung.stored_bits(float_bits) <= bits * w.numel() else (low, middle - 1)
    return low


def _in_place_of(layer: Any, rung: Rung) -> nn.Module:
    rung.take_from(layer).requires_grad_(layer.weight.requires_grad).train(layer.training)
    return rung if isinstance(layer, nn.Linear) else Pointwise(rung, layer.stride).train(layer.training)


def _others(model: nn.Module, new: Iterable[nn.Module]) -> list[Tensor]:
    """The network's parameters that are none of the new layers', and the biases of these."""
    rungs = [each for layer in new for each in layer.modules() if isinstance(each, Rung)]
    own = {id(each) for rung in rungs for each in rung.parameters() if each is not rung.bias}
    return [each for each in model.parameters() if id(each) not in own]


def _padding(layer: Any) -> tuple[int, ...]:
    return () if isinstance(layer.padding, str) else layer.padding
