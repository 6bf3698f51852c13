"""Runs whose sizes change with the scale, at those of a test."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mobius_lib.runs import Run, execute, get_run


def at_sizes(name: str, fields: Mapping[str, Any], **changes: Any) -> Run:
    """The run with what its file's `fields` makes of other sizes.

    Args:
        changes: further fields of the run.
    """
    return replace(get_run(name), at_scale=None, **{**fields, **changes})


def two_seeds(name: str, fields: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Its record of two seeds."""
    return execute(at_sizes(name, fields, **changes), "quick", seeds=2, progress=False)
