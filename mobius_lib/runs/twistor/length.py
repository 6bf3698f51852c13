"""twistor-length: what longer texts cost, from 128 to 16,384 characters, and (full scale, GPU) what training costs.

Without gradients, batch 1, random characters and weights (`seconds_by_length`, `memory_by_length` of the whole text,
and the same of a character), each length timed several times in turn over the arms and the median taken:

    twistor      `TwistorHopeArchitecture`, the whole text at once
    scan         its form with gates from the input alone
    streaming    twistor in pieces of 128 characters with the state carried on, keeping nothing but the last logits
    attention    the same embedding and head around as many layers of `IncidenceAttention` as twistor has of recurrence
    transformer  `TransformerModel` of as many parameters as twistor, with torch's fused attention, which never holds
                 the whole matrix of scores; all of the text in its window

Memory is the most that tensors take at once beside the weights (`peak.peak_bytes`), in bytes; MB are 2^20 of them. An
arm that would take more than `LIMIT` at a length, by the square of what it took at half of it, is not run there: null.

At full scale also the presets of the README's table, both directions where it says so, in training steps of 4 x 32
tokens of 1,000 as in its author's test of speed: `training_memory_mb`, the most that weights, gradients, AdamW's
moments and activations take at once; `forward_ms` and `step_ms`, medians. "recommended, mixed" computes in half
precision, with its loss scaled, on a GPU.
"""

import statistics
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.base import Data, Run, nothing, sized
from mobius_lib.runs.peak import peak_bytes
from mobius_lib.runs.timing import in_turn
from mobius_lib.runs.twistor import ABOUT
from mobius_lib.runs.twistor.models import equal_transformer
from mobius_lib.runs.twistor.text import count
from mobius_lib.twistor import (
    PRESETS,
    IncidenceAttention,
    SpinorEmbedding,
    TwistorConfig,
    TwistorHopeArchitecture,
    create_full_config,
)

LIMIT = 4 * 2**30
"""Bytes."""
MB = 2**20
STREAMED = 128
"""Characters of a piece of the streaming arm."""
LENGTH_ARMS = ("twistor", "scan", "streaming", "attention", "transformer")
MIXED = "recommended, mixed"
VOCABULARY = 66
"""Of the lengths: as many characters as the King James Bible has."""
TABLE_VOCABULARY, TABLE_BATCH, TABLE_LENGTH = 1000, 4, 32


@dataclass(frozen=True)
class Sizes:
    """How large a scale is."""

    lengths: tuple[int, ...]
    rounds: int
    dim: int = 48
    """Of each of omega and pi, as twistor-text at the same scale."""
    levels: int = 3
    presets: tuple[str, ...] = ()
    """Whose training is measured as well."""


DOUBLING = tuple(128 * 2**n for n in range(8))
SIZES = {
    "quick": Sizes((128, 256, 512), 2, dim=8, levels=2),
    "short": Sizes(DOUBLING, 3),
    "full": Sizes(DOUBLING, 5, dim=128, levels=5, presets=(*PRESETS, MIXED)),
}


class IncidenceModel(nn.Module):
    """The twistor's embedding and head around layers of incidence attention, each added to what came in."""

    def __init__(self, config: TwistorConfig) -> None:
        super().__init__()
        width = 2 * config.dim
        self.embedding = SpinorEmbedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(IncidenceAttention(width) for _ in range(config.num_recurrent_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.num_recurrent_layers))
        self.head = nn.Linear(width, config.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))
        return self.head(x)


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm; of the seed come weights and tokens."""
    device = data.train[0].device
    records = _lengths(sizes, seed, device)
    for name in sizes.presets:
        records[name] = _training(name, seed, sizes.rounds, device)
    return records


def make_models(sizes: Sizes) -> dict[str, nn.Module]:
    """The models of the lengths; streaming is twistor's."""
    config = create_full_config(
        "small", VOCABULARY, bidirectional=False, dropout=0.0, dim=sizes.dim, num_nested_levels=sizes.levels
    )
    ours = TwistorHopeArchitecture(config)
    return {
        "twistor": ours,
        "scan": TwistorHopeArchitecture(config, form="scan"),
        "streaming": ours,
        "attention": IncidenceModel(config),
        "transformer": equal_transformer(count(ours), VOCABULARY, sizes.lengths[0]),
    }


def _lengths(sizes: Sizes, seed: int, device: torch.device) -> dict[str, dict[str, Any]]:
    torch.manual_seed(seed)
    models = {name: model.to(device).eval() for name, model in make_models(sizes).items()}
    transformer = models["transformer"]
    seconds: dict[str, dict[str, float | None]] = {name: {} for name in models}
    memory: dict[str, dict[str, int | None]] = {name: {} for name in models}
    before: dict[str, int | None] = dict.fromkeys(models, 0)
    for n in sizes.lengths:
        tokens = torch.randint(VOCABULARY, (1, n)).to(device)
        transformer.window = n  # type: ignore[assignment]  # its table of positions grows with it, and is not counted
        transformer.position = nn.Parameter(torch.randn(n, transformer.position.shape[1], device=device) * 0.02)
        works = {
            name: partial(_stream if name == "streaming" else _whole, model, tokens)
            for name, model in models.items()
            if before[name] is not None and 4 * before[name] <= LIMIT  # nothing here grows faster than with the square
        }
        taken = in_turn(works, sizes.rounds, device)
        for name in models:
            before[name] = memory[name][str(n)] = peak_bytes(works[name], device) if name in works else None
            seconds[name][str(n)] = statistics.median(taken[name]) if name in works else None
    return {
        name: {
            "parameters": count(models[name]) if name != "transformer" else _without_positions(transformer),
            "seconds_by_length": seconds[name],
            "memory_by_length": memory[name],
            "seconds_per_character": _each(seconds[name]),
            "memory_per_character": _each(memory[name]),
        }
        for name in models
    }


def _without_positions(model: nn.Module) -> int:
    return count(model) - model.position.numel()


def _each(table: dict[str, Any]) -> dict[str, float | None]:
    return {n: None if value is None else value / int(n) for n, value in table.items()}


@torch.inference_mode()
def _whole(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens)


@torch.inference_mode()
def _stream(model: TwistorHopeArchitecture, tokens: Tensor) -> Tensor:
    state = None
    for piece in tokens.split(STREAMED, dim=1):
        logits, state = model.stream(piece, state)
    return logits


def _training(name: str, seed: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """What a preset takes to train."""
    preset, mixed = name.removesuffix(", mixed"), name == MIXED

    def start() -> tuple[TwistorHopeArchitecture, Tensor, Callable[[], None]]:
        torch.manual_seed(seed)
        model = TwistorHopeArchitecture(create_full_config(preset, TABLE_VOCABULARY)).to(device)
        x, y = torch.randint(TABLE_VOCABULARY, (2, TABLE_BATCH, TABLE_LENGTH), device=device)
        step = _step_of(model, x, y, mixed)
        for _ in range(2):  # AdamW makes its moments in the first; both are held in the second
            step()
        return model, x, step

    model, x, step = start()
    step_seconds = in_turn({name: step}, rounds, device)[name]
    forward_seconds = in_turn({name: partial(_forward, model.eval(), x, mixed)}, rounds, device)[name]
    parameters = count(model)
    del model, step
    return {
        "parameters": parameters,
        "training_memory_mb": peak_bytes(start, device) / MB,
        "step_ms": 1e3 * statistics.median(step_seconds),
        "forward_ms": 1e3 * statistics.median(forward_seconds),
    }


def _autocast(device: torch.device, mixed: bool) -> Any:
    if not mixed:
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16)


@torch.inference_mode()
def _forward(model: nn.Module, x: Tensor, mixed: bool) -> Tensor:
    with _autocast(x.device, mixed):
        return model(x)


def _step_of(model: TwistorHopeArchitecture, x: Tensor, y: Tensor, mixed: bool) -> Callable[[], None]:
    """A training step; the presets that read both ways are no language models, so not through `loss`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    scaler = torch.amp.GradScaler(x.device.type, enabled=mixed and x.device.type == "cuda")
    model.scaled_by(scaler)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(x.device, mixed):
            features, constraint, _ = model.features(x)
            logits = model.head(features)
        cross_entropy = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())
        scaler.scale(cross_entropy + model.config.constraint_weight * constraint).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Parameters of the models, and the memory that the two shortest texts take."""
    sizes = run.compute.keywords["sizes"]
    found = _lengths(replace(sizes, lengths=sizes.lengths[:2], rounds=1), 0, data.train[0].device)
    memory = {f"{name}/memory_by_length/{n}": found[name]["memory_by_length"][str(n)]
              for name in found for n in sizes.lengths[:2]}  # fmt: skip
    return memory | {f"{name}/parameters": row["parameters"] for name, row in found.items()}


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": dict.fromkeys((*LENGTH_ARMS, *sizes.presets), make_models),
        "data": nothing,
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": lambda: {"sizes": asdict(sizes), "limit_bytes": LIMIT},
        "cell": cell,
        "on_any_device": True,
    }


RUN = sized(ABOUT["twistor-length"], fields, SIZES)
