"""A tiny model, and of any settings."""

import pytest
import torch

from mobius_lib.twistor import TwistorConfig, TwistorHopeArchitecture

TINY = TwistorConfig(vocab_size=11, dim=8, num_memories=3, num_nested_levels=3, dropout=0.0)


@pytest.fixture
def model():
    def make(**settings) -> TwistorHopeArchitecture:
        torch.manual_seed(0)
        return TwistorHopeArchitecture(TINY, **settings)

    return make
