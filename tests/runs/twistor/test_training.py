"""A twistor model in the shared loop: its optimisers, the course of its levels, steps of several batches."""

import pytest
import torch

from mobius_lib.runs.twistor.books import Pieces, Streams
from mobius_lib.runs.twistor.training import Flat, train
from mobius_lib.training import Recipe, fit
from mobius_lib.twistor import OmegaNestedOptimizer, PiNestedOptimizer, TwistorHopeArchitecture, language_objective

TOKENS = torch.randint(7, (1000,), generator=torch.Generator().manual_seed(1))
CLIP = 1.0


def model(**settings) -> TwistorHopeArchitecture:
    torch.manual_seed(0)
    sizes = {"vocab_size": 7, "dim": 6, "num_recurrent_layers": 1, "num_nested_levels": 3, "num_memories": 2}
    return TwistorHopeArchitecture(**sizes | {"dropout": 0.0} | settings).double()


class Rows:
    """A text in rows, so many a batch, with the characters that follow; some of them left out, more and more."""

    def __init__(self, size: int, rows: int = 12, length: int = 9) -> None:
        self.size, self.samples = size, rows * length
        self.x = TOKENS[: rows * length].view(rows, length)
        self.y = TOKENS[1 : rows * length + 1].view(rows, length).clone()
        for row in range(rows):
            self.y[row, length - row // 2 :] = -100

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def epoch(self, number: int):
        for x, y in zip(self.x.split(self.size), self.y.split(self.size), strict=True):
            yield x, y.flatten()


def told(flat: Flat, x: torch.Tensor, y: torch.Tensor):
    """As `language_objective`, by the cross-entropy alone: the constraint counts every row, also of padding."""
    _, logits, _, _ = flat.core.loss(x, y.view_as(x))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y), logits.flatten(0, 1)


def trained(m: TwistorHopeArchitecture, batches: Rows, **recipe) -> TwistorHopeArchitecture:
    given = Recipe(**{"epochs": 3, "lr": 1e-2, "grad_clip": CLIP, "weight_decay": 0.0} | recipe)
    groups = lambda flat: flat.core.parameter_groups()  # noqa: E731
    fit(Flat(m), batches, Pieces(TOKENS[:200], 50), given, device="cpu", progress=False, objective=told, groups=groups)
    return m


@pytest.mark.parametrize(("size", "accumulate"), [(6, 2), (4, 3), (5, 3), (1, 12)])
def test_accumulated_gradients_are_those_of_a_large_batch(size, accumulate):
    """Each batch by the characters that count in it, also what levels hold over several steps."""
    one, other = trained(model(), Rows(size), accumulate=accumulate), trained(model(), Rows(12))
    assert int(one.nested.clock) == int(other.nested.clock) == 3
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8, msg=name)


def test_one_optimizer_with_groups_is_those_of_omega_and_pi():
    """What runs do: one AdamW over all groups, each at its rate, is the README's two optimisers beside a third."""
    batches, rates = Rows(12), {"omega_rate": 0.5, "pi_rate": 2.0}
    one, other = trained(model(**rates), batches, epochs=6), model(**rates)
    other.plan(6)
    nested = {id(p) for nets in (other.nested.omega_nets, other.nested.pi_nets) for p in nets.parameters()}
    optimizers = [
        OmegaNestedOptimizer(other.nested, 1e-2 * 0.5, weight_decay=0.0),
        PiNestedOptimizer(other.nested, 1e-2 * 2.0, weight_decay=0.0),
        torch.optim.AdamW([p for p in other.parameters() if id(p) not in nested], 1e-2, weight_decay=0.0),
    ]
    rest = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    recipe = Recipe(epochs=6, lr=1.0)
    for epoch in range(6):
        for optimizer, lrs in zip(optimizers, rest, strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr * recipe.lr_factor(epoch)
        ((x, y),) = batches.epoch(epoch)
        told(Flat(other), x, y)[0].backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), CLIP)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8, msg=name)


def test_the_levels_weights_rise_without_being_told():
    """From 0.1 to 1 of their factors over all steps of the loop; an earlier plan stands, one's own or a run's."""
    m, seen = model(), []
    streams = Streams(TOKENS, 2, 9, 5, 0)
    look = lambda m: seen.append(m.nested.level_weights().detach().mean().item()) or {}  # noqa: E731
    train(m, streams, Pieces(TOKENS[:200], 50), intervals=4, lr=1e-9, seed=0, look=look)
    assert int(m.nested.total) == 20 and seen == pytest.approx([0.325, 0.55, 0.775, 1.0], abs=1e-6)
    train(m, streams, Pieces(TOKENS[:200], 50), intervals=2, lr=1e-9, seed=0, look=look)
    assert int(m.nested.total) == 20 and seen[4:] == pytest.approx([1.0, 1.0], abs=1e-6)
    planned = model()
    planned.plan(100)
    train(planned, streams, Pieces(TOKENS[:200], 50), intervals=4, lr=1e-9, seed=0)
    assert int(planned.nested.total) == 100


@pytest.mark.parametrize("accumulate", [1, 2])
def test_mixed_precision(accumulate):
    """bf16 on a CPU: other roundings, the same lesson."""
    ends = {}
    for precision in ("no", "bf16"):
        m = model().float()
        recipe = Recipe(epochs=15, lr=2e-2, precision=precision, accumulate=accumulate)
        x, losses = torch.arange(9).repeat(6, 1) % 7, []

        class Counting(Rows):
            def __init__(self) -> None:
                super().__init__(3)
                self.x, self.y = x, (x + 1) % 7  # noqa: B023
                self.samples = x.numel()  # noqa: B023

        def objective(flat, x, y):
            loss, logits = language_objective(flat.core, x, y.view_as(x))
            losses.append(loss.item())  # noqa: B023
            return loss, logits.flatten(0, 1)

        fit(Flat(m), Counting(), Counting(), recipe, device="cpu", progress=False, objective=objective)
        ends[precision] = losses
        assert all(p.dtype == torch.float32 for p in m.parameters())
    assert ends["bf16"] != ends["no"] and ends["bf16"][0] == pytest.approx(ends["no"][0], rel=0.05)
    assert ends["bf16"][-1] < 0.7 * ends["bf16"][0]
