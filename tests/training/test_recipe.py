import ast
import inspect
import itertools
import math

import pytest
import torch

from mobius_lib.errors import MobiusError
from mobius_lib.training import Recipe, RecipeError


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 50, 200])
def test_schedule_is_torchs_cosine(epochs):
    """Our closed form and torch's recursion: each step of the latter rounds, so 1e-12 relative to the largest."""
    recipe = Recipe(epochs=epochs, lr=3e-4)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for epoch in range(epochs + 1):
        assert recipe.lr * recipe.lr_factor(epoch) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12 * recipe.lr)
        optimizer.step()
        schedule.step()


def test_warm_up_then_cosine():
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=4)
    factors = [recipe.lr_factor(epoch) for epoch in range(11)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == pytest.approx([(1 + math.cos(math.pi * i / 6)) / 2 for i in range(7)])
    assert factors[-1] == 0


def test_used_by_fit(task):
    history = task.fit(changes={"epochs": 6, "warmup_epochs": 2}).outcome.history
    recipe = task.recipe(epochs=6, warmup_epochs=2)
    # LambdaLR multiplies as we do here: equal to the bit.
    assert [record["lr"] for record in history] == [recipe.lr * recipe.lr_factor(epoch) for epoch in range(6)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
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
