"""What a training step costs: several models timed in turn on the same batch, so that noise falls on all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mobius_lib.training import Objective


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, objective: "Objective | None" = None
) -> None:
    """One step of AdamW on one batch: forward, backward, update; of cross-entropy unless there is an objective."""
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(model(x), y) if objective is None else objective(model, x, y)[0]
    loss.backward()
    optimizer.step()


def paired_steps(
    arms: Mapping[str, Callable[[], nn.Module]],
    train: tuple[Tensor, Tensor],
    batch_size: int,
    device: torch.device,
    backend: str,
    rounds: int = 9,
    *,
    baseline: str = "gelu",
    objectives: "Mapping[str, Objective | None] | None" = None,
    printed: bool = True,
) -> dict[str, dict[str, Any]]:
    """Median seconds of a training step of every arm, and its ratio to the baseline arm, taken round by round.

    Each arm that has lenses is also timed in the form in which its author prints it.

    Args:
        arms: as in a run.
        train: the training set, on the device.
        batch_size, device, backend: as in the run.
        rounds: every arm is stepped once per round, after one round that is not counted.
        baseline: the arm to which the others are compared; where there is none of that name, no ratio is given.
        objectives: arm to what it makes small, where that is not the cross-entropy.
        printed: whether the printed form is timed.
    Returns:
        arm to {"seconds", "batch_size", "ratio_to_gelu", "ratios_to_gelu"} (or another baseline's name), the median
        and one per round; with "(printed)" after the name for the printed form.
    """
    from mobius_lib.waves import MobiusLens, use_backend

    x, y = train[0][:batch_size], train[1][:batch_size]
    steps: dict[str, Callable[[], None]] = {}
    for name, make in arms.items():
        forms = {name: backend} | ({f"{name} (printed)": "printed"} if printed else {})
        for form, chosen in forms.items():
            torch.manual_seed(0)
            model = use_backend(make(), chosen).train()
            model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
            if form != name and not any(isinstance(m, MobiusLens) for m in model.modules()):
                continue
            optimizer = torch.optim.AdamW(model.parameters(), fused=True)  # as the loop does
            objective = (objectives or {}).get(name)
            steps[form] = partial(training_step, model, optimizer, x, y, objective)
    seconds = in_turn(steps, rounds, device)
    base = seconds.get(baseline)
    return {
        form: {
            "seconds": statistics.median(taken),
            "batch_size": len(x),
            **(_ratios(taken, base, baseline) if base else {}),
        }
        for form, taken in seconds.items()
    }


def in_turn(works: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each piece of work, round by round, after a round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            _wait(device)
            started = time.perf_counter()
            work()
            _wait(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _ratios(taken: list[float], base: list[float], baseline: str) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(taken, base, strict=True)]
    return {f"ratio_to_{baseline}": statistics.median(ratios), f"ratios_to_{baseline}": ratios}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
