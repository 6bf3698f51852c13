"""Several processes that train one model: `accelerate launch -m mobius_lib run …`, or the launcher of a notebook.

Each takes its share of every batch, gradients are added up, and batch norm takes its moments over the whole batch. So
the weights are those of one process with the same batches, but for the order of sums. The main process alone writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

_alone: ContextVar[bool] = ContextVar("alone", default=False)


@dataclass(frozen=True)
class Processes:
    """Those that train together, and which of them this one is."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Of the rows of a batch (N, ...) those of this process; all of them where there are too few for each."""
        whole = self.count == 1 or len(rows) < self.count
        return rows if whole else rows.tensor_split(self.count)[self.rank]

    def add_up(self, *tensors: Tensor) -> None:
        """Puts into each tensor the sum over all processes: in one exchange for those of a type."""
        if self.count == 1:
            return
        for kind in dict.fromkeys(each.dtype for each in tensors):  # a set's order is another in each process
            same = [each for each in tensors if each.dtype == kind]
            flat = torch.cat([each.reshape(-1) for each in same])
            dist.all_reduce(flat)
            for each, found in zip(same, flat.split([each.numel() for each in same]), strict=True):
                each.copy_(found.view_as(each))

    def agree(self, model: nn.Module) -> None:
        """Gives all the main process's parameters and buffers."""
        if self.count > 1:
            for each in (*model.parameters(), *model.buffers()):
                dist.broadcast(each.detach(), 0)

    def of_main(self, value: Any) -> Any:
        """What the main process has for it: the time, say, by which a folder is named."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def wait(self) -> None:
        """Until all have come so far."""
        if self.count > 1:
            dist.barrier()


def processes() -> Processes:
    """Those of a launcher; one where there is none. Before they have met, the environment names them."""
    if _alone.get():
        return Processes()
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def meet(device: torch.device | str) -> Processes:
    """Those of a launcher, which can talk to each other from now on; "auto" is a GPU where there is one."""
    if processes().count > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=str(device) == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available()))
    return processes()


def apart() -> bool:
    """The processes need each other no more; whether this is the main one."""
    main = processes().main
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    return main


@contextmanager
def alone() -> Iterator[None]:
    """What is trained meanwhile, this process trains by itself."""
    mark = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(mark)


@contextmanager
def whole_batches(model: nn.Module, group: Processes) -> Iterator[None]:
    """Meanwhile the batch norms of a model take mean and variance over the rows of all processes."""
    changed: list[tuple[nn.Module, type]] = []
    if group.count > 1:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                changed.append((module, type(module)))
                module.__class__ = _WholeBatchNorm
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, each of which uses it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batch of all processes. (torch's own SyncBatchNorm takes no tensors of a CPU.)"""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )  # fmt: skip
        over, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        values = x.float()
        rows = torch.full((1,), values.numel() / values.shape[1], device=x.device)
        *sums, n = _Sum.apply(torch.cat([values.sum(over), rows])).split([values.shape[1], 1])
        if n.item() <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        mean = sums[0] / n
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / n
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                share = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * n / (n - 1), share)
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)
