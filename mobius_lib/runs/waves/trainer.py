"""The MobiusNet card's run: MobiusNet on Tiny ImageNet, or on any folder of images."""

import contextlib
import itertools
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from mobius_lib.datasets.image_folder import dataset_name, image_folder
from mobius_lib.errors import CheckpointError, MobiusError
from mobius_lib.runs.waves.readings import lens_state
from mobius_lib.training import LoaderBatches, Recipe, RunFolder, fit, load_model
from mobius_lib.training.checkpoint import KEEP
from mobius_lib.training.hub import HubError, Uploader, check_access, download
from mobius_lib.training.processes import meet, processes
from mobius_lib.waves import PRESETS, GELUTwin, MobiusNet

PUBLISHED = "AbstractPhil/mobiusnet"
"""Where a hub path in `continue_from` is looked for when no repository is named."""


def train_tiny_imagenet(
    preset: str = "mobius_base",
    epochs: int = 200,
    lr: float = 3e-4,
    batch_size: int = 128,
    use_integrator: bool = True,
    data_dir: Path | str = "./data/tiny-imagenet-200",
    output_dir: Path | str = "./outputs",
    hf_repo: str | None = None,
    save_every_n_epochs: int = 10,
    upload_every_n_epochs: int = 10,
    continue_from: Path | str | None = None,
    *,
    keep_checkpoints: int | None = KEEP,
    weight_decay: float = 0.05,
    precision: str = "no",
    seed: int = 0,
    size: int = 64,
    twin: bool = False,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> tuple[MobiusNet, float]:
    """Trains a preset on Tiny ImageNet; the defaults are the published run's (best validation accuracy 0.566).

    The run's folder is {output_dir}/checkpoints/{preset}_{dataset}/{timestamp}/, in the layout of
    `mobius_lib.training.checkpoint`. A folder of images in another layout (train/<class>/, val/<class>/) goes too.

    Args:
        preset: a name in PRESETS that takes three channels.
        epochs, lr, batch_size, weight_decay, precision, seed, save_every_n_epochs: the `Recipe`.
        use_integrator: as in `MobiusNet`.
        data_dir: the folder that holds train/ and val/.
        output_dir: the folder that holds all runs.
        hf_repo: "owner/name" on the hub: the run's folder is uploaded to it. None uploads nothing.
        upload_every_n_epochs: between uploads; there is always one at the end.
        keep_checkpoints: how many of the newest numbered checkpoints stay on the disk, at least 2; None: all.
        continue_from: a run's folder, as a path or below output_dir; or its path in `hf_repo` (in the published
            repository when that is None), which is then downloaded to below output_dir. It goes on in place, and needs
            the arguments it was begun with.
        size: height and width to which images are brought.
        twin: train the GELU twin instead; its folder is called {preset}_gelu_{dataset}.
        workers: processes that load images; None takes one per processor, 8 at most. The result does not depend on it.
        device, progress: as in `fit`.
    Returns:
        The network with the weights of its best epoch, in evaluation mode, and its top-1 validation accuracy.
    Raises:
        MobiusError: an unknown preset; DataError for the images; CheckpointError, RecipeError and TrainingError from
            `fit`; HubError before training for a token or a name that will not do, and when a run to continue cannot be
            downloaded. A failing upload is a warning only.
    """
    if preset not in PRESETS:
        raise MobiusError(f"There is no preset {preset!r}; the presets are {', '.join(PRESETS)}.")
    if PRESETS[preset].in_chans != 3:
        raise MobiusError(f"The preset {preset!r} takes {PRESETS[preset].in_chans} channel, and images have three.")
    if upload_every_n_epochs < 1:
        raise MobiusError(f"upload_every_n_epochs must be at least 1, not {upload_every_n_epochs}.")
    recipe = Recipe(
        epochs=epochs,
        lr=lr,
        weight_decay=weight_decay,
        batch_size=batch_size,
        precision=precision,
        seed=seed,
        save_every_n_epochs=save_every_n_epochs,
    )
    if hf_repo is not None and processes().main:
        check_access(hf_repo, needed=False)
    workers = min(os.cpu_count() or 1, 8) if workers is None else workers
    train_images, val_images = image_folder(data_dir, "train", size), image_folder(data_dir, "val", size)
    train = LoaderBatches(train_images, batch_size, shuffle=True, seed=seed, workers=workers)
    validation = LoaderBatches(val_images, batch_size, shuffle=False, seed=seed, workers=workers)

    dataset = dataset_name(data_dir)
    variant = f"{preset}_gelu" if twin else preset
    group, found = meet(device), None
    if group.main and continue_from is None:
        found = _new_folder(Path(output_dir) / "checkpoints" / f"{variant}_{dataset}")
    elif group.main:
        found = _find(continue_from, Path(output_dir), hf_repo or PUBLISHED)
    folder: Path = group.of_main(found)

    model = _network(seed, twin, use_integrator, len(train_images.classes), preset)
    uploader = None
    if hf_repo is not None and group.main:
        uploader = Uploader(folder, hf_repo, f"checkpoints/{folder.parent.name}/{folder.name}")

    def upload(record: dict[str, Any]) -> None:
        if uploader is not None and record["epoch"] % upload_every_n_epochs == 0 and record["epoch"] < epochs:
            uploader.upload(f"Epoch {record['epoch']}, validation accuracy {record['val_accuracy']:.4f}")

    try:
        outcome = fit(
            model,
            train,
            validation,
            recipe,
            RunFolder(folder, keep=keep_checkpoints),
            device=device,
            config={
                "preset": preset,
                "network": type(model).__name__,
                "dataset": dataset,
                "classes": train_images.classes,
                "size": size,
                "use_integrator": use_integrator,
                **asdict(PRESETS[preset]),
            },
            scalars=lens_state,
            continue_from=None if continue_from is None else folder,
            progress=progress,
            on_epoch=upload,
        )
    except MobiusError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing was written into it
        raise
    if uploader is not None:
        uploader.upload(f"The end, validation accuracy {outcome.final_accuracy:.4f}, best {outcome.best_accuracy:.4f}")
    files = RunFolder(folder)
    load_model(model, files.best_weights(), files.checkpoints)
    return model.eval(), outcome.best_accuracy


def _network(seed: int, twin: bool, use_integrator: bool, classes: int, preset: str) -> MobiusNet:
    """The network at its start, from the seed alone; the caller's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return (GELUTwin if twin else MobiusNet)(num_classes=classes, use_integrator=use_integrator, **PRESETS[preset])


def _new_folder(parent: Path) -> Path:
    """A folder named by the time; a second run of the same second gets a number behind it."""
    stamp = datetime.now().strftime("%Y%m%d_%H%M%S")
    for number in itertools.count(1):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CheckpointError(f"{folder} cannot be made ({reason}); choose an output_dir that can.") from error
    return folder


def _find(continue_from: Path | str, output_dir: Path, repo: str) -> Path:
    """The folder of the run to continue: where it says, below output_dir, or from the hub."""
    for folder in (Path(continue_from), output_dir / continue_from):
        if folder.is_dir():
            return folder
    path = Path(continue_from)
    if path.is_absolute() or str(continue_from).startswith((".", "~")):
        raise CheckpointError(f"There is no run folder {continue_from} to continue from; check the path.")
    try:
        return download(repo, path.as_posix(), output_dir)
    except HubError as error:
        raise HubError(f"There is no run folder {path} here or in {output_dir}. {error}") from error
