"""Folders of images made on the fly, in Tiny ImageNet's layout and in the plain one, and in every wrong way."""

import shutil
import string
import struct
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


GREY = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
"""Of 16 bits, from black to white; the upper 8 of every value are different."""


def tiff(path: Path, pixels: np.ndarray, bits: int, white: int) -> None:
    """A plain TIFF of 8 x 8 grey pixels, in bytes already packed; white: 0 where 0 is white, else 1."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: white, 273: 122, 277: 1, 278: 8, 279: pixels.nbytes}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels.tobytes())


def sixteen_bits(folder: Path) -> dict[Path, np.ndarray]:
    """The same gradient in every kind of file that holds more than 8 bits of grey, and what must come out."""
    expected = {folder / f"grey.{ending}": GREY >> 8 for ending in ("png", "tif", "pgm")}
    for path in expected:
        Image.fromarray(GREY).save(path)
    expected |= {folder / name: GREY >> 8 for name in ("big-endian.tif", "4095.pgm", "plain.pgm", "12.tif")}
    Image.fromarray(GREY.astype(">u2")).save(folder / "big-endian.tif")
    (folder / "4095.pgm").write_bytes(b"P5 8 8 4095\n" + (GREY >> 4).astype(">u2").tobytes())
    (folder / "plain.pgm").write_text("P2 8 8 65535 " + " ".join(map(str, GREY.flat)))
    pairs = (GREY >> 4).reshape(32, 2)  # two values of 12 bits in three bytes
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    tiff(folder / "12.tif", packed.astype(np.uint8), 12, white=1)
    expected[folder / "white-is-0.tif"] = 255 - (GREY >> 8)
    tiff(folder / "white-is-0.tif", GREY, 16, white=0)
    return expected


def test_more_than_eight_bits_of_grey(tmp_path):
    (tmp_path / "train" / "grey").mkdir(parents=True)
    expected = sixteen_bits(tmp_path / "train" / "grey")
    pictures = image_folder(tmp_path, "train", size=8, augment=False)
    assert set(pictures.files) == set(expected)
    for (x, _), path in zip(pictures, pictures.files, strict=True):
        grey = (x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
        # one grey in all channels; PGM scales 4,095 to 65,535 with rounding, so a step of the upper 8 bits may be off
        off = (grey - torch.from_numpy(expected[path].astype(np.float32))).abs().max()
        assert off < (1.01 if path.name == "4095.pgm" else 0.01), path.name


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_that_do_not_say_what_is_white_are_refused(plain, kind):
    path = plain / "train" / "cat" / "z.tif"
    Image.fromarray(GREY.astype(kind)).save(path)
    train = image_folder(plain, "train")
    with pytest.raises(DataError, match=r"z\.tif cannot be read .*save it with 8 or 16 bits a channel"):
        train[train.files.index(path)]
    assert check(plain) == [path]


STORED = {1: (1, 1, False), 2: (1, -1, False), 3: (-1, -1, False), 4: (-1, 1, False),
          5: (1, 1, True), 6: (-1, 1, True), 7: (-1, -1, True), 8: (1, -1, True)}  # fmt: skip
"""EXIF orientation to how the stored rows and columns run, and whether they have changed places."""


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_is_upright(tmp_path, ending, orientation):
    """Stored as a camera stores it, with a note of how to turn it: bright on top, and the brightest to the left."""
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16], upright[:16, :16] = 120, 240
    rows, columns, swap = STORED[orientation]
    stored = (upright.swapaxes(0, 1) if swap else upright)[::rows, ::columns]
    note = Image.Exif()
    note[0x0112] = orientation
    (tmp_path / "train" / "one").mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "train" / "one" / f"x.{ending}", exif=note)
    x = image_folder(tmp_path, "train", size=32, augment=False)[0][0][0]
    corners = [x[8, 8], x[8, 24], x[24, 8], x[24, 24]]
    assert corners[0] > corners[1] + 1 > max(corners[2:]) + 2  # 120 steps of 255 are 2 deviations


def test_a_damaged_note_of_the_camera_does_no_harm(plain):
    path = plain / "train" / "cat" / "z.jpg"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, exif=b"Exif\0\0garbage")
    assert check(plain) == []


@pytest.mark.parametrize("empty_images", [False, True])
@pytest.mark.parametrize("annotations", [False, True])
def test_tiny_imagenet_whose_validation_images_are_sorted(tiny, empty_images, annotations):
    """As the scripts leave it that move each picture into a folder of its class."""
    published = tiny_imagenet(tiny, "val")
    for file, label in zip(published.files, published.labels, strict=True):
        to = tiny / "val" / published.classes[label] / ("images" if empty_images else "") / file.name
        to.parent.mkdir(parents=True, exist_ok=True)
        file.rename(to)
    if not empty_images:
        (tiny / "val" / "images").rmdir()
    if not annotations:
        (tiny / "val" / "val_annotations.txt").unlink()
    found = tiny_imagenet(tiny, "val")
    assert {file.name: label for file, label in zip(found.files, found.labels, strict=True)} == {
        file.name: label for file, label in zip(published.files, published.labels, strict=True)
    }
    assert found.classes == published.classes and dataset_name(tiny) == "tiny_imagenet" and check(tiny) == []
    (tiny / "wnids.txt").write_text(WNIDS[0] + "\n")  # a part of the classes, in both splits
    assert set(tiny_imagenet(tiny, "val").labels) == {0} and len(tiny_imagenet(tiny, "val").classes) == 1
    save(tiny / "val" / "fox" / "x.png", 0)
    with pytest.raises(DataError, match="fox is a class that train/ lacks"):
        tiny_imagenet(tiny, "val")


def test_a_part_of_the_classes(tiny):
    """As wnids.txt names them, in both splits."""
    (tiny / "wnids.txt").write_text(f"{WNIDS[0]}\n{WNIDS[2]}\n")
    train, val = tiny_imagenet(tiny, "train"), tiny_imagenet(tiny, "val")
    assert train.classes == val.classes == [WNIDS[0], WNIDS[2]] and train.labels == [0] * 4 + [1] * 4
    assert [file.name for file in val.files] == ["val_0.JPEG", "val_1.JPEG", "val_3.JPEG", "val_4.JPEG"]
    assert val.labels == [0, 1, 0, 1]


def test_an_editor_s_byte_order_mark_is_no_part_of_a_name(tiny):
    expected = tiny_imagenet(tiny, "val")
    for path in (tiny / "wnids.txt", tiny / "val" / "val_annotations.txt"):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    assert tiny_imagenet(tiny, "val").files == expected.files and tiny_imagenet(tiny, "train").classes == sorted(WNIDS)


IMAGES, ANNOTATIONS, OTHER = "val/images", "val/val_annotations.txt", "val_0.JPEG\tn99999999\t0\t0\t1\t1\n"
NO_CLASSES = "has no class folders below train/"


@pytest.mark.parametrize(
    ("damage", "split", "words"),
    [
        (lambda r: shutil.rmtree(r / "train"), "train", NO_CLASSES + ": expected train/<class>/ with images"),
        (lambda r: (shutil.rmtree(r / "train"), (r / "train").mkdir()), "train", NO_CLASSES),
        (lambda r: shutil.rmtree(r / "train"), "val", NO_CLASSES),
        (lambda r: shutil.rmtree(r / "train" / WNIDS[2] / "images"), "train",
         rf"There are no images in .*{WNIDS[2]}; put some there or take"),
        (lambda r: shutil.rmtree(r / "train" / WNIDS[0]), "train",
         rf"names the class {WNIDS[0]}, but there is no folder train/{WNIDS[0]}"),
        (lambda r: (r / "wnids.txt").write_text("\n"), "train", r"wnids\.txt names no class"),
        (lambda r: (r / "wnids.txt").write_bytes(b"\xff\xfe\x00"), "train", r"wnids\.txt cannot be read as text"),
        (lambda r: (r / IMAGES / "val_4.JPEG").unlink(), "val",
         r"names val_4\.JPEG, but there is no such image in .*images"),
        (lambda r: (r / ANNOTATIONS).write_text((r / ANNOTATIONS).read_text() + OTHER), "val",
         r"gives val_0\.JPEG the class n99999999, which is not among the classes"),
        (lambda r: (r / ANNOTATIONS).write_text("val_0.JPEG\n"), "val", r"gives val_0\.JPEG the class \(none\)"),
        (lambda r: (r / ANNOTATIONS).unlink(), "val", r"val_annotations\.txt is missing: get Tiny ImageNet with"),
        (lambda r: (r / ANNOTATIONS).write_text(""), "val", r"val_annotations\.txt names no image of a class: get"),
        (lambda r: shutil.rmtree(r / IMAGES), "val", r"There are no images in .*images"),
    ],
)  # fmt: skip
def test_wrong_layouts(tiny, damage, split, words):
    damage(tiny)
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
