"""The files of a run, in the layout of the MobiusNet card; each is written whole or not at all.

    config.json  best_accuracy.json  final_accuracy.json  tensorboard/
    checkpoints/{checkpoint_epoch_0010,best_model,final_model}.{pt,safetensors}

The .safetensors of a pair is written first, so a .pt says that both are there. Of the numbered ones the newest two are
kept. Only they hold what a stopped run goes on with (the optimiser has twice the model's size); the other two pairs
hold the weights and what is known of the run.
"""

import json
import logging
import random
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from mobius_lib import files
from mobius_lib.errors import CheckpointError

FORMAT = "mobius_lib checkpoint 1"
KEEP = 2
"""Numbered checkpoints that stay: while one is written, another is whole."""
CONTINUE = "make room or grant access, then continue the run: what was saved before is intact"
ENTRIES = {
    *("model", "optimizer", "scheduler", "scaler", "epoch", "best", "history", "training_seconds"),
    *("random", "recipe", "data"),
}
State = dict[str, Any]
log = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run.

    Args:
        path: created by `prepare`, with all that is above it.
        keep: how many numbered checkpoints stay, at least 2; None: all, as the published trainer leaves them.
        lean: every state once, the best as .safetensors, the others as .pt; no numbered ones of a run that has ended.
    Raises:
        CheckpointError: when fewer than 2 are to be kept.
    """

    def __init__(self, path: Path | str, *, keep: int | None = KEEP, lean: bool = False) -> None:
        if keep is not None and keep < KEEP:
            raise CheckpointError(f"keep must be at least {KEEP}, or None for all checkpoints, not {keep}.")
        self.path, self.keep, self.lean = Path(path), keep, lean
        self._sound: int | None = None  # the epoch of a checkpoint that is known to be whole
        self.checkpoints = self.path / "checkpoints"
        self.config, self.tensorboard = self.path / "config.json", self.path / "tensorboard"

    def holds_run(self) -> bool:
        """Whether a run has begun here."""
        return self.config.is_file() or any(self._saved())

    def prepare(self) -> None:
        """Makes the folders, and clears away temporary files that a killed run left.

        Raises:
            CheckpointError: when they cannot be made.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.checkpoints):
                files.clear_left(folder)
        except OSError as error:
            raise CheckpointError(
                f"The run folder {self.path} cannot be used ({files.reason(error)}); choose one that can be written to."
            ) from error

    def save(self, name: str, state: State) -> None:
        """Writes `name`.safetensors (the weights) and then `name`.pt (everything)."""
        from safetensors.torch import save

        if not self.lean or name == "best_model":
            write_whole(self.checkpoints / f"{name}.safetensors", save(state["model"]))
        if not self.lean or name != "best_model":
            content = {"format": FORMAT, **state}
            write_whole(self.checkpoints / f"{name}.pt", lambda file: torch.save(content, file))

    def save_numbered(self, state: State) -> None:
        """Writes the checkpoint of an epoch. Older ones make room first, so that never more than `keep` are there."""
        epoch = state["epoch"]
        if self.keep is not None:
            before = [each for each, _ in self._numbered() if each < epoch]
            self._drop(each for each in before[self.keep - 1 :] if each != self._sound)
            self._drop(self._halves())
        self.save(f"checkpoint_epoch_{epoch:04d}", state)
        self._sound = epoch

    def end(self) -> None:
        """Takes away what only a run that has not ended needs."""
        if self.lean:
            self._drop(epoch for epoch, _ in self._numbered())

    def finished(self) -> bool:
        """Whether the last file of a run, final_accuracy.json, has been written."""
        return (self.path / "final_accuracy.json").is_file()

    def read_config(self) -> dict[str, Any]:
        """What `fit` wrote when the run began.

        Raises:
            CheckpointError: when the file is damaged or not of this library.
        """
        try:
            config = json.loads(self.config.read_text())
            if isinstance(config, dict) and isinstance(config.get("recipe"), dict) and isinstance(config["data"], dict):
                return config
        except (OSError, ValueError, KeyError):
            pass
        raise CheckpointError(
            f"{self.config} does not describe a run of this library; choose another folder, or delete that file."
        )

    def final(self) -> State | None:
        """The state at the end of the run, or None when it has not ended or the file is damaged."""
        return self._first_intact([self.checkpoints / "final_model.pt"])

    def newest(self) -> State | None:
        """The newest intact epoch checkpoint; None when the run was stopped before it wrote one.

        Raises:
            CheckpointError: when there are checkpoints, but all of them are damaged.
        """
        files = self._saved()
        state = self._first_intact(files)
        self._sound = None if state is None else state["epoch"]
        if files and state is None:
            raise CheckpointError(
                f"None of the {len(files)} checkpoints in {self.checkpoints} can be read; "
                "restore one from a copy, or start anew in another folder."
            )
        return state

    def best_weights(self) -> dict[str, torch.Tensor]:
        """The weights of the best epoch: of best_model.pt, or of the .safetensors beside it where that one is damaged.

        Raises:
            CheckpointError: when neither can be read, or best_model.pt is not of this library.
        """
        from safetensors.torch import load

        state = self._first_intact([self.checkpoints / "best_model.pt"])
        if state is not None:
            return state["model"]
        try:
            return load((self.checkpoints / "best_model.safetensors").read_bytes())
        except Exception as error:  # of safetensors' own kind, or the system's
            raise CheckpointError(
                f"Neither best_model.pt nor best_model.safetensors in {self.checkpoints} can be read; restore one from "
                "a copy, or load the last epoch's weights, final_model.safetensors, in their place."
            ) from error

    def best(self) -> dict[str, Any]:
        """Accuracy and epoch of the best epoch so far: of best_accuracy.json, or where that is damaged of the weights.

        Raises:
            CheckpointError: when neither can be read.
        """
        path = self.path / "best_accuracy.json"
        try:
            best = json.loads(path.read_bytes())
            return {"accuracy": float(best["accuracy"]), "epoch": int(best["epoch"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            state = self._first_intact([self.checkpoints / "best_model.pt"])
            if state is not None:
                return state["best"]
            raise CheckpointError(
                f"Neither {path} nor best_model.pt beside it can be read ({type(error).__name__}); restore one from a "
                "copy, or start anew in another folder."
            ) from error

    def adopt_best(self, other: "RunFolder") -> None:
        """Copies the best model of another folder here, whole, when a run goes on in a new folder."""
        for name in ("checkpoints/best_model.safetensors", "checkpoints/best_model.pt", "best_accuracy.json"):
            if (other.path / name).is_file():
                write_whole(self.path / name, (other.path / name).read_bytes())

    def _saved(self) -> list[Path]:
        return [path for _, path in self._numbered()]

    def _numbered(self, ending: str = "pt") -> list[tuple[int, Path]]:
        """Epoch and file of the numbered checkpoints, the newest first."""
        pattern = re.compile(rf"checkpoint_epoch_(\d+)\.{ending}")
        files = [(pattern.fullmatch(path.name), path) for path in self.checkpoints.glob(f"*.{ending}")]
        return sorted(((int(found[1]), path) for found, path in files if found), reverse=True)

    def _halves(self) -> set[int]:
        """Epochs of which only the weights are there: a run was killed while it wrote the pair, or took it away."""
        return {epoch for epoch, _ in self._numbered("safetensors")} - {epoch for epoch, _ in self._numbered()}

    def _drop(self, epochs: Iterable[int]) -> None:
        """Takes checkpoints away, of each pair the .pt first."""
        for epoch in list(epochs):
            for ending in ("pt", "safetensors"):
                try:
                    (self.checkpoints / f"checkpoint_epoch_{epoch:04d}.{ending}").unlink(missing_ok=True)
                except OSError as error:
                    why = files.reason(error)
                    log.warning("An old checkpoint in %s cannot be removed (%s).", self.checkpoints, why)

    def _first_intact(self, files: list[Path]) -> State | None:
        for path in files:
            if path.is_file():
                try:
                    return read(path)
                except DamagedCheckpoint as error:
                    log.warning("%s It is passed over.", error)
        return None


class DamagedCheckpoint(CheckpointError):
    """A checkpoint file is truncated or altered."""


def read(path: Path | str) -> State:
    """Reads a .pt file of ours, with `weights_only=True`, and checks it.

    Raises:
        DamagedCheckpoint: when the file is truncated or a checksum in it is wrong.
        CheckpointError: when it is missing, or not a checkpoint of this library.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            # torch itself does not compare the checksums, and reads nothing of what is marked as a folder
            damaged = archive.testzip() is not None or any(entry.external_attr for entry in archive.infolist())
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}.") from error
    except Exception:  # altered bytes make the reader stumble in many ways
        damaged = True
    if damaged:
        raise DamagedCheckpoint(f"The checkpoint {path} is truncated or damaged.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds, pickle's among them
        raise CheckpointError(
            f"{path} does not load as plain tensors and numbers ({type(error).__name__}), "
            "so it was not written by this library."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not state.keys() >= ENTRIES:
        raise CheckpointError(
            f"{path} is no training checkpoint of this library; load weights alone from the .safetensors file."
        )
    return state


def load_model(model: nn.Module, weights: dict[str, torch.Tensor], where: Path | str) -> None:
    """Loads weights strictly.

    Raises:
        CheckpointError: naming the first parameter that is missing, foreign or of another shape.
    """
    own = model.state_dict()
    for name, value in own.items():
        if name not in weights:
            raise CheckpointError(
                f"The checkpoint in {where} lacks {name}, which the model has: it is of another model."
            )
        if weights[name].shape != value.shape:
            raise CheckpointError(
                f"The checkpoint in {where} belongs to another model: {name} has shape {tuple(weights[name].shape)} "
                f"there and {tuple(value.shape)} here."
            )
    for name in weights:
        if name not in own:
            raise CheckpointError(
                f"The checkpoint in {where} has {name}, which the model lacks: it is of another model."
            )
    model.load_state_dict(weights)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the model's state on the CPU, each tensor with memory of its own."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}


def random_state(device: torch.device) -> State:
    """The state of python's, numpy's and torch's global generators, in types that `weights_only` admits."""
    of_numpy = np.random.get_state()
    assert isinstance(of_numpy, tuple)
    name, keys, position, has_gauss, gauss = of_numpy
    state: State = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: State, device: torch.device) -> None:
    """Puts the generators back; a GPU's part is left out where either side has none."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def write_json(path: Path, value: Any) -> None:
    """As `files.write_json`, with the error of a run that can be continued."""
    files.write_json(path, value, error=CheckpointError, advice=CONTINUE)


def write_whole(path: Path, data: bytes | Callable[[IO[bytes]], object]) -> None:
    """As `files.write_whole`, with the error of a run that can be continued."""
    files.write_whole(path, data, error=CheckpointError, advice=CONTINUE)
