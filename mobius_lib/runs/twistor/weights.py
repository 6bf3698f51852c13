"""A trained language model in one .safetensors file: its weights, and what is needed to build and to read it.

The metadata hold the model's class and configuration, the character of each token, and what it was made by.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mobius_lib.errors import CheckpointError
from mobius_lib.files import plain, write_whole
from mobius_lib.runs.twistor.models import MixedTwistor, RecurrentModel, TransformerModel
from mobius_lib.twistor import TwistorConfig, TwistorHopeArchitecture

FORMAT = "mobius_lib language model 1"
FILE = "model.safetensors"
"""Its name in the folder of a run's training."""
MODELS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (TwistorHopeArchitecture, MixedTwistor, RecurrentModel, TransformerModel)
}


def save(model: nn.Module, letters: str, path: Path | str, about: Mapping[str, Any] | None = None) -> None:
    """Write a model of characters into one file, whole or not at all.

    Args:
        model: of `MODELS`.
        letters: the character of each token.
        about: what it was made by.
    """
    from safetensors.torch import save

    from mobius_lib.training.checkpoint import weights_of

    config: Any = model.config
    content = {
        "format": FORMAT,
        "model": type(model).__name__,
        "config": json.dumps(asdict(config) if is_dataclass(config) else vars(config)),
        "letters": letters,
        "made": json.dumps(plain(dict(about or {}))),
    }
    write_whole(path, save(weights_of(model), content))


def restore(path: Path | str) -> tuple[nn.Module, str]:
    """The model of such a file, or of a folder with one, in evaluation mode on the CPU; and each token's character.

    Raises:
        CheckpointError: when the file is missing, damaged, or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    from mobius_lib.training.checkpoint import load_model

    path = Path(path, FILE) if os.path.isdir(path) else Path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"There is no weights file {path}; leave it out, and a model is trained first.")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a .safetensors file ({error}); give another one.") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no language model; give a {FILE} that `mobius run twistor-text` or `mobius generate` has "
            "written."
        )
    try:
        kind = MODELS[about.get("model", TwistorHopeArchitecture.__name__)]
        config, letters = json.loads(about["config"]), about["letters"]
        model = kind(TwistorConfig(**config)) if issubclass(kind, TwistorHopeArchitecture) else kind(**config)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes no model of this library ({error}); write it anew.") from error
    load_model(model, weights, path)
    return model.eval(), letters


def made_by(path: Path | str) -> dict[str, Any]:
    """What `save` was told of a file; nothing where it is none of its own.

    Raises:
        OSError, ValueError: where it cannot be read.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get("made", "{}"))
