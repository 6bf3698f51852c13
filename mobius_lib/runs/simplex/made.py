"""`simplex-imagenet`'s recipe on a made set of its size, whose best possible accuracy is known. See `runs.made`.

Source: the GeoFractalDavid card for sizes and groups, its sibling for the recipe; the data are ours.
"""

from functools import partial
from typing import Any

from mobius_lib.runs import made
from mobius_lib.runs.base import Arm, sized
from mobius_lib.runs.simplex import ABOUT, classifiers
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import DavidConfig

DIM = 512


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    classes = made.SIZES[scale].classes
    sizes = {"num_classes": classes} | ({"k": 3, "scales": (32, 64)} if scale == "quick" else {})
    return david_arms.COMMON | {
        "arms": {
            "published": david_arms.david(DavidConfig(position="batch", init="published", **sizes)),
            "david": david_arms.david(DavidConfig(**sizes)),
            "linear": Arm(partial(classifiers.linear_probe, DIM, classes)),
        },
        "data": partial(made.load, scale, DIM),
        "needs": partial(made.needs, scale, DIM) if scale == "full" else None,
        "extra": partial(made.bayes, scale, DIM),
        "warmup_epochs": 3,
    }


RUN = sized(ABOUT["simplex-made"], fields)
