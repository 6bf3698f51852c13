"""Features of Tiny ImageNet, of which this repository has none: from made files of its layout, and two runs on them."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mobius_lib.datasets.own import KEY, facts_of
from mobius_lib.datasets.tiny_features import tiny_features
from mobius_lib.errors import DataError
from mobius_lib.runs import execute
from mobius_lib.runs.registry import run_at
from mobius_lib.runs.waves import FOLDER

CLASSES, PER_CLASS = 200, 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """As `mobius features` writes it: in 800 dimensions, of which the first two tell the classes apart by an angle."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(CLASSES).repeat_interleave(PER_CLASS + 1)
    y = torch.cat([y, y[:: PER_CLASS + 1]])  # then a row of each to validate on
    turn = 2 * torch.pi * y / CLASSES
    x = torch.cat([30 * torch.stack([turn.cos(), turn.sin()], 1), torch.randn(len(y), 798, generator=draw)], 1)
    facts = {
        "encoder": {"name": "efficientnet-lite0", "dim": 800, "preprocessing": "", "sha256": "a" * 64},
        "labelled": True, "classes": [f"n{n:08}" for n in range(CLASSES)], "train": len(y) - CLASSES, "files": [],
    }  # fmt: skip
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_file({"features": x, "labels": y}, path, {KEY: json.dumps(facts)})
    return path


def test_rows_are_reduced_to_what_varies_most(file):
    (x, y), (x_test, y_test), hashes = tiny_features(file, 2)
    assert x.shape == (CLASSES * (PER_CLASS + 1), 2) and y_test.tolist() == list(range(CLASSES))
    assert torch.allclose(x.norm(dim=1), torch.ones(len(x))) and torch.allclose(x_test.norm(dim=1), torch.ones(200))
    known = 2 * torch.pi * y / CLASSES
    found = torch.atan2(x[:, 1], x[:, 0])
    off = torch.stack([found - known, found + known])  # the plane, turned or mirrored
    spread = [torch.polar(torch.ones(len(y)), each).mean().abs().item() for each in off]
    assert max(spread) > 0.99, "the two dimensions that the classes lie in"
    wide = tiny_features(file, 768)
    assert torch.equal(wide[0][1], y) and wide[2] == hashes and all(len(each) == 64 for each in hashes.values())
    gram = wide[0][0] @ wide[0][0].T  # 768 of 800 hold nearly all: angles stay
    stored = load_file(file)["features"][: len(x)]
    centred = torch.nn.functional.normalize(
        torch.nn.functional.normalize(stored) - torch.nn.functional.normalize(stored).mean(0)
    )
    assert (gram - centred @ centred.T).abs().max() < 0.05


def test_what_is_no_tiny_imagenet(file, tmp_path):
    facts = facts_of(file)
    other = tmp_path / "other.safetensors"
    save_file(load_file(file), other, {KEY: json.dumps(facts | {"train": None})})
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(b"")
    for path, says in (
        (tmp_path / "none", "There is no"),
        (tmp_path / "tiny-imagenet-200.zip", "is packed: unpack"),
        (other, "must be the folder tiny-imagenet-200"),
    ):
        with pytest.raises(DataError, match=says):
            tiny_features(path, 512)
    with pytest.raises(DataError, match="have 800 dimensions; asked for 900"):
        tiny_features(file, 900)


def test_a_morsel_of_both_runs(file, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(file))
    torch.set_num_threads(1)
    for name, arms in (
        ("waves-tiny-features", {"lens", "gelu", "plain gate", "mlp", "linear"}),
        ("simplex-tiny-features", {"david", "ncm", "no coherence", "cross-entropy", "batch position"}),
    ):
        run = run_at(name, "quick")
        assert arms <= run.arms.keys() and run_at(name, "short").scales["short"].train_samples
        few = {"train_samples": 8, "test_samples": 6, "batch_size": 4, "lr": 1e-3}
        found = execute(run, "quick", device="cpu", progress=False, only=arms, **few)
        assert found["arms"].keys() == arms
        for rows in found["arms"].values():
            assert 0 <= rows[0]["final_accuracy"] <= 1
    monkeypatch.setenv(FOLDER, str(tmp_path / "none"))
    with pytest.raises(DataError, match=f"reads what the environment variable {FOLDER} names"):
        run.data()


def test_pictures_in_the_published_layout(monkeypatch, tmp_path):
    """From the folder itself, through the encoder that is found by its name, here one that sees a colour."""
    from mobius_lib.datasets import encoders

    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    names, lines = [f"n{n:08}" for n in range(CLASSES)], []
    (root / "wnids.txt").write_text("\n".join(names))
    for number, name in enumerate(names):
        place = root / "train" / name / "images"
        place.mkdir(parents=True)
        Image.new("RGB", (64, 64), (number, 9, 255 - number)).save(place / f"{name}_0.JPEG")
        Image.new("RGB", (64, 64), (number, 9, 255 - number)).save(root / "val" / "images" / f"val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))

    def encode(images):
        return torch.stack([torch.tensor(image.getpixel((3, 3))).float() for image in images])

    fake = encoders.Encoder("efficientnet-lite0", 3, "", "b" * 64, encode)
    monkeypatch.setitem(encoders.ENCODERS, "efficientnet-lite0", lambda which, device: fake)
    (x, y), (x_test, y_test), hashes = tiny_features(root, 2, tmp_path / "cache")
    assert y.tolist() == y_test.tolist() == list(range(CLASSES)) and "b" * 64 in hashes.values()
    torch.testing.assert_close(x, x_test)
