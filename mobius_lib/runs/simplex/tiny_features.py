"""David, its rivals and its ablations on features of Tiny ImageNet: the arms of simplex-features with 200 classes.

And, beside what is published, its parts one by one: places of the staircase by the row's index in the batch, and the
simplices as they are published. Source: the GeoFractalDavid card for the model; the comparison is ours.
"""

from typing import Any

from mobius_lib.datasets.tiny_features import CLASSES
from mobius_lib.runs.base import LONG, Arm, Data, sized
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
    found = features.arms(scale, CLASSES, each=True)
    parts = {"batch position": {"position": "batch"}, "published start": {"init": "published"}}
    return found | {
        name: david_arms.david(features.config(scale, CLASSES, **part), rates=found["david"].rates)
        for name, part in parts.items()
    }


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    return features.fields(scale) | {"arms": arms(scale), "data": load, **LONG}


RUN = sized(ABOUT["simplex-tiny-features"], fields)
