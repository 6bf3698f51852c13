"""The lens and its rivals on features of Tiny ImageNet: 200 classes, and ten times the rows that are embedded here.

The recipe of waves-features, with half the width but for the scale "full". Many more steps than there, for what the
lens learns over depth; EfficientNet-Lite0, which made the features, has seen the pictures. Source: ours, after the
distillation card's ImageNet features.
"""

import os
from typing import Any

from torch import nn

from mobius_lib.datasets.tiny_features import CLASSES, tiny_features
from mobius_lib.errors import DataError
from mobius_lib.runs.base import LONG, Arm, Data, sized
from mobius_lib.runs.simplex.arms import FLAT_RATES
from mobius_lib.runs.waves import ABOUT, FOLDER
from mobius_lib.runs.waves.arms import arms, half, readings, state
from mobius_lib.waves import PRESETS

DIM = 768


def source() -> str:
    """The folder of Tiny ImageNet, or the file of its features."""
    return os.environ.get(FOLDER, "data/tiny-imagenet-200")


def load() -> Data:
    """Rows of 768, laid out 24 x 32.

    Raises:
        DataError: when the data are missing; it says how they are named.
    """
    (x, y), (x_test, y_test), hashes = of_dimension(DIM)
    return Data((x.view(-1, 1, 24, 32), y), (x_test.view(-1, 1, 24, 32), y_test), hashes)


def of_dimension(dim: int) -> tuple:
    """As `tiny_features`, of what the environment names."""
    try:
        return tiny_features(source(), dim)
    except DataError as error:
        raise DataError(f"{error} This run reads what the environment variable {FOLDER} names.") from error


def rivals(scale: str) -> dict:
    """Those of waves-features without a second gate; the linear layer learns by steps, as 200 classes want."""
    sizes = dict(PRESETS["mobius_tiny_s_clip"]) if scale == "full" else half("mobius_tiny_s_clip")
    found = arms(sizes, DIM, CLASSES, ())
    linear = Arm(lambda: nn.Sequential(nn.Flatten(), nn.Linear(DIM, CLASSES)), rates=FLAT_RATES)
    return {name: found[name] for name in ("lens", "gelu", "plain gate", "mlp")} | {"linear": linear}


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    return {"arms": rivals(scale), "data": load, "state": state, "readings": readings, **LONG}


RUN = sized(ABOUT["waves-tiny-features"], fields)
