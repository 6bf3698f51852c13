"""What every run shares: its description, its scales, and the training of several arms over several seeds.

A run compares arms (a model and its baselines) on one data set with one recipe. Arms take turns within each seed, so
that a machine that slows down slows all of them.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.errors import MobiusError
from mobius_lib.runs.provenance import describe_device, finite, provenance, write_json
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
    """0: nothing is trained, and the models are judged as their functions make them."""
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
        changes: numbers of `Scale` to change, for instance epochs=8.
    Returns:
        the record described in data/README.md.
    Raises:
        RunError: unknown scale, field, backend or device, a number below 1, or an output that cannot be written.
    """
    from mobius_lib.training import ResidentBatches
    from mobius_lib.waves import use_backend
    from mobius_lib.waves.lens import BACKENDS

    if scale not in run.scales:
        raise RunError(f"The run {run.name} has no scale {scale!r}; it has {', '.join(run.scales)}.")
    if seeds < 1:
        raise RunError(f"A run needs at least one seed, not {seeds}.")
    if backend not in BACKENDS:
        raise RunError(f"There is no backend {backend!r}; use {', '.join(BACKENDS)}.")
    changes = {key: value for key, value in changes.items() if value is not None}
    settings = _changed(run.scales[scale], changes)
    place = pick_device(device)
    if output is not None:
        _check_writable(output)  # now, and not after hours of training
    origin = provenance()  # now: the code on disk may be another one when the run has ended
    data = run.data()
    train = tuple(part.to(place) for part in seeded_subset(*data.train, settings.train_samples))
    test = tuple(part.to(place) for part in seeded_subset(*data.test, settings.test_samples))

    started = time.perf_counter()
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in run.arms}
    for seed in range(seeds):
        for name, make in run.arms.items():
            torch.manual_seed(seed)
            # channels last: the lens reads channels, so no copy is made between it and the convolutions
            model = use_backend(make(), backend).to(memory_format=torch.channels_last)
            validation = ResidentBatches(*test, 500, shuffle=False, seed=seed)
            if settings.epochs == 0:
                outcome = _judge(model, validation, place)
            else:
                outcome = _train(
                    run,
                    model,
                    ResidentBatches(*train, settings.batch_size, shuffle=True, seed=seed, augment=data.augment),
                    validation,
                    settings,
                    seed,
                    None if work is None else work / f"{name}-seed{seed}",
                    device=str(place),
                    config={"run": run.name, "scale": scale, "arm": name},
                    progress=progress,
                )
            arms[name].append(
                {
                    "seed": seed,
                    **outcome,
                    "parameters": sum(p.numel() for p in model.parameters()),
                    "lens_state": _learned(run, model, test[0][:READ_ROWS]),
                }
            )
    result = {
        "run": run.name,
        "scale": scale,
        "command": command(run, scale, seeds, changes, backend),
        "configuration": asdict(settings) | {"weight_decay": run.weight_decay, "backend": backend, "seeds": seeds},
        "device": describe_device(place),
        **origin,
        "data": dict(data.hashes),
        "wall_seconds": time.perf_counter() - started,
        "arms": arms,
        "cost": paired_steps(run.arms, train, settings.batch_size, place, backend) if settings.epochs else {},
    }
    if run.extra is not None:
        result["extra"] = run.extra(Data((train[0].cpu(), train[1].cpu()), (test[0].cpu(), test[1].cpu())))
    result = finite(result)
    if output is not None:
        try:
            write_json(output, result)
        except OSError as error:
            raise RunError(
                f"The result could not be written to {output} ({error.strerror}); make room or give another --output, "
                "and the same command writes it without training again."
            ) from error
    return result


def _train(
    run: Run,
    model: nn.Module,
    train: Any,
    validation: Any,
    settings: Scale,
    seed: int,
    folder: Path | None,
    **options: Any,
) -> dict[str, Any]:
    from mobius_lib.training import Recipe, fit

    recipe = Recipe(
        epochs=settings.epochs,
        lr=settings.lr,
        weight_decay=run.weight_decay,
        batch_size=settings.batch_size,
        seed=seed,
        save_every_n_epochs=max(1, settings.epochs // 10),  # a stop costs a tenth of an arm, and ten files are kept
    )
    outcome = fit(model, train, validation, recipe, folder, scalars=run.state, **options)
    kept = ("best_accuracy", "final_accuracy", "seconds", "skipped_batches", "history")
    return {name: getattr(outcome, name) for name in kept}


def _judge(model: nn.Module, validation: Any, place: torch.device) -> dict[str, Any]:
    from mobius_lib.training import evaluate

    started = time.perf_counter()
    _, accuracy = evaluate(model.to(place), validation, place)
    seconds = time.perf_counter() - started
    return {
        "best_accuracy": accuracy,
        "final_accuracy": accuracy,
        "seconds": seconds,
        "skipped_batches": 0,
        "history": [],
    }


def _changed(scale: Scale, changes: Mapping[str, Any]) -> Scale:
    numbers = [each.name for each in fields(Scale) if each.name != "note"]
    for name, value in changes.items():
        if name not in numbers:
            raise RunError(f"A scale has no setting {name!r}; it has {', '.join(numbers)}.")
        if name.endswith("samples") and value < 1:
            raise RunError(f"{name} must be at least 1, not {value}.")
    return replace(scale, **changes)


def _check_writable(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"The folder {output.parent} for the result cannot be made ({error.strerror}); give another --output."
        ) from error
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise RunError(f"The result cannot be written to {output}; give a file in a folder that you may write to.")


def _learned(run: Run, model: nn.Module, x: Tensor) -> dict[str, float]:
    return (run.state(model) if run.state else {}) | (run.readings(model, x) if run.readings else {})


def command(run: Run, scale: str, seeds: int, changes: Mapping[str, Any], backend: str = "eager") -> str:
    """The line that makes this result again, on whatever device there is."""
    options = {**changes, "backend": None if backend == "eager" else backend}
    given = "".join(f" --{key.replace('_', '-')} {value}" for key, value in options.items() if value is not None)
    return f"mobius run {run.name} --scale {scale} --seeds {seeds}{given}"


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU.

    Raises:
        RunError: an unknown device, or a GPU where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise RunError(f"There is no device {name!r}; use auto, cpu, cuda, or a numbered GPU such as cuda:1.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise RunError(f"The device {name!r} was asked for, but torch sees {there} GPUs here; use --device cpu.")
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
