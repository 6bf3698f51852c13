"""Files are whole or not there, whatever goes wrong while they are written or lie on the disk."""

import errno
import os
import random
from unittest.mock import Mock

import pytest
import torch

from mobius_lib.errors import CheckpointError
from mobius_lib.training import RunFolder, read
from mobius_lib.training.checkpoint import DamagedCheckpoint, random_state, set_random_state


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "torch.save", "safetensors.torch.save"])
def test_run_on_a_failing_disk_can_be_continued(task, tmp_path, monkeypatch, where, compare):
    """The third epoch's checkpoint fails; what is on the disk stays whole, and the run can go on from it."""
    whole = task.fit(tmp_path / "whole", changes={"save_every_n_epochs": 1})
    folder = tmp_path / "run"

    def sabotage(record):
        if record["epoch"] == 2:
            monkeypatch.setattr(where, Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))

    with pytest.raises((CheckpointError, OSError), match=r"[Nn]o space left"):
        task.fit(folder, changes={"save_every_n_epochs": 1}, on_epoch=sabotage)
    monkeypatch.undo()
    assert not list(folder.rglob("*.tmp"))
    assert RunFolder(folder).newest()["epoch"] == 2
    parts = task.fit(folder, changes={"save_every_n_epochs": 1})
    assert compare(parts.model.state_dict(), whole.model.state_dict()) == []


def numbered(folder, ending="*"):
    return sorted(path.name for path in (folder / "checkpoints").glob(f"checkpoint_epoch_*.{ending}"))


def measured(folder, seen, monkeypatch):
    """After each file that takes its name: how many numbered checkpoints there are, and the bytes of all files."""
    replace = os.replace

    def call(*paths):
        replace(*paths)
        files = [path for path in (folder / "checkpoints").iterdir() if path.is_file()]
        seen.append((len(numbered(folder, "pt")), sum(path.stat().st_size for path in files)))

    monkeypatch.setattr(os, "replace", call)


@pytest.mark.parametrize("lean", [False, True])
def test_the_disk_that_checkpoints_take_does_not_grow_with_the_epochs(task, tmp_path, monkeypatch, lean):
    """Never more than two numbered ones, not even while a third is written.

    AdamW's state takes twice what the model takes: three of it are in the .pt of a numbered checkpoint, one is beside
    it, and one in each file of the best and the final model: 2 (3 + 1) + 4 = 12. Lean: 2 * 3 + 2 = 8.
    """
    model, seen = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 20_000), torch.nn.Linear(20_000, 2)), []
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    measured(tmp_path, seen, monkeypatch)
    task.fit(RunFolder(tmp_path, lean=lean), model=model, changes={"epochs": 12, "save_every_n_epochs": 1, "lr": 1e-4})
    assert max(count for count, _ in seen) == 2
    most = max(size for _, size in seen)
    assert (7 if lean else 11) * size < most < (8.3 if lean else 12.3) * size
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    if lean:
        assert left == {"best_model.safetensors", "final_model.pt"}
    else:
        pairs = ("best_model", "final_model", "checkpoint_epoch_0011", "checkpoint_epoch_0012")
        assert left == {f"{name}.{ending}" for name in pairs for ending in ("pt", "safetensors")}


def test_what_the_published_trainer_keeps_can_be_asked_for(task, tmp_path):
    task.fit(RunFolder(tmp_path, keep=None), changes={"epochs": 5, "save_every_n_epochs": 1})
    assert numbered(tmp_path, "pt") == [f"checkpoint_epoch_{i:04d}.pt" for i in range(1, 6)]
    assert len(numbered(tmp_path, "safetensors")) == 5
    with pytest.raises(CheckpointError, match="keep must be at least 2, or None for all checkpoints, not 1"):
        RunFolder(tmp_path, keep=1)


def test_the_only_whole_checkpoint_is_not_taken_away(task, tmp_path, monkeypatch):
    """The newest two are damaged; a run that goes on from the third has it until another one is whole."""
    options = {"changes": {"epochs": 8, "save_every_n_epochs": 1}}
    with pytest.raises(InterruptedError):
        task.fit(RunFolder(tmp_path, keep=3), on_epoch=Mock(side_effect=[None] * 3 + [InterruptedError]), **options)
    for name in numbered(tmp_path, "pt")[1:]:
        path = tmp_path / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-100])
    files = RunFolder(tmp_path)
    state = files.newest()
    assert state["epoch"] == 2 and len(numbered(tmp_path, "pt")) == 3
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(CheckpointError):
            files.save_numbered(state | {"epoch": 6})
    assert RunFolder(tmp_path).newest()["epoch"] == 2
    assert task.fit(tmp_path, **options).outcome.history[-1]["epoch"] == 8
    assert numbered(tmp_path, "pt") == ["checkpoint_epoch_0007.pt", "checkpoint_epoch_0008.pt"]


def test_stale_temporaries_are_cleared(task, tmp_path, dead):
    (tmp_path / "checkpoints").mkdir()
    for stale in (tmp_path / f".config.json.{dead}.0.tmp", tmp_path / "checkpoints" / f".best_model.pt.{dead}.1.tmp"):
        stale.write_bytes(b"half")
    task.fit(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_folder_that_cannot_be_used(task, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=r"cannot be used .*; choose one that can be written to"):
            task.fit(folder)


@pytest.fixture
def checkpoint(task, tmp_path):
    task.fit(tmp_path, changes={"epochs": 1, "save_every_n_epochs": 1})
    return tmp_path / "checkpoints" / "checkpoint_epoch_0001.pt"


def test_every_truncation_is_noticed(checkpoint):
    whole = checkpoint.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(whole), 97), len(whole) - 1]:
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(DamagedCheckpoint, match="is truncated or damaged"):
            read(checkpoint)


def test_an_entry_that_is_marked_as_a_folder_is_noticed(checkpoint):
    """One bit, outside of what checksums cover, by which torch would leave a tensor as its memory came."""
    whole, at = checkpoint.read_bytes(), 0
    while (at := whole.find(b"PK\x01\x02", at + 1)) > 0:
        damaged = bytearray(whole)
        damaged[at + 38] ^= 0x10
        checkpoint.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match="is truncated or damaged"):
            read(checkpoint)


def test_altered_bytes_are_noticed(checkpoint, compare):
    """A flipped bit is an error, or fell where it changes nothing (padding, dates): never another state."""
    whole, state, draw, noticed = checkpoint.read_bytes(), read(checkpoint), random.Random(0), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        checkpoint.write_bytes(damaged)
        try:
            assert compare(read(checkpoint), state) == []
        except CheckpointError:
            noticed += 1
    assert noticed > 100


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        read(tmp_path / "nothing.pt")


def test_random_state_there_and_back():
    import numpy as np

    state, cpu = random_state(torch.device("cpu")), torch.device("cpu")

    def draw():
        return random.random(), np.random.rand(3).tolist(), np.random.randn(3).tolist(), torch.rand(3).tolist()

    first = draw()
    assert draw() != first
    set_random_state(state, cpu)
    assert draw() == first
