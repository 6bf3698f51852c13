"""Matrices and texts to fit, and how every rung is fitted to them."""

import math

import pytest
import torch

from mobius_lib.gauge import RUNGS


@pytest.fixture(scope="session")
def smooth_matrix():
    def make(rows=40, columns=60, noise=0.1, seed=0, dtype=torch.float32):
        """Rows of a few wide waves, and noise."""
        generator = torch.Generator().manual_seed(seed)
        j = torch.linspace(0, 1, columns)
        waves = torch.stack([torch.cos(math.pi * k * j) / k for k in range(1, 6)])
        w = torch.randn(rows, 5, generator=generator) @ waves + noise * torch.randn(rows, columns, generator=generator)
        return w.to(dtype)

    return make


@pytest.fixture(scope="session")
def fit():
    """By the rung's name."""

    def make(level, w, terms=4):
        return RUNGS[level].from_dense(w, terms, **({"steps": 60} if level == "L6" else {}))

    return make


@pytest.fixture(scope="session")
def tokens():
    """A text of words as frequent as Zipf says."""

    def make(length=3000, vocabulary=25, seed=0):
        weights = 1 / torch.arange(1.0, vocabulary + 1)
        return torch.multinomial(weights, length, replacement=True, generator=torch.Generator().manual_seed(seed))

    return make
