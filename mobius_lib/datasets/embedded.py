"""The two embedded sets: Fashion-MNIST pictures, and EfficientNet-Lite0 features of the same pictures.

Both come as tensors, ready to be moved to a device in one piece. Sources, licences and hashes: data/README.md.
"""

import hashlib
import struct
from typing import Literal

import torch
from torch import Tensor

from mobius_lib.datasets.paths import content, fetch, registry
from mobius_lib.errors import DataError

Split = Literal["train", "test"]
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Names of Fashion-MNIST's ten classes, in the order of their numbers."""
HELD_OUT = 50
"""Test rows of each class, the first of them, on which the pages count what a trained network still knows."""

_IDX_NAME = {"train": "train", "test": "t10k"}


def fashion_mnist(split: Split) -> tuple[Tensor, Tensor]:
    """10,000 training or 2,000 test pictures of ten kinds of clothing, equally many of each.

    Args:
        split: "train" or "test".
    Returns:
        (N, 1, 28, 28) uint8, and (N,) int64 labels that index `CLASSES`.
    Raises:
        DataError: another split, or a file that is missing or damaged.
    """
    _check_split(split)
    images, labels = (
        _idx(content(f"FashionMNIST/raw/{_IDX_NAME[split]}-{kind}-ubyte.gz")) for kind in ("images-idx3", "labels-idx1")
    )
    return images.unsqueeze(1), labels.long()


def features(split: Split, dim: int = 768) -> tuple[Tensor, Tensor]:
    """Features of the same pictures, one row each, scaled to length 1.

    Args:
        split: "train" or "test".
        dim: 768 (the distillation card's 24 x 32 input) or fewer: the first `dim` principal components, scaled again.
    Returns:
        (N, dim) float32, and (N,) int64 labels.
    Raises:
        DataError: another split, a dim outside 1 to 768, or a file that is missing or damaged.
    """
    _check_split(split)
    if not 1 <= dim <= 768:
        raise DataError(f"The embedded features have 768 dimensions; asked for {dim}, which is not in 1 to 768.")
    from safetensors.torch import load_file

    stored = load_file(fetch(f"features_{split}.safetensors"))
    rows = stored["features"][:, :dim].float()
    return torch.nn.functional.normalize(rows), stored["labels"].long()


def held_out_rows() -> Tensor:
    """The test rows that the pages count on, 50 of each class, in their order: (500,) int64."""
    _, y = fashion_mnist("test")
    return torch.cat([torch.nonzero(y == c)[:HELD_OUT] for c in range(len(CLASSES))]).flatten().sort().values


def digests(embedded: Literal["FashionMNIST", "features"]) -> dict[str, str]:
    """What a record says of the data it was made from: the files of a set, unpacked, and the SHA-256 of each."""
    names = [name for name in registry() if name.startswith(embedded)]
    return {name.removesuffix(".gz"): hashlib.sha256(content(name)).hexdigest() for name in names}


def _idx(packed: bytes) -> Tensor:
    """An IDX file of bytes: two zeros, 8 for unsigned bytes, the number of axes; the length of each; the values."""
    axes = packed[3]
    shape = struct.unpack_from(f">{axes}I", packed, 4)
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8, offset=4 + 4 * axes).view(shape)


def _check_split(split: str) -> None:
    if split not in _IDX_NAME:
        raise DataError(f"The embedded sets have the splits 'train' and 'test', not {split!r}.")
