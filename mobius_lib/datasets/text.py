"""Text as numbers: the King James Bible, or any text file, as words numbered by frequency.

The King James Bible is embedded: 66 books, 31,102 verses, about 790,000 words of 12,800 kinds. Square brackets, with
which its source marks words that the translators added, are left out; the words stay. Source, licence and hash:
data/README.md.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import regex
import torch
from torch import Tensor

from mobius_lib.datasets import paths
from mobius_lib.errors import DataError

OUTSIDE = -1
"""The number of a word that the vocabulary does not hold. It keeps its place, so that distances stay right."""

_BOUNDS = {"law": 5, "history": 17, "poetry": 22, "major prophets": 27, "minor prophets": 39, "gospels and acts": 44,
           "letters": 65, "revelation": 66}  # fmt: skip
"""The last book of each group, counted from 1, in the order of the King James Bible."""
# Letters with the accents, vowel signs and points on them, and the joiners without width of Indic and Persian script.
# Between letters: apostrophes, hyphens, the point of Catalan, geresh and gershayim of Hebrew.
_LETTERS = r"\p{L}[\p{L}\p{M}\u200c\u200d]*"
_WORD = regex.compile(rf"{_LETTERS}(?:['’‐‑·׳״-]{_LETTERS})*")


def king_james() -> str:
    """The whole text, verses in their order, one verse a line.

    Raises:
        DataError: when the embedded file is missing or damaged.
    """
    return "\n".join(books().values())


def digest() -> dict[str, str]:
    """What a record says of the text it was made from: its SHA-256."""
    return {"King James Bible": hashlib.sha256(king_james().encode()).hexdigest()}


@cache
def books() -> Mapping[str, str]:
    """Each book's name to its text, one verse a line, in their order from Genesis to Revelation; read-only.

    Raises:
        DataError: as `king_james`.
    """
    blocks = paths.content("king_james.txt.gz").decode().split("\n\n")
    return MappingProxyType(dict(block.split("\n", 1) for block in blocks))


def book_groups() -> dict[str, tuple[str, ...]]:
    """The customary groups of books: law, history, poetry, prophets, gospels and acts, letters, revelation."""
    names = list(books())
    starts = [0, *_BOUNDS.values()]
    return {group: tuple(names[start:end]) for (group, end), start in zip(_BOUNDS.items(), starts, strict=False)}


def text_file(path: str | Path) -> str:
    """A text of your own.

    Args:
        path: of a file in UTF-8.
    Raises:
        DataError: missing, unreadable, not UTF-8, or without a word.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no text file {path}; name a file in UTF-8.")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8 first.") from error
    except OSError as error:
        raise DataError(f"{path} could not be read ({error.strerror}); check the file and your right to it.") from error
    if not _WORD.search(text):
        raise DataError(f"{path} holds no word; name a file with text.")
    return text


def split_words(text: str) -> list[str]:
    """The words in their order, in small letters; an apostrophe or hyphen inside a word belongs to it.

    A letter and the marks on it stay together, and are one form (Unicode's NFC) however they were written. Scripts that
    put no space between words are not parted: a line of Chinese or Thai is one word.
    """
    return _WORD.findall(unicodedata.normalize("NFC", text.lower().replace("\u00ad", "")))  # without soft hyphens


def words(text: str, size: int | None = None) -> tuple[Tensor, list[str]]:
    """Words numbered by frequency: 0 is the most frequent; of equally frequent ones the alphabet decides.

    Args:
        text: any.
        size: how many words the vocabulary has at most; None takes all. Rarer words are numbered `OUTSIDE` (-1).
    Returns:
        (T,) int64, one number for each word of the text; and the vocabulary.
    Raises:
        DataError: a text without a word, or size < 1.
    """
    if size is not None and size < 1:
        raise DataError(f"size must be at least 1 word, not {size}; None takes all.")
    found = split_words(text)
    if not found:
        raise DataError("text holds no word; give a text with letters in it.")
    counts = Counter(found)
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))[:size]
    return _numbers(found, vocabulary), vocabulary


def encode(text: str, vocabulary: Sequence[str]) -> Tensor:
    """The words of another text by the numbers of a vocabulary; `OUTSIDE` (-1) for a word that is not in it.

    Args:
        text: any, also without a word.
        vocabulary: as `words` returns it.
    Returns:
        (T,) int64.
    Raises:
        DataError: an empty vocabulary, or one that holds a word twice.
    """
    if not vocabulary or len(set(vocabulary)) != len(vocabulary):
        raise DataError("vocabulary must hold at least one word, and none twice; take the one that words() returns.")
    return _numbers(split_words(text), vocabulary)


def _numbers(found: list[str], vocabulary: Sequence[str]) -> Tensor:
    number = {word: place for place, word in enumerate(vocabulary)}
    ids = np.fromiter((number.get(word, OUTSIDE) for word in found), dtype=np.int64, count=len(found))
    return torch.from_numpy(ids)
