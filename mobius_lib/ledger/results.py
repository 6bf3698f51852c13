"""Result files of runs, as evidence: found, read through their schema, and looked at arm by arm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mobius_lib.ledger.base import Gate, LedgerError, Missing, Sample
from mobius_lib.runs.about import OWN


@dataclass(frozen=True)
class RunFile:
    """One `data/results/<run>.<scale>.json`, which is consistent in itself."""

    path: Path
    scale: str
    arms: dict[str, dict[int, dict[str, Any]]]
    """arm -> seed -> record."""
    cost: dict[str, dict[str, Any]]
    """arm -> what one training step costs, where the run measured that."""
    command: str | None = None
    """The line that made the file, and makes it again."""
    device: str = "a machine that the file does not name"
    """Several where seeds were added on others."""
    made: str = ""
    """When, as ISO 8601."""
    commit: str = ""
    wall_seconds: float = 0.0
    stale: str | None = None
    """Why it is no evidence any more, and the command that renews it, as a sentence; None while it is current."""
    verified: str | None = None
    """When it was last verified, at which commit, on which processor, and how; None: never."""
    configuration: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """What of it is not the scale's: fewer rows, say. Such a file is of no scale of the run's, and no evidence."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """arm -> the learning rate that was chosen, and the held-out accuracy of each that was tried."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Baselines that are not trained by gradient steps -> their accuracy."""

    @property
    def source(self) -> str:
        return f"results/{self.path.name}"

    @property
    def size(self) -> str:
        """How much was measured: "3,000 rows, 4 epochs"; without epochs, what the run says of its scale."""
        used = self.configuration
        if not used.get("epochs"):
            return str(used.get("note", "")).split(";")[0]
        rows = f"{used['train_samples']:,}" if used.get("train_samples") else "all"
        return f"{rows} rows, {used['epochs']} epochs"

    @property
    def samples(self) -> int:
        """How many rows an arm was trained on, each as often as it was seen; 0 where the record does not say."""
        return int((self.configuration.get("train_samples") or 0) * (self.configuration.get("epochs") or 0))

    def evidence(self) -> dict[str, str | None]:
        """For the verdict's JSON."""
        told = {"made": self.made, "commit": self.commit, "verified": self.verified, "stale": self.stale}
        return {"record": self.path.name, **told}

    def seeds(self, *arms: str) -> list[int]:
        """Seeds that all these arms have, in order."""
        return sorted(set.intersection(*(set(self.arms.get(arm, {})) for arm in arms)))

    def number(self, arm: str, seed: int, measure: str, epoch: int | None = None) -> float:
        """A number of one record, or of its history after an epoch, counted from 1.

        Args:
            measure: a field, or with slashes what lies deeper, "geo_weights/384/2"; or an entry of its lens_state.
        Raises:
            Missing: when the record has no such field.
            LedgerError: when something stands there that is no finite number.
        """
        record = self.arms[arm][seed]
        for start in (record, record.get("lens_state", {})):
            value: Any = start
            try:
                if epoch is not None:
                    value = next(row for row in start.get("history", ()) if row.get("epoch") == epoch)
                for step in measure.split("/") if start is record else [measure]:
                    value = value[int(step)] if isinstance(value, list) else value[step]
            except (KeyError, IndexError, TypeError, ValueError, StopIteration):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise LedgerError(
                    f"{self.path}: arm {arm!r}, seed {seed} has {measure} = {value!r} where a finite number belongs; "
                    f"run the command in that file's `command` again."
                )
            return float(value)
        after = f" after epoch {epoch}" if epoch else ""
        raise Missing(f"{self.path.name} does not tell {measure}{after} of {arm}.")

    def numbers(self, arm: str, measure: str, *also_in: str, epoch: int | None = None) -> list[float]:
        """That number for every seed that this arm, and the arms in `also_in`, have."""
        return [self.number(arm, seed, measure, epoch) for seed in self.seeds(arm, *also_in)]

    def lens_curve(self, arm: str, seed: int, name: str) -> list[float]:
        """`name` of every lens in order of depth, such as alpha.

        Raises:
            Missing: when the record has none.
        """
        state = self.arms[arm][seed].get("lens_state", {})
        blocks = sorted(int(key.split("/")[0].removeprefix("block")) for key in state if key.endswith(f"/{name}"))
        return [self.number(arm, seed, f"block{block}/{name}") for block in blocks or [0]]

    def sample(
        self, values: Sequence[float], words: str, gates: Sequence[Gate] = (), row_error: float | None = 0.0
    ) -> Sample:
        """One number per seed of this file, as evidence."""
        return Sample(tuple(values), words, "", tuple(gates), row_error, (self.source,), self.size)


def results_folder(given: Path | str | None = None) -> Path:
    """The folder of result files: by default data/results."""
    from mobius_lib.datasets.paths import data_dir

    return data_dir() / "results" if given is None else Path(given)


@dataclass(frozen=True)
class Results:
    """The folder of result files."""

    folder: Path

    def find(self, run: str, *arms: str, scale: str | None = None) -> RunFile:
        """The best file of a run whose arms share a seed.

        Without a scale the full one is preferred, and the quick one comes last. What options have changed is none, and
        neither is what was made of a user's own data.

        Raises:
            Missing: when there is none.
        """
        order = {"full": 0, "quick": 2}
        paths = sorted(self.folder.glob(f"{run}.*.json"), key=lambda path: (order.get(_scale(path), 1), path.name))
        for path in paths:
            if scale in (None, _scale(path)) and OWN not in path.name.split("."):
                file = read(path)
                if not file.changes and file.seeds(*arms):
                    return file
        raise Missing(f"There is no result file of {run} at {scale or 'any'} scale with {' and '.join(arms)}.")

    def file(self, source: str) -> RunFile | None:
        """The result file that a check names as its source, "results/NAME.json"; None for any other source."""
        path = self.folder / source.removeprefix("results/")
        return read(path) if source.startswith("results/") and path.is_file() else None


def read(path: Path) -> RunFile:
    """One result file.

    Raises:
        LedgerError: when it is no result file, or not consistent in itself: which file, what is wrong, and the cure.
    """
    from mobius_lib.runs.evidence import FILE

    # whatever may change what comes of it: the file itself, and what is said of it
    return _read(path, *(_state(each) for each in (path, path.with_name(FILE))))


@cache
def _read(path: Path, *_: tuple[int, int]) -> RunFile:
    from mobius_lib.runs.about import RunError
    from mobius_lib.runs.evidence import own_entry, why_stale
    from mobius_lib.runs.schema import read_record

    try:
        record, content = read_record(path)
        entry, stale = own_entry(path, record), why_stale(path, record, content)
    except RunError as error:
        raise LedgerError(str(error)) from error
    return RunFile(
        path,
        record.scale,
        changes=record.changes(),
        arms={arm: {row["seed"]: row for row in rows} for arm, rows in content["arms"].items()},
        made=content["created"],
        stale=stale and f"{path.name} is stale: {stale}.",
        verified=None if entry is None else entry.words(),
        device=" and ".join(dict.fromkeys([record.device, *(part.device for part in record.extended)])),
        **{name: content.get(name, {}) for name in ("command", "commit", "cost")},
        wall_seconds=content.get("wall_seconds", 0.0),
        **{name: content.get(name, {}) for name in ("configuration", "tuning", "extra")},
    )


def _state(path: Path) -> tuple[int, int]:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else (0, 0)


def _scale(path: Path) -> str:
    return path.name.split(".")[-2]
