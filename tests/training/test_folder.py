"""What a training leaves in its folder: weights, figures, curves; and a disk that fills."""

import json
from dataclasses import asdict
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobius_lib.errors import CheckpointError
from mobius_lib.training import evaluate, read


def test_reported_numbers_are_the_models(task, tmp_path):
    """The last record's validation figures are those of the weights that are left, and the best file's are the best."""
    done = task.fit(tmp_path)
    assert evaluate(done.model, task.batches(shuffle=False)) == (
        done.outcome.history[-1]["val_loss"],
        done.outcome.final_accuracy,
    )
    best = task.model()
    best.load_state_dict(read(tmp_path / "checkpoints" / "best_model.pt")["model"])
    assert evaluate(best, task.batches(shuffle=False))[1] == done.outcome.best_accuracy


def test_layout(task, tmp_path):
    outcome = task.fit(tmp_path, changes={"epochs": 5}, config={"preset": "none", "channels": (1, 2)}).outcome
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.parent.name != "tensorboard"}
    pairs = ("best_model", "final_model", "checkpoint_epoch_0002", "checkpoint_epoch_0004")
    assert files == {
        *("config.json", "best_accuracy.json", "final_accuracy.json", "checkpoints", "tensorboard"),
        *(f"checkpoints/{name}.{ending}" for name in pairs for ending in ("pt", "safetensors")),
    }
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["config"] == {"preset": "none", "channels": [1, 2]}
    assert config["recipe"] == asdict(task.recipe(epochs=5)) and config["parameters"] == 45 + 10 + 42
    best = json.loads((tmp_path / "best_accuracy.json").read_text())
    assert best == {"accuracy": outcome.best_accuracy, "epoch": outcome.best_epoch}
    final = json.loads((tmp_path / "final_accuracy.json").read_text())
    assert final["accuracy"] == outcome.final_accuracy and final["best_epoch"] == outcome.best_epoch


def test_weights_load_by_either_way(task, tmp_path):
    from safetensors.torch import load_file

    done = task.fit(tmp_path).model.state_dict()
    whole = torch.load(tmp_path / "checkpoints" / "final_model.pt", weights_only=True)
    plain = load_file(tmp_path / "checkpoints" / "final_model.safetensors")
    assert plain.keys() == done.keys() == whole["model"].keys()
    for name, value in done.items():
        assert torch.equal(value, plain[name]) and torch.equal(value, whole["model"][name])


def test_curves(task, tmp_path):
    scalars = {"lens/omega": 3.0, "lens/alpha": 1.5}
    done = task.fit(tmp_path, scalars=lambda model: scalars)
    curves = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"histograms": 0}).Reload()
    expected = {
        "loss/train": "train_loss",
        "loss/validation": "val_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/validation": "val_accuracy",
        "learning_rate": "lr",
        "skipped_batches": "skipped",
    }
    assert set(curves.Tags()["scalars"]) == {*expected, *scalars}
    for tag, key in expected.items():
        drawn = [(event.step, event.value) for event in curves.Scalars(tag)]
        # TensorBoard keeps float32.
        assert drawn == [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in done.outcome.history]
    assert [event.value for event in curves.Scalars("lens/omega")] == [3.0] * 4
    names = [name for name, _ in done.model.named_parameters()]
    assert set(curves.Tags()["histograms"]) == {f"weights/{name}" for name in names}
    for name, parameter in done.model.named_parameters():
        histograms = curves.Histograms(f"weights/{name}")
        assert [event.step for event in histograms] == [2, 4]
        assert histograms[-1].histogram_value.num == parameter.numel()
        assert histograms[-1].histogram_value.sum == pytest.approx(parameter.sum().item(), rel=1e-4, abs=1e-5)


def test_scalars_are_in_the_history(task, tmp_path):
    done = task.fit(scalars=lambda model: {"head/bias": model[4].bias[0].item()})
    values = [record["scalars"]["head/bias"] for record in done.outcome.history]
    assert values[-1] == done.model[4].bias[0].item() and len(set(values)) == 4


def test_curves_elsewhere(task, tmp_path):
    task.fit(tmp_path / "run", tensorboard=tmp_path / "curves")
    assert len(list((tmp_path / "curves").iterdir())) == 1 and not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize("method", ["add_scalar", "flush", "close", "add_histogram"])
def test_a_disk_that_fills_under_tensorboard(task, tmp_path, monkeypatch, compare, method):
    """It is one of the book's errors, and the run goes on when there is room."""
    from torch.utils.tensorboard import SummaryWriter

    whole = task.fit(tmp_path / "whole", changes={"save_every_n_epochs": 1})

    def sabotage(record) -> None:
        monkeypatch.setattr(SummaryWriter, method, Mock(side_effect=OSError(28, "No space left on device")))

    with pytest.raises(CheckpointError, match=r"tensorboard cannot be written \(no space left on device\); make room"):
        task.fit(tmp_path / "run", changes={"save_every_n_epochs": 1}, on_epoch=sabotage)
    monkeypatch.undo()
    parts = task.fit(tmp_path / "run", changes={"save_every_n_epochs": 1})
    assert compare(parts.model.state_dict(), whole.model.state_dict()) == []


def test_numbers_of_numpy_are_kept_and_read_back(task, tmp_path):
    recipe = task.recipe(epochs=np.int64(2), seed=np.int32(3), lr=np.float32(0.5), batch_size=np.int16(16))
    assert recipe == task.recipe(epochs=2, seed=3, lr=0.5) and type(recipe.epochs) is int and type(recipe.lr) is float
    first = task.fit(tmp_path, recipe=recipe)
    assert task.fit(tmp_path, recipe=recipe).outcome == first.outcome
