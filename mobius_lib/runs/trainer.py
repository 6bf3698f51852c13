"""From an arm, a seed and a learning rate to a record, by training: for the runs that train models."""

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mobius_lib.datasets.paths import fetch
from mobius_lib.fingerprint import fingerprint
from mobius_lib.ledger.stats import row_error
from mobius_lib.native import torch_compile
from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Arm, Data, Run, seeded_subset
from mobius_lib.runs.made_by import kept_name, tell_of_others
from mobius_lib.runs.search import judged
from mobius_lib.runs.timing import paired_steps

if TYPE_CHECKING:
    from mobius_lib.training import Recipe

Model = TypeVar("Model", bound=nn.Module)
AHEAD = 4
"""Batches that are picked in advance where the rows do not wait with the model."""
READ_ROWS = 500
"""Test rows on which a trained model's `readings` are taken."""


def trained(run: Run, scale: str, name: str, data: Data, seed: int) -> nn.Module:
    """The model of one arm as `execute` trains it on the CPU with that seed, ready for evaluation.

    Args:
        run: a run that trains models.
        scale: a name in `run.scales`.
        name: of an arm that takes the scale's learning rate and all of the data.
        data: as `run.data()`.
        seed: of model and data order.
    """
    settings = run.scales[scale]
    part = replace(data, train=seeded_subset(*data.train, settings.train_samples))
    trainer = Trainer(run, scale, settings, part, torch.device("cpu"), "auto", None, progress=False)
    model = trainer._model(trainer.arms[name], seed)
    trainer._train(name, model, part, trainer._validation(part.test), settings.lr, seed, "")
    return model.eval()


@torch.no_grad()
def embedded(model: Model, file: str) -> Model:
    """A network that a page shows, with its weights out of an embedded file: in float32 and evaluation mode.

    Raises:
        DataError: when the file is missing or damaged.
    """
    from safetensors.torch import load_file

    model.load_state_dict(load_file(fetch(file)))
    return model.eval()


def judged_on(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """What a network that a page shows comes to: test_pictures, how many, and test_accuracy."""
    classes = torch.cat([model(part).argmax(1) for part in x.split(READ_ROWS)])
    return {"test_pictures": len(y), "test_accuracy": (classes == y).double().mean().item()}


class Trainer:
    """What one call of `execute` does again and again: an arm, a seed and a rate to a record."""

    def __init__(
        self,
        run: Run,
        scale: str,
        settings: Scale,
        data: Data,
        place: torch.device,
        backend: str,
        work: Path | None,
        progress: bool,
        compiled: bool = False,
        data_print: str = "",
    ) -> None:
        from mobius_lib.training.processes import processes

        self.compiled, self.data_print = compiled, data_print
        self.run, self.scale, self.settings, self.data, self.place = run, scale, settings, data, place
        self.lenses, self.work, self.progress = backend, work, progress
        self.arms = {name: arm if isinstance(arm, Arm) else Arm(arm) for name, arm in run.arms.items()}
        self.backend: str | None = None
        """How lenses computed, by its own name; None as long as no model had any."""
        self.earlier = 0.0
        """Seconds of training that earlier calls have done."""
        self.told = not processes().main
        self.predictions: dict[str, list[Tensor]] = {}
        """Arm to the class of every test row, a tensor for each seed, where the run keeps them."""

    def bar(self, seeds: int, searched: bool, only: Collection[str] = ()) -> AbstractContextManager[None]:
        """In a notebook, one bar for everything that is trained while it is open."""
        from mobius_lib.progress import one_bar

        trainings = sum(own + tried for _, own, tried in self._trainings(seeds, searched, only))
        return one_bar(trainings if self.progress and self.settings.epochs else 0)

    def _trainings(self, seeds: int, searched: bool, only: Collection[str]) -> Iterator[tuple[str, int, int]]:
        """Arm, how often it is trained, and how many rates are tried for it at least."""
        asked = only or self.arms
        wanted = {self.arms[name].rate_of or name for name in asked}
        for name, arm in self.arms.items():
            tried = len(arm.rates) if searched and len(arm.rates) > 1 and name in wanted else 0
            yield name, seeds if name in asked and arm.solve is None else 0, tried

    def choose_rates(self, searched: bool, only: Collection[str] = ()) -> tuple[dict[str, float], dict[str, Any]]:
        """The learning rate of every arm, and for those that were searched for: held-out accuracy of each candidate.

        Args:
            searched: whether arms may have their own; else all take the one that was asked for.
            only: the arms whose rates are wanted; none: all.
        """
        rates, tuning = dict.fromkeys(self.arms, self.settings.lr), {}
        if searched and self.settings.epochs:
            wanted = {self.arms[name].rate_of or name for name in only or self.arms}
            for name, arm in self.arms.items():
                if len(arm.rates) > 1 and name in wanted:
                    rates[name], found, again = judged(
                        arm.rates,
                        partial(self._held_out, name),
                        self.run.further_rates,
                        lambda least: row_error(len(self.data.train[1]) // 5, -least),
                        self.run.judges,
                    )
                    tuning[name] = {"lr": rates[name], "held_out": {rate: abs(less) for rate, less in found.items()}}
                    if again:
                        tuning[name]["compared"] = {rate: [abs(less) for less in each] for rate, each in again.items()}
                elif arm.rates:
                    rates[name] = arm.rates[0]
            for name, arm in self.arms.items():
                if arm.rate_of is not None:
                    rates[name] = rates[arm.rate_of]
        return rates, tuning

    def record(self, name: str, seed: int, rate: float) -> dict[str, Any]:
        """What one arm came to with one seed."""
        arm = self.arms[name]
        data = self.data if arm.view is None else arm.view(self.data, seed)
        model = self._model(arm, seed)
        whole = self._validation(data.test)
        if arm.solve is not None:
            arm.solve(model.to(self.place), *data.train)
        if self.settings.epochs == 0 or arm.solve is not None:
            outcome = _judge(model, whole, self.place, self.progress)
        else:
            outcome = self._train(name, model, data, self._watched(data), rate, seed, f"{name}-seed{seed}")
        if self.run.keep_predictions or self.run.watched is not None:
            classes = predicted(model, whole, self.place)
            outcome["final_accuracy"] = (classes == data.test[1].cpu()).double().mean().item()
            self.predictions.setdefault(name, []).append(classes)
        found = {} if self.run.measure is None else self.run.measure(model.eval(), data, outcome["history"])
        if not self.run.keep_history:
            outcome["history"] = []
        for epoch in outcome["history"]:
            epoch.pop("scalars", None)  # `measure` has seen them
        return {
            "seed": seed,
            **outcome,
            "parameters": sum(p.numel() for p in model.parameters()),
            "lens_state": _learned(self.run, model, data.test[0][:READ_ROWS]),
            **({"lr": rate} if arm.rates or arm.rate_of else {}),
            **found,
        }

    def cost(self) -> dict[str, Any]:
        """What a training step of each arm costs; nothing in mixed precision, in which none is timed."""
        names = [name for name in self.run.timed or self.arms if self.arms[name].solve is None]
        return {} if self.settings.epochs == 0 or self.settings.precision != "no" else self._steps(names)

    def seconds(self, seeds: int, searched: bool, only: Collection[str] = ()) -> float:
        """What all trainings will take from the beginning, judging left out, by one float32 step of each arm."""
        steps = -(-len(self.data.train[1]) // self.settings.batch_size) * self.settings.epochs
        total = 0.0
        for name, own, tried in self._trainings(seeds, searched, only):
            if own + tried:
                (taken,) = self._steps([name], rounds=1, printed=False).values()  # one model at a time is in memory
                total += taken["seconds"] * self.arms[name].epochs * (own + tried * self.run.search_epochs)
        return steps * total

    def _steps(self, names: Collection[str], **how: Any) -> dict[str, Any]:
        from mobius_lib.training import ResidentBatches

        x, y = self.data.train
        first = ResidentBatches(
            x[: self.settings.batch_size].to(self.place),
            y[: self.settings.batch_size].to(self.place),
            self.settings.batch_size,
            shuffle=False,
            seed=0,
            augment=None if x.is_floating_point() else self.data.augment,  # which makes numbers of bytes
        )
        return paired_steps(
            {name: self.arms[name].make for name in names},
            next(first.epoch(0)),
            self.settings.batch_size,
            self.place,
            self.backend or "auto",
            baseline=self.run.baseline,
            objectives={name: self.arms[name].objective for name in names},
            **how,
        )

    def _held_out(self, name: str, seed: int, rate: float) -> float:
        """Minus the accuracy of an arm on a fifth of the training rows, trained on the others; 0 where that diverges.

        The fifth is drawn: made data come class by class, and every fifth row would be of classes that no other has.
        """
        from mobius_lib.training import Diverged

        arm = self.arms[name]
        data = self.data if arm.view is None else arm.view(self.data, seed)
        x, y = data.train
        held = (torch.randperm(len(y), generator=torch.Generator().manual_seed(0)) < len(y) // 5).to(y.device)
        part = replace(data, train=(x[~held], y[~held]))
        validation = self._validation((x[held], y[held]), data.numbers)
        label = f"{name}-rate{rate:g}" + f"-seed{seed}" * (seed > 0)
        model, times = self._model(arm, seed), self.run.search_epochs
        try:
            outcome = self._train(name, model, part, validation, rate, seed, label, times=times)
        except Diverged:
            return 0.0
        return -outcome["final_accuracy"]

    def _model(self, arm: Arm, seed: int) -> nn.Module:
        from mobius_lib.waves import MobiusLens, use_backend
        from mobius_lib.waves.fast import fastest

        model = _fresh(arm, seed)
        if self.backend is None and any(isinstance(module, MobiusLens) for module in model.modules()):
            self.backend = fastest(self.place.type) if self.lenses == "auto" else self.lenses
        return use_backend(model, self.backend or "auto")

    def _validation(self, test: tuple[Tensor, Tensor], numbers: Callable[[Tensor], Tensor] | None = None) -> Any:
        from mobius_lib.training import ResidentBatches

        return ResidentBatches(*test, 500, shuffle=False, seed=0, augment=numbers)

    def _watched(self, data: Data) -> Any:
        """What the curves are drawn on."""
        x, y = data.test
        return self._validation((x[: self.run.watched], y[: self.run.watched]))

    def _train(
        self,
        name: str,
        model: nn.Module,
        data: Data,
        validation: Any,
        rate: float,
        seed: int,
        folder: str,
        times: float = 1.0,
    ) -> dict[str, Any]:
        from mobius_lib.training import Recipe, ResidentBatches, RunFolder, fit

        arm, settings = self.arms[name], self.settings
        epochs = max(1, round(settings.epochs * arm.epochs * times))
        recipe = Recipe(
            epochs=epochs,
            lr=rate,
            weight_decay=self.run.weight_decay,
            batch_size=settings.batch_size,
            warmup_epochs=min(self.run.warmup_epochs, epochs - 1),
            seed=seed,
            precision=settings.precision,
            accumulate=settings.accumulate,
            save_every_n_epochs=max(1, epochs // 10),  # a stop costs a tenth of an arm
        )
        kept = None if self.work is None else self._kept(self.work, name, folder, model, data, recipe)
        if self.compiled:
            mode = "reduce-overhead" if self.place.type == "cuda" else None
            trained = cast(nn.Module, torch_compile(model.to(self.place), mode=mode))
        else:
            trained = model
        about = {"run": self.run.name, "scale": self.scale, "arm": name}
        outcome = fit(
            trained,
            ResidentBatches(
                *data.train,
                settings.batch_size,
                shuffle=True,
                seed=seed,
                augment=data.augment,
                ahead=0 if data.train[0].device.type == self.place.type else AHEAD,
            ),
            validation,
            recipe,
            None if kept is None else RunFolder(kept[0], lean=True),
            objective=arm.objective,
            groups=arm.groups,
            scalars=self.run.state,
            device=str(self.place),
            config=about if kept is None else about | {"made_by": kept[1]},
            progress=self.progress,
        )
        self.earlier += outcome.earlier_seconds
        told = ("best_accuracy", "final_accuracy", "seconds", "skipped_batches", "history")
        return {name: getattr(outcome, name) for name in told}

    def _kept(
        self, work: Path, name: str, label: str, model: nn.Module, data: Data, recipe: "Recipe"
    ) -> tuple[Path, dict[str, str]]:
        """The folder of what is made by this code, data and configuration, and their fingerprints."""
        from mobius_lib.waves import MobiusLens

        arm = self.arms[name]
        lenses = self.backend if any(isinstance(module, MobiusLens) for module in model.modules()) else None
        chosen = (self.scale, name, asdict(recipe), lenses, self.compiled, self.place.type)
        made_by = {
            "code": fingerprint(
                *(arm.make, arm.objective, arm.groups, arm.view, self.run.state, data.augment, MACHINERY)
            ),
            "data": self.data_print,
            "configuration": fingerprint(*chosen),
        }
        folder = work / kept_name(label, made_by)
        if folder.is_dir():
            os.utime(folder)  # so of several with this label the newest is the one in use
        if not self.told:
            self.told = tell_of_others(
                folder, made_by, lambda other: json.loads((other / "config.json").read_bytes())["config"]["made_by"]
            )
        return folder, made_by


@torch.no_grad()
def predicted(model: nn.Module, batches: Any, place: torch.device) -> Tensor:
    """The class that a model gives each row, (N,) int64 on the CPU; leaves it in evaluation mode."""
    model.to(place).eval()
    return torch.cat([model(x.to(place)).argmax(-1).cpu() for x, _ in batches.epoch(0)])


def _judge(model: nn.Module, validation: Any, place: torch.device, progress: bool = False) -> dict[str, Any]:
    from mobius_lib.progress import Bar
    from mobius_lib.training import evaluate
    from mobius_lib.training.processes import processes

    started = time.perf_counter()
    with Bar("judging", validation.samples, "rows") as bar:
        _, accuracy = evaluate(
            model.to(place), validation, place, judged=bar.add if progress else None, group=processes()
        )
    seconds = time.perf_counter() - started
    return {
        "best_accuracy": accuracy,
        "final_accuracy": accuracy,
        "seconds": seconds,
        "skipped_batches": 0,
        "history": [],
    }


def _learned(run: Run, model: nn.Module, x: Tensor) -> dict[str, float]:
    return (run.state(model) if run.state else {}) | (run.readings(model, x) if run.readings else {})


def _fresh(arm: Arm, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    # channels last: the lens reads channels, so no copy is made between it and the convolutions
    return arm.make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


MACHINERY = (
    *(seeded_subset, _fresh, _judge, _learned, READ_ROWS, Trainer.choose_rates, Trainer.record, Trainer._held_out),
    *(Trainer._train, Trainer._validation, Trainer._watched, predicted, judged),
)
"""What makes the numbers of every run that trains; how lenses compute counts where a model has any."""
