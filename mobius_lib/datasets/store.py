"""Rows and labels of many shards as one memory-mapped array each: made once, a slice at a time, and opened at once.

    NAME/x.npy, NAME/y.npy      (N, dim) and (N,), as numpy opens them
    NAME/about.json             what was asked for, and the shards they were made of
    NAME.part/                  the same while it is made, with state.json: the shards that are done
    NAME.lock                   of two processes one makes it, and the other waits

A folder has its name when it is whole. Whoever is killed while making it goes on at the shard it was at.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.datasets.paths import CACHE_ADVICE, cache_dir, no_room
from mobius_lib.errors import DataError
from mobius_lib.files import write_json
from mobius_lib.fingerprint import fingerprint, known_by

log = logging.getLogger(__name__)
_HEADER = 128
"""Bytes before the numbers of a .npy file, which hold the header of any shape."""


@dataclass(frozen=True)
class Part:
    """A shard, which is at hand when its turn comes."""

    name: str
    slices: Callable[[int | None], Iterator[tuple[Tensor, Tensor]]]
    """From the width of the rows before it to its rows and labels."""
    digest: Callable[[], str]
    """The SHA-256 of its content, asked when it has been read."""
    done: Callable[[], None] = lambda: None
    """Called when its rows are on the disk."""


@dataclass(frozen=True)
class Stored:
    """A data set on the disk, of which as much is in memory as is looked at."""

    x: Tensor
    y: Tensor
    shards: Mapping[str, str]
    """Name to SHA-256; of a data set on the hub the name has its revision."""


def open_store(folder: Path, asked: Mapping[str, Any] | None = None) -> Stored | None:
    """What is stored there; nothing is read of the rows.

    Args:
        folder: its place.
        asked: what it must have been made for; None takes it as it is.
    Returns:
        None where there is nothing, something made for another request, or files that are not whole.
    """
    import numpy as np

    try:
        about = json.loads((folder / "about.json").read_bytes())
        if asked is not None and about["asked"] != json.loads(json.dumps(asked)):
            return None
        # "c": writable, as torch wants it, and never written to the file
        x, y = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in "xy")
        if list(x.shape) != about["shape"] or len(y) != len(x):
            return None
        name = fingerprint(about)
        rows, labels = (known_by(torch.from_numpy(part), name) for part in (x, y))
        return Stored(rows, labels, about["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_store(
    folder: Path,
    asked: Mapping[str, Any],
    parts: Sequence[Part],
    kind: torch.dtype,
    rows: int | None,
    lock: Path | None = None,
) -> Stored:
    """What is stored there for that request; made now where it is not yet.

    Args:
        folder: its place.
        asked: what decides its content, as JSON knows it. What was made for something else is replaced.
        parts: its shards in order.
        kind: of x in the store; y is int64.
        rows: how many there must be in the end, where that is known.
        lock: of all who use the same files to make it; None: its own.
    Raises:
        DataError: no room, no permission, another number of rows, one shard twice, or what a shard raises.
    """
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock or folder.with_name(f"{folder.name}.lock"))
        try:
            held.acquire(timeout=1)
        except Timeout:
            log.warning("Another process is making %s, and this one waits for it.", folder)
            held.acquire()
        try:
            found = open_store(folder, asked)
            if found is None:
                _make(folder, asked, parts, kind, rows)
                found = open_store(folder, asked)
        finally:
            held.release()
    except OSError as error:
        raise no_room(folder, error) from error
    if found is None:
        raise DataError(f"What was written into {folder} is not what is read; remove that folder, and try again.")
    return found


def check_room(folder: Path, needed: int) -> None:
    """That so many bytes are free where the folder will be, less those that it holds already.

    Raises:
        DataError: naming both numbers.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    needed -= sum(path.stat().st_size for path in folder.with_name(f"{folder.name}.part").glob("*"))
    if free < needed:
        told = f"{needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free"
        raise DataError(f"{folder} needs {told}; {CACHE_ADVICE}.")


def feature_cache() -> Path:
    """The folder of all stores."""
    return cache_dir() / "features"


def _make(
    folder: Path,
    asked: Mapping[str, Any],
    parts: Sequence[Part],
    kind: torch.dtype,
    rows: int | None,
) -> None:
    place = folder.with_name(f"{folder.name}.part")
    state = _state(place, asked)
    if state is None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        state = {"asked": asked, "shape": [0, None], "shards": {}}
    with _file(place / "x.npy") as x_file, _file(place / "y.npy") as y_file:
        for part in parts[len(state["shards"]) :]:
            count, dim = state["shape"]
            # what a process that was killed has written of this shard is written over
            x_file.seek(_HEADER + count * (dim or 0) * kind.itemsize)
            y_file.seek(_HEADER + count * torch.int64.itemsize)
            for x, y in part.slices(dim):
                count, dim = count + len(x), x.shape[1]
                x_file.write(_as(kind, x, part.name))
                y_file.write(_as(torch.int64, y, part.name))
            digest = part.digest()
            if digest in state["shards"].values():
                twin = next(name for name, other in state["shards"].items() if other == digest)
                raise DataError(f"{part.name} holds the same bytes as {twin}; take one of them away.")
            _sync(x_file, y_file)
            state = {"asked": asked, "shape": [count, dim], "shards": state["shards"] | {part.name: digest}}
            write_json(place / "state.json", state, error=DataError, advice=CACHE_ADVICE)
            part.done()
        count, dim = state["shape"]
        if rows not in (None, count):
            shutil.rmtree(place, ignore_errors=True)
            raise DataError(f"{folder.name} has {count:,} rows in its {len(parts)} files, but {rows:,} are announced.")
        for file, shape, dtype in ((x_file, (count, dim), kind), (y_file, (count,), torch.int64)):
            _write_header(file, shape, dtype)
        _sync(x_file, y_file)
    write_json(place / "about.json", state, error=DataError, advice=CACHE_ADVICE)
    shutil.rmtree(folder, ignore_errors=True)  # of another request, or damaged
    os.rename(place, folder)


def _state(place: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far an earlier process came with the same request."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((place / "state.json").read_bytes())
        count, dim = state["shape"]
        whole = [
            (place / f"{name}.npy").stat().st_size >= _HEADER + count * size
            for name, size in (("x", 2 * dim), ("y", 8))
        ]
        if state["asked"] == json.loads(json.dumps(asked)) and all(whole):
            return state
    return None


def _file(path: Path) -> Any:
    return path.open("r+b" if path.exists() else "w+b")


def _sync(*files: Any) -> None:
    for file in files:
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _as(kind: torch.dtype, values: Tensor, name: str) -> Any:
    found = values.to(kind)
    if kind == torch.float16 and len(values) and not torch.isfinite(found).all():
        raise DataError(f"{name} holds a value beyond {torch.finfo(kind).max:.0f}, too large for half precision.")
    return found.contiguous().view(torch.uint8).numpy()


def _write_header(file: Any, shape: tuple[int, ...], kind: torch.dtype) -> None:
    import io

    from numpy.lib import format

    dtype = torch.empty(0, dtype=kind).numpy().dtype
    header = io.BytesIO()
    about = {"descr": format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    format.write_array_header_1_0(header, about)
    assert header.tell() == _HEADER
    file.seek(0)
    file.write(header.getvalue())
    file.seek(0, os.SEEK_END)
