"""Pictures whose class can be seen, and an encoder of the interface of `mobius_lib.datasets.encoders` that sees it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobius_lib.datasets.encoders import Encoder

COLOURS = {"blue": (40, 60, 220), "green": (30, 190, 60), "red": (210, 40, 50)}
SIDE = 4


def folder(root: Path, each: int = 10, seed: int = 0) -> Path:
    """A folder for each colour, with noisy pictures of it, of various sizes."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(each):
            height, width = rng.integers(5, 30, 2)
            pixels = np.clip(np.array(colour) + rng.normal(0, 30, (height, width, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02}.png")
    return root


def stand_in(which: str = "", device: torch.device | None = None) -> Encoder:
    """The colours of a picture on a grid: 48 numbers. `which` stands for other weights."""

    def encode(images: Sequence[Image.Image]) -> Tensor:
        assert images and all(image.mode == "RGB" for image in images)
        small = [np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32).ravel() for image in images]
        return torch.from_numpy(np.stack(small))

    return Encoder("stand-in", 3 * SIDE * SIDE, f"{SIDE} x {SIDE}", (which or "a") * 64, encode)
