"""Checks: a few files per chapter, and one for what all runs share; importing this package registers all of them."""

from mobius_lib.ledger.checks import (
    cantor_laws,
    runs,
    simplex_laws,
    simplex_runs,
    simplex_table,
    waves_laws,
    waves_runs,
    waves_sizes,
    waves_table,
)

__all__ = [
    "cantor_laws",
    "runs",
    "simplex_laws",
    "simplex_runs",
    "simplex_table",
    "waves_laws",
    "waves_runs",
    "waves_sizes",
    "waves_table",
]
