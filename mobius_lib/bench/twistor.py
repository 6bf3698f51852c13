"""What the twistor recurrence costs (`mobius bench --what twistor`): training tokens a second, beside an LSTM.

A training step (forward, backward, AdamW) on the same tokens, taken in turn:

    ours     TwistorHopeArchitecture, its recurrence in the fastest form of the library
    torch    the same, but that its products are torch's own, and not oneDNN's (`mobius_lib.products`)
    plain    the same model and weights, its recurrence as a loop over `TwistorTitansCell`, step by step
    scan     the form whose gates depend on the input alone, of the same sizes
    lstm     embedding, two layers of `nn.LSTM`, and a head, as wide as makes its parameters those of ours
    and ours with each part that is off by default (`PARTS`)

and the time and memory of a forward pass over longer and longer sequences, beside incidence attention.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.bench.base import Aim, Recorder, check, machine_of, on_threads
from mobius_lib.bench.measure import paired_seconds, peak_bytes, ratio, summary
from mobius_lib.products import by_torch
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.twistor.models import equal_recurrent
from mobius_lib.twistor import (
    IncidenceAttention,
    TwistorHopeArchitecture,
    TwistorTitansRecurrent,
    create_full_config,
)

if TYPE_CHECKING:
    from rich.console import Console

ARMS = ("ours", "torch", "plain", "scan", "lstm")
PARTS: dict[str, dict[str, Any]] = {
    "self-modifying": {"continuum_levels": 1},
    "continuum": {"continuum_levels": 3},
    "uncoupled": {"coupled": False},
    "slots in 8 bits": {"slot_bits": 8},
}
"""What is added to ours, and by which settings."""
SEQUENCE, BATCH = 128, 16
LENGTHS = (128, 256, 512, 1024, 2048, 4096)

Step = Callable[[], tuple[Tensor, ...]]


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


def make_model(arm: str, preset: str, device: torch.device) -> nn.Module:
    """The model of an arm; ours, torch and plain start from the same weights."""
    torch.manual_seed(0)
    config = create_full_config(preset, bidirectional=False, dropout=0.0)
    settings = {"form": "scan"} if arm == "scan" else PARTS.get(arm, {})
    model = TwistorHopeArchitecture(config, **settings)
    if arm == "plain":
        model.self_modifying.recurrent.__class__ = PlainRecurrent
    if arm == "lstm":
        model = equal_lstm(sum(p.numel() for p in model.parameters()), config.vocab_size, 2 * config.dim)
    return model.to(device).train()


def make_step(arm: str, preset: str, batch: int, sequence: int, device: torch.device) -> Step:
    """A training step of one arm; it returns the loss."""
    model = make_model(arm, preset, device)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1000, (batch, sequence + 1), generator=generator).to(device)
    x, y = tokens[:, :-1], tokens[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> tuple[Tensor, ...]:
        with by_torch() if arm == "torch" else nullcontext():
            return once()

    def once() -> tuple[Tensor, ...]:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten()) if arm == "lstm" else model.loss(x, y)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # last, so that a step leaves nothing that the next one gives back
        return (loss.detach(),)

    return step


def bench_twistor(
    device: str = "auto",
    *,
    preset: str = "small",
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
        preset: of `create_full_config`; it is read in one direction.
        batch: sequences a step; 16.
        threads: of torch on a CPU; None leaves them.
        quick: short sequences, to see that everything runs. Its figures say nothing.
        rounds: how often each arm is timed.
        output: where the record is written; None writes none.
        say: told what is being measured.
    Raises:
        BenchError: for a number below 1, or a file that cannot be written.
    """
    place = pick_device(device)
    asked = {"batch": batch, "threads": threads, "rounds": rounds}
    check(asked, output)
    batch, sequence = batch or (2 if quick else BATCH), 8 if quick else SEQUENCE
    rounds, lengths = rounds or (2 if quick else 9), (8, 16) if quick else LENGTHS
    recorder = Recorder("twistor", place, device, quick, asked)
    with on_threads(threads):
        say("training steps")
        steps = _steps(preset, batch, sequence, rounds, place)
        say("longer sequences")
        length = _lengths(preset, lengths, 1 if quick else 3, place)
        config = create_full_config(preset, bidirectional=False)
        sizes = {"preset": preset, "batch": batch, "sequence": sequence, "rounds": rounds, "quick": quick}
        return recorder.finish(asdict(config) | sizes, output, steps=steps, lengths=length)


def print_twistor(console: "Console", record: dict[str, Any]) -> None:
    """The record as sentences, and beside the aims."""

    def say(text: str) -> None:
        console.print(text, highlight=False)

    say(f"{machine_of(record)}, {record['command']}")
    for arm, row in record["steps"]["arms"].items():
        milliseconds = row["seconds"]["median"] * 1e3
        say(
            f"{arm}: {row['parameters']:,} parameters, {milliseconds:,.0f} ms a step, "
            f"{row['tokens_per_second']:,.0f} tokens a second, {row['peak_bytes'] / 2**20:,.0f} MiB"
        )
    for arm, found in record["lengths"]["arms"].items():
        each = ", ".join(
            f"{n}: {1e6 * row['seconds_per_token']:.1f} us, {row['bytes_per_token'] / 1024:.1f} KiB"
            for n, row in found.items()
        )
        say(f"a token of a longer sequence, {arm}: {each}")
    if not record["configuration"]["quick"]:
        for aim in AIMS:
            say(aim.words(record))


def _steps(preset: str, batch: int, sequence: int, rounds: int, device: torch.device) -> dict[str, Any]:
    steps = {arm: make_step(arm, preset, batch, sequence, device) for arm in (*ARMS, *PARTS)}
    taken = paired_seconds(steps, rounds, device, warmup=1)
    arms = {}
    for arm, step in steps.items():
        seconds = summary(taken[arm])
        arms[arm] = {
            "parameters": sum(p.numel() for p in make_model(arm, preset, torch.device("cpu")).parameters()),
            "seconds": seconds,
            "rounds": taken[arm],
            "tokens_per_second": batch * sequence / seconds["median"],
            "peak_bytes": peak_bytes(step, device),
        }
    return {"arms": arms, "over_ours": {arm: ratio(taken[arm], taken["ours"]) for arm in steps if arm != "ours"}}


def _lengths(preset: str, lengths: tuple[int, ...], rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds and bytes per step of a forward pass over one sequence, for the recurrence and for attention."""
    width = 2 * create_full_config(preset).dim
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
