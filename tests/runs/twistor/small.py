"""A text and models of chapter 5's runs that are small enough for a test."""

from dataclasses import replace

import torch

from mobius_lib.runs.twistor import text
from mobius_lib.runs.twistor.models import RecurrentModel, TransformerModel
from mobius_lib.twistor import TwistorHopeArchitecture, create_full_config

TINY = replace(
    text.SIZES["quick"],
    steps=4,
    search_steps=2,
    validation=600,
    training=20_000,
    test=1_500,
    rates=(3e-3, 1e-2),
)
V = 11


def tokens(length: int, seed: int = 0) -> torch.Tensor:
    """A text in which a character likes the one after it."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.where(torch.rand(length, generator=draw) < 0.7, 1, torch.randint(V, (length,), generator=draw))
    return steps.cumsum(0) % V


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "transformer":
        return TransformerModel(V, 16, 20, 2, window=12)
    if name == "twistor":
        config = create_full_config("small", V, bidirectional=False, dropout=0.0, dim=8, num_nested_levels=2)
        return TwistorHopeArchitecture(config)
    return RecurrentModel(name, V, 8, 12, 2)
