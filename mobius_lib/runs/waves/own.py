"""waves-features on features of a user's own: lens and GELU twin by the card's recipe, and one linear layer.

A row of the file is laid out as the picture that is nearest to a square: 768 numbers as 24 x 32, 1,280 as 32 x 40.
"""

import math
from functools import partial

from torch import Tensor, nn

from mobius_lib.runs.about import OWN, RunError, Scale
from mobius_lib.runs.base import Arm, Run, nothing
from mobius_lib.runs.waves import ABOUT
from mobius_lib.runs.waves.arms import gelu, lens, readings, state

SMALLEST = 4
"""Height of a picture of features: two stages halve it."""
LINEAR_RATE = 3e-2
"""Of the linear layer: on rows of length 1 it wants a larger rate than the networks."""


def layout(dim: int) -> tuple[int, int]:
    """Height and width of the picture as which a row of that many numbers is laid out: the nearest to a square.

    Raises:
        RunError: when it would be less than four high.
    """
    height = next(side for side in range(math.isqrt(dim), 0, -1) if dim % side == 0)
    if height < SMALLEST:
        raise RunError(
            f"Rows of {dim} numbers cannot be laid out as a picture: {dim} is no product of two numbers from "
            f"{SMALLEST} on. Bring them to another width (768 = 24 x 32), or use simplex-features."
        )
    return height, dim // height


def rows(x: Tensor) -> Tensor:
    """As the networks take them: (N, dim) to (N, 1, height, width)."""
    return x.reshape(-1, 1, *layout(x.shape[1]))


def run(dim: int, classes: int) -> Run:
    """The run, still without data.

    Args:
        dim: width of the features.
        classes: how many.
    Raises:
        RunError: for a width that is no picture.
    """
    layout(dim)
    about = ABOUT["waves-features"]
    return Run(
        about.name,
        about.chapter,
        about.summary,
        {OWN: Scale(epochs=20, batch_size=64, lr=1e-3, note="all rows of your own features")},
        arms={
            "lens": Arm(partial(lens, classes)),
            "gelu": Arm(partial(gelu, classes)),
            "linear": Arm(lambda: nn.Sequential(nn.Flatten(), nn.Linear(dim, classes)), rates=(LINEAR_RATE,)),
        },
        data=nothing,
        state=state,
        readings=readings,
        timed=("linear",),  # what a lens costs is `mobius bench`'s to say, and takes it a minute
    )
