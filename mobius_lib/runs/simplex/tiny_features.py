"""David, its rivals and its ablations on features of Tiny ImageNet: the arms of simplex-features with 200 classes.

And, beside what is published, its parts one by one: places of the staircase by the row's index in the batch, and the
simplices as they are published. Source: the GeoFractalDavid card for the model; the comparison is ours.
"""

from dataclasses import replace

from mobius_lib.datasets.tiny_features import CLASSES
from mobius_lib.runs.base import Arm, Data, Run
from mobius_lib.runs.simplex import ABOUT, features
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.waves.tiny_features import of_dimension


def load() -> Data:
    """Rows of 512.

    Raises:
        DataError: when the data are missing; it says how they are named.
    """
    return Data(*of_dimension(features.DIM))


def arms(scale: str) -> dict[str, Arm]:
    """Those of simplex-features, and two more."""
    return features.arms(scale, CLASSES) | {
        "batch position": david_arms.david(features.config(scale, CLASSES, position="batch"), rate_of="david"),
        "published start": david_arms.david(features.config(scale, CLASSES, init="published"), rate_of="david"),
    }


def at_scale(scale: str) -> Run:
    """The run with David at the sizes of that scale."""
    return replace(
        features.at_scale(scale),
        **vars(ABOUT["simplex-tiny-features"]),
        arms=arms(scale),
        data=load,
        at_scale=at_scale,
        keep_predictions=True,
        watched=1_000,
        further_rates=4,
    )


RUN = at_scale("quick")
