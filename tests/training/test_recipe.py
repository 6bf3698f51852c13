import ast
import inspect
import itertools
import math

import pytest
import torch

from mobius_lib.errors import MobiusError
from mobius_lib.training import Recipe, RecipeError
from mobius_lib.training.recipe import SCHEDULES


def torchs(schedule, optimizer, epochs):
    """The same by torch; it has no schedule that is none."""
    schedulers = torch.optim.lr_scheduler
    return {
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, T_max=epochs),
        "cosine_restarts": lambda: schedulers.CosineAnnealingWarmRestarts(optimizer, T_0=3, T_mult=2),
        "linear": lambda: schedulers.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs),
        "constant": lambda: schedulers.LambdaLR(optimizer, lambda epoch: 1.0),
    }[schedule]()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 50, 200])
def test_schedules_are_torchs(epochs, schedule):
    """Our closed form and torch's recursion: each step of the latter rounds, so 1e-12 relative to the largest."""
    recipe = Recipe(epochs=epochs, lr=3e-4, schedule=schedule, restart_epochs=3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    other = torchs(schedule, optimizer, epochs)
    for epoch in range(epochs + 1):
        assert recipe.lr * recipe.lr_factor(epoch) == pytest.approx(other.get_last_lr()[0], abs=1e-12 * recipe.lr)
        optimizer.step()
        other.step()


def test_warm_up_then_cosine():
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=4)
    factors = [recipe.lr_factor(epoch) for epoch in range(11)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == pytest.approx([(1 + math.cos(math.pi * i / 6)) / 2 for i in range(7)])
    assert factors[-1] == 0
    ascent = factors[:4]
    for schedule in SCHEDULES:
        other = Recipe(epochs=10, lr=1.0, warmup_epochs=4, schedule=schedule, restart_epochs=2)
        found = [other.lr_factor(epoch) for epoch in range(10)]
        assert found[:4] == ascent and found[4] == 1.0, schedule
    restarts = Recipe(epochs=10, lr=1.0, warmup_epochs=4, schedule="cosine_restarts", restart_epochs=2)
    assert [restarts.lr_factor(epoch) for epoch in range(4, 10)] == pytest.approx(
        [1.0, 0.5, 1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_used_by_fit(task, schedule):
    changes = {"epochs": 6, "warmup_epochs": 2, "schedule": schedule, "restart_epochs": 2}
    history = task.fit(changes=changes).outcome.history
    recipe = task.recipe(**changes)
    # LambdaLR multiplies as we do here: equal to the bit.
    assert [record["lr"] for record in history] == [recipe.lr * recipe.lr_factor(epoch) for epoch in range(6)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"accumulate": 0},
        {"accumulate": 1.5},
        {"epochs": 2.5},
        {"epochs": True},
        {"lr": 0},
        {"lr": -1e-3},
        {"lr": math.nan},
        {"lr": math.inf},
        {"lr": "1e-3"},
        {"weight_decay": -0.1},
        {"batch_size": 0},
        {"grad_clip": 0.0},
        {"grad_clip": -1.0},
        {"precision": "fp32"},
        {"seed": -1},
        {"seed": 2**32},
        {"warmup_epochs": 5},
        {"warmup_epochs": -1},
        {"label_smoothing": 1.0},
        {"save_every_n_epochs": 0},
        {"schedule": "plateau"},
        {"restart_epochs": 0},
    ],
    ids=str,
)
def test_wrong_fields_are_named(wrong):
    (name,) = wrong
    with pytest.raises(RecipeError, match=f"^{name} must be .*, not .*\\.$") as raised:
        Recipe(**{"epochs": 5, "lr": 1e-3, **wrong})
    assert isinstance(raised.value, MobiusError) and isinstance(raised.value, ValueError)


def test_every_field_says_why():
    """Each field is followed by its reason, as a string in the source."""
    body = ast.parse(inspect.getsource(Recipe)).body[0].body
    for statement, after in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(after, ast.Expr) and isinstance(after.value.value, str), statement.target.id
