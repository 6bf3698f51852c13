"""`waves-clip`'s recipe on a made set of its size, whose best possible accuracy is known. See `runs.made`.

Source: the distillation card for networks and recipe; the data are ours.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from mobius_lib.fingerprint import known_by
from mobius_lib.runs import made
from mobius_lib.runs.base import Data, sized
from mobius_lib.runs.waves import ABOUT, arms
from mobius_lib.runs.waves.readings import lens_readings, lens_state

DIM = 768


def load(scale: str) -> Data:
    """Rows of 768, laid out 24 x 32."""
    data = made.load(scale, DIM)
    train, test = ((known_by(x.view(-1, 1, 24, 32), x), y) for x, y in (data.train, data.test))
    return replace(data, train=train, test=test)


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    classes = made.SIZES[scale].classes
    return {
        "arms": {"lens": partial(arms.lens, classes), "gelu": partial(arms.gelu, classes)},
        "data": partial(load, scale),
        "needs": partial(made.needs, scale, DIM) if scale == "full" else None,
        "extra": partial(made.bayes, scale, DIM),
        "state": lens_state,
        "readings": lens_readings,
    }


RUN = sized(ABOUT["waves-made"], fields)
