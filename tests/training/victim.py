"""A process that trains on request and may be killed. Started by test_resume.py; imports are paid once, then forked.

Each line on stdin is JSON: {"folder": ..., "kill_at": k or null, "changes": {...}}. A child is forked for it, its pid
printed, then its exit status (negative: the signal). With kill_at = k the child kills itself just before its k-th call
of os.fsync, os.replace or os.unlink, and so at every moment where files are in two minds.
"""

import json
import os
import random
import signal
import sys

import numpy as np
import torch
import torch._dynamo  # the optimiser imports it at its first step, which takes seconds: paid here, once
import torch.utils.tensorboard
from torch import nn

from mobius_lib.training import Recipe, ResidentBatches, fit

EPOCHS = 8


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.GELU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(6 * 16, 3)
    )


def augment(x: torch.Tensor) -> torch.Tensor:
    """Draws from all three generators, so that each of them matters for the result."""
    return x + 0.1 * torch.randn_like(x) + 0.1 * random.random() + 0.1 * np.random.rand()


def train(folder: str, **changes: object) -> None:
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(200, 1, 6, 6, generator=generator), torch.randint(3, (200,), generator=generator)
    x += y.view(-1, 1, 1, 1) / 2
    recipe = Recipe(**{"epochs": EPOCHS, "lr": 0.01, "batch_size": 25, "save_every_n_epochs": 2, **changes})
    fit(
        model(),
        ResidentBatches(x[:150], y[:150], 25, shuffle=True, seed=0, augment=augment),
        ResidentBatches(x[150:], y[150:], 25, shuffle=False, seed=0),
        recipe,
        folder,
        device="cpu",
        scalars=lambda m: {"bias/mean": m[0].bias.mean().item()},
        progress=False,
    )


def die_at(count: int) -> None:
    """Arranges for SIGKILL just before the count-th call, from 1, of os.fsync, os.replace or os.unlink."""
    left = [count]

    def wrapped(name: str) -> None:
        original = getattr(os, name)

        def call(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        setattr(os, name, call)

    for name in ("fsync", "replace", "unlink"):
        wrapped(name)


def child(request: dict) -> None:
    if request.get("kill_at"):
        die_at(request["kill_at"])
    train(request["folder"], **request.get("changes", {}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(json.loads(line))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
