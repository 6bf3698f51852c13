"""The augmentation that works on a whole batch, against torchvision's own crop and flip; the data in memory."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F

from mobius_lib.datasets import paths
from mobius_lib.datasets.image_folder import ImageFiles, image_folder, normalised
from mobius_lib.errors import DataError
from mobius_lib.runs import execute
from mobius_lib.runs.base import Data
from mobius_lib.runs.registry import run_at
from mobius_lib.runs.waves import tiny_imagenet as run


def test_every_picture_is_augmented_as_one_alone_would_be():
    """Each is, to the bit, what `image_folder` makes of it for one of the draws; and all draws occur equally often."""
    torch.manual_seed(0)
    x = torch.randint(0, 256, (64, 3, 12, 12), dtype=torch.uint8)
    y = run.crop_and_flip(x)
    assert y.shape == x.shape and y.dtype == torch.float32
    finish = ImageFiles([], [], [], 12, augment=True).transform.transforms[-2:]  # to float32, and normalise
    shifts, mirrored = torch.zeros(2, 17, dtype=torch.int64), 0
    for before, after in zip(x, y, strict=True):
        padded = F.pad(before, [run.PADDING])
        crops = {
            (top, left, flip): finish[1](finish[0](F.horizontal_flip(crop) if flip else crop))
            for top in range(2 * run.PADDING + 1)
            for left in range(2 * run.PADDING + 1)
            for flip in (False, True)
            for crop in [F.crop(padded, top, left, 12, 12)]
        }
        # float32's rounding of a division by 255 and one by the deviation
        found = [place for place, crop in crops.items() if torch.allclose(crop, after, rtol=0, atol=2e-6)]
        assert found
        top, left, flip = found[0]
        shifts[0, top] += 1
        shifts[1, left] += 1
        mirrored += flip
    assert 19 <= mirrored <= 45  # 64 fair coins fall outside this with probability below 1e-3
    assert shifts.max() <= 14 and (shifts > 0).sum() >= 28  # 64 draws of 17 each: as rare


def test_the_augmentation_is_that_of_the_trainer():
    """Its steps, its padding, and its draws: of 17 places each way, and of two sides."""
    crop, flip = ImageFiles([], [], [], 64, augment=True).transform.transforms[2:4]
    assert crop.padding in (run.PADDING, [run.PADDING] * 4) and crop.size == (64, 64) and flip.p == 0.5
    assert crop.fill == 0 and crop.padding_mode == "constant"


def test_without_the_data_the_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv(run.FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=rf"get Tiny ImageNet with.*environment variable {run.FOLDER}") as error:
        run.load()
    assert "data_dir" not in str(error.value)  # which `mobius run` does not have


def test_the_official_layout_is_read_into_memory(monkeypatch, tmp_path):
    (tmp_path / "wnids.txt").write_text("n01\nn02\n")
    (tmp_path / "val" / "images").mkdir(parents=True)
    lines = []
    for i, name in enumerate(("n01", "n02")):
        folder = tmp_path / "train" / name / "images"
        folder.mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (64, 64), (40 * i, 0, 50 * k)).save(folder / f"{name}_{k}.JPEG")
        Image.new("RGB", (64, 64), (40 * i, 9, 9)).save(tmp_path / "val" / "images" / f"val_{i}.JPEG")
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t62\t62")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv(run.FOLDER, str(tmp_path))
    monkeypatch.setattr(torch.utils.data, "DataLoader", lambda *_, **__: pytest.fail("workers share memory"))
    data = run.load()
    assert data.train[0].shape == (6, 3, 64, 64) and data.train[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test[0].shape == (2, 3, 64, 64) and data.test[1].tolist() == [0, 1]
    assert data.train[0].dtype == torch.uint8 and data.test[0].dtype == torch.float32
    pictures = [image_folder(tmp_path, split, augment=False) for split in ("train", "val")]
    expected = torch.stack([x for x, _ in pictures[1]])
    torch.testing.assert_close(data.test[0], expected, rtol=0, atol=2e-6)  # float32's rounding of two divisions
    torch.testing.assert_close(normalised(data.train[0]), torch.stack([x for x, _ in pictures[0]]), rtol=0, atol=2e-6)
    half = run_at("waves-tiny-imagenet", "short").data()
    assert half.train[0].shape == (6, 3, 32, 32) and half.test[0].shape == (2, 3, 32, 32)
    x = half.augment(half.train[0][-1:].expand(500, -1, -1, -1)) - normalised(torch.zeros(1, 3, 1, 1))
    borders = {int((picture.amax((0, 1)) == 0).sum()) for picture in x}  # of black columns, on either side
    assert borders == set(range(5)), "a padding of 4 at that size; 500 draws of 9 places miss none"


def test_the_small_networks_train():
    """Each arm of the scale for two cores, on as many pictures as tell that its parts fit."""
    short = run_at("waves-tiny-imagenet", "short")
    x, y = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8)
    data = Data((x, y), (normalised(x), y), augment=run.crop_and_flip, numbers=normalised)
    small = replace(short, data=lambda: data, at_scale=None)
    record = execute(small, "short", epochs=1, batch_size=4, device="cpu", progress=False)
    sizes = {rows[0]["parameters"] for rows in record["arms"].values()}
    assert record["arms"].keys() == {"lens", "gelu"} == record["tuning"].keys()
    assert max(sizes) < 1.01 * min(sizes) < 500_000


def test_pictures_of_bytes_can_be_trained_on(monkeypatch):
    """The whole way of a run: training, its cost, and what is read off at the end."""
    x, y = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8), torch.arange(24) % 2
    data = Data((x, y), (normalised(x), y), augment=run.crop_and_flip)
    arms = {name: lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 2)) for name in ("a", "gelu")}
    small = replace(run.RUN, at_scale=None, arms=arms, data=lambda: data, state=None, readings=None)
    record = execute(small, "full", epochs=1, batch_size=8, device="cpu", progress=False)
    assert record["arms"]["a"][0]["history"][0]["skipped"] == 0 and record["cost"]["a"]["seconds"] > 0


def test_a_broken_picture_is_named(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / split / "a" / "0.png")
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        image_folder(tmp_path, "train", augment=False).in_memory()


def test_too_little_memory_is_told_before_any_picture_is_read(monkeypatch, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "0.png").write_bytes(b"no picture")
    monkeypatch.setattr(paths, "available_memory", lambda: 12_287)
    with pytest.raises(DataError, match=r"The 1 pictures take 0\.0 GB of memory"):
        image_folder(tmp_path, "train", augment=False).in_memory()
