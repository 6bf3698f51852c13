"""The trained David of chapters 2 and 3: its basins around a picture or its staircase, and the mix of its terms."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from traitlets import Dict as DictTrait
from traitlets import TraitError, Unicode, validate

from mobius_lib.simplex import TERMS, GeoFractalDavid
from mobius_lib.simplex.david import DavidHead
from mobius_lib.widgets.pack import Pictured, square
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, List

TURNED = ("mix", "alpha", "tau")
"""What the sliders turn: the mixing weights, the height of the middle third, the temperature."""
VIEWS = ("basins", "staircase")
OWN = """from mobius_lib.widgets import SimplexNetwork

explorer = SimplexNetwork(network, pictures, features, labels, names, {})
model = explorer.network()
explorer"""
"""What makes the widget of a network that is not the book's: whoever made it knows the arguments."""


def learned(network: GeoFractalDavid) -> dict[str, Any]:
    """What the sliders turn, as a network of one scale has it."""
    stairs = network.cantor_stairs
    return {"mix": _head(network).weights().tolist(), "alpha": stairs.alpha.item(), "tau": stairs.tau}


def _head(network: GeoFractalDavid) -> DavidHead:
    (head,) = network.heads.values()
    return cast(DavidHead, head)


def presets(trained: dict[str, Any], view: str) -> list[dict[str, Any]]:
    """The buttons of a view: as trained, and mixes or staircases worth seeing."""
    alone = {term: [float(each == term) for each in TERMS] for term in TERMS}
    names = {"feature": "Feature", "cantor": "Cantor", "crystal": "Crystal"}
    buttons = [{"name": "As trained", "note": "reset", "state": trained}]
    mixes = [{"name": names[term], "note": "alone", "state": {"mix": mix}} for term, mix in alone.items()]
    if view == "basins":
        return [*buttons, *mixes, {"name": "Even", "note": "⅓ ⅓ ⅓", "state": {"mix": [1.0] * len(TERMS)}}]
    return [
        *buttons,
        mixes[TERMS.index("cantor")],
        {"name": "Middle at 0", "note": "α = 0", "state": {"alpha": 0.0}},
        {"name": "Middle at 1", "note": "α = 1", "state": {"alpha": 1.0}},
        {"name": "Three steps", "note": "τ = 0.001", "state": {"tau": 0.001}},
    ]


class SimplexNetwork(Pictured):
    """A trained David of one scale in the page: where a picture lies among the basins, and what each term says of it.

    The reader mixes the three terms, moves the staircase and chooses a picture; the answers to many held-out pictures
    follow. The traits `mix` (of feature, Cantor and crystal term; brought to sum 1, as the softmax of a David's
    geo_weights is; three zeros are a third each), `alpha`, `tau`, `picture` (a row) and `view` ("basins", or
    "staircase", which draws that in their place) can be set from Python.

    Args:
        network: a trained `GeoFractalDavid` of one scale, with all three terms and the published staircase on positions
            from the features; copied, and used in evaluation mode.
        pictures: (N, side, side) uint8, held out; side at most 64.
        features: (N, d), what the network reads of them.
        labels: (N,) their classes.
        names: of the classes.
        pack: name of the script that holds the files in the book's pages; "" where only a kernel has them.
        traits: further traits.
    Raises:
        TypeError: when the network is no GeoFractalDavid.
        ValueError: when the network is another David, or pictures, features, labels and names do not fit each other.
        TraitError: when a trait cannot have a value.
    Source:
        ours.
    """

    _esm = served("shared.js", "thirds.js", "tones.js", "pack.js", "pictures.js", "simplex_network.js")
    _css = served("shared.css", "pack.css")
    recipe = Unicode(OWN).tag(sync=True)
    engine = ("tensors.js", "david.js")

    mix = List(Float()).tag(sync=True)
    alpha = Float().tag(sync=True)
    tau = Float().tag(sync=True)
    view = Unicode("basins").tag(sync=True)
    trained = DictTrait(read_only=True).tag(sync=True)
    presets = DictTrait(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: GeoFractalDavid,
        pictures: Tensor,
        features: Tensor,
        labels: Tensor,
        names: Sequence[str],
        *,
        pack: str = "",
        **traits: Any,
    ) -> None:
        if not isinstance(network, GeoFractalDavid):
            raise TypeError(f"SimplexNetwork takes a GeoFractalDavid, got a {type(network).__name__}.")
        config = network.config
        kind = (len(config.scales), set(config.terms), config.form, config.position)
        if kind != (1, set(TERMS), "published", "features"):
            raise ValueError(
                "SimplexNetwork takes a David of one scale, all terms, form 'published' and position 'features'; this "
                f"one has scales {config.scales}, terms {config.terms}, form {config.form!r}, position "
                f"{config.position!r}."
            )
        rows, _ = square(pictures)
        wanted = (rows, config.feature_dim)
        if features.shape != wanted or labels.shape != (rows,) or len(names) != config.num_classes:
            raise ValueError(
                f"{rows} pictures need features of {wanted} and as many labels, and {config.num_classes} classes "
                f"as many names; there are features of {tuple(features.shape)}, {len(labels)} labels and "
                f"{len(names)} names."
            )
        model = copy.deepcopy(network).cpu().float().eval()
        own = learned(model)
        told = {"trained": own, "presets": {view: presets(own, view) for view in VIEWS}, **own}
        # in double precision, as the page computes: two classes may lie as close as the staircase can put them
        super().__init__(model, pictures, labels, names, pack, told, inputs=features.cpu().double(), **traits)

    @validate(*TURNED, "view")
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "view" and value not in VIEWS:
            raise TraitError(f"view must be one of {', '.join(VIEWS)}; got {value!r}.")
        if name == "mix" and len(value) != len(TERMS):
            raise TraitError(f"mix takes {len(TERMS)} numbers, got {len(value)}.")
        if name in TURNED and not all(map(math.isfinite, value if name == "mix" else [value])):
            raise TraitError(f"{name} takes finite numbers, got {value}.")
        if name == "mix" and min(value) < 0:
            raise TraitError(f"mix takes weights that are not negative, got {value}.")
        if name == "tau" and value <= 0:
            raise TraitError(f"tau is a temperature, so it must be positive; got {value}.")
        return value

    def network(self) -> GeoFractalDavid:
        """The network with what the sliders say, in float32 and evaluation mode."""
        network = GeoFractalDavid(replace(self._network.config, tau=self.tau))
        network.load_state_dict(self._network.state_dict())
        mix = torch.tensor(self.mix)
        with torch.no_grad():  # of 0 the logarithm is minus infinity, whose softmax is 0
            _head(network).geo_weights.copy_((mix if mix.any() else torch.ones_like(mix)).log())
            network.cantor_stairs.alpha.fill_(self.alpha)
        return network.eval()

    def files(self) -> dict[str, bytes]:
        """Weights and features (safetensors, in half precision where that loses nothing), pictures, labels (JSON)."""
        tensors = self._network.state_dict() | {"features": self._inputs.float()}
        halves = {name: value.half().contiguous() for name, value in tensors.items()}
        exact = {name: half if torch.equal(half.float(), tensors[name]) else tensors[name].contiguous()
                 for name, half in halves.items()}  # fmt: skip
        return self._files(exact)
