"""What the sources name, part by part: what stands here in its place, and what that was found to be worth.

Names and what they do are text, in data/claims/components.yaml; a figure is a reference to a claim, or to a check with
its arguments, and is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mobius_lib.ledger.base import CHECKS, LedgerError, Missing, Sample, argument_names, call
from mobius_lib.ledger.claims import COMPONENTS, Place, Text, as_places, claims_dir, read_list
from mobius_lib.ledger.results import Results, results_folder
from mobius_lib.ledger.stats import Interval, interval
from mobius_lib.ledger.values import DOUBLINGS, format_value
from mobius_lib.ledger.verdicts import Verdict, judge
from mobius_lib.ledger.words import OUTCOME, measured_text, outcome_text, word
from mobius_lib.runs import ABOUT


class Worth(BaseModel):
    """Where a figure comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    of: Text
    """What the figure is: "accuracy with it, less that without"."""
    claim: Text | None = None
    """The id of a claim, whose verdict is shown."""
    check: Text | None = None
    """In the place of a claim: a check that finds one number per seed."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    unit: str = ""

    @model_validator(mode="after")
    def _one(self) -> "Worth":
        if (self.claim is None) == (self.check is None) or (self.claim and (self.arguments or self.unit)):
            raise ValueError("give a `claim`, or a `check` with its `arguments` and `unit`")
        if self.check is not None:
            if self.check not in CHECKS:
                raise ValueError(f"there is no check {self.check!r}")
            may, must = argument_names(CHECKS[self.check])
            if not must <= set(self.arguments) <= may:
                raise ValueError(f"the check {self.check} takes {sorted(may)}, of which it needs {sorted(must)}")
        return self


class Component(BaseModel):
    """A part that a source names."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    chapter: Annotated[int, Field(ge=1, le=5)]
    name: Text
    """As the source calls it."""
    source: Annotated[list[Place], BeforeValidator(as_places), Field(min_length=1)]
    does: Text
    """What it does there, in our words."""
    here: list[Text]
    """What stands here: names below `mobius_lib`, with an argument where it takes one, or commands; empty: nothing."""
    worth: list[Worth] = Field(default_factory=list)
    """Empty: not measured."""


@dataclass(frozen=True)
class Figure:
    """What a component is worth, in words."""

    of: str
    text: str
    claim: str | None = None


def load_components(path: Path | str | None = None) -> list[Component]:
    """All components, validated, chapter by chapter.

    Args:
        path: None: data/claims/components.yaml of this repository, or its packaged copy.
    Raises:
        LedgerError: naming the file and the field that is missing, unknown or of the wrong type.
    """
    import mobius_lib.ledger.checks  # noqa: F401  (fills the register)

    path = Path(path) if path is not None else claims_dir() / COMPONENTS
    return sorted(read_list(path, "components", Component), key=lambda component: component.chapter)


def figures(components: Sequence[Component], results_dir: Path | str | None = None) -> list[list[Figure]]:
    """What each component is worth, by the ledger's own statistics.

    Args:
        results_dir: as `judge`.
    Raises:
        LedgerError: as `judge`, and where a check cannot use its arguments or finds no number per seed.
    """
    results = Results(results_folder(results_dir))
    ids = sorted({worth.claim for component in components for worth in component.worth if worth.claim})
    verdicts = {v.claim.id: v for v in judge(results_dir=results_dir, only=ids)} if ids else {}
    return [
        [
            _judged(worth, verdicts[worth.claim], component.chapter) if worth.claim else _found(worth, results)
            for worth in component.worth
        ]
        for component in components
    ]


def _judged(worth: Worth, v: Verdict, chapter: int) -> Figure:
    unit, parts = v.claim.unit, [(part.name, part.interval) for part in v.parts if part.interval]
    if v.interval is not None:
        text = _spread(v.interval, unit)
    elif parts:
        text = "; ".join(f"{name} {_spread(found, unit)}" for name, found in parts)
    elif v.parts and all(isinstance(part.measured, bool) for part in v.parts):
        text = "; ".join(f"{OUTCOME[part.outcome][0]} {part.name}" for part in v.parts)
    elif v.outcome == "awaits" or not isinstance(v.measured, bool | None):
        text = measured_text(v)
    else:
        text = ""  # the outcome says it
    runs = {Path(source).name.split(".")[0] for source in v.sources if source.startswith("results/")}
    if text and (others := [ABOUT[run] for run in sorted(runs) if run in ABOUT and ABOUT[run].chapter != chapter]):
        text += f", from {' and '.join(f'`{each.name}` of chapter {each.chapter}' for each in others)}"
    return Figure(worth.of, ": ".join(filter(None, (outcome_text(word(v)), text))), v.claim.id)


def _found(worth: Worth, results: Results) -> Figure:
    found = call(str(worth.check), worth.arguments, results)
    if isinstance(found, Missing):
        return Figure(worth.of, "not measured")
    if not isinstance(found, Sample):
        raise LedgerError(f"the worth {worth.of!r}: the check {worth.check} finds no number per seed.")
    text = _spread(interval(found.values, row_error=found.row_error or 0.0), found.unit or worth.unit)
    files = [file for source in found.sources if (file := results.file(source)) is not None]
    closed = next((gate.text for gate in found.gates if not gate.open), None)
    if any(file.stale for file in files):
        return Figure(worth.of, f"{outcome_text('stale')}: {text}")
    return Figure(worth.of, text if closed is None else f"{outcome_text('undecided')}: {text}; {closed}")


def _spread(found: Interval, unit: str) -> str:
    """-0.12 percentage points (-0.54 to 0.3)"""
    numbers = (found.mean, found.low, found.high)
    if unit == DOUBLINGS:
        numbers, unit = (2**found.mean, 2**found.low, 2**found.high), "times"
    mean, low, high = (float(f"{value:.3g}") for value in numbers)
    bare = unit if unit == "accuracy" else ""
    return f"{format_value(mean, unit)} ({format_value(low, bare)} to {format_value(high, bare)})"
