"""`simplex-imagenet`'s recipe on a made set of its size, whose best possible accuracy is known. See `runs.made`.

Source: the GeoFractalDavid card for sizes and groups, its sibling for the recipe; the data are ours.
"""

from functools import partial

from mobius_lib.runs import made
from mobius_lib.runs.base import Arm, Run
from mobius_lib.runs.simplex import ABOUT, classifiers
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import DavidConfig

DIM = 512


def at_scale(scale: str) -> Run:
    """The run with data and networks at the sizes of that scale."""
    classes = made.SIZES[scale].classes
    sizes = {"num_classes": classes} | ({"k": 3, "scales": (32, 64)} if scale == "quick" else {})
    return Run(
        **vars(ABOUT["simplex-made"]),
        arms={
            "published": david_arms.david(DavidConfig(position="batch", init="published", **sizes)),
            "david": david_arms.david(DavidConfig(**sizes)),
            "linear": Arm(partial(classifiers.linear_probe, DIM, classes)),
        },
        data=partial(made.load, scale, DIM),
        needs=partial(made.needs, scale, DIM) if scale == "full" else None,
        extra=partial(made.bayes, scale, DIM),
        **david_arms.COMMON,
        warmup_epochs=3,
        at_scale=at_scale,
    )


RUN = at_scale("quick")
