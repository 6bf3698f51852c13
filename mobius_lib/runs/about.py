"""What is said of a run before anything of it is imported: its name, what it does, how much each scale takes.

No torch here: whoever lists the runs, or completes their names in a shell, does not wait for it. A chapter's runs stand
in its folder's `__init__.py`; what is compared, and on what, in a file per run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from mobius_lib.errors import MobiusError


class RunError(MobiusError):
    """A run, a scale or a setting that does not exist."""


@dataclass(frozen=True)
class Scale:
    """How much of a run is done."""

    epochs: int
    """0: nothing is trained, and the models are judged as their functions make them."""
    batch_size: int
    lr: float
    train_samples: int | None = None
    """The first so many rows of the training set, which is shuffled first with seed 0; None: all."""
    test_samples: int | None = None
    precision: str = "no"
    """As in `Recipe`: "no" is float32."""
    accumulate: int = 1
    """As in `Recipe`: batches to a step."""
    note: str = ""
    """What to expect: minutes and machine."""


TRAIN_ROWS = 6_000
"""Of the 12,000 embedded rows, at the scales that are to decide. As many are tested on, so that the test set's own
error of a paired difference stays below the smallest effect of interest, 0.5 points: where two arms differ in whether
they are right on one row in twenty, its standard error is 0.29 points with a single seed, and less with several."""
OWN = "own"
"""The scale of a run on data of a user's own: no claim is judged by its records."""

COMPUTED = partial(Scale, epochs=0, batch_size=0, lr=0.0)
"""A scale of a run that computes its records in its own way."""


@dataclass(frozen=True)
class About:
    """A run as a list shows it."""

    name: str
    chapter: int
    summary: str
    scales: Mapping[str, Scale]


def by_name(*runs: About) -> dict[str, About]:
    """As a table."""
    return {run.name: run for run in runs}
