"""TensorBoard curves of a run, one step per epoch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobius_lib.errors import CheckpointError
from mobius_lib.files import reason
from mobius_lib.training.checkpoint import CONTINUE


class Tracker:
    """Writes curves and histograms below a folder.

    Args:
        folder: for the event files.
        first_epoch: the first epoch (from 1) that will be written. What an interrupted run wrote from there on is
            marked as void, so a continued run shows each epoch once.
    Raises:
        CheckpointError: when the folder cannot be written to, by every method.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def epoch(self, record: dict[str, Any], scalars: Mapping[str, Any]) -> None:
        """Adds one epoch's record, as `fit` keeps it in the history, and further scalars under their own names."""
        curves = {
            "loss/train": record["train_loss"],
            "loss/validation": record["val_loss"],
            "accuracy/train": record["train_accuracy"],
            "accuracy/validation": record["val_accuracy"],
            "learning_rate": record["lr"],
            "skipped_batches": record["skipped"],
            **scalars,
        }
        with self._writing():
            for name, value in _numbers(curves):
                self._writer.add_scalar(name, value, record["epoch"])
            self._writer.flush()

    def histograms(self, model: nn.Module, epoch: int) -> None:
        """Adds the distribution of every parameter; one that is empty or not finite has none and is left out."""
        with self._writing():
            for name, parameter in model.named_parameters():
                values = parameter.detach().float().cpu()
                if values.numel() and torch.isfinite(values).all():
                    self._writer.add_histogram(f"weights/{name}", values, epoch)
            self._writer.flush()

    def close(self) -> None:
        with self._writing():
            self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"The TensorBoard folder {self.folder} cannot be written ({reason(error)}); {CONTINUE}."
            ) from error


def _numbers(curves: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Name and number; of a list each by itself, "name/0" and so on."""
    for name, value in curves.items():
        if isinstance(value, list):
            yield from _numbers({f"{name}/{place}": each for place, each in enumerate(value)})
        else:
            yield name, value
