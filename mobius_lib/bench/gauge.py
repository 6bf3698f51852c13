"""What a rung of the ladder costs in use (`mobius bench --what gauge`): its forward beside that of its matrix.

Each rung is fitted to one matrix, a sum of smooth rows and noise, and timed against `torch.nn.Linear` with that matrix,
on the same batch, in turn. The rungs' Gaussians are computed anew at every call, as in training; nothing is kept.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobius_lib.bench.chapters import Recorder, check, on_threads
from mobius_lib.bench.measure import paired_seconds, peak_bytes, ratio, summary
from mobius_lib.gauge import RUNGS, TriLevelHarmonicLinear
from mobius_lib.runs.base import pick_device

if TYPE_CHECKING:
    from rich.console import Console

SIZE, BATCH, TERMS = 4096, 32, 8
QUICK_SIZE = 192
LEVELS = ("L1", "L2", "L3", "L4", "L5")
AIM = 10.0
"""Issue 5: the forward of a fitted L5 at 4096 x 4096 and batch 32 is at least so many times as fast as the matrix."""


def make_matrix(size: int, seed: int = 0) -> Tensor:
    """A square matrix in which neighbouring columns are alike, with noise of standard deviation 1 / size^.5."""
    generator = torch.Generator().manual_seed(seed)
    smooth = TriLevelHarmonicLinear(size, size, TERMS)
    with torch.no_grad():
        smooth.hw.copy_(torch.randn(smooth.hw.shape, generator=generator))
    noise = torch.randn(size, size, generator=generator)
    return (smooth.to_dense().detach() + noise) * size**-0.5


def bench_gauge(
    device: str = "auto",
    *,
    batch: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    rounds: int | None = None,
    output: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure, and return (and write) the record.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1".
        batch: rows of x; 32.
        threads: of torch on a CPU; None leaves them.
        quick: a small matrix, to see that everything runs. Its figures say nothing.
        rounds: how often each is timed.
        output: where the record is written; None writes none.
        say: told what is being measured.
    Raises:
        BenchError: for a number below 1, or a file that cannot be written.
    """
    place = pick_device(device)
    asked = {"batch": batch, "threads": threads, "rounds": rounds}
    check(asked, output)
    size, batch, rounds = QUICK_SIZE if quick else SIZE, batch or BATCH, rounds or (3 if quick else 15)
    recorder = Recorder("gauge", place, device, quick, asked)
    with on_threads(threads), torch.inference_mode():
        w = make_matrix(size)
        x = torch.randn(batch, size, generator=torch.Generator().manual_seed(1)).to(place)
        layers: dict[str, nn.Module] = {"dense": nn.Linear(size, size, bias=False, device=place)}
        layers["dense"].weight.copy_(w)
        fitting = {}
        for level in LEVELS:
            say(f"the fit of {level}")
            before = time.perf_counter()
            layers[level] = RUNGS[level].from_dense(w, TERMS).to(place)
            fitting[level] = time.perf_counter() - before
        say("forwards")
        steps = {name: lambda layer=layer: layer(x) for name, layer in layers.items()}
        taken = paired_seconds(steps, rounds, place)
        forms = {
            name: {"seconds": summary(taken[name]), "rounds": taken[name], "peak_bytes": peak_bytes(step, place)}
            for name, step in steps.items()
        }
        for level in LEVELS:
            numbers = layers[level].compression_ratio()
            forms[level] |= {
                "speed_up": ratio(taken["dense"], taken[level]),
                "fit_seconds": fitting[level],
                "stored": numbers.stored,
                "stored_bits": layers[level].stored_bits(),
            }
        sizes = {"size": size, "terms": TERMS, "batch": batch, "rounds": rounds, "quick": quick}
        return recorder.finish(sizes, output, forms=forms)


def print_gauge(console: "Console", record: dict[str, Any]) -> None:
    """The record as sentences, and beside the aim."""

    def say(text: str) -> None:
        console.print(text, highlight=False)

    settings, forms = record["configuration"], record["forms"]
    say(f"{record['device']}, {settings['size']} x {settings['size']}, batch {settings['batch']}, {record['command']}")
    for name, row in forms.items():
        words = ""
        if "speed_up" in row:
            words = f", {row['speed_up']['median']:.1f} times as fast as dense, {row['stored']:,} numbers stored"
        say(f"forward, {name}: {row['seconds']['median'] * 1e3:.3f} ms{words}")
    if not settings["quick"]:
        found = forms["L5"]["speed_up"]["median"]
        say(f"L5 beside dense: {found:.1f} (aim: at least {AIM:g}): {'reached' if found >= AIM else 'missed'}")
