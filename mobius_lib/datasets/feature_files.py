"""Feature vectors of a user's own, or from a hub data set: .npy, .safetensors and Parquet, columns found by type."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mobius_lib.datasets.paths import visible
from mobius_lib.errors import DataError

IMAGENET_CLIP = "AbstractPhil/imagenet-clip-features-orderly"
"""Seed 001's data set; configurations seen: clip_vit_l14 (768), clip_vit_b16 (512), and two more."""
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val")}


def load_features(
    path: str | Path, *, feature_column: str | None = None, label_column: str | None = None, normalise: bool = True
) -> tuple[Tensor, Tensor]:
    """Features and labels from a file, or from all Parquet files of a folder in the order of their names.

    Hidden files and folders, whose names begin with a dot, are not looked at.

    Args:
        path: .npy (features; labels beside it as NAME.labels.npy), .safetensors, .parquet, or a folder of Parquet.
        feature_column, label_column: names inside a .safetensors or Parquet file; by default the one column of
            floating-point vectors and the one column of integers.
        normalise: scale each row to length 1, as the published features are, however long or short it is. A row of
            zeros stays one.
    Returns:
        (N, dim) float32, and (N,) int64.
    Raises:
        DataError: missing or unreadable file, columns that cannot be told apart, rows of different lengths, values
            that are not finite (or too large for float32, if they are not normalised), or labels that are no classes.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no feature file {path}; name a .npy, .safetensors or .parquet file, or a folder.")
    if path.is_dir():
        files = visible(path, "*.parquet")
        if not files:
            raise DataError(f"The folder {path} holds no .parquet file.")
        x, y = _parquet(files, feature_column, label_column)
    elif path.suffix == ".parquet":
        x, y = _parquet([path], feature_column, label_column)
    elif path.suffix == ".safetensors":
        x, y = _safetensors(path, feature_column, label_column)
    elif path.suffix == ".npy":
        x, y = _npy(path)
    else:
        raise DataError(f"{path} has the ending {path.suffix!r}; features are read from .npy, .safetensors, .parquet.")
    return _checked(path, x, y, normalise)


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
    return _checked(folder, *_parquet(files, columns.get("feature_column"), columns.get("label_column")))


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


def _checked(path: Path, x: Tensor, y: Tensor, normalise: bool = False) -> tuple[Tensor, Tensor]:
    """float32 rows and int64 classes. The rows are ours alone, and changed in place."""
    if x.ndim != 2 or x.numel() == 0 or y.shape != (len(x),):
        raise DataError(
            f"{path} holds features {tuple(x.shape)} and labels {tuple(y.shape)}; expected (N, dim) and (N,), N >= 1."
        )
    if x.is_complex():
        raise DataError(f"{path} has features of type {_kind(x)}; they must be real numbers.")
    if x.dtype != torch.float64:
        x = x.float()
    _finite(path, x, "that is not finite")
    x = (_to_length_one(x) if normalise else x).float()
    _finite(path, x, "that float32 cannot hold")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(f"{path} has labels of type {_kind(y)}; they must be integers.")
    y = y.long()
    if int(y.min()) < 0:
        bad = int((y < 0).nonzero()[0])
        raise DataError(f"{path} has the label {int(y[bad])} in row {bad}; classes count from 0, so drop such rows.")
    return x, y


def _finite(path: Path, x: Tensor, what: str) -> None:
    # the largest of each row: no tensor of the size of x is made beside it
    finite = torch.isfinite(torch.linalg.vector_norm(x, torch.inf, dim=1))
    if not bool(finite.all()):
        raise DataError(
            f"{path} holds a value {what} (row {int((~finite).nonzero()[0])}); drop or mend such rows first."
        )


def _to_length_one(x: Tensor) -> Tensor:
    for order in (torch.inf, 2):  # by the largest value first: the square of 1e25 overflows, and that of 1e-25 is 0
        length = torch.linalg.vector_norm(x, order, dim=1, keepdim=True)
        x /= length.where(length > 0, 1)
    return x


def _kind(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} could not be read ({reason}); it may be cut short: fetch or write it again.")


def _npy(path: Path) -> tuple[Tensor, Tensor]:
    import numpy as np

    labels = path.with_suffix(".labels.npy")
    if not labels.exists():
        raise DataError(f"{path} has no labels beside it; save them as {labels.name}.")
    parts = []
    for file in (path, labels):
        try:
            array = np.load(file)
        except Exception as error:  # ValueError, EOFError, OSError, …: all say that it is no such file
            if "Object arrays" in str(error):
                raise DataError(f"{file} holds Python objects; save an array of numbers.") from error
            raise _unreadable(file, error) from error
        if not isinstance(array, np.ndarray):
            array.close()
            raise DataError(f"{file} holds several arrays ({', '.join(array.files)}); save one by itself, as .npy.")
        try:
            parts.append(torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False)))
        except TypeError as error:
            raise DataError(f"{file} holds values of type {array.dtype}; save them as float32 or int64.") from error
    return parts[0], parts[1]


def _safetensors(path: Path, feature_column: str | None, label_column: str | None) -> tuple[Tensor, Tensor]:
    from safetensors.torch import load_file

    try:
        columns = dict(sorted(load_file(path).items()))
    except Exception as error:  # SafetensorError, OSError
        raise _unreadable(path, error) from error
    vectors = [name for name, value in columns.items() if value.ndim == 2 and value.is_floating_point()]
    integers = [
        name
        for name, value in columns.items()
        if value.ndim == 1 and not value.is_floating_point() and value.dtype != torch.bool
    ]
    return (
        columns[_choose(path, feature_column, vectors, list(columns), "feature")],
        columns[_choose(path, label_column, integers, list(columns), "label")],
    )


def _parquet(files: Sequence[Path], feature_column: str | None, label_column: str | None) -> tuple[Tensor, Tensor]:
    parts = []
    for file in files:
        try:
            parts.append(_parquet_file(file, feature_column, label_column))
        except DataError:
            raise
        except Exception as error:  # pyarrow's own kinds, OSError
            raise _unreadable(file, error) from error
        if (width := parts[-1][0].shape[1]) != (first := parts[0][0].shape[1]):
            raise DataError(f"{file} holds vectors of {width} numbers, but {files[0]} holds vectors of {first}.")
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def _parquet_file(file: Path, feature_column: str | None, label_column: str | None) -> tuple[Tensor, Tensor]:
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    schema = pq.read_schema(file)
    vectors = [
        column.name
        for column in schema
        if (kinds.is_list(column.type) or kinds.is_large_list(column.type) or kinds.is_fixed_size_list(column.type))
        and kinds.is_floating(column.type.value_type)
    ]
    integers = [column.name for column in schema if kinds.is_integer(column.type)]
    feature = _choose(file, feature_column, vectors, schema.names, "feature")
    label = _choose(file, label_column, integers, schema.names, "label")
    table = pq.read_table(file, columns=[feature, label])
    if len(table) == 0:
        raise DataError(f"{file} holds no rows; take it away or write it again.")
    if missing := table[feature].null_count + table[label].null_count:
        raise DataError(f"{file} lacks {missing} value(s) in the columns {feature!r} and {label!r}; drop such rows.")
    rows = table[feature].combine_chunks()
    lengths = pc.unique(pc.list_value_length(rows)).to_pylist()
    if len(lengths) > 1:
        raise DataError(
            f"The vectors in column {feature!r} of {file} have different lengths, {min(lengths)} to {max(lengths)}."
        )
    kind = np.float64 if kinds.is_float64(schema.field(feature).type.value_type) else np.float32
    flat = np.array(rows.flatten().to_numpy(zero_copy_only=False), dtype=kind)
    labels = np.array(table[label].to_numpy(), dtype=np.int64)
    return torch.from_numpy(flat).view(len(table), lengths[0]), torch.from_numpy(labels)


def _choose(file: Path, named: str | None, candidates: list[str], columns: list[str], what: str) -> str:
    """The column that the user named, or the only one of the right type."""
    if named is None:
        if len(candidates) == 1:
            return candidates[0]
        raise DataError(
            f"{file} has the columns {', '.join(columns)}, and which one holds the {what}s is not clear from their "
            f"types ({', '.join(candidates) or 'none'} would do); name it with {what}_column."
        )
    if named not in columns:
        raise DataError(f"{file} has no column {named!r}; it has {', '.join(columns)}.")
    if named not in candidates:
        wanted = "vectors of floating-point numbers" if what == "feature" else "integers"
        raise DataError(f"The column {named!r} of {file} holds no {wanted}; {', '.join(candidates) or 'none'} does.")
    return named
