"""Features of a user's own: from a folder of pictures to a file, and from any file to rows with a part held out."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mobius_lib import progress
from mobius_lib.datasets import own, paths
from mobius_lib.datasets.encoders import ENCODERS
from mobius_lib.datasets.feature_files import load_features
from mobius_lib.datasets.image_folder import image_folder, pictures
from mobius_lib.datasets.own import facts_of, held_out, own_features, write_features
from mobius_lib.errors import DataError
from tests.pictures import COLOURS, folder, stand_in


@pytest.fixture
def shown(tmp_path):
    return folder(tmp_path / "shown")


@pytest.fixture
def known(monkeypatch):
    """The stand-in by name."""
    monkeypatch.setitem(ENCODERS, "stand-in", stand_in)


# From pictures to a file.


def test_a_file_holds_rows_labels_names_and_what_made_them(shown, tmp_path):
    written = write_features(shown, tmp_path / "new" / "f.safetensors", stand_in(), progress=False)
    assert (written.rows, written.dim, written.classes, written.left_out) == (30, 48, list(COLOURS), [])
    stored, facts = load_file(written.path), facts_of(written.path)
    assert stored.keys() == {"features", "labels"} and stored["labels"].tolist() == [*(10 * [0] + 10 * [1] + 10 * [2])]
    assert facts["encoder"] == stand_in().provenance() and facts["classes"] == list(COLOURS)
    assert facts["train"] is None and facts["created"].startswith("20")
    for number in (0, 13, 29):
        file = shown / facts["files"][number]
        assert file.parent.name == list(COLOURS)[stored["labels"][number]]
        row = stand_in().encode([Image.open(file)])
        torch.testing.assert_close(stored["features"][number], row[0], rtol=0, atol=0)


def test_the_layouts_of_a_folder(shown, tmp_path):
    assert pictures(shown).classes == list(COLOURS)
    parts = tmp_path / "parts"
    shutil.copytree(shown, parts / "train")
    folder(parts / "val", each=2, seed=1)
    found = pictures(parts)
    assert found.train == 30 and len(found.files) == 36 and found.classes == list(COLOURS)
    assert found.labels[30:] == image_folder(parts, "val").labels == [0, 0, 1, 1, 2, 2]
    flat = pictures(shown / "red")
    assert flat.labels is None and len(flat.files) == 10 and flat.files == sorted(flat.files)
    written = write_features(shown / "red", tmp_path / "flat.safetensors", stand_in(), progress=False)
    assert load_file(written.path).keys() == {"features"} and facts_of(written.path)["labelled"] is False
    with pytest.raises(DataError, match="says nothing of what its pictures show; sort them into a folder for each"):
        own_features(written.path)


def _parts_by_another_name(root):
    for name in ("train", "test"):
        shutil.copytree(root / "red", root.parent / "bad" / name)


def _beside(root):
    shutil.copytree(root, root.parent / "bad")
    shutil.copy(root / "red" / "00.png", root.parent / "bad" / "loose.png")


def _an_empty_class(root):
    shutil.copytree(root, root.parent / "bad")
    (root.parent / "bad" / "violet").mkdir()


def _nothing(root):
    (root.parent / "bad").mkdir()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: None, "There is no folder"),
        (_nothing, "There are no pictures in"),
        (_parts_by_another_name, r"holds test/ and train/; call the two parts train/ and val/"),
        (_beside, r"holds pictures \(loose.png\) beside folders \(blue\)"),
        (_an_empty_class, "There are no images in .*violet"),
    ],
)
def test_folders_that_are_refused(shown, tmp_path, spoil, sentence):
    spoil(shown)
    output = tmp_path / "f.safetensors"
    with pytest.raises(DataError, match=sentence):
        write_features(tmp_path / "bad", output, stand_in(), progress=False)
    assert not output.exists()


def test_a_picture_that_cannot_be_read_stops_it_or_is_left_out(shown, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    (shown / "green" / "03.png").write_bytes(b"\x89PNG no more")
    output = tmp_path / "f.safetensors"
    with pytest.raises(DataError, match=r"03.png cannot be read"):
        write_features(shown, output, stand_in(), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["shown"], "nothing half-written is left"
    written = write_features(shown, output, stand_in(), skip=True)
    assert written.rows == 29 and "03.png" in written.left_out[0] and len(written.left_out) == 1
    assert load_file(output)["labels"].bincount().tolist() == [10, 9, 10]
    assert "green/03.png" not in facts_of(output)["files"]
    assert "encoding: 30 of 30 pictures" in capfd.readouterr().err
    for file in shown.glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"No picture in .* can be read; the first: The image"):
        write_features(shown, tmp_path / "g.safetensors", stand_in(), skip=True, progress=False)


def test_outputs_and_encoders_that_are_refused(shown, tmp_path):
    with pytest.raises(DataError, match=r"written as .safetensors, and .*f.npy has another ending"):
        write_features(shown, tmp_path / "f.npy", stand_in())
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*; give another --output"):
        write_features(shown, tmp_path / "taken" / "f.safetensors", stand_in())
    wrong = stand_in()
    object.__setattr__(wrong, "dim", 7)
    with pytest.raises(DataError, match=r"made \(30, 48\) of 30 pictures, and says that it makes rows of 7"):
        write_features(shown, tmp_path / "f.safetensors", wrong, progress=False)


# From a file to rows.


def test_a_folder_of_pictures_is_encoded_once(shown, tmp_path, known, monkeypatch):
    def read():
        return own_features(shown, encoder="stand-in", cache=tmp_path / "cache", progress=False)

    first = read()
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    assert file.name.startswith("shown-") and first.name == "shown" and first.encoder["name"] == "stand-in"
    with monkeypatch.context() as never:
        never.delitem(ENCODERS, "stand-in")
        again = read()
    assert torch.equal(first.train[0], again.train[0])
    shutil.copy(shown / "red" / "00.png", shown / "red" / "99.png")
    assert len(read().train[1]) + len(read().test[1]) == 31, "of other pictures they are made anew"


def test_one_row_in_five_of_each_class_is_held_out(shown, tmp_path):
    path = write_features(shown, tmp_path / "f.safetensors", stand_in(), progress=False).path
    data = own_features(path)
    assert data.test[1].bincount().tolist() == [2, 2, 2] and data.train[1].bincount().tolist() == [8, 8, 8]
    assert data.classes == tuple(COLOURS) and data.dim == 48 and data.encoder == stand_in().provenance()
    assert "one row in 5 of each class" in data.split
    rows = torch.cat([data.train[0], data.test[0]])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(30))
    whole = load_features(path)[0]
    assert {*map(tuple, rows.tolist())} == {*map(tuple, whole.tolist())}, "every row once"


def test_what_the_folder_holds_out_stays_held_out(shown, tmp_path, known):
    parts = tmp_path / "parts"
    shutil.copytree(shown, parts / "train")
    folder(parts / "val", each=2, seed=1)
    data = own_features(parts, encoder="stand-in", cache=tmp_path / "cache", progress=False)
    assert (len(data.train[1]), data.test[1].tolist()) == (30, [0, 0, 1, 1, 2, 2]) and "val/" in data.split


@pytest.mark.parametrize("counts", [[5, 5], [1, 2, 3, 9, 10, 11], [0, 4, 0, 1], [1000, 1]])
def test_how_many_are_held_out(counts):
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    held = held_out(y)
    expected = [max(count // 5, 1) if count >= 2 else 0 for count in counts]
    assert y[held].bincount(minlength=len(counts)).tolist() == expected
    assert torch.equal(held, held_out(y))
    if counts == [1000, 1]:
        places = held.nonzero().flatten().float()
        assert 400 < places.mean() < 600, "from all over the file"


def of_rows(path, labels, **more):
    x = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0))
    save_file({"features": x, "labels": torch.tensor(labels), **more}, path)
    return path


def test_arrays_and_columns(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(8, 6)))
    np.save(tmp_path / "a.labels.npy", np.arange(8) % 2)
    data = own_features(tmp_path / "a.npy")
    assert data.classes == ("class 0", "class 1") and data.encoder is None and data.name == "a"
    path = of_rows(tmp_path / "b.safetensors", [0, 1, 0, 1], ids=torch.arange(4))
    assert own_features(path, label_column="labels").train[1].tolist() == [0, 1]
    with pytest.raises(DataError, match="no column 'y'"):
        own_features(path, label_column="y")


def test_more_rows_than_there_is_memory_for(tmp_path, monkeypatch):
    save_file({"x": torch.ones(10, 4), "label": torch.arange(10) % 2}, tmp_path / "x.safetensors")
    monkeypatch.setattr(paths, "available_memory", lambda: 159)
    with pytest.raises(DataError, match=r"rows of .*x\.safetensors take 0\.0 GB of memory"):
        own_features(tmp_path / "x.safetensors")
    monkeypatch.setattr(paths, "available_memory", lambda: 160)
    assert len(own_features(tmp_path / "x.safetensors").train[1]) == 8


def test_classes_by_number_and_by_name(tmp_path):
    path = of_rows(tmp_path / "a.safetensors", [0, 0, 2, 2])
    assert own_features(path, classes=4).classes == ("class 0", "class 1", "class 2", "class 3")
    for mark in ("", "\ufeff"):  # an editor's
        (tmp_path / "names.txt").write_text(mark + "ant\nbee\n\n cat \n", "utf-8")
        assert own_features(path, classes=tmp_path / "names.txt").classes == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        ([1, 2, 3, 1], {}, "run from 1 to 3; classes count from 0, so subtract 1"),
        ([1, 2, 3, 1], {"classes": 3}, "run from 1 to 3; classes count from 0, so subtract 1"),
        ([0, 1, 5, 0], {"classes": "4"}, r"Row 2 of .* has the label 5, and there are 4 classes, .* --classes 6"),
        ([0, 1, 3, 0], {}, "run up to 3, but no row has the label 2; .*--classes 4, else name .*--label-column"),
        ([0, 9**15, 7, 0], {}, "no row has the label 1"),  # a number of a picture, perhaps
        ([0, 1, 1, 0], {"classes": "10000000000"}, "no more than 1,000,000"),
        ([0, 0, 0, 0], {}, "one class only"),
        ([0, 1], {}, r"has 2 row\(s\), too few"),
        ([0, 1, 1, 0], {"classes": "names.txt"}, "takes a number, or a text file with a name on each line, and names"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, labels, options, sentence):
    with pytest.raises(DataError, match=sentence):
        own_features(of_rows(tmp_path / "a.safetensors", labels), **options)


def test_names_that_are_not_as_many_as_the_classes(shown, tmp_path):
    path = write_features(shown, tmp_path / "f.safetensors", stand_in(), progress=False).path
    with pytest.raises(DataError, match="names 3 classes, and --classes says 4"):
        own_features(path, classes=4)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="names no class"):
        own_features(path, classes=tmp_path / "empty.txt")


def test_facts_are_of_our_files_alone(shown, tmp_path):
    path = of_rows(tmp_path / "a.safetensors", [0, 1])
    assert facts_of(path) == facts_of(shown) == facts_of(tmp_path / "a.npy") == {}
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"could not be read .*cut short"):
        facts_of(path)
    save_file({"features": torch.zeros(2, 2)}, path, {own.KEY: "[1]"})
    assert facts_of(path) == {}
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()[own.KEY]) == [1]
