"""The network of chapter 1 with other matrices in it, as chapter 4 shows it in the page.

Every matrix between stem and head (those of `gauge-lens`) by every rung and every plain compressor, each with at most
2, 4 or 8 bits for every weight; nothing is trained again. `data/make_network.py squeezed` makes them and keeps what the
page needs to have them again (`widgets.gauge_network.kept`).

Source: ours.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobius_lib.datasets import fashion_mnist
from mobius_lib.datasets.embedded import CLASSES
from mobius_lib.datasets.paths import fetch
from mobius_lib.gauge.baselines import at_bits
from mobius_lib.gauge.compress import compress
from mobius_lib.runs.gauge.lens import kind, replaceable
from mobius_lib.runs.waves import network
from mobius_lib.waves import MobiusNet

if TYPE_CHECKING:
    from mobius_lib.widgets import GaugeNetwork

FILE = "squeezed_network.safetensors"
PACK = "squeezed-network"
BITS = (2, 4, 8)
RECIPE = """from mobius_lib.runs.gauge import squeezed

explorer = squeezed.explorer({})
model = explorer.network()
explorer"""


def squeezed(model: MobiusNet, form: str, bits: int) -> dict[str, tuple[Tensor, int]]:
    """The matrices that a form replaces, each (out, in) and how many bits it takes; others it would not make smaller.

    Args:
        model: whose `replaceable` layers.
        form: a rung, "L1" to "L5", or one of `gauge.baselines.BASELINES`.
        bits: for each weight at most so many.
    """
    weights = {name: layer.weight.detach().flatten(1) for name, layer in replaceable(model).items()}
    if form.startswith("L"):
        layers = nn.ModuleList(nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights.values())
        for layer, w in zip(layers, weights.values(), strict=True):
            layer.weight.data.copy_(w)
        found = compress(layers, form, bits=bits)
        made: Any = zip(weights, found.layers.items(), strict=True)
        return {
            name: (found.model.get_submodule(place).to_dense().detach(), told.bits)
            for name, (place, told) in made
            if told.terms is not None
        }
    plain = {name: at_bits(form, w, bits * w.numel()) for name, w in weights.items()}
    return {name: (each.matrix, each.bits) for name, each in plain.items() if each is not None}


def prepared() -> tuple[dict[str, Tensor], dict[str, dict[str, dict[str, int]]]]:
    """What is kept of the embedded network's matrices in every form; their bits, by form, bits a weight and layer."""
    from mobius_lib.widgets.gauge_network import FORMS, kept

    model, state, bits = network.network(), {}, {}
    for form in FORMS[1:]:
        bits[form] = {}
        for most in BITS:
            found = squeezed(model, form, most)
            bits[form][str(most)] = {name: size for name, (_, size) in found.items()}
            for name, (matrix, _) in found.items():
                state |= {f"{form}.{most}.{name}.{k}": v.contiguous() for k, v in kept(form, matrix).items()}
    return state, bits


def explorer(**traits: Any) -> "GaugeNetwork":
    """The widget of the embedded network and matrices, as the page shows it."""
    import json

    from safetensors import safe_open
    from safetensors.torch import load_file

    from mobius_lib.widgets import GaugeNetwork

    path = fetch(FILE)
    with safe_open(path, "pt") as file:
        bits = json.loads(file.metadata()["bits"])
    model, pixels = network.network(), fashion_mnist("train")[0].float()
    normal = pixels.mean().item(), pixels.std().item()
    kinds = {name: kind(layer) for name, layer in replaceable(model).items()}
    made: dict[str, Any] = {"pack": PACK, "recipe": RECIPE}
    with torch.no_grad():
        return GaugeNetwork(model, kinds, load_file(path), bits, *network.held_out(), CLASSES, *normal, **made | traits)
