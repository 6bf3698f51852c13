"""Feature vectors of a user's own, or from a hub data set: .npy, .safetensors and Parquet, columns found by type."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mobius_lib.errors import DataError

IMAGENET_CLIP = "AbstractPhil/imagenet-clip-features-orderly"
"""Seed 001's data set; configurations seen: clip_vit_l14 (768), clip_vit_b16 (512), and two more."""


def load_features(
    path: str | Path, *, feature_column: str | None = None, label_column: str | None = None, normalise: bool = True
) -> tuple[Tensor, Tensor]:
    """Features and labels from a file, or from all Parquet files of a folder in the order of their names.

    Args:
        path: .npy (features; labels beside it as NAME.labels.npy), .safetensors, .parquet, or a folder of Parquet.
        feature_column, label_column: names inside a .safetensors or Parquet file; by default the one column of
            floating-point vectors and the one column of integers.
        normalise: scale each row to length 1, as the published features are.
    Returns:
        (N, dim) float32, and (N,) int64.
    Raises:
        DataError: missing or unreadable file, columns that cannot be told apart, or values that are not finite.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no feature file {path}; name a .npy, .safetensors or .parquet file, or a folder.")
    try:
        if path.is_dir() or path.suffix == ".parquet":
            x, y = _from_parquet(path, feature_column, label_column)
        elif path.suffix == ".safetensors":
            x, y = _from_safetensors(path, feature_column, label_column)
        elif path.suffix == ".npy":
            x, y = _from_npy(path)
        else:
            raise DataError(f"{path} has the ending {path.suffix!r}; features are read from .npy, .safetensors, .parquet.")
    except DataError:
        raise
    except Exception as error:  # each reader has error types of its own for a damaged file
        raise DataError(f"{path} could not be read ({error}); it may be cut short: fetch or write it again.") from error
    if x.ndim != 2 or len(x) == 0 or y.shape != (len(x),):
        raise DataError(
            f"{path} holds features {tuple(x.shape)} and labels {tuple(y.shape)}; expected (N, dim) and (N,), N >= 1."
        )
    x = x.float()
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x).all(dim=1)).nonzero()[0])
        raise DataError(f"{path} holds a value that is not finite (row {bad}); drop or mend such rows first.")
    return torch.nn.functional.normalize(x) if normalise else x, y.long()


def imagenet_clip(split: str, configuration: str = "clip_vit_l14", **columns: str) -> tuple[Tensor, Tensor]:
    """The published ImageNet features of seed 001, from the hub (about 4 GB for the training split at 768 dimensions).

    Args:
        split: "train" (1,281,167 rows) or "validation" (50,000).
        configuration: which encoder.
        columns: feature_column and label_column, should the names not be found.
    Raises:
        DataError: no network, no such configuration, or another layout than expected.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            IMAGENET_CLIP, repo_type="dataset", allow_patterns=[f"*{configuration}*/*{split}*", f"*{configuration}*{split}*"]
        )
    except Exception as error:  # the hub client raises many types, all meaning: not fetched
        raise DataError(
            f"The data set {IMAGENET_CLIP} could not be fetched ({type(error).__name__}: {error}); this run needs the "
            "network. For features of your own, name the file: --features FILE."
        ) from error
    files = sorted(Path(folder).rglob("*.parquet"))
    files = [file for file in files if configuration in str(file) and split in file.name]
    if not files:
        raise DataError(f"{IMAGENET_CLIP} holds no Parquet file for {configuration!r}, split {split!r}.")
    return _parquet_files(files, columns.get("feature_column"), columns.get("label_column"))


def _from_npy(path: Path) -> tuple[Tensor, Tensor]:
    import numpy as np

    labels = path.with_suffix(".labels.npy")
    if not labels.exists():
        raise DataError(f"{path} has no labels beside it; save them as {labels.name}.")
    return torch.from_numpy(np.load(path)), torch.from_numpy(np.load(labels))


def _from_safetensors(path: Path, feature_column: str | None, label_column: str | None) -> tuple[Tensor, Tensor]:
    from safetensors.torch import load_file

    columns = load_file(path)
    feature = _choose(path, feature_column, [k for k, v in columns.items() if v.is_floating_point()], list(columns))
    label = _choose(path, label_column, [k for k, v in columns.items() if not v.is_floating_point()], list(columns))
    return columns[feature], columns[label]


def _from_parquet(path: Path, feature_column: str | None, label_column: str | None) -> tuple[Tensor, Tensor]:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"The folder {path} holds no .parquet file.")
    return _parquet_files(files, feature_column, label_column)


def _parquet_files(
    files: Sequence[Path], feature_column: str | None, label_column: str | None
) -> tuple[Tensor, Tensor]:
    import numpy as np
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    xs, ys = [], []
    for file in files:
        schema = pq.read_schema(file)
        vectors = [
            f.name
            for f in schema
            if (kinds.is_list(f.type) or kinds.is_large_list(f.type) or kinds.is_fixed_size_list(f.type))
            and kinds.is_floating(f.type.value_type)
        ]
        feature = _choose(file, feature_column, vectors, schema.names)
        label = _choose(file, label_column, [f.name for f in schema if kinds.is_integer(f.type)], schema.names)
        table = pq.read_table(file, columns=[feature, label]).combine_chunks()
        flat = table[feature].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if len(flat) % max(len(table), 1):
            raise DataError(f"The vectors in column {feature!r} of {file} have different lengths.")
        xs.append(torch.from_numpy(np.array(flat, dtype=np.float32)).view(len(table), -1))
        ys.append(torch.from_numpy(np.array(table[label].to_numpy(), dtype=np.int64)))
    return torch.cat(xs), torch.cat(ys)


def _choose(file: Path, named: str | None, candidates: list[str], columns: list[str]) -> str:
    """The column that the user named, or the only one of the right type."""
    if named is not None:
        if named not in columns:
            raise DataError(f"{file} has no column {named!r}; it has {', '.join(columns)}.")
        return named
    if len(candidates) != 1:
        raise DataError(
            f"{file} has the columns {', '.join(columns)}, and which hold features and labels is not clear from their "
            "types; name them with feature_column and label_column."
        )
    return candidates[0]
