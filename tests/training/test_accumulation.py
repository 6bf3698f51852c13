"""Several batches a step: the step of one large batch, whatever its parts, their labels and their faults."""

import math

import pytest
import torch
from torch import nn

from mobius_lib.training import ResidentBatches
from tests.training.plain import Altered, Around, close, cross_entropy


@pytest.mark.parametrize(
    ("size", "parts"), [(16, 1), (16, 2), (16, 4), (20, 2), (36, 3), (96, 5)], ids=lambda value: str(value)
)
def test_accumulated_gradients_are_those_of_a_large_batch(task, size, parts):
    """Several batches a step, the last one smaller: the weights, moments and losses of one batch of all of them.

    In double precision, so that a weight by the batch and not by its samples would be seen at once.
    """

    def trained(batch, **changes):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 2)).double()
        train = ResidentBatches(task.x.double(), task.y, batch, shuffle=True, seed=0)
        validation = ResidentBatches(task.x.double(), task.y, 96, shuffle=False, seed=0)
        return task.fit(model=model, train=train, validation=validation, changes=changes, objective=cross_entropy)

    done, whole = trained(size, accumulate=parts), trained(size * parts)
    for one, other in zip(done.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    for one, other in zip(done.outcome.history, whole.outcome.history, strict=True):
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
        model, changes = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), {"accumulate": accumulate, "grad_clip": None}
        models.append(task.fit(model=model, train=Rows(size), changes=changes, objective=cross_entropy).model)
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

    model, reference = task.model(), task.model()
    overflows = Around(model, lambda inner, x, call: inner(x) * (math.inf if call == 4 else 1))
    outcome = task.fit(model=overflows, recipe=recipe).outcome
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
