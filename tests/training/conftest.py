"""A small classification task, and comparison of checkpoints bit for bit."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mobius_lib.training import Recipe, ResidentBatches, fit

CLOCK = {"seconds", "training_seconds", "samples_per_second"}  # what the wall clock alone decides


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two nested states differ in any bit, the clock's entries left out."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        return [] if same else [path]
    if type(a) is not type(b):
        return [f"{path}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [d for key in a if key not in CLOCK for d in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: lengths {len(a)} and {len(b)}"]
        return [d for i, (p, q) in enumerate(zip(a, b, strict=True)) for d in differences(p, q, f"{path}[{i}]")]
    return [] if a == b else [f"{path}: {a!r} and {b!r}"]


class Task:
    """Two noisy blobs as 1 x 4 x 4 pictures, a network with batch norm, and a recipe of few epochs."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.y = torch.arange(96) % 2
        self.x = torch.randn(96, 1, 4, 4, generator=generator) + self.y.view(-1, 1, 1, 1)

    def model(self, width: int = 5) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            # No bias before batch norm: its gradient is nothing but rounding, which AdamW would blow up.
            conv = nn.Conv2d(1, width, 3, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(width), nn.GELU(), nn.Flatten(), nn.Linear(width * 4, 2))

    def recipe(self, **changes: Any) -> Recipe:
        return Recipe(**{"epochs": 4, "lr": 0.01, "batch_size": 16, "save_every_n_epochs": 2, **changes})

    def batches(self, x: torch.Tensor | None = None, shuffle: bool = True) -> ResidentBatches:
        return ResidentBatches(self.x if x is None else x, self.y, 16, shuffle=shuffle, seed=0)

    def fit(self, folder: Path | None = None, **options: Any) -> SimpleNamespace:
        recipe = options.pop("recipe", None) or self.recipe(**options.pop("changes", {}))
        model = options.pop("model", None) or self.model()
        train = options.pop("train", None) or self.batches()
        validation = options.pop("validation", None) or self.batches(shuffle=False)
        outcome = fit(model, train, validation, recipe, folder, **{"device": "cpu", "progress": False, **options})
        return SimpleNamespace(model=model, outcome=outcome)


@pytest.fixture
def task() -> Task:
    return Task()


@pytest.fixture(scope="session")
def compare() -> Callable[[Any, Any], list[str]]:
    return differences


@pytest.fixture(autouse=True)
def one_thread(threads: Callable[[int], None]) -> None:
    """These models are so small that a second thread only waits for the first."""
    threads(1)
