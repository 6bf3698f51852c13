"""GeoFractalDavid trained on features of a user's own, with the files that its card lists."""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.runs.base import Data
from mobius_lib.runs.simplex.arms import BasinObjective, groups, measure, state
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid
from mobius_lib.training import Recipe, ResidentBatches, RunFolder, fit, load_model
from mobius_lib.training.batches import tensor_of
from mobius_lib.training.checkpoint import write_json, write_whole
from mobius_lib.training.hub import Uploader, check_access
from mobius_lib.training.processes import Processes, meet, processes

Rows = tuple[Tensor | np.ndarray, Tensor | np.ndarray]


def train_david(
    train: Rows,
    validation: Rows,
    config: DavidConfig | None = None,
    loss: BasinLoss | None = None,
    *,
    epochs: int = 10,
    lr: float = 0.01,
    weight_decay: float = 1e-5,
    batch_size: int = 1024,
    gradient_clip: float | None = 1.0,
    warmup_epochs: int = 3,
    scheduler_type: str = "cosine",
    seed: int = 0,
    precision: str = "no",
    save_every_n_epochs: int = 1,
    output_dir: Path | str = "./outputs",
    model_name: str | None = None,
    run_id: str | None = None,
    hf_repo: str | None = None,
    hub_upload_interval: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> tuple[GeoFractalDavid, float]:
    """Trains a GeoFractalDavid with the contrastive basin loss; the defaults are the nearest public recipe's.

    Below output_dir it leaves

        weights/{model_name}/{run_id}/    best_model_acc{best}.safetensors, best_model_acc{best}_metadata.json,
                                          train_config.json, training_history.json, cantor_prototypes_distribution.png,
                                          cantor_prototypes_sorted.png, cantor_prototypes_cross_scale.png
        runs/{model_name}/{run_id}/       the events of TensorBoard
        checkpoints/{model_name}/{run_id}/  what a stopped run goes on from, as in `mobius_lib.training.checkpoint`

    with the best validation accuracy in percent, for instance best_model_acc71.40. Called again with the same
    arguments and the run_id of a run that was stopped, it goes on and ends like one never stopped.

    Args:
        train, validation: features (N, feature_dim) and classes (N,) int64; `load_features` and `imagenet_clip` give
            such pairs, and pairs of NumPy arrays are some, too.
        config: David's sizes; None takes k and scales of the published run, with width and classes of `train`. Its
            seed is the one given here.
        loss: which terms, how strong; None is all.
        epochs, lr, weight_decay, batch_size, warmup_epochs, seed, precision, save_every_n_epochs: the `Recipe`. The
            rate is that of the heads; fusion weights learn at half of it, the staircase at a tenth.
        scheduler_type: the recipe's `schedule`: cosine, cosine_restarts, linear or constant. The card has a setting of
            this name, and does not say which it was.
        gradient_clip: largest gradient norm; None leaves them.
        output_dir: the folder that holds all runs.
        model_name: None is GeoFractalDavid-Basin-k{k}.
        run_id: None is the time, for instance 20251014_213000.
        hf_repo: "owner/name" on the hub, to which both folders are uploaded at the end. None uploads nothing.
        hub_upload_interval: epochs between further uploads; 0 uploads at the end only.
        device, progress: as in `fit`.
    Returns:
        The model with the weights of its best epoch, in evaluation mode, and its top-1 validation accuracy.
    Raises:
        DataError: for features or labels that cannot be trained on: the sentence says which rows.
        ValueError: for a configuration that no model can have.
        MobiusError: CheckpointError, RecipeError and TrainingError from `fit`; HubError before training for a token or
            a name that will not do. A failing upload is a warning only.
    Source:
        the GeoFractalDavid card for files, groups and clipping; batch, rate, decay and warm-up of the sibling run whose
        recipe is public.
    """
    config = _configuration(train, config, seed)
    if hub_upload_interval < 0:
        raise MobiusError(f"hub_upload_interval must be 0 or more, not {hub_upload_interval}.")
    rows, judged = (_checked(name, each, config) for name, each in (("train", train), ("validation", validation)))
    _every_class(rows[1], config.num_classes)
    recipe = Recipe(
        epochs=epochs,
        lr=lr,
        weight_decay=weight_decay,
        batch_size=batch_size,
        grad_clip=gradient_clip,
        precision=precision,
        seed=seed,
        warmup_epochs=warmup_epochs,
        schedule=scheduler_type,
        save_every_n_epochs=save_every_n_epochs,
    )
    if hf_repo is not None and processes().main:
        check_access(hf_repo, needed=False)
    loss = loss or BasinLoss()
    group = meet(device)
    place = Place(Path(output_dir), model_name or name_of(config), run_id, group)
    model = GeoFractalDavid(config)
    about = place.about(config, loss, asdict(recipe))
    if group.main:
        place.prepare(about)
    uploaders = [] if hf_repo is None else place.uploaders(hf_repo)

    def after(record: dict[str, Any]) -> None:
        place.export(config)
        if hub_upload_interval and record["epoch"] % hub_upload_interval == 0 and record["epoch"] < epochs:
            for uploader in uploaders:
                uploader.upload(f"Epoch {record['epoch']}, validation accuracy {record['val_accuracy']:.4f}")

    outcome = fit(
        model,
        ResidentBatches(*rows, batch_size, shuffle=True, seed=seed, device=_resident(device)),
        ResidentBatches(*judged, 1000, shuffle=False, seed=seed, device=_resident(device)),
        recipe,
        place.checkpoints,
        objective=BasinObjective(loss),
        groups=groups,
        scalars=state,
        tensorboard=place.events,
        device=device,
        config={key: value for key, value in about.items() if key != "recipe"},
        progress=progress,
        on_epoch=after,
    )
    files = RunFolder(place.checkpoints)
    load_model(model, files.best_weights(), files.checkpoints)
    model.eval()
    here = next(model.parameters()).device
    found = measure(model, Data(rows, tuple(part.to(here) for part in judged)), outcome.history)
    if group.main:
        place.finish(config, outcome.history, found)
        plot_prototypes(model, place.weights)
    for uploader in uploaders if group.main else ():
        uploader.upload(f"The end, best validation accuracy {outcome.best_accuracy:.4f}")
    return model, outcome.best_accuracy


def name_of(config: DavidConfig) -> str:
    """Of a model that has been given none."""
    return f"GeoFractalDavid-Basin-k{config.k}"


class Place:
    """The three folders of a run, and what is written into the first."""

    def __init__(self, output_dir: Path, name: str, run_id: str | None, group: Processes) -> None:
        for what, text in (("model_name", name), ("run_id", run_id)):
            if text is not None and (not text or Path(text).name != text):
                raise MobiusError(f"{what} must be the name of a folder, not {text!r}.")
        self.output_dir, self.name = output_dir, name
        self.run_id = run_id or group.of_main(self._free(datetime.now().strftime("%Y%m%d_%H%M%S")))
        self.weights, self.events, self.checkpoints = (
            output_dir / kind / name / self.run_id for kind in ("weights", "runs", "checkpoints")
        )

    def _free(self, stamp: str) -> str:
        """The stamp, with a number behind it where another run has begun in the same second."""
        taken = {path.name for path in (self.output_dir / "weights" / self.name).glob(f"{stamp}*")}
        return next(
            each for i in range(1, len(taken) + 2) if (each := stamp if i == 1 else f"{stamp}_{i}") not in taken
        )

    def about(self, config: DavidConfig, loss: BasinLoss | None, recipe: dict[str, Any]) -> dict[str, Any]:
        """What train_config.json holds; None: trained by another loss."""
        named = {"model_name": self.name, "run_id": self.run_id, "model": asdict(config)}
        return named | {"loss": None if loss is None else asdict(loss), "recipe": recipe}

    def prepare(self, about: dict[str, Any]) -> None:
        """Makes the folder of the weights and writes train_config.json; a run that goes on keeps the one it has."""
        try:
            self.weights.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CheckpointError(
                f"{self.weights} cannot be made ({reason}); choose an output_dir that can."
            ) from error
        path = self.weights / "train_config.json"
        if path.is_file():
            with contextlib.suppress(OSError, ValueError, AttributeError):
                before = json.loads(path.read_text())
                if any(before.get(part) != json.loads(json.dumps(about[part])) for part in ("model", "loss")):
                    raise CheckpointError(
                        f"The run in {self.weights} was begun with another config or loss: pass those of its "
                        "train_config.json to continue it, or another run_id to start anew."
                    )
        write_json(path, about)

    def export(self, config: DavidConfig) -> None:
        """Puts the weights of the best epoch so far under their name, and takes those before away."""
        from safetensors.torch import save

        source = RunFolder(self.checkpoints)
        best = source.best()
        name = f"best_model_acc{100 * best['accuracy']:.2f}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            # the metadata are written last: where they name this epoch, its weights are there
            if json.loads((self.weights / f"{name}_metadata.json").read_text())["best_epoch"] == best["epoch"]:
                return
        write_whole(self.weights / f"{name}.safetensors", save(source.best_weights()))
        write_json(self.weights / f"{name}_metadata.json", self._metadata(config, best))
        for path in self.weights.glob("best_model_acc*"):
            if path.name not in (f"{name}.safetensors", f"{name}_metadata.json"):
                path.unlink()

    def finish(self, config: DavidConfig, history: list[dict[str, Any]], found: dict[str, Any]) -> None:
        """Writes weights, what they hold, and the history."""
        self.export(config)
        best = RunFolder(self.checkpoints).best()
        metadata = self.weights / f"best_model_acc{100 * best['accuracy']:.2f}_metadata.json"
        write_json(metadata, self._metadata(config, best) | found)
        write_json(self.weights / "training_history.json", history)

    def uploaders(self, repo: str) -> list[Uploader]:
        return [
            Uploader(folder, repo, f"{folder.parent.parent.name}/{self.name}/{self.run_id}")
            for folder in (self.weights, self.events)
        ]

    def _metadata(self, config: DavidConfig, best: dict[str, Any]) -> dict[str, Any]:
        return {
            "model_name": self.name,
            "run_id": self.run_id,
            "best_accuracy": best["accuracy"],
            "best_epoch": best["epoch"],
            "model": asdict(config),
        }


def plot_prototypes(model: GeoFractalDavid, folder: Path | str, form: str = "png") -> list[Path]:
    """The card's three pictures of a model's Cantor prototypes and mixing weights.

    Args:
        model: trained.
        folder: where the files go; it exists.
        form: "png" or "svg".
    Returns:
        the files: distribution (a histogram per scale), sorted (each scale's prototypes in ascending order),
        cross_scale (mean and deviation per scale; mixing weights per scale).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = Path(folder)
    prototypes = {
        scale: head.cantor_prototypes.detach().float().cpu().sort().values.numpy()
        for scale, head in zip(model.config.scales, model.heads.values(), strict=True)
    }
    names = [str(scale) for scale in prototypes]
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

    def save(figure: Figure, name: str) -> Path:
        buffer = io.BytesIO()
        FigureCanvasAgg(figure)  # no window, whatever the backend of the caller
        figure.savefig(buffer, format=form, dpi=120, metadata={"Date": None} if form == "svg" else None)
        path = folder / f"cantor_prototypes_{name}.{form}"
        write_whole(path, buffer.getvalue())
        return path

    figure = Figure(figsize=(3 * len(names), 2.8), layout="constrained")
    for axes, name, values in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names, prototypes.values(), strict=True
    ):
        axes.hist(values, bins=min(50, max(5, len(values) // 4)), color="#0072b2")
        axes.set(title=f"scale {name}", xlabel="Cantor prototype", ylabel="classes")
    paths = [save(figure, "distribution")]

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, (name, values) in enumerate(zip(names, prototypes.values(), strict=True)):
        axes.plot(values, linestyle=styles[i % len(styles)], label=f"scale {name}")
    axes.set(xlabel="class, in ascending order of its prototype", ylabel="Cantor prototype")
    axes.legend()
    paths.append(save(figure, "sorted"))

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.errorbar(names, [v.mean() for v in prototypes.values()], yerr=[v.std() for v in prototypes.values()], fmt="o")
    left.set(xlabel="scale", ylabel="Cantor prototypes, mean ± deviation")
    weights = model.get_geometric_weights().values()
    bottom: Sequence[float] = [0.0] * len(names)
    for term, colour, hatch in (("feature", "#0072b2", ""), ("cantor", "#e69f00", "//"), ("crystal", "#009e73", "..")):
        shares = [each[term] for each in weights]
        right.bar(names, shares, bottom=bottom, color=colour, hatch=hatch, edgecolor="white", label=term)
        bottom = [a + b for a, b in zip(bottom, shares, strict=True)]
    right.set(xlabel="scale", ylabel="mixing weight")
    right.legend()
    paths.append(save(figure, "cross_scale"))
    return paths


def _configuration(train: Rows, config: DavidConfig | None, seed: int) -> DavidConfig:
    if config is not None:
        return replace(config, seed=seed)
    x, y = _pair("train", train)
    return DavidConfig(feature_dim=x.shape[1], num_classes=_classes_of(y), seed=seed)


def _classes_of(y: Tensor) -> int:
    found = int(y.max()) + 1
    if found < 2:
        raise DataError("train holds one class only (label 0); a classifier needs rows of at least two.")
    return found


def _pair(name: str, rows: Rows) -> tuple[Tensor, Tensor]:
    """The two tensors, of the right shapes and types."""
    kinds = (Tensor, np.ndarray)
    if not isinstance(rows, tuple | list) or len(rows) != 2 or not all(isinstance(part, kinds) for part in rows):
        raise DataError(f"{name} must be a pair of tensors, features and labels, not a {type(rows).__name__}.")
    x, y = map(tensor_of, rows)
    if x.ndim != 2 or not x.is_floating_point() or 0 in x.shape:
        raise DataError(
            f"The features of {name} must be floating-point rows (N, feature_dim), N >= 1, not {x.dtype} of shape "
            f"{tuple(x.shape)}."
        )
    if y.shape != (len(x),) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(
            f"The labels of {name} must be one integer for each of its {len(x)} rows, not {y.dtype} of shape "
            f"{tuple(y.shape)}."
        )
    return x, y.long()


def _checked(name: str, rows: Rows, config: DavidConfig) -> tuple[Tensor, Tensor]:
    """Rows that the configured model can be trained on or judged by."""
    x, y = _pair(name, rows)
    if x.shape[1] != config.feature_dim:
        raise DataError(
            f"The features of {name} have {x.shape[1]} dimensions, but config.feature_dim is {config.feature_dim}; "
            "give other features or another config."
        )
    finite = [torch.isfinite(part).all(dim=1) for part in x.split(16_384)]  # of what may be mapped from the disk
    bad = (~torch.cat(finite)).nonzero().flatten()
    if len(bad):
        raise DataError(
            f"The features of {name} hold a value that is not finite in {len(bad)} row(s), the first of them row "
            f"{int(bad[0])} (from 0); leave such rows out."
        )
    low, high = (int(end) for end in y.aminmax())
    if low < 0 or high >= config.num_classes:
        row = int(((y < 0) | (y >= config.num_classes)).nonzero()[0])
        raise DataError(
            f"The labels of {name} must lie in 0 to {config.num_classes - 1}, but row {row} has {int(y[row])}; "
            "number the classes from 0, or raise config.num_classes."
        )
    return x if x.dtype == torch.float16 else x.float(), y


def _every_class(y: Tensor, classes: int) -> None:
    absent = (y.bincount(minlength=classes) == 0).nonzero().flatten().tolist()
    if absent:
        some = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
        raise DataError(
            f"train has no row of {len(absent)} of the {classes} classes ({some}); a class without rows cannot be "
            "learned: number the others anew, or lower config.num_classes."
        )


def _resident(device: str) -> str:
    """Where the rows wait: with the model, so that no step copies them."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device if device.startswith("cuda") and torch.cuda.is_available() else "cpu"
