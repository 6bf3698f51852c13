"""Both full recipes on made data of ImageNet's shape, at a tiny size, and what the best rule gets."""

import math
from dataclasses import replace

import pytest
import torch

from mobius_lib.datasets.made import SphereMixture
from mobius_lib.runs import RUNS, execute, made
from mobius_lib.runs.made_by import data_of
from mobius_lib.runs.registry import run_at
from mobius_lib.training import ResidentBatches


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["waves-made", "simplex-made"])
def test_the_recipe_runs_on_a_made_set(name, tmp_path):
    run = replace(
        RUNS[name], at_scale=None, timed=(RUNS[name].baseline,)
    )  # it is at that scale; the others' steps take
    sizes = {"epochs": 1, "train_samples": 32, "test_samples": 20, "batch_size": 16}  # a minute to time
    found = execute(run, "quick", **sizes, device="cpu", progress=False)
    assert set(found["arms"]) == set(
        run_at({"waves": "waves-clip", "simplex": "simplex-imagenet"}[name[:-5]], "full").arms
    )
    assert all(math.isfinite(row["history"][0]["train_loss"]) for rows in found["arms"].values() for row in rows)
    assert 0.78 < found["extra"]["Bayes' rule"]["accuracy"] < 0.84
    (train, test) = found["data"]
    assert train.startswith("SphereMixture(classes=20") and test.endswith(" test")


@pytest.mark.parametrize("name", ["waves-made", "simplex-made"])
def test_what_is_on_the_disk_is_not_read_to_tell_what_it_is(name, monkeypatch):
    """At full size that would be two gigabytes at each start, and for each training again."""
    data = run_at(name, "quick").data()
    told = data_of(data), ResidentBatches(*data.train, 16, shuffle=True, seed=0).identity()
    for x, y in (data.train, data.test):
        x.zero_(), y.zero_()  # of the map in memory
    again = data_of(data), ResidentBatches(*data.train, 16, shuffle=True, seed=0).identity()
    assert told == again


@pytest.mark.parametrize("pair", [("waves-made", "waves-clip"), ("simplex-made", "simplex-imagenet")])
def test_it_is_the_recipe_of_the_real_run(pair):
    ours, real = (run_at(name, "full") for name in pair)
    told = lambda run: (run.weight_decay, run.warmup_epochs, run.baseline)  # noqa: E731
    assert told(ours) == told(real)
    assert replace(ours.scales["full"], note="") == replace(real.scales["full"], note="")
    sizes = made.SIZES["full"]
    assert (sizes.train, sizes.test, sizes.classes) == (1_281_167, 50_000, 1000)
    assert made.SIZES["short"].train == round(sizes.train / 100)
    few = made.SIZES["few"]
    assert few.train // few.classes == sizes.train // sizes.classes
    assert ours.scales["few"].train_samples == few.train  # so that its record names them
    for arm, make in ours.arms.items():
        shapes = [{n: p.shape for n, p in each().named_parameters()} for each in (make, real.arms[arm])]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("dim", [512, 768])
@pytest.mark.parametrize("scale", ["quick", "few", "short"])
def test_the_best_rule_gets_as_many_right_as_is_reported(scale, dim):
    """The distillation card: 80.8 %. Of 4,000 draws the standard error is below 0.005."""
    accuracy, error = made.mixture(scale, dim).bayes_accuracy(4_000)
    assert abs(accuracy - 0.808) < 0.01 + 3 * error and error < 0.005


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_on_the_disk_are_the_rows_that_are_drawn(kind, monkeypatch):
    mixture = SphereMixture(7, 12, 2, 9.0)
    assert mixture.missing(50, "test", kind) == 50 * 12 * kind.itemsize
    stored, (x, y) = mixture.stored(50, "test", kind), mixture.draw(50, "test")
    assert torch.equal(stored.x, x.to(kind)) and torch.equal(stored.y, y) and mixture.missing(50, "test", kind) == 0
    monkeypatch.setattr(SphereMixture, "_part", None)  # a second time nothing is drawn
    assert torch.equal(mixture.stored(50, "test", kind).x, stored.x)
