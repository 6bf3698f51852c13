"""The distillation card at full size: CLIP ViT-L/14 features of ImageNet. Needs the network once, and a GPU.

Two runs: `waves-clip` trains lens and twin by the distillation card's recipe, `waves-clip-weights` judges the published
weights. Source: the distillation card, which reports 80.8% top-1 for the lens.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mobius_lib.datasets.feature_files import published_features
from mobius_lib.datasets.hub_files import patiently
from mobius_lib.datasets.paths import sha256
from mobius_lib.datasets.store import Stored
from mobius_lib.errors import DataError
from mobius_lib.files import reason
from mobius_lib.fingerprint import known_by
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.room import published_needs
from mobius_lib.runs.waves import ABOUT, arms
from mobius_lib.runs.waves.readings import lens_readings, lens_state

WEIGHTS_REPO = "AbstractPhil/mobiusnet-distillations"
WEIGHTS_FILE = "checkpoints/mobius_tiny_s_imagenet_clip_vit_l14/20260111_000512/checkpoints/best_model.safetensors"


def load(**columns: str | None) -> Data:
    """All of ImageNet as rows of 768, laid out 24 x 32; those to train on in half precision, mapped from the disk."""
    train, test = published_features("train", **columns), published_features("validation", **columns)
    return Data(_pictures(train), _pictures(test), {**train.shards, **test.shards})


def load_validation(**columns: str | None) -> Data:
    """The 50,000 validation rows, as both parts."""
    test = published_features("validation", **columns)
    rows = _pictures(test)
    return Data(rows, rows, test.shards)


def _pictures(stored: Stored) -> tuple[Tensor, Tensor]:
    return known_by(stored.x.view(-1, 1, 24, 32), stored.x), stored.y


lens, gelu = partial(arms.lens, 1000), partial(arms.gelu, 1000)


def published() -> nn.Module:
    """The lens network with the weights that its author published.

    Raises:
        DataError: when they cannot be fetched.
        CheckpointError: when they are of another network.
    """
    from mobius_lib.training import load_model

    path, weights = fetched()
    model = lens()
    load_model(model, weights, path)
    return model


def fetched() -> tuple[Path, dict[str, Tensor]]:
    """The file of the published weights, and what it holds. A damaged one in the cache is fetched anew.

    Raises:
        DataError: when it cannot be fetched or kept, or comes damaged.
    """
    from huggingface_hub import hf_hub_download
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    what = f"The published weights {WEIGHTS_REPO}/{WEIGHTS_FILE}"
    for anew in (False, True):
        try:
            ask = partial(hf_hub_download, WEIGHTS_REPO, WEIGHTS_FILE, force_download=anew)
            path = Path(patiently(ask, what, f"https://huggingface.co/{WEIGHTS_REPO}"))
            kept_as = path.resolve().name  # by the hub's client, below the SHA-256 that the hub tells
            if not re.fullmatch("[0-9a-f]{64}", kept_as) or sha256(path) == kept_as:
                return path, load_file(path)
        except SafetensorError:
            continue
        except OSError as error:
            where = error.filename or "the cache of the hub's client"
            raise DataError(
                f"{what} cannot be kept ({where}: {reason(error)}); make room there, or name another folder in the "
                "environment variable HF_HOME."
            ) from error
    raise DataError(f"{what} came damaged twice; a proxy on the way may change them: try another network.")


def weights_facts() -> dict[str, Any]:
    """Which weights were judged. The hub's client keeps a file below the name of its revision."""
    path, _ = fetched()
    above = [parent.name for parent in path.parents]
    revision = above[above.index("snapshots") - 1] if "snapshots" in above else "unknown"
    about = {"repository": WEIGHTS_REPO, "file": WEIGHTS_FILE, "revision": revision, "sha256": sha256(path)}
    return {"weights": about}


RUN = Run(
    **vars(ABOUT["waves-clip"]),
    arms={"lens": lens, "gelu": gelu},
    data=load,
    needs=partial(published_needs, "clip_vit_l14"),
    state=lens_state,
    readings=lens_readings,
)

RUN_WEIGHTS = Run(
    **vars(ABOUT["waves-clip-weights"]),
    arms={"lens": published},
    data=load_validation,
    facts=weights_facts,
    state=lens_state,
    readings=lens_readings,
)
