"""The network that chapter 1 shows in the page: how it was trained, and the pictures that it is judged on.

It has the blocks of the networks of `waves-images` and half of their channels, so that a browser reads 500 pictures in
seconds, and it is trained on all embedded training pictures. `data/make_network.py` trains it and
keeps the weights of the last epoch, in half precision: no test picture has had any part in them.

Source: ours.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mobius_lib.datasets import fashion_mnist
from mobius_lib.datasets.embedded import CLASSES, held_out_rows
from mobius_lib.runs.about import Scale
from mobius_lib.runs.trainer import embedded, judged_on, trained
from mobius_lib.runs.waves import images
from mobius_lib.waves import MobiusNet

if TYPE_CHECKING:
    from mobius_lib.widgets import WavesNetwork

FILE = "waves_network.safetensors"
SIZES = images.SIZES | {"channels": (16, 32, 64)}
TRAINING = Scale(epochs=5, batch_size=64, lr=3e-3, note="some two minutes on one core")
SEED = 0
PACK = "waves-network"
ALL = -1
"""In the place of a block: the widget's sliders turn all of them."""
RECIPE = """from mobius_lib.runs.waves import network

explorer = network.explorer({})
model = explorer.network()
explorer"""


def train() -> MobiusNet:
    """The network, trained anew by the recipe of `waves-images` at `TRAINING`."""
    run = replace(images.RUN, arms={"lens": fresh}, scales={"short": TRAINING}, at_scale=None)
    return trained(run, "short", "lens", images.load(), SEED)


def fresh() -> MobiusNet:
    """The network before it has learned anything."""
    return MobiusNet(**SIZES)


def judged(model: MobiusNet) -> dict[str, Any]:
    """What it comes to on all embedded test pictures."""
    return judged_on(model, *images.load().test)


def network() -> MobiusNet:
    """The embedded network."""
    return embedded(fresh(), FILE)


def held_out() -> tuple[Tensor, Tensor]:
    """The test pictures that the page counts on: (500, 28, 28) uint8 and (500,) labels."""
    x, y = fashion_mnist("test")
    rows = held_out_rows()
    return x[rows, 0], y[rows]


def explorer(**traits: Any) -> "WavesNetwork":
    """The widget of the embedded network, as the page shows it."""
    from mobius_lib.widgets import WavesNetwork
    from mobius_lib.widgets.waves_network import learned

    pixels, model = fashion_mnist("train")[0].float(), network()
    own = learned(model)
    blocks = len(own["omega"])
    last = [i == blocks - 1 for i in range(blocks)]
    tour = [
        {
            "name": "1",
            "note": "waves off",
            "say": "With ω = 0 no wave has a crest: every pattern is flat, and every gate stands where its norm's bias "
            "leaves it, about one half.",
            "ask": "How much of what the network knows lies in its waves?",
            "state": own | {"omega": [0.0] * blocks},
            "block": ALL,
        },
        {
            "name": "2",
            "note": "one block off",
            "say": "Only the last block has lost its waves.",
            "ask": "Which single block does the network miss most? Choose a block, and press ω = 0.",
            "state": own | {"omega": [0.0 if here else w for w, here in zip(own["omega"], last, strict=True)]},
            "block": blocks - 1,
        },
        {
            "name": "3",
            "note": "narrow crests",
            "say": "In all blocks α is 6, so that only narrow crests are left.",
            "ask": "The norm behind the waves undoes their size, but not their shape. Is that enough?",
            "state": own | {"alpha": [6.0] * blocks},
            "block": ALL,
        },
        {
            "name": "4",
            "note": "xor to and",
            "say": "Every v is near 0: the trained lens asks more for L and R to differ, this one for both to be high.",
            "ask": "Does the choice between xor and and matter as much as ω does?",
            "state": own | {"xor_weight": [-6.0] * blocks},
            "block": ALL,
        },
    ]
    normal = pixels.mean().item(), pixels.std().item()
    return WavesNetwork(model, *held_out(), CLASSES, *normal, pack=PACK, tour=tour, recipe=RECIPE, **traits)
