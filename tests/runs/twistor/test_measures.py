"""What is read off a twistor: memories, the pairing, the levels, on numbers of which the answer is known."""

from dataclasses import replace

import pytest
import torch

from mobius_lib.runs.twistor.measures import different_memories, level_change, memory_summary, pairing_spread
from mobius_lib.twistor import TwistorHopeArchitecture
from tests.runs.twistor.small import small, tokens


def test_different_memories_of_known_slots():
    one = torch.randn(1, 16).expand(4, 16)
    assert different_memories(one) == pytest.approx(1, abs=1e-6)
    assert different_memories(torch.eye(5, 16)) == pytest.approx(5)
    assert different_memories(torch.stack([torch.eye(5, 16), one[:1].expand(5, 16)])) == pytest.approx(3, abs=1e-6)


def test_memory_of_slots_at_rest():
    still = torch.ones(2, 7, 3, 4)
    found = memory_summary(still)
    assert found["memory_movement"] == [0, 0, 0] and found["memory_length"] == pytest.approx([2, 2, 2])


def test_pairing_spread_sees_whether_it_is_held():
    held = pairing_spread(small("twistor"), tokens(60).view(2, 30))
    torch.manual_seed(0)
    config = replace(small("twistor").config, constraint=None)
    free = pairing_spread(TwistorHopeArchitecture(config), tokens(60).view(2, 30))
    assert held < 1e-5 < 0.05 < free  # held to float32's rounding


def test_level_change_is_the_largest():
    before = {"weight": torch.tensor([[0.1, 0.2], [0.1, 0.1]]), "factor": torch.ones(2, 2)}
    after = {"weight": torch.tensor([[0.2, 0.2], [0.05, 0.4]]), "factor": torch.tensor([[1.0, 0.7], [1.1, 1.0]])}
    found = level_change(before, after)
    assert found == {"level_weight_change": pytest.approx(3), "level_factor_change": pytest.approx(0.3)}
