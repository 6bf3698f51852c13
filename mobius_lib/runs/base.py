"""What a run is: arms (a model and its baselines), compared on one data set with one recipe, at several scales.

An arm that needs more than a model of its own (another loss, a learning rate that is searched for, a part of the data)
is an `Arm`. How a run is carried out stands in `executor`.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobius_lib.runs.about import TRAIN_ROWS, About, RunError
from mobius_lib.runs.room import Needs

if TYPE_CHECKING:
    from mobius_lib.training import Groups, Objective


@dataclass(frozen=True)
class Data:
    """A data set in memory, and the hashes of the files it came from.

    A run whose data come without any (a folder of pictures, a data set of the hub) gets those of the tensors.
    """

    train: tuple[Tensor, Tensor]
    """x may be smaller than what a model takes: rows in half precision, or bytes of which `augment` makes numbers."""
    test: tuple[Tensor, Tensor]
    hashes: Mapping[str, str] = field(default_factory=dict)
    augment: Callable[[Tensor], Tensor] | None = None
    """Applied to each training batch; draws from torch's global generator. None: batches are used as they are."""
    numbers: Callable[[Tensor], Tensor] | None = None
    """Applied to rows of `train` that are held out, to make them as those of `test`. None: they are so already."""
    outside: Tensor | None = None
    """Test rows of classes that the training part does not have, for whoever measures what a model makes of them."""

    def identified(self) -> "Data":
        """The same with the SHA-256 of its tensors, where it came without hashes: its record says what was read."""
        if self.hashes:
            return self
        (x, y), (x_test, y_test) = self.train, self.test
        tensors = {"train x": x, "train y": y, "test x": x_test, "test y": y_test, "outside": self.outside}
        read = {
            name: memoryview(tensor.cpu().contiguous().view(torch.uint8).numpy())  # type: ignore[arg-type]  # it is one
            for name, tensor in tensors.items()
            if tensor is not None and tensor.numel()
        }
        return replace(self, hashes={name: hashlib.sha256(content).hexdigest() for name, content in read.items()})


def nothing() -> Data:
    """Of a run that needs no data, because it draws what it computes on. Its record has no hashes."""
    empty = torch.zeros(0, dtype=torch.int64)
    return Data((empty, empty), (empty, empty))


@dataclass(frozen=True)
class Arm:
    """One side of a comparison, where it differs from the others in more than its model. Calling it makes the model."""

    make: Callable[[], nn.Module]
    """Makes a fresh model."""
    objective: "Objective | None" = None
    """What is made small; None: the cross-entropy of the logits."""
    groups: "Groups | None" = None
    """Parameters that learn at their own multiples of the rate; None: all at 1."""
    rates: tuple[float, ...] = ()
    """Learning rates, of which the one that does best on a fifth of the training rows, held out, is taken for all
    seeds. A single one is taken as it is; none: the scale's."""
    rate_of: str | None = None
    """The arm whose chosen rate this one takes too."""
    epochs: float = 1.0
    """How many times the scale's epochs."""
    view: Callable[[Data, int], Data] | None = None
    """From the run's data and the seed to what this arm is trained and tested on; None: the data as they are."""
    solve: Callable[[nn.Module, Tensor, Tensor], None] | None = None
    """Sets the model's parameters from the training rows in closed form; then nothing is trained by gradient steps."""

    def __call__(self) -> nn.Module:
        return self.make()


@dataclass(frozen=True)
class Place:
    """Where a run that computes its records keeps what it trains for a part of them."""

    folder: Path
    about: dict[str, Any]
    """Run, scale, seed, what made it, versions, commit and time: it stands beside whatever is kept."""

    def of(self, *inner: str, **about: Any) -> "Place":
        """A folder in it, and more about that."""
        return Place(self.folder.joinpath(*inner), self.about | about)


@dataclass(frozen=True)
class Run(About):
    """A reproduction: what is trained on what, and how."""

    arms: Mapping[str, Callable[[], nn.Module]]
    """Name to a function that makes a fresh model, or to an `Arm`; with `compute`, to whatever that makes of it."""
    data: Callable[[], Data]
    weight_decay: float = 0.05
    warmup_epochs: int = 0
    """Of linear ascent, where there are more epochs than that."""
    state: Callable[[nn.Module], dict[str, float]] | None = None
    """Scalars of a model that are worth keeping, for instance what its lenses learned."""
    readings: Callable[[nn.Module, Tensor], dict[str, float]] | None = None
    """Further scalars, read off while the trained model looks at test rows."""
    measure: Callable[[nn.Module, Data, list[dict[str, Any]]], dict[str, Any]] | None = None
    """Further entries of a seed's record: from the trained model, the data of its arm, and its history, whose epochs
    hold what `state` said at their end under "scalars"."""
    extra: Callable[[Data], dict[str, Any]] | None = None
    """Further baselines that are not trained by gradient steps."""
    baseline: str = "gelu"
    """The arm in whose training steps the cost of the others is counted."""
    timed: tuple[str, ...] | None = None
    """The arms whose training steps are timed; None: all."""
    at_scale: Callable[[str], "Run"] | None = None
    """The run as it is at a scale, where that changes models or data as well; None: as it stands here."""
    long: Mapping[str, Any] | None = None
    """What is otherwise at the scale "long", beside `LONG`."""
    facts: Callable[[], dict[str, Any]] | None = None
    """Further entries of the result: what is known of the data without any model."""
    compute: Callable[..., Mapping[str, dict[str, Any]]] | None = None
    """From the data and the seed to the record of every arm, on the CPU: for a run that compares something else than
    models trained by the recipe above. Then `Scale` has nothing that could be changed, and `work` keeps the seeds that
    are done."""
    keeps_parts: bool = False
    """Whether `compute` takes a third argument, `Computer.part`, by which `work` keeps what is done of a seed, and what
    is trained for it; and `only`, the arms that alone are asked for."""
    on_any_device: bool = False
    """Whether `compute` computes where its data lie, which is then the device that was asked for."""
    cell: Callable[["Run", Data, Mapping[str, Mapping[str, Any]]], Mapping[str, float]] | None = None
    """With `compute`: from the run at a scale, its data and seed 0's records to a few of their numbers (or lists of
    them), computed from scratch in at most a minute. See `replay`."""
    needs: Callable[..., Needs] | None = None
    """From the settings to what the data will take, where that is much: told, and compared with the machine, before
    they are loaded."""
    keep_history: bool = True
    """Whether a seed's record tells of every epoch. Not where there are very many short ones."""
    keep_predictions: bool = False
    """Whether the class that every arm with every seed gives each test row is kept beside the record."""
    watched: int | None = None
    """Test rows on which the curves are drawn, the first so many; None: all. What is reported is of all test rows."""
    search_epochs: float = 1.0
    """How many times its epochs an arm is trained at each rate that is tried."""
    further_rates: int = 0
    """Rates that are tried at most beyond an arm's own, where the best of them is the smallest or the largest."""
    judges: int = 1
    """Seeds by which rates are judged that the held-out rows of the first do not tell from the best."""

    def at(self, scale: str) -> "Run":
        """The run as it is at that scale.

        Raises:
            RunError: when there is no such scale.
        """
        if scale not in self.scales:
            raise RunError(f"The run {self.name} has no scale {scale!r}; it has {', '.join(self.scales)}.")
        run = self if self.at_scale is None else self.at_scale(scale)
        return replace(run, **{**LONG, **run.long}) if scale == "long" and run.long is not None else run


LONG: dict[str, Any] = {
    "keep_predictions": True,
    "watched": 1_000,
    "search_epochs": 0.5,
    "further_rates": 4,
    "judges": 3,
}
"""Of a run that is to decide. At each rate half of the epochs, so that a search takes no more hours than the seeds do;
rates that are close by several seeds; the curves on as many rows as show them."""


def sized(about: About, fields: Callable[[Any], Mapping[str, Any]], sizes: Mapping[str, Any] | None = None) -> Run:
    """A run whose data or models are other ones at each scale; as it stands here, at "quick".

    Args:
        about: what is said of it.
        fields: from the sizes of a scale to what `Run` has beside that.
        sizes: of every scale; None: `fields` takes the scale's name.
    """

    def at_scale(scale: str) -> Run:
        return Run(**vars(about), **fields(scale if sizes is None else sizes[scale]), at_scale=at_scale)

    return at_scale("quick")


def with_more_test_rows(load: Callable[[], Data], train: int = TRAIN_ROWS) -> Data:
    """The same rows, so many to train on; the other training rows are held out, behind the test rows that there are.

    Of the 12,000 embedded rows 6,000 are then to test on: the 2,000 test rows and 4,000 of the training rows.
    """
    data = load()
    (x, y), (x_test, y_test) = data.train, data.test
    return replace(
        data,
        train=(x[:train], y[:train]),
        test=(torch.cat([x_test, x[train:]]), torch.cat([y_test, y[train:]])),
    )


def with_columns(run: Run, given: Mapping[str, str]) -> Run:
    """The run with its data read from these columns of their files.

    Args:
        run: one whose `data` takes names of columns.
        given: feature_column, label_column.
    Raises:
        RunError: for a run whose data have none, or another name.
    """
    takes = inspect.signature(run.data).parameters.get("columns")
    for name in given:
        if takes is None or name not in ("feature_column", "label_column"):
            raise RunError(
                f"--{name.replace('_', '-')} is of --data, which names features of your own; leave it out, for the run "
                f"{run.name} reads its own."
            )
    needs = None if run.needs is None else partial(run.needs, **given)
    return replace(run, data=partial(run.data, **given), needs=needs)


def seeded_subset(x: Tensor, y: Tensor, samples: int | None) -> tuple[Tensor, Tensor]:
    """The first `samples` rows after a shuffle with seed 0, the same rows on every machine."""
    if samples is None or samples >= len(x):
        return x, y
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:samples]
    return x[order], y[order]
