"""The David that chapters 2 and 3 show in the page: how it was trained, and the rows that it is judged on.

The small David of `cantor-alpha` with the smaller of its two spaces alone, so that its weights, the features of 500
pictures and the pictures themselves stay below 1.5 MB, and a logit is one mix of three terms. It is trained on all
embedded training rows, at the rate that the search of that run found. `data/make_network.py` trains it and keeps the
weights of the last epoch, in half precision: no test row has had any part in them.

Source: ours.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mobius_lib import datasets
from mobius_lib.datasets.embedded import CLASSES, held_out_rows
from mobius_lib.runs.about import Scale
from mobius_lib.runs.simplex import arms, features
from mobius_lib.runs.trainer import embedded, judged_on, trained
from mobius_lib.simplex import DavidConfig, GeoFractalDavid
from mobius_lib.simplex.math import unit

if TYPE_CHECKING:
    from mobius_lib.widgets import SimplexNetwork

FILE = "simplex_network.safetensors"
CONFIG = DavidConfig(feature_dim=features.DIM, num_classes=features.CLASSES, k=4, scales=(64,))
TRAINING = Scale(epochs=10, batch_size=128, lr=0.1, note="half a minute on one core")
SEED = 0
PACK = "simplex-network"
RECIPE = """from mobius_lib.runs.simplex import network

explorer = network.explorer({})
model = explorer.network()
explorer"""


def train() -> GeoFractalDavid:
    """The network, trained anew by the recipe of `simplex-features` at `TRAINING`."""
    arm = arms.david(CONFIG)
    run = replace(features.RUN, arms={"david": arm}, scales={"short": TRAINING}, at_scale=None)
    return trained(run, "short", "david", features.load(), SEED)


def fresh() -> GeoFractalDavid:
    """The network before it has learned anything."""
    return GeoFractalDavid(CONFIG)


def judged(model: GeoFractalDavid) -> dict[str, Any]:
    """What it comes to on all embedded test rows."""
    return judged_on(model, *features.load().test)


def network() -> GeoFractalDavid:
    """The embedded network."""
    return embedded(fresh(), FILE)


def held_out() -> tuple[Tensor, Tensor, Tensor]:
    """What the page counts on: (500, 28, 28) uint8 pictures, (500, 512) features in half precision, (500,) labels."""
    rows, (pixels, y) = held_out_rows(), datasets.fashion_mnist("test")
    return pixels[rows, 0], datasets.features("test", features.DIM)[0][rows].half().float(), y[rows]


def corners_used() -> Tensor:
    """Which corners of the embedded network are the nearest to a held-out picture of their class.

    Returns:
        (classes, corners) bool.
    """
    _, rows, labels = held_out()
    (head,) = network().heads.values()
    corners = head.class_prototypes.detach()
    with torch.no_grad():
        q = head.project(unit(rows))
    used = torch.zeros(corners.shape[:2], dtype=torch.bool)
    used[labels, (q.unsqueeze(1) - corners[labels]).norm(dim=2).argmin(dim=1)] = True
    return used


def explorer(**traits: Any) -> "SimplexNetwork":
    """The widget of the embedded network, as the page of chapter 3 shows it; of chapter 2 with view="staircase"."""
    from mobius_lib.widgets import SimplexNetwork

    return SimplexNetwork(network(), *held_out(), CLASSES, pack=PACK, recipe=RECIPE, **traits)
