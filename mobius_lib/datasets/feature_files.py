"""Feature vectors of a user's own, or from a hub data set: .npy, .safetensors and Parquet, columns found by type."""

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mobius_lib.datasets.hub_files import HubFile, fetch, listing
from mobius_lib.datasets.paths import sha256, visible
from mobius_lib.datasets.shards import Columns, Expected, Shard, open_shard
from mobius_lib.datasets.store import Part, Stored, check_room, feature_cache, make_store, open_store
from mobius_lib.errors import DataError
from mobius_lib.progress import Bar

IMAGENET_CLIP = "AbstractPhil/imagenet-clip-features-orderly"
"""The distillation card's data set; configurations seen: clip_vit_l14 (768), clip_vit_b16 (512), and two more."""
ROWS = {"train": 1_281_167, "validation": 50_000}
CLASSES = 1000
DIMS = {"clip_vit_l14": 768, "clip_vit_b16": 512}
KINDS = {"train": torch.float16, "validation": torch.float32}
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
    if (found := open_store(folder, asked)) is not None:  # which takes no room, and may be written to by nobody
        return found.x, found.y
    check_room(folder, rows * torch.float32.itemsize * len(next(shards[0].raw())[0][0]))
    with Bar("converting", rows, "rows") as bar:
        parts = [Part(shard.path.name, _counted(shard, expected, bar), partial(sha256, shard.path)) for shard in shards]
        stored = make_store(folder, asked, parts, torch.float32, rows)
    return stored.x, stored.y


def _counted(shard: Shard, expected: Expected, bar: Bar) -> Callable[[int | None], Iterator[tuple[Tensor, Tensor]]]:
    def slices(dim: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in shard.slices(expected, dim):
            yield x, y
            bar.add(len(x))

    return slices


def published_features(split: str, configuration: str = "clip_vit_l14", **columns: str | None) -> Stored:
    """The published ImageNet features of the distillation card, from the hub, mapped from the disk; for training in
    half precision.

    Each shard is fetched, checked against the hub's hash, converted, and taken away, one after the other; who was
    stopped goes on where he was. What is there already is opened without asking the hub.

    Args:
        split: "train" (1,281,167 rows) or "validation" (50,000).
        configuration: which encoder.
        columns: feature_column and label_column, should the names not be found.
    Returns:
        x (N, dim), of the validation float32 as published, to train on float16, which changes a number by at most
        2^-11 of it (or by 3e-8); y (N,) int64 in 0 to 999; and the hashes of the shards with the revision.
    Raises:
        DataError: no network, no such configuration, no permission, no room, rows missing, or another layout than
            expected; each with the cure.
    """
    if split not in _SPLITS:
        raise DataError(f"The ImageNet features have the splits 'train' and 'validation', not {split!r}.")
    named = _named(columns)
    folder = _place(split, configuration, named)
    if (found := open_store(folder)) is not None:
        return found
    there, kind = listing(IMAGENET_CLIP), KINDS[split]
    files = [file for file in there.files if _is_shard(file.path) and _belongs(file.path, configuration, split)]
    if not files:
        others = sorted({part for file in there.files if _is_shard(file.path) for part in _encoders(file.path)})
        raise DataError(
            f"{IMAGENET_CLIP} holds no Parquet file for {configuration!r}, split {split!r}; it holds "
            f"{', '.join(others) or 'no Parquet files'}."
        )
    _all_there(files)
    asked = {"repo": there.repo, "files": [(file.path, file.digest) for file in files], "kind": str(kind)}
    rows, dim = ROWS.get(split, 0), DIMS.get(configuration)
    shards = folder.with_name(f"{configuration}.{split}.shards")  # whatever columns are taken of them
    check_room(folder, max(file.size for file in files) + kind.itemsize * rows * (dim or 0))
    expected = Expected(CLASSES, dim, False)
    size = sum(file.size for file in files)
    print(
        f"{IMAGENET_CLIP}, {split}: {size / 1e9:.1f} GB are fetched in {len(files)} files, one after the other, and "
        f"{kind.itemsize * rows * (dim or 0) / 1e9:.1f} GB kept in {folder}.",
        file=sys.stderr,
    )
    with Bar("fetching", size, "B") as bar:
        bar.add(0)
        decided = [named]

        def part(number: int, file: HubFile) -> Part:
            what = f"shard {number} of {len(files)}"

            def slices(before: int | None) -> Iterator[tuple[Tensor, Tensor]]:
                for left in shards.glob("*"):  # of another revision
                    if not left.name.startswith(file.digest[:12]):
                        left.unlink()
                path = fetch(there, file, shards, lambda count: bar.add(count, f"fetching {what}"))
                shard = open_shard(path, decided[0])
                decided[0] = shard.columns
                for x, y in shard.slices(expected, before):
                    yield x, y
                    bar.add(0, f"converting {what}")

            def digest() -> str:
                return file.digest if len(file.digest) == 64 else sha256(next(shards.glob("[!.]*")))

            name = f"hf://datasets/{there.repo}@{there.revision}/{file.path}"
            return Part(name, slices, digest, lambda: shutil.rmtree(shards, ignore_errors=True))

        parts = [part(number, file) for number, file in enumerate(files, 1)]
        return make_store(folder, asked, parts, kind, rows or None, shards.with_suffix(".lock"))


def published_bytes(
    split: str, configuration: str, samples: int | None = None, **columns: str | None
) -> tuple[int, int]:
    """What the rows of a split, or so many of them, take as they are announced; and how much of the whole is missing.

    Args:
        split, configuration, columns: as in `published_features`.
        samples: rows; None: all.
    """
    row = KINDS[split].itemsize * DIMS[configuration]
    there = open_store(_place(split, configuration, _named(columns))) is not None
    return row * min(samples or ROWS[split], ROWS[split]), 0 if there else row * ROWS[split]


def imagenet_clip(split: str, configuration: str = "clip_vit_l14", **columns: str | None) -> tuple[Tensor, Tensor]:
    """x and y of `published_features`: (N, dim) float16 (validation: float32) and (N,) int64."""
    stored = published_features(split, configuration, **columns)
    return stored.x, stored.y


def _named(columns: Mapping[str, str | None]) -> Columns:
    return Columns(columns.get("feature_column"), columns.get("label_column"))


def _place(split: str, configuration: str, named: Columns) -> Path:
    """Where it is kept."""
    words = [f"{configuration}.{split}", *(name for name in (named.feature, named.label) if name)]
    return feature_cache() / IMAGENET_CLIP.replace("/", "--") / re.sub(r"[^\w.-]", "-", "-".join(words))


def _is_shard(path: str) -> bool:
    return path.endswith(".parquet") and not any(part.startswith(".") for part in path.split("/"))


def _encoders(path: str) -> list[str]:
    """The words of a path that may name a configuration."""
    return [word for word in re.split(r"[/.]|-\d", path) if "_" in word] or [path]


def _belongs(name: str, configuration: str, split: str) -> bool:
    """Whether a path in the data set is of this configuration and split: as folders, or joined in the file's name.

    clip_vit_l14/train-00000-of-00042.parquet, data/clip_vit_l14/train/0000.parquet, data/clip_vit_l14_train-….parquet,
    train/clip_vit_l14-….parquet. A longer name that begins with the configuration's (clip_vit_l14_336) is another one.
    """
    part, whole = "|".join(_SPLITS[split]), re.escape(configuration)
    config_first = rf"(?:^|[/_.-]){whole}(?:/(?:[^/]+/)*(?:[^/]*[_.-])?|[_.-])(?:{part})(?=[/_.-])"
    split_first = rf"(?:^|[/_.-])(?:{part})[/_.-](?:[^/]+/)*{whole}(?=/|\.|-\d)"
    return re.search(config_first, name) is not None or re.search(split_first, name) is not None


def _all_there(files: Sequence[HubFile]) -> None:
    """Names tell how many there should be, and hashes whether one is there twice."""
    numbered = [match for file in files if (match := re.search(r"-(\d+)-of-(\d+)", file.path))]
    if numbered and {int(match[1]) for match in numbered} != set(range(int(numbered[0][2]))):
        raise DataError(
            f"{IMAGENET_CLIP} holds {len(numbered)} of the {int(numbered[0][2])} files that the name "
            f"{files[0].path} promises; somebody may be uploading it: try again later."
        )
    seen: dict[str, str] = {}
    for file in files:
        if file.digest in seen:
            raise DataError(f"{IMAGENET_CLIP} holds the same bytes as {seen[file.digest]} and as {file.path}.")
        seen[file.digest] = file.path
