"""Chapter 5: what only runs on a GPU can show of the presets, and of mixed precision."""

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.measures import incomplete
from mobius_lib.ledger.checks.runs import no_file, reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.ledger.stats import interval


@register
def run_presets(
    claim: Claim, results: Results, *, run: str, measure: str, unit: str, decides: bool, scale: str | None = None
) -> Measurement:
    """A measure of every preset against the table {preset: number}; not more than reported, and its tolerance, counts.

    Where another machine could do better (`decides` false: a time on a machine that nobody named), more than reported
    refutes nothing.
    """
    if not isinstance(claim.reported, dict) or not claim.reported:
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads one number for each preset.")
    file = results.find(run, *claim.reported, scale=scale)
    if file is None:
        return no_file(run, tuple(claim.reported), scale)
    found = {}
    for preset in claim.reported:
        values = [file.entry(preset, seed, measure) for seed in file.seeds(*claim.reported)]
        if None in values:
            return incomplete(file, preset, measure)
        found[preset] = interval([value for value in values if value is not None])
    slack = 1 + (claim.tolerance or 0.0)
    good = [name for name, f in found.items() if f.mean <= claim.reported[name] * slack]
    verdict: Word = REPRODUCED if len(good) == len(found) else PARTLY if good or not decides else REFUTED
    return Measurement(
        {name: float(f"{f.mean:.4g}") for name, f in found.items()},
        unit,
        verdict,
        "Measured on "
        + file.device
        + ": "
        + ", ".join(f"{f.mean:.4g} ± {f.spread:.2g} (reported {claim.reported[n]:g}, {n})" for n, f in found.items())
        + f" {unit}; {len(good)} of {len(found)} presets need no more than was said, and {slack - 1:.0%}.",
        (file.source,),
    )


@register
def run_saving(
    claim: Claim,
    results: Results,
    *,
    run: str,
    arm: str,
    than: str,
    measure: str,
    unit: str,
    faster: bool = False,
    scale: str | None = None,
) -> Measurement:
    """How much less of a measure one arm takes than another, or how much faster it is; paired by seed."""
    file = results.find(run, arm, than, scale=scale)
    if file is None:
        return no_file(run, (arm, than), scale)
    pairs = [(file.entry(arm, s, measure), file.entry(than, s, measure)) for s in file.seeds(arm, than)]
    known = [(a, b) for a, b in pairs if a and b]
    if len(known) < len(pairs):
        return incomplete(file, arm, measure)
    found = interval([b / a - 1 if faster else 1 - a / b for a, b in known])
    bar = reported_number(claim) - (claim.tolerance or 0.0)
    verdict: Word = REPRODUCED if found.mean >= bar else PARTLY if found.low > 0 else REFUTED
    return Measurement(
        round(found.mean, 3),
        unit,
        verdict,
        f"{measure.replace('_', ' ').capitalize()}: {arm} "
        + ("is faster than" if faster else "takes less than")
        + f" {than} by {found.mean:.1%} (95 % interval [{found.low:.1%}, {found.high:.1%}], {found.n} seeds, "
        f"{file.scale} scale, on {file.device}); from {bar:.0%} on it counts as the reported "
        f"{reported_number(claim):.0%}.",
        (file.source,),
    )
