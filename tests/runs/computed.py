"""Records of runs that compute, at the sizes of a test."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mobius_lib.runs import execute, get_run


def two_seeds(name: str, compute: Callable[..., Any], sizes: Any, **changes: Any) -> dict[str, Any]:
    """The record of two seeds.

    Args:
        name: of a run.
        compute: its own, which takes data, seed and sizes.
        changes: further fields of the run.
    """
    run = replace(get_run(name), at_scale=None, compute=lambda data, seed: compute(data, seed, sizes), **changes)
    return execute(run, "quick", seeds=2, progress=False)
