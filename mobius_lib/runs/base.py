"""What every run shares: its description, its scales, and the training of several arms over several seeds.

A run compares arms (a model and its baselines) on one data set with one recipe. Arms take turns within each seed, so
that a machine that slows down slows all of them. An arm that needs more than a model of its own (another loss, a
learning rate that is searched for, a part of the data) is an `Arm`.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobius_lib.errors import MobiusError
from mobius_lib.runs.provenance import describe_device, finite, provenance, write_json
from mobius_lib.runs.timing import paired_steps

if TYPE_CHECKING:
    from mobius_lib.training import Groups, Objective

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
    outside: Tensor | None = None
    """Test rows of classes that the training part does not have, for whoever measures what a model makes of them."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison, where it differs from the others in more than its model. Calling it makes the model."""

    make: Callable[[], nn.Module]
    """Makes a fresh model."""
    objective: "Objective | None" = None
    """What is made small; None: the cross-entropy of the logits."""
    groups: "Groups | None" = None
    """Parameters that learn at their own multiples of the rate; None: all at 1."""
    rates: tuple[float, ...] = ()
    """Learning rates, of which the one that does best on a fifth of the training rows, held out, is taken for all
    seeds. A single one is taken as it is; none: the scale's."""
    rate_of: str | None = None
    """The arm whose chosen rate this one takes too."""
    epochs: float = 1.0
    """How many times the scale's epochs."""
    view: Callable[[Data, int], Data] | None = None
    """From the run's data and the seed to what this arm is trained and tested on; None: the data as they are."""
    solve: Callable[[nn.Module, Tensor, Tensor], None] | None = None
    """Sets the model's parameters from the training rows in closed form; then nothing is trained by gradient steps."""

    def __call__(self) -> nn.Module:
        return self.make()


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
    """Name to a function that makes a fresh model, or to an `Arm`; with `compute`, to whatever that makes of it."""
    data: Callable[[], Data]
    scales: Mapping[str, Scale]
    weight_decay: float = 0.05
    warmup_epochs: int = 0
    """Of linear ascent, where there are more epochs than that."""
    state: Callable[[nn.Module], dict[str, float]] | None = None
    """Scalars of a model that are worth keeping, for instance what its lenses learned."""
    readings: Callable[[nn.Module, Tensor], dict[str, float]] | None = None
    """Further scalars, read off while the trained model looks at test rows."""
    measure: Callable[[nn.Module, Data, list[dict[str, Any]]], dict[str, Any]] | None = None
    """Further entries of a seed's record: from the trained model, the data of its arm, and its history, whose epochs
    hold what `state` said at their end under "scalars"."""
    extra: Callable[[Data], dict[str, Any]] | None = None
    """Further baselines that are not trained by gradient steps."""
    baseline: str = "gelu"
    """The arm in whose training steps the cost of the others is counted."""
    timed: tuple[str, ...] | None = None
    """The arms whose training steps are timed; None: all."""
    at_scale: Callable[[str], "Run"] | None = None
    """The run as it is at a scale, where that changes models or data as well; None: as it stands here."""
    facts: Callable[[], dict[str, Any]] | None = None
    """Further entries of the result: what is known of the data without any model."""
    compute: Callable[..., Mapping[str, dict[str, Any]]] | None = None
    """From the data and the seed to the record of every arm, on the CPU: for a run that compares something else than
    models trained by the recipe above. Then `Scale` has nothing that could be changed, and `work` keeps the seeds that
    are done."""
    keeps_parts: bool = False
    """Whether `compute` takes a third argument, `_Computer.part`, by which `work` keeps what is done of a seed."""
    on_any_device: bool = False
    """Whether `compute` computes where its data lie, which is then the device that was asked for."""
    keep_history: bool = True
    """Whether a seed's record tells of every epoch. Not where there are very many short ones."""


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
    backend: str = "auto",
    compiled: bool = False,
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
        backend: how lenses compute; the numbers are the same. "auto" takes the fastest that works on the device.
        compiled: train every arm's whole model under torch.compile, on a GPU with CUDA graphs. Pays where launching
            kernels takes longer than running them.
        changes: numbers of `Scale` to change, for instance epochs=8.
    Returns:
        the record described in data/README.md.
    Raises:
        RunError: unknown scale, field, backend or device, a number below 1, an output that cannot be written, or a
            setting of training for a run that computes its records.
    """
    from mobius_lib.waves.lens import BACKENDS

    if scale not in run.scales:
        raise RunError(f"The run {run.name} has no scale {scale!r}; it has {', '.join(run.scales)}.")
    if run.at_scale is not None:
        run = run.at_scale(scale)
    if seeds < 1:
        raise RunError(f"A run needs at least one seed, not {seeds}.")
    if backend not in BACKENDS:
        raise RunError(f"There is no backend {backend!r}; use {', '.join(BACKENDS)}.")
    changes = {key: value for key, value in changes.items() if value is not None}
    settings = _changed(run.scales[scale], changes)
    if run.compute is not None:
        _check_computed(run, [*changes, *(["compiled"] if compiled else [])], device, backend)
        device = device if run.on_any_device else "cpu"
    place = pick_device(device)
    if output is not None:
        _check_writable(output)  # now, and not after hours of training
    origin = provenance()  # now: the code on disk may be another one when the run has ended
    data = run.data()
    train, test = seeded_subset(*data.train, settings.train_samples), seeded_subset(*data.test, settings.test_samples)
    data = replace(data, train=tuple(part.to(place) for part in train), test=tuple(part.to(place) for part in test))
    trainer: _Trainer | _Computer = (
        _Trainer(run, scale, settings, data, place, backend, work, progress, compiled)
        if run.compute is None
        else _Computer(run, settings, data, origin["commit"], work, seeds if progress else None)
    )

    started = time.perf_counter()
    rates, tuning = trainer.choose_rates(searched=changes.get("lr") is None)
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in run.arms}
    for seed in range(seeds):
        for name in run.arms:
            arms[name].append(trainer.record(name, seed, rates[name]))
    result = {
        "run": run.name,
        "scale": scale,
        "command": command(run, scale, seeds, changes, backend) + (" --compiled" if compiled else ""),
        "configuration": asdict(settings)
        | {"weight_decay": run.weight_decay, "backend": trainer.backend, "seeds": seeds}
        | ({"compiled": True} if compiled else {}),
        "device": describe_device(place),
        **origin,
        "data": dict(data.hashes),
        "wall_seconds": time.perf_counter() - started + trainer.earlier,
        "arms": arms,
        "cost": trainer.cost(),
        **({"tuning": tuning} if tuning else {}),
        **(run.facts() if run.facts is not None else {}),
    }
    if run.extra is not None:
        result["extra"] = run.extra(Data(tuple(part.cpu() for part in data.train), tuple(p.cpu() for p in data.test)))
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


def trained(run: Run, scale: str, name: str, data: Data, seed: int) -> nn.Module:
    """The model of one arm as `execute` trains it on the CPU with that seed, ready for evaluation.

    Args:
        run: a run that trains models.
        scale: a name in `run.scales`.
        name: of an arm that is a plain function, which takes the scale's learning rate and all of the data.
        data: as `run.data()`.
        seed: of model and data order.
    """
    settings = run.scales[scale]
    part = replace(data, train=seeded_subset(*data.train, settings.train_samples))
    trainer = _Trainer(run, scale, settings, part, torch.device("cpu"), "auto", None, progress=False)
    model = trainer._model(trainer.arms[name], seed)
    trainer._train(name, model, part, trainer._validation(part.test), settings.lr, seed, "")
    return model.eval()


class _Trainer:
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
    ) -> None:
        self.compiled = compiled
        self.run, self.scale, self.settings, self.data, self.place = run, scale, settings, data, place
        self.lenses, self.work, self.progress = backend, work, progress
        self.arms = {name: arm if isinstance(arm, Arm) else Arm(arm) for name, arm in run.arms.items()}
        self.backend: str | None = None
        """How lenses computed, by its own name; None as long as no model had any."""
        self.earlier = 0.0
        """Of arms that were finished before, the record has the seconds of each."""

    def choose_rates(self, searched: bool) -> tuple[dict[str, float], dict[str, Any]]:
        """The learning rate of every arm, and for those that were searched for: held-out accuracy of each candidate.

        Args:
            searched: whether arms may have their own; else all take the one that was asked for.
        """
        rates, tuning = dict.fromkeys(self.arms, self.settings.lr), {}
        if searched and self.settings.epochs:
            for name, arm in self.arms.items():
                if len(arm.rates) > 1:
                    found = {rate: self._held_out(name, rate) for rate in arm.rates}
                    tuning[name] = {
                        "lr": max(found, key=found.__getitem__),  # the first of equals
                        "held_out": {f"{rate:g}": accuracy for rate, accuracy in found.items()},
                    }
                    rates[name] = tuning[name]["lr"]
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
        validation = self._validation(data.test)
        if arm.solve is not None:
            arm.solve(model.to(self.place), *data.train)
        if self.settings.epochs == 0 or arm.solve is not None:
            outcome = _judge(model, validation, self.place)
        else:
            outcome = self._train(name, model, data, validation, rate, seed, f"{name}-seed{seed}")
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
        """What a training step of each arm costs."""
        names = [name for name in self.run.timed or self.arms if self.arms[name].solve is None]
        if self.settings.epochs == 0:
            return {}
        return paired_steps(
            {name: self.arms[name].make for name in names},
            self.data.train,
            self.settings.batch_size,
            self.place,
            self.backend or "auto",
            baseline=self.run.baseline,
            objectives={name: self.arms[name].objective for name in names},
        )

    def _held_out(self, name: str, rate: float) -> float:
        """Accuracy on a fifth of the training rows of the arm with the first seed, when trained on the others.

        The fifth is drawn: made data come class by class, and every fifth row would be of classes that no other has.
        """
        arm = self.arms[name]
        data = self.data if arm.view is None else arm.view(self.data, 0)
        x, y = data.train
        held = (torch.randperm(len(y), generator=torch.Generator().manual_seed(0)) < len(y) // 5).to(y.device)
        part = replace(data, train=(x[~held], y[~held]))
        outcome = self._train(
            name, self._model(arm, 0), part, self._validation((x[held], y[held])), rate, 0, f"{name}-rate{rate:g}"
        )
        return outcome["final_accuracy"]

    def _model(self, arm: Arm, seed: int) -> nn.Module:
        from mobius_lib.waves import MobiusLens, use_backend
        from mobius_lib.waves.fast import fastest

        torch.manual_seed(seed)
        # channels last: the lens reads channels, so no copy is made between it and the convolutions
        model = arm.make().to(memory_format=torch.channels_last)
        if self.backend is None and any(isinstance(module, MobiusLens) for module in model.modules()):
            self.backend = fastest(self.place.type) if self.lenses == "auto" else self.lenses
        return use_backend(model, self.backend or "auto")

    def _validation(self, test: tuple[Tensor, Tensor]) -> Any:
        from mobius_lib.training import ResidentBatches

        return ResidentBatches(*test, 500, shuffle=False, seed=0)

    def _train(
        self, name: str, model: nn.Module, data: Data, validation: Any, rate: float, seed: int, folder: str
    ) -> dict[str, Any]:
        from mobius_lib.training import Recipe, ResidentBatches, fit

        arm, settings = self.arms[name], self.settings
        epochs = settings.epochs if arm.epochs == 1 else max(1, round(settings.epochs * arm.epochs))
        recipe = Recipe(
            epochs=epochs,
            lr=rate,
            weight_decay=self.run.weight_decay,
            batch_size=settings.batch_size,
            warmup_epochs=min(self.run.warmup_epochs, epochs - 1),
            seed=seed,
            save_every_n_epochs=max(1, epochs // 10),  # a stop costs a tenth of an arm, and ten files are kept
        )
        if self.compiled:
            mode = "reduce-overhead" if self.place.type == "cuda" else None
            trained = torch.compile(model.to(self.place), mode=mode)
        else:
            trained = model
        outcome = fit(
            trained,
            ResidentBatches(*data.train, settings.batch_size, shuffle=True, seed=seed, augment=data.augment),
            validation,
            recipe,
            None if self.work is None else self.work / re.sub(r"[^\w.-]+", "-", folder),
            objective=arm.objective,
            groups=arm.groups,
            scalars=self.run.state,
            device=str(self.place),
            config={"run": self.run.name, "scale": self.scale, "arm": name},
            progress=self.progress,
        )
        kept = ("best_accuracy", "final_accuracy", "seconds", "skipped_batches", "history")
        return {name: getattr(outcome, name) for name in kept}


class _Computer:
    """Stands where `_Trainer` does for a run that computes its records: all arms of a seed at once.

    A finished seed is kept in `work`, and taken from there when code, data and sizes are still the same.
    """

    backend = None

    def __init__(
        self, run: Run, settings: Scale, data: Data, commit: str | None, work: Path | None, announced: int | None
    ) -> None:
        self.run, self.data, self.work, self.announced = run, data, work, announced
        sizes = run.facts() if run.facts is not None else {}
        self.of = {"commit": commit, "data": dict(data.hashes), "settings": asdict(settings), **sizes}
        self.seed, self.found = -1, {}
        self.earlier = 0.0
        """Seconds that the seeds took that were kept."""
        self.resumed = 0.0
        """Seconds that the parts took that were kept of a seed that was stopped."""

    def choose_rates(self, searched: bool) -> tuple[dict[str, float], dict[str, Any]]:
        return dict.fromkeys(self.run.arms, 0.0), {}

    def record(self, name: str, seed: int, rate: float) -> dict[str, Any]:
        if seed != self.seed:
            self.seed, self.found = seed, self._whole(seed)
        return {"seed": seed, **self.found[name]}

    def part(self, name: str, seed: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` makes, or what was kept of it under that name. It belongs to the work of that seed.

        A part of an earlier seed may be asked for again: a search for rates, which all seeds share.
        """
        found, seconds, kept = self._obtained(f"seed{seed}-{name}", "part", make)
        if kept and seed == self.seed:
            self.resumed += seconds
        elif not kept and self.announced is not None:
            print(f"{self.run.name}: seed {seed}, {name} took {seconds:.0f} s", flush=True)
        return found

    def _whole(self, seed: int) -> Mapping[str, dict[str, Any]]:
        parts, self.resumed = (self.part,) if self.run.keeps_parts else (), 0.0
        found, seconds, kept = self._obtained(f"seed{seed}", "arms", lambda: self.run.compute(self.data, seed, *parts))
        if kept:
            self.earlier += seconds
        elif self.announced is not None:
            print(f"{self.run.name}: seed {seed + 1} of {self.announced} took {seconds:.0f} s", flush=True)
        self.earlier += self.resumed
        return found

    def _obtained(self, name: str, key: str, make: Callable[[], Mapping]) -> tuple[dict[str, Any], float, bool]:
        """What is kept under a name or else made and kept, the seconds that it took, and whether it was kept."""
        file = None if self.work is None else self.work / (re.sub(r"[^\w.-]+", "-", name) + ".json")
        if file is not None and file.is_file():
            kept = json.loads(file.read_text())
            if kept["of"] == json.loads(json.dumps(self.of)):  # through JSON, in which a tuple is a list
                return kept[key], kept["seconds"], True
        started = time.perf_counter()
        found = finite(dict(make()))
        seconds = time.perf_counter() - started + (self.resumed if key == "arms" else 0.0)
        if file is not None:
            write_json(file, {"of": self.of, "seconds": seconds, key: found})
        return found, seconds, False

    def cost(self) -> dict[str, Any]:
        return {}


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


def _check_computed(run: Run, changed: list[str], device: str, backend: str) -> None:
    given = [*changed, *(["backend"] if backend != "auto" else [])]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise RunError(f"The run {run.name} computes its records and has no {options}; leave it out.")
    if device not in ("auto", "cpu") and not run.on_any_device:
        raise RunError(f"The run {run.name} computes on the CPU, not on {device!r}; use --device cpu or leave it out.")


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


def command(run: Run, scale: str, seeds: int, changes: Mapping[str, Any], backend: str = "auto") -> str:
    """The line that makes this result again, on whatever device there is."""
    options = {**changes, "backend": None if backend == "auto" else backend}
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
