"""Files of feature vectors and labels, read a slice at a time: .npy pairs, .safetensors and Parquet.

However large a file is, a slice of it is held at a time, checked, and handed on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobius_lib.errors import DataError

SLICE = 16_384
"""Rows held at a time: 50 MB at 768 numbers each."""
LABEL_NAMES = ("label", "labels", "target", "class")
"""A column of that name holds the labels, whatever other integers there are; the first of these that is there."""
_FEW = 10  # rows; so few may each have a class of their own
_MAPPED = 2**20  # bytes; a smaller .npy is read whole, for an empty array cannot be mapped


@dataclass(frozen=True)
class Columns:
    """The names of columns, as far as they were given or are decided."""

    feature: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Expected:
    """What is known of the rows before they are read; None: nothing."""

    classes: int | None = None
    dim: int | None = None
    normalise: bool = False


@dataclass(frozen=True)
class Shard:
    """A file whose columns are decided, of which no row has been read."""

    path: Path
    columns: Columns
    rows: int
    kind: torch.dtype
    """Of its features."""
    certain: bool = True
    """Whether the labels' column was named or has a label's name, and was not taken for its type alone."""

    def raw(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Its rows and labels as they are stored, at most `SLICE` at a time."""
        try:
            yield from _RAW[self.path.suffix](self)
        except DataError:
            raise
        except Exception as error:  # pyarrow's, safetensors' and numpy's own kinds, OSError
            raise unreadable(self.path, error) from error

    def slices(self, expected: Expected = Expected(), dim: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Its rows as float32, scaled if that is asked for, and labels as int64, checked.

        Args:
            expected: of all rows.
            dim: width of the rows of shards before this one.
        Raises:
            DataError: naming the first row that cannot be taken, or the column, and the cure.
        """
        at, labels = 0, _Labels(self, expected.classes)
        for x, y in self.raw():
            if expected.dim not in (None, x.shape[1]):
                raise DataError(
                    f"{self.path} holds vectors of {x.shape[1]} numbers in the column {self.columns.feature!r}, but "
                    f"{expected.dim} are needed; name another column with feature_column (--feature-column), or give "
                    "features of another encoder."
                )
            if dim not in (None, x.shape[1]):
                raise DataError(
                    f"{self.path} holds vectors of {x.shape[1]} numbers, but the files before it hold vectors of {dim}."
                )
            x = _finite(self.path, at, x, expected.normalise)
            yield x, labels.of(y, at)
            at += len(y)
        if at != self.rows:
            raise DataError(f"{self.path} announces {self.rows} rows and holds {at}; it is cut short: write it again.")
        labels.end()


def open_shard(path: Path, columns: Columns = Columns()) -> Shard:
    """A file and its columns, from its header alone.

    Args:
        path: .npy (labels beside it as NAME.labels.npy), .safetensors or .parquet.
        columns: names that the user gave; by default the one column of floating-point vectors, and the column of
            integers that is named like a label, or else the only one.
    Raises:
        DataError: a file that is missing or unreadable, or columns that cannot be told apart.
    """
    if path.suffix not in _OPEN:
        raise DataError(f"{path} has the ending {path.suffix!r}; features are read from {', '.join(_OPEN)}.")
    try:
        return _OPEN[path.suffix](path, columns)
    except DataError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} could not be read ({reason}); it may be cut short: fetch or write it again.")


def _finite(path: Path, at: int, x: Tensor, normalise: bool) -> Tensor:
    """The rows as float32, of length 1 if that is asked for."""
    if x.dtype != torch.float64:
        x = x.float()
    _all_finite(path, at, x, "that is not finite")
    x = (_to_length_one(x) if normalise else x).float()
    _all_finite(path, at, x, "that float32 cannot hold")
    return x


def _all_finite(path: Path, at: int, x: Tensor, what: str) -> None:
    # the largest of each row: no tensor of the size of x is made beside it
    finite = torch.isfinite(torch.linalg.vector_norm(x, torch.inf, dim=1))
    if not bool(finite.all()):
        row = at + int((~finite).nonzero()[0])
        raise DataError(f"{path} holds a value {what} (row {row}); drop or mend such rows first.")


def _to_length_one(x: Tensor) -> Tensor:
    for order in (torch.inf, 2):  # by the largest value first: the square of 1e25 overflows, and that of 1e-25 is 0
        length = torch.linalg.vector_norm(x, order, dim=1, keepdim=True)
        x = x / length.where(length > 0, 1)
    return x


class _Labels:
    """The labels of a shard as they come by."""

    def __init__(self, shard: Shard, classes: int | None) -> None:
        self.shard, self.classes = shard, classes
        self.lowest, self.highest = 2**63 - 1, -(2**63)
        self.seen: list[Tensor] = []
        name = "its labels" if shard.columns.label is None else f"its column {shard.columns.label!r}"
        self.where = f"{shard.path} has in {name}"
        self.other = "name the column of the labels with label_column (--label-column)"

    def of(self, y: Tensor, at: int) -> Tensor:
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise DataError(f"{self.shard.path} has labels of type {_kind(y)}; they must be integers.")
        y = y.long()
        if int(y.min()) < 0:
            bad = int((y < 0).nonzero()[0])
            raise DataError(
                f"{self.where} the label {int(y[bad])} (row {at + bad}); classes count from 0, so drop such rows."
            )
        self.lowest, self.highest = min(self.lowest, int(y.min())), max(self.highest, int(y.max()))
        if self.classes is not None and self.highest > self.classes:
            bad = int((y > self.classes).nonzero()[0])
            raise DataError(
                f"{self.where} the label {int(y[bad])} (row {at + bad}), but there are {self.classes} classes, 0 to "
                f"{self.classes - 1}; {self.other}, or drop such rows."
            )
        if not self.shard.certain:
            self.seen.append(y)
        return y

    def end(self) -> None:
        """What only the whole shard can tell."""
        if self.classes is not None and self.highest == self.classes:
            cure = "subtract 1 from each" if self.lowest else "drop the rows of the last one"
            raise DataError(
                f"{self.where} the labels {self.lowest} to {self.highest}, but the {self.classes} classes count from 0 "
                f"to {self.classes - 1}; {cure}, or {self.other}."
            )
        if self.shard.rows > _FEW and self.seen and len(torch.cat(self.seen).unique()) == self.shard.rows:
            raise DataError(
                f"{self.where} another number in each of its {self.shard.rows} rows: these are no labels; {self.other}."
            )


def _kind(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _two(path: Path, x: Sequence[int], y: Sequence[int], kind: torch.dtype) -> None:
    """That the shapes are those of rows and their labels."""
    if len(x) != 2 or 0 in x or tuple(y) != (x[0],):
        raise DataError(f"{path} holds features {tuple(x)} and labels {tuple(y)}; expected (N, dim) and (N,), N >= 1.")
    if kind.is_complex:
        raise DataError(f"{path} has features of type {str(kind).removeprefix('torch.')}; they must be real numbers.")


def choose(path: Path, columns: Columns, vectors: list[str], integers: list[str], names: list[str]) -> Columns:
    """The columns of features and labels: those that were named, or those that their types and names tell."""
    called = [name for name in LABEL_NAMES if name in integers]
    return Columns(
        _choose(path, columns.feature, vectors, vectors, names, "feature"),
        _choose(path, columns.label, called[:1] or integers, integers, names, "label"),
    )


def _choose(path: Path, named: str | None, best: list[str], would_do: list[str], names: list[str], what: str) -> str:
    if named is None:
        if len(best) == 1:
            return best[0]
        raise DataError(
            f"{path} has the columns {', '.join(names)}, and which one holds the {what}s is not clear from their "
            f"types ({', '.join(would_do) or 'none'} would do); name it with {what}_column (--{what}-column)."
        )
    if named not in names:
        raise DataError(f"{path} has no column {named!r}; it has {', '.join(names)}.")
    if named not in would_do:
        wanted = "vectors of floating-point numbers" if what == "feature" else "integers"
        raise DataError(f"The column {named!r} of {path} holds no {wanted}; {', '.join(would_do) or 'none'} does.")
    return named


# One numpy array a file.


def _open_npy(path: Path, columns: Columns) -> Shard:
    labels = path.with_suffix(".labels.npy")
    if not labels.exists():
        raise DataError(f"{path} has no labels beside it; save them as {labels.name}.")
    x, y = _array(path), _array(labels)
    kind = _tensor(path, x[:0]).dtype
    _tensor(labels, y[:0])
    _two(path, x.shape, y.shape, kind)
    return Shard(path, Columns(), len(x), kind)


def _array(path: Path) -> Any:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r" if path.stat().st_size > _MAPPED else None)
    except Exception as error:  # ValueError, EOFError, OSError, …: all say that it is no such file
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise DataError(f"{path} holds Python objects; save an array of numbers.") from error
        raise unreadable(path, error) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} holds several arrays ({', '.join(array.files)}); save one by itself, as .npy.")
    return array


def _tensor(path: Path, array: Any) -> Tensor:
    import numpy as np

    try:
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))  # its own, and no view of the file
    except TypeError as error:
        raise DataError(f"{path} holds values of type {array.dtype}; save them as float32 or int64.") from error


def _raw_npy(shard: Shard) -> Iterator[tuple[Tensor, Tensor]]:
    labels = shard.path.with_suffix(".labels.npy")
    for at in range(0, shard.rows, SLICE):
        # opened anew each time, so that what has been read of the file is not held
        part = slice(at, at + SLICE)
        yield _tensor(shard.path, _array(shard.path)[part]), _tensor(labels, _array(labels)[part])


# Several tensors a file.


def _open_safetensors(path: Path, columns: Columns) -> Shard:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        first = {}
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            shape = part.get_shape()
            first[name] = (shape, (part[:1] if shape and shape[0] else file.get_tensor(name)).dtype)
    vectors = [name for name, (shape, kind) in first.items() if len(shape) == 2 and kind.is_floating_point]
    integers = [
        name
        for name, (shape, kind) in first.items()
        if len(shape) == 1 and not kind.is_floating_point and not kind.is_complex and kind != torch.bool
    ]
    chosen = choose(path, columns, vectors, integers, list(first))
    x, y = first[chosen.feature], first[chosen.label]
    _two(path, x[0], y[0], x[1])
    return Shard(path, chosen, x[0][0], x[1], columns.label is not None or chosen.label in LABEL_NAMES)


def _raw_safetensors(shard: Shard) -> Iterator[tuple[Tensor, Tensor]]:
    from safetensors import safe_open

    for at in range(0, shard.rows, SLICE):
        with safe_open(shard.path, "pt") as file:  # anew each time, as above
            x, y = (file.get_slice(name)[at : at + SLICE] for name in (shard.columns.feature, shard.columns.label))
            yield x.clone(), y.clone()
            del x, y


# A table a file.


def _open_parquet(path: Path, columns: Columns) -> Shard:
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    vectors = [
        column.name
        for column in schema
        if any(of(column.type) for of in lists) and kinds.is_floating(column.type.value_type)
    ]
    integers = [column.name for column in schema if kinds.is_integer(column.type)]
    chosen = choose(path, columns, vectors, integers, schema.names)
    if rows == 0:
        raise DataError(f"{path} holds no rows; take it away or write it again.")
    values = schema.field(chosen.feature).type.value_type
    kind = {16: torch.float16, 32: torch.float32, 64: torch.float64}[values.bit_width]
    return Shard(path, chosen, rows, kind, columns.label is not None or chosen.label in LABEL_NAMES)


def _raw_parquet(shard: Shard) -> Iterator[tuple[Tensor, Tensor]]:
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    feature, label = shard.columns.feature, shard.columns.label
    kind, dim = torch.empty(0, dtype=shard.kind).numpy().dtype, None
    # by default the bytes of a whole group of rows are read in advance, and pandas makes one of a million rows
    with pq.ParquetFile(shard.path, buffer_size=2**20, pre_buffer=False) as file:
        for table in file.iter_batches(SLICE, columns=[feature, label], use_threads=False):
            if missing := table[feature].null_count + table[label].null_count:
                raise DataError(
                    f"{shard.path} lacks {missing} value(s) in the columns {feature!r} and {label!r}; drop such rows."
                )
            lengths = pc.unique(pc.list_value_length(table[feature])).to_pylist()
            if len({*lengths, dim} - {None}) > 1:
                low, high = min({*lengths, dim} - {None}), max({*lengths, dim} - {None})
                raise DataError(
                    f"The vectors in column {feature!r} of {shard.path} have different lengths, {low} to {high}."
                )
            dim = lengths[0]
            flat = np.array(table[feature].flatten().to_numpy(zero_copy_only=False), dtype=kind)
            _two(shard.path, (len(table), dim), (len(table),), shard.kind)
            labels = np.array(table[label].to_numpy(zero_copy_only=False), dtype=np.int64)
            yield torch.from_numpy(flat).view(len(table), dim), torch.from_numpy(labels)


_OPEN = {".npy": _open_npy, ".safetensors": _open_safetensors, ".parquet": _open_parquet}
_RAW = {".npy": _raw_npy, ".safetensors": _raw_safetensors, ".parquet": _raw_parquet}
