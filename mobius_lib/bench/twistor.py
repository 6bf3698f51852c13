"""What the twistor recurrence costs (`mobius bench --what twistor`): training tokens a second, beside an LSTM.

A training step (forward, backward, AdamW) on the same tokens, taken in turn:

    ours     TwistorHopeArchitecture, its recurrence in the fastest form of the library
    torch    the same, but that its products are torch's own, and not oneDNN's (`mobius_lib.products`)
    plain    the same model and weights, its recurrence as a loop over `TwistorTitansCell`, step by step
    scan     the form whose gates depend on the input alone, of the same sizes
    lstm     embedding, two layers of `nn.LSTM`, and a head, as wide as makes its parameters those of ours
    and ours with each part that is off by default (`PARTS`)

Then a piece of a text after a piece before it, in evaluation, with the parts that then do something (`READING`); and
the time and memory of a forward pass over longer and longer sequences, beside incidence attention.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.bench.base import Aim, Asked, bench_chapter, machine_of, print_chapter
from mobius_lib.bench.measure import Step, paired_seconds, peak_bytes, ratio, summary, training
from mobius_lib.products import by_torch
from mobius_lib.runs.twistor.models import equal_recurrent
from mobius_lib.twistor import (
    IncidenceAttention,
    TwistorHopeArchitecture,
    TwistorTitansRecurrent,
    create_full_config,
)

ARMS = ("ours", "torch", "plain", "scan", "lstm")
PARTS: dict[str, dict[str, Any]] = {
    "self-modifying": {"continuum_levels": 1},
    "continuum": {"continuum_levels": 3},
    "uncoupled": {"coupled": False},
    "slots in 8 bits": {"slot_bits": 8},
}
"""What is added to ours, and by which settings."""
READING = {
    **{name: (name, True) for name in ("ours", "self-modifying", "continuum", "slots in 8 bits")},
    "self-modifying, frozen": ("self-modifying", False),
    "continuum, frozen": ("continuum", False),
}
"""Name to the arm, and whether the memory that changes while it reads may do so."""
PRESET, SEQUENCE, BATCH = "small", 128, 16
LENGTHS = (128, 256, 512, 1024, 2048, 4096)

AIMS = (
    Aim("time of the plain loop over ours", 4.0, False, lambda record: record["steps"]["over_ours"]["plain"]["median"]),
    Aim(
        "time of ours over that of the LSTM",
        3.0,
        True,
        lambda record: 1 / record["steps"]["over_ours"]["lstm"]["median"],
    ),
    Aim(
        "time of the scan form over that of the LSTM",
        1.0,
        True,
        lambda record: record["steps"]["over_ours"]["scan"]["median"] / record["steps"]["over_ours"]["lstm"]["median"],
    ),
)


class PlainRecurrent(TwistorTitansRecurrent):
    """The recurrence as one would write it down: the cell called at each step."""

    def _run(self, cell: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        made = []
        for step in x.unbind(0):
            hidden, state = cell(step, state)
            made.append(hidden)
        return torch.stack(made), state


def equal_lstm(parameters: int, vocab_size: int, dim: int) -> nn.Module:
    """Two layers of LSTM with an embedding and a head: the one whose number of parameters is nearest to a given one."""
    return equal_recurrent("lstm", parameters, vocab_size, dim)


def make_model(arm: str, device: torch.device) -> nn.Module:
    """The model of an arm; ours, torch and plain start from the same weights."""
    torch.manual_seed(0)
    config = create_full_config(PRESET, bidirectional=False, dropout=0.0)
    settings = {"form": "scan"} if arm == "scan" else PARTS.get(arm, {})
    model = TwistorHopeArchitecture(config, **settings)
    if arm == "plain":
        model.self_modifying.recurrent.__class__ = PlainRecurrent
    if arm == "lstm":
        model = equal_lstm(sum(p.numel() for p in model.parameters()), config.vocab_size, 2 * config.dim)
    return model.to(device).train()


def make_step(arm: str, batch: int, sequence: int, device: torch.device) -> Step:
    """A training step of one arm; it returns the loss."""
    model = make_model(arm, device)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1000, (batch, sequence + 1), generator=generator).to(device)
    x, y = tokens[:, :-1], tokens[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def loss() -> Tensor:
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten()) if arm == "lstm" else model.loss(x, y)[0]

    once = training(loss, optimizer)

    def step() -> tuple[Tensor, ...]:
        with by_torch() if arm == "torch" else nullcontext():
            return once()

    return step


def measured(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration, and what was found; `asked.batch` counts sequences a step."""
    quick, place = asked.quick, asked.place
    batch, sequence = asked.batch or (2 if quick else BATCH), 8 if quick else SEQUENCE
    rounds, lengths = asked.rounds or (2 if quick else 9), (8, 16) if quick else LENGTHS
    asked.say("training steps")
    steps = _steps(batch, sequence, rounds, place)
    asked.say("reading")
    reading = _reading(batch, sequence, rounds, place)
    asked.say("longer sequences")
    length = _lengths(lengths, 1 if quick else 3, place)
    config = create_full_config(PRESET, bidirectional=False)
    sizes = {"preset": PRESET, "batch": batch, "sequence": sequence, "rounds": rounds}
    return asdict(config) | sizes, {"steps": steps, "reading": reading, "lengths": length}


def lines(record: dict[str, Any]) -> Iterator[str]:
    """The record as sentences."""
    yield f"{machine_of(record)}, {record['command']}"
    for arm, row in record["steps"]["arms"].items():
        milliseconds = row["seconds"]["median"] * 1e3
        yield (
            f"{arm}: {row['parameters']:,} parameters, {milliseconds:,.0f} ms a step, "
            f"{row['tokens_per_second']:,.0f} tokens a second, {row['peak_bytes'] / 2**20:,.0f} MiB"
        )
    for name, row in record.get("reading", {}).items():  # older records have none
        times = f", {row['over_ours']['median']:.2f} times ours" if "over_ours" in row else ""
        yield f"reading, {name}: {row['seconds']['median'] * 1e3:,.1f} ms a piece{times}"
    for arm, found in record["lengths"]["arms"].items():
        each = ", ".join(
            f"{n}: {1e6 * row['seconds_per_token']:.1f} us, {row['bytes_per_token'] / 1024:.1f} KiB"
            for n, row in found.items()
        )
        yield f"a token of a longer sequence, {arm}: {each}"


bench_twistor = partial(bench_chapter, "twistor", measured)
print_twistor = partial(print_chapter, lines=lines, aims=AIMS)


def _steps(batch: int, sequence: int, rounds: int, device: torch.device) -> dict[str, Any]:
    steps = {arm: make_step(arm, batch, sequence, device) for arm in (*ARMS, *PARTS)}
    taken = paired_seconds(steps, rounds, device, warmup=1)
    arms = {}
    for arm, step in steps.items():
        seconds = summary(taken[arm])
        arms[arm] = {
            "parameters": sum(p.numel() for p in make_model(arm, torch.device("cpu")).parameters()),
            "seconds": seconds,
            "rounds": taken[arm],
            "tokens_per_second": batch * sequence / seconds["median"],
            "peak_bytes": peak_bytes(step, device),
        }
    return {"arms": arms, "over_ours": {arm: ratio(taken[arm], taken["ours"]) for arm in steps if arm != "ours"}}


def _reading(batch: int, sequence: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds of a piece of a text after a piece before it, in turn."""
    tokens = torch.randint(1000, (batch, sequence), generator=torch.Generator().manual_seed(1)).to(device)
    steps = {name: _going_on(make_model(arm, device), tokens, live) for name, (arm, live) in READING.items()}
    taken = paired_seconds(steps, rounds, device, warmup=1)
    return {
        name: {"seconds": summary(each), "rounds": each}
        | ({} if name == "ours" else {"over_ours": ratio(each, taken["ours"])})
        for name, each in taken.items()
    }


def _going_on(model: Any, tokens: Tensor, live: bool) -> Callable[[], None]:
    model.eval()
    if model.continuum is not None:
        model.continuum.live = live
    with torch.inference_mode():
        _, state = model.stream(tokens)

    def step() -> None:
        with torch.inference_mode():
            model.stream(tokens, state)

    return step


def _lengths(lengths: tuple[int, ...], rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds and bytes per step of a forward pass over one sequence, for the recurrence and for attention."""
    width = 2 * create_full_config(PRESET).dim
    torch.manual_seed(0)
    layers = {
        "recurrent": TwistorTitansRecurrent(width, num_layers=1),
        "scan": TwistorTitansRecurrent(width, num_layers=1, form="scan"),
        "attention": IncidenceAttention(width),
    }
    arms: dict[str, dict[str, Any]] = {name: {} for name in layers}
    for length in lengths:
        x = torch.randn(1, length, width, device=device)
        steps = {name: _forward(layer.to(device).eval(), x) for name, layer in layers.items()}
        taken = paired_seconds(steps, rounds, device, warmup=1)
        for name, step in steps.items():
            seconds = summary(taken[name])["median"]
            size = peak_bytes(step, device)
            arms[name][str(length)] = {"seconds_per_token": seconds / length, "bytes_per_token": size / length}
    return {"width": width, "arms": arms}


def _forward(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.inference_mode():
            layer(x)

    return step
