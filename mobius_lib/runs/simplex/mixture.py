"""David and its rivals on made classes whose best possible accuracy is known: with one mode per class, and with four.

Several modes per class are where geometry could pay: a class of David has k + 1 vertices, and the crystal term asks for
the nearest of them, as Bayes' rule does. With k = 3 there is a vertex for each of four modes. The record's `bayes` says
what the best rule reaches.

Two runs, so that each has a record of its own: `simplex-mixture` (one mode) and `simplex-mixture-modes` (four).
Source: ours; at full scale the sizes of the GeoFractalDavid card's run (1,000 classes, 512 dimensions, 1,281,167 rows).
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

from mobius_lib.datasets.made import SphereMixture
from mobius_lib.runs.base import Arm, Data, sized
from mobius_lib.runs.simplex import ABOUT, MIXTURES
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import DavidConfig

LONGER = 4


@dataclass(frozen=True)
class Sizes:
    """Of the data and of David, at one scale of the run."""

    classes: int
    dim: int
    concentration: dict[int, float]
    """By modes, so that Bayes' rule gets some nine of ten right in both."""
    train: int
    test: int
    scales: tuple[int, ...]
    k: int
    draws: int
    """On which the accuracy of Bayes' rule is measured."""


SIZES = {
    "quick": Sizes(30, 32, {1: 25.0, 4: 30.0}, 2_400, 1_000, (32, 64), 3, 20_000),
    "short": Sizes(1000, 64, {1: 44.0, 4: 50.0}, 80_000, 5_000, (64, 128), 3, 50_000),
    "full": Sizes(1000, 512, {1: 105.0, 4: 116.0}, 1_281_167, 50_000, (384, 512, 768, 1024, 1280), 12, 50_000),
}


def mixture(scale: str, modes: int) -> SphereMixture:
    """The distribution at that scale of the run."""
    sizes = SIZES[scale]
    return SphereMixture(sizes.classes, sizes.dim, modes, sizes.concentration[modes])


def load(scale: str, modes: int) -> Data:
    """Both splits, and the SHA-256 of their rows."""
    made, sizes = mixture(scale, modes), SIZES[scale]
    train, test = made.draw(sizes.train, "train"), made.draw(sizes.test, "test")
    hashes = {
        f"{made} {split}": hashlib.sha256(memoryview(x.numpy()).cast("B")).hexdigest()
        for split, (x, _) in {"train": train, "test": test}.items()
    }
    return Data(train, test, hashes)


def bayes(scale: str, modes: int) -> dict[str, Any]:
    """What the best rule reaches."""
    accuracy, error = mixture(scale, modes).bayes_accuracy(SIZES[scale].draws)
    return {"bayes": {"accuracy": accuracy, "standard_error": error, "draws": SIZES[scale].draws, "modes": modes}}


def arms(scale: str) -> dict[str, Arm]:
    """David, its rivals, and David judged by nearest vertices alone, without them, and by plain cross-entropy."""
    sizes, searched = SIZES[scale], scale != "quick"
    config = partial(DavidConfig, feature_dim=sizes.dim, num_classes=sizes.classes, k=sizes.k, scales=sizes.scales)
    deep = david_arms.candidates(david_arms.DEEP_RATES, searched)
    plain = david_arms.baselines(sizes.dim, sizes.classes, david_arms.size_of(config()), searched)
    return {
        "david": david_arms.david(config(), rates=deep),
        **plain,
        "mlp longer": Arm(plain["mlp"].make, rate_of="mlp", epochs=LONGER),
        "no crystal": david_arms.david(config(terms=("feature", "cantor")), rate_of="david"),
        "vertices only": david_arms.david(config(terms=("crystal",)), rate_of="david"),
        "cross-entropy": david_arms.david(config(), objective=david_arms.cross_entropy, rates=deep),
    }


def fields(scale: str, modes: int) -> dict[str, Any]:
    """What the run with so many modes has at a scale."""
    return david_arms.COMMON | {
        "arms": arms(scale),
        "data": partial(load, scale, modes),
        "facts": partial(bayes, scale, modes),
        "timed": ("david", "linear", "cosine", "mlp"),
    }


RUN, RUN_MODES = (sized(ABOUT[name], partial(fields, modes=modes)) for modes, name in MIXTURES.items())
