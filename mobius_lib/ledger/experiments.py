"""Every experiment on one page: what it saw and how long it took, what it decides and what it leaves open."""

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from mobius_lib.ledger.page import Html, framed, head, values
from mobius_lib.ledger.results import RunFile, read, results_folder
from mobius_lib.ledger.sources import our_sources
from mobius_lib.ledger.values import format_value, short
from mobius_lib.ledger.verdicts import Verdict, judge
from mobius_lib.ledger.words import OUTCOME, outcome_text, sources_of, word
from mobius_lib.runs.about import About

OPEN = ("undecided", "awaits", "stale")
"""Outcomes that decide nothing."""


def experiments(verdicts: Sequence[Verdict] | None = None, results_dir: Path | str | None = None) -> Html:
    """A row for each record there is; then one for each scale that a claim awaits, and for each run without a record.

    Args:
        verdicts: of all claims; None judges now.
        results_dir: folder of the records; by default data/results.
    Raises:
        LedgerError: when a claim or a record is damaged.
    """
    from mobius_lib.runs import ABOUT

    verdicts = judge(results_dir=results_dir) if verdicts is None else verdicts
    folder = results_folder(results_dir)
    done, waiting = "", ""
    for about in ABOUT.values():
        paths = {scale: folder / f"{about.name}.{scale}.json" for scale in about.scales}
        files = {scale: read(path) for scale, path in paths.items() if path.is_file()}
        for scale, file in files.items():
            mine = [v for v in verdicts if file.source in v.sources]
            done += _row(f"<code>{about.name}</code> · {scale}", about, _size(file, mine), mine, _reached(file))
        asked: dict[str | None, list[Verdict]] = {} if files else {None: []}
        for v in verdicts:
            command = re.search(rf"mobius run {about.name}(?= |$)(?:.* --scale (\S+))?", v.command or "")
            if command and v.outcome == "awaits" and command[1] not in files:
                asked.setdefault(command[1] if files else None, []).append(v)
        for only, mine in asked.items():
            named = f"<code>{about.name}</code>{f' · {only}' if only else ''}"
            waiting += _row(named, about, _scales(about, only), mine, "no claim")
    table = '<table class="table dataframe" role="table">{}{}</table>'
    names = ("Experiment", "What one run saw, how often, how long", "What it decides", "What it leaves open")
    none = f"<h2>Not run yet</h2>{table.format(head(*names), waiting)}" if waiting else ""
    return Html(framed(table.format(head(*names), done) + none))


def steps(file: RunFile) -> int:
    """Of training, per arm and seed; 0 where the record does not say."""
    row = next(iter(next(iter(file.arms.values())).values()))
    used = file.configuration
    if not used.get("epochs") or not used.get("train_samples"):
        return int(row.get("steps") or 0)
    return int(used["epochs"]) * math.ceil(used["train_samples"] / used["batch_size"])


def _size(file: RunFile, verdicts: Sequence[Verdict]) -> str:
    trained = f"{steps(file):,} steps"
    its = sorted({our_sources()[number].samples for v in verdicts for number in sources_of(v)} - {0})
    there = f"{short(file.samples)} samples" if file.samples else ""
    if there and its:
        there += f" (the source's own run {' or '.join(map(short, its))})"
    seeds = len(set().union(*file.arms.values()))
    each = f"{len(file.arms)} arms, {seeds} {'seeds' if seeds > 1 else 'seed'}"
    minutes = file.wall_seconds / 60
    time = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    hours = f"{time} in all, on {file.device}" if file.wall_seconds else ""
    told = "" if trained in file.size or not steps(file) else trained
    saw = ", ".join(filter(None, (file.size, told, there)))
    return "; ".join(filter(None, (saw, each, hours)))


def _reached(file: RunFile) -> str:
    """Of made data, whose best possible accuracy is known: how near each arm came. Else nothing."""
    best = file.extra.get("Bayes' rule")
    if best is None:
        return ""
    means = {arm: fmean(row["final_accuracy"] for row in rows.values()) for arm, rows in file.arms.items()}
    found = ", ".join(f"{arm} {format_value(mean, 'accuracy')}" for arm, mean in means.items())
    return f"no claim; of the {format_value(best['accuracy'], 'accuracy')} that Bayes' rule gets right: {found}"


def _scales(about: About, only: str | None) -> str:
    scales = {name: scale for name, scale in about.scales.items() if scale.note and only in (None, name)}
    return "; ".join(f"{name}: {scale.note}" for name, scale in scales.items())


def _row(name: str, about: About, size: str, verdicts: Sequence[Verdict], reached: str = "") -> str:
    decided = [v for v in verdicts if v.outcome not in OPEN]
    left = [v for v in verdicts if v.outcome in OPEN]
    none = "nothing" if verdicts else html.escape(reached) or "no claim; pages of the book read it"
    found = {"one run saw": html.escape(size), "decides": _listed(decided) or none}
    inside = values(found | {"leaves open": _listed(left) or "nothing"})
    first = f'<th scope="row" role="rowheader" class="ledger-claim">{name}<br>{html.escape(about.summary)}</th>'
    return f'<tbody role="rowgroup" id="{re.sub("<.*?>| · ", "", name)}"><tr role="row">{first}{inside}</tr></tbody>'


def _listed(verdicts: Sequence[Verdict]) -> str:
    """Counts by outcome, which open into the claims."""
    listed = ""
    for each in OUTCOME:
        if group := [v for v in verdicts if word(v) == each]:
            items = "".join(map(_item, group))
            listed += f"<details><summary>{len(group)} {outcome_text(each)}</summary><ul>{items}</ul></details>"
    return listed


def _item(v: Verdict) -> str:
    why = f": {html.escape(v.words)}" if v.outcome in OPEN else ""
    return f'<li><a href="ledger.html#{v.claim.id}">{html.escape(v.claim.statement)}</a>{why}</li>'
