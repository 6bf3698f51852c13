"""Arms that are more than a model: a loss, rates that are searched for, a view of the data, closed forms."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mobius_lib.errors import MobiusError
from mobius_lib.runs import About, Arm, Run, Scale, execute, summary, trainer
from mobius_lib.runs.base import Data, sized
from mobius_lib.runs.timing import paired_steps
from mobius_lib.training import loop

SCALES = {"quick": Scale(epochs=2, batch_size=16, lr=0.01), "full": Scale(epochs=4, batch_size=16, lr=0.01)}


def load() -> Data:
    """Three blobs in four dimensions; far enough apart to be learned, near enough for errors."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(180) % 3
    x = 1.5 * torch.eye(3, 4)[y] + torch.randn(180, 4, generator=generator)
    return Data((x[:120], y[:120]), (x[120:], y[120:]), {"made": "0" * 64})


def linear() -> nn.Module:
    return nn.Linear(4, 3)


def make_run(**changes: Any) -> Run:
    return Run(**{"name": "blobs", "chapter": 3, "summary": "three blobs", "data": load, "scales": SCALES, **changes})


def go(run: Run, scale: str = "quick", **options: Any) -> dict[str, Any]:
    return execute(run, scale, device="cpu", progress=False, **options)


@pytest.fixture
def fits(monkeypatch) -> list[SimpleNamespace]:
    """What every training was given."""
    seen: list[SimpleNamespace] = []
    original = loop._Run.__init__

    def spy(self, model, train, validation, recipe, accelerator, objective, groups, scalars) -> None:
        seen.append(SimpleNamespace(train=train, validation=validation, recipe=recipe))
        original(self, model, train, validation, recipe, accelerator, objective, groups, scalars)

    monkeypatch.setattr(loop._Run, "__init__", spy)
    return seen


def test_a_plain_function_and_an_arm_of_it_are_the_same():
    result = go(make_run(arms={"plain": linear, "arm": Arm(linear)}), seeds=2)
    plain, arm = (
        [
            {key: value for key, value in row.items() if key not in ("seconds", "history")}
            for row in result["arms"][name]
        ]
        for name in ("plain", "arm")
    )
    assert plain == arm and "lr" not in plain[0]
    assert result["configuration"]["backend"] is None, "no lens, no way of computing one"
    assert "tuning" not in result


def test_objective_and_groups_reach_the_training():
    calls = []

    def objective(model, x, y):
        calls.append(len(y))
        logits = model(x)
        return logits.square().mean(), logits  # pulls all logits to 0

    def groups(model):
        return [{"params": [model.weight], "rate": 1.0}, {"params": [model.bias], "rate": 1e-9}]

    arms = {"shrunk": Arm(linear, objective=objective, groups=groups), "linear": linear}
    kept = {}
    run = make_run(arms=arms, measure=lambda model, data, history: kept.setdefault(len(kept), model) and {})
    go(run, "full")
    torch.manual_seed(0)
    start = linear()
    assert kept[0].weight.norm() < 0.8 * start.weight.norm()
    torch.testing.assert_close(kept[0].bias, start.bias, rtol=0, atol=1e-6)  # a rate of 1e-11 for 32 steps
    assert sum(calls) >= 4 * 120


def test_rows_are_held_out_whatever_their_order(fits):
    """Rows that come class by class in turn: every fifth of them would be of classes that the others do not have."""
    x, y = load().train
    classes = torch.arange(len(y)) % 10
    data = Data((x, classes), (x, classes))
    go(make_run(arms={"arm": Arm(lambda: nn.Linear(4, 10), rates=(0.1, 0.2))}, data=lambda: data), "full")
    assert set(fits[0].train.y.tolist()) == set(range(10))


def test_each_arm_finds_its_rate_on_held_out_rows(fits):
    arms = {
        "slow": Arm(linear, rates=(1e-5, 0.1)),
        "follows": Arm(linear, rate_of="slow"),
        "given": Arm(linear, rates=(0.5,)),
    }
    result = go(make_run(arms=arms), "full", seeds=2)
    assert list(result["tuning"]) == ["slow"]
    found = result["tuning"]["slow"]
    assert found["lr"] == 0.1 and list(found["held_out"]) == ["1e-05", "0.1"]
    assert found["held_out"]["0.1"] > found["held_out"]["1e-05"]
    search, rest = fits[:2], fits[2:]
    assert [each.recipe.lr for each in search] == [1e-5, 0.1]
    x, _ = load().train
    everything = {row.numpy().tobytes() for row in x}
    parts = []
    for each in search:
        assert each.train.samples == 96 and each.validation.samples == 24
        parts.append({row.numpy().tobytes() for row in each.validation.x})
        assert parts[-1] | {row.numpy().tobytes() for row in each.train.x} == everything and len(parts[-1]) == 24
    assert parts[0] == parts[1], "all candidates are judged on the same rows"
    assert [each.recipe.lr for each in rest] == [0.1, 0.1, 0.5] * 2
    assert all(each.train.samples == 120 for each in rest)
    assert [result["arms"][name][0]["lr"] for name in arms] == [0.1, 0.1, 0.5]
    assert "training rows, 2 seeds, batch" in summary.setting(result)
    assert "rates chosen on held-out rows" in summary.setting(result) and "lenses" not in summary.setting(result)


def test_rates_that_held_out_rows_do_not_tell_apart_are_judged_by_several_seeds(fits):
    """24 rows are held out, by which an accuracy of a half is known to 0.1."""
    rates = (1e-5, 0.1, 0.11, 1e8)
    found = go(replace(make_run(arms={"arm": Arm(linear, rates=rates)}), judges=3), "full")["tuning"]["arm"]
    held_out, best = found["held_out"], max(found["held_out"].values())
    close = [rate for rate, each in held_out.items() if best - each <= math.sqrt(best * (1 - best) / 24)]
    assert list(found["compared"]) == close and len(close) > 1 and held_out["1e+08"] == 0, "it diverges"
    assert all(each[0] == held_out[rate] and len(each) == 3 for rate, each in found["compared"].items())
    assert f"{found['lr']:.3g}" == max(close, key=lambda rate: sum(found["compared"][rate]))  # the first of equals
    search = sorted((each.recipe.seed, each.recipe.lr) for each in fits[:-1])
    assert search == [(0, rate) for rate in rates] + [(seed, float(rate)) for seed in (1, 2) for rate in close]
    assert len({each.validation.x.numpy().tobytes() for each in fits[:-1]}) == 1, "all on the same rows"


def test_a_rate_that_is_asked_for_is_taken_by_all(fits):
    arms = {"searched": Arm(linear, rates=(1e-5, 0.1)), "follows": Arm(linear, rate_of="searched")}
    result = go(make_run(arms=arms), lr=0.02)
    assert [each.recipe.lr for each in fits] == [0.02, 0.02] and "tuning" not in result


def test_epochs_and_warm_up(fits):
    arms = {"plain": linear, "longer": Arm(linear, epochs=2.5), "short": Arm(linear, epochs=0.1)}
    result = go(make_run(arms=arms, warmup_epochs=3), "full")
    assert [each.recipe.epochs for each in fits] == [4, 10, 1]
    assert [each.recipe.warmup_epochs for each in fits] == [3, 3, 0]
    assert [len(rows[0]["history"]) for rows in result["arms"].values()] == [4, 10, 1]


def test_a_view_and_what_is_measured(fits):
    def odd(data: Data, seed: int) -> Data:
        x, y = data.train
        return replace(data, train=(x[seed::4], y[seed::4]), outside=data.test[0][:7])

    seen = []

    def measure(model, data, history):
        assert not model.training
        seen.append((len(data.train[0]), None if data.outside is None else len(data.outside), history[-1]["scalars"]))
        return {"rows": len(data.train[0]), "path": [epoch["scalars"]["first"] for epoch in history]}

    run = make_run(
        arms={"all": linear, "part": Arm(linear, view=odd)},
        state=lambda model: {"first": model.weight[0, 0].item()},
        measure=measure,
    )
    result = go(run, seeds=2)
    assert [each.train.samples for each in fits] == [120, 30, 120, 30]
    assert torch.equal(fits[3].train.x, load().train[0][1::4]), "the seed reaches the view"
    assert [row["rows"] for row in result["arms"]["part"]] == [30, 30] and [entry[1] for entry in seen] == [None, 7] * 2
    for rows in result["arms"].values():
        assert len(rows[0]["path"]) == 2 and rows[0]["path"][-1] == rows[0]["lens_state"]["first"]
        assert all("scalars" not in epoch for epoch in rows[0]["history"]), "not twice"


def test_a_closed_form_is_not_trained(fits):
    def solve(model, x, y):
        with torch.no_grad():
            model.weight.copy_(torch.stack([x[y == c].mean(0) for c in range(3)]))
            model.bias.copy_(-model.weight.square().sum(1) / 2)

    result = go(make_run(arms={"means": Arm(linear, solve=solve), "linear": linear}), seeds=2)
    assert len(fits) == 2, "of the other arm"
    first, second = result["arms"]["means"]
    assert first["history"] == [] and first["final_accuracy"] == second["final_accuracy"] > 0.6
    assert set(result["cost"]) == {"linear"}, "there is no training step to time"


def test_sizes_facts_and_histories_of_a_scale():
    def fields(width: int) -> dict[str, Any]:
        return {
            "arms": {
                "mlp": lambda: nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)),
                "linear": linear,
            },
            "data": load,
            "facts": lambda: {"bayes": {"accuracy": width / 10}},
            "keep_history": False,
            "baseline": "linear",
            "timed": ("mlp", "linear"),
        }

    about, sizes = About("blobs", 3, "three blobs", SCALES), {"quick": 3, "full": 5}
    run, by_name = sized(about, fields, sizes), sized(about, lambda scale: fields(sizes[scale]))
    assert run.facts() == by_name.facts() == run.at("full").at("quick").facts() != by_name.at("full").facts()
    for scale, width in sizes.items():
        result = go(run, scale)
        assert result["arms"]["mlp"][0]["parameters"] == 5 * width + 3 * width + 3
        assert result["bayes"] == {"accuracy": width / 10} and result["arms"]["mlp"][0]["history"] == []
        assert result["cost"]["linear"]["ratio_to_linear"] == 1 and result["cost"]["mlp"]["ratio_to_linear"] > 0
        assert "| × linear |" in summary.table(result)


def test_stopped_in_the_search_and_continued(tmp_path, monkeypatch):
    arms = {"a": Arm(linear, rates=(0.01, 0.1)), "b, part": Arm(linear, rate_of="a")}
    expected = go(make_run(arms=arms), seeds=2)

    class Stop(Exception):
        pass

    calls, original = [], loop._Run._train_epoch

    def stopping(self, bar):
        calls.append(None)
        if len(calls) in (4, 9):  # in the search, and in the first seed's second arm
            raise Stop
        return original(self, bar)

    monkeypatch.setattr(loop._Run, "_train_epoch", stopping)
    for _ in range(2):
        with pytest.raises(Stop):
            go(make_run(arms=arms), seeds=2, work=tmp_path)
    result = go(make_run(arms=arms), seeds=2, work=tmp_path)
    assert len(calls) == 12 + 2, "six training runs of two epochs; each stop cost the epoch that it broke off"
    for name, rows in result["arms"].items():
        for ours, theirs in zip(rows, expected["arms"][name], strict=True):
            assert ours["final_accuracy"] == theirs["final_accuracy"] and ours["lr"] == theirs["lr"]
            assert [e["train_loss"] for e in ours["history"]] == [e["train_loss"] for e in theirs["history"]]
    assert result["tuning"] == expected["tuning"]
    assert sorted(path.name.rsplit(".", 1)[0] for path in tmp_path.iterdir()) == [
        *("a-rate0.01", "a-rate0.1", "a-seed0", "a-seed1", "b-part-seed0", "b-part-seed1")
    ]


def test_objectives_are_timed():
    steps = []

    def objective(model, x, y):
        steps.append(len(y))
        logits = model(x)
        return logits.mean(), logits

    train = load().train
    arms = {"odd": linear, "base": linear}
    cost = paired_steps(
        arms, train, 16, torch.device("cpu"), "eager", rounds=3, baseline="base", objectives={"odd": objective}
    )
    assert steps == [16] * 4 and cost["base"]["ratio_to_base"] == 1
    assert set(cost["odd"]) == {"seconds", "batch_size", "ratio_to_base", "ratios_to_base"}
    assert summary.step_ratio(cost["odd"]) == ("base", cost["odd"]["ratio_to_base"])
    assert summary.step_ratio({"seconds": 1.0}) is None


def test_one_sentence_of_a_run_that_cannot_be():
    with pytest.raises(MobiusError, match="lr must be a number above 0"):
        go(make_run(arms={"a": Arm(linear, rates=(0.0, 1.0))}))
    assert trainer.READ_ROWS > 0
