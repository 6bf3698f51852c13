"""Feature vectors of a user's own, or from a hub data set: .npy, .safetensors and Parquet, columns found by type."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mobius_lib.datasets.paths import sha256, visible
from mobius_lib.datasets.shards import Columns, Expected, Shard, open_shard
from mobius_lib.datasets.store import Part, check_room, feature_cache, make_store
from mobius_lib.errors import DataError
from mobius_lib.progress import Bar

IMAGENET_CLIP = "AbstractPhil/imagenet-clip-features-orderly"
"""Seed 001's data set; configurations seen: clip_vit_l14 (768), clip_vit_b16 (512), and two more."""
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val")}
RESIDENT = 2**28
"""Bytes of float32; rows that take more are converted once and then mapped from the disk."""


def load_features(
    path: str | Path,
    *,
    feature_column: str | None = None,
    label_column: str | None = None,
    normalise: bool = True,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Features and labels from a file, or from all Parquet or .safetensors files of a folder by the order of names.

    Hidden files and folders, whose names begin with a dot, are not looked at. What is large is converted once, into the
    folder that the environment variable MOBIUS_CACHE names, and opened there the next time: it takes memory only as far
    as it is looked at.

    Args:
        path: .npy (features; labels beside it as NAME.labels.npy), .safetensors, .parquet, or a folder of the latter.
        feature_column, label_column: names inside a .safetensors or Parquet file; by default the one column of
            floating-point vectors, and the column of integers that is called label, labels, target or class, or else
            the only one.
        normalise: scale each row to length 1, as the published features are, however long or short it is. A row of
            zeros stays one.
        classes: how many there are, where that is known: then every label must be one.
    Returns:
        (N, dim) float32, and (N,) int64.
    Raises:
        DataError: missing or unreadable file, columns that cannot be told apart, rows of different lengths, values
            that are not finite (or too large for float32, if they are not normalised), labels that are no classes,
            one file twice, or no room for what is converted.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no feature file {path}; name a .npy, .safetensors or .parquet file, or a folder.")
    files = [path]
    if path.is_dir():
        files = visible(path, "*.parquet") or visible(path, "*.safetensors")
        if not files:
            raise DataError(f"The folder {path} holds no .parquet file, and no .safetensors file.")
    columns, expected = Columns(feature_column, label_column), Expected(classes, None, normalise)
    shards = [open_shard(file, columns) for file in files]
    rows = sum(shard.rows for shard in shards)
    # stored as float16 or not, none is much smaller on the disk than 2 bytes a number
    if 2 * sum(file.stat().st_size for file in files) <= RESIDENT:
        return _read(shards, expected)
    return _converted(path, shards, columns, expected, rows)


def _read(shards: Sequence[Shard], expected: Expected) -> tuple[Tensor, Tensor]:
    parts: list[tuple[Tensor, Tensor]] = []
    for shard in shards:
        parts += shard.slices(expected, parts[-1][0].shape[1] if parts else None)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def _converted(
    path: Path, shards: Sequence[Shard], columns: Columns, expected: Expected, rows: int
) -> tuple[Tensor, Tensor]:
    """The same from the store, whose folder is named by the files' names, sizes and times."""
    place = path.resolve()
    files = [(shard.path.name, shard.path.stat().st_size, shard.path.stat().st_mtime_ns) for shard in shards]
    asked = {"files": files, "columns": vars(columns), "expected": vars(expected), "kind": "float32"}
    folder = feature_cache() / f"{place.stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
    check_room(folder, rows * torch.float32.itemsize * len(next(shards[0].raw())[0][0]))
    with Bar("converting", rows, "rows") as bar:
        parts = [Part(shard.path.name, _counted(shard, expected, bar), partial(sha256, shard.path)) for shard in shards]
        stored = make_store(folder, asked, lambda: parts, torch.float32, rows)
    return stored.x, stored.y


def _counted(shard: Shard, expected: Expected, bar: Bar) -> Callable[[int | None], Iterator[tuple[Tensor, Tensor]]]:
    def slices(dim: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in shard.slices(expected, dim):
            yield x, y
            bar.add(len(x))

    return slices


def imagenet_clip(split: str, configuration: str = "clip_vit_l14", **columns: str) -> tuple[Tensor, Tensor]:
    """The published ImageNet features of seed 001, from the hub (about 4 GB for the training split at 768 dimensions).

    Args:
        split: "train" (1,281,167 rows) or "validation" (50,000).
        configuration: which encoder.
        columns: feature_column and label_column, should the names not be found.
    Returns:
        (N, dim) float32 as published, and (N,) int64.
    Raises:
        DataError: no network, no such configuration, files missing, or another layout than expected.
    """
    if split not in _SPLITS:
        raise DataError(f"The ImageNet features have the splits 'train' and 'validation', not {split!r}.")
    from huggingface_hub import snapshot_download

    patterns = [form for name in _SPLITS[split] for form in (f"*{configuration}*{name}*", f"*{name}*{configuration}*")]
    try:
        folder = Path(snapshot_download(IMAGENET_CLIP, repo_type="dataset", allow_patterns=patterns))
    except Exception as error:  # the hub client raises many types, all meaning: not fetched
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"The data set {IMAGENET_CLIP} could not be fetched ({reason}); connect to the network, "
            "or read features of your own with load_features."
        ) from error
    files = [
        file
        for file in visible(folder, "*.parquet")
        if _belongs(file.relative_to(folder).as_posix(), configuration, split)
    ]
    if not files:
        raise DataError(f"{IMAGENET_CLIP} holds no Parquet file for {configuration!r}, split {split!r}.")
    _all_there(files)
    named = Columns(columns.get("feature_column"), columns.get("label_column"))
    return _read([open_shard(file, named) for file in files], Expected())


def _belongs(name: str, configuration: str, split: str) -> bool:
    """Whether a path in the data set is of this configuration and split: as folders, or joined in the file's name.

    clip_vit_l14/train-00000-of-00042.parquet, data/clip_vit_l14/train/0000.parquet, data/clip_vit_l14_train-….parquet,
    train/clip_vit_l14-….parquet. A longer name that begins with the configuration's (clip_vit_l14_336) is another one.
    """
    part, whole = "|".join(_SPLITS[split]), re.escape(configuration)
    config_first = rf"(?:^|[/_.-]){whole}(?:/(?:[^/]+/)*(?:[^/]*[_.-])?|[_.-])(?:{part})(?=[/_.-])"
    split_first = rf"(?:^|[/_.-])(?:{part})[/_.-](?:[^/]+/)*{whole}(?=/|\.|-\d)"
    return re.search(config_first, name) is not None or re.search(split_first, name) is not None


def _all_there(files: Sequence[Path]) -> None:
    """Without the network the hub client hands out what an interrupted download left; the names tell how many."""
    numbered = [match for file in files if (match := re.search(r"-(\d+)-of-(\d+)", file.name))]
    if numbered and {int(match[1]) for match in numbered} != set(range(int(numbered[0][2]))):
        raise DataError(
            f"Only {len(numbered)} of the {int(numbered[0][2])} files of {IMAGENET_CLIP} are in {files[0].parent}; "
            "connect to the network, and the same command fetches the others."
        )
