"""Where the batches come from. Their order is a function of seed and epoch alone, so a continued run meets the same."""

import contextlib
import numbers
import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mobius_lib.errors import DataError, MobiusError
from mobius_lib.fingerprint import fingerprint, known_by

_Item = TypeVar("_Item")


@runtime_checkable
class Batches(Protocol):
    """What `fit` needs of its data."""

    samples: int
    """Samples in an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch (from 0), always the same for the same number."""
        ...


def label_range(y: Tensor) -> tuple[int, int]:
    """The lowest and the highest label of (N,), N >= 1.

    Raises:
        DataError: when they are not one whole number for each sample.
    """
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        kind = str(y.dtype).removeprefix("torch.")
        raise DataError(
            f"The labels are {kind} of shape {tuple(y.shape)}; give each sample one whole number, (N,) int64."
        )
    lowest, highest = y.long().aminmax()
    return int(lowest), int(highest)


def check_labels(labels: tuple[int, int], classes: int | None = None) -> None:
    """That the lowest and the highest label are classes; None: of a model that is not yet known.

    It has to be asked before a label is used as an index: on a CPU that is an IndexError without the label's name, and
    on a GPU an assertion after which the process can use the GPU no more.

    Raises:
        DataError: naming the label, the classes there are, and the cure.
    """
    lowest, highest = labels
    if lowest < 0:
        to = "" if classes is None else f" to {classes - 1}"
        raise DataError(
            f"There is the label {lowest}, but classes are numbered from 0{to}; drop the samples that have none, or "
            "number the classes anew."
        )
    if classes is not None and highest >= classes:
        raise DataError(
            f"There is the label {highest}, but the model has {classes} classes, numbered from 0 to {classes - 1}; "
            + ("subtract 1, if the labels count from 1, or " if highest == classes and lowest else "")
            + "give it more, or number the classes anew."
        )


def tensor_of(values: Tensor | np.ndarray) -> Tensor:
    """The tensor, or that of a NumPy array: of the same memory where it can be, also of a file that is mapped."""
    if not isinstance(values, np.ndarray):
        return values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it may not be written: nobody will
        return torch.from_numpy(np.ascontiguousarray(values, values.dtype.newbyteorder("=")))


class ResidentBatches:
    """Batches of tensors that are in memory, on the device that trains: the fastest where the data fits.

    When shuffled, a last batch of a single sample is left out (another sample each epoch): batch norm has no variance
    over one sample.

    Args:
        x: samples, (N, ...), of any dtype, of which float16 comes as float32; y: their classes, (N,), whole numbers
            from 0. NumPy arrays are taken, too.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: draw a new order every epoch.
        seed: of the order.
        device: where to put both tensors, once; None leaves them where they are.
        ahead: how many batches a thread picks while the last one is trained on, for rows that are mapped from a disk or
            wait in the memory of another device. The batches are the same; 0: none.
        augment: applied to every batch of x, shuffled or not; random draws from torch's global generators are
            reproducible too, for `fit` keeps their state in the checkpoint.
    Raises:
        DataError: when x and y differ in length or are empty, or when labels are no classes.
    """

    def __init__(
        self,
        x: Tensor | np.ndarray,
        y: Tensor | np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        device: torch.device | str | None = None,
        ahead: int = 0,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if len(x) != len(y):
            raise DataError(f"There are {len(x)} samples but {len(y)} labels; give each sample one label.")
        x, y = tensor_of(x), tensor_of(y)
        self._plan = _Plan(len(y), batch_size, shuffle, seed)
        self.samples = self._plan.samples
        self.label_range = label_range(y)
        """The lowest and the highest."""
        check_labels(self.label_range)
        y = y.long()
        self.x, self.y = (x, y) if device is None else (known_by(x.to(device), x), known_by(y.to(device), y))
        self.augment, self.ahead = augment, ahead

    def __len__(self) -> int:
        return len(self._plan)

    def identity(self) -> str:
        """What they are, for a run that goes on: the fingerprint of samples, classes and order."""
        return fingerprint(self.x, self.y, self.augment, vars(self._plan))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        # To the device as a whole: a copy per batch would each time wait for it.
        order = self._plan.order(number).to(self.x.device).split(self._plan.batch_size)
        pinned = (
            self.ahead > 0 and self.x.device.type == "cpu" and torch.cuda.is_available()
        )  # for a copy that waits not
        picked = (
            tuple(part[indices].pin_memory() if pinned else part[indices] for part in (self.x, self.y))
            for indices in order
        )
        for x, y in picked if self.ahead == 0 else in_advance(picked, self.ahead):
            if x.dtype == torch.float16:  # in which large sets are kept; models compute in float32
                x = x.float()
            yield (x if self.augment is None else self.augment(x)), y


def in_advance(items: Iterator[_Item], most: int) -> Iterator[_Item]:
    """The same, computed by a thread that is at most so many ahead; what it raises is raised here. It ends with this.

    Nothing that draws from a global generator may stand in `items`: whoever uses them draws meanwhile.
    """
    ready: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(most)
    ended = threading.Event()

    def hand(item: _Item | None, error: BaseException | None = None) -> bool:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand(item):
                    return
            hand(None)
        except BaseException as error:  # handed to the one who waits
            hand(None, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        ended.set()
        thread.join()


class LoaderBatches:
    """Batches of any torch data set, loaded by worker processes when `workers` is above 0.

    Each sample is loaded with torch's generator seeded from (seed, epoch, index), so random augmentation is the same
    whatever the number of workers. A single last sample is left out as in `ResidentBatches`.

    Args:
        dataset: a map-style data set of (tensor, class).
        batch_size, shuffle, seed: as in `ResidentBatches`.
        workers: processes that load; 0 loads in this one. They stay alive between epochs.
    Raises:
        DataError: when the data set is empty, or for more than four workers a processor.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *, shuffle: bool, seed: int, workers: int = 0) -> None:
        most = 4 * (os.cpu_count() or 1)
        if not 0 <= workers <= most:
            raise DataError(f"workers must be 0 to {most} on this machine (four a processor), not {workers}.")
        self._plan = _Plan(len(dataset), batch_size, shuffle, seed)  # type: ignore[arg-type]
        self.samples = self._plan.samples
        self._sampler = _EpochSampler(self._plan)
        self._dataset = _SeededDataset(dataset, seed)
        self._loader = DataLoader(
            self._dataset,
            batch_sampler=self._sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator, so that the loader's base seed draws nothing from the global one.
            generator=torch.Generator().manual_seed(seed),
        )

    def __len__(self) -> int:
        return len(self._plan)

    def identity(self) -> str:
        """As in `ResidentBatches`; of the data set what its own `identity` says.

        Of one that has none its first and last sample, and all numbers that it holds in memory.
        """
        dataset = self._dataset
        own = getattr(dataset.dataset, "identity", None)
        if own is None:
            content: Any = [dataset[0, index] for index in (0, self._plan.count - 1)], *_held(dataset.dataset)
        else:
            content = own()
        return fingerprint(content, type(dataset.dataset), vars(self._plan))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._sampler.number = number
        try:
            yield from self._loader
        except MobiusError as error:
            # One that crossed from a worker carries the worker's traceback; the sentence is its last line.
            sentence = str(error).strip().splitlines()[-1].removeprefix(f"{type(error).__module__}.")
            raise type(error)(sentence.removeprefix(f"{type(error).__name__}: ")) from None


class _Plan:
    """Which indices stand in which batch of which epoch."""

    def __init__(self, count: int, batch_size: int, shuffle: bool, seed: int) -> None:
        if count < 1:
            raise DataError("The data set is empty; there is nothing to train on or to validate.")
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {batch_size}.")
        self.count, self.batch_size, self.shuffle, self.seed = count, batch_size, shuffle, seed
        lone = shuffle and count > batch_size > 1 and count % batch_size == 1
        self.samples = count - lone

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def order(self, number: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.count)
        return torch.randperm(self.count, generator=_seeded(torch.Generator(), self.seed, number))[: self.samples]


class _EpochSampler:
    """Hands (epoch, index) pairs to the loader, so that workers kept alive learn the epoch with each index."""

    def __init__(self, plan: _Plan) -> None:
        self.plan, self.number = plan, 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for indices in self.plan.order(self.number).split(self.plan.batch_size):
            yield [(self.number, index) for index in indices.tolist()]


class _SeededDataset(Dataset):
    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            _seeded(torch.default_generator, self.seed, epoch, index)
            return self.dataset[index]


def _held(value: Any) -> Iterator[Tensor | np.ndarray | range]:
    """Tensors, arrays and lists of whole numbers in a data set, and in those that it is made of."""
    if isinstance(value, Tensor | range) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
        yield value
    elif isinstance(value, Dataset):
        for each in vars(value).values():
            yield from _held(each)
    elif isinstance(value, list | tuple):
        if value and all(isinstance(each, numbers.Integral) for each in value):
            yield np.array(value)
        else:
            for each in value:
                yield from _held(each)


def _seeded(generator: torch.Generator, *key: int) -> torch.Generator:
    """Seeds a generator by a tuple of numbers; numpy's mixing keeps neighbouring tuples unrelated."""
    return generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
