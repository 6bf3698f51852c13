"""Chapter 1: what only runs can show."""

import math

import torch

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, awaits, register
from mobius_lib.ledger.checks.runs import ENOUGH_ROUNDS, log_step_ratios, no_file, no_steps, reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.ledger.stats import decide, interval, rank_correlation
from mobius_lib.waves import MobiusLens


@register
def run_time_cause(claim: Claim, results: Results, *, run: str, form: str, most: float) -> Measurement:
    """The most that the twist matrices can have of the lens's time: all that the twin, which has them too, takes."""
    file = results.find(run, "gelu", seeds=1)
    logs = [] if file is None else log_step_ratios(file, form)
    if file is None or len(logs) < ENOUGH_ROUNDS:
        return no_steps(run, form)
    found = interval([math.exp(-log) for log in logs])
    verdict: Word = REFUTED if found.high < most else PARTLY
    return Measurement(
        round(found.mean, 2),
        "share of the training time, at most",
        verdict,
        f"The twin holds the same two matrices per lens, and its training step takes {found.mean:.2f} of the lens's "
        f"(95 % interval [{found.low:.2f}, {found.high:.2f}], {found.n} rounds), convolutions included; so the "
        "matrices account for " + ("less than half." if verdict == REFUTED else "at most that, which leaves it open."),
        (file.source,),
    )


@register
def run_alpha_trend(
    claim: Claim, results: Results, *, run: str, arm: str = "lens", scale: str | None = None
) -> Measurement:
    """Rank correlation of the learned |alpha| with depth, per seed."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    curves = [file.lens_curve(arm, seed, "alpha") for seed in file.seeds(arm)]
    if min(map(len, curves)) < 2:
        return awaits(f"{file.source} holds no learned alpha of arm {arm}; make it again.")
    found = interval([rank_correlation([abs(a) for a in curve], range(len(curve))) for curve in curves])
    means = [math.fsum(abs(a) for a in block) / len(block) for block in zip(*curves, strict=True)]
    return Measurement(
        round(found.mean, 2),
        "rank correlation",
        decide(found),
        f"Rank correlation of |α| with depth: {found.mean:+.2f} ± {found.spread:.2f} over {found.n} seeds, 95 % "
        f"interval [{found.low:+.2f}, {found.high:+.2f}]; mean |α| per block {', '.join(f'{m:.2f}' for m in means)}.",
        (file.source,),
    )


@register
def run_last_xor(
    claim: Claim, results: Results, *, run: str, arm: str = "lens", scale: str | None = None
) -> Measurement:
    """The xor share that the last lens learns."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    curves = [file.lens_curve(arm, seed, "xor_weight") for seed in file.seeds(arm)]
    if not all(curves):
        return awaits(f"{file.source} holds no learned xor weight of arm {arm}; make it again.")
    start = torch.sigmoid(MobiusLens(3, 0, 1).xor_weight).item()
    found = interval([curve[-1] for curve in curves])
    near = abs(found.mean - reported_number(claim)) <= (claim.tolerance or 0.0)
    verdict: Word = REPRODUCED if near else PARTLY if found.low > start else REFUTED
    return Measurement(
        round(found.mean, 3),
        "xor weight",
        verdict,
        f"The last lens starts at {start:.3f} and ends at {found.mean:.3f} ± {found.spread:.3f} over {found.n} seeds "
        f"(95 % interval [{found.low:.3f}, {found.high:.3f}]).",
        (file.source,),
    )


@register
def run_last_gate(
    claim: Claim, results: Results, *, run: str, at_most: float, arm: str = "lens", scale: str | None = None
) -> Measurement:
    """Share of the channels that carry the last trained gate (`gate_participation` of the lens state)."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    curves = [file.lens_curve(arm, seed, "gate_participation") for seed in file.seeds(arm)]
    if min(map(len, curves)) < 2:
        return awaits(f"{file.source} does not record how many channels its gates pass; make it again.")
    last, change = interval([c[-1] for c in curves]), interval([c[-1] - c[0] for c in curves])
    halved = interval([c[-1] / c[0] for c in curves]).high <= 0.5
    verdict: Word = REPRODUCED if last.high <= at_most else PARTLY if halved else REFUTED
    return Measurement(
        round(last.mean, 2),
        "share of the channels",
        verdict,
        f"The last gate is carried by {last.mean:.2f} ± {last.spread:.2f} of its channels over {last.n} seeds, "
        f"{change.mean:+.2f} against the first gate (95 % interval [{change.low:+.2f}, {change.high:+.2f}]).",
        (file.source,),
    )


@register
def run_ghost_path(
    claim: Claim, results: Results, *, run: str, arm: str = "lens", scale: str | None = None
) -> Measurement:
    """In what share of the trained lenses the middle path still weighs less than both edges."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    shares, weights = [], []
    for seed in file.seeds(arm):
        paths = [file.lens_curve(arm, seed, f"weight_{path}") for path in "lmr"]
        if not all(paths):
            return awaits(f"{file.source} holds no learned path weights of arm {arm}; make it again.")
        triples = list(zip(*paths, strict=True))
        shares.append(sum(0 < m < min(left, right) for left, m, right in triples) / len(triples))
        weights += paths[1]
    found = interval(shares)
    return Measurement(
        round(found.mean, 2),
        "share of the lenses",
        REPRODUCED if found.mean == 1 else PARTLY if found.mean > 0.5 else REFUTED,
        f"M weighs less than L and R in {found.mean:.0%} of the lenses over {found.n} seeds; its weight lies in "
        f"[{min(weights):.3f}, {max(weights):.3f}].",
        (file.source,),
    )
