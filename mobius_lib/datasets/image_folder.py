"""Images in folders: Tiny ImageNet as it is published, or any folder of class folders, through the same code.

    Tiny ImageNet                              any other
    wnids.txt                                  train/<class>/...
    train/<wnid>/images/*.JPEG                 val/<class>/...
    val/images/*.JPEG, val/val_annotations.txt

Tiny ImageNet may also have its validation images sorted into val/<wnid>/, as many scripts do. Classes are numbered in
alphabetical order. Files and folders whose names begin with a dot are not looked at.

A picture is turned as its camera's note (EXIF) says, before anything else. Of 16 bits a channel the upper 8 are taken.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from mobius_lib.datasets.paths import check_memory, visible
from mobius_lib.errors import DataError

# Of ImageNet's training images, as torchvision documents them for its models; Tiny ImageNet is a part of ImageNet.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DOWNLOAD = (
    "get Tiny ImageNet with `wget http://cs231n.stanford.edu/tiny-imagenet-200.zip && "
    "unzip tiny-imagenet-200.zip -d ./data/`, or give another folder"
)
ANNOTATIONS = "val_annotations.txt"
_PARTS = {"train", "val", "valid", "validation", "test"}
"""Names of folders that are no classes, where there are no others."""


class ImageFiles(Dataset):
    """Images read and transformed when they are asked for.

    Args:
        files: one path per image.
        labels: their classes, as positions in `classes`.
        classes: names.
        size: height and width of what comes out.
        augment: random crop after padding by an eighth, and random horizontal flip; else a crop from the middle.
    Shape:
        item: ((3, size, size) float32, normalised; int).
    Raises:
        DataError: naming the file, when one that is asked for cannot be decoded, or has pixels of a kind that does not
            say what is white: floating-point numbers, 32 bits, or signed ones.
    """

    def __init__(self, files: list[Path], labels: list[int], classes: list[str], size: int, augment: bool) -> None:
        self.files, self.labels, self.classes, self.size = files, labels, classes, size
        middle = (
            [v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()] if augment else [v2.CenterCrop(size)]
        )
        self.transform = v2.Compose(
            [v2.ToImage(), v2.Resize(size), *middle, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.files)

    def identity(self) -> tuple[Any, ...]:
        """What tells one set from another: names, sizes in bytes and classes of all files, and what is done to them."""
        files = [(path.parent.name, path.name, path.stat().st_size) for path in self.files]
        return files, self.labels, self.classes, str(self.transform)

    def in_memory(
        self, told: Callable[[int], None] = lambda _: None, threads: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """All of them as bytes, cut to their middle and neither normalised nor augmented, decoded by several threads.

        Args:
            told: called with the number of pictures that are done.
            threads: how many; None takes one a processor, 16 at most.
        Returns:
            (N, 3, size, size) uint8, and (N,) int64.
        Raises:
            DataError: as for one of them; or too little memory, told before any is read.
        """
        check_memory(len(self) * 3 * self.size**2, f"The {len(self):,} pictures")
        bring = v2.Compose([v2.ToImage(), v2.Resize(self.size), v2.CenterCrop(self.size)])
        pictures = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)

        def decode(index: int) -> None:
            pictures[index] = bring(load_picture(self.files[index]))

        threads = threads or min(os.cpu_count() or 1, 16)
        with ThreadPoolExecutor(threads) as pool:
            try:
                for _ in pool.map(decode, range(len(self))):
                    told(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return pictures, torch.tensor(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(load_picture(self.files[index])), self.labels[index]


def image_folder(root: Path | str, split: str, size: int = 64, augment: bool | None = None) -> ImageFiles:
    """One split of a folder of images, in either layout.

    Args:
        root: the folder that holds train/ and val/.
        split: "train" or "val".
        size: height and width of what comes out; 64 is Tiny ImageNet's own.
        augment: None augments the training split only.
    Raises:
        DataError: when the folder is missing, empty, or laid out in another way; when a class has no images; when an
            annotation names a missing file or an unknown class; when val has a class that train lacks.
    """
    root = Path(root)
    if split not in ("train", "val"):
        raise DataError(f'split must be "train" or "val", not {split!r}.')
    if not root.is_dir():
        raise DataError(f"There is no image folder {root}: {DOWNLOAD}.")
    classes = _classes(root)
    if split == "train":
        pairs = [(file, i) for i, name in enumerate(classes) for file in _images(root / "train" / name)]
    elif _is_tiny_imagenet(root) and not _val_is_sorted(root):
        pairs = _annotated(root, classes)
    else:
        pairs = _class_folders(root, classes)
    files, labels = zip(*pairs, strict=True)
    return ImageFiles(list(files), list(labels), classes, size, split == "train" if augment is None else augment)


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, in a fixed order: those to train on first."""

    files: list[Path]
    labels: list[int] | None
    """Positions in `classes`; None where nothing says what is in the pictures."""
    classes: list[str]
    train: int | None
    """How many are to train on, where the folder says so itself."""


def pictures(root: Path | str) -> Pictures:
    """What a folder of a user's own holds: train/ and val/ as above, or a folder for each class, or pictures alone.

    Raises:
        DataError: when the folder is missing or empty, holds pictures beside folders, or a class without pictures.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; name one that holds pictures, or a folder of them for each class.")
    names = _below(root)
    loose = sorted(path for path in root.iterdir() if _is_picture(path))
    if {"train", "val"} <= {*names}:
        parts = [image_folder(root, split) for split in ("train", "val")]
        files, labels = ([*getattr(parts[0], part), *getattr(parts[1], part)] for part in ("files", "labels"))
        return Pictures(files, labels, parts[0].classes, len(parts[0]))
    if names and {*names} <= _PARTS:
        raise DataError(
            f"{root} holds {' and '.join(f'{name}/' for name in names)}; call the two parts train/ and val/, or name "
            f"{root / names[0]} alone."
        )
    if not names:
        if not loose:
            raise DataError(f"There are no pictures in {root}; put some there, or name another folder.")
        return Pictures(loose, None, [], None)
    if loose:
        raise DataError(
            f"{root} holds pictures ({loose[0].name}) beside folders ({names[0]}); sort them into the folders of "
            "their classes, or take them away."
        )
    pairs = [(file, number) for number, name in enumerate(names) for file in _images(root / name)]
    return Pictures([file for file, _ in pairs], [number for _, number in pairs], names, None)


def tiny_imagenet(root: Path | str, split: str, size: int = 64, augment: bool | None = None) -> ImageFiles:
    """`image_folder` for a folder that must be in Tiny ImageNet's published layout.

    Raises:
        DataError: as `image_folder`, and when the layout is another.
    """
    root = Path(root)
    if root.is_dir() and not _is_tiny_imagenet(root):
        raise DataError(f"{root} has neither wnids.txt nor val/{ANNOTATIONS}, so it is not Tiny ImageNet: {DOWNLOAD}.")
    return image_folder(root, split, size, augment)


def normalised(pictures: Tensor) -> Tensor:
    """Pictures of bytes, (N, 3, H, W), as float32 with the mean and deviation that `ImageFiles` gives them."""
    mean, deviation = (torch.tensor(each, device=pictures.device).view(3, 1, 1) for each in (MEAN, STD))
    return (pictures.float() / 255 - mean) / deviation


def dataset_name(root: Path | str) -> str:
    """`tiny_imagenet` for its layout, else the folder's own name: part of the name of a run's folder."""
    return "tiny_imagenet" if _is_tiny_imagenet(Path(root)) else Path(root).resolve().name


def check(root: Path | str, threads: int = 8) -> list[Path]:
    """Decodes every image of both splits, and returns those that cannot be read (an empty list when all is well).

    Raises:
        DataError: when the layout itself is wrong.
    """
    files = [file for split in ("train", "val") for file in image_folder(root, split).files]
    with ThreadPoolExecutor(threads) as pool:
        return [file for file, good in zip(files, pool.map(_readable, files), strict=True) if not good]


def _is_tiny_imagenet(root: Path) -> bool:
    return (root / "wnids.txt").is_file() or (root / "val" / ANNOTATIONS).is_file()


def _val_is_sorted(root: Path) -> bool:
    """Whether Tiny ImageNet's validation images were moved into class folders; val/images may be left, empty."""
    return not visible(root / "val" / "images") and bool(set(_below(root / "val")) & set(_below(root / "train")))


def _classes(root: Path) -> list[str]:
    names = _below(root / "train")
    if not names:
        raise DataError(
            f"{root} has no class folders below train/: expected train/<class>/ with images; or {DOWNLOAD}."
        )
    listed = root / "wnids.txt"
    if listed.is_file():
        wanted = set(_lines(listed))
        if missing := sorted(wanted - set(names)):
            raise DataError(f"{listed} names the class {missing[0]}, but there is no folder train/{missing[0]}.")
        names = [name for name in names if name in wanted]
        if not names:
            raise DataError(f"{listed} names no class: {DOWNLOAD}.")
    return names


def _class_folders(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    folder, number = root / "val", {name: i for i, name in enumerate(classes)}
    found = _below(folder)
    if _is_tiny_imagenet(root):  # a class that wnids.txt leaves out is left out here too, and so is what was val/images
        found = [name for name in found if name in number or name not in {"images", *_below(root / "train")}]
    if not found:
        raise DataError(f"{folder} has no class folders: expected val/<class>/ with images, as below train/.")
    for name in found:
        if name not in number:
            raise DataError(f"{folder / name} is a class that train/ lacks; add train/{name} or take that folder away.")
    return [(file, number[name]) for name in found for file in _images(folder / name)]


def _annotated(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    folder, left_out = root / "val", set(_below(root / "train")) - set(classes)  # by wnids.txt
    annotations = folder / ANNOTATIONS
    if not annotations.is_file():
        raise DataError(f"{annotations} is missing: {DOWNLOAD}.")
    number = {name: i for i, name in enumerate(classes)}
    there = {path.name for path in _images(folder / "images")}
    pairs = []
    for line in _lines(annotations):
        name, wnid = (*line.split(maxsplit=2), "")[:2]
        if wnid in left_out:
            continue
        if wnid not in number:
            raise DataError(f"{annotations} gives {name} the class {wnid or '(none)'}, which is not among the classes.")
        if name not in there:
            raise DataError(f"{annotations} names {name}, but there is no such image in {folder / 'images'}.")
        pairs.append((folder / "images" / name, number[wnid]))
    if not pairs:
        raise DataError(f"{annotations} names no image of a class: {DOWNLOAD}.")
    return pairs


def _images(folder: Path) -> list[Path]:
    """All images below a folder, at any depth, in a fixed order."""
    files = [path for path in visible(folder) if _is_picture(path)]
    if not files:
        raise DataError(f"There are no images in {folder}; put some there or take the folder away.")
    return files


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMG_EXTENSIONS and path.name[0] != "." and path.is_file()


def _below(folder: Path) -> list[str]:
    """The names of the folders in a folder, without hidden ones."""
    children: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in children if path.is_dir() and not path.name.startswith("."))


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text; get the file again.") from error


def load_picture(path: Path) -> Image.Image:
    """One picture: RGB, 8 bits a channel, upright.

    Raises:
        DataError: naming the file, when it cannot be decoded, or does not say what is white.
    """
    try:
        with Image.open(path) as image:
            image.load()
            with contextlib.suppress(Exception):  # a damaged note of the camera is no reason to go without the picture
                ImageOps.exif_transpose(image, in_place=True)
            return _eight_bits(image).convert("RGB")
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError and their own kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"The image {path} cannot be read ({reason}); replace or remove it "
            "(mobius_lib.datasets.image_folder.check lists all such files)."
        ) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own `convert` cuts off all that is above 255, so that such pictures come out white."""
    # Pillow opens 16 bits of grey as "I;16…", but those of a PGM file as "I"; of 16 bits in colour it takes the upper 8
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        tags = getattr(image, "tag_v2", {})  # of a TIFF file, which may have 12 bits, and call 0 white
        upper = np.asarray(image) >> (tags.get(BITSPERSAMPLE, (16,))[0] - 8)
        return Image.fromarray((255 - upper if tags.get(PHOTOMETRIC_INTERPRETATION) == 0 else upper).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are floating-point, 32-bit or signed numbers; save it with 8 or 16 bits a channel")
    return image


def _readable(path: Path) -> bool:
    try:
        load_picture(path)
    except DataError:
        return False
    return True
