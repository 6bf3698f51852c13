"""The loop itself: against a plain hand-written one, on bad batches, and what it leaves behind."""

import json
import math
import re
import sys
from dataclasses import asdict
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mobius_lib.errors import CheckpointError, DataError
from mobius_lib.progress import Progress, one_bar
from mobius_lib.runs.trainer import _judge
from mobius_lib.training import LoaderBatches, RecipeError, ResidentBatches, TrainingError, evaluate, fit, read


def cross_entropy(model, x, y, **options):
    logits = model(x)
    return F.cross_entropy(logits, y, **options), logits


def by_hand(model, batches, recipe, skip=(), objective=cross_entropy, groups=None, losses=None):
    """Seed 001's recipe in the fewest lines of plain torch: the reference.

    `skip` names batches to leave out, `groups` have their own rates, and `losses` collects those of all batches.
    """
    optimizer = torch.optim.AdamW(groups or model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    options = {"label_smoothing": recipe.label_smoothing} if objective is cross_entropy else {}
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=recipe.epochs)
    model.train()
    for epoch in range(recipe.epochs):
        for i, (x, y) in enumerate(batches.epoch(epoch)):
            if (epoch, i) not in skip:
                optimizer.zero_grad()
                loss, _ = objective(model, x, y, **options)
                loss.backward()
                if losses is not None:
                    losses.append(loss.item())
                if recipe.grad_clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
                optimizer.step()
        schedule.step()
    return model


def close(a, b):
    """Equal but for rounding: fused and plain AdamW order a few operations differently, some 1e-7 per step."""
    a, b = a.state_dict(), b.state_dict()
    return all(torch.allclose(a[name], b[name], rtol=1e-4, atol=1e-5) for name in a)


class Altered:
    """The task's batches with some of them changed."""

    def __init__(self, batches, change):
        self.batches, self.change, self.samples = batches, change, batches.samples

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        for i, (x, y) in enumerate(self.batches.epoch(number)):
            yield self.change(number, i, x.clone()), y


@pytest.mark.parametrize(
    "changes", [{}, {"grad_clip": None}, {"grad_clip": 0.05}, {"label_smoothing": 0.1}, {"weight_decay": 0.0}], ids=str
)
def test_same_as_a_plain_loop(task, changes):
    recipe = task.recipe(**changes)
    assert close(task.fit(recipe=recipe).model, by_hand(task.model(), task.batches(), recipe))


def test_clipping(task, monkeypatch):
    """The gradients that reach the optimiser, on data that make them large: cut to the norm asked for, or left."""
    norms = []
    original = torch.optim.AdamW.step

    def step(self, *args):
        norms.append(math.sqrt(sum(p.grad.square().sum().item() for p in self.param_groups[0]["params"])))
        return original(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)

    def norm(clip):
        norms.clear()
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        with torch.no_grad():
            model[1].weight.copy_(torch.linspace(-1, 1, 32).view(2, 16))
        task.fit(model=model, train=task.batches(task.x * 1e3), changes={"epochs": 1, "grad_clip": clip})
        return norms[0]

    free = norm(None)
    assert free > 10
    assert norm(1.0) == pytest.approx(1.0, rel=1e-5)  # float32 sums, and the 1e-6 that torch adds to the norm
    assert norm(10 * free) == pytest.approx(free, rel=1e-5)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["input", "forward"])
def test_bad_batch_is_as_if_absent(task, poison, where, caplog, tmp_path):
    """One bad value in the middle: the same weights, moments and batch-norm statistics as without that batch.

    "input": it stands in x, and is seen before the pass. "forward": it appears in the network, as on a GPU, where x is
    not looked at: the pass runs, contaminates the buffers, and all has to be put back.
    """

    def change(epoch, i, x):
        if (epoch, i) == (1, 3):
            x[2, 0, 1, 1] = poison if where == "input" else 1e6
        return x

    class Poisoned(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(torch.where(x > 1e5, poison, x))

    train = Altered(task.batches(), change)
    recipe = task.recipe()
    model = task.model()
    outcome = task.fit(tmp_path, model=Poisoned(model), train=train, recipe=recipe).outcome
    reference = by_hand(task.model(), task.batches(), recipe, skip={(1, 3)})
    assert close(model, reference)
    assert model[1].num_batches_tracked == 4 * 6 - 1
    assert outcome.skipped_batches == 1 and [record["skipped"] for record in outcome.history] == [0, 1, 0, 0]
    assert all(math.isfinite(record[name]) for record in outcome.history for name in ("train_loss", "val_loss"))
    state = read(tmp_path / "checkpoints" / "checkpoint_epoch_0004.pt")["optimizer"]["state"]
    assert all(entry["step"] == 4 * 6 - 1 for entry in state.values())
    assert [record.message for record in caplog.records] == [
        "1 of 24 batches were skipped, because they, their loss or their gradients were not finite."
    ]
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in curves.Scalars("skipped_batches")] == [0, 1, 0, 0]


class _Sharp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bad):
        ctx.bad = bad
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient * math.nan if ctx.bad else gradient), None


def test_bad_gradient_under_a_finite_loss(task):
    class Model(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, x):
            self.calls += self.training
            return _Sharp.apply(self.inner(x), self.training and self.calls in (5, 11))

    model, recipe = task.model(), task.recipe()
    outcome = task.fit(model=Model(model), recipe=recipe).outcome
    assert [record["skipped"] for record in outcome.history] == [1, 1, 0, 0]
    assert close(model, by_hand(task.model(), task.batches(), recipe, skip={(0, 4), (1, 4)}))


@pytest.mark.parametrize("first", [0, 2])
def test_all_bad(task, first):
    train = Altered(task.batches(), lambda epoch, i, x: x * (math.nan if epoch >= first else 1))
    with pytest.raises(TrainingError, match=f"All 6 batches of epoch {first + 1} had to be skipped"):
        task.fit(train=train)


def test_integer_inputs_have_no_nan(task):
    """The finite check must not stumble over indices, as a network with an embedding takes."""
    tokens = ResidentBatches(torch.arange(96).view(-1, 1) % 7, task.y, 16, shuffle=True, seed=0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(4, 2))
    outcome = fit(model, tokens, tokens, task.recipe(epochs=1), device="cpu", progress=False)
    assert outcome.skipped_batches == 0


def test_outcome(task):
    seen = []
    outcome = task.fit(on_epoch=seen.append).outcome
    assert seen == outcome.history and [record["epoch"] for record in seen] == [1, 2, 3, 4]
    assert seen[0].keys() == {
        *("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds", "skipped")
    }
    accuracies = [record["val_accuracy"] for record in seen]
    assert outcome.best_accuracy == max(accuracies) and outcome.final_accuracy == accuracies[-1]
    assert outcome.best_epoch == accuracies.index(max(accuracies)) + 1, "the first of equals"
    assert outcome.seconds == sum(record["seconds"] for record in seen)
    assert outcome.samples_per_second >= 4 * 96 / outcome.seconds, "validation time is not counted"
    assert outcome.folder is None


def squared(model, x, y):
    """An objective of its own: the squared error of the softmax."""
    logits = model(x)
    return (logits.softmax(1) - F.one_hot(y, 2)).square().sum(1).mean(), logits


def test_an_objective_in_place_of_cross_entropy(task):
    recipe, losses = task.recipe(grad_clip=None, weight_decay=0.0), []
    reference = by_hand(task.model(), task.batches(), recipe, objective=squared, losses=losses)
    done = task.fit(recipe=recipe, objective=squared)
    assert close(done.model, reference) and not close(done.model, task.fit(recipe=recipe).model)
    first = done.outcome.history[0]
    # float32 sums in another order
    assert first["train_loss"] == pytest.approx(sum(losses[:6]) / 6, rel=1e-5), "the objective's own"
    assert first["val_loss"] != pytest.approx(first["train_loss"], rel=0.05), "still a cross-entropy"
    assert done.outcome.final_accuracy > 0.8
    with pytest.raises(RecipeError, match="label_smoothing belongs to the cross-entropy"):
        task.fit(changes={"label_smoothing": 0.1}, objective=squared)


@pytest.mark.parametrize(
    ("size", "parts"), [(16, 1), (16, 2), (16, 4), (20, 2), (36, 3), (96, 5)], ids=lambda value: str(value)
)
def test_accumulated_gradients_are_those_of_a_large_batch(task, size, parts):
    """Several batches a step, the last one smaller: the weights, moments and losses of one batch of all of them.

    In double precision, so that a weight by the batch and not by its samples would be seen at once.
    """

    def exact(model, x, y):
        logits = model(x)
        return F.cross_entropy(logits, y), logits

    def trained(batch, **changes):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 2)).double()
        train = ResidentBatches(task.x.double(), task.y, batch, shuffle=True, seed=0)
        validation = ResidentBatches(task.x.double(), task.y, 96, shuffle=False, seed=0)
        recipe = task.recipe(**changes)
        return model, fit(model, train, validation, recipe, device="cpu", progress=False, objective=exact)

    model, outcome = trained(size, accumulate=parts)
    whole, expected = trained(size * parts)
    for one, other in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    for one, other in zip(outcome.history, expected.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)  # added up in single precision
        assert one["train_accuracy"] == other["train_accuracy"]


def test_labels_that_do_not_count_have_no_share(task):
    """Of targets of -100, as for padding, in one batch of a step more than in another."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.where(torch.rand(96, generator=generator) < torch.linspace(0, 0.9, 96), -100, task.y)

    class Rows:
        samples = 96

        def __init__(self, size):
            self.size = size

        def __len__(self):
            return -(-96 // self.size)

        def epoch(self, number):
            yield from zip(task.x.split(self.size), targets.split(self.size), strict=True)

    models = []
    for size, accumulate in ((24, 4), (96, 1)):
        torch.manual_seed(0)
        models.append(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
        recipe = task.recipe(accumulate=accumulate, grad_clip=None)
        fit(models[-1], Rows(size), task.batches(), recipe, device="cpu", progress=False, objective=cross_entropy)
    assert close(*models)


def test_a_bad_batch_spoils_the_step_that_it_belongs_to(task):
    """What is seen in the data is left out alone, and its step is made of the others; what appears in the pass leaves
    out the whole step."""
    recipe, batches = task.recipe(accumulate=2, epochs=1), list(task.batches().epoch(0))

    def change(epoch, i, x):
        return torch.full_like(x, math.nan) if i == 2 else x

    model, reference = task.model(), task.model()
    outcome = task.fit(model=model, train=Altered(task.batches(), change), recipe=recipe).outcome
    assert outcome.skipped_batches == 1
    assert close(model, by_pairs(reference, [batches[:2], batches[3:4], batches[4:]], recipe))

    class Overflows(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, x):
            self.calls += self.training
            return self.inner(x) * (math.inf if self.training and self.calls == 4 else 1)

    model, reference = task.model(), task.model()
    outcome = task.fit(model=Overflows(model), recipe=recipe).outcome
    assert outcome.skipped_batches == 2
    assert close(model, by_pairs(reference, [batches[:2], batches[4:]], recipe))


def by_pairs(model, steps, recipe):
    """A plain loop over steps of several batches, all of one size."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    model.train()
    for batches in steps:
        optimizer.zero_grad()
        for x, y in batches:
            (cross_entropy(model, x, y)[0] / len(batches)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        optimizer.step()
    return model


def test_what_changes_in_the_course_of_a_training_is_told_its_length(task):
    class Told(nn.Sequential):
        def expect(self, steps):
            self.steps = steps

    for accumulate, steps in ((1, 4 * 6), (4, 4 * 2)):
        model = nn.Sequential(Told(*task.model()))
        task.fit(model=model, changes={"accumulate": accumulate})
        assert model[0].steps == steps


def halves(model):
    return [{"params": model[:2].parameters(), "rate": 0.25}, {"params": model[2:].parameters(), "rate": 2}]


def test_groups_learn_at_multiples_of_the_rate(task):
    recipe, reference = task.recipe(grad_clip=None), task.model()
    parts = [{"params": reference[:2].parameters(), "lr": 0.0025}, {"params": reference[2:].parameters(), "lr": 0.02}]
    by_hand(reference, task.batches(), recipe, groups=parts)
    done = task.fit(recipe=recipe, groups=halves)
    assert close(done.model, reference)
    plain = task.fit(recipe=recipe).outcome.history
    assert [r["lr"] for r in done.outcome.history] == [r["lr"] for r in plain], "the recipe's, for all groups"


def test_groups_that_cannot_be(task):
    cases = {
        r"0\.weight stands in 0 groups": lambda m: [{"params": m[1:].parameters(), "rate": 1}],
        r"0\.weight stands in 2 groups": lambda m: [*halves(m), {"params": m[0].parameters(), "rate": 1}],
        "rate of a parameter group must be a number above 0, not 0": lambda m: [{"params": m.parameters(), "rate": 0}],
        "must be a number above 0, not nan": lambda m: [{"params": m.parameters(), "rate": math.nan}],
    }
    for words, groups in cases.items():
        with pytest.raises(TrainingError, match=words):
            task.fit(groups=groups)
    frozen = task.model()
    frozen[0].requires_grad_(False)
    before = frozen[0].weight.clone()
    task.fit(model=frozen, groups=halves)
    assert torch.equal(frozen[0].weight, before), "what is frozen may stand in a group"


def test_scalars_are_in_the_history(task, tmp_path):
    done = task.fit(scalars=lambda model: {"head/bias": model[4].bias[0].item()})
    values = [record["scalars"]["head/bias"] for record in done.outcome.history]
    assert values[-1] == done.model[4].bias[0].item() and len(set(values)) == 4


def test_curves_elsewhere(task, tmp_path):
    task.fit(tmp_path / "run", tensorboard=tmp_path / "curves")
    assert len(list((tmp_path / "curves").iterdir())) == 1 and not (tmp_path / "run" / "tensorboard").exists()


def test_evaluate_against_counting(task):
    model = task.model().eval()
    with torch.no_grad():
        logits = model(task.x)
    loss, accuracy = evaluate(model, task.batches(shuffle=False))
    assert accuracy == (logits.argmax(1) == task.y).sum().item() / 96
    assert loss == pytest.approx(F.cross_entropy(logits, task.y).item(), rel=1e-5)  # float32 sums in another order


def loaded(x, y, shuffle):
    """Batches that know their labels when they are read, and no sooner."""
    return LoaderBatches(TensorDataset(x, y), 16, shuffle=shuffle, seed=0)


def kept(x, y, shuffle):
    return ResidentBatches(x, y, 16, shuffle=shuffle, seed=0)


MANY = "the label 2, but the model has 2 classes, numbered from 0 to 1; "
CURE = "give it more, or number the classes anew"
FROM_ONE = f"{MANY}subtract 1, if the labels count from 1, or {CURE}"
TOO_MANY = f"{MANY}{CURE}"


@pytest.mark.parametrize("make", [kept, loaded])
@pytest.mark.parametrize(("wrong", "sentence"), [(1, FROM_ONE), (slice(None, None, 7), TOO_MANY)])
def test_a_label_that_is_no_class(task, make, wrong, sentence):
    y = task.y + wrong if wrong == 1 else task.y.clone()
    if wrong != 1:
        y[wrong] = 2
    good, bad = make(task.x, task.y, False), make(task.x, y, False)
    weights = list(task.model().parameters())
    for train, validation in ((bad, good), (good, bad)):
        model = task.model()
        with pytest.raises(DataError, match=sentence):
            fit(model, train, validation, task.recipe(), device="cpu", progress=False)
        if make is kept or train is bad:
            assert all(map(torch.equal, model.parameters(), weights)), "nothing was learned"
    with pytest.raises(DataError, match=sentence):
        evaluate(task.model(), bad)


def test_a_label_that_is_no_class_under_an_objective(task):
    """It would use the label as an index, before there is anything to compare it with."""
    model, y = task.model(), task.y + 1
    weights = task.model().state_dict()

    def objective(*_):
        pytest.fail("a label was used")

    with pytest.raises(DataError, match=FROM_ONE):
        fit(model, kept(task.x, y, True), kept(task.x, task.y, False), task.recipe(), device="cpu", progress=False,
            objective=objective)  # fmt: skip
    with pytest.raises(DataError, match=FROM_ONE):
        fit(model, kept(task.x, task.y, True), kept(task.x, y, False), task.recipe(), device="cpu", progress=False,
            objective=objective)  # fmt: skip
    assert all(map(torch.equal, model.state_dict().values(), weights.values()))


def test_a_negative_label_that_is_met_on_the_way(task):
    y = task.y.clone()
    y[3] = -1
    for train, validation in ((y, task.y), (task.y, y)):
        with pytest.raises(DataError, match="the label -1, but classes are numbered from 0 to 1; drop the samples"):
            fit(task.model(), loaded(task.x, train, False), loaded(task.x, validation, False), task.recipe(),
                device="cpu", progress=False)  # fmt: skip


def test_nan_logits_are_no_prediction(task):
    """argmax calls the position of a NaN the largest; class 0 would be credited with every broken row."""
    nothing = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.constant_(nothing[1].weight, math.nan)
    assert evaluate(nothing, task.batches(shuffle=False))[1] == 0


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


def test_mixed_precision_on_cpu(task):
    """bf16 keeps 8 bits: the weights differ from float32's, and learn the same easy task."""
    half = task.fit(changes={"precision": "bf16", "epochs": 6})
    full = task.fit(changes={"epochs": 6})  # another precision in the same process: accelerate would refuse it
    assert half.model[0].weight.dtype == torch.float32
    assert not torch.equal(half.model[0].weight, full.model[0].weight)
    assert torch.allclose(half.model[0].weight, full.model[0].weight, atol=0.05)  # 36 steps of 0.01, 2**-8 each
    assert half.outcome.best_accuracy > 0.85 and full.outcome.best_accuracy > 0.85


def test_what_the_machine_cannot_do(task):
    with pytest.raises(RecipeError, match='precision="fp16" needs a GPU'):
        task.fit(changes={"precision": "fp16"})
    with pytest.raises(RecipeError, match="device must be one of auto, cpu, cuda, mps"):
        task.fit(device="tpu")
    with pytest.raises(RecipeError, match="device must be one of"):
        task.fit(device="cuda:x")
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="This machine has no cuda device"):
            task.fit(device="cuda")
    frozen = task.model().requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameters to train"):
        task.fit(model=frozen)


def test_frozen_parameters_stay(task):
    model = task.model()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    task.fit(model=model)
    assert torch.equal(model[0].weight, before) and not torch.equal(model[4].weight, task.model()[4].weight)


def test_lines_where_there_is_no_terminal(task, capfd):
    task.fit(progress=True)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("epoch 1/4: loss ") and lines[-1].startswith("epoch 4/4: loss ")
    assert "validation" in lines[-1] and lines[-1].endswith("0:00 left") and err == ""
    assert re.search(r", \d:\d\d an epoch, \d:\d\d left$", lines[0])
    task.fit(progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [False, True])
def test_after_the_first_epoch_the_time_of_all_models_is_told(task, tmp_path, capfd, monkeypatch, terminal):
    """A clock that steps a minute with each epoch: three models of four epochs, of which one had been trained before.

    The second has taken 1 of its 4 minutes: 3 + 4 are left. It ends after 4; the third has then 3 left.
    """
    task.fit(tmp_path, progress=False)
    clock = [0.0]
    monkeypatch.setattr("mobius_lib.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    original = Progress.epoch_done

    def epoch_done(self, *told):
        clock[0] += 60
        original(self, *told)

    monkeypatch.setattr(Progress, "epoch_done", epoch_done)
    with one_bar(3):
        for folder in (tmp_path, None, None):
            task.fit(folder, progress=True)
    out, err = capfd.readouterr()
    told = re.findall(r"epoch 1/4.*, 1:00 an epoch, about (\d+:\d\d) left for all 3 models", err if terminal else out)
    assert told == ["7:00", "3:00"]


def test_judging_has_a_bar(task, capsys, monkeypatch):
    monkeypatch.setattr("mobius_lib.progress.LINE_EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    _judge(task.model(), task.batches(shuffle=False), torch.device("cpu"), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("judging: 16 of 96 rows") and lines[-1].startswith("judging: 96 of 96 rows")
    _judge(task.model(), task.batches(shuffle=False), torch.device("cpu"))
    assert capsys.readouterr().err == ""


@pytest.fixture
def page(monkeypatch) -> list[list[str]]:
    """As if in a notebook: of every place in the output, what was written there, one after the other."""
    places: list[list[str]] = []

    class Handle:
        def __init__(self, place: list[str]) -> None:
            self.place = place

        def update(self, data: dict[str, str], raw: bool) -> None:
            self.place.append(data["text/html"])

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        places.append([])
        return Handle(places[-1])

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("mobius_lib.progress._in_notebook", lambda: True)
    monkeypatch.setattr("mobius_lib.progress.REFRESH", 0.0)
    return places


def test_bar_in_a_notebook(task, page, capfd):
    """One place, written again and again; a sentence stays."""
    task.fit(progress=True)
    assert capfd.readouterr() == ("", "")
    ((*bars, last),) = page
    parts = [float(re.search(r'^<progress value="([\d.]+)"', bar)[1]) for bar in bars]
    assert parts == sorted(parts) and 0 < parts[0] < 0.1 and parts[-1] == 1
    assert all(re.search(r"> epoch \d/4: loss [\d.]+, accuracy .*, \d:\d\d left$", bar) for bar in bars)
    assert re.fullmatch(r"1 model trained in \d:\d\d\.", last)
    task.fit(progress=False)
    assert len(page) == 1


def test_one_bar_for_several_models(task, page, tmp_path):
    with one_bar(2):
        task.fit(tmp_path, progress=True)
        task.fit(progress=True)
    with one_bar(2):
        task.fit(tmp_path, progress=True)  # what is finished is not trained again
        task.fit(progress=True)
    with pytest.raises(KeyboardInterrupt), one_bar(2):
        task.fit(progress=True)
        raise KeyboardInterrupt
    both, one, stopped = page
    parts = [float(re.search(r'value="([\d.]+)"', bar)[1]) for bar in both[:-1]]
    assert parts == sorted(parts) and 0.5 in parts and parts[-1] == 1
    assert "model 1 of 2, epoch 1/4" in both[0] and "model 2 of 2, epoch 4/4" in both[-2]
    assert re.fullmatch(r"2 models trained in \d:\d\d\.", both[-1])
    assert re.fullmatch(r"1 model trained in \d:\d\d; 1 had been trained before\.", one[-1])
    assert re.fullmatch(r"1 model trained in \d:\d\d, then stopped\.", stopped[-1])


def test_bar_on_a_terminal(task, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("mobius_lib.progress.REFRESH", 0.0)
    task.fit(progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "24/24" in err and "loss" in err and "accuracy" in err and "epoch 4/4" in err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_validation_that_is_not_finite_is_told(task, value):
    x = task.x.clone()
    x[5, 0, 0, 0] = value
    validation = ResidentBatches(x, task.y, 16, shuffle=False, seed=0)
    with pytest.raises(DataError, match="to validate on hold a NaN or an infinity"):
        fit(task.model(), task.batches(), validation, task.recipe(epochs=1), device="cpu", progress=False)


@pytest.mark.parametrize(("rows", "batch"), [(1, 16), (6, 1)], ids=["one row", "batches of one"])
def test_batch_norm_of_one_sample_is_told(task, rows, batch):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2))
    train = ResidentBatches(task.x[:rows], task.y[:rows], batch, shuffle=True, seed=0)
    with pytest.raises(TrainingError, match="one sample has no variance for batch norm; give more samples"):
        task.fit(model=model, train=train, changes={"epochs": 1, "batch_size": batch})


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
