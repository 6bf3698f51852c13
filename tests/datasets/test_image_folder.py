"""Folders of images made on the fly, in Tiny ImageNet's layout and in the plain one, and in every wrong way."""

import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobius_lib.datasets.image_folder import MEAN, STD, check, dataset_name, image_folder, tiny_imagenet
from mobius_lib.errors import DataError

WNIDS = ("n01443537", "n01629819", "n02056570")


def save(path: Path, seed: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)  # smooth, so that JPEG keeps it
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three classes, four training images each, six for validation, as unzip lays Tiny ImageNet out."""
    root = tmp_path / "tiny-imagenet-200"
    for c, wnid in enumerate(WNIDS):
        for i in range(4):
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 10 * c + i)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")  # published in no order
    lines = []
    for i in range(6):
        save(root / "val" / "images" / f"val_{i}.JPEG", 100 + i)
        lines.append(f"val_{i}.JPEG\t{WNIDS[i * 2 % 3]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    save(root / "test" / "images" / "test_0.JPEG", 200)
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two classes; images of several sizes, endings, modes and depths of folder."""
    root = tmp_path / "pets"
    save(root / "train" / "cat" / "a.png", 0, (80, 40), "L")
    save(root / "train" / "cat" / "more" / "b.jpg", 1, (33, 90))
    save(root / "train" / "dog" / "c.webp", 2, (64, 64))
    save(root / "train" / "dog" / "d.PNG", 3, (20, 20), "RGBA")
    save(root / "val" / "dog" / "e.bmp", 4, (70, 64))
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "cat" / "._a.png").write_bytes(b"what a Mac leaves behind")
    return root


def test_tiny_imagenet(tiny):
    train, val = tiny_imagenet(tiny, "train"), tiny_imagenet(tiny, "val")
    assert train.classes == val.classes == sorted(WNIDS)
    assert len(train) == 12 and train.labels == [0] * 4 + [1] * 4 + [2] * 4
    assert [file.name for file in val.files] == [f"val_{i}.JPEG" for i in range(6)]
    assert val.labels == [0, 2, 1, 0, 2, 1]
    x, y = train[5]
    assert x.shape == (3, 64, 64) and x.dtype == torch.float32 and y == 1
    assert dataset_name(tiny) == "tiny_imagenet"
    assert check(tiny) == []


def test_plain_folder_through_the_same_code(plain):
    train, val = image_folder(plain, "train"), image_folder(plain, "val")
    assert train.classes == val.classes == ["cat", "dog"] and train.labels == [0, 0, 1, 1] and val.labels == [1]
    assert [file.name for file in train.files] == ["a.png", "b.jpg", "c.webp", "d.PNG"]
    assert all(train[i][0].shape == (3, 64, 64) for i in range(4)) and val[0][0].shape == (3, 64, 64)
    assert image_folder(plain, "val", size=24)[0][0].shape == (3, 24, 24)
    assert dataset_name(plain) == "pets"
    assert check(plain) == []
    with pytest.raises(DataError, match=r"has neither wnids\.txt nor val/val_annotations\.txt"):
        tiny_imagenet(plain, "train")


def test_values(tiny):
    """Without augmentation: the decoded pixels, scaled to [0, 1] and normalised; nothing else, at the own size."""
    val = tiny_imagenet(tiny, "val")
    pixels = np.asarray(Image.open(val.files[0]), dtype=np.float32) / 255
    expected = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    np.testing.assert_allclose(val[0][0].permute(1, 2, 0).numpy(), expected, atol=1e-5)  # float32, values up to 3
    assert torch.equal(val[0][0], val[0][0])


def test_augmentation(tiny):
    """Each draw is the image, flipped or not, moved by at most eight pixels over a black border."""
    plain, drawn = tiny_imagenet(tiny, "train", augment=False), tiny_imagenet(tiny, "train")
    torch.manual_seed(0)
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    padded = black.view(3, 1, 1).expand(3, 80, 80).clone()
    padded[:, 8:72, 8:72] = plain[0][0]
    windows = {}
    for top in range(17):
        for left in range(17):
            window = padded[:, top : top + 64, left : left + 64]
            windows[top, left, False], windows[top, left, True] = window, window.flip(-1)
    found = set()
    for _ in range(12):
        x = drawn[0][0]
        matches = [key for key, window in windows.items() if torch.allclose(x, window, atol=1e-5)]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 8 and {flipped for *_, flipped in found} == {True, False}


def test_unreadable_image_is_named(tiny):
    bad = [tiny / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG", tiny / "val" / "images" / "val_3.JPEG"]
    bad[0].write_bytes(bad[0].read_bytes()[:200])
    bad[1].write_bytes(b"")
    train = tiny_imagenet(tiny, "train")
    with pytest.raises(DataError, match=rf"The image .*{WNIDS[1]}_2\.JPEG cannot be read .*replace or remove it"):
        train[6]
    with pytest.raises(DataError, match=r"val_3\.JPEG cannot be read"):
        tiny_imagenet(tiny, "val")[3]
    assert check(tiny) == bad, "all of them, in order, before any training"
    assert train[5][1] == 1


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("ending", ["JPEG", "png", "webp"])
def test_every_truncation_of_an_image_is_noticed(tmp_path, plain, keep, ending):
    path = plain / "train" / "cat" / f"z.{ending}"
    save(path, 5)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert check(plain) == [path]


def damage(root: Path, how: str) -> None:
    images, annotations = root / "val" / "images", root / "val" / "val_annotations.txt"
    match how:
        case "no train":
            shutil.rmtree(root / "train")
        case "no class folders":
            shutil.rmtree(root / "train")
            (root / "train").mkdir()
        case "class without images":
            shutil.rmtree(root / "train" / WNIDS[2] / "images")
        case "class not unpacked":
            shutil.rmtree(root / "train" / WNIDS[0])
        case "empty wnids":
            (root / "wnids.txt").write_text("\n")
        case "binary wnids":
            (root / "wnids.txt").write_bytes(b"\xff\xfe\x00")
        case "missing val image":
            (images / "val_4.JPEG").unlink()
        case "unknown class":
            annotations.write_text(annotations.read_text() + "val_0.JPEG\tn99999999\t0\t0\t1\t1\n")
        case "short line":
            annotations.write_text("val_0.JPEG\n")
        case "no annotations":
            annotations.unlink()
        case "empty annotations":
            annotations.write_text("")
        case "no val images":
            shutil.rmtree(images)


@pytest.mark.parametrize(
    ("how", "split", "words"),
    [
        ("no train", "train", r"has no class folders below train/: expected train/<class>/ with images"),
        ("no class folders", "train", r"has no class folders below train/"),
        ("no train", "val", r"has no class folders below train/"),
        ("class without images", "train", rf"There are no images in .*{WNIDS[2]}; put some there or take"),
        ("class not unpacked", "train", rf"names the class {WNIDS[0]}, but there is no folder train/{WNIDS[0]}"),
        ("empty wnids", "train", r"wnids\.txt names no class"),
        ("binary wnids", "train", r"wnids\.txt cannot be read as text"),
        ("missing val image", "val", r"names val_4\.JPEG, but there is no such image in .*images"),
        ("unknown class", "val", r"gives val_0\.JPEG the class n99999999, which is not among the classes"),
        ("short line", "val", r"gives val_0\.JPEG the class \(none\)"),
        ("no annotations", "val", r"val_annotations\.txt is missing: get Tiny ImageNet with"),
        ("empty annotations", "val", r"val_annotations\.txt is empty"),
        ("no val images", "val", r"There are no images in .*images"),
    ],
)
def test_wrong_layouts(tiny, how, split, words):
    damage(tiny, how)
    with pytest.raises(DataError, match=words) as raised:
        image_folder(tiny, split)
    assert "\n" not in str(raised.value)


def test_missing_root_says_how_to_get_it(tmp_path):
    for read in (image_folder, tiny_imagenet):
        with pytest.raises(DataError, match=r"no image folder .*nowhere: get Tiny ImageNet with `wget http://cs231n"):
            read(tmp_path / "nowhere", "train")


def test_empty_root(tmp_path):
    with pytest.raises(DataError, match="has no class folders"):
        image_folder(tmp_path, "train")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("fox/f.png", "fox is a class that train/ lacks; add train/fox or take that folder away"),
        ("x.png", "val has no class folders: expected val/<class>/"),
    ],
)
def test_wrong_val_of_a_plain_folder(plain, path, words):
    shutil.rmtree(plain / "val")
    save(plain / "val" / path, 9)
    with pytest.raises(DataError, match=words):
        image_folder(plain, "val")


def test_unknown_split(tiny):
    with pytest.raises(DataError, match="split must be"):
        image_folder(tiny, "test")


def test_order_is_that_of_names(tmp_path):
    """Not that of the file system, which differs between machines and would change what a seed means."""
    names = [*string.ascii_lowercase, *(f"n{i:02d}" for i in range(20))]
    for i, name in enumerate(np.random.default_rng(0).permutation(names)):
        save(tmp_path / "train" / "only" / f"{name}.png", i, (4, 4))
    assert [file.stem for file in image_folder(tmp_path, "train").files] == sorted(names)
