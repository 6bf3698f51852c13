"""What a result file holds, as `mobius run` writes it, and what must agree within it.

One model serves all runs. A run that trains tells of every epoch, unless it says that it does not (`Run.keep_history`),
or an arm is set in closed form (`Arm.solve`), or has its own share of the epochs. A run that computes its records has
no recipe; what it tells twice must be the same both times.
"""

import hashlib
import json
import math
import shlex
import statistics
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mobius_lib.runs.about import RunError
from mobius_lib.runs.predictions import ENDING, load_predictions


def _given(digest: str) -> str:
    if not digest.strip("0"):
        raise ValueError("it is all zeros")
    return digest


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_given)]
"""SHA-256."""
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


COMMIT = r"^([0-9a-f]{7,40}(\+changes)?|not a checkout)$"
CHANGEABLE = ("epochs", "train_samples", "test_samples", "batch_size", "lr", "precision", "accumulate")
"""The settings of a scale that a command can change."""


class _Open(BaseModel):
    """A table with some entries that are known, and others that are the run's own."""

    model_config = ConfigDict(extra="allow")


class Fingerprint(BaseModel):
    """Of what made it; see `made_by`."""

    code: Digest
    data: Digest
    configuration: Digest
    loading: Digest | None = None
    """Of the code that loads the data. Older records have none."""


class Configuration(_Open):
    """The settings of the scale, with what was changed."""

    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=0)
    lr: float = Field(ge=0)
    train_samples: int | None
    test_samples: int | None
    precision: str = "no"
    accumulate: int = Field(1, ge=1)
    """Older records have neither of the two."""
    weight_decay: float
    seeds: int = Field(ge=1)


class Versions(_Open):
    """What was installed."""

    python: Text
    torch: Text
    mobius_lib: Text
    processor: str = "unknown"
    """With the instructions that torch uses on it."""


class Row(_Open):
    """One arm with one seed."""

    seed: int = Field(ge=0)
    final_accuracy: Share | None = None
    best_accuracy: Share | None = None
    seconds: float | None = Field(None, ge=0)
    history: list[Any] | None = None


class Tuning(BaseModel):
    """A search for a learning rate."""

    lr: float
    held_out: dict[str, Share]
    compared: dict[str, list[Share]] = {}
    """Of rates that are close, with every seed that judged them."""


class Extension(BaseModel):
    """What made the seeds that were added to a record later; see `extension`."""

    seeds: list[int] = Field(min_length=1)
    device: Text
    versions: Versions
    commit: str = Field(pattern=COMMIT)
    created: AwareDatetime
    wall_seconds: float = Field(ge=0)


class Record(_Open):
    """A result file. Whatever it says of its making is of its first seeds, if others were added."""

    run: str
    scale: str
    command: str
    configuration: Configuration
    device: Text
    versions: Versions
    commit: str = Field(pattern=COMMIT)
    created: AwareDatetime
    data: dict[str, Digest]
    fingerprint: Fingerprint | None = None
    wall_seconds: float = Field(ge=0)
    arms: dict[str, list[Row]] = Field(min_length=1)
    cost: dict[str, dict[str, Any]] = {}
    tuning: dict[str, Tuning] = {}
    replay: dict[str, list[float | None]] = {}
    predictions: Digest | None = None
    """Of the file beside it; see `predictions`."""
    extended: list[Extension] = []

    def changes(self) -> dict[str, Any]:
        """The settings that its command changes, and that are others than the scale's."""
        from mobius_lib.runs.registry import run_at

        used, own = self.configuration.model_dump(), vars(run_at(self.run, self.scale).scales[self.scale])
        given = [name for name in CHANGEABLE if f" --{name.replace('_', '-')} " in self.command]
        return {name: used[name] for name in given if used[name] != own[name]}

    def first_rows(self) -> dict[str, dict[str, Any]]:
        """Arm to its record with seed 0."""
        return {name: row.model_dump() for name, rows in self.arms.items() for row in rows if row.seed == 0}


def read_record(path: Path) -> tuple[Record, dict[str, Any]]:
    """A result file that is consistent, and its content as it stands there.

    Raises:
        RunError: naming the file, what is wrong with it, and the cure.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise RunError(f"{path} is no result file: {where}: {first['msg'].lower()}. {_cure(path, content)}") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is no result file ({type(error).__name__}: {error}). {_cure(path, {})}") from error
    if not path.name.startswith(f"{record.run}.{record.scale}."):
        raise RunError(f"{path} says that it is {record.run}.{record.scale}.json; rename it, or make it again.")
    for fault in (*_faults(record), *_predicted_faults(path, record)):
        raise RunError(f"{path}: {fault}. {_cure(path, content)}")
    return record, content


def _cure(path: Path, content: Any) -> str:
    command = content.get("command") if isinstance(content, dict) else None
    again = f"`{command}`" if isinstance(command, str) and command.startswith("mobius run ") else "`mobius run`"
    return f"Restore it from where it was made, or make it again with {again}."


def _faults(record: Record) -> Iterator[str]:
    """What does not agree within a record, a sentence each."""
    from mobius_lib.runs.base import Arm, nothing
    from mobius_lib.runs.registry import run_at

    run = run_at(record.run, record.scale)
    yield from _command_faults(record)
    if not record.data and run.data is not nothing:
        yield "it does not say what data it was made from"
    yield from _copies(record)
    for name, rows in record.arms.items():
        found = run.arms.get(name)
        arm = found if isinstance(found, Arm) and run.compute is None else Arm(lambda: None)  # type: ignore[arg-type,return-value]
        epochs = max(1, round(record.configuration.epochs * arm.epochs)) if record.configuration.epochs else 0
        if arm.solve is not None or not run.keep_history:
            epochs = 0
        for row in rows:
            trained = run.compute is None
            faults = _trained_faults(row, epochs, run.watched is not None) if trained else _computed_faults(row, record)
            yield from (f"arm {name!r}, seed {row.seed}: {fault}" for fault in faults)
    parts = sum(row.seconds or 0.0 for rows in record.arms.values() for row in rows)
    if parts > record.wall_seconds:
        yield f"it took {record.wall_seconds:.1f} s, and its arms {parts:.1f} s"
    later = [seed for part in record.extended for seed in part.seeds]
    if later != list(range(record.configuration.seeds - len(later), record.configuration.seeds)):
        yield f"the seeds {', '.join(map(str, later))} are said to have been added, which are not its last ones"
    for name, tuning in record.tuning.items():
        tried = {rate: math.fsum(each) for rate, each in tuning.compared.items()} or tuning.held_out
        if tried.get(f"{tuning.lr:.3g}") != max(tried.values()):
            yield f"arm {name!r} was trained at the rate {tuning.lr:g}, which was not the best of its search"


def _command_faults(record: Record) -> Iterator[str]:
    """What the command says that the rest does not."""
    words, settings = shlex.split(record.command), record.configuration.model_dump()
    if words[:3] != ["mobius", "run", record.run]:
        yield f"its command is not one of `mobius run {record.run}`"
    options = dict(zip(words[3::2], words[4::2], strict=False))
    told = {"--scale": record.scale} | {f"--{key.replace('_', '-')}": value for key, value in settings.items()}
    for option, value in options.items():
        if option in told and value not in (str(told[option]), f"{told[option]:g}" if option == "--lr" else None):
            yield f"its command has {option} {value}, and its configuration {told[option]}"
    for name, rows in record.arms.items():
        if sorted(row.seed for row in rows) != list(range(record.configuration.seeds)):
            seeds = ", ".join(str(row.seed) for row in rows)
            yield f"arm {name!r} has the seeds {seeds} where there are {record.configuration.seeds}, each once, from 0"


def _copies(record: Record) -> Iterator[str]:
    """Seeds that say the same. Where nothing is drawn two may, but they never take the same time to the microsecond."""
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for name, rows in record.arms.items():
        bare = [row.model_dump(exclude={"seed"}, exclude_unset=True) for row in rows]
        for row, own in zip(rows, bare, strict=True):
            by_seed.setdefault(row.seed, []).append(own)
        curves = [[_untimed(epoch) for epoch in row.history or ()] for row in rows]
        for i, j in combinations(range(len(rows)), 2):
            if (row := rows[i]).seconds and (bare[i] == bare[j] or (curves[i] and curves[i] == curves[j])):
                yield f"arm {name!r} has the same record with the seeds {row.seed} and {rows[j].seed}: one is a copy"
    for first, second in combinations(by_seed, 2):
        if by_seed[first] == by_seed[second]:
            yield f"the seeds {first} and {second} have the same records: one is a copy"


def _untimed(epoch: Any) -> Any:
    return {key: value for key, value in epoch.items() if key != "seconds"} if isinstance(epoch, dict) else epoch


def _trained_faults(row: Row, epochs: int, watched: bool) -> Iterator[str]:
    """`watched`: the history is of a part of the test rows."""
    if row.final_accuracy is None or row.best_accuracy is None or row.history is None:
        yield "it lacks final_accuracy, best_accuracy or history"
        return
    if len(row.history) != epochs or [epoch.get("epoch") for epoch in row.history] != [*range(1, epochs + 1)]:
        yield f"its history has {len(row.history)} epochs where {epochs} were configured"
        return
    # without a history the final accuracy is at most the best, but where that one is of other rows
    without = [row.best_accuracy] if watched else [row.final_accuracy, row.best_accuracy]
    accuracies = [epoch["val_accuracy"] for epoch in row.history] or without
    if epochs and not watched and row.final_accuracy != accuracies[-1]:
        yield f"its final accuracy is {row.final_accuracy}, and that of its last epoch {accuracies[-1]}"
    if row.best_accuracy != max(accuracies):
        yield f"its best accuracy is {row.best_accuracy}, and the best of its history {max(accuracies)}"


def _computed_faults(row: Row, record: Record) -> Iterator[str]:
    """Of what is told twice: of a form and its rows, of a text and its pieces, of a search and the rate it chose."""
    told: Mapping[str, Any] = row.model_dump()
    rows = told.get("rows")
    if rows is not None and not any(each.items() <= told.items() for each in map(_hashable, rows)):
        yield "its own numbers stand in none of its rows"
    stages = row.history if row.history and isinstance(row.history[0], list) else [row.history]
    intervals = (record.model_dump().get("sizes") or {}).get("intervals")
    if row.history is not None and intervals and any(len(stage or ()) != intervals for stage in stages):
        yield f"its history has other than the {intervals} intervals that were configured"
    bits, order = told.get("bits_per_character", math.nan), str(told.get("order"))
    means = [told["bits_by_piece"]] if "bits_by_piece" in told else []
    means += [told["bits"][-1]] if isinstance(told.get("bits"), list) else []
    means += [[told["bits_by_order"][order]]] if order in told.get("bits_by_order", {}) else []
    if any(not math.isclose(statistics.fmean(each), bits, abs_tol=1e-4) for each in means):
        yield f"its bits_per_character, {bits}, is not what its parts come to"
    found = {rate: value for rate, value in told.get("held_out", {}).items() if value is not None}
    if judged := told.get("compared"):  # close ones were judged over several seeds
        found = {rate: math.fsum(values) for rate, values in judged.items()}
    if found and not math.isclose(float(min(found, key=found.__getitem__)), told["lr"], rel_tol=0.01):
        yield f"it was trained at the rate {told['lr']:g}, which was not the best of its search"


def _predicted_faults(path: Path, record: Record) -> Iterator[str]:
    """What the predictions beside a record are, or say, other than it."""
    if record.predictions is None:
        return
    beside = path.with_suffix(ENDING)
    if not beside.is_file() or hashlib.sha256(beside.read_bytes()).hexdigest() != record.predictions:
        yield f"its predictions, {beside.name}, are {'other ones' if beside.is_file() else 'not there'}"
        return
    labels, found = load_predictions(path)
    for name, rows in record.arms.items():
        hits = (found[name] == labels).sum(1).tolist() if name in found else []
        if hits != [round((row.final_accuracy or 0) * len(labels)) for row in rows]:
            yield f"arm {name!r} has other accuracies than its predictions"


def _hashable(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What can be looked for: numbers and words."""
    return {key: value for key, value in row.items() if not isinstance(value, list | dict)}
