"""Verdicts in words: outcome and basis together, what the words mean, counts, and all that is known of one verdict."""

from collections import Counter
from collections.abc import Sequence

from mobius_lib.ledger.claims import Basis
from mobius_lib.ledger.rules import Outcome
from mobius_lib.ledger.sources import our_sources
from mobius_lib.ledger.values import format_value
from mobius_lib.ledger.verdicts import Verdict

OUTCOME = {
    "reproduced": ("✓", "said and found agree"),
    "refuted": ("✗", "they differ, and not by chance"),
    "yes": ("✓", "to a question of ours"),
    "no": ("✗", "to a question of ours"),
    "seen here": ("▲", "there, and large enough to matter"),
    "not seen here": ("▽", "not there, at our small scale"),
    "no difference": ("=", "if any, too small to matter"),
    "undecided": ("?", "its row in the ledger says what is missing"),
    "partly": ("◐", "its parts come out differently"),
    "awaits": ("…", "its command settles it"),
    "stale": ("↻", "of other code; its command renews it"),
}
"""Of every outcome a sign, so that no colour is needed, and what it means."""
ANSWER = {"reproduced": "yes", "refuted": "no"}
"""How a question of ours comes out, for which nobody has reported anything that could be reproduced."""
BASIS: dict[Basis, str] = {
    "arithmetic": "the source's own numbers",
    "construction": "our build from its formulas",
    "public code": "the author's, at a named commit",
    "published run": "the author's own card or log",
    "measured at its setting": "at the source's scale",
    "measured small": "at the scale beside it",
}


def verdict_text(v: Verdict) -> str:
    """Outcome and basis, never one without the other: ▽ not seen here · measured small: 10,000 rows, 5 seeds."""
    return f"{outcome_text(word(v))} · {basis_text(v)}"


def word(v: Verdict, outcome: Outcome | None = None) -> str:
    """How its outcome, or that of one of its parts, is called."""
    outcome = outcome or v.outcome
    return ANSWER.get(outcome, outcome) if v.claim.whose == "ours" else outcome


def outcome_text(word: str) -> str:
    return f"{OUTCOME[word][0]} {word}"


def basis_text(v: Verdict) -> str:
    return v.basis + (f": {v.note}" if v.note else "")


def reported_name(v: Verdict) -> str:
    """Sources report, and we ask."""
    return "reported" if v.claim.whose == "source" else "asked"


def reported_text(v: Verdict) -> str:
    """What was said, and whether it is a bound."""
    bound = f"{v.claim.bound} " if v.claim.bound != "equal" else ""
    return v.claim.reported_text or bound + format_value(v.claim.reported, v.claim.unit)


def measured_text(v: Verdict) -> str:
    """What was found, part by part where it has parts; while it waits, the command that would find it."""
    if v.outcome == "awaits":
        return f"`{v.command}`"
    parts = {f"{OUTCOME[part.outcome][0]} {part.name}": part.measured for part in v.parts}
    return format_value(parts or v.measured, v.claim.unit)


def why_text(v: Verdict) -> str:
    """In a few words why it is undecided, the first reason of several; empty where it is decided."""
    first, *more = v.why.removeprefix("Nothing is decided: ").removesuffix(".").split("; ")
    first = first.removesuffix(", if they spread as these do")
    return f"{first[:1].lower()}{first[1:]}{'; and more' if more else ''}." if first else ""


def legend(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Those outcomes and bases that occur, and what each means."""
    there = {word(v, outcome) for v in verdicts for outcome in (v.outcome, *(part.outcome for part in v.parts))}
    bases = {v.basis for v in verdicts}
    outcomes = [(outcome_text(each), meaning) for each, (_, meaning) in OUTCOME.items() if each in there]
    return outcomes + [(basis, meaning) for basis, meaning in BASIS.items() if basis in bases]


def summary_counts(verdicts: Sequence[Verdict]) -> str:
    """One line: claims of the sources by outcome, the faults behind those that fail, and apart from them our own."""
    claims = [v for v in verdicts if v.claim.whose == "source"]
    failed = [v for v in claims if v.outcome in ("refuted", "not seen here")]
    faults = len({v.claim.fault or v.claim.id for v in failed})
    text = f"{_some(claims, 'claim')}"
    if failed:
        go = "go" if len(failed) > 1 else "goes"
        text += f"; the {len(failed)} refuted or not seen here {go} back to {faults} fault{'s' * (faults != 1)}"
        text += ", since one can make several claims fail" if faults < len(failed) else ""
    ours = [v for v in verdicts if v.claim.whose == "ours"]
    return f"{text}. Of our own, {_some(ours, 'question')}." if ours else f"{text}."


def facts(v: Verdict) -> list[tuple[str, str]]:
    """All that is known of one verdict, each with its name; code stands in backticks."""
    claim = v.claim
    found = [("said in", places(v) + f": “{claim.quote}”") if claim.quote else ("question of ours", places(v))]
    found += [("our translation", f"“{claim.in_english}”")] if claim.in_english else []
    found += [(reported_name(v), reported_text(v)), ("measured", measured_text(v)), ("how", v.words)]
    found += [(part.name, f"{outcome_text(word(v, part.outcome))}. {part.words}") for part in v.parts if part.words]
    slack = claim.tolerance if claim.smallest is None else claim.smallest
    name = "tolerance" if claim.smallest is None else "smallest effect"
    found.append((name, f"{'none' if slack is None else format_value(slack, claim.unit)}. {claim.why}"))
    if claim.fault:
        found.append(("fault behind it", f"`{claim.fault}`"))
    for record in v.evidence:
        name, *rest = (f"{key} {value}" if key != "stale" else key for key, value in record.items() if value)
        found.append(("evidence", ", ".join([f"`{name.removeprefix('record ')}`", *rest])))
    code = [f"`{source}`" for source in v.sources if not source.startswith("results/")]
    found.append(("found with", ", ".join(code)))
    found.append(("command", f"`{v.command}`" if v.command else ""))
    return [(name, text) for name, text in found if text]


def sources_of(v: Verdict) -> list[str]:
    """The documents in which it stands."""
    return list(dict.fromkeys(place.split(":")[0] for place in v.claim.source))


def places(v: Verdict) -> str:
    """MobiusNet card, line 131"""
    return lines(v.claim.source)


def lines(places: Sequence[str]) -> str:
    """MobiusNet card, lines 9, 137; distillation card, line 19"""
    found: dict[str, list[str]] = {}
    for source, line in (place.split(":") for place in places):
        found.setdefault(source, []).append(line)
    return "; ".join(
        f"{our_sources()[source].name}, line{'s'[: len(each) > 1]} {', '.join(each)}" for source, each in found.items()
    )


def _some(verdicts: Sequence[Verdict], what: str) -> str:
    counts = Counter(map(word, verdicts))
    return f"{len(verdicts)} {what}{'s'[: len(verdicts) != 1]}: " + ", ".join(
        f"{counts[each]} {each}" for each in OUTCOME if counts[each]
    )
