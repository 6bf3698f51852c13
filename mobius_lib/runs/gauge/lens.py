"""gauge-lens: the network of chapter 1, trained as there, with its matrices replaced by rungs and by compressors.

`waves-features` trains MobiusNet by the distillation card's recipe; this run trains its lens arm with the same scale
and seed, so the untouched network is the one of chapter 1's record, where that was made on a CPU. Then every matrix
between stem and head is replaced, and nothing is trained again: those of the twists and of the pointwise convolutions,
and the 3 x 3 convolutions as matrices with a column for each channel and place. Scalars, norms and depthwise
convolutions stay as they are, and are not counted.

A twist applies cos(a) I + sin(a) W. Where its angle is near a multiple of pi, as at the first and at the last lens,
next to nothing of W gets through, whatever takes its place. `only` therefore has the accuracy with one kind of matrix
replaced alone.

The numbers directly in an arm's record are those of N = 8 Gaussians, the note's. `rows` holds other N.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.gauge.compress import is_pointwise, mixing, replaced
from mobius_lib.runs.base import Data, Run, seeded_subset, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.forms import ARMS, Form, by_arm, compressed, size, some_rungs
from mobius_lib.runs.replay import replay
from mobius_lib.runs.trainer import trained
from mobius_lib.runs.waves import features as waves_features

KINDS = ("twists", "pointwise", "3 x 3")
BATCH = 100
"""Pictures at once."""


@dataclass(frozen=True)
class Sizes:
    """How much a scale trains and compresses."""

    training: str
    """The scale of `waves-features`."""
    test: int | None
    """Pictures on which the forms are judged; None: all."""
    terms: tuple[int, ...]
    """N."""


SIZES = {
    "quick": Sizes("quick", 200, (8,)),
    "short": Sizes("short", None, (8, 32)),
    "full": Sizes("full", None, (4, 8, 16, 32, 64)),
}


def replaceable(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that are replaced, by name, in their order: all that mix channels, but stem and head."""
    return {name: layer for name, layer in mixing(model).items() if not name.startswith(("stem", "head"))}


def kind(layer: nn.Module) -> str:
    """Which of `KINDS` a layer is."""
    if isinstance(layer, nn.Linear):
        return "twists"
    return "pointwise" if is_pointwise(layer) else "3 x 3"


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """Train with the seed, then the record of every arm."""
    model = trained(waves_features.RUN, sizes.training, "lens", data, seed)
    with torch.no_grad():
        return _judged(model, seeded_subset(*data.test, sizes.test), sizes.terms)


def _judged(model: nn.Module, test: tuple[Tensor, Tensor], terms: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    layers = replaceable(model)
    weights = [layer.weight.detach().flatten(1) for layer in layers.values()]

    def accuracy(form: Form, kinds: tuple[str, ...]) -> float:
        chosen = {
            name: matrix
            for (name, layer), matrix in zip(layers.items(), form.matrices, strict=True)
            if kind(layer) in kinds
        }
        other = replaced(model, chosen)
        named = torch.cat([other(part).argmax(1) for part in test[0].split(BATCH)])
        return (named == test[1]).double().mean().item()

    rows, only = [], {}
    for form in compressed(weights, terms):
        rows.append((form.arm, {**size(weights, form), "final_accuracy": accuracy(form, KINDS)}))
        if form.arm != "dense" and form.is_seeds:
            only[form.arm] = {"only": {each: accuracy(form, (each,)) for each in KINDS}}
    return by_arm(ARMS, rows, only)


def facts(sizes: Sizes) -> dict[str, Any]:
    """What the record says of the network."""
    model = waves_features.lens()
    layers = replaceable(model)
    numbers = {each: sum(layer.weight.numel() for layer in layers.values() if kind(layer) == each) for each in KINDS}
    shapes = {name: list(layer.weight.flatten(1).shape) for name, layer in layers.items()}
    parameters = sum(p.numel() for p in model.parameters())
    return {"sizes": {**asdict(sizes), "layers": shapes, "numbers": numbers, "parameters": parameters}}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first losses of chapter 1's network, and its matrices before the first step by some rungs."""
    scale = run.compute.keywords["sizes"].training
    settings, place = waves_features.RUN.scales[scale], torch.device("cpu")
    part = replace(data, train=seeded_subset(*data.train, settings.train_samples))
    losses = replay(waves_features.RUN, scale, settings, part, {"lens": {}}, place)["lens"]
    torch.manual_seed(0)
    weights = [layer.weight.detach().flatten(1) for layer in replaceable(waves_features.lens()).values()]
    untrained = {f"untrained {name}": value for name, value in some_rungs(weights).items()}
    return {"training": losses, **untrained}


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": waves_features.load,
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": partial(facts, sizes),
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-lens"], fields, SIZES)
