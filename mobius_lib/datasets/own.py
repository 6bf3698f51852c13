"""Features of anybody's own: made from a folder of pictures, or read from a file, with a part held out.

A file of `write_features` is .safetensors with `features` (N, dim) float32, as the encoder gave them, and, where the
folder says what is in its pictures, `labels` (N,) int64. Under "mobius" its metadata hold, as JSON: `encoder` (name,
dim, preprocessing, SHA-256 of its weights), `classes` (names), `train` (how many rows are to train on, where the folder
says so), `files` (of each row), and `created`.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from mobius_lib.datasets.encoders import Encoder
from mobius_lib.datasets.encoders import encoder as encoder_named
from mobius_lib.datasets.feature_files import load_features
from mobius_lib.datasets.image_folder import Pictures, load_picture, pictures
from mobius_lib.datasets.paths import check_memory, visible
from mobius_lib.errors import DataError
from mobius_lib.files import check_writable, reason, write_whole
from mobius_lib.progress import Bar

KEY = "mobius"
"""Of the metadata of a .safetensors file of ours."""
DEFAULT_ENCODER = "efficientnet-lite0"
HELD_OUT = 5
"""One in so many rows of each class is held out where nothing says which."""
MOST_CLASSES = 1_000_000
_BATCH, _THREADS = 32, 4


@dataclass(frozen=True)
class Written:
    """What came of a folder of pictures."""

    path: Path
    rows: int
    dim: int
    classes: list[str]
    left_out: list[str]
    """Why, of each picture that could not be read."""


@dataclass(frozen=True)
class OwnFeatures:
    """Rows of length 1 to train on and to test on, and what is known of them."""

    name: str
    train: tuple[Tensor, Tensor]
    """(N, dim) float32, and (N,) int64."""
    test: tuple[Tensor, Tensor]
    classes: tuple[str, ...]
    encoder: dict[str, Any] | None
    """What made the features, where the file says so; see `Encoder.provenance`."""
    split: str
    """How the test rows were chosen, in words."""

    @property
    def dim(self) -> int:
        return self.train[0].shape[1]


def write_features(
    folder: Path | str,
    output: Path | str,
    encoder: Encoder | str = DEFAULT_ENCODER,
    *,
    device: torch.device | str = "cpu",
    skip: bool = False,
    progress: bool = True,
) -> Written:
    """Encodes the pictures of a folder into a feature file, written whole at the end or not at all.

    Args:
        folder: in a layout of `image_folder.pictures`.
        output: ends in .safetensors.
        encoder: itself or its name.
        device: where an encoder that is named computes.
        skip: leave out pictures that cannot be read, instead of stopping at the first.
        progress: show a bar.
    Raises:
        DataError: for a folder, picture or encoder that cannot be used, or an output that cannot be written.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise DataError(f"Features are written as .safetensors, and {output} has another ending; change it.")
    found = pictures(folder)
    check_writable(output, error=DataError, advice="give another --output")  # now, and not after all the pictures
    encoder = encoder_named(encoder, device) if isinstance(encoder, str) else encoder
    rows, kept, left_out = [], [], []
    for numbers, images, faults in _batches(found.files, skip, progress):
        left_out += faults
        if images:
            rows.append(_encoded(encoder, images))
            kept += numbers
    if not kept:
        raise DataError(f"No picture in {folder} can be read; the first: {left_out[0]}")
    _write(output, torch.cat(rows), found, kept, encoder, Path(folder))
    return Written(output, len(kept), encoder.dim, found.classes, left_out)


def facts_of(path: Path | str) -> dict[str, Any]:
    """What a .safetensors file of ours says of itself; nothing for any other file.

    Raises:
        DataError: when the file is missing or damaged.
    """
    from safetensors import safe_open

    path = Path(path)
    if path.is_dir() or path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            stored = (file.metadata() or {}).get(KEY)
        facts = {} if stored is None else json.loads(stored)
    except Exception as error:  # SafetensorError, OSError, ValueError
        raise DataError(f"{path} could not be read ({error}); it may be cut short: fetch or write it again.") from error
    return facts if isinstance(facts, dict) else {}


def own_features(
    source: Path | str,
    *,
    classes: int | str | Path | None = None,
    feature_column: str | None = None,
    label_column: str | None = None,
    encoder: str = DEFAULT_ENCODER,
    cache: Path | str = "outputs/features",
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> OwnFeatures:
    """Features and classes of a user's own, split into a part to train on and one to test on.

    The test part is what the source says (the val/ of a folder of pictures). Where it says nothing it is one row in
    five of each class, at least one of two, drawn with seed 0: of the same rows always the same.

    Args:
        source: .safetensors, .npy, .parquet or a folder of such, as in `load_features`; or a folder of pictures, which
            are encoded once and kept in `cache`.
        classes: how many, or a text file with a name on each line; None: as the source says, else one more than the
            largest label, and then each must have a row.
        feature_column, label_column: as in `load_features`.
        encoder: of pictures.
        cache: folder for the features of pictures.
        device, progress: as in `write_features`.
    Raises:
        DataError: for a source that cannot be read, or labels that are no classes.
    """
    source = Path(source)
    path = source
    if source.is_dir() and not any(visible(source, f"*.{kind}") for kind in ("parquet", "safetensors")):
        path = _encoded_once(source, encoder, Path(cache), device, progress)
    facts = facts_of(path) if path.is_file() else {}
    if facts and facts.get("labelled") is False:
        raise DataError(
            f"{source} says nothing of what its pictures show; sort them into a folder for each class, and make the "
            "features again."
        )
    x, y = load_features(path, feature_column=feature_column, label_column=label_column)
    names = _class_names(source, classes, facts.get("classes"), y)
    train = facts.get("train")
    if isinstance(train, int) and 0 < train < len(y):
        held, split = torch.arange(len(y)) >= train, "as the folder has it: train/ and val/"
    else:
        held, split = held_out(y), f"one row in {HELD_OUT} of each class, drawn with seed 0"
    if held.all() or not held.any():
        raise DataError(f"{source} has {len(y)} row(s), too few to hold some out; give at least two of a class.")
    check_memory(x.nbytes, f"The rows of {source}")  # to train and to test on: each part is a copy
    return OwnFeatures(
        source.resolve().stem if source.is_file() else source.resolve().name,
        (x[~held], y[~held]), (x[held], y[held]), names, facts.get("encoder"), split,
    )  # fmt: skip


def held_out(y: Tensor) -> Tensor:
    """One row in five of each class, and at least one where there are two: (N,) int64 to (N,) bool.

    Drawn with seed 0, so of the same labels always the same rows.
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    by_class, counts = order[y[order].argsort(stable=True)], y.bincount()
    place = torch.arange(len(y)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    wanted = (counts // HELD_OUT).clamp(min=1).where(counts >= 2, torch.zeros_like(counts))
    held = torch.zeros(len(y), dtype=torch.bool)
    held[by_class[place < wanted.repeat_interleave(counts)]] = True
    return held


def _batches(files: list[Path], skip: bool, progress: bool) -> Iterator[tuple[list[int], list[Image.Image], list[str]]]:
    """Pictures, with their places in the list, and what is wrong with those that are left out."""

    def load(number: int) -> tuple[int, Image.Image] | str:
        try:
            return number, load_picture(files[number])
        except DataError as error:
            if not skip:
                raise
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool, Bar("encoding", len(files), "pictures") as bar:
        for start in range(0, len(files), _BATCH):
            found = list(pool.map(load, range(start, min(start + _BATCH, len(files)))))
            good = [each for each in found if not isinstance(each, str)]
            yield [number for number, _ in good], [image for _, image in good], [x for x in found if isinstance(x, str)]
            if progress:
                bar.add(len(found))


def _encoded(encoder: Encoder, images: list[Image.Image]) -> Tensor:
    rows = encoder.encode(images)
    if rows.shape != (len(images), encoder.dim):
        raise DataError(
            f"The encoder {encoder.name} made {tuple(rows.shape)} of {len(images)} pictures, and says that it makes "
            f"rows of {encoder.dim}; mend it."
        )
    return rows.float().cpu()


def _write(output: Path, rows: Tensor, found: Pictures, kept: list[int], encoder: Encoder, folder: Path) -> None:
    from safetensors.torch import save

    facts = {
        "encoder": encoder.provenance(),
        "labelled": found.labels is not None,
        "classes": found.classes or None,
        "train": None if found.train is None else sum(number < found.train for number in kept),
        "files": [found.files[number].relative_to(folder).as_posix() for number in kept],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    tensors = {"features": rows.contiguous()}
    if found.labels is not None:
        tensors["labels"] = torch.tensor([found.labels[number] for number in kept])
    write_whole(output, save(tensors, {KEY: json.dumps(facts)}), error=DataError, advice="give another --output")


def _encoded_once(folder: Path, encoder: str, cache: Path, device: torch.device | str, progress: bool) -> Path:
    """The feature file of a folder of pictures; made where there is none of these pictures and this encoder."""
    states = [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
              for path in pictures(folder).files]  # fmt: skip
    print_of = hashlib.sha256(json.dumps([encoder, states]).encode()).hexdigest()[:12]
    path = cache / f"{folder.resolve().name}-{print_of}.safetensors"
    if path.is_file():
        return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # of several processes one encodes, and the others wait
            if not path.is_file():
                write_features(folder, path, encoder, device=device, progress=progress)
    except OSError as error:
        raise DataError(f"{cache} cannot be written ({reason(error)}); give another cache (--work).") from error
    return path


def _class_names(source: Path, given: int | str | Path | None, named: list[str] | None, y: Tensor) -> tuple[str, ...]:
    """A name for each class; every label is one of them."""
    highest, lowest = int(y.max()), int(y.min())
    asked = "" if given is None else str(given)
    if asked and not asked.isdecimal():
        named = _lines(Path(asked))
    count = int(asked) if asked.isdecimal() else len(named or ()) or highest + 1
    if named and len(named) != count:
        raise DataError(f"{source} names {len(named)} classes, and --classes says {count}; leave --classes out.")
    if lowest == 1 and (highest == count or (given is None and not named)):
        raise DataError(f"The labels of {source} run from 1 to {highest}; classes count from 0, so subtract 1 of each.")
    if highest >= count:
        row = int((y >= count).nonzero()[0])
        raise DataError(
            f"Row {row} of {source} has the label {int(y[row])}, and there are {count} classes, from 0 to {count - 1}; "
            f"mend it, or give --classes {highest + 1}."
        )
    there = y.unique()
    if given is None and not named and len(there) < count:
        absent = next((at for at, label in enumerate(there.tolist()) if at != label), 0)
        raise DataError(
            f"The labels of {source} run up to {highest}, but no row has the label {absent}; if these are its classes "
            f"all the same, give --classes {count}, else name their column with --label-column."
        )
    if count > MOST_CLASSES:
        raise DataError(f"{source} would have {count:,} classes, and no more than {MOST_CLASSES:,} can be trained on.")
    if count < 2:
        raise DataError(f"{source} holds one class only; a classifier needs at least two.")
    return tuple(named) if named else tuple(f"class {number}" for number in range(count))


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"--classes takes a number, or a text file with a name on each line, and {path} is neither."
        ) from error
    if not names:
        raise DataError(f"{path} names no class; write one on each line.")
    return names
