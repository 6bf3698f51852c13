"""Chapter 4: what only runs can show of the cascades' widths, and of the windows."""

import math
from typing import Any

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.measures import incomplete, slope_of, table_of
from mobius_lib.ledger.checks.runs import no_file, reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.ledger.stats import decide, interval


@register
def run_exponents_near(
    claim: Claim, results: Results, *, run: str, arm: str, measure: str, scale: str | None = None
) -> Measurement:
    """A table {window: exponent}, window by window, against one reported exponent."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    tables = [table_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    if not all(tables) or any(set(table) != set(tables[0]) for table in tables):
        return incomplete(file, arm, measure)
    reported, slack = reported_number(claim), claim.tolerance or 0.0
    found = {window: interval([table[window] for table in tables]) for window in tables[0]}
    inside = [window for window, f in found.items() if reported - slack <= f.low and f.high <= reported + slack]
    outside = [window for window, f in found.items() if f.high < reported - slack or f.low > reported + slack]
    verdict: Word = REPRODUCED if len(inside) == len(found) else REFUTED if len(outside) == len(found) else PARTLY
    ends = _ends_of_all(file, arm)
    return Measurement(
        {f"s = {window:g}:": round(f.mean, 3) for window, f in found.items()},
        "",
        PARTLY if ends else verdict,
        "The measured exponent is "
        + ", ".join(f"{f.mean:.3f} [{f.low:.3f}, {f.high:.3f}] (s = {window:g})" for window, f in found.items())
        + f", means and 95 % intervals over {len(tables)} seeds, {file.scale} scale; {reported:.3g} ± {slack:g} is "
        f"met by {len(inside)} of {len(found)} windows and missed by {len(outside)}.{ends}",
        (file.source,),
    )


@register
def run_exponents_fall(
    claim: Claim, results: Results, *, run: str, arm: str, measure: str, scale: str | None = None
) -> Measurement:
    """The power of the window with which a table {window: exponent} falls, per seed."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    tables = [table_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    if any(len(table) < 3 for table in tables):
        return incomplete(file, arm, measure)
    wrong = sum(min(table.values()) <= 0 for table in tables)
    if wrong:  # no power of s goes through zero
        return Measurement(
            "no power law",
            "",
            REFUTED,
            f"In {wrong} of {len(tables)} seeds an exponent is 0 or below, where β_0/√s is above 0 for every window.",
            (file.source,),
        )
    found = interval([slope for seed in file.seeds(arm) if (slope := slope_of(file, arm, seed, measure)) is not None])
    reported, slack = reported_number(claim), claim.tolerance or 0.0
    near = reported - slack <= found.low and found.high <= reported + slack
    far = found.high < reported - slack or found.low > reported + slack
    means = {window: math.fsum(table[window] for table in tables) / len(tables) for window in tables[0]}
    ends = _ends_of_all(file, arm)
    return Measurement(
        round(found.mean, 3),
        "power of s",
        PARTLY if ends else REPRODUCED if near else REFUTED if far else PARTLY,
        f"Over the windows the exponent goes like s^{found.mean:.2f} (95 % interval [{found.low:.2f}, "
        f"{found.high:.2f}], {found.n} seeds, {file.scale} scale); the law says s^{reported:g}. Means: "
        + ", ".join(f"{mean:.3f} (s = {window:g})" for window, mean in means.items())
        + f".{ends}",
        (file.source,),
    )


@register
def run_widths_rise(
    claim: Claim, results: Results, *, run: str, arm: str, measure: str, scale: str | None = None
) -> Measurement:
    """A table {window: width} at the longest window, less that at the shortest; paired by seed."""
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    tables = [table_of(file, arm, seed, measure) for seed in file.seeds(arm)]
    if any(len(table) < 2 for table in tables):
        return incomplete(file, arm, measure)
    short, *_, long = tables[0]
    found = interval([table[long] - table[short] for table in tables])
    means = {window: math.fsum(table[window] for table in tables) / len(tables) for window in tables[0]}
    ends = _ends_of_all(file, arm)
    return Measurement(
        round(found.mean, 1),
        "columns",
        PARTLY if ends else decide(found),
        f"The mean width at window {long:g} less that at window {short:g}: {found.mean:+.1f} columns, 95 % interval "
        f"[{found.low:+.1f}, {found.high:+.1f}], {found.n} seeds, {file.scale} scale; means "
        + ", ".join(f"{mean:.3g} ({window:g})" for window, mean in means.items())
        + f".{ends}",
        (file.source,),
    )


def _ends_of_all(file: RunFile, arm: str) -> str:
    """A sentence where all cascades, of every window and seed, run from one width to one other: then these are the ends
    of what the fit tried, and an exponent is that of the list. Empty where they do not, or where widths are not kept.
    """
    cascades = [sigma for seed in file.seeds(arm) for sigma in file.arms[arm][seed].get("sigma", {}).values()]
    ends = {(min(sigma), max(sigma)) for sigma in cascades}
    if len(cascades) < 2 or len(ends) > 1:
        return ""
    ((first, last),) = ends
    return (
        f" This cannot decide: all {len(cascades)} cascades run from {first:.3g} to {last:,.0f} columns, the ends "
        f"of the widths that were tried, and {len(cascades[0])} widths between these have a slope of about "
        f"{math.log(last / first) / math.log(len(cascades[0])):.2f} by that alone; a fit of free widths could."
    )


@register
def run_windows_help(
    claim: Claim, results: Results, *, run: str, arm: str, one: str, all_of_them: str, terms: int, measure: str,
    unit: str, scale: str | None = None,
) -> Measurement:  # fmt: skip
    """A measure, less of it being better, of one and the same rung on the matrix of one window and on that of all.

    So with as many cascades, and as many numbers: what differs is the windows alone.
    """
    file = results.find(run, arm, scale=scale)
    if file is None:
        return no_file(run, (arm,), scale)
    found = {}
    for target in (one, all_of_them):
        values = [_of_row(file, arm, seed, measure, target, terms) for seed in file.seeds(arm)]
        if None in values:
            return incomplete(file, arm, measure)
        found[target] = [value for value in values if value is not None]
    difference = interval([a - b for a, b in zip(found[one], found[all_of_them], strict=True)])
    verdict = decide(difference)
    means = {target: math.fsum(values) / len(values) for target, values in found.items()}
    return Measurement(
        round(difference.mean, 3),
        unit,
        verdict,
        f"{arm} with {terms} terms a scale has {means[one]:.1f} when all its scales are fitted to window {one}, and "
        f"{means[all_of_them]:.1f} on the {all_of_them} of the windows: paired by seed {difference.mean:+.3f}, 95 % "
        f"interval [{difference.low:+.3f}, {difference.high:+.3f}], {difference.n} seeds, {file.scale} scale"
        + (": undecided by these seeds." if verdict == PARTLY else "."),
        (file.source,),
    )


def _of_row(file: RunFile, arm: str, seed: int, measure: str, target: str, terms: int) -> float | None:
    rows: Any = file.arms[arm][seed].get("rows")
    for place, row in enumerate(rows if isinstance(rows, list) else ()):
        if row.get("target") == target and row.get("terms") == terms:
            return file.entry(arm, seed, "rows", place, measure)
    return None
