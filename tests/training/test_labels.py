"""Labels that are no class, and rows that are no numbers: told before anything is learned from them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mobius_lib.errors import DataError
from mobius_lib.training import LoaderBatches, ResidentBatches, evaluate


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
            task.fit(model=model, train=train, validation=validation)
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

    for train, validation in ((y, task.y), (task.y, y)):
        batches = {"train": kept(task.x, train, True), "validation": kept(task.x, validation, False)}
        with pytest.raises(DataError, match=FROM_ONE):
            task.fit(model=model, objective=objective, **batches)
    assert all(map(torch.equal, model.state_dict().values(), weights.values()))


def test_a_negative_label_that_is_met_on_the_way(task):
    y = task.y.clone()
    y[3] = -1
    for train, validation in ((y, task.y), (task.y, y)):
        batches = {"train": loaded(task.x, train, False), "validation": loaded(task.x, validation, False)}
        with pytest.raises(DataError, match="the label -1, but classes are numbered from 0 to 1; drop the samples"):
            task.fit(**batches)


def test_nan_logits_are_no_prediction(task):
    """argmax calls the position of a NaN the largest; class 0 would be credited with every broken row."""
    nothing = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.constant_(nothing[1].weight, math.nan)
    assert evaluate(nothing, task.batches(shuffle=False))[1] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_validation_that_is_not_finite_is_told(task, value):
    x = task.x.clone()
    x[5, 0, 0, 0] = value
    validation = ResidentBatches(x, task.y, 16, shuffle=False, seed=0)
    with pytest.raises(DataError, match="to validate on hold a NaN or an infinity"):
        task.fit(validation=validation, changes={"epochs": 1})
