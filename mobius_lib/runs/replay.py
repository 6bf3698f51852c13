"""What of a record is computed again when it is verified: seconds of work that reach the code by which it was made.

A run that trains repeats the first steps of every arm with seed 0, and keeps their losses. A run that computes has a
`cell`: a few numbers of seed 0, from scratch. A number that is named by its place in the record, such
as "L2/relative_error", is compared with what stands there; any other is kept beside it, as losses are.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.trainer import Trainer, _judge

STEPS = 20
Numbers = dict[str, list[float]]
"""Arm or place to what was computed."""


class Enough(Exception):
    """All that was asked for has been seen: the training need not go on."""


class _Watched:
    """An arm's objective that keeps the losses of its first calls, and ends the training at the one after them."""

    def __init__(self, objective: Any, steps: int) -> None:
        self.objective, self.steps = objective, steps
        self.losses: list[float] = []
        self.rows: list[int] = []

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.losses) == self.steps:
            raise Enough
        if self.objective is None:
            logits = model(x)
            loss = F.cross_entropy(logits.float(), y)
        else:
            loss, logits = self.objective(model, x, y)
        self.losses.append(loss.item())
        self.rows.append(len(y))
        return loss, logits


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def replay(
    run: Run,
    scale: str,
    settings: Scale,
    data: Data,
    rows: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    *,
    epoch: bool = False,
    shaken: int | None = None,
) -> Numbers:
    """The numbers of a run that are cheap to compute again; none where published weights are judged, which is all work.

    On one thread, whatever the caller has: with more of them sums are taken in another order.

    Args:
        run: at the scale.
        scale, settings, data, device: as they are trained by.
        rows: arm to its record with seed 0, for the learning rate that was chosen.
        epoch: go on to the end of the first epoch, of which records without losses tell as well.
        shaken: a seed; by chance each weight then starts a rounding farther from 0, a rounding nearer, or where it is.
    """
    with _one_thread():
        if run.compute is not None:
            with torch.random.fork_rng(devices=[]):
                found = run.cell(run, data, rows) if run.cell else {}
            return {name: value if isinstance(value, list) else [float(value)] for name, value in found.items()}
        numbers: Numbers = {}
        if settings.epochs:
            trainer = Trainer(run, scale, settings, data, device, "auto", None, progress=False)
            for name, row in rows.items():
                numbers |= _first(trainer, name, row.get("lr", settings.lr), epoch, shaken)
        return numbers


def carried(plain: Sequence[float], shaken: Iterable[Sequence[float]]) -> list[float]:
    """How far a rounding at the start has carried the losses of a training by each step, relative to them: the most of
    several such trainings, at that step or before. One that ended early has gone any distance."""
    steps = zip_longest(plain, *shaken)
    return list(accumulate((max(apart(one, other) for other in others) for one, *others in steps), max))


def apart(a: float | None, b: float | None, unit: float | None = None) -> float:
    """The difference of two numbers beside a unit, or beside the larger of them; what is no number is None in a record,
    and equals nothing else."""
    a, b = (None if each is None or not math.isfinite(each) else each for each in (a, b))
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return 0.0 if a == b else abs(a - b) / (unit or max(abs(a), abs(b)))


@torch.no_grad()
def _shake(model: nn.Module, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for each in model.parameters():
        each.mul_(1 + torch.finfo(each.dtype).eps * torch.randint(-1, 2, each.shape, generator=draw).to(each.dtype))


def _first(trainer: Trainer, name: str, rate: float, epoch: bool, shaken: int | None) -> Numbers:
    """The first losses of an arm, with the loss and accuracy of its first epoch, or its accuracy in closed form."""
    from mobius_lib.training import Diverged, ResidentBatches, evaluate

    arm = trainer.arms[name]
    data = trainer.data if arm.view is None else arm.view(trainer.data, 0)
    model, validation = trainer._model(arm, 0), trainer._watched(data)
    if shaken is not None:
        _shake(model, shaken)
    if arm.solve is not None:
        arm.solve(model.to(trainer.place), *data.train)
        whole = trainer._validation(data.test)
        return {f"{name}/final_accuracy": [_judge(model, whole, trainer.place)["final_accuracy"]]}
    batches = len(ResidentBatches(*data.train, trainer.settings.batch_size, shuffle=True, seed=0))
    watched = _Watched(arm.objective, batches if epoch else STEPS)
    trainer.arms[name] = replace(arm, objective=watched)
    try:
        with contextlib.suppress(Enough, Diverged):
            trainer._train(name, model, data, validation, rate, 0, "")
    finally:
        trainer.arms[name] = arm
    numbers = {name: watched.losses[:STEPS]}
    if epoch:
        loss = sum(map(float.__mul__, watched.losses, map(float, watched.rows))) / sum(watched.rows)
        numbers[f"{name}/history/0/train_loss"] = [loss]
        numbers[f"{name}/history/0/val_accuracy"] = [evaluate(model, validation, trainer.place)[1]]
    return numbers


def to_keep(numbers: Numbers, rows: Mapping[str, Any]) -> Numbers:
    """Those that stand nowhere in the record itself: losses, and what is named by no place."""
    first = ("/history/0/train_loss", "/history/0/val_accuracy")
    return {
        name: values for name, values in numbers.items() if standing_at(rows, name) is None and not name.endswith(first)
    }


def standing_at(rows: Mapping[str, Any], place: str) -> float | None:
    """The number at a place such as "L2/rows/0/bits", the arm first; None where there is none."""
    arm = max((name for name in rows if place.startswith(f"{name}/")), key=len, default="")
    value: Any = rows.get(arm)
    for step in place[len(arm) + 1 :].split("/"):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
