"""What a step costs: measured in turns, so that it is right on a machine that is busy with other things."""

import math

import pytest
import torch
from torch import nn

from mobius_lib.runs import timing
from mobius_lib.runs.timing import paired_steps, training_step

CPU = torch.device("cpu")
BATCH = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


@pytest.fixture(scope="module")
def arms(tiny_module):
    def linear() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    return {**tiny_module.RUN.arms, "linear": linear}


@pytest.mark.parametrize("backend", ["eager", "printed"])
def test_every_arm_and_the_printed_form_of_those_with_lenses(arms, backend):
    cost = paired_steps(arms, BATCH, 6, CPU, backend, rounds=7)  # odd and many: a busy machine is outvoted
    assert list(cost) == ["lens", "lens (printed)", "gelu", "linear"]
    for row in cost.values():
        assert set(row) == {"seconds", "batch_size", "ratio_to_gelu", "ratios_to_gelu"}
        assert row["seconds"] > 0 and row["ratio_to_gelu"] > 0 and math.isfinite(row["ratio_to_gelu"])
        assert row["batch_size"] == 6
    assert cost["gelu"]["ratio_to_gelu"] == 1
    # one small matrix against two blocks of convolutions: tenfold on any machine
    assert cost["linear"]["ratio_to_gelu"] < 0.5


def test_without_a_gelu_arm_there_is_no_ratio(arms):
    cost = paired_steps({"linear": arms["linear"]}, BATCH, 100, CPU, "eager", rounds=1)
    assert set(cost) == {"linear"} and set(cost["linear"]) == {"seconds", "batch_size"}
    assert cost["linear"]["batch_size"] == 8, "as many as there are"


class Work(nn.Module):
    """A model whose forward pass takes a given time on a clock that is not real."""

    clock, pace, slow_start = 0.0, 1.0, 0.0

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.linear, self.cost, self.passes = nn.Linear(64, 3), cost, 0

    def forward(self, x):
        self.passes += 1
        Work.clock += Work.pace * self.cost + (Work.slow_start if self.passes == 1 else 0)
        return self.linear(x.flatten(1))


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(timing.time, "perf_counter", lambda: Work.clock)
    monkeypatch.setattr(Work, "clock", 0.0)
    monkeypatch.setattr(Work, "pace", 1.0)
    monkeypatch.setattr(Work, "slow_start", 0.0)


def test_the_first_round_is_not_counted(clock, monkeypatch):
    monkeypatch.setattr(Work, "slow_start", 1000.0)  # as where a graph is compiled
    cost = paired_steps({"lens": lambda: Work(3.0), "gelu": lambda: Work(2.0)}, BATCH, 8, CPU, "eager")
    assert cost["lens"]["seconds"] == 3.0 and cost["gelu"]["seconds"] == 2.0
    assert cost["lens"]["ratio_to_gelu"] == 1.5


def test_a_machine_that_slows_down_does_not_change_the_ratio(clock, monkeypatch):
    """Twice as slow in each round: arm after arm, the second would look dozens of times as expensive."""

    class Slowing(Work):
        def forward(self, x):
            Work.pace = 2.0**self.passes
            return super().forward(x)

    cost = paired_steps({"lens": lambda: Slowing(3.0), "gelu": lambda: Slowing(2.0)}, BATCH, 8, CPU, "eager", rounds=5)
    assert cost["lens"]["ratio_to_gelu"] == 1.5
    assert cost["lens"]["seconds"] == 3.0 * 2**3, "the median of five rounds"


def test_one_interruption_is_outvoted(clock, monkeypatch):
    class Disturbed(Work):
        def forward(self, x):
            Work.clock += 500.0 if self.passes == 2 else 0.0
            return super().forward(x)

    cost = paired_steps({"lens": lambda: Disturbed(3.0), "gelu": lambda: Work(2.0)}, BATCH, 8, CPU, "eager")
    assert cost["lens"]["ratio_to_gelu"] == 1.5 and cost["lens"]["seconds"] == 3.0


def test_a_training_step_trains(arms):
    torch.manual_seed(0)
    model = arms["linear"]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def loss() -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).item()

    losses = [loss()]
    for _ in range(20):
        training_step(model, optimizer, *BATCH)
        losses.append(loss())
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
