"""ImageNet's size without ImageNet: a made set of known best accuracy for the full recipes of chapters 1 and 3.

1,000 classes on the sphere, as many rows as ImageNet has, and a concentration at which Bayes' rule gets about as many
right as the distillation card reports of its network: the most that any classifier can get. `waves-made` and
`simplex-made` train on it by the recipes of `waves-clip` and `simplex-imagenet`, at full scale on all rows, at short on
a hundredth of them; at the scale "few" on a hundredth of the classes, each with as many rows as at full scale.
"""

from dataclasses import dataclass
from typing import Any

import torch

from mobius_lib.datasets.made import SphereMixture
from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Data
from mobius_lib.runs.room import Needs

MANY = 2**28
"""Bytes of float32; rows that take more are kept in half precision."""


@dataclass(frozen=True)
class Sizes:
    """At one scale."""

    classes: int
    train: int
    test: int
    concentration: dict[int, float]
    """By dimension, so that Bayes' rule is right in 0.80 to 0.82 of all cases (4,000 draws)."""


SIZES = {
    "quick": Sizes(20, 400, 200, {512: 64.0, 768: 79.0}),
    "few": Sizes(10, 12_810, 2_000, {512: 57.0, 768: 70.0}),
    "short": Sizes(1000, 12_812, 2_000, {512: 96.0, 768: 117.0}),
    "full": Sizes(1000, 1_281_167, 50_000, {512: 96.0, 768: 117.0}),
}


def mixture(scale: str, dim: int) -> SphereMixture:
    """The distribution at that scale."""
    return SphereMixture(SIZES[scale].classes, dim, 1, SIZES[scale].concentration[dim])


def load(scale: str, dim: int) -> Data:
    """Both splits, mapped from the disk, and the SHA-256 of what was drawn."""
    made, sizes, kind = mixture(scale, dim), SIZES[scale], kind_of(scale, dim)
    train, test = made.stored(sizes.train, "train", kind), made.stored(sizes.test, "test", torch.float32)
    return Data((train.x, train.y), (test.x, test.y), {**train.shards, **test.shards})


def kind_of(scale: str, dim: int) -> torch.dtype:
    """Of the rows to train on."""
    return torch.float16 if 4 * dim * SIZES[scale].train > MANY else torch.float32


def needs(scale: str, dim: int, settings: Scale) -> Needs:
    """What they take."""
    made, sizes, kind = mixture(scale, dim), SIZES[scale], kind_of(scale, dim)
    to_write = made.missing(sizes.train, "train", kind) + made.missing(sizes.test, "test", torch.float32)
    rows = (kind.itemsize * sizes.train, 4 * sizes.test)
    return Needs(rows[0] * dim, rows[1] * dim, to_write, mapped=settings.train_samples is None)


def bayes(scale: str, dim: int, _: Data) -> dict[str, Any]:
    """What the best rule reaches."""
    accuracy, error = mixture(scale, dim).bayes_accuracy(20_000)
    return {"Bayes' rule": {"accuracy": accuracy, "standard_error": error, "parameters": 0}}
