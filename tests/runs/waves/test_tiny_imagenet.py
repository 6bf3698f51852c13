"""The augmentation that works on a whole batch, against torchvision's own crop and flip; the data in memory."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from mobius_lib.errors import DataError
from mobius_lib.runs.waves import tiny_imagenet as run


def test_every_picture_is_some_crop_of_itself():
    torch.manual_seed(0)
    x = torch.randn(32, 3, 12, 12)
    y = run.crop_and_flip(x)
    assert y.shape == x.shape
    mirrored = shifted = 0
    for before, after in zip(x, y, strict=True):
        padded = F.pad(before, [run.PADDING])
        crops = {
            (top, left, flip): F.crop(F.horizontal_flip(padded) if flip else padded, top, left, 12, 12)
            for top in range(2 * run.PADDING + 1)
            for left in range(2 * run.PADDING + 1)
            for flip in (False, True)
        }
        found = [place for place, crop in crops.items() if torch.equal(crop, after)]
        assert found
        mirrored += found[0][2]
        shifted += found[0][:2] != (run.PADDING, run.PADDING)
    assert 6 <= mirrored <= 26  # 32 fair coins fall outside this with probability below 1e-3
    assert shifted > 20


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
    monkeypatch.setattr(run, "DataLoader", lambda data, batch_size, num_workers: torch.utils.data.DataLoader(data, 2))
    data = run.load()
    assert data.train[0].shape == (6, 3, 64, 64) and data.train[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test[0].shape == (2, 3, 64, 64) and data.test[1].tolist() == [0, 1]
