"""What a rung of the ladder costs in use (`mobius bench --what gauge`): its forward beside that of its matrix.

Each rung is fitted to one matrix, a sum of smooth rows and noise, and timed against `torch.nn.Linear` with that matrix,
on the same batch, in turn; so is what is off by default (`PARTS`). The rungs' Gaussians are computed anew at every
call, as in training; nothing is kept.

Beside it what fitting costs on a real text, at 5,000 words and at all of them (`bench/ladder.py`).
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.bench.base import Aim, Asked, bench_chapter, machine_of, print_chapter
from mobius_lib.bench.gauge.ladder import COUNTED, LEVELS, QUICK_COUNTED, TERMS, measure_apart
from mobius_lib.bench.measure import paired_seconds, peak_bytes, ratio, summary
from mobius_lib.gauge import RUNGS, CosmicLinear, MetaMobiusLinear, Rung, TriLevelHarmonicLinear


def _square(kind: type[Rung], size: int, **settings: Any) -> Rung:
    return kind(size, size, **settings)


SIZE, BATCH = 4096, 32
QUICK_SIZE = 192
PARTS: dict[str, Callable[[int], nn.Module]] = {
    "L5, tanh": partial(_square, MetaMobiusLinear, activation="tanh"),
    "L5 by steps": partial(_square, MetaMobiusLinear, route="steps"),
    "L5 by path": partial(_square, MetaMobiusLinear, route="path"),
    "L5 by path, tanh": partial(_square, MetaMobiusLinear, route="path", activation="tanh"),
    "L5 free exponents": partial(_square, MetaMobiusLinear, beta="free"),
    "L6": partial(_square, CosmicLinear),
    "L6 of a stack": partial(_square, CosmicLinear, stack=True),
}
"""What is off by default, timed as it starts: the cost of a forward does not depend on the numbers. (So learned
connection and attention cost what those of any L5 do.)"""
VOCABULARIES: tuple[int | None, ...] = (5_000, None)
QUICK_VOCABULARIES: tuple[int | None, ...] = (150, 200)


def _ladder(record: dict[str, Any], place: int) -> dict[str, Any]:
    return record["ladders"][place]


AIMS = (
    Aim(
        "forward of L5 at 4096 x 4096: times as fast as its matrix",
        10.0,
        False,
        lambda record: record["forms"]["L5"]["speed_up"]["median"],
    ),
    Aim("seconds to fit L1 to L5 at 5,000 words", 60.0, True, lambda r: sum(_ladder(r, 0)["fit_seconds"].values())),
    Aim(
        "seconds to count a million tokens at the windows 5, 15 and 50 (5,000 words)",
        10.0,
        True,
        lambda record: sum(_ladder(record, 0)["counting_seconds"].values()),
    ),
    Aim(
        "peak memory with every word, GiB",
        8.0,
        True,
        lambda record: (_ladder(record, 1)["peak_bytes"] or math.nan) / 2**30,
    ),
)
"""Of issue 5; "in seconds" is taken as at most ten."""


def make_matrix(size: int, seed: int = 0) -> Tensor:
    """A square matrix in which neighbouring columns are alike, with noise of standard deviation 1 / size^.5."""
    generator = torch.Generator().manual_seed(seed)
    smooth = TriLevelHarmonicLinear(size, size, TERMS)
    with torch.no_grad():
        smooth.hw.copy_(torch.randn(smooth.hw.shape, generator=generator))
    noise = torch.randn(size, size, generator=generator)
    return (smooth.to_dense().detach() + noise) * size**-0.5


@torch.inference_mode()
def measured(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration, and what was found; `asked.batch` counts rows of x."""
    quick, place = asked.quick, asked.place
    size, batch, rounds = QUICK_SIZE if quick else SIZE, asked.batch or BATCH, asked.rounds or (3 if quick else 15)
    w = make_matrix(size)
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(1)).to(place)
    layers: dict[str, nn.Module] = {"dense": nn.Linear(size, size, bias=False, device=place)}
    layers["dense"].weight.copy_(w)
    fitting = {}
    for level in LEVELS:
        asked.say(f"the fit of {level}")
        before = time.perf_counter()
        layers[level] = RUNGS[level].from_dense(w, TERMS).to(place)
        fitting[level] = time.perf_counter() - before
    layers |= {name: make(size).to(place) for name, make in PARTS.items()}
    asked.say("forwards")
    steps = {name: lambda layer=layer: layer(x) for name, layer in layers.items()}
    taken = paired_seconds(steps, rounds, place)
    forms = {
        name: {"seconds": summary(taken[name]), "rounds": taken[name], "peak_bytes": peak_bytes(step, place)}
        for name, step in steps.items()
    }
    for name in (*LEVELS, *PARTS):
        forms[name] |= {
            "speed_up": ratio(taken["dense"], taken[name]),
            "stored": layers[name].compression_ratio().stored,
            "stored_bits": layers[name].stored_bits(),
            **({"fit_seconds": fitting[name]} if name in fitting else {}),
        }
    ladders = []
    for vocabulary in QUICK_VOCABULARIES if quick else VOCABULARIES:
        asked.say(f"the ladder on {vocabulary or 'all'} words")
        ladders.append(measure_apart(vocabulary, QUICK_COUNTED if quick else COUNTED))
    return {"size": size, "terms": TERMS, "batch": batch, "rounds": rounds}, {"forms": forms, "ladders": ladders}


def lines(record: dict[str, Any]) -> Iterator[str]:
    """The record as sentences."""
    settings = record["configuration"]
    what = f"{settings['size']} x {settings['size']}, batch {settings['batch']}"
    yield f"{machine_of(record)}, {what}, {record['command']}"
    for name, row in record["forms"].items():
        words = ""
        if "speed_up" in row:
            words = f", {row['speed_up']['median']:.1f} times as fast as dense, {row['stored']:,} numbers stored"
        yield f"forward, {name}: {row['seconds']['median'] * 1e3:.3f} ms{words}"
    for found in record["ladders"]:
        fits = ", ".join(f"{level} {seconds:.1f} s" for level, seconds in found["fit_seconds"].items())
        counts = ", ".join(f"window {window} {seconds:.1f} s" for window, seconds in found["counting_seconds"].items())
        yield f"{found['vocabulary']:,} words: counting {found['tokens']:,} tokens: {counts}; fitting: {fits}"
        if found["peak_bytes"] is not None:
            yield f"  at most {found['peak_bytes'] / 2**30:.2f} GiB in memory"


bench_gauge = partial(bench_chapter, "gauge", measured)
print_gauge = partial(print_chapter, lines=lines, aims=AIMS)
