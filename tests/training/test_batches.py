import itertools
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from mobius_lib.datasets.made import SphereMixture
from mobius_lib.errors import DataError
from mobius_lib.training import Batches, LoaderBatches, Recipe, ResidentBatches, fit
from mobius_lib.training.batches import in_advance


class Noisy(Dataset):
    """Items with random augmentation, as images have."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([float(index), *torch.rand(2)]), index


class Broken(Noisy):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        raise DataError("The image a: b.png cannot be read (truncated); replace it.")


def resident(count: int = 23, batch_size: int = 5, shuffle: bool = True, seed: int = 0) -> ResidentBatches:
    return ResidentBatches(torch.arange(count).view(-1, 1), torch.arange(count), batch_size, shuffle=shuffle, seed=seed)


def loader(count: int = 23, batch_size: int = 5, shuffle: bool = True, seed: int = 0) -> LoaderBatches:
    data = TensorDataset(torch.arange(count).view(-1, 1), torch.arange(count))
    return LoaderBatches(data, batch_size, shuffle=shuffle, seed=seed)


def order(batches: Batches, epoch: int) -> list[int]:
    return [i for _, y in batches.epoch(epoch) for i in y.tolist()]


def test_batches_picked_in_advance_are_the_same():
    """Augmentation draws where the training does: its numbers do not depend on how far ahead the thread is."""
    x, y = torch.arange(23.0).view(-1, 1).half(), torch.arange(23)

    def drawn(ahead: int) -> list[torch.Tensor]:
        noisy = lambda rows: rows + torch.rand_like(rows)  # noqa: E731
        batches = ResidentBatches(x, y, 5, shuffle=True, seed=0, ahead=ahead, augment=noisy)
        torch.manual_seed(0)
        return [part + torch.rand(()) for pair in batches.epoch(2) for part in pair]

    assert all(map(torch.equal, drawn(0), drawn(3))) and drawn(1)[0].dtype == torch.float32


def test_a_thread_in_advance_hands_on_errors_and_ends():
    def failing():
        yield from range(3)
        raise DataError("row 3 is gone")

    found = []
    with pytest.raises(DataError, match="row 3 is gone"):
        for item in in_advance(failing(), 2):
            found.append(item)
    assert found == [0, 1, 2]
    before, taken = threading.active_count(), []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield number

    numbers = in_advance(endless(), 2)
    assert next(numbers) == 0 and threading.active_count() == before + 1
    numbers.close()
    assert threading.active_count() == before and len(taken) <= 5, "two wait, one is in hand, one was taken"


@pytest.mark.parametrize("make", [resident, loader])
def test_order_is_a_function_of_seed_and_epoch(make):
    batches, again = make(), make()
    assert isinstance(batches, Batches)
    assert order(batches, 3) == order(again, 3), "asked for in another order of epochs"
    assert order(batches, 0) == order(again, 0)
    orders = {tuple(order(make(seed=seed), epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16, "seed 0 in epoch 1 must differ from seed 1 in epoch 0"
    for epoch in range(4):
        assert sorted(order(batches, epoch)) == list(range(23))


@pytest.mark.parametrize("make", [resident, loader])
@pytest.mark.parametrize(("count", "size"), [(23, 5), (20, 5), (3, 5), (1, 1), (1, 8), (5, 1), (21, 5), (6, 5)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_sizes(make, count, size, shuffle):
    batches = make(count, size, shuffle)
    sizes = [len(y) for _, y in batches.epoch(0)]
    assert len(sizes) == len(batches) and sum(sizes) == batches.samples
    lone = shuffle and count > size > 1 and count % size == 1
    assert batches.samples == count - lone, "only a single left-over sample is left out, and only when shuffled"
    if not shuffle:
        assert order(batches, 5) == list(range(count))
    elif lone:
        left_out = {(set(range(count)) - set(order(batches, epoch))).pop() for epoch in range(8)}
        assert len(left_out) > 1, "not always the same sample"


@pytest.mark.parametrize("make", [resident, loader])
def test_samples_stay_with_their_labels(make):
    for x, y in make().epoch(1):
        assert torch.equal(x.flatten(), y)


def test_orders_agree_between_the_two():
    assert order(resident(), 2) == order(loader(), 2)


def test_augmentation_does_not_depend_on_workers_or_on_what_was_drawn_before():
    state = torch.get_rng_state()
    expected = [x for x, _ in LoaderBatches(Noisy(), 5, shuffle=True, seed=7).epoch(2)]
    assert torch.equal(torch.get_rng_state(), state), "the global generator is the run's, not the loader's"
    torch.rand(5)
    many = LoaderBatches(Noisy(), 5, shuffle=True, seed=7, workers=2)
    first = [x for x, _ in many.epoch(1)]
    for x, y in zip(many.epoch(2), expected, strict=True):  # the workers of epoch 1 are still alive
        assert torch.equal(x[0], y)
    assert not torch.equal(torch.cat(first).sort(0)[0], torch.cat(expected).sort(0)[0]), "each epoch draws anew"


def test_augment_is_applied_to_every_batch():
    x = torch.zeros(10, 2, dtype=torch.uint8)
    batches = ResidentBatches(x, torch.zeros(10).long(), 4, shuffle=False, seed=0, augment=lambda x: x.float() + 1)
    assert all((x == 1).all() and x.dtype == torch.float32 for x, _ in batches.epoch(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_still_one_sentence(workers):
    with pytest.raises(DataError, match=r"^The image a: b\.png cannot be read \(truncated\); replace it\.$"):
        list(LoaderBatches(Broken(), 5, shuffle=False, seed=0, workers=workers).epoch(0))


def test_clear_errors():
    with pytest.raises(DataError, match="The data set is empty"):
        resident(0)
    with pytest.raises(DataError, match="The data set is empty"):
        loader(0)
    with pytest.raises(DataError, match="There are 3 samples but 2 labels"):
        ResidentBatches(torch.zeros(3, 1), torch.zeros(2).long(), 1, shuffle=False, seed=0)
    with pytest.raises(DataError, match="batch_size must be at least 1, not 0"):
        resident(batch_size=0)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        ([0, -1, 2], "the label -1, but classes are numbered from 0; drop the samples that have none, or number"),
        ([0.0, 1.0, 2.0], r"labels are float32 of shape \(3,\); give each sample one whole number"),
        ([True, False, True], "labels are bool"),
        ([[0, 1], [1, 0], [0, 1]], r"labels are int64 of shape \(3, 2\)"),
    ],
)
def test_labels_that_are_no_classes(y, sentence):
    with pytest.raises(DataError, match=sentence):
        ResidentBatches(torch.zeros(3, 1), torch.tensor(y), 1, shuffle=False, seed=0)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_labels_may_be_whole_numbers_of_any_width(kind):
    batches = ResidentBatches(torch.zeros(3, 1), torch.tensor([0, 4, 2]).to(kind), 3, shuffle=False, seed=0)
    ((_, y),) = batches.epoch(0)
    assert y.dtype == torch.int64 and y.tolist() == [0, 4, 2] and batches.label_range == (0, 4)


@pytest.mark.parametrize("workers", [-1, 100_000])
def test_workers_that_no_machine_has(workers):
    with pytest.raises(DataError, match=rf"workers must be 0 to \d+ on this machine .*, not {workers}"):
        LoaderBatches(TensorDataset(torch.zeros(4, 1), torch.zeros(4)), 2, shuffle=False, seed=0, workers=workers)


class Listed(Dataset):
    """As many data sets are: an array, and labels in a list."""

    def __init__(self, data, targets):
        self.data, self.targets, self.names = data, targets, np.array(["a", "b"])

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return torch.tensor(self.data[index].tolist()), self.targets[index]


def test_what_batches_are():
    """Their identity tells another pixel, label, order or augmentation, wherever it is."""

    def loader(make):
        return lambda x, y, seed: LoaderBatches(make(x, y), 2, shuffle=True, seed=seed)

    x, y = torch.rand(6, 3), torch.arange(6)
    other, swapped = x.clone(), y.clone()
    other[3, 2] += 0.25
    swapped[2:4] = y[2:4].flip(0)
    kinds = [
        lambda x, y, seed: ResidentBatches(x, y, 2, shuffle=True, seed=seed),
        loader(TensorDataset),
        loader(lambda x, y: Subset(TensorDataset(x, y), range(6))),
        loader(lambda x, y: ConcatDataset([TensorDataset(x[:2], y[:2]), TensorDataset(x[2:], y[2:])])),
        loader(lambda x, y: Listed(x.numpy().astype(">f4"), y.tolist())),
    ]
    for make in kinds:
        assert make(x, y, 0).identity() == make(x.clone(), y.clone(), 0).identity()
        changed = [make(*each).identity() for each in ((x, y, 0), (other, y, 0), (x, swapped, 0), (x, y, 1))]
        assert len(set(changed)) == 4
    rows = TensorDataset(x, y)
    parts = [LoaderBatches(Subset(rows, order), 2, shuffle=False, seed=0) for order in ([0, 1, 5], [0, 2, 5])]
    assert parts[0].identity() != parts[1].identity()
    turned = ResidentBatches(x, y, 2, shuffle=True, seed=0, augment=torch.neg)
    assert turned.identity() != kinds[0](x, y, 0).identity()


def test_rows_in_half_precision_come_as_float32():
    x = torch.randn(6, 3).half()
    batches = ResidentBatches(x, torch.arange(6), 4, shuffle=False, seed=0, augment=lambda rows: rows + 1)
    (first, _), (last, _) = batches.epoch(0)
    assert first.dtype == torch.float32 and torch.equal(torch.cat([first, last]), x.float() + 1)


def test_training_does_not_notice_half_precision():
    """The published features are kept so: the accuracy is the same to within the test set's own error."""
    mixture = SphereMixture(classes=20, dim=64, concentration=40.0)
    (x, y), (x_test, y_test) = mixture.draw(4_000), mixture.draw(4_000, "test")
    found = {}
    for kind in (torch.float32, torch.float16):
        torch.manual_seed(0)
        model, recipe = nn.Linear(64, 20), Recipe(epochs=8, lr=0.03, batch_size=128)
        train = ResidentBatches(x.to(kind), y, 128, shuffle=True, seed=0)
        test = ResidentBatches(x_test, y_test, 1_000, shuffle=False, seed=0)
        found[kind] = fit(model, train, test, recipe, device="cpu", progress=False).final_accuracy
    error = (found[torch.float32] * (1 - found[torch.float32]) / len(y_test)) ** 0.5
    assert 0.5 < found[torch.float32] < 0.99 and abs(found[torch.float16] - found[torch.float32]) < error


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2"])
def test_numpy_arrays_are_taken_and_not_copied_where_they_need_not_be(tmp_path, kind):
    x, y = np.arange(24, dtype=kind).reshape(12, 2), np.arange(12, dtype=np.int16) % 3
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")  # of which torch would warn
    arguments = {"batch_size": 5, "shuffle": True, "seed": 3}
    ours = ResidentBatches(mapped, y, **arguments)
    theirs = ResidentBatches(torch.from_numpy(x.astype(kind[1:])), torch.from_numpy(y), **arguments)
    for (a, b), (c, d) in zip(ours.epoch(0), theirs.epoch(0), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d) and a.dtype == torch.float32 and b.dtype == torch.int64
    assert (ours.x.data_ptr() == mapped.ctypes.data) == (kind[0] == "<")
