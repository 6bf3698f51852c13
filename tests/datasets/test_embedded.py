"""The embedded sets as they are loaded, and as the files say they should be."""

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mobius_lib.datasets import CLASSES, data_dir, fashion_mnist, features, fetch, registry
from mobius_lib.datasets.embedded import digests
from mobius_lib.datasets.paths import sha256
from mobius_lib.errors import DataError

SIZES = {"train": 10_000, "test": 2_000}
SPLITS = pytest.mark.parametrize("split", list(SIZES))


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[Tensor, Tensor]]:
    return {split: features(split) for split in SIZES}


@pytest.fixture(scope="module")
def pictures() -> dict[str, tuple[Tensor, Tensor]]:
    return {split: fashion_mnist(split) for split in SIZES}


@SPLITS
@pytest.mark.parametrize("loaded", ["rows", "pictures"])
def test_equally_many_of_each_class(loaded, split, request):
    x, y = request.getfixturevalue(loaded)[split]
    assert len(x) == len(y) == SIZES[split] and y.dtype == torch.int64
    assert torch.bincount(y).tolist() == [SIZES[split] // 10] * 10
    assert len(CLASSES) == len(set(CLASSES)) == 10


@SPLITS
def test_pictures(pictures, split):
    x, _ = pictures[split]
    assert x.shape == (SIZES[split], 1, 28, 28) and x.dtype == torch.uint8
    # each is a piece of clothing on black: bright and dark pixels in every one, and none twice
    assert bool((x.amax((1, 2, 3)) > 100).all()) and bool((x.amin((1, 2, 3)) == 0).all())
    assert len(_distinct(x)) == len(x)


@pytest.mark.parametrize("loaded", ["rows", "pictures"])
def test_no_training_row_is_in_the_test_set(loaded, request):
    data = request.getfixturevalue(loaded)
    assert not _distinct(data["train"][0]) & _distinct(data["test"][0])


@SPLITS
def test_features(rows, split):
    x, _ = rows[split]
    assert x.shape == (SIZES[split], 768) and x.dtype == torch.float32
    # scaled in float32: the norm is a sum of 768 squares, each rounded to 6e-8, most of which cancels
    torch.testing.assert_close(x.double().norm(dim=1), torch.ones(len(x)).double(), rtol=0, atol=1e-6)


@SPLITS
def test_stored_rows_are_as_long_as_half_precision_allows(split):
    stored = load_file(fetch(f"features_{split}.safetensors"))
    assert stored["features"].dtype == torch.float16 and stored["labels"].dtype == torch.uint8
    length = stored["features"].double().norm(dim=1)
    # every component is rounded by at most 2**-11 of itself, so the norm is, too (1e-6: the subnormal ones)
    torch.testing.assert_close(length, torch.ones_like(length), rtol=0, atol=2**-11 + 1e-6)


@SPLITS
@pytest.mark.parametrize("dim", [1, 7, 512, 768])
def test_fewer_dimensions_are_the_first_ones_scaled_again(rows, split, dim):
    whole, labels = rows[split]
    x, y = features(split, dim)
    expected = whole[:, :dim] / whole[:, :dim].norm(dim=1, keepdim=True)
    assert x.shape == (SIZES[split], dim) and torch.equal(y, labels)
    # two orders of scaling in float32: three roundings of 6e-8 each
    torch.testing.assert_close(x, expected, rtol=0, atol=3e-7)


def test_the_first_dimensions_carry_the_most(rows):
    """Principal components come in order, so the 512 of the smaller set hold nearly all of each row."""
    energy = rows["train"][0].square().mean(0)
    blocks = energy.view(6, 128).sum(1)
    assert bool((blocks.diff() < 0).all())
    assert energy[:512].sum() > 0.95  # measured: 0.973; a random choice of 512 would hold 0.667


@SPLITS
def test_features_and_pictures_have_the_same_labels(rows, pictures, split):
    assert torch.equal(rows[split][1], pictures[split][1])


def test_features_are_of_the_same_pictures(rows, pictures):
    """How bright a picture is can be read off its features, and no longer after a shuffle within the classes."""
    part = slice(0, 2000)
    train = pictures["train"][0].float().mean((1, 2, 3))[part]
    test, labels = pictures["test"][0].float().mean((1, 2, 3)), pictures["test"][1]
    predicted = _ridge(rows["train"][0][part], train.unsqueeze(1), rows["test"][0]).squeeze(1)

    def explained(truth: Tensor) -> float:
        return 1 - float((predicted - truth).square().sum() / (truth - truth.mean()).square().sum())

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    mates = torch.empty_like(order)
    mates[torch.argsort(labels, stable=True)] = order[torch.argsort(labels[order], stable=True)]
    assert torch.equal(labels[mates], labels)
    # measured: 0.77 and -0.03, each of 2,000 rows, so known to about 0.02
    assert explained(test) > 0.65
    assert explained(test[mates]) < 0.3


def test_a_linear_probe_finds_the_classes(rows):
    """2,000 training rows, least squares on one-hot targets."""
    (x, y), (x_test, y_test) = rows["train"], rows["test"]
    part = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:2000]

    def accuracy(labels: Tensor) -> float:
        scores = _ridge(x[part], torch.eye(10)[labels], x_test)
        return (scores.argmax(1) == y_test).float().mean().item()

    # Measured: 0.844. The binomial deviation of 2,000 test rows is 0.008, and another subset of the training rows moves
    # it as much; the pixels themselves give 0.78. Rows that do not belong to their labels give 0.1.
    assert accuracy(y[part]) > 0.80
    assert accuracy(y[part.roll(1)]) < 0.2


@pytest.mark.parametrize("load", [fashion_mnist, features])
@pytest.mark.parametrize("split", ["validation", "", "Train", None])
def test_unknown_split(load: Callable, split):
    with pytest.raises(DataError, match=r"the splits 'train' and 'test', not"):
        load(split)


@pytest.mark.parametrize("dim", [0, -1, 769, 1280])
def test_impossible_dimension(dim):
    with pytest.raises(DataError, match=rf"have 768 dimensions; asked for {dim}, which is not in 1 to 768"):
        features("test", dim)


def test_the_list_of_hashes_names_exactly_the_embedded_files():
    folder, known = data_dir(), registry()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    rooms = ("results/", "bench/", "claims/", ".")
    ours = {name for name in there if not name.startswith(rooms) and "__pycache__" not in name}
    assert ours - known.keys() == {
        "SHA256SUMS",
        "README.md",
        "chapter-minutes.json",
        "make_data.py",
        "make_network.py",
    }
    assert known.keys() <= there and len(known) == 11
    assert {name: sha256(folder / name) for name in known} == known
    said = (folder / "README.md").read_text("utf-8")  # with licences
    assert not [name for name in known if f"`{name.split('/')[0]}" not in said]


@pytest.mark.parametrize(("embedded", "run"), [("FashionMNIST", "waves-images"), ("features", "waves-features")])
def test_digests_are_those_of_the_records(embedded, run):
    """Records name the files unpacked, and hash what is in them, however they are packed."""
    record = json.loads((data_dir() / "results" / f"{run}.short.json").read_text("utf-8"))
    assert digests(embedded) == record["data"] and len(record["data"]) in (2, 4)


def _distinct(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def _ridge(x: Tensor, target: Tensor, x_test: Tensor) -> Tensor:
    """Least squares with a small penalty (0.1: the smallest components have a variance of 7e-5 over 2,000 rows)."""
    mean = target.mean(0)
    weights = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ (target - mean))
    return x_test @ weights + mean
