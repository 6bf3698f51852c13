"""How a run is carried out: every arm with every seed, and the result with its provenance.

Arms take turns within each seed, so that a machine that slows down slows all of them.
"""

import hashlib
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.files import check_writable, plain, write_whole
from mobius_lib.fingerprint import fingerprint, known_by
from mobius_lib.runs.about import RunError, Scale
from mobius_lib.runs.base import Data, Run, seeded_subset
from mobius_lib.runs.computer import Computer
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.extension import aside, begun
from mobius_lib.runs.made_by import configuration_of, data_of
from mobius_lib.runs.predictions import ENDING, pack
from mobius_lib.runs.provenance import describe_device, provenance
from mobius_lib.runs.records import command, write_record
from mobius_lib.runs.replay import replay, to_keep
from mobius_lib.runs.room import check_machine
from mobius_lib.runs.trainer import MACHINERY, Trainer


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
    replayed: bool = False,
    only: Collection[str] = (),
    extend: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Train every arm of a run with every seed, and return (and write) the result with its provenance.

    Args:
        run: what to do.
        scale: a name in `run.scales`.
        seeds: how many; they are 0, 1, ….
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        output: the result file; None writes none.
        work: folder of the checkpoints, one below it per arm and seed. A second call continues what was interrupted
            and skips what is finished, if code, data and configuration are still the same; what others made stays
            there and is not taken. None keeps nothing.
        progress: show a progress bar.
        backend: how lenses compute; the numbers are the same. "auto" takes the fastest that works on the device.
        compiled: train every arm's whole model under torch.compile, on a GPU with CUDA graphs. Pays where launching
            kernels takes longer than running them.
        replayed: at the end compute the beginning again, and keep what `mobius verify` will compare with.
        only: train these arms alone, with their searches, and write nothing but `work`, from which the whole run takes
            them. So several processes share a run, each with its own arms. None: all.
        extend: take the seeds, and the learning rates, that the record at `output` has, and add the others to it.
        changes: settings of `Scale` to change, for instance epochs=8 or precision="bf16".
    Returns:
        the record described in data/README.md. Of several processes that a launcher has started, the main one's; the
        others have what was trained alone, and write nothing.
    Raises:
        RunError: unknown scale, field, arm, backend or device, a number below 1, an output that cannot be written, or a
            setting of training for a run that computes its records, or too little disk.
        DataError: for its data, or too little memory.
    """
    from mobius_lib.training.processes import alone, meet
    from mobius_lib.waves.lens import BACKENDS

    run = run.at(scale)
    if seeds < 1:
        raise RunError(f"A run needs at least one seed, not {seeds}.")
    if backend not in BACKENDS:
        raise RunError(f"There is no backend {backend!r}; use {', '.join(BACKENDS)}.")
    changes = {key: value for key, value in changes.items() if value is not None}
    settings = changed(run.scales[scale], changes)
    if run.compute is not None:
        given = [*changes, *(["compiled"] if compiled else []), *(["arm"] if only and not run.keeps_parts else [])]
        _check_computed(run, given, device, backend)
        device = device if run.on_any_device else "cpu"
    if unknown := set(only) - set(run.arms):
        raise RunError(f"The run {run.name} has no arm {min(unknown)!r} at this scale; it has {', '.join(run.arms)}.")
    before = begun(output, run, scale, seeds, changes) if extend else None
    place = pick_device(device)
    group = meet(place)
    if group.count > 1 and run.compute is not None:
        raise RunError(f"The run {run.name} computes its records in one process; start it without a launcher.")
    output, progress = (output, progress) if group.main else (None, False)
    if output is not None:  # now, and not after hours of training
        check_writable(output, error=RunError, advice="give another --output")
        if run.keep_predictions:
            if output.suffix == ENDING:
                raise RunError(f"{output}: the predictions of this run would replace its record; end it in .json.")
            check_writable(output.with_suffix(ENDING), error=RunError, advice="give another --output")
    if group.main:
        check_machine(run, settings, seeds, place, work, only)
    origin = provenance()  # now: the code on disk may be another one when the run has ended
    made_by, loading = {"code": code_of(run)}, fingerprint(run.data)  # now: later `run` may have something to remember
    data = loaded(run, settings, place)
    kept = before.predictions(data) if before else {}
    facts = run.facts() if run.facts is not None else {}
    chosen = {"device": place.type, "compiled": compiled, "facts": plain(facts)}
    made_by["data"] = data_of(data)
    trainer: Trainer | Computer
    if run.compute is None:
        trainer = Trainer(
            run, scale, settings, data, place, backend, work, progress, compiled, data_print=made_by["data"]
        )
    else:
        made_by["configuration"] = configuration_of(run, scale, settings, backend=None, **chosen)
        about = {"scale": scale, **origin}
        trainer = Computer(run, about, data, made_by, work, seeds if progress else None, only)

    searched, there = changes.get("lr") is None and before is None, before.seeds if before else 0
    if isinstance(trainer, Trainer) and run.needs is not None and settings.epochs and group.main:
        hours = trainer.seconds(seeds - there, searched, only) / 3600
        print(f"By one step of each model, training takes about {hours:,.1f} hours here.", file=sys.stderr)
    started = time.perf_counter()
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in run.arms if not only or name in only}
    with trainer.bar(seeds - there, searched, only):
        rates, tuning = (before.rates(settings.lr), {}) if before else trainer.choose_rates(searched, only)
        for seed in range(there, seeds):
            for name in arms:
                arms[name].append(trainer.record(name, seed, rates[name]))
                if before is not None:
                    before.agree(name, arms[name][-1])
    if only or not group.main:
        return plain({"command": command(run, scale, seeds, changes, backend), "arms": arms, "cost": {}})
    result = {
        "run": run.name,
        "scale": scale,
        "command": command(run, scale, seeds, changes, backend) + (" --compiled" if compiled else ""),
        "configuration": asdict(settings)
        | {"weight_decay": run.weight_decay, "backend": trainer.backend, "seeds": seeds}
        | ({"compiled": True} if compiled else {})
        | ({"processes": group.count} if group.count > 1 else {}),
        "device": describe_device(place),
        **origin,
        "data": dict(data.hashes),
        "fingerprint": made_by
        | {"configuration": configuration_of(run, scale, settings, backend=trainer.backend, **chosen)}
        | {"loading": loading},
        "wall_seconds": time.perf_counter() - started + trainer.earlier,
        "arms": arms,
        "cost": {} if before else trainer.cost(),
        **({"tuning": tuning} if tuning else {}),
        **({} if run.watched is None else {"watched": run.watched}),
        **facts,
    }
    if before is not None:
        result = before.extended(result)
    elif run.extra is not None:
        (x, y), (x_test, y_test) = data.train, data.test
        result["extra"] = run.extra(Data((x.cpu(), y.cpu()), (x_test.cpu(), y_test.cpu())))
    if replayed and before is None:
        first = {name: rows[0] for name, rows in arms.items()}
        with alone():
            result["replay"] = to_keep(replay(run, scale, settings, data, first, place), first)
    result = plain(result)
    advice = "make room or give another --output, and the same command writes it without training again"
    if run.keep_predictions:
        made = trainer.predictions  # type: ignore[union-attr]  # what is computed keeps none
        content = pack(data.test[1].cpu(), {name: [*kept.get(name, ()), *made[name]] for name in arms})
        result["predictions"] = hashlib.sha256(content).hexdigest()
        if output is not None:
            with aside(output.with_suffix(ENDING)):
                write_whole(output.with_suffix(ENDING), content, error=RunError, advice=advice)
                write_record(output, result, advice)
    elif output is not None:
        write_record(output, result, advice)
    return result


def code_of(run: Run) -> str:
    """The fingerprint of everything that a run reaches, but for the loading of its data, which count themselves."""
    own = (run.arms, run.state, run.readings, run.measure, run.extra, run.facts, run.compute)
    return fingerprint(own, MACHINERY if run.compute is None else None)


def loaded(run: Run, settings: Scale, place: torch.device) -> Data:
    """The data of a run, as many rows as its settings say, where it computes.

    Rows to train on that would take more than half of what a GPU has free stay where they are, and come by batches.
    """
    data = run.data().identified()
    train, test = seeded_subset(*data.train, settings.train_samples), seeded_subset(*data.test, settings.test_samples)

    def moved(rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = rows
        return known_by(x.to(place), x), known_by(y.to(place), y)

    return replace(data, train=moved(train) if fits(train, place) else train, test=moved(test))


def fits(rows: tuple[Tensor, Tensor], place: torch.device) -> bool:
    """Whether they can wait with the model: on a CPU always, for what is mapped takes no memory."""
    return place.type != "cuda" or 2 * sum(part.nbytes for part in rows) < torch.cuda.mem_get_info(place)[0]


def changed(scale: Scale, changes: Mapping[str, Any]) -> Scale:
    numbers = [each.name for each in fields(Scale) if each.name != "note"]
    for name, value in changes.items():
        if name not in numbers:
            raise RunError(f"A scale has no setting {name!r}; it has {', '.join(numbers)}.")
        if name.endswith("samples") and value < 1:
            raise RunError(f"{name} must be at least 1, not {value}.")
        if name == "epochs" and value < 0:
            raise RunError(f"epochs must be a whole number, and at least 0, not {value}.")
    return replace(scale, **changes)


def _check_computed(run: Run, changed: list[str], device: str, backend: str) -> None:
    given = [*changed, *(["backend"] if backend != "auto" else [])]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise RunError(f"The run {run.name} computes its records and has no {options}; leave it out.")
    if device not in ("auto", "cpu") and not run.on_any_device:
        raise RunError(f"The run {run.name} computes on the CPU, not on {device!r}; use --device cpu or leave it out.")
