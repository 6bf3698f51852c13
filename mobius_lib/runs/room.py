"""What a large run takes of this machine, told and compared with what is free before anything of it is done.

What is known without trying is counted: the rows as they are announced, weights, gradients and the optimiser's two
moments, and the checkpoints. What a batch takes besides, no formula here says, so every figure is "at least". Hours are
not guessed: `execute` tells them by a step of each model, when the data are here, and the first epoch more exactly.
"""

import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mobius_lib.runs.about import RunError, Scale

if TYPE_CHECKING:
    from mobius_lib.runs.base import Run

TRAINED = 16
"""Bytes of a parameter while it is trained: itself, its gradient, and two moments of float32."""


@dataclass(frozen=True)
class Needs:
    """Bytes of a run's data before they are here."""

    train: int
    test: int
    to_write: int = 0
    """Of both, what loading will write into the cache."""
    mapped: bool = False
    """Whether they stay on the disk, and memory holds what is looked at."""


def published_needs(configuration: str, settings: Scale, **columns: str | None) -> Needs:
    """Of ImageNet's published features; a part of the rows to train on is drawn into memory."""
    from mobius_lib.datasets.feature_files import published_bytes

    train, train_missing = published_bytes("train", configuration, settings.train_samples, **columns)
    test, test_missing = published_bytes("validation", configuration, settings.test_samples, **columns)
    return Needs(train, test, train_missing + test_missing, mapped=settings.train_samples is None)


def check_machine(
    run: "Run", settings: Scale, seeds: int, place: torch.device, work: Path | None, only: Collection[str] = ()
) -> None:
    """Says what the run takes, and refuses where that is not there; nothing for a run that announces nothing.

    Args:
        run, settings, seeds, place, work, only: as in `execute`, which is about to begin.
    Raises:
        RunError: too little disk; DataError: too little memory, or no room in the cache.
    """
    if run.needs is None or not settings.epochs:
        return
    from mobius_lib.datasets.paths import available_memory, check_memory
    from mobius_lib.datasets.store import check_room, feature_cache

    if only:
        run = replace(run, arms={name: run.arms[name] for name in only})
    needs, sizes = run.needs(settings), _parameters(run)  # type: ignore[misc]  # there are some
    on_gpu = place.type == "cuda"
    memory = TRAINED * max(sizes.values()) + (0 if needs.mapped or on_gpu else needs.train + needs.test)
    disk = 0 if work is None else max(0, _checkpoints(run, sizes, seeds) - _there(work))
    if on_gpu:
        free_there, _ = torch.cuda.mem_get_info(place)
        where = f"{_gb(TRAINED * max(sizes.values()))} of the GPU's memory ({_gb(free_there)} are free)"
    else:
        free = available_memory()
        where = f"{_gb(memory)} of memory" + ("" if free is None else f" ({_gb(free)} are free)")
    told = f"{run.name} takes at least {where}, {_gb(needs.to_write)} of disk for data that are not here yet"
    if work is not None:
        told += f" and {_gb(disk)} for checkpoints in {work} ({_gb(_free(work))} are free)"
    print(f"{told}; how long, it says when they are here.", file=sys.stderr)
    if not on_gpu:
        check_memory(memory, f"Model and rows of {run.name}")
    elif free_there < TRAINED * max(sizes.values()):
        raise RunError(f"{run.name} takes at least {where}; end what else runs on it, or use --device cpu.")
    if needs.to_write:
        check_room(feature_cache() / run.name, needs.to_write)
    if work is not None:
        shared = needs.to_write if needs.to_write and _disk(work) == _disk(feature_cache()) else 0
        if _free(work) < disk + shared:
            also = f" beside {_gb(shared)} of data on the same disk" if shared else ""
            raise RunError(
                f"The checkpoints of {run.name} take {_gb(disk)} in {work}{also}, and {_gb(_free(work))} are free; "
                "make room there, name another folder by --work, or train fewer seeds."
            )


def _parameters(run: "Run") -> dict[str, int]:
    """Of each arm; the caller's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return {name: sum(p.numel() for p in make().parameters()) for name, make in run.arms.items()}


def _checkpoints(run: "Run", sizes: dict[str, int], seeds: int) -> int:
    """Bytes on the disk at the worst moment: the largest training is the last, and just ending."""
    from mobius_lib.training.checkpoint import KEEP

    trainings = {name: seeds + (len(rates) if len(rates := getattr(arm, "rates", ())) > 1 else 0)
                 for name, arm in run.arms.items()}  # fmt: skip
    ended = sum(2 * sizes[name] * number for name, number in trainings.items())  # the best and the last weights
    return 4 * (ended + 3 * KEEP * max(sizes.values()))  # the numbered ones hold the moments too


def _there(work: Path) -> int:
    """What earlier calls have left."""
    return sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) if work.is_dir() else 0


def _above(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return folder if folder.exists() else _above(folder.parent)


def _free(folder: Path) -> int:
    return shutil.disk_usage(_above(folder)).free


def _disk(folder: Path) -> int:
    return _above(folder).stat().st_dev


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
