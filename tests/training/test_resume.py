"""Runs that are really killed, and what is found afterwards."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mobius_lib.errors import CheckpointError
from mobius_lib.training import RunFolder, read

ROOT = Path(__file__).parents[2]
EPOCHS = 8  # as in victim.py


class Victims:
    """The server of victim.py."""

    def __init__(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("victim.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(ROOT)},
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        return self.process.stdout.readline().strip()

    def run(self, folder: Path, kill_at: int | None = None, after: float | None = None, **changes: object) -> int:
        """Trains in a child; kills it at a call or after some seconds; returns its exit status, -9 when killed."""
        self.process.stdin.write(json.dumps({"folder": str(folder), "kill_at": kill_at, "changes": changes}) + "\n")
        self.process.stdin.flush()
        pid = int(self._line())
        if after is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
        return int(self._line())


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    server = Victims()
    yield server
    server.process.stdin.close()
    server.process.stdout.close()
    server.process.wait(timeout=30)


@pytest.fixture(scope="module")
def undisturbed(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nobody stops, and how long it took."""
    folder, began = tmp_path_factory.mktemp("undisturbed") / "run", time.monotonic()
    assert victims.run(folder) == 0
    return folder, time.monotonic() - began


def check_same(folder: Path, reference: Path, compare: Callable) -> None:
    """Every file of the run is there, nothing else is, and every state is the same to the bit."""
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.parent.name != "tensorboard"}
    assert files == {
        str(p.relative_to(reference)) for p in reference.rglob("*") if p.is_file() and p.parent.name != "tensorboard"
    }
    for name in sorted(files):
        if name.endswith(".pt"):
            assert compare(read(folder / name), read(reference / name)) == [], name
        elif name.endswith(".safetensors"):
            assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
        else:
            assert compare(json.loads((folder / name).read_text()), json.loads((reference / name).read_text())) == []
    curves, expected = (
        EventAccumulator(str(run / "tensorboard"), size_guidance={"histograms": 0}).Reload()  # 0: all of them
        for run in (folder, reference)
    )
    assert curves.Tags()["scalars"] == expected.Tags()["scalars"]
    for tag in curves.Tags()["scalars"]:
        drawn = [(event.step, event.value) for event in curves.Scalars(tag)]
        assert drawn == [(event.step, event.value) for event in expected.Scalars(tag)], tag
        assert [step for step, _ in drawn] == list(range(1, EPOCHS + 1)), tag
    for tag in expected.Tags()["histograms"]:
        assert [event.step for event in curves.Histograms(tag)] == [2, 4, 6, 8], tag


def test_killed_again_and_again_at_random_moments(victims, undisturbed, tmp_path, compare):
    reference, seconds = undisturbed
    draw, folder, killed = random.Random(0), tmp_path / "0", 0
    for launch in range(1, 13):
        status = victims.run(folder, after=draw.uniform(0.1, 0.6) * seconds if launch < 12 else None)
        killed += status == -signal.SIGKILL
        if status == 0:
            check_same(folder, reference, compare)
            folder = tmp_path / str(launch)
    assert status == 0
    assert killed >= 3, "the kills came too late to test anything"


def test_killed_around_a_rename(victims, undisturbed, tmp_path, compare):
    """Of its calls of fsync, replace and unlink: the first, the last, and some between.

    How many there are is a matter of the processor: by its rounding an epoch is the best so far, and is kept, or not.
    (On one there are 76, and four unlinks before the third and the fourth checkpoint: of each the old .pt, and then its
    weights.)
    """
    reference, _ = undisturbed
    killed = 0
    last = next(n for n in range(91, 66, -1) if victims.run(tmp_path / f"{n} calls", kill_at=n) == -signal.SIGKILL)
    moments = (1, 2, 9, 16, 27, 29, 43, 44, 45, 58, 61, 66, last)
    for kill_at in moments:
        folder = tmp_path / str(kill_at)
        killed += victims.run(folder, kill_at=kill_at) == -signal.SIGKILL
        assert victims.run(folder) == 0
        check_same(folder, reference, compare)
    assert killed == len(moments)


def test_how_often_is_saved_does_not_matter(victims, undisturbed, tmp_path, compare):
    """Stopped and continued with another save_every_n_epochs: the one field that may change."""
    reference, _ = undisturbed
    victims.run(tmp_path / "run", kill_at=30, save_every_n_epochs=1)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint_epoch_0001.pt").is_file()
    assert victims.run(tmp_path / "run", save_every_n_epochs=3) == 0
    ours, theirs = (read(f / "checkpoints" / "final_model.pt") for f in (tmp_path / "run", reference))
    ours["recipe"]["save_every_n_epochs"] = 2
    assert compare(ours, theirs) == []


class Stop(Exception):
    pass


def stop_after(epoch: int) -> Callable[[dict], None]:
    def callback(record: dict) -> None:
        if record["epoch"] == epoch:
            raise Stop

    return callback


def test_continues_in_this_process(task, tmp_path, compare):
    whole = task.fit(tmp_path / "whole")
    with pytest.raises(Stop):
        task.fit(tmp_path / "parts", on_epoch=stop_after(3))
    again = []
    parts = task.fit(tmp_path / "parts", on_epoch=again.append, continue_from=tmp_path / "parts")
    assert [record["epoch"] for record in again] == [3, 4], "epoch 2 was the newest checkpoint"
    assert compare(parts.model.state_dict(), whole.model.state_dict()) == []
    assert compare(parts.outcome.history, whole.outcome.history) == []


def test_what_callbacks_draw_does_not_matter(task, tmp_path, compare):
    """The run has random states of its own, and leaves the caller's as they were."""

    def noisy(record: dict) -> None:
        torch.rand(7), random.random()

    model = task.model()
    model.insert(4, torch.nn.Dropout(0.3))
    other = task.model()
    other.insert(4, torch.nn.Dropout(0.3))
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    task.fit(model=model)
    assert torch.equal(torch.rand(3), expected)
    task.fit(model=other, on_epoch=noisy)
    assert compare(model.state_dict(), other.state_dict()) == []


def test_finished_run_is_not_trained_again(task, tmp_path, compare):
    first = task.fit(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    calls = []
    second = task.fit(tmp_path, on_epoch=calls.append)
    assert calls == [] and second.outcome == first.outcome
    assert compare(second.model.state_dict(), first.model.state_dict()) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_goes_on_in_another_folder(task, tmp_path, compare):
    whole = task.fit(tmp_path / "whole")
    with pytest.raises(Stop):
        task.fit(tmp_path / "old", on_epoch=stop_after(2))
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    moved = task.fit(tmp_path / "new", continue_from=tmp_path / "old")
    assert moved.outcome.folder == tmp_path / "new"
    assert compare(moved.model.state_dict(), whole.model.state_dict()) == []
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before
    best = read(tmp_path / "new" / "checkpoints" / "best_model.pt")
    assert compare(best, read(tmp_path / "whole" / "checkpoints" / "best_model.pt")) == []


def test_truncated_checkpoint_is_passed_over(task, tmp_path, compare, caplog):
    whole = task.fit(tmp_path / "whole", changes={"save_every_n_epochs": 1})
    run = RunFolder(tmp_path / "run")
    with pytest.raises(Stop):
        task.fit(run.path, changes={"save_every_n_epochs": 1}, on_epoch=stop_after(3))
    newest = run.checkpoints / "checkpoint_epoch_0003.pt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    again = []
    parts = task.fit(run.path, changes={"save_every_n_epochs": 1}, on_epoch=again.append)
    assert [record["epoch"] for record in again] == [3, 4]
    assert compare(parts.model.state_dict(), whole.model.state_dict()) == []
    notices = [record.message for record in caplog.records]
    assert len(notices) == 1 and "checkpoint_epoch_0003.pt is truncated or damaged" in notices[0]


def test_none_intact(task, tmp_path):
    task.fit(tmp_path)
    for path in (tmp_path / "checkpoints").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"None of the 2 checkpoints in .* can be read; restore one"):
        task.fit(tmp_path)


def test_another_models_checkpoint(task, tmp_path):
    task.fit(tmp_path)
    with pytest.raises(CheckpointError, match=r"0\.weight has shape \(5, 1, 3, 3\) there and \(6, 1, 3, 3\) here"):
        task.fit(tmp_path, model=task.model(width=6))
    longer = task.model()
    longer.append(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"lacks 5\.weight, which the model has"):
        task.fit(tmp_path, model=longer)
    shorter = task.model()[:4]
    with pytest.raises(CheckpointError, match=r"has 4\.weight, which the model lacks"):
        task.fit(tmp_path, model=shorter)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr", 0.02, r"begun with lr=0\.01, but now lr=0\.02 is asked"),
        ("epochs", 5, "begun with epochs=4, on which the whole schedule depends, but now epochs=5"),
        ("schedule", "linear", "begun with schedule='cosine', but now schedule='linear'"),
        ("seed", 1, "pass seed=0 to continue it, or start anew in another folder"),
        ("grad_clip", None, r"grad_clip=1\.0, but now grad_clip=None"),
    ],
)
@pytest.mark.parametrize("stopped", [1, 2, 4], ids=["before a checkpoint", "after one", "finished"])
def test_another_recipe(task, tmp_path, name, value, words, stopped):
    with pytest.raises(Stop):
        task.fit(tmp_path, on_epoch=stop_after(stopped))
    with pytest.raises(CheckpointError, match=words):
        task.fit(tmp_path, changes={name: value})


def test_a_run_from_before_there_was_a_choice_of_schedule_had_the_default(task, tmp_path):
    with pytest.raises(Stop):
        task.fit(tmp_path, on_epoch=stop_after(3))
    for path in (tmp_path / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)
        for name in ("schedule", "restart_epochs"):
            del state["recipe"][name]
        torch.save(state, path)
    with pytest.raises(CheckpointError, match="begun with schedule='cosine', but now schedule='constant'"):
        task.fit(tmp_path, changes={"schedule": "constant"})
    assert len(task.fit(tmp_path).outcome.history) == 4


def halves(model):
    return [{"params": model[:2].parameters(), "rate": 0.25}, {"params": model[2:].parameters(), "rate": 2}]


def test_continues_with_groups_and_scalars(task, tmp_path, compare):
    options = {"groups": halves, "scalars": lambda model: {"bias": model[4].bias[0].item()}}
    whole = task.fit(tmp_path / "whole", **options)
    with pytest.raises(Stop):
        task.fit(tmp_path / "parts", on_epoch=stop_after(3), **options)
    parts = task.fit(tmp_path / "parts", **options)
    assert compare(parts.model.state_dict(), whole.model.state_dict()) == []
    assert compare(parts.outcome.history, whole.outcome.history) == []
    names = ("final_model.pt", "best_model.pt", "checkpoint_epoch_0004.pt")
    for name in names:
        assert compare(*(read(tmp_path / run / "checkpoints" / name) for run in ("parts", "whole"))) == [], name


@pytest.mark.parametrize("stopped", [1, 2, 4], ids=["before a checkpoint", "after one", "finished"])
def test_other_groups(task, tmp_path, stopped):
    with pytest.raises(Stop):
        task.fit(tmp_path, on_epoch=stop_after(stopped), groups=halves)
    with pytest.raises(CheckpointError, match=r"at the rates \[0\.25, 2\.0\], but now \[1\.0\] are asked"):
        task.fit(tmp_path)


def test_other_data(task, tmp_path):
    task.fit(tmp_path)
    task.x, task.y = task.x[:80], task.y[:80]
    with pytest.raises(CheckpointError, match="train_samples was 96 and is 80 now"):
        task.fit(tmp_path)


def doubled(model, x, y):
    logits = model(x)
    return 2 * torch.nn.functional.cross_entropy(logits, y), logits


@pytest.mark.parametrize("stopped", [1, 4], ids=["before a checkpoint", "finished"])
def test_other_data_of_the_same_size_and_other_code(task, tmp_path, stopped):
    """One pixel, one label of the validation, another loss, another rate of dropout: nothing is mixed or returned."""
    with pytest.raises(Stop):
        task.fit(tmp_path, on_epoch=stop_after(stopped))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for change in ("pixel", "label"):
        x, y = task.x.clone(), task.y.clone()
        if change == "pixel":
            task.x[3, 0, 1, 1] += 1
        else:
            task.y[3] = 1 - task.y[3]
        with pytest.raises(CheckpointError, match=r"begun on other data of the same size.*or go back to that data\."):
            task.fit(tmp_path)
        task.x, task.y = x, y
    with pytest.raises(CheckpointError, match=r"begun by other code, .* start anew in another folder, or go"):
        task.fit(tmp_path, objective=doubled)
    other = task.model()
    other[1].momentum = 0.2
    with pytest.raises(CheckpointError, match="begun by other code"):
        task.fit(tmp_path, model=other)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_nothing_to_continue(task, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="There is no run to continue in"):
            task.fit(continue_from=folder)


def test_foreign_files(task, tmp_path):
    """A checkpoint of some other trainer, one that would run code, and a config.json that is not ours."""
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    path = checkpoints / "checkpoint_epoch_0002.pt"
    torch.save({"epoch": 2, "model_state_dict": task.model().state_dict()}, path)
    with pytest.raises(CheckpointError, match="no training checkpoint of this library"):
        task.fit(tmp_path)
    torch.save({"model": task.model()}, path)  # a pickled module: refused by weights_only
    with pytest.raises(CheckpointError, match="does not load as plain tensors and numbers"):
        task.fit(tmp_path)
    path.unlink()
    (tmp_path / "config.json").write_text('{"preset": "mobius_base"}')
    with pytest.raises(CheckpointError, match="does not describe a run of this library"):
        task.fit(tmp_path)
