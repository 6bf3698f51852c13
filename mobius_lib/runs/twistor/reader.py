"""The models that chapter 5 shows in the page: how they were trained, and the line that they read first.

They are two arms of `twistor-maps` at short scale, each at the rate that its search has found (`RATES`): the twistor,
and torch's LSTM of its size with the same head. `data/make_network.py` trains them and keeps the weights, in a byte
each: no held-out book has had any part in them.

Source: ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mobius_lib.datasets import text
from mobius_lib.datasets.paths import fetch
from mobius_lib.eight_bits import unpacked
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor.maps import Maps, make_models
from mobius_lib.runs.twistor.text import SIZES, load
from mobius_lib.training.checkpoint import load_model

if TYPE_CHECKING:
    from mobius_lib.widgets import TwistorReader

FILE = "twistor_readers.safetensors"
SCALE = "short"
ARMS = {"twistor": "twistor", "lstm": "lstm + head"}
"""Of twistor-maps."""
RATES = {"twistor": 0.02, "lstm": 0.01}
SEED = 0
PACK = "twistor-readers"
RECIPE = """from mobius_lib.runs.twistor import reader

explorer = reader.explorer({})
model = explorer.model()
explorer"""
FIRST = ("Ecclesiastes", 44)
"""A held-out book, and the line of it that stands there at first."""


def train(name: str, comparison: Maps) -> nn.Module:
    """One of `ARMS`, trained anew by the recipe of `twistor-maps`; comparison: `prepared`."""
    sizes = comparison.sizes
    return comparison.trained(ARMS[name], SEED, RATES[name], sizes.steps, sizes.intervals)[0].eval()


def prepared() -> Maps:
    """The texts and the models."""
    comparison = Maps(SIZES[SCALE])
    comparison.prepare(load(SIZES[SCALE]))
    return comparison


def models() -> dict[str, Any]:
    """The embedded models, in float32 and evaluation mode.

    Raises:
        DataError: when their file is missing or damaged.
        CheckpointError: when it does not fit.
    """
    from safetensors.torch import load_file

    path, fresh = fetch(FILE), make_models(SIZES[SCALE], len(book.alphabet()))
    stored = load_file(path)
    return {name: filled(name, fresh[arm](), stored, path) for name, arm in ARMS.items()}


def filled(name: str, model: nn.Module, stored: Mapping[str, Tensor], where: Path | str) -> nn.Module:
    """One of them with its weights out of what `to_keep` gave, packed; for evaluation: no held gradients are kept."""
    held = {key: value for key, value in model.state_dict().items() if ".held_" in key}
    own = {key.removeprefix(f"{name}."): value for key, value in stored.items() if key.startswith(f"{name}.")}
    load_model(model, held | unpacked(own), where)
    return model.eval()


def to_keep(name: str, model: nn.Module) -> dict[str, Any]:
    """What `models` loads of one of them, by name in the file."""
    return {f"{name}.{key}": value for key, value in model.state_dict().items() if ".held_" not in key}


def explorer(**traits: Any) -> "TwistorReader":
    """The widget of the embedded models, as the page shows it."""
    from mobius_lib.widgets import TwistorReader

    name, line = FIRST
    first = text.books()[name].split("\n")[line]
    return TwistorReader(**models(), letters=book.alphabet(), first=first, pack=PACK, recipe=RECIPE, **traits)
