"""gauge-network: the square layers of a trained network, replaced by rungs of the ladder and by plain compressors.

The network is three layers of 768 x 768 with GELUs and a head, on the embedded features of chapter 1, whose 768
components are sorted by variance: an order in which neighbours may be alike, as the rungs want it for the first layer.
It is trained as usual, with each seed anew; then the three matrices are replaced, and nothing is trained again. Biases
and the head stay as they are, and are not counted.

The numbers directly in an arm's record are those of N = 8 Gaussians, the note's; the compressors get as many bits as
L5. `rows` holds other N.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.gauge.compress import mixing, replaced
from mobius_lib.runs.base import Data, Run, seeded_subset, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.forms import ARMS, Form, by_arm, compressed, size, some_rungs
from mobius_lib.runs.waves.features import CLASSES
from mobius_lib.runs.waves.features import load as load_pictures

WIDTH = 768
LAYERS = 3


@dataclass(frozen=True)
class Sizes:
    """How much a scale trains and compresses."""

    epochs: int
    rows: int | None
    """Training rows; None: all."""
    terms: tuple[int, ...]
    """N."""


SIZES = {
    "quick": Sizes(3, 3_000, (8,)),
    "short": Sizes(10, None, (8, 32, 64)),
    "full": Sizes(30, None, (4, 8, 16, 32, 64, 128)),
}


def load() -> Data:
    """The features as plain rows."""
    data = load_pictures()
    (x, y), (x_test, y_test) = data.train, data.test
    return replace(data, train=(x.flatten(1), y), test=(x_test.flatten(1), y_test))


def network(width: int = WIDTH, classes: int = CLASSES) -> nn.Sequential:
    """LAYERS square layers, each with a GELU, and a head. Inputs have length 1, so they are brought to variance 1."""
    hidden = [part for _ in range(LAYERS) for part in (nn.Linear(width, width), nn.GELU())]
    return nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), *hidden, nn.Linear(width, classes))


def square(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that are replaced, by name, in their order."""
    return {name: layer for name, layer in mixing(model).items() if layer.in_features == layer.out_features}


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """Train with the seed, then the record of every arm."""
    started = time.perf_counter()
    model = _trained(data, seed, sizes)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        return _judged(model, data.test, sizes.terms, seconds)


def _trained(data: Data, seed: int, sizes: Sizes) -> nn.Module:
    from mobius_lib.training import Recipe, ResidentBatches, fit

    torch.manual_seed(seed)
    model = network(data.train[0].shape[1], int(data.train[1].max()) + 1)
    train = ResidentBatches(*seeded_subset(*data.train, sizes.rows), 100, shuffle=True, seed=seed)
    test = ResidentBatches(*data.test, 500, shuffle=False, seed=0)
    recipe = Recipe(epochs=sizes.epochs, lr=3e-4, weight_decay=0.05, batch_size=100, seed=seed)
    fit(model, train, test, recipe, None, device="cpu", progress=False)
    return model.eval()


def _judged(
    model: nn.Module, test: tuple[Tensor, Tensor], terms: tuple[int, ...], seconds: float
) -> dict[str, dict[str, Any]]:
    layers = square(model)
    weights = [layer.weight.detach() for layer in layers.values()]

    def row(form: Form) -> dict[str, Any]:
        other = replaced(model, dict(zip(layers, form.matrices, strict=True)))
        accuracy = (other(test[0]).argmax(1) == test[1]).double().mean().item()
        return {**size(weights, form), "final_accuracy": accuracy}

    rows = [(form.arm, row(form)) for form in compressed(weights, terms)]
    return by_arm(ARMS, rows, {"dense": {"seconds": seconds}})


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The network trained again, its accuracy, and its layers by some rungs."""
    model = _trained(data, 0, run.compute.keywords["sizes"])
    hits = (model(data.test[0]).argmax(1) == data.test[1]).double()
    weights = [layer.weight.detach() for layer in square(model).values()]
    return {"dense/final_accuracy": hits.mean().item(), **some_rungs(weights)}


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    facts = asdict(sizes) | {"width": WIDTH, "layers": LAYERS}
    return {
        "arms": ARMS,
        "data": load,
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": lambda: {"sizes": facts},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-network"], fields, SIZES)
