"""The files of a run, in the layout of seed 000; each is written whole or not at all.

    config.json  best_accuracy.json  final_accuracy.json  tensorboard/
    checkpoints/{checkpoint_epoch_0010,best_model,final_model}.{pt,safetensors}

The .safetensors of a pair is written first, so a .pt says that both are there.
"""

import io
import json
import logging
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobius_lib import files
from mobius_lib.errors import CheckpointError

FORMAT = "mobius_lib checkpoint 1"
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
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
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

        write_whole(self.checkpoints / f"{name}.safetensors", save(state["model"]))
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        write_whole(self.checkpoints / f"{name}.pt", buffer.getbuffer())

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
        pattern = re.compile(r"checkpoint_epoch_(\d+)\.pt")
        found = [(int(m[1]), path) for path in self.checkpoints.glob("*.pt") if (m := pattern.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

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
            damaged = archive.testzip() is not None  # torch itself does not compare the checksums
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
    return state


def set_random_state(state: State, device: torch.device) -> None:
    """Puts the generators back; the CUDA part is left out where either side has none."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def write_json(path: Path, value: Any) -> None:
    """As `files.write_json`, with the error of a run that can be continued."""
    files.write_json(path, value, error=CheckpointError, advice=CONTINUE)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """As `files.write_whole`, with the error of a run that can be continued."""
    files.write_whole(path, data, error=CheckpointError, advice=CONTINUE)
