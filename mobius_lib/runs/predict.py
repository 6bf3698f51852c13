"""From pictures to the names of their classes, by the weights that `train_on` has left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.datasets.encoders import Encoder
from mobius_lib.datasets.encoders import encoder as encoder_named
from mobius_lib.datasets.image_folder import load_picture
from mobius_lib.datasets.own import facts_of
from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.runs.own import HOMES
from mobius_lib.runs.simplex.arms import TEMPERATURE
from mobius_lib.simplex import GeoFractalDavid

MADE_BY = "`mobius run waves-features --data` and `mobius run simplex-features --data` write them"
_BATCH = 32


@dataclass(frozen=True)
class Trained:
    """A model that was trained on somebody's features, and what is known of it."""

    model: nn.Module
    """In evaluation mode, on the CPU."""
    run: str
    arm: str
    dim: int
    """Width of the features."""
    classes: tuple[str, ...]
    encoder: dict[str, Any] | None
    """What made the features, as in `Encoder.provenance`; None where nothing says so."""
    rows: Callable[[Tensor], Tensor]
    """From features (N, dim) to what the model takes."""

    @torch.inference_mode()
    def probabilities(self, features: Tensor) -> Tensor:
        """(N, dim), of any length, to (N, classes); each row has sum 1."""
        logits = self.model(self.rows(nn.functional.normalize(features)))
        # David's lie within a few units, and are trained at a temperature
        return torch.softmax(logits / (TEMPERATURE if isinstance(self.model, GeoFractalDavid) else 1.0), dim=1)


def load_trained(path: Path | str) -> Trained:
    """The model of a weights file.

    Raises:
        CheckpointError: when it is missing, damaged, or not of a run on somebody's features.
    """
    from safetensors.torch import load_file

    from mobius_lib.training.checkpoint import load_model

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no weights file {path}; {MADE_BY}, below outputs/.")
    try:
        facts = facts_of(path)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    try:
        name, arm, dim, classes = (facts[part] for part in ("run", "arm", "dim", "classes"))
        home = HOMES[name]
        model = home.run(int(dim), len(classes)).arms[arm]()
    except (KeyError, TypeError, ValueError, MobiusError) as error:
        raise CheckpointError(
            f"{path} does not say which network its weights are of, on which features and classes; {MADE_BY} so that "
            "they do."
        ) from error
    load_model(model, load_file(path), path)
    return Trained(model.eval(), name, arm, int(dim), tuple(classes), facts.get("encoder"), home.rows)


def predict(
    weights: Path | str,
    images: Sequence[Path | str],
    *,
    top: int = 5,
    encoder: Encoder | str | None = None,
    device: torch.device | str = "cpu",
) -> list[list[tuple[str, float]]]:
    """What pictures show, with how probable the model finds it.

    Args:
        weights: a file that `train_on` has left.
        images: picture files.
        top: how many classes to name for each.
        encoder: of the pictures; None is the one that made the features, which must have the same weights still.
        device: where an encoder that is named computes.
    Returns:
        for each picture the `top` most probable classes, the likeliest first: (name, probability).
    Raises:
        CheckpointError: as `load_trained`, and when nothing says which encoder is needed, or it is another one now.
        DataError: for a picture or an encoder that cannot be had.
    """
    trained = load_trained(weights)
    if isinstance(images, str | Path):
        images = [images]
    chosen = encoder if isinstance(encoder, Encoder) else _encoder_of(trained, Path(weights), encoder, device)
    if chosen.dim != trained.dim:
        raise CheckpointError(
            f"{weights} takes features of {trained.dim} numbers, and {chosen.name} makes {chosen.dim}; name the "
            "encoder that made its features with --encoder."
        )
    found: list[list[tuple[str, float]]] = []
    for start in range(0, len(images), _BATCH):
        pictures = [load_picture(Path(image)) for image in images[start : start + _BATCH]]
        values, numbers = trained.probabilities(chosen.encode(pictures)).topk(min(top, len(trained.classes)))
        found += [
            [(trained.classes[number], value) for number, value in zip(*pair, strict=True)]
            for pair in zip(numbers.tolist(), values.tolist(), strict=True)
        ]
    return found


def _encoder_of(trained: Trained, weights: Path, named: str | None, device: torch.device | str) -> Encoder:
    told = trained.encoder or {}
    if named is None and "name" not in told:
        raise CheckpointError(
            f"{weights} was trained on features whose file does not say what made them; name the encoder by --encoder."
        )
    chosen = encoder_named(named or told["name"], device)
    if told.get("sha256", chosen.sha256) != chosen.sha256:
        raise CheckpointError(
            f"{weights} was trained on features of {told.get('name')} with the weights {told['sha256'][:12]}…, and "
            f"{chosen.name} has {chosen.sha256[:12]}… here; name that one with --encoder, or make the features anew "
            "and train on them."
        )
    return chosen
