"""Tiny ImageNet as a reproduction: mobius_base and its GELU twin, by the recipe of the published run.

And at the scale "short" what two cores can do of it: lens and twin in mobius_tiny_s at half of its width, on pictures
of half the size, each with its own learning rate.

`train_tiny_imagenet` reads pictures from disk while it trains; here all of them are decoded once and stay in memory as
bytes (1.2 GB at full size), on the GPU where there is one, and are cropped, mirrored and normalised there.
Source: the MobiusNet card; published best validation accuracy 0.566. Deviation: pictures are cropped and
mirrored as in `image_folder`; what the published run did is not known.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.errors import DataError
from mobius_lib.progress import Bar
from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import LONG, Data, sized
from mobius_lib.runs.room import Needs
from mobius_lib.runs.waves import ABOUT, FOLDER
from mobius_lib.runs.waves.arms import arms, half
from mobius_lib.runs.waves.readings import lens_readings, lens_state
from mobius_lib.waves import PRESETS, GELUTwin, MobiusNet

CLASSES, SIDE, PADDING = 200, 64, 8
NETWORKS = {"lens": MobiusNet, "gelu": GELUTwin}


def load(side: int = SIDE) -> Data:
    """Every picture of both splits, decoded: those to train on as bytes, of which `crop_and_flip` makes numbers.

    Args:
        side: to which they are reduced; the padding with them.
    Raises:
        DataError: when the folder is missing or laid out in another way; it says how another one is named.
    """
    from mobius_lib.datasets.image_folder import normalised, tiny_imagenet

    root = Path(os.environ.get(FOLDER, "data/tiny-imagenet-200"))
    try:
        splits = [tiny_imagenet(root, split, side, augment=False) for split in ("train", "val")]
    except DataError as error:
        raise DataError(f"{error} This run reads the folder that the environment variable {FOLDER} names.") from error
    with Bar("decoding", sum(map(len, splits)), "pictures") as bar:
        train, (x, y) = (split.in_memory(bar.add) for split in splits)
    augment = partial(crop_and_flip, padding=PADDING * side // SIDE)
    return Data(train, (normalised(x), y), augment=augment, numbers=normalised)


def needs(settings: Scale, side: int = SIDE) -> Needs:
    """Of the official folder: 100,000 pictures to train on as bytes, and 10,000 to judge on as numbers."""
    numbers = 3 * side * side
    return Needs(min(settings.train_samples or 100_000, 100_000) * numbers, 10_000 * 4 * numbers)


def crop_and_flip(x: Tensor, padding: int = PADDING) -> Tensor:
    """`image_folder`'s augmentation of a batch: each picture padded with black, cropped, mirrored or not, normalised.

    Shape:
        (N, 3, H, W), uint8 to float32.
    """
    from mobius_lib.datasets.image_folder import normalised

    # by hand, since torchvision's RandomCrop and RandomHorizontalFlip draw once per call: they would move all pictures
    # of a batch alike, and a call per picture would be hundreds of small kernels on a GPU in place of a dozen
    n, _, height, width = x.shape
    padded = nn.functional.pad(x, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, n, 1), device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    columns = torch.where(torch.rand(n, 1, device=x.device) < 0.5, columns, columns.flip(1))
    picture = torch.arange(n, device=x.device)[:, None, None]
    return normalised(padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2))


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    side = SIDE if scale == "full" else SIDE // 2
    common = {"data": partial(load, side), "needs": partial(needs, side=side)}
    common |= {"state": lens_state, "readings": lens_readings}
    if scale == "full":
        networks = {name: partial(net, num_classes=CLASSES, **PRESETS["mobius_base"]) for name, net in NETWORKS.items()}
        return common | {"arms": networks}
    found = arms(half("mobius_tiny_s"), 3 * side * side, CLASSES, ())
    return common | {"arms": {name: found[name] for name in NETWORKS}, **LONG}


RUN = sized(ABOUT["waves-tiny-imagenet"], fields)
