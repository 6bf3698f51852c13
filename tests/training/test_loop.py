"""The loop itself: against a plain hand-written one, and on bad batches."""

import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F

from mobius_lib.training import RecipeError, ResidentBatches, TrainingError, read
from tests.training.plain import Altered, Around, close, cross_entropy


def by_hand(model, batches, recipe, skip=(), objective=cross_entropy, groups=None, losses=None):
    """The distillation card's recipe in the fewest lines of plain torch: the reference.

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

    train = Altered(task.batches(), change)
    recipe = task.recipe()
    model = task.model()
    poisoned = Around(model, lambda inner, x, call: inner(torch.where(x > 1e5, poison, x)))
    outcome = task.fit(tmp_path, model=poisoned, train=train, recipe=recipe).outcome
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
    model, recipe = task.model(), task.recipe()
    sharp = Around(model, lambda inner, x, call: _Sharp.apply(inner(x), call in (5, 11)))
    outcome = task.fit(model=sharp, recipe=recipe).outcome
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
    done = task.fit(model=model, train=tokens, validation=tokens, changes={"epochs": 1})
    assert done.outcome.skipped_batches == 0


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


@pytest.mark.parametrize(("rows", "batch"), [(1, 16), (6, 1)], ids=["one row", "batches of one"])
def test_batch_norm_of_one_sample_is_told(task, rows, batch):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2))
    train = ResidentBatches(task.x[:rows], task.y[:rows], batch, shuffle=True, seed=0)
    with pytest.raises(TrainingError, match="one sample has no variance for batch norm; give more samples"):
        task.fit(model=model, train=train, changes={"epochs": 1, "batch_size": batch})
