"""What a large run says beforehand of memory and disk, and where it refuses."""

import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mobius_lib import progress
from mobius_lib.datasets import feature_files, paths
from mobius_lib.datasets.feature_files import load_features, published_bytes
from mobius_lib.errors import DataError
from mobius_lib.runs import RUNS, RunError, execute, room, trainer
from mobius_lib.runs.base import Arm, Data
from mobius_lib.runs.peak import peak_bytes
from mobius_lib.runs.replay import Enough
from mobius_lib.runs.room import Needs, check_machine
from mobius_lib.runs.simplex.arms import size_of
from mobius_lib.runs.simplex.imagenet import PUBLISHED
from mobius_lib.training.checkpoint import RunFolder

CPU = torch.device("cpu")


def never() -> None:
    raise AssertionError("the data are loaded before anything was said")


@pytest.fixture
def large(tiny, monkeypatch):
    """The tiny run with a network of two million parameters, which announces 2 GB of rows in memory."""
    wide = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30_000), nn.Linear(30_000, 3))  # noqa: E731
    monkeypatch.setattr(paths, "available_memory", lambda: 3 * 10**9)
    return replace(
        tiny, arms={"wide": wide}, data=never, needs=lambda settings: Needs(19 * 10**8, 10**8), state=None,
        readings=None, extra=None, baseline="wide", timed=(),
    )  # fmt: skip


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=count))


def test_it_says_what_it_takes(large, tmp_path, capsys, monkeypatch):
    free(monkeypatch, 5 * 10**9)
    check_machine(large, large.scales["quick"], 3, CPU, tmp_path / "not yet")
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    size = 64 * 30_000 + 30_000 + 3 * 30_000 + 3
    assert f"tiny takes at least {(16 * size + 2e9) / 1e9:.1f} GB of memory (3.0 GB are free)" in told
    assert f"{4 * size * (2 * 3 + 6) / 1e9:.1f} GB for checkpoints in {tmp_path / 'not yet'} (5.0 GB are free)" in told
    assert "when they are here" in told and not (tmp_path / "not yet").exists()


def test_too_little_disk_is_told_before_the_data_are_loaded(large, tmp_path, monkeypatch):
    free(monkeypatch, 60 * 10**6)  # for three seeds 97 MB
    with pytest.raises(RunError, match=r"take 0\.1 GB in .*, and 0\.1 GB are free; .* --work, or train fewer seeds"):
        execute(large, "quick", seeds=3, device="cpu", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_what_is_there_already_is_not_asked_for_again(large, tmp_path, monkeypatch):
    free(monkeypatch, 60 * 10**6)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoint").write_bytes(bytes(40 * 10**6))
    check_machine(large, large.scales["quick"], 3, CPU, tmp_path / "work")


def test_too_little_memory(large, monkeypatch):
    monkeypatch.setattr(paths, "available_memory", lambda: 10**9)
    with pytest.raises(DataError, match=r"Model and rows of tiny take 2\.0 GB of memory, and 1\.0 GB are free"):
        execute(large, "quick", device="cpu")


def test_data_that_must_be_fetched_to_the_same_disk(large, tmp_path, monkeypatch):
    """Room for the data, and room for the checkpoints, but not for both."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    free(monkeypatch, 10**8)
    run = replace(large, needs=lambda _: Needs(10**8, 0, to_write=8 * 10**7, mapped=True))
    with pytest.raises(RunError, match=r"beside 0\.1 GB of data on the same disk, and 0\.1 GB are free"):
        execute(run, "quick", device="cpu", work=tmp_path / "work")
    run = replace(large, needs=lambda _: Needs(10**9, 0, to_write=10**9, mapped=True))
    with pytest.raises(DataError, match=r"needs 1\.0 GB of disk, and 0\.1 GB are free; .*MOBIUS_CACHE"):
        execute(run, "quick", device="cpu")


def test_checkpoints_take_what_was_told(large, tiny, tmp_path, monkeypatch):
    """The most that lies below `work` at any moment of two seeds."""
    run, work, most = replace(large, data=tiny.data), tmp_path / "work", [0]
    sizes = room._parameters(run)
    written = RunFolder.save

    def save(self: RunFolder, name: str, state: dict) -> None:
        written(self, name, state)
        most[0] = max(most[0], room._there(work))

    monkeypatch.setattr(RunFolder, "save", save)
    execute(run, "quick", seeds=2, device="cpu", work=work, progress=False)
    told = room._checkpoints(run, sizes, 2)
    assert 0.95 * told < most[0] < 1.05 * told  # histories, names and TensorBoard's curves come on top


@pytest.mark.parametrize(("only", "trainings"), [((), 62), (("b",), 32), (("a",), 30)])
def test_hours_are_told_before_anything_is_trained(large, tiny, monkeypatch, capsys, only, trainings):
    """Of 90 rows in batches of 15 for three epochs, two seconds a step: 36 s an arm and seed; one arm has two rates,
    each tried for half of that. The bar counts the same trainings."""
    seen, counted = [], []

    def steps(arms, *_, **how):
        seen.append((list(arms), how["rounds"], how["printed"]))
        return {name: {"seconds": 2.0} for name in arms}

    def one_bar(count):
        counted.append(count)
        raise Enough

    monkeypatch.setattr(trainer, "paired_steps", steps)
    monkeypatch.setattr(progress, "one_bar", one_bar)
    small = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))  # noqa: E731
    run = replace(large, arms={"a": small, "b": Arm(small, rates=(0.1, 0.2))}, data=tiny.data, search_epochs=0.5)
    with pytest.raises(Enough):
        execute(run, "quick", seeds=30, device="cpu", only=only)
    whole = trainings - (0.5 * 2 if "a" not in only else 0)
    assert f"takes about {whole * 36 / 3600:,.1f} hours here" in capsys.readouterr().err
    assert seen == [([arm], 1, False) for arm in only or ("a", "b")] and counted == [trainings]


@pytest.mark.parametrize("name", ["waves-clip", "simplex-imagenet", "waves-tiny-imagenet"])
def test_large_runs_announce_their_rows(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path))
    run = RUNS[name].at("full")
    whole, part = (run.needs(replace(run.scales["full"], train_samples=rows)) for rows in (None, 1000))
    assert whole.train > 10**9 and part.train < 20 * 10**6 and whole.test == part.test
    assert whole.mapped == (name != "waves-tiny-imagenet") == (whole.to_write > 10**9)


def test_published_rows_in_bytes(monkeypatch, tmp_path):
    """1,281,167 rows of 768 halves and 50,000 of 768 float32."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path))
    assert published_bytes("train", "clip_vit_l14") == (1_967_872_512, 1_967_872_512)
    assert published_bytes("validation", "clip_vit_l14", 10) == (10 * 768 * 4, 50_000 * 768 * 4)
    assert re.fullmatch(r"2\.0 GB", room._gb(1_967_872_512))


def test_three_seeds_of_the_published_david_fit_on_a_free_colab():
    """Of its 63 million parameters all moments of a training in 2 GB of memory, all checkpoints in 5 GB of disk."""
    run, size = RUNS["simplex-imagenet"], size_of(PUBLISHED)
    sizes = {"published": size, "david": size, "linear": 513 * 1000}
    assert run.arms.keys() == sizes.keys() and size > 63_000_000
    assert room._checkpoints(run, sizes, 3) < 5e9 and room.TRAINED * size < 2e9


def test_a_training_holds_no_more_of_rows_on_the_disk_when_they_are_more(tiny, tmp_path, monkeypatch):
    """Whatever torch allocates from loading to the record: of each further row its label and its place in the order,
    two whole numbers, and no eighth of its 512 bytes."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_files, "RESIDENT", 0)
    peaks = {}
    for count in (2_000, 2_000, 20_000):  # the first time, what is allocated once and for all
        path = tmp_path / f"{count}.npy"
        np.save(path, np.random.default_rng(0).standard_normal((count, 128), dtype=np.float32))
        np.save(path.with_suffix(".labels.npy"), np.arange(count) % 3)
        x, y = load_features(path)
        run = replace(
            tiny, arms={"linear": lambda: nn.Linear(128, 3)}, data=lambda x=x, y=y: Data((x, y), (x[:90], y[:90])),
            state=None, readings=None, extra=None, baseline="linear", timed=("linear",),
        )  # fmt: skip
        sizes = {"epochs": 1, "batch_size": 500, "work": tmp_path / f"work {len(list(tmp_path.iterdir()))}"}
        peaks[count] = peak_bytes(partial(execute, run, "quick", device="cpu", progress=False, **sizes), CPU)
    assert 0 < peaks[20_000] - peaks[2_000] < 18_000 * 512 / 8, peaks
