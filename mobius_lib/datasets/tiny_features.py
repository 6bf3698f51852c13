"""Features of Tiny ImageNet: EfficientNet-Lite0's, whose weights have seen its pictures in ImageNet, reduced.

Pictures and features are not in this repository: a reader fetches the official file, unpacks it, and the features are
made once, by the first run or by `mobius features FOLDER --output FILE.safetensors`.
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mobius_lib.datasets.own import own_features
from mobius_lib.errors import DataError

CLASSES = 200
_SLICE = 8192


def tiny_features(
    source: Path | str, dim: int, cache: Path | str = "outputs/features"
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], dict[str, str]]:
    """Training and validation rows, and hashes that say which pictures they are of and which weights made them.

    Args:
        source: the folder tiny-imagenet-200, or a file of its features made with `mobius features`.
        dim: 768, 512 or any other up to the encoder's: the first principal components of the training rows.
        cache: where the features of a folder are kept.
    Returns:
        (N, dim) float32 of length 1 and (N,) int64, of both parts. The hashes are of names and weights, and not of the
        features: other processors round those in another way.
    Raises:
        DataError: for a source that is missing, or is no Tiny ImageNet.
    """
    source = Path(source)
    if not source.exists() or source.suffix == ".zip":
        fault = f"{source} is packed" if source.exists() else f"There is no {source}"
        raise DataError(f"{fault}: unpack tiny-imagenet-200.zip, or make its features, and name what comes of it.")
    found = own_features(source, cache=cache)
    if len(found.classes) != CLASSES or found.encoder is None or "train/" not in found.split:
        raise DataError(
            f"{source} holds {len(found.classes)} classes, {found.split}; it must be the folder tiny-imagenet-200, or "
            "what `mobius features` makes of it."
        )
    (x, y), (x_test, y_test) = found.train, found.test
    if not 1 <= dim <= x.shape[1]:
        raise DataError(f"The features of {source} have {x.shape[1]} dimensions; asked for {dim}.")
    mean = x.double().mean(0)
    spread = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for rows in x.split(_SLICE):  # as float64 all rows at once would take a gigabyte
        away = rows.double() - mean
        spread += away.T @ away
    axes = torch.linalg.eigh(spread).eigenvectors.flip(1)[:, :dim]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # which end is up is anybody's choice

    def reduced(part: Tensor) -> Tensor:
        return torch.cat([normalize((rows.double() - mean) @ axes).float() for rows in part.split(_SLICE)])

    names = json.dumps([list(found.classes), y.tolist(), y_test.tolist()])
    hashes = {
        "tiny-imagenet-200: classes of all pictures": hashlib.sha256(names.encode()).hexdigest(),
        "efficientnet-lite0: weights": found.encoder["sha256"],
    }
    return (reduced(x), y), (reduced(x_test), y_test), hashes
