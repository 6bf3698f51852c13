"""What a training step costs: several models timed in turn on the same batch, so that noise falls on all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of AdamW on one batch: forward, backward, update."""
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def paired_steps(
    arms: Mapping[str, Callable[[], nn.Module]],
    train: tuple[Tensor, Tensor],
    batch_size: int,
    device: torch.device,
    backend: str,
    rounds: int = 9,
) -> dict[str, dict[str, Any]]:
    """Median seconds of a training step of every arm, and its ratio to the arm "gelu", taken round by round.

    Each arm that has lenses is also timed in the form in which its author prints it.

    Args:
        arms: as in a run.
        train: the training set, on the device.
        batch_size, device, backend: as in the run.
        rounds: every arm is stepped once per round, after one round that is not counted.
    Returns:
        arm to {"seconds", "batch_size", "ratio_to_gelu", "ratios_to_gelu"}, the median and one per round;
        with "(printed)" after the name for the printed form.
    """
    from mobius_lib.waves import MobiusLens, use_backend

    x, y = train[0][:batch_size], train[1][:batch_size]
    steps: dict[str, Callable[[], None]] = {}
    for name, make in arms.items():
        for form, chosen in {name: backend, f"{name} (printed)": "printed"}.items():
            torch.manual_seed(0)
            model = use_backend(make(), chosen).to(device, memory_format=torch.channels_last).train()
            if form != name and not any(isinstance(m, MobiusLens) for m in model.modules()):
                continue
            optimizer = torch.optim.AdamW(model.parameters())
            steps[form] = lambda model=model, optimizer=optimizer: training_step(model, optimizer, x, y)
    seconds: dict[str, list[float]] = {form: [] for form in steps}
    for _ in range(rounds + 1):
        for form, step in steps.items():
            _wait(device)
            started = time.perf_counter()
            step()
            _wait(device)
            seconds[form].append(time.perf_counter() - started)
    base = seconds["gelu"][1:] if "gelu" in seconds else None
    return {
        form: {
            "seconds": statistics.median(taken[1:]),
            "batch_size": len(x),
            **(_ratios(taken[1:], base) if base else {}),
        }
        for form, taken in seconds.items()
    }


def _ratios(taken: list[float], base: list[float]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(taken, base, strict=True)]
    return {"ratio_to_gelu": statistics.median(ratios), "ratios_to_gelu": ratios}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
