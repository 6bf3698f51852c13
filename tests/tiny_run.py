"""A run that takes a second: small pictures whose class can be learned, and two networks of two narrow blocks.

Loaded by path, from tests and from the processes that they start and kill.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.waves.readings import lens_readings, lens_state
from mobius_lib.waves import GELUTwin, MobiusNet

CLASSES = 3
SIZES = {"in_chans": 1, "num_classes": CLASSES, "channels": (6, 9), "depths": (1, 1)}


def load() -> Data:
    """8 x 8 noise on one of three patterns, half as strong."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 1, 8, 8, generator=generator)
    y = torch.arange(150) % CLASSES
    x = torch.randn(150, 1, 8, 8, generator=generator) + patterns[y]
    return Data((x[:90], y[:90]), (x[90:], y[90:]), {"made": "1" * 64}, augment=jitter)


def jitter(x: Tensor) -> Tensor:
    """Draws from torch's global generator, so that a run that forgets its state ends differently."""
    return x + 0.1 * torch.randn_like(x)


def lens() -> nn.Module:
    return MobiusNet(**SIZES)


def gelu() -> nn.Module:
    return GELUTwin(**SIZES)


def majority(data: Data) -> dict[str, Any]:
    y = data.test[1]
    return {"majority": {"accuracy": y.bincount().max().item() / len(y), "parameters": 0}}


RUN = Run(
    name="tiny",
    chapter=1,
    summary="three patterns in noise",
    arms={"lens": lens, "gelu": gelu},
    data=load,
    scales={
        "quick": Scale(epochs=3, batch_size=15, lr=0.01, note="a second"),
        "full": Scale(epochs=4, batch_size=30, lr=0.02, train_samples=60, test_samples=30),
    },
    state=lens_state,
    readings=lens_readings,
    extra=majority,
)
