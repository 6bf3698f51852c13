"""Every reproduction of the book, by name. One file per run; each joins a chapter, a data set and the training loop.

`ABOUT` says what each does and takes, and costs no import of torch; the rest is imported when it is asked for.
"""

from typing import TYPE_CHECKING

from mobius_lib.lazy import lazy_names
from mobius_lib.runs import cantor, gauge, simplex, twistor, waves
from mobius_lib.runs.about import About, RunError, Scale

if TYPE_CHECKING:
    from mobius_lib.runs.base import Arm, Run
    from mobius_lib.runs.devices import pick_device
    from mobius_lib.runs.executor import execute
    from mobius_lib.runs.records import load_result
    from mobius_lib.runs.registry import RUNS, get_run

ABOUT: dict[str, About] = waves.ABOUT | cantor.ABOUT | simplex.ABOUT | gauge.ABOUT | twistor.ABOUT
"""What each run does and takes, by its name."""


def described(name: str) -> About:
    """What is said of the run of that name.

    Raises:
        RunError: when there is none, naming those there are.
    """
    if name not in ABOUT:
        raise RunError(f"There is no run {name!r}; there are {', '.join(ABOUT)}.")
    return ABOUT[name]


HOMES = {
    "Arm": "mobius_lib.runs.base",
    "RUNS": "mobius_lib.runs.registry",
    "Run": "mobius_lib.runs.base",
    "execute": "mobius_lib.runs.executor",
    "get_run": "mobius_lib.runs.registry",
    "load_result": "mobius_lib.runs.records",
    "pick_device": "mobius_lib.runs.devices",
}
"""Where each other name lives."""

__getattr__, __dir__ = lazy_names(__name__, HOMES)

__all__ = [
    "ABOUT",
    "RUNS",
    "About",
    "Arm",
    "Run",
    "RunError",
    "Scale",
    "described",
    "execute",
    "get_run",
    "load_result",
    "pick_device",
]
