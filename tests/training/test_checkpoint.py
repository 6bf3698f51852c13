"""Files are whole or not there, whatever goes wrong while they are written or lie on the disk."""

import errno
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
