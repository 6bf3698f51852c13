"""What every arm with every seed said of each test row: kept beside the record, so that any comparison can be made."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mobius_lib.runs.about import RunError

ENDING = ".npz"
"""In the place of the record's ".json"."""
LABELS = "labels"


def pack(labels: Tensor, predicted: Mapping[str, Sequence[Tensor]]) -> bytes:
    """A compressed NumPy archive: `labels` (N,), and for every arm (seeds, N), in the smallest whole numbers.

    The same classes give the same bytes.
    """
    arrays = {LABELS: labels.numpy()} | {
        name: np.stack([row.numpy() for row in rows]) for name, rows in predicted.items()
    }
    kind = np.min_scalar_type(max(int(array.max()) for array in arrays.values()))
    file = io.BytesIO()
    kept: dict[str, Any] = {name: array.astype(kind) for name, array in arrays.items()}
    np.savez_compressed(file, **kept)
    return file.getvalue()


def load_predictions(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What stands beside a record.

    Args:
        path: of the record.
    Returns:
        the labels (N,), and for every arm the classes (seeds, N), of the test rows in the order of the run's data.
    Raises:
        RunError: when the file is missing or damaged.
    """
    beside = path.with_suffix(ENDING)
    try:
        with np.load(beside, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.int64) for name in file.files}
        return arrays.pop(LABELS), arrays
    except Exception as error:  # a damaged archive raises many types
        raise RunError(
            f"The predictions {beside} cannot be read ({type(error).__name__}); restore them, or make the run again."
        ) from error


def paired_row_error(labels: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Standard error of the difference of two arms' accuracies that comes from the test rows being so many.

    Of each row the difference of the shares of seeds that are right, and its spread over rows: rows on which both are
    right, or both wrong, add nothing. With one seed it is McNemar's.

    Args:
        labels: (N,).
        one, other: (seeds, N), as `load_predictions` gives them.
    """
    gaps = (one == labels).mean(0) - (other == labels).mean(0)
    return float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
