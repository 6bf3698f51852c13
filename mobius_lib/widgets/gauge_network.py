"""Chapter 4's second widget: a trained network, whose matrices one replaces by rungs and by plain compressors."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from traitlets import Dict as DictTrait
from traitlets import TraitError, Unicode, validate

from mobius_lib.eight_bits import packed, unpacked
from mobius_lib.gauge.baselines import dct, inverse_dct, quantised
from mobius_lib.gauge.compress import replaced
from mobius_lib.waves import MobiusNet
from mobius_lib.widgets.pack import Pictured
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Int, List

DENSE, ALL = "dense", "all"
FORMS = (DENSE, "L1", "L2", "L3", "L4", "L5", "svd", "dct", "magnitude", "quantised")
SMALLEST = 1e-4
"""Directions of a matrix that are smaller than that, beside its largest, are roundings."""


def kept(form: str, matrix: Tensor) -> dict[str, Tensor]:
    """What a page needs to have a replaced matrix again, beside the one that it replaces.

    Of a quantised one nothing; of pruned ones and cosine transforms which numbers are not 0, in a bit each; of others
    a factorisation or, where that has no fewer numbers, the matrix, in a byte a number (`eight_bits`).

    Args:
        form: one of `FORMS` but the first.
        matrix: (out, in).
    """
    if form == "quantised":
        return {}
    if form in ("magnitude", "dct"):
        numbers = matrix if form == "magnitude" else dct(dct(matrix).mT).mT
        # what was cut away comes back from a transform as a rounding
        there = (numbers.abs() > 1e-5 * numbers.abs().max()).flatten().to(torch.uint8)
        eight = torch.cat((there, there.new_zeros(-len(there) % 8))).view(-1, 8)
        return {"mask": (eight << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)}
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = max(1, int((s > SMALLEST * s[0]).sum()))
    if rank * sum(matrix.shape) >= matrix.numel():
        return packed({"matrix": matrix}, 0)
    root = s[:rank].sqrt()
    return packed({"left": (u[:, :rank] * root).mT, "right": vh[:rank] * root.unsqueeze(1)}, 0)


def rebuilt(form: str, weight: Tensor, own: Mapping[str, Tensor], bits: int) -> Tensor:
    """The matrix that stands for another, from what `kept` gave.

    Args:
        form: one of `FORMS` but the first.
        weight: (out, in), the one that it replaces.
        own: what is kept.
        bits: that the form may use for each weight.
    """
    if form == "quantised":  # a bit of these goes to the ends of each group of 64
        return quantised(weight, bits - 1).matrix
    if "mask" in own:
        each = (own["mask"].unsqueeze(1) >> torch.arange(8, dtype=torch.uint8)) & 1
        mask = each.flatten()[: weight.numel()].view_as(weight)
        if form == "magnitude":
            return weight * mask
        return inverse_dct(inverse_dct((dct(dct(weight).mT).mT * mask).mT).mT)
    found = unpacked(own)
    return found["matrix"] if "matrix" in found else found["left"].mT @ found["right"]


class GaugeNetwork(Pictured):
    """A trained network in the page, with rungs or plain compressors in its matrices' place.

    The reader chooses the form, how many bits it may use for each weight, and which layers it replaces; workers of the
    browser rebuild the matrices, fold the network and name the held-out pictures. The traits `form` (of `FORMS`),
    `bits`, `where` ("all" or a kind of layer) and `picture` (a row) can be set from Python.

    Args:
        network: a trained `MobiusNet` for one-channel square pictures, used in half precision and evaluation mode.
        kinds: of each layer that can be replaced, by name, its kind.
        stored: what `kept` gave, by "FORM.BITS.LAYER." and its own names; layers that are not there stay as they are.
        sizes: bits of the replaced matrices, by form, by the bits that it may use for a weight, and by layer.
        pictures: (N, side, side) uint8, held out.
        labels: (N,) their classes.
        names: of the classes.
        mean, deviation: by which the network wants bytes normalised, (byte - mean) / deviation.
        pack: name of the script that holds the files in the book's pages; "" where only a kernel has them.
        traits: further traits.
    Raises:
        TraitError: when a trait cannot have a value.
    Source:
        ours.
    """

    _esm = served("shared.js", "pack.js", "pictures.js", "jury.js", "gauge_network.js")
    _css = served("shared.css", "pack.css", "gauge_network.css")
    engine = ("tensors.js", "mobiusnet.js", "squeezed.js")

    form = Unicode(DENSE).tag(sync=True)
    bits = Int(8).tag(sync=True)
    where = Unicode(ALL).tag(sync=True)
    sizes = DictTrait(read_only=True).tag(sync=True)
    parts = List(Unicode(), read_only=True).tag(sync=True)

    def __init__(
        self,
        network: MobiusNet,
        kinds: Mapping[str, str],
        stored: Mapping[str, Tensor],
        sizes: Mapping[str, Mapping[str, Mapping[str, int]]],
        pictures: Tensor,
        labels: Tensor,
        names: Sequence[str],
        mean: float = 0.0,
        deviation: float = 1.0,
        *,
        pack: str = "",
        **traits: Any,
    ) -> None:
        model = copy.deepcopy(network).cpu().half().float().eval()
        self._kinds, self._stored, self._sizes = dict(kinds), dict(stored), sizes
        parts = [*dict.fromkeys(kinds.values())]
        told = {
            "parts": parts,
            "sizes": {
                form: {bits: {part: self._size(model, of, part) for part in (ALL, *parts)} for bits, of in by.items()}
                for form, by in sizes.items()
            },
        }
        super().__init__(model, pictures, labels, names, pack, told, (mean, deviation), **traits)

    @validate("form", "bits", "where")
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        can = {"form": FORMS, "bits": [int(each) for each in self.sizes["svd"]], "where": (ALL, *self.parts)}
        if value not in can[name]:
            raise TraitError(f"{name} must be one of {', '.join(map(str, can[name]))}; got {value!r}.")
        return value

    def _size(self, model: MobiusNet, bits: Mapping[str, int], part: str) -> list[int]:
        """Of the layers of a kind, or of all: bits in a form, their weights, and how many of them it replaces."""
        chosen = {name: _weight(model, name).numel() for name, own in self._kinds.items() if part in (ALL, own)}
        return [
            sum(bits.get(name, 32 * numbers) for name, numbers in chosen.items()),
            sum(chosen.values()),
            sum(name in bits for name in chosen),
        ]

    def matrices(self) -> dict[str, Tensor]:
        """Those that replace others, by the layer's name: (out, in) each."""
        if self.form == DENSE:
            return {}
        found = {}
        for name in self._sizes[self.form][str(self.bits)]:
            if self.where in (ALL, self._kinds[name]):
                at = f"{self.form}.{self.bits}.{name}."
                own = {key.removeprefix(at): value for key, value in self._stored.items() if key.startswith(at)}
                found[name] = rebuilt(self.form, _weight(self._network, name), own, self.bits)
        return found

    def network(self) -> MobiusNet:
        """The network with these matrices, in float32 and evaluation mode."""
        model: Any = replaced(self._network, self.matrices())
        return model.eval()

    def files(self) -> dict[str, bytes]:
        """The network in half precision and what is kept of the matrices (safetensors), pictures, and facts (JSON)."""
        from safetensors.torch import save

        state = {k: v.half().contiguous() for k, v in self._network.state_dict().items() if v.is_floating_point()}
        layers = {form: {bits: [*of] for bits, of in by.items()} for form, by in self._sizes.items()}
        return self._files(state, kinds=self._kinds, layers=layers) | {"matrices": save(self._stored)}


def _weight(model: MobiusNet, name: str) -> Tensor:
    weight: Any = model.get_submodule(name).weight
    return weight.detach().flatten(1)
