"""The runs on features of a user's own: `mobius run NAME --data SOURCE`, and the same from Python.

What comes of one is a record of the scale "own", which no claim is judged by, and for each arm and seed a file of its
weights that says by itself which network they are of, what its classes are called and what made the features: what
`predict` needs.
"""

import json
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mobius_lib.datasets.own import DEFAULT_ENCODER, KEY, OwnFeatures, own_features
from mobius_lib.errors import CheckpointError
from mobius_lib.files import check_writable, write_json, write_whole
from mobius_lib.runs.about import OWN, RunError
from mobius_lib.runs.base import Arm, Data, Run
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.executor import execute
from mobius_lib.runs.simplex import own as simplex_own
from mobius_lib.runs.waves import own as waves_own

if TYPE_CHECKING:
    from types import ModuleType

HOMES: dict[str, "ModuleType"] = {"waves-features": waves_own, "simplex-features": simplex_own}
"""Runs that take features of a user's own, to the module with their `run(dim, classes)` and `rows(x)`."""

OTHER_OUTPUT = "give another --output"
FEW, FEW_BATCH, FEW_STEPS = 1000, 16, 300
"""Of fewer rows the batches are smaller, and there are so many epochs that an arm makes so many steps; unless the user
says how large, and how many. After fewer steps the running means of batch norm are not yet those of the data."""


def train_on(
    name: str,
    source: Path | str,
    *,
    classes: int | str | Path | None = None,
    feature_column: str | None = None,
    label_column: str | None = None,
    encoder: str = DEFAULT_ENCODER,
    work: Path | str = "outputs",
    output: Path | str | None = None,
    device: str = "auto",
    progress: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Trains every arm of a run on features of your own, and leaves their weights for `predict`.

    Below work/NAME/own-SOURCE/ it leaves NAME.own.json (the record), weights/ARM-seedN.safetensors, and the
    checkpoints from which the same call goes on when it was stopped.

    Args:
        name: waves-features or simplex-features.
        source, classes, feature_column, label_column, encoder: as in `own_features`, which says how a test part is
            held out.
        work: the folder of all runs.
        output: of the record, in place of the one above.
        device, progress, options: as in `execute`: seeds, epochs, batch_size, lr, train_samples, test_samples, backend.
    Returns:
        the record, as in data/README.md, and in it `own`: `source`, `classes`, `encoder`, `split` and `weights`
        ({arm: path} of seed 0).
    Raises:
        RunError: for a run that takes no data, a width that it cannot take, a setting that does not exist, or an output
            that cannot be written.
        DataError: for a source that cannot be read.
    """
    from mobius_lib.training.processes import meet

    if name not in HOMES:
        raise RunError(f"The run {name} takes no data of your own; {' and '.join(HOMES)} do.")
    place, work = pick_device(device), Path(work)
    group = meet(place)
    if output is not None and group.main:
        check_writable(output, error=RunError, advice=OTHER_OUTPUT)  # now, and not after all the training
    data = own_features(
        source, classes=classes, feature_column=feature_column, label_column=label_column, encoder=encoder,
        cache=work / "features", device=place, progress=progress,
    )  # fmt: skip
    folder = work / name / f"{OWN}-{data.name}"
    run = own_run(name, data, folder / "weights")
    result = execute(run, OWN, device=device, work=folder, progress=progress, **options)
    given = {"data": source, "classes": classes, "feature-column": feature_column, "label-column": label_column}
    given |= {"encoder": None if encoder == DEFAULT_ENCODER else encoder}
    line = "".join(f" --{key} {shlex.quote(str(value))}" for key, value in given.items() if value is not None)
    result["command"] = result["command"].replace(f" --scale {OWN}", line)
    result["own"] = {
        "source": data.name, "classes": list(data.classes), "encoder": data.encoder, "split": data.split,
        "rows": {"train": len(data.train[1]), "test": len(data.test[1])},
        "weights": {arm: str(folder / "weights" / rows[0]["weights"]) for arm, rows in result["arms"].items()},
    }  # fmt: skip
    if group.main:
        write_json(output or folder / f"{name}.{OWN}.json", result, error=RunError, advice=OTHER_OUTPUT)
    return result


def own_run(name: str, data: OwnFeatures, weights: Path | None = None) -> Run:
    """A run on features of a user's own, for `execute(run, "own")`.

    Args:
        name: of `HOMES`.
        data: from `own_features`.
        weights: folder into which every trained model is written as ARM-seedN.safetensors; None writes none.
    Raises:
        RunError: for a width that the run cannot take.
    """
    home = HOMES[name]
    run: Run = home.run(data.dim, len(data.classes))
    train, test = ((home.rows(x), y) for x, y in (data.train, data.test))
    about = {"run": name, "dim": data.dim, "classes": data.classes, "encoder": data.encoder}

    def measure(model: nn.Module, part: Data, history: list[dict[str, Any]]) -> dict[str, Any]:
        found = {} if run.measure is None else run.measure(model, part, history)
        return found if weights is None else found | {"weights": _write_weights(weights, model, about)}

    scale = run.scales[OWN]
    if len(data.train[1]) < FEW:
        steps = math.ceil(len(data.train[1]) / FEW_BATCH)
        scale = replace(scale, batch_size=FEW_BATCH, epochs=max(scale.epochs, math.ceil(FEW_STEPS / steps)))
    return replace(
        run,
        scales={OWN: scale},
        arms={arm: _labelled(arm, each) for arm, each in run.arms.items()},
        data=lambda: Data(train, test),
        measure=measure,
    )


def _labelled(name: str, arm: Callable[[], nn.Module]) -> Arm:
    """The arm whose models know which they are: `execute` has put the seed into torch's generator."""

    def make() -> nn.Module:
        model = arm()
        model.label = (name, torch.initial_seed())  # type: ignore[assignment]  # it is no tensor
        return model

    return replace(arm, make=make) if isinstance(arm, Arm) else Arm(make)


def _write_weights(folder: Path, model: nn.Module, about: Mapping[str, Any]) -> str:
    """Puts a trained model's weights into a file that says what they are of, and returns its name."""
    from safetensors.torch import save

    from mobius_lib.training.checkpoint import weights_of
    from mobius_lib.training.processes import processes

    arm, seed = model.label  # type: ignore[misc]
    name = f"{arm}-seed{seed}.safetensors"
    if not processes().main:
        return name
    stored = save(weights_of(model), {KEY: json.dumps({**about, "arm": arm, "seed": seed})})
    write_whole(folder / name, stored, error=CheckpointError, advice="make room, and the same command writes it")
    return name
