"""How it is measured: times in turn, memory by the allocator, and what the machine itself can do.

Times. All forms run once per round, the order turning by one each round, so that a machine that slows down slows all
of them, and a ratio is taken within a round. A form that is over quickly is repeated within its turn until the clock
is no longer the largest part of it. Rounds of warm-up, in which graphs are compiled, are not counted.

Memory. The most that tensors took at once during one step, above what was held before it (weights, moments, input):
on CUDA what the caching allocator counts, on a CPU what torch's profiler reports of each allocation. Both count
tensors exactly and the same on every machine, whereas the resident size of a process moves with the allocator's
habits. Left out on a CPU is the scratch space that oneDNN and MKL take from the system themselves.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mobius_lib.runs.peak import peak_bytes

__all__ = ["machine", "paired_seconds", "peak_bytes", "ratio", "summary", "training", "wait"]

Step = Callable[[], tuple[Tensor, ...]]
SHORTEST = 0.02
"""Seconds that a turn lasts at least: a thousand times the clock's and the synchronisation's own."""
MOST_REPEATS = 200


def wait(device: torch.device) -> None:
    """Until the device has done everything that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def paired_seconds(
    steps: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of every step in every round, taken in turn.

    Args:
        steps: name to a function that does the work once.
        rounds: how many are counted; at least one.
        warmup: how often each runs before.
    """
    repeats = {name: _warm(step, warmup, device) for name, step in steps.items()}
    names = list(steps)
    taken: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # else one form pays for the litter of all
    try:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                taken[name].append(_seconds(steps[name], repeats[name], device))
    finally:
        if collecting:
            gc.enable()
    return taken


def training(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Step:
    """A training step, which returns its loss."""

    def step() -> tuple[Tensor, ...]:
        total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # last, so that a step leaves nothing that the next one gives back
        return (total.detach(),)

    return step


def summary(taken: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and range of a list of numbers."""
    low, middle, high = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
    return {"median": middle, "quartiles": [low, high], "range": [min(taken), max(taken)]}


def ratio(taken: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """`summary` of one list of seconds over another, round by round."""
    return summary([ours / theirs for ours, theirs in zip(taken, base, strict=True)])


def machine(device: torch.device, precision: torch.dtype, quick: bool = False) -> dict[str, float]:
    """The machine's ceilings, as the best of several tries: bytes copied, multiply-adds times two, and sines a second.

    A copy counts what it reads and what it writes. The matrix product is tried as such and as the 1 x 1 convolution
    that the folded network uses, for the libraries below the two are not the same.
    """
    large, side = (2**28, 8192) if device.type == "cuda" else (2**25, 1024)
    if quick:
        large, side = 2**20, 128
    source = torch.zeros(large // 4, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    picture = a.view(1, 1, side, side).permute(0, 3, 1, 2)  # side channels last
    kernel = b.view(side, side, 1, 1)
    # a sine is arithmetic alone only where its numbers come from a cache
    angles = torch.randn(2**22 if device.type == "cuda" else 2**16, device=device)
    sines = torch.empty_like(angles)

    def best(work: Callable[[], Any]) -> float:
        with torch.inference_mode():
            return min(paired_seconds({"": work}, 3 if quick else 10, device)[""])

    product = min(best(lambda: a @ b), best(lambda: torch.nn.functional.conv2d(picture, kernel)))
    return {
        "copy_bytes_per_second": 2 * large / best(lambda: target.copy_(source)),
        "matmul_flops_per_second": 2 * side**3 / product,
        "sines_per_second": len(angles) / best(lambda: torch.sin(angles, out=sines)),
    }


def _warm(step: Callable[[], Any], warmup: int, device: torch.device) -> int:
    """Run a step so many times, and say how often it goes into one turn."""
    for _ in range(warmup):
        step()
    once = _seconds(step, 1, device)
    return min(MOST_REPEATS, max(1, math.ceil(SHORTEST / max(once, 1e-9))))


def _seconds(step: Callable[[], Any], repeats: int, device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    wait(device)
    return (time.perf_counter() - started) / repeats
