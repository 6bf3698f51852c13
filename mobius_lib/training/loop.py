"""The one training loop of the book."""

import logging
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.errors import CheckpointError, MobiusError
from mobius_lib.fingerprint import fingerprint
from mobius_lib.memory import keep_freed_memory
from mobius_lib.progress import Progress, taken
from mobius_lib.training.batches import Batches, check_labels
from mobius_lib.training.checkpoint import (
    RunFolder,
    State,
    load_model,
    random_state,
    set_random_state,
    weights_of,
    write_json,
)
from mobius_lib.training.evaluation import Sums, evaluate, labels_of
from mobius_lib.training.processes import processes, whole_batches
from mobius_lib.training.recipe import Recipe, RecipeError
from mobius_lib.training.shares import Share, counted
from mobius_lib.training.tracking import Tracker

DEVICES = ("auto", "cpu", "cuda", "mps")
Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Model, x and y to the loss of a batch and its logits (N, classes), by which hits are counted."""
Groups = Callable[[nn.Module], list[dict[str, Any]]]
"""Model to its parameters in groups, {"params": [...], "rate": what lr is multiplied by}, each in one of them."""
Scalars = Callable[[nn.Module], Mapping[str, Any]]
"""Model to numbers, and lists of them, by name."""
log = logging.getLogger(__name__)


class TrainingError(MobiusError):
    """Training cannot go on."""


class Diverged(TrainingError):
    """No batch of an epoch had a loss and gradients that are finite."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Accuracies are top-1, as fractions in [0, 1]; epochs count from 1."""

    best_accuracy: float
    best_epoch: int
    final_accuracy: float
    history: list[dict[str, Any]]
    """Per epoch: epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr, seconds, skipped; and scalars, where
    `fit` was given some."""
    skipped_batches: int
    seconds: float
    """Of all epochs, validation included, also those before an interruption."""
    samples_per_second: float
    """Training samples through the loop, validation not counted."""
    folder: Path | None
    earlier_seconds: float = field(default=0.0, compare=False)
    """Of the epochs that an earlier call has done."""


def fit(
    model: nn.Module,
    train: Batches,
    validation: Batches,
    recipe: Recipe,
    folder: Path | str | RunFolder | None = None,
    *,
    device: str = "auto",
    config: dict[str, Any] | None = None,
    objective: Objective | None = None,
    groups: Groups | None = None,
    scalars: Scalars | None = None,
    tensorboard: Path | str | None = None,
    continue_from: Path | str | None = None,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Trains a classifier with AdamW, a schedule and gradient clipping; leaves the last weights in it.

    A batch with a NaN or an infinity in it, in its loss or in its gradients changes nothing: not the weights, not the
    optimiser, not the buffers of batch norm. It is counted. (With "fp16" so are the first few, where the scale of the
    loss is being found.) With `recipe.accumulate` that holds for all batches of a step together.

    A module of the model with a method `expect` is told how many steps there will be at most, and one with `scaled_by`
    by what the loss is multiplied.

    With a folder, a run that is killed at any moment and started again with the same arguments goes on from its newest
    intact checkpoint and ends, on a CPU, bit for bit like one never stopped. One that has ended is not trained again:
    its weights are loaded and its outcome returned. The recipe must be the same, `save_every_n_epochs` excepted, and so
    must the code (of the model, of this loop and of the functions given here) and the data: to train on with others
    (more epochs, say), load the weights into the model and start anew in another folder.

    Of several processes, which a launcher has started, each calls it with the same arguments; `processes` says how they
    share the work. An objective's loss must then be a mean over the rows of a batch.

    Args:
        model: maps (N, ...) to logits (N, classes). It is moved to the device and stays there.
        train, validation: batches of (x, y), y the classes (N,), whole numbers from 0.
        recipe: how to train.
        folder: where the run's files go, in the layout of `checkpoint.py`; None keeps none. A `RunFolder` says how many
            numbered checkpoints stay (two, if it says nothing).
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        config: what to write into config.json beside recipe and data, for whoever loads the weights.
        objective: what is made small, in place of the cross-entropy of the model's logits (`val_loss` stays that
            cross-entropy). One that carries something from batch to batch has `state_dict` and `load_state_dict`, and a
            checkpoint keeps it, in what `weights_only` admits.
        groups: which parameters learn at which multiple of `recipe.lr`; None: all at 1. The schedule multiplies all.
        scalars: numbers of the model after each epoch, or lists of them, by name: drawn, and kept in that epoch's
            record.
        tensorboard: where the curves go; None: into `folder`, below the rest.
        continue_from: a folder that must hold a run. If `folder` is given and another one, the run goes on there and
            the old folder stays as it is.
        progress: show loss, accuracies and time left.
        on_epoch: called with each epoch's record, after its files are written.
    Raises:
        CheckpointError: when the folder holds the run of another model, recipe, code or data, nothing intact, or
            cannot be written.
        DataError: for a label that is no class of the model (not where only a GPU holds them and an objective of your
            own uses them), and for validation samples that are not finite.
        RecipeError: when the device or the objective cannot do what the recipe asks.
        TrainingError: when every batch of an epoch had to be skipped, the groups leave a parameter out, or batch norm
            meets a batch of one sample.
    """
    if objective is not None and recipe.label_smoothing:
        raise RecipeError("label_smoothing belongs to the cross-entropy, which an objective replaces; set it to 0.")
    keep_freed_memory()
    accelerator = _accelerator(device, recipe.precision)
    callers_random = random_state(accelerator.device)
    try:
        return _Run(model, train, validation, recipe, accelerator, objective, groups, scalars).go(
            folder, tensorboard, continue_from, config or {}, progress, on_epoch
        )
    finally:
        set_random_state(callers_random, accelerator.device)


class _Run:
    """One run's parts, and its steps from start or checkpoint to outcome."""

    def __init__(
        self,
        model: nn.Module,
        train: Batches,
        validation: Batches,
        recipe: Recipe,
        accelerator: Accelerator,
        objective: Objective | None,
        groups: Groups | None,
        scalars: Scalars | None,
    ) -> None:
        self.group = processes()
        self.model = model.to(accelerator.device)
        self.group.agree(self.model)
        self.plain: nn.Module = getattr(model, "_orig_mod", model)  # a compiled model's names carry a prefix
        self.train, self.validation, self.recipe, self.accelerator = train, validation, recipe, accelerator
        self.given = (objective, groups, scalars)
        self.objective = objective or self._cross_entropy
        self.scalars = scalars
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise TrainingError("The model has no parameters to train.")
        grouped = _grouped(self.plain, self.parameters, groups)
        self.rates = [group["rate"] for group in grouped]
        # The fused form can be told by a tensor on the device to leave a step out, with no waiting for the device.
        self.optimizer = torch.optim.AdamW(
            [{"params": group["params"], "lr": recipe.lr * group["rate"]} for group in grouped],
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        for module in self.plain.modules():  # what keeps gradients from step to step keeps them without the scale
            if callable(told := getattr(module, "scaled_by", None)):
                told(accelerator.scaler)
        steps = recipe.epochs * -(-len(train) // recipe.accumulate)
        for module in self.plain.modules():  # what changes in the course of a training learns how long it will be
            if callable(told := getattr(module, "expect", None)):
                told(steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda epoch: recipe.lr_factor(epoch))
        self.buffers = list(model.buffers())
        self.saved_buffers = [buffer.clone() for buffer in self.buffers]
        self.data = {
            "train_samples": train.samples,
            "train_batches": len(train),
            "validation_samples": validation.samples,
        }
        self.epoch = 0  # epochs done
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0}
        self.history: list[dict[str, Any]] = []
        self.labels: list[tuple[int, int]] = []  # lowest and highest, as far as they are known
        self.training_seconds = self.earlier_seconds = 0.0
        self.fingerprint: dict[str, str] = {}
        random.seed(recipe.seed)
        np.random.seed(recipe.seed)
        torch.manual_seed(recipe.seed)
        self.random = random_state(accelerator.device)

    def go(
        self,
        folder: Path | str | RunFolder | None,
        tensorboard: Path | str | None,
        continue_from: Path | str | None,
        config: dict[str, Any],
        progress: bool,
        on_epoch: Callable[[dict[str, Any]], None] | None,
    ) -> Outcome:
        source = RunFolder(continue_from) if continue_from is not None else None
        if source is not None and not source.holds_run():
            raise CheckpointError(
                f"There is no run to continue in {source.path}; give the folder that holds its config.json "
                "and its checkpoints/."
            )
        files = source if folder is None else folder if isinstance(folder, RunFolder) else RunFolder(folder)
        if source is None or (files is not None and source.path.resolve() == files.path.resolve()):
            source = files
        if files is not None:
            self.fingerprint = self._fingerprint()
        if source is not None and source.holds_run():
            self._resume(source)
        if files is not None and tensorboard is not None:
            files.tensorboard = Path(tensorboard)
        ended = files is not None and self.epoch == self.recipe.epochs and files.finished()
        self.group.wait()  # all have read what is there before one of them writes
        writes = self.group.main
        if files is not None and ended:
            if writes:
                files.end()  # it may have been killed just before
            taken()
            return self._outcome(files)
        if files is not None and writes:
            files.prepare()
            if source is not None and source is not files:
                files.adopt_best(source)
            parameters = sum(parameter.numel() for parameter in self.plain.parameters())
            about = {"config": config, "parameters": parameters, "recipe": asdict(self.recipe), "data": self.data}
            about |= {"rates": self.rates, "fingerprint": self.fingerprint}
            write_json(files.config, about)
        if self.epoch < self.recipe.epochs:
            with whole_batches(self.plain, self.group):
                self._train(files if writes else None, progress and writes, on_epoch if writes else None)
        outcome = self._outcome(files)
        if files is not None and writes:
            self._write_final(files, outcome)
        self.group.wait()
        return outcome

    def _resume(self, source: RunFolder) -> None:
        state = source.final() or source.newest()
        stored = state or source.read_config()
        for name, asked in asdict(self.recipe).items():
            was = stored["recipe"].get(name, getattr(Recipe, name, None))  # what runs had before there was a choice
            if was != asked and name != "save_every_n_epochs":
                why = ", on which the whole schedule depends" if name == "epochs" else ""
                raise CheckpointError(
                    f"The run in {source.path} was begun with {name}={was!r}{why}, but now {name}={asked!r} is asked "
                    f"for: pass {name}={was!r} to continue it, or start anew in another folder."
                )
        if (was := stored.get("rates", [1.0])) != self.rates:  # [1.0]: what runs had before there were groups
            raise CheckpointError(
                f"The run in {source.path} was begun with parameter groups at the rates {was}, but now {self.rates} "
                "are asked for: pass the same groups to continue it, or start anew in another folder."
            )
        for name, size in self.data.items():
            if stored["data"].get(name) != size:
                raise CheckpointError(
                    f"The run in {source.path} was begun on other data: {name} was {stored['data'].get(name)} "
                    f"and is {size} now."
                )
        if state is not None:
            self._load(state, source.path)
        # last: whatever can be named more precisely has been
        for part, what in (("code", "by other code"), ("data", "on other data of the same size")):
            if stored.get("fingerprint", {}).get(part) != self.fingerprint[part]:
                raise CheckpointError(
                    f"The run in {source.path} was begun {what}, so going on would mix two runs: start anew in another "
                    f"folder, or go back to that {part}."
                )

    def _fingerprint(self) -> dict[str, str]:
        """Of what makes the numbers: the code of this loop, of the model and of what was given; and the batches."""
        model = re.sub(r" at 0x[0-9a-f]+", "", str(self.plain))
        kinds = list(dict.fromkeys(type(module) for module in self.plain.modules()))
        batches = [getattr(each, "identity", lambda: "unknown")() for each in (self.train, self.validation)]
        return {"code": fingerprint(type(self), model, kinds, self.given), "data": fingerprint(batches)}

    def _load(self, state: State, where: Path) -> None:
        load_model(self.plain, state["model"], where)
        if state["optimizer"] is not None:  # nothing is to be done when the run has ended
            try:
                self.optimizer.load_state_dict(state["optimizer"])
            except ValueError as error:
                raise CheckpointError(f"The optimiser state in {where} belongs to another model: {error}.") from error
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best, self.history = state["epoch"], state["best"], state["history"]
        self.training_seconds, self.random = state["training_seconds"], state["random"]
        if state.get("objective") is not None:
            self.objective.load_state_dict(state["objective"])  # type: ignore[attr-defined]  # it gave that
        self.earlier_seconds = sum(record["seconds"] for record in self.history)

    def _state(self, to_go_on: bool = False) -> State:
        """The weights and what is known of the run; `to_go_on` with the optimiser's state, twice as large again."""
        scaler = self.accelerator.scaler
        carries = getattr(self.objective, "state_dict", None) if to_go_on else None
        return {
            "model": weights_of(self.plain),
            "objective": None if carries is None else carries(),
            "optimizer": self.optimizer.state_dict() if to_go_on else None,
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
            "training_seconds": self.training_seconds,
            "random": self.random,
            "recipe": asdict(self.recipe),
            "data": self.data,
            "rates": self.rates,
            "fingerprint": self.fingerprint,
        }

    def _train(
        self, files: RunFolder | None, progress: bool, on_epoch: Callable[[dict[str, Any]], None] | None
    ) -> None:
        tracker = None if files is None else Tracker(files.tensorboard, self.epoch + 1)
        bar = Progress(progress, self.recipe.epochs, len(self.train), self.epoch)
        try:
            if self.objective != self._cross_entropy:
                self._check_known_labels()
            while self.epoch < self.recipe.epochs:
                # Whatever drew random numbers between two epochs (a callback, an upload) has no part in the run.
                set_random_state(self.random, self.accelerator.device)
                record = self._one_epoch(bar)
                improved = record["val_accuracy"] > self.best["accuracy"]
                if improved:
                    self.best = {"accuracy": record["val_accuracy"], "epoch": record["epoch"]}
                # The checkpoint is the last to be written: what it says is done has been drawn and stored.
                if tracker is not None:
                    tracker.epoch(record, record.get("scalars", {}))
                    if self._saves(record["epoch"]):
                        tracker.histograms(self.plain, record["epoch"])
                if files is not None and (improved or self._saves(record["epoch"])):
                    self._write(files, improved)
                bar.epoch_done(record, self.best["accuracy"])
                if on_epoch is not None:
                    on_epoch(dict(record))
        finally:
            bar.close()
            if tracker is not None:
                tracker.close()
        if skipped := sum(record["skipped"] for record in self.history):
            log.warning(
                "%d of %d batches were skipped, because they, their loss or their gradients were not finite.",
                skipped,
                len(self.train) * self.recipe.epochs,
            )

    @torch.no_grad()
    def _check_known_labels(self) -> None:
        """Before anything is learned: an objective of the caller's uses labels before there are logits to compare."""
        known = [each.label_range for each in (self.train, self.validation) if hasattr(each, "label_range")]
        if known:
            self.model.eval()
            x, _ = next(self.validation.epoch(0))  # as `evaluate` will: a compiled model is compiled for that once
            with self.accelerator.autocast():
                classes = self.model(x.to(self.accelerator.device)).shape[-1]
            for labels in known:
                check_labels(labels, classes)

    def _one_epoch(self, bar: Progress) -> dict[str, Any]:
        began = time.perf_counter()
        lr = self.recipe.lr * self.recipe.lr_factor(self.epoch)
        loss, accuracy, skipped = self._train_epoch(bar)
        trained = time.perf_counter()
        with self.accelerator.autocast():
            val_loss, val_accuracy = evaluate(self.model, self.validation, self.accelerator.device, group=self.group)
        self.scheduler.step()
        self.epoch += 1
        self.training_seconds += trained - began
        record: dict[str, Any] = {
            "epoch": self.epoch,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": lr,
            "seconds": time.perf_counter() - began,
            "skipped": skipped,
        }
        self.random = random_state(self.accelerator.device)
        if self.scalars is not None:
            record["scalars"] = self.scalars(self.plain)
        self.history.append(record)
        return record

    def _train_epoch(self, bar: Progress) -> tuple[float, float, int]:
        self.model.train()
        device = self.accelerator.device
        sums, skipped_on_host = Sums(device), 0
        known = getattr(self.validation, "label_range", None)  # checked before an epoch is spent, not after
        step: list[Share] = []  # of the batches of the next one
        for number, (x, y) in enumerate(self.train.epoch(self.epoch), start=1):
            labels = [each for each in (labels_of(self.train, y), known) if each is not None]
            # Data on the CPU is looked at before it costs a pass; on a GPU that would mean waiting, see `_step`. Of
            # several processes none leaves out what others take.
            if self.group.count == 1 and x.device.type == "cpu" and not torch.isfinite(x).all():
                skipped_on_host += 1
            else:
                step.append(Share(self.group, x, y, labels))
            if step and number % self.recipe.accumulate == 0:
                self._step(step, sums)
                step = []
            if bar.due():
                loss, accuracy, *_ = sums.read()
                bar.update(self.epoch, loss, accuracy)
        if step:
            self._step(step, sums)
        self.group.add_up(sums.loss, sums.counts)
        loss, accuracy, seen, skipped = sums.read()
        skipped = skipped // self.group.count + skipped_on_host
        scale_is_searched = self.accelerator.scaler is not None and self.accelerator.scaler.get_scale() > 1
        if seen == 0 and not scale_is_searched:
            raise Diverged(
                f"All {skipped} batches of epoch {self.epoch + 1} had to be skipped, because they, their loss or their "
                "gradients were not finite: check the data for NaN, or lower lr."
            )
        return loss, accuracy, skipped

    def _step(self, shares: list[Share], sums: Sums) -> None:
        """One step, taken or left out by a flag that never leaves the device."""
        if self.buffers:
            torch._foreach_copy_(self.saved_buffers, self.buffers)
        device = self.accelerator.device
        finite, found = torch.ones((), dtype=torch.bool, device=device), Sums(device)
        every = counted(*shares) if len(shares) > 1 or self.group.count > 1 else None
        for share in shares:
            self.labels = share.labels
            x, y = share.x.to(device, non_blocking=True), share.y.to(device, torch.int64, non_blocking=True)
            loss, logits = self._loss(x, y)
            finite &= torch.isfinite(loss)
            own = share.counts_here()
            found.add(loss.detach(), logits.detach()[own], y[own])
            if every is not None:
                loss = loss * share.weight(every, loss.dtype).to(device)
            self.accelerator.backward(loss)
        if self.group.count > 1:
            finite = self._average(finite)
        self.accelerator.unscale_gradients(self.optimizer)
        clip = float("inf") if self.recipe.grad_clip is None else self.recipe.grad_clip
        norm = self.accelerator.clip_grad_norm_(self.parameters, clip)
        bad = ~(finite & torch.isfinite(norm))
        self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        for buffer, saved in zip(self.buffers, self.saved_buffers, strict=True):
            torch.where(bad, saved, buffer, out=buffer)
        sums.take(found, bad, len(shares))

    def _average(self, finite: Tensor) -> Tensor:
        """Every gradient becomes the mean over the processes; whether the losses of all of them are finite."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        wrong = (~finite).float()
        self.group.add_up(*gradients, wrong)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.div_(self.group.count)
        return wrong == 0

    def _loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        try:
            with self.accelerator.autocast():
                return self.objective(self.model, x, y)
        except ValueError as error:
            if len(y) == 1 and "more than 1 value per channel" in str(error):
                raise TrainingError(
                    "A batch of one sample has no variance for batch norm; give more samples, or a larger batch_size."
                ) from error
            raise

    def _cross_entropy(self, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x)
        for labels in self.labels:
            check_labels(labels, logits.shape[-1])
        return F.cross_entropy(logits.float(), y, label_smoothing=self.recipe.label_smoothing), logits

    def _saves(self, epoch: int) -> bool:
        return epoch % self.recipe.save_every_n_epochs == 0

    def _write(self, files: RunFolder, improved: bool) -> None:
        if improved:
            files.save("best_model", self._state())
            write_json(files.path / "best_accuracy.json", self.best)
        if self._saves(self.epoch):
            files.save_numbered(self._state(to_go_on=True))

    def _write_final(self, files: RunFolder, outcome: Outcome) -> None:
        files.save("final_model", self._state())
        final = {
            "accuracy": outcome.final_accuracy,
            "epoch": self.epoch,
            "best_accuracy": outcome.best_accuracy,
            "best_epoch": outcome.best_epoch,
            "skipped_batches": outcome.skipped_batches,
            "seconds": outcome.seconds,
            "samples_per_second": outcome.samples_per_second,
        }
        write_json(files.path / "final_accuracy.json", final)
        files.end()

    def _outcome(self, files: RunFolder | None) -> Outcome:
        return Outcome(
            best_accuracy=self.best["accuracy"],
            best_epoch=self.best["epoch"],
            final_accuracy=self.history[-1]["val_accuracy"],
            history=self.history,
            skipped_batches=sum(record["skipped"] for record in self.history),
            seconds=sum(record["seconds"] for record in self.history),
            samples_per_second=self.train.samples * self.epoch / self.training_seconds,
            folder=None if files is None else files.path,
            earlier_seconds=self.earlier_seconds,
        )


def _grouped(model: nn.Module, parameters: list[nn.Parameter], groups: Groups | None) -> list[dict[str, Any]]:
    """The groups of the optimiser, without what is not trained; every parameter that is trained stands in one."""
    if groups is None:
        return [{"params": parameters, "rate": 1.0}]
    given: list[dict[str, Any]] = [
        {"params": list(group["params"]), "rate": float(group["rate"])} for group in groups(model)
    ]
    for group in given:
        if not (math.isfinite(group["rate"]) and group["rate"] > 0):
            raise TrainingError(f"The rate of a parameter group must be a number above 0, not {group['rate']!r}.")
    times = Counter(id(parameter) for group in given for parameter in group["params"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and times[id(parameter)] != 1:
            raise TrainingError(
                f"The parameter {name} stands in {times[id(parameter)]} groups; each that is trained belongs in one."
            )
    trained = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in given]
    return [group for group in trained if group["params"]]


def _accelerator(device: str, precision: str) -> Accelerator:
    kind, _, index = device.partition(":")
    if kind not in DEVICES or (index and (kind != "cuda" or not index.isdecimal())):
        raise RecipeError(f"device must be one of {', '.join(DEVICES)}, or a numbered GPU like cuda:0, not {device!r}.")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, True) or (index and (len(index) > 7 or int(index) >= torch.cuda.device_count())):
        raise RecipeError(f'This machine has no {device} device; use device="auto" or device="cpu".')
    if index:
        torch.cuda.set_device(int(index))
    # Accelerate keeps the settings of the first run of a process for good unless told to forget them.
    AcceleratorState._reset_state(reset_partial_state=True)
    on_cpu = device == "cpu" or not any(there.values())
    if precision == "fp16" and on_cpu:
        raise RecipeError('precision="fp16" needs a GPU; use precision="bf16" or "no" on a CPU.')
    if precision == "bf16" and device != "cpu" and there["cuda"] and not torch.cuda.is_bf16_supported():
        raise RecipeError('This GPU has no bf16; use precision="fp16" or "no".')
    return Accelerator(cpu=on_cpu, mixed_precision=precision)
