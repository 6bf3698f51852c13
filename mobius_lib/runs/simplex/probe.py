"""What a saved David has learned: the table of its scales and its card's three pictures, from the weights alone.

Source: the GeoFractalDavid card, "Learned structure" and "Visualizations".
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mobius_lib.datasets.own import OwnFeatures
from mobius_lib.errors import CheckpointError, DataError
from mobius_lib.files import check_writable
from mobius_lib.runs.base import Data
from mobius_lib.runs.simplex.arms import measure
from mobius_lib.runs.simplex.trainer import plot_prototypes
from mobius_lib.simplex import DavidConfig, GeoFractalDavid

FORMATS = ("png", "svg")


@dataclass(frozen=True)
class Probed:
    """What was found."""

    alpha: float
    """Of the staircase's middle third."""
    scales: dict[int, dict[str, float]]
    """Scale to its fusion weight, its three mixing weights, and mean, std, min and max of its Cantor prototypes; with
    data also accuracy, of its logits alone."""
    accuracy: float | None
    """Of all scales together, on the data."""
    pictures: list[Path]


def probe(
    weights: Path | str,
    folder: Path | str | None = None,
    *,
    form: str = "png",
    data: OwnFeatures | None = None,
    position: str | None = None,
) -> Probed:
    """Reads a David off its weights, and draws them.

    Args:
        weights: a .safetensors file (published, of `train_david` or `train_on`), a .pt checkpoint, or the folder of a
            training run, whose best epoch is taken.
        folder: for the pictures; None is the one of the weights.
        form: "png" or "svg".
        data: rows of its width; it is judged on their test part.
        position: of the staircase, which leaves no trace in weights alone; "batch" for published ones. None: as the
            files say, else "features".
    Raises:
        CheckpointError: when there are no weights of a GeoFractalDavid.
        DataError: when the data are of another width or of classes that it does not have.
    """
    if form not in FORMATS:
        raise CheckpointError(f"Pictures are drawn as {' or '.join(FORMATS)}, not as {form!r}.")
    path = Path(weights)
    model = load_david(path, position)
    folder = Path(folder) if folder is not None else path if path.is_dir() else path.parent
    check_writable(folder / f"cantor_prototypes_sorted.{form}", error=CheckpointError, advice="give another --output")
    scales: dict[int, dict[str, float]] = {
        head.scale: {"fusion": fusion, **mixing, **_spread(head.cantor_prototypes.detach())}
        for head, fusion, mixing in zip(
            model.heads.values(),
            model.get_fusion_weights().values(),
            model.get_geometric_weights().values(),
            strict=True,
        )
    }
    accuracy = None
    if data is not None:
        found = _judged(model, data, path)
        accuracy = found["accuracy"]
        for scale, share in found["scale_accuracy"].items():
            scales[int(scale)]["accuracy"] = share
    return Probed(model.cantor_stairs.alpha.item(), scales, accuracy, plot_prototypes(model, folder, form))


def load_david(path: Path, position: str | None = None) -> GeoFractalDavid:
    """A David, in evaluation mode, from whatever holds its weights; see `probe`."""
    from safetensors.torch import load

    from mobius_lib.training import RunFolder
    from mobius_lib.training.checkpoint import read

    if not path.exists():
        raise CheckpointError(f"There are no weights {path}; name a .safetensors file, or the folder of a run.")
    if path.is_dir():
        state = RunFolder(path).best_weights()
    elif path.suffix == ".pt":
        state = read(path)["model"]
    else:
        try:
            state = load(path.read_bytes())
        except Exception as error:  # of safetensors' own kind, or the system's
            raise CheckpointError(f"{path} cannot be read ({error}); fetch or write it again.") from error
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{name} in {path} holds a NaN or an infinity; take weights of an earlier epoch.")
    settings = _settings(path) | ({} if position is None else {"position": position})
    try:
        return GeoFractalDavid.from_state_dict(state, **settings).eval()
    except ValueError as error:
        raise CheckpointError(f"{path} does not make a GeoFractalDavid: {error}") from error


def _settings(path: Path) -> dict[str, Any]:
    """What weights alone do not say of their model, from the files beside them, where there are such."""
    config: Any = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        if path.is_dir():
            config = json.loads((path / "config.json").read_bytes())["config"]["model"]
        else:
            config = json.loads(path.with_name(f"{path.stem}_metadata.json").read_bytes())["model"]
    wanted = ("tau", "levels", "form", "position", "terms", "scales")
    return {name: config[name] for name in wanted if isinstance(config, dict) and name in config}


def _spread(values: Tensor) -> dict[str, float]:
    return {name: getattr(values, name)().item() for name in ("mean", "std", "min", "max")}


def _judged(model: GeoFractalDavid, data: OwnFeatures, path: Path) -> dict[str, Any]:
    x, y = data.test
    config: DavidConfig = model.config
    if x.shape[1] != config.feature_dim or len(data.classes) > config.num_classes:
        raise DataError(
            f"{data.name} has rows of {x.shape[1]} numbers and {len(data.classes)} classes, and the David in {path} "
            f"takes {config.feature_dim} and has {config.num_classes}; give the features that it was trained on."
        )
    right = sum(
        int((model(rows).argmax(1) == labels).sum()) for rows, labels in zip(x.split(500), y.split(500), strict=True)
    )
    return measure(model, Data((x, y), (x, y)), []) | {"accuracy": right / len(y)}
