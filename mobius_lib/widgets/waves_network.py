"""Chapter 1's second widget: a trained network, whose lenses one turns while it looks at pictures."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from traitlets import Dict as DictTrait
from traitlets import TraitError, Unicode, validate

from mobius_lib.waves import MobiusLens, MobiusNet
from mobius_lib.waves.fast.fold import fold
from mobius_lib.widgets.pack import Pictured, square
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List
from mobius_lib.widgets.waves import PRESETS_TABLE

TURNED = ("omega", "alpha", "xor_weight")
"""The parameters of each block's lens that the sliders turn; xor_weight is before the sigmoid."""
OWN = """from mobius_lib.widgets import WavesNetwork

explorer = WavesNetwork(network, pictures, labels, names, mean, deviation, {})
model = explorer.network()
explorer"""
"""What makes the widget of a network that is not the book's: whoever made it knows the arguments."""
ALL_BLOCKS = -1
DRAWN = -1


def learned(network: MobiusNet) -> dict[str, list[float]]:
    """What the sliders turn, as a network has it: one number of each kind for every block."""
    return {name: [getattr(block.lens, name).item() for block in network.blocks] for name in TURNED}


def authors_table(blocks: int) -> dict[str, list[float]]:
    """The distillation card's table of six blocks, for so many: each takes the values at its relative depth."""
    last = len(PRESETS_TABLE) - 1
    rows = [PRESETS_TABLE[round(i * last / max(blocks - 1, 1))] for i in range(blocks)]
    return {
        "omega": [row.omega for row in rows],
        "alpha": [row.alpha for row in rows],
        "xor_weight": [math.log(row.xor_share / (1 - row.xor_share)) for row in rows],
    }


class WavesNetwork(Pictured):
    """A trained network in the page: a picture's way through its gates, its classes, and the accuracy on many pictures.

    The reader sets omega, alpha and xor weight of one block or of all, chooses a picture or draws one; workers of the
    browser compute, from weights that are fetched when they are asked for. The traits `omega`, `alpha` and `xor_weight`
    (one number per block, as `MobiusLens` has them), `block` (-1: all), `picture` (a row; -1: the drawing) and `drawn`
    (the drawing's bytes) can be set from Python.

    Args:
        network: a trained `MobiusNet` for one-channel square pictures; copied, and used in evaluation mode.
        pictures: (N, side, side) uint8, held out; side at most 64.
        labels: (N,) their classes.
        names: of the classes.
        mean, deviation: by which the network wants bytes normalised, (byte - mean) / deviation.
        pack: name of the script that holds the files in the book's pages; "" where only a kernel has them.
        tour: settings worth seeing: each a dictionary of name, note, say (a sentence), ask (a question), and state
            (`omega`, `alpha` and `xor_weight`).
        traits: further traits.
    Raises:
        TypeError: when the network is no MobiusNet with lenses.
        ValueError: when pictures, labels and names do not fit each other.
        TraitError: when a trait cannot have a value.
    Source:
        ours; the author's table is the distillation card's.
    """

    _esm = served("shared.js", "pack.js", "pictures.js", "jury.js", "waves_network.js")
    _css = served("shared.css", "pack.css", "waves_network.css")
    recipe = Unicode(OWN).tag(sync=True)
    engine = ("tensors.js", "mobiusnet.js", "waves_answers.js")
    least, beside = DRAWN, f", or {DRAWN} for the drawing"

    omega = List(Float()).tag(sync=True)
    alpha = List(Float()).tag(sync=True)
    xor_weight = List(Float()).tag(sync=True)
    block = Int(ALL_BLOCKS).tag(sync=True)
    drawn = List(Int()).tag(sync=True)
    trained = DictTrait(read_only=True).tag(sync=True)
    table = DictTrait(read_only=True).tag(sync=True)
    tour = List(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: MobiusNet,
        pictures: Tensor,
        labels: Tensor,
        names: Sequence[str],
        mean: float = 0.0,
        deviation: float = 1.0,
        *,
        pack: str = "",
        tour: Sequence[Mapping[str, Any]] = (),
        **traits: Any,
    ) -> None:
        if not isinstance(network, MobiusNet) or not all(isinstance(b.lens, MobiusLens) for b in network.blocks):
            kind = type(network).__name__
            raise TypeError(f"WavesNetwork takes a MobiusNet with a MobiusLens in each block, got a {kind}.")
        rows, _ = square(pictures)
        outputs, channels = network.head.out_features, network.stem[0].in_channels
        if labels.shape != (rows,) or len(names) != outputs or channels != 1:
            raise ValueError(
                f"{rows} pictures need as many labels, {outputs} outputs as many names, and the network one "
                f"channel to read; there are {len(labels)} labels, {len(names)} names and {channels} channels."
            )
        model = copy.deepcopy(network).cpu().float().eval()
        own = learned(model)
        told = {
            "trained": own,
            "table": authors_table(len(model.blocks)),
            "tour": [dict(stop) for stop in tour],
            **own,
        }
        super().__init__(model, pictures, labels, names, pack, told, (mean, deviation), **traits)

    @validate(*TURNED, "block", "drawn")
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        blocks = len(self.trained["omega"])
        if name == "block" and not ALL_BLOCKS <= value < blocks:
            raise TraitError(f"block is from 0 to {blocks - 1}, or {ALL_BLOCKS} for all; got {value}.")
        if name == "drawn" and (len(value) not in (0, self.side**2) or not all(0 <= byte < 256 for byte in value)):
            raise TraitError(f"drawn takes {self.side**2} bytes from 0 to 255, row by row, or none.")
        if name in TURNED and len(value) != blocks:
            raise TraitError(f"{name} takes {blocks} numbers, one for each block, got {len(value)}.")
        if name in TURNED and not all(map(math.isfinite, value)):
            raise TraitError(f"{name} takes finite numbers, got {value}.")
        return value

    def network(self) -> MobiusNet:
        """The network with what the sliders say, in float32 and evaluation mode."""
        network = copy.deepcopy(self._network)
        with torch.no_grad():
            for name in TURNED:
                for block, value in zip(network.blocks, getattr(self, name), strict=True):
                    getattr(block.lens, name).fill_(value)
        return network

    def files(self) -> dict[str, bytes]:
        """The folded network in float32 (safetensors), the pictures' bytes, and what belongs to them (JSON)."""
        state = fold(self._network).state_dict()
        return self._files({name: value for name, value in state.items() if value.is_floating_point()})
