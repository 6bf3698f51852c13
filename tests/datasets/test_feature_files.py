"""Feature files of every kind that is read, and of kinds that cannot be."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import save_file
from torch import Tensor

from mobius_lib import patience
from mobius_lib.datasets import feature_files, hub_files
from mobius_lib.datasets.feature_files import IMAGENET_CLIP, imagenet_clip, load_features, published_features
from mobius_lib.datasets.paths import sha256
from mobius_lib.errors import DataError
from tests.hub.stand_in import REVISION, StandIn, stand_in

DRAW = np.random.default_rng(0)
# float16 values, so that every width stores the same numbers and formats can be compared to the bit
X = DRAW.normal(size=(11, 6)).astype(np.float16)
Y = DRAW.integers(0, 5, 11)
LISTS: dict[str, Callable[[pa.DataType], pa.DataType]] = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "fixed_size_list": lambda kind: pa.list_(kind, 6),
}
FLOATS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}


def parquet(path: Path, x=X, y=Y, kind=None, names=("features", "label"), rows: int | None = None, **others) -> Path:
    """A Parquet file; `rows` per row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        names[0]: pa.array(list(x), kind or pa.list_(pa.float32())),
        names[1]: y if isinstance(y, pa.Array) else pa.array(y, pa.int64()),
    }
    pq.write_table(pa.table({**columns, **others}), path, row_group_size=rows)
    return path


def safetensors(path: Path, **columns: np.ndarray) -> Path:
    save_file({name: np.ascontiguousarray(value) for name, value in columns.items()}, path)
    return path


def npy(path: Path, x=X, y=Y) -> Path:
    np.save(path, x)
    if y is not None:
        np.save(path.with_suffix(".labels.npy"), y)
    return path


def same(found: tuple[Tensor, Tensor], x=X, y=Y) -> None:
    assert found[0].dtype == torch.float32 and found[1].dtype == torch.int64
    assert torch.equal(found[0], torch.from_numpy(x.astype(np.float32)))
    assert torch.equal(found[1], torch.from_numpy(y.astype(np.int64)))


def refused(call: Callable[[], object], *words: str) -> None:
    """A DataError of one line with these words in it."""
    with pytest.raises(DataError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


@pytest.mark.parametrize("width", FLOATS)
@pytest.mark.parametrize("form", LISTS)
def test_parquet(tmp_path, form, width):
    path = parquet(tmp_path / "x.parquet", kind=LISTS[form](FLOATS[width]), rows=4)
    same(load_features(path, normalise=False))


@pytest.mark.parametrize("integer", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("width", ["float16", "float32", "float64"])
def test_safetensors_and_npy(tmp_path, width, integer):
    x, y = X.astype(width), Y.astype(integer)
    same(load_features(safetensors(tmp_path / "x.safetensors", embedding=x, target=y), normalise=False))
    same(load_features(npy(tmp_path / "x.npy", x, y), normalise=False))
    same(load_features(str(npy(tmp_path / "x.v2.npy", x, y)), normalise=False))  # a dot in the name


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    parquet(tmp_path / "b" / "train-00001.parquet", X[3:7], Y[3:7], LISTS["large_list"](pa.float64()))
    parquet(tmp_path / "b" / "train-00002.parquet", X[7:], Y[7:], LISTS["fixed_size_list"](pa.float16()))
    parquet(tmp_path / "a.parquet", X[:3], Y[:3])
    (tmp_path / "README.md").write_text("not data")
    same(load_features(tmp_path, normalise=False))


def test_rows_are_scaled_to_length_one_unless_told_otherwise(tmp_path):
    path = npy(tmp_path / "x.npy")
    x, _ = load_features(path)
    # one division in float32 after a sum of six squares
    torch.testing.assert_close(x.double().norm(dim=1), torch.ones(11).double(), rtol=0, atol=1e-6)
    raw, _ = load_features(path, normalise=False)
    cosine = torch.nn.functional.cosine_similarity(x.double(), raw.double())
    torch.testing.assert_close(cosine, torch.ones(11).double(), rtol=0, atol=1e-6)


def test_columns_are_found_by_type(tmp_path):
    """Among texts, single floats, lists of integers and truth values, whatever they are called."""
    texts, singles = pa.array([f"image{i}" for i in Y]), pa.array(X[:, 0].astype(np.float32))
    integers = pa.array([[1, 2]] * 11)
    others = {"image_id": texts, "score": singles, "box": integers, "ok": pa.array([True] * 11)}
    same(load_features(parquet(tmp_path / "x.parquet", names=("z", "a"), **others), normalise=False))
    file = safetensors(tmp_path / "x.safetensors", z=X, a=Y, score=X[:, 0], box=np.ones((11, 2), int), ok=Y > 1)
    same(load_features(file, normalise=False))


@pytest.mark.parametrize("ending", ["parquet", "safetensors"])
def test_columns_that_cannot_be_told_apart_are_named(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        names = ("features", "kind")
        parquet(path, names=names, index=pa.array(range(11)), text=pa.array(list(X + 1), pa.list_(pa.float32())))
    else:
        safetensors(path, features=X, kind=Y, index=np.arange(11), text=X + 1)
    refused(lambda: load_features(path), str(path), "features", "text", "kind", "index", "--feature-column")
    would_do = "kind, index would do" if ending == "parquet" else "index, kind would do"
    refused(lambda: load_features(path, feature_column="text"), would_do, "--label-column")
    same(load_features(path, feature_column="features", label_column="kind", normalise=False))
    same(load_features(path, feature_column="text", label_column="index", normalise=False), X + 1, np.arange(11))


@pytest.mark.parametrize("ending", ["parquet", "safetensors"])
@pytest.mark.parametrize("name", ["label", "labels", "target", "class"])
def test_a_column_named_like_a_label_wins(tmp_path, ending, name):
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        parquet(path, names=("z", name), a_first=pa.array(range(11)), year=pa.array([2012] * 11))
    else:
        safetensors(path, z=X, a_first=np.arange(11), year=np.full(11, 2012), **{name: Y})
    same(load_features(path, normalise=False))
    same(load_features(path, label_column="a_first", normalise=False), X, np.arange(11))


@pytest.mark.parametrize("ending", ["parquet", "safetensors"])
def test_a_number_of_the_picture_is_no_label(tmp_path, ending):
    """The only column of integers, and another number in every row; whoever names it may have it."""
    path, numbers = tmp_path / f"x.{ending}", np.random.default_rng(1).permutation(1000)[:11]
    if ending == "parquet":
        parquet(path, X, numbers, names=("z", "image_id"))
    else:
        safetensors(path, z=X, image_id=numbers)
    refused(lambda: load_features(path), str(path), "'image_id' another number in each", "11 rows", "--label-column")
    same(load_features(path, label_column="image_id", normalise=False), X, numbers)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (Y + 1, ("'label' the labels 1 to 5", "count from 0 to 4", "subtract 1")),
        (np.append(Y[:-1], 5), ("the labels 0 to 5", "drop the rows of the last one")),
        (np.append(Y[:-1], 281), ("'label' the label 281 (row 10)", "5 classes, 0 to 4", "--label-column")),
    ],
    ids=["from 1 on", "one too many", "far outside"],
)
def test_labels_that_are_none_of_the_classes(tmp_path, y, words):
    path = parquet(tmp_path / "x.parquet", y=y)
    refused(lambda: load_features(path, classes=5), str(path), *words)
    same(load_features(path, classes=282, normalise=False), y=y)


@pytest.mark.parametrize("ending", ["parquet", "safetensors"])
def test_named_columns_that_do_not_fit(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    parquet(path) if ending == "parquet" else safetensors(path, features=X, label=Y)
    refused(lambda: load_features(path, feature_column="clip"), "has no column 'clip'; it has features, label")
    refused(lambda: load_features(path, label_column="class"), "has no column 'class'; it has features, label")
    refused(lambda: load_features(path, feature_column="label"), "'label'", "holds no vectors", "features does")
    refused(lambda: load_features(path, label_column="features"), "'features'", "holds no integers", "label does")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", ["parquet", "safetensors", "npy"])
def test_a_value_that_is_not_finite(tmp_path, ending, value):
    x, path = X.copy(), tmp_path / f"x.{ending}"
    x[7, 2] = value
    write = {
        "parquet": lambda: parquet(path, x),
        "safetensors": lambda: safetensors(path, f=x, y=Y),
        "npy": lambda: npy(path, x),
    }
    write[ending]()
    refused(lambda: load_features(path), str(path), "not finite (row 7)")


@pytest.mark.parametrize("ending", ["parquet", "safetensors", "npy"])
def test_too_large_for_float32(tmp_path, ending):
    x, path = X.astype(np.float64), tmp_path / f"x.{ending}"
    x[3] = 1e300
    write_float64[ending](path, x)
    refused(lambda: load_features(path, normalise=False), "that float32 cannot hold (row 3)")
    found, _ = load_features(path)  # scaled before it is rounded
    torch.testing.assert_close(found[3], torch.full((6,), 6**-0.5), rtol=1e-6, atol=0)  # float32's rounding


write_float64: dict[str, Callable] = {
    "parquet": lambda path, x: parquet(path, x, kind=pa.list_(pa.float64())),
    "safetensors": lambda path, x: safetensors(path, f=x, y=Y),
    "npy": lambda path, x: npy(path, x),
}


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-25, 1e-13, 1, 1e13, 1e25, 1e38])
@pytest.mark.parametrize("ending", ["parquet", "safetensors", "npy"])
def test_a_row_of_any_length_is_scaled_to_length_one(tmp_path, ending, scale):
    """The direction stays, but for what the smallest numbers of float32 cannot say."""
    x = np.array([[1, -2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32) * np.float32(scale)
    path = tmp_path / f"x.{ending}"
    write = {
        "parquet": lambda: parquet(path, x, Y[:3]),
        "safetensors": lambda: safetensors(path, f=x, y=Y[:3]),
        "npy": lambda: npy(path, x, Y[:3]),
    }
    write[ending]()
    expected = torch.tensor([[1, -2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 3]]) / 3
    torch.testing.assert_close(load_features(path)[0], expected, rtol=1e-6, atol=0)


def test_hidden_files_are_not_read(tmp_path):
    """What JupyterLab, caches and a Mac lay beside the files."""
    parquet(tmp_path / "a.parquet")
    expected = load_features(tmp_path)
    parquet(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.parquet")
    parquet(tmp_path / "b" / ".cache" / "huggingface" / "a.parquet")
    (tmp_path / "._a.parquet").write_bytes(b"what a Mac leaves behind")
    assert all(map(torch.equal, load_features(tmp_path), expected))
    there = tmp_path / ".cache" / "mine"  # a folder that the user names is looked into, wherever it is
    parquet(there / "a.parquet")
    assert all(map(torch.equal, load_features(there), expected))


@pytest.mark.parametrize("kind", [">f2", ">f4", ">f8", "<f4"])
def test_byte_orders(tmp_path, kind):
    same(load_features(npy(tmp_path / "x.npy", X.astype(kind), Y.astype(">i8")), normalise=False))
    same(load_features(npy(tmp_path / "y.npy", np.asfortranarray(X.astype(kind)), Y.astype(">u2")), normalise=False))


def test_arrays_that_are_no_numbers_are_not_called_cut_short(tmp_path):
    path = tmp_path / "x.npy"
    for x, said in (
        (X.astype(str), "values of type <U"),
        (X.astype(np.longdouble), f"values of type {np.dtype(np.longdouble)}"),
        (X.astype(object), "holds Python objects"),
        (X.astype(np.complex64), "features of type complex64; they must be real"),
    ):
        with pytest.raises(DataError, match=said) as error:
            load_features(npy(path, x))
        assert "cut short" not in str(error.value)
    with path.open("wb") as file:
        np.savez(file, features=X, labels=Y)
    refused(lambda: load_features(path), str(path), "several arrays (features, labels)")


@pytest.mark.parametrize("lengths", [(6, 5), (5, 7), (3, 9), (6, 0)], ids=str)
@pytest.mark.parametrize("form", ["list", "large_list"])
def test_ragged_vectors(tmp_path, form, lengths):
    """Also where the total number of values would fit: 5 and 7 are 6 on the average."""
    x = [np.ones(n, np.float32) for n in lengths]
    path = parquet(tmp_path / "x.parquet", x, Y[:2], LISTS[form](pa.float32()))
    refused(lambda: load_features(path), str(path), "'features'", f"{min(lengths)} to {max(lengths)}")


def test_files_of_different_widths(tmp_path):
    parquet(tmp_path / "a.parquet")
    parquet(tmp_path / "b.parquet", X[:, :5])
    refused(lambda: load_features(tmp_path), "b.parquet", "vectors of 5", "before it hold vectors of 6")


@pytest.mark.parametrize("form", LISTS)
def test_missing_values(tmp_path, form):
    rows = [*X[:-1], None]
    path = parquet(tmp_path / "x.parquet", rows, kind=LISTS[form](pa.float32()))
    refused(lambda: load_features(path), "lacks 1 value(s)", "'features'", "'label'")
    path = parquet(tmp_path / "y.parquet", y=pa.array([None, *Y[1:]], pa.int64()), kind=LISTS[form](pa.float32()))
    refused(lambda: load_features(path), "lacks 1 value(s)")
    rows = [*X[:-1].tolist(), [1.0, None, 1.0, 1.0, 1.0, 1.0]]
    path = parquet(tmp_path / "z.parquet", rows, kind=LISTS[form](pa.float32()))
    refused(lambda: load_features(path), "not finite (row 10)")


@pytest.mark.parametrize("ending", ["parquet", "safetensors", "npy"])
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_cut_short(tmp_path, ending, kept):
    path = tmp_path / f"x.{ending}"
    write = {"parquet": parquet, "npy": npy, "safetensors": lambda path: safetensors(path, f=X, y=Y)}
    write[ending](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(lambda: load_features(path), str(path), "could not be read", "cut short")


def test_labels_cut_short(tmp_path):
    path = npy(tmp_path / "x.npy")
    labels = tmp_path / "x.labels.npy"
    labels.write_bytes(labels.read_bytes()[:-3])
    refused(lambda: load_features(path), str(labels), "could not be read")


def test_a_pickle_is_not_run(tmp_path):
    """np.load would execute what an array of objects holds; it must not."""
    np.save(tmp_path / "x.npy", np.array([{"a": 1}, print], dtype=object), allow_pickle=True)
    np.save(tmp_path / "x.labels.npy", Y)
    refused(lambda: load_features(tmp_path / "x.npy"), "holds Python objects")


def test_no_rows(tmp_path):
    refused(lambda: load_features(npy(tmp_path / "x.npy", X[:0], Y[:0])), "(0, 6)", "expected (N, dim)")
    refused(lambda: load_features(parquet(tmp_path / "x.parquet", X[:0], Y[:0])), "holds no rows")
    refused(lambda: load_features(npy(tmp_path / "y.npy", X[:, :0])), "(11, 0)")


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, Y[:-1], ("(11, 6)", "(10,)")),
        (X[0], Y[:6], ("(6,)",)),
        (X[:, None], Y, ("(11, 1, 6)",)),
        (X, np.eye(5)[Y], ("(11, 5)",)),
        (X, Y.astype(np.float32), ("float32", "integers")),
        (X, Y > 2, ("bool", "integers")),
        (X, Y - 1, ("label -1", "classes count from 0")),
    ],
    ids=["fewer labels", "one vector", "pictures", "one-hot", "fractions", "truth values", "unknown class"],
)
def test_shapes_and_labels_that_make_no_data_set(tmp_path, x, y, words):
    refused(lambda: load_features(npy(tmp_path / "x.npy", x, y)), str(tmp_path / "x.npy"), *words)


def test_nothing_there(tmp_path):
    refused(lambda: load_features(tmp_path / "none.npy"), "There is no feature file", "none.npy")
    refused(lambda: load_features(tmp_path), str(tmp_path), "holds no .parquet file")
    refused(lambda: load_features(npy(tmp_path / "x.npy", y=None)), "no labels beside it", "x.labels.npy")
    for name in ("x.csv", "x", "x.NPY"):
        (tmp_path / name).write_text("1,2,3")
        refused(lambda name=name: load_features(tmp_path / name), name, ".npy, .safetensors, .parquet")


LAYOUTS = [
    "{config}/{split}-{i:05d}-of-00002.parquet",
    "data/{config}/{split}-{i:05d}-of-00002.parquet",
    "data/{config}_{split}-{i:05d}-of-00002.parquet",
    "data/{config}-{split}-{i:05d}-of-00002.parquet",
    "{config}/{split}/{i:04d}.parquet",
    "{config}/default/features_{split}-{i:05d}-of-00002.parquet",
    "{split}/{config}-{i:05d}-of-00002.parquet",
    "{split}/{config}/part-{i}.parquet",
    "imagenet-{config}.{split}.{i}.parquet",
]
CONFIGURATIONS = ["clip_vit_l14", "clip_vit_l14_336", "openclip_vit_l14", "clip_vit_b16"]


KINDS = {"train": torch.float16, "validation": torch.float32}


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Callable[..., StandIn]]:
    """hub("a layout", …) fills a hub's data set of few rows of six numbers, and gives the hub."""
    root = tmp_path / "train clip_vit_l14"  # the place's own path must not be taken for the data set's
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_files, "ROWS", {})
    monkeypatch.setattr(feature_files, "DIMS", {})
    monkeypatch.setattr(hub_files, "PAUSE", 0.01)

    def fill(layout: str, splits=("train", "validation")) -> StandIn:
        for c, config in enumerate(CONFIGURATIONS):
            for s, split in enumerate(splits):
                for i in range(2):
                    x = np.full((2, 6), 100 * c + 10 * s + i)
                    parquet(root / layout.format(config=config, split=split, i=i), x, Y[:2])
        (root / "README.md").write_text("a card")
        return server

    root.mkdir()
    with stand_in(root) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield fill


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_imagenet_clip_in_any_layout(hub, layout, split):
    there = hub(layout)
    x, y = imagenet_clip(split)
    expected = [0, 0, 1, 1] if split == "train" else [10, 10, 11, 11]
    assert x[:, 0].tolist() == expected and x.dtype == KINDS[split] and y.tolist() == Y[[0, 1, 0, 1]].tolist()
    assert there.requests[0][0] == f"/api/datasets/{IMAGENET_CLIP}" and len(there.requests) == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_configuration(hub, layout):
    hub(layout, splits=("train", "val"))
    assert imagenet_clip("validation", "clip_vit_b16")[0][:, 0].tolist() == [310, 310, 311, 311]


def test_the_second_time_the_hub_is_not_asked(hub, tmp_path):
    there = hub(LAYOUTS[0])
    first = published_features("train")
    there.always = ("status", 503)
    again = published_features("train")
    assert len(there.requests) == 3 and torch.equal(first.x, again.x) and again.shards == first.shards
    hashes = {path.name: sha256(path) for path in tmp_path.rglob("clip_vit_l14/train-*.parquet")}
    place = f"hf://datasets/{IMAGENET_CLIP}@{REVISION}/clip_vit_l14"
    assert again.shards == {f"{place}/{name}": digest for name, digest in hashes.items()}
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.shards"))


def test_imagenet_clip_that_is_not_there(hub):
    hub(LAYOUTS[0])
    refused(lambda: imagenet_clip("train", "clip_vit_h14"), "no Parquet file for 'clip_vit_h14', split 'train'")
    refused(lambda: imagenet_clip("train", "clip_vit_h14"), "it holds", "clip_vit_b16", "clip_vit_l14_336")
    refused(lambda: imagenet_clip("test"), "'train' and 'validation', not 'test'")


def test_a_file_that_is_not_on_the_hub(hub, tmp_path):
    hub(LAYOUTS[0])
    next(tmp_path.rglob("clip_vit_l14/train-00001-of-00002.parquet")).unlink()
    refused(lambda: imagenet_clip("train"), "1 of the 2 files", "try again later")


def test_a_file_that_is_there_twice(hub, tmp_path):
    hub(LAYOUTS[4])
    path = next(tmp_path.rglob("clip_vit_l14/train/0001.parquet"))
    path.with_name("0002.parquet").write_bytes(path.read_bytes())
    refused(lambda: imagenet_clip("train"), "the same bytes as clip_vit_l14/train/0001.parquet", "0002.parquet")


def test_rows_that_are_announced_and_missing(hub, monkeypatch):
    monkeypatch.setattr(feature_files, "ROWS", {"train": 5})
    hub(LAYOUTS[0])
    refused(lambda: imagenet_clip("train"), "4 rows in its 2 files, but 5 are announced")


def test_vectors_that_the_network_cannot_take(hub, monkeypatch):
    there = hub(LAYOUTS[0])
    monkeypatch.setattr(feature_files, "DIMS", {"clip_vit_l14": 768})
    refused(lambda: imagenet_clip("train"), "vectors of 6 numbers", "768 are needed", "--feature-column")
    assert len(there.requests) == 2, "the second file is not fetched"


def test_columns_of_imagenet_clip_can_be_named(hub, tmp_path):
    there = hub(LAYOUTS[0])
    for i, path in enumerate(sorted(tmp_path.rglob("clip_vit_l14/train*.parquet"))):
        parquet(path, X + i, names=("features", "kind"), index=pa.array(range(11)))
    refused(lambda: imagenet_clip("train"), "kind, index would do", "--label-column")
    assert len(there.requests) == 2, "this is decided before the rest is fetched"
    x, y = imagenet_clip("train", label_column="kind")
    assert torch.equal(x, torch.from_numpy(np.concatenate([X, X + 1]))) and torch.equal(
        y, torch.from_numpy(np.concatenate([Y, Y]))
    )
    assert len(there.requests) == 4, "the first file was there"


def test_labels_of_imagenet_that_count_from_one(hub, tmp_path):
    hub(LAYOUTS[0])
    for i, path in enumerate(tmp_path.rglob("clip_vit_l14/train*.parquet")):
        parquet(path, X + i, np.linspace(1, 1000, 11).astype(int))
    refused(lambda: imagenet_clip("train"), "the labels 1 to 1000", "count from 0 to 999", "subtract 1")


@pytest.mark.parametrize(
    "faults",
    [
        [("status", 503)],
        [("status", 429, {"Retry-After": "0"}), ("status", 500)],
        [("reset",), ("reset",)],
        [("none",), ("reset",), ("status", 502)],
        [("none",), ("cut", 700), ("cut", 700), ("none",)],
        [("none",), ("cut", 700), ("whole",)],
        [("none",), ("flip",)],
        [("none",), ("none",), ("cut", 99), ("flip",), ("cut", 99)],
    ],
    ids=lambda faults: " ".join(str(fault[0]) for fault in faults),
)
def test_a_hub_that_fails_costs_a_retry(hub, faults, tmp_path):
    there = hub(LAYOUTS[0])
    there.faults = list(faults)
    assert imagenet_clip("train")[0][:, 0].tolist() == [0, 0, 1, 1]
    assert not there.faults and not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.shards"))


def test_what_has_come_is_not_asked_for_again(hub, monkeypatch):
    monkeypatch.setattr(hub_files, "_CHUNK", 100)
    there = hub(LAYOUTS[0])
    there.faults = [("none",), ("cut", 500), ("cut", 100)]
    imagenet_clip("train")
    assert [wanted for path, wanted in there.requests if "00000-of" in path] == [
        "bytes=0-",
        "bytes=500-",
        "bytes=600-",
    ]


def test_the_pause_is_the_one_that_the_hub_asks_for(hub, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    there = hub(LAYOUTS[0])
    there.faults = [("status", 429, {"Retry-After": "7"}), ("none",), ("status", 503, {"Retry-After": "9"})]
    imagenet_clip("train")
    assert pauses == [7, 9]
    there.always = ("status", 429, {"Retry-After": "86400"})
    refused(lambda: imagenet_clip("validation"), "a pause of 1440 minutes", "after that the same command goes on")
    assert pauses == [7, 9]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (("status", 401, {"X-Error-Code": "RepoNotFound"}), ("hf auth login", "HF_TOKEN", IMAGENET_CLIP)),
        (("status", 403, {"X-Error-Code": "GatedRepo"}), ("accepted the licence", f"datasets/{IMAGENET_CLIP}")),
        (("status", 404, {"X-Error-Code": "RepoNotFound"}), ("shows what is there", IMAGENET_CLIP)),
        (("status", 500), ("connect to the network", "goes on where it was")),
        (("reset",), ("connect to the network", "goes on where it was")),
        (("silent", 0.3), ("timed out", "goes on where it was")),
    ],
    ids=str,
)
@pytest.mark.parametrize("file", [False, True])
def test_a_hub_that_will_not(hub, monkeypatch, fault, words, file):
    monkeypatch.setattr(hub_files, "ATTEMPTS", 2)
    monkeypatch.setattr(hub_files, "SILENCE", 0.1)
    there = hub(LAYOUTS[0])
    there.faults, there.always = [("none",)] if file else [], fault
    refused(lambda: imagenet_clip("train"), "could not be fetched", *words)


def test_a_hub_that_lies(hub, tmp_path):
    there = hub(LAYOUTS[0])
    there.faults, there.always = [("none",)], ("flip",)
    refused(lambda: imagenet_clip("train"), "three times with other bytes than its hash", "try another network")
    there.always = None
    assert imagenet_clip("train")[0][:, 0].tolist() == [0, 0, 1, 1]


def test_a_damaged_file_of_an_earlier_process_is_fetched_anew(hub, tmp_path, monkeypatch):
    there = hub(LAYOUTS[0])
    for i, path in enumerate(tmp_path.rglob("clip_vit_l14/train*.parquet")):
        parquet(path, X + i, names=("features", "kind"), index=pa.array(range(11)))
    refused(lambda: imagenet_clip("train"), "kind, index would do")  # so the file stays
    (kept,) = (tmp_path / "cache").rglob("*.parquet")
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert len(imagenet_clip("train", label_column="kind")[0]) == 22
    assert [Path(path).name for path, _ in there.requests].count("train-00000-of-00002.parquet") == 2


def test_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_files, "PAUSE", 0.0)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    refused(lambda: imagenet_clip("train"), IMAGENET_CLIP, "ConnectError", "connect to the network")
