"""Loss and accuracy: of what is trained on, kept on the device meanwhile, and of what is judged."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.errors import DataError
from mobius_lib.training.batches import Batches, check_labels, label_range
from mobius_lib.training.processes import Processes


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Batches,
    device: str | torch.device = "cpu",
    *,
    judged: Callable[[int], object] | None = None,
    group: Processes | None = None,
) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy; leaves the model in evaluation mode.

    Args:
        model, batches, device: what is judged by what, and where.
        judged: called after each batch with its number of rows.
        group: the processes that share the batches; None: this one sees all.
    Shape:
        the batches' (x, y) with x (N, ...), y (N,).
    Raises:
        DataError: for a label that is no class of the model, or a sample that is not finite.
    """
    model.eval()
    group = group or Processes()
    sums = Sums(torch.device(device))
    finite = torch.ones((), dtype=torch.bool, device=device)
    # whole batches, for there are models whose answer depends on the place in the batch
    for x, y in itertools.islice(batches.epoch(0), group.rank, None, group.count):
        labels = labels_of(batches, y)
        x, y = x.to(device, non_blocking=True), y.to(device, torch.int64, non_blocking=True)
        finite &= torch.isfinite(x).all()
        logits = model(x)
        if labels is not None:
            check_labels(labels, logits.shape[-1])
        sums.add(F.cross_entropy(logits.float(), y), logits, y)
        if judged is not None:
            judged(len(y))
    bad = (~finite).long()
    group.add_up(sums.loss, sums.counts, bad)
    if bad:
        raise DataError(
            "The samples to validate on hold a NaN or an infinity, of which no accuracy can be told; leave those out."
        )
    loss, accuracy, *_ = sums.read()
    return loss, accuracy


def labels_of(batches: Batches, y: Tensor) -> tuple[int, int] | None:
    """The lowest and highest label: of all batches if they know it, else of this one if that needs no waiting."""
    known = getattr(batches, "label_range", None)
    return label_range(y) if known is None and y.device.type == "cpu" and len(y) else known


class Sums:
    """Loss and hits of the batches so far, kept on the device until somebody asks."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)  # right, seen, batches left out

    def add(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        # A row with a NaN has its "largest" entry there, which is no prediction.
        right = ((logits.argmax(-1) == y) & ~logits.isnan().any(-1)).sum()
        self.loss += loss * len(y)
        self.counts[:2] += torch.stack([right, torch.full_like(right, len(y))])

    def take(self, step: "Sums", bad: Tensor, batches: int) -> None:
        """What a step of so many batches has come to; where it is bad only that they were left out."""
        self.loss += torch.where(bad, 0.0, step.loss)
        self.counts += torch.where(bad, step.counts.new_tensor([0, 0, batches]), step.counts)

    def read(self) -> tuple[float, float, int, int]:
        """Mean loss and accuracy (NaN before the first batch), samples seen, batches left out."""
        right, seen, skipped = self.counts.tolist()
        if seen == 0:
            return float("nan"), float("nan"), 0, skipped
        return self.loss.item() / seen, right / seen, seen, skipped
