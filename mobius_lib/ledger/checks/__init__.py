"""Checks: a few files per chapter, and two for what all runs share; importing this package registers all of them."""

from mobius_lib.ledger.checks import measures, runs
from mobius_lib.ledger.checks.cantor import laws as cantor_laws
from mobius_lib.ledger.checks.gauge import laws as gauge_laws
from mobius_lib.ledger.checks.gauge import rungs as gauge_rungs
from mobius_lib.ledger.checks.gauge import runs as gauge_runs
from mobius_lib.ledger.checks.gauge import sizes as gauge_sizes
from mobius_lib.ledger.checks.simplex import laws as simplex_laws
from mobius_lib.ledger.checks.simplex import runs as simplex_runs
from mobius_lib.ledger.checks.simplex import table as simplex_table
from mobius_lib.ledger.checks.twistor import build as twistor_build
from mobius_lib.ledger.checks.twistor import laws as twistor_laws
from mobius_lib.ledger.checks.twistor import runs as twistor_runs
from mobius_lib.ledger.checks.twistor import sizes as twistor_sizes
from mobius_lib.ledger.checks.waves import laws as waves_laws
from mobius_lib.ledger.checks.waves import runs as waves_runs
from mobius_lib.ledger.checks.waves import sizes as waves_sizes
from mobius_lib.ledger.checks.waves import table as waves_table

__all__ = [
    "cantor_laws",
    "gauge_laws",
    "gauge_rungs",
    "gauge_runs",
    "gauge_sizes",
    "measures",
    "runs",
    "simplex_laws",
    "simplex_runs",
    "simplex_table",
    "twistor_build",
    "twistor_laws",
    "twistor_runs",
    "twistor_sizes",
    "waves_laws",
    "waves_runs",
    "waves_sizes",
    "waves_table",
]
