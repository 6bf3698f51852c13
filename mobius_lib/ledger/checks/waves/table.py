"""Chapter 1: seed 001's table of learned values, held against itself, the class and the published weights."""

from itertools import pairwise
from typing import Any

import torch

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, awaits, register
from mobius_lib.ledger.checks.runs import no_file
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.ledger.stats import rank_correlation
from mobius_lib.waves import math as waves


@register
def alpha_rises(claim: Claim, results: Results) -> Measurement:
    """Whether the table's alpha rises from each block to the next."""
    return _trend([row["alpha"] for row in _rows(claim)], "α", rising=True)


@register
def passing_falls(claim: Claim, results: Results) -> Measurement:
    """Whether the table's mean wave falls from each block to the next."""
    return _trend([_passing(row) for row in _rows(claim)], "the mean of L, M and R", rising=False)


@register
def alpha_selects(claim: Claim, results: Results) -> Measurement:
    """Whether the blocks with the larger alpha are those that pass less."""
    rows = _rows(claim)
    rho = rank_correlation([row["alpha"] for row in rows], [_passing(row) for row in rows])
    odd = max(rows, key=lambda row: row["alpha"] * _passing(row))
    return Measurement(
        round(rho, 2),
        "rank correlation",
        REPRODUCED if rho == -1 else PARTLY if rho < 0 else REFUTED,
        f"Over the {len(rows)} blocks α and the mean of L, M and R have rank correlation {rho:.2f}, where -1 would be "
        f"perfect; {odd['block']} with α = {odd['alpha']} still passes {_passing(odd):.2f}.",
        ("data/claims.yaml",),
    )


@register
def means_possible(claim: Claim, results: Results) -> Measurement:
    """Whether each mean of the table lies in [exp(-2a), 1], a = |alpha| + 0.1, two scales."""
    outside, tightest = [], 1.0
    for row in _rows(claim):
        sharp = waves.sharpness(torch.tensor(row["alpha"], dtype=torch.float64))
        floor = torch.exp(-2 * sharp).item()
        means = [row[path] for path in ("left", "middle", "right")]
        tightest = min(tightest, min(means) - floor)
        outside += [f"{row['block']} {mean}" for mean in means if not floor <= mean <= 1]
    count = 3 * len(_rows(claim))
    return Measurement(
        f"{count - len(outside)} of {count}",
        "",
        REPRODUCED if not outside else PARTLY if len(outside) < count else REFUTED,
        f"{count - len(outside)} of the {count} means lie in [exp(-2a), 1]"
        + (f"; outside: {', '.join(outside)}." if outside else f"; the nearest stays {tightest:.3f} above its floor."),
        ("mobius_lib.waves.math.sharpness",),
    )


@register
def middle_and_right_diverge(claim: Claim, results: Results, *, block: str) -> Measurement:
    """Whether M and R part from each other in the named block, or both from L."""
    rows = {row["block"]: row for row in _rows(claim)}
    gaps = {name: abs(row["middle"] - row["right"]) for name, row in rows.items()}
    row = rows[block]
    from_left = row["left"] - (row["middle"] + row["right"]) / 2
    widest = max(gaps, key=lambda name: gaps[name])
    return Measurement(
        round(gaps[block], 2),
        "gap between M and R",
        REPRODUCED if widest == block else PARTLY if abs(from_left) > 2 * gaps[block] else REFUTED,
        f"In {block} M and R lie {gaps[block]:.2f} apart (the widest gap, {gaps[widest]:.2f}, is in {widest}); "
        f"what parts there is L, {from_left:.2f} above both.",
        ("data/claims.yaml",),
    )


@register
def table_of_weights(claim: Claim, results: Results, *, run: str, arm: str = "lens") -> Measurement:
    """The published weights' omega, alpha and xor share, block by block, against the table."""
    file = results.find(run, arm, seeds=1)
    if file is None:
        return no_file(run, (arm,), seeds=1)
    seed, rows = file.seeds(arm)[0], _rows(claim)
    names = {"omega": "omega", "alpha": "alpha", "xor": "xor_weight"}
    off = {}
    for column, name in names.items():
        curve = file.lens_curve(arm, seed, name)
        if len(curve) != len(rows):
            return awaits(f"{file.source} holds {len(curve)} values of {name}, the table {len(rows)}; make it again.")
        off |= {f"{row['block']} {column}": abs(abs(v) - row[column]) for row, v in zip(rows, curve, strict=True)}
    near = sum(gap <= (claim.tolerance or 0.0) for gap in off.values())
    worst = max(off, key=lambda entry: off[entry])
    return Measurement(
        f"{near} of {len(off)} entries",
        "",
        REPRODUCED if near == len(off) else PARTLY if near else REFUTED,
        f"{near} of {len(off)} entries agree with the published weights (in size, as the sign of α has no effect); the "
        f"farthest is {worst}, off by {off[worst]:.3f}.",
        (file.source,),
    )


def _trend(values: list[float], name: str, rising: bool) -> Measurement:
    steps = [b - a for a, b in pairwise(values)]
    right = sum((step > 0) if rising else (step < 0) for step in steps)
    rho = rank_correlation(values, range(len(values)))
    towards = rho if rising else -rho
    return Measurement(
        f"{right} of {len(steps)} steps",
        "",
        REPRODUCED if right == len(steps) else PARTLY if towards > 0 else REFUTED,
        f"Through depth {name} goes {', '.join(f'{v:.2f}' for v in values)}: it {'rises' if rising else 'falls'} at "
        f"{right} of {len(steps)} steps, and its rank correlation with depth is {rho:+.2f}.",
        ("data/claims.yaml",),
    )


def _rows(claim: Claim) -> list[Any]:
    if isinstance(claim.reported, list):
        return claim.reported
    raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a list.")


def _passing(row: dict[str, Any]) -> float:
    return (row["left"] + row["middle"] + row["right"]) / 3
