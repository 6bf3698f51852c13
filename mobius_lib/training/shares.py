"""What one process computes of a step, and what it counts for: a step may take several batches, of several processes.

The mean loss over the rows of a share counts for its part of all labels of the step, so that the sum is the mean over
all of them, however they are cut.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mobius_lib.training.processes import Processes

UNCOUNTED = -100
"""A label that is none: cross-entropy leaves it out of its mean, and so does the part of a share."""


@dataclass(frozen=True)
class Share:
    """Of a batch the rows of this process."""

    group: Processes
    all_x: Tensor
    all_y: Tensor
    """Of the whole batch."""
    labels: list[tuple[int, int]]
    """Lowest and highest, as far as they are known."""

    @property
    def x(self) -> Tensor:
        return self.group.share(self.all_x)

    @property
    def y(self) -> Tensor:
        return self.group.share(self.all_y)

    def counts_here(self) -> slice:
        """The rows that this process counts: where there were too few for a share each, the main one alone."""
        return slice(0 if self._is_all() and not self.group.main else None)

    def weight(self, every: Tensor, dtype: torch.dtype) -> Tensor:
        """What the mean loss over these rows is multiplied by, before the mean over all processes is taken.

        Args:
            every: labels that count in all batches of the step, from `counted`.
            dtype: of that loss; in single precision the weight of a double one would be off by 1e-7 of it.
        """
        times, wide = 1 if self._is_all() else self.group.count, torch.promote_types(dtype, torch.float32)
        return (times * (self.y != UNCOUNTED).sum().to(wide) / every.clamp_min(1).to(wide)).to(dtype)

    def _is_all(self) -> bool:
        return len(self.y) == len(self.all_y)


def counted(*shares: Share) -> Tensor:
    """How many labels of their whole batches count."""
    return torch.stack([(share.all_y != UNCOUNTED).sum() for share in shares]).sum()
