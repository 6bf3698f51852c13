"""Every run of the book, ready to be executed. Importing this imports all of them."""

from importlib import import_module

from mobius_lib.runs import ABOUT, described
from mobius_lib.runs.base import Run

BESIDE = {
    "waves-clip-weights": ("waves-clip", "RUN_WEIGHTS"),
    "simplex-mixture-modes": ("simplex-mixture", "RUN_MODES"),
    "twistor-couplings": ("twistor-maps", "RUN_COUPLINGS"),
}
"""Runs that stand in another one's file, to that one and their name there."""


def _declared(name: str) -> Run:
    """The run waves-features is `RUN` of `waves/features.py`."""
    file, found = BESIDE.get(name, (name, "RUN"))
    chapter, _, stem = file.partition("-")
    return getattr(import_module(f"mobius_lib.runs.{chapter}.{stem.replace('-', '_')}"), found)


RUNS: dict[str, Run] = {name: _declared(name) for name in ABOUT}
"""Every run, by its name."""


def get_run(name: str) -> Run:
    """The run of that name.

    Raises:
        RunError: when there is none, naming those there are.
    """
    described(name)
    return RUNS[name]


def run_at(name: str, scale: str) -> Run:
    """The run of that name as it is at a scale.

    Raises:
        RunError: when there is no such run or scale.
    """
    return get_run(name).at(scale)
