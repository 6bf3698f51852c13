"""More seeds for a record that is there: it keeps those that it has, and others are added to it.

So what takes days can be done in parts, on machines that are lent by the hour, and a reader can add seeds to ours.
Whatever the record says of its making stays that of its first seeds; under `extended` stands what made the later ones.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.files import write_whole
from mobius_lib.runs.about import RunError
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.evidence import why_stale
from mobius_lib.runs.predictions import ENDING, load_predictions
from mobius_lib.runs.records import shortened
from mobius_lib.runs.schema import Record, read_record

OWN_TO_A_PART = ("device", "versions", "commit", "created", "wall_seconds")


@dataclass(frozen=True)
class Begun:
    """A record that is to be extended."""

    path: Path
    record: Record
    content: dict[str, Any]

    @property
    def seeds(self) -> int:
        """How many it has."""
        return self.record.configuration.seeds

    def rates(self, otherwise: float) -> dict[str, float]:
        """The learning rate of every arm, which its search found or which the scale has."""
        return {arm: rows[0].get("lr", otherwise) for arm, rows in self.content["arms"].items()}

    def agree(self, arm: str, row: Mapping[str, Any]) -> None:
        """Where a run searches its rates by itself it does so again, maybe on another machine.

        Raises:
            RunError: when it has found another rate for an arm than that of the seeds that are there.
        """
        ours, found = self.content["arms"][arm][0].get("lr"), row.get("lr")
        if None not in (ours, found) and shortened(found) != shortened(ours):
            raise RunError(
                f"{self.path} cannot be extended: here the search found the learning rate {found:g} for {arm}, and its "
                f"seeds have {ours:g}; leave --extend out to train all seeds here."
            )

    def predictions(self, data: Data) -> dict[str, list[Tensor]]:
        """What its arms said of the test rows, if it keeps that: arm to a tensor for each seed.

        Raises:
            RunError: when it was made from other data.
        """
        if dict(data.hashes) != self.record.data:
            raise RunError(f"{self.path} was made from other data than these; leave --extend out to make it again.")
        if self.record.predictions is None:
            return {}
        return {arm: list(torch.from_numpy(classes)) for arm, classes in load_predictions(self.path)[1].items()}

    def extended(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """The record with the seeds of a result that has the later ones.

        Its command and the fingerprint of its code are as if all had been made now: `begun` has made sure that the code
        of today makes the earlier ones.
        """
        seeds = result["configuration"]["seeds"]
        part = {"seeds": list(range(self.seeds, seeds))} | {name: result[name] for name in OWN_TO_A_PART}
        return {
            **self.content,
            "command": result["command"],
            "configuration": self.content["configuration"] | {"seeds": seeds},
            "fingerprint": result["fingerprint"],
            "wall_seconds": self.content["wall_seconds"] + result["wall_seconds"],
            "arms": {arm: [*rows, *result["arms"][arm]] for arm, rows in self.content["arms"].items()},
            "extended": [*self.content.get("extended", []), part],
        }


def begun(path: Path | None, run: Run, scale: str, seeds: int, changes: Mapping[str, Any]) -> Begun:
    """The record that is to get more seeds.

    Args:
        path: where it is, and will be.
        run, scale, changes: what was asked for; it must have been made by the same.
        seeds: how many it is to have.
    Raises:
        RunError: when it is missing, damaged, no evidence any more, of another run or settings, or has these seeds.
    """
    if path is None or not path.is_file():  # where nothing is written there is nothing to extend
        raise RunError(f"There is no {path} that could be extended; leave --extend out, and the same command makes it.")
    beside = path.with_suffix(ENDING)
    old = _aside(beside)
    if old.is_file():  # killed between the two files, or after both
        if hashlib.sha256(old.read_bytes()).hexdigest() in path.read_text(encoding="utf-8"):
            old.replace(beside.resolve())
        old.unlink(missing_ok=True)
    record, content = read_record(path)
    if (record.run, record.scale, record.changes()) != (run.name, scale, dict(changes)):
        raise RunError(f"{path} was made by another command, `{record.command}`; extend it with that and more --seeds.")
    if stale := why_stale(path, record, content):
        raise RunError(f"{path} cannot be extended, it is {stale}.")
    found = Begun(path, record, content)
    if seeds <= found.seeds:
        raise RunError(f"{path} has {found.seeds} seeds, and {seeds} would add none; give more with --seeds.")
    return found


@contextmanager
def aside(beside: Path) -> Iterator[None]:
    """Keeps the predictions that are there until those of more seeds, and then the record itself, are written.

    They are put back where that fails; where it is killed in between, `begun` does so.
    """
    old, target = _aside(beside), beside.resolve()  # a symbolic link stays
    if target.is_file():
        write_whole(old, target.read_bytes(), error=RunError, advice="make room or give another --output")
    try:
        yield
    except BaseException:
        if old.is_file():
            old.replace(target)
        raise
    old.unlink(missing_ok=True)


def _aside(beside: Path) -> Path:
    return beside.with_name(f"{beside.name}.before")
