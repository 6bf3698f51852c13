"""What every run shares: its description, its scales, and the training of several arms over several seeds.

A run compares arms (a model and its baselines) on one data set with one recipe. Arms take turns within each seed, so
that a machine that slows down slows all of them.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.errors import MobiusError
from mobius_lib.runs.provenance import describe_device, provenance, write_json
from mobius_lib.runs.timing import paired_steps

READ_ROWS = 500
"""Test rows on which a trained model's `readings` are taken."""


class RunError(MobiusError):
    """A run, a scale or a setting that does not exist."""


@dataclass(frozen=True)
class Data:
    """A data set in memory, and the hashes of the files it came from."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    hashes: Mapping[str, str] = field(default_factory=dict)
    augment: Callable[[Tensor], Tensor] | None = None
    """Applied to each training batch; draws from torch's global generator. None: batches are used as they are."""


@dataclass(frozen=True)
class Scale:
    """How much of a run is done."""

    epochs: int
    batch_size: int
    lr: float
    train_samples: int | None = None
    """The first so many rows of the training set, which is shuffled first with seed 0; None: all."""
    test_samples: int | None = None
    note: str = ""
    """What to expect: minutes and machine."""


@dataclass(frozen=True)
class Run:
    """A reproduction: what is trained on what, and how."""

    name: str
    chapter: int
    summary: str
    arms: Mapping[str, Callable[[], nn.Module]]
    """Name to a function that makes a fresh model."""
    data: Callable[[], Data]
    scales: Mapping[str, Scale]
    weight_decay: float = 0.05
    state: Callable[[nn.Module], dict[str, float]] | None = None
    """Scalars of a model that are worth keeping, for instance what its lenses learned."""
    readings: Callable[[nn.Module, Tensor], dict[str, float]] | None = None
    """Further scalars, read off while the trained model looks at test rows."""
    extra: Callable[[Data], dict[str, Any]] | None = None
    """Further baselines that are not trained by gradient steps."""


def seeded_subset(x: Tensor, y: Tensor, samples: int | None) -> tuple[Tensor, Tensor]:
    """The first `samples` rows after a shuffle with seed 0, the same rows on every machine."""
    if samples is None or samples >= len(x):
        return x, y
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:samples]
    return x[order], y[order]


def execute(
    run: Run,
    scale: str = "quick",
    *,
    seeds: int = 1,
    device: str = "auto",
    output: Path | None = None,
    work: Path | None = None,
    progress: bool = True,
    backend: str = "eager",
    **changes: Any,
) -> dict[str, Any]:
    """Train every arm of a run with every seed, and return (and write) the result with its provenance.

    Args:
        run: what to do.
        scale: a name in `run.scales`.
        seeds: how many; they are 0, 1, ….
        device: "auto", "cpu", "cuda", "cuda:1".
        output: the result file; None writes none.
        work: folder of the checkpoints, one below it per arm and seed. A second call continues what was interrupted
            and skips what is finished. None keeps nothing.
        progress: show a progress bar.
        backend: how lenses compute; the numbers are the same.
        changes: fields of `Scale` to change, for instance epochs=8.
    Returns:
        the record described in data/README.md.
    Raises:
        RunError: unknown scale or field, or seeds below 1.
    """
    from mobius_lib.training import Recipe, ResidentBatches, fit
    from mobius_lib.waves import use_backend

    if scale not in run.scales:
        raise RunError(f"The run {run.name} has no scale {scale!r}; it has {', '.join(run.scales)}.")
    if seeds < 1:
        raise RunError(f"A run needs at least one seed, not {seeds}.")
    try:
        settings = replace(run.scales[scale], **{key: value for key, value in changes.items() if value is not None})
    except TypeError as error:
        raise RunError(f"A scale of {run.name} has no such setting ({error}).") from error
    place = pick_device(device)
    data = run.data()
    train = tuple(part.to(place) for part in seeded_subset(*data.train, settings.train_samples))
    test = tuple(part.to(place) for part in seeded_subset(*data.test, settings.test_samples))

    started = time.perf_counter()
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in run.arms}
    for seed in range(seeds):
        for name, make in run.arms.items():
            recipe = Recipe(
                epochs=settings.epochs,
                lr=settings.lr,
                weight_decay=run.weight_decay,
                batch_size=settings.batch_size,
                seed=seed,
            )
            torch.manual_seed(seed)
            # channels last: the lens reads channels, so no copy is made between it and the convolutions
            model = use_backend(make(), backend).to(memory_format=torch.channels_last)
            outcome = fit(
                model,
                ResidentBatches(*train, settings.batch_size, shuffle=True, seed=seed, augment=data.augment),
                ResidentBatches(*test, 500, shuffle=False, seed=seed),
                recipe,
                None if work is None else work / f"{name}-seed{seed}",
                device=str(place),
                config={"run": run.name, "scale": scale, "arm": name},
                scalars=run.state,
                progress=progress,
            )
            arms[name].append(
                {
                    "seed": seed,
                    "best_accuracy": outcome.best_accuracy,
                    "final_accuracy": outcome.final_accuracy,
                    "parameters": sum(p.numel() for p in model.parameters()),
                    "seconds": outcome.seconds,
                    "skipped_batches": outcome.skipped_batches,
                    "history": outcome.history,
                    "lens_state": _learned(run, model, test[0][:READ_ROWS]),
                }
            )
    result = {
        "run": run.name,
        "scale": scale,
        "command": command(run, scale, seeds, changes),
        "configuration": asdict(settings) | {"weight_decay": run.weight_decay, "backend": backend, "seeds": seeds},
        "device": describe_device(place),
        **provenance(),
        "data": dict(data.hashes),
        "wall_seconds": time.perf_counter() - started,
        "arms": arms,
        "cost": paired_steps(run.arms, train, settings.batch_size, place, backend),
    }
    if run.extra is not None:
        result["extra"] = run.extra(Data((train[0].cpu(), train[1].cpu()), (test[0].cpu(), test[1].cpu())))
    if output is not None:
        write_json(output, result)
    return result


def _learned(run: Run, model: nn.Module, x: Tensor) -> dict[str, float]:
    return (run.state(model) if run.state else {}) | (run.readings(model, x) if run.readings else {})


def command(run: Run, scale: str, seeds: int, changes: Mapping[str, Any]) -> str:
    """The line that makes this result again."""
    options = "".join(f" --{k.replace('_', '-')} {v}" for k, v in changes.items() if v is not None)
    return f"mobius run {run.name} --scale {scale} --seeds {seeds}{options}"


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU.

    Raises:
        RunError: an unknown device, or a GPU where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RunError(f"There is no device {name!r}; use auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"The device {name!r} was asked for, but torch sees no GPU here; use --device cpu.")
    return device


def load_result(path: Path) -> dict[str, Any]:
    """A result file as `execute` wrote it.

    Raises:
        RunError: when it is missing or not a result.
    """
    try:
        result = json.loads(path.read_text())
        result["arms"]  # the one part that every reader needs
        return result
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a result file ({error}); make it with: mobius run NAME") from error
