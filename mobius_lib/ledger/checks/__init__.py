"""Checks: a few files per chapter, and one for what all runs share; importing this package registers all of them."""

from mobius_lib.ledger.checks import runs, waves_laws, waves_runs, waves_sizes, waves_table

__all__ = ["runs", "waves_laws", "waves_runs", "waves_sizes", "waves_table"]
