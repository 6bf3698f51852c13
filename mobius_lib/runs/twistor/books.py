"""The King James Bible as characters: books to learn from, books held out, and the order in which they are read."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mobius_lib.datasets import text
from mobius_lib.runs.about import RunError

TEST = ("Judges", "Ecclesiastes", "Daniel", "John", "Hebrews")
"""Held out: what is reported is measured on them. One book at least of history, poetry, prophets, gospels, letters."""
VALIDATION = ("Esther", "Song of Solomon", "Jonah", "1 John")
"""Held out as well: rates and orders are chosen on them, and the curves drawn. No model learns from them."""


def training_books(among: Sequence[str] | None = None) -> list[str]:
    """The books that are learned from, in their order.

    Args:
        among: groups of `text.book_groups` to take them from; None: all.
    """
    groups = text.book_groups()
    named = list(text.books()) if among is None else [book for group in among for book in groups[group]]
    return [book for book in named if book not in TEST + VALIDATION]


def alphabet() -> str:
    """Every character of the King James Bible once, in the order of their code points."""
    return "".join(sorted(set(text.king_james())))


def characters(books: Sequence[str], limit: int | None = None) -> Tensor:
    """Books as numbers in the alphabet: (characters,) int64, at most the first `limit`."""
    texts = text.books()
    return encode("\n".join(texts[book] for book in books)[:limit], alphabet())


def encode(content: str, letters: str) -> Tensor:
    """A text as places in an alphabet, (characters,) int64.

    Raises:
        RunError: for a character that the alphabet does not have.
    """
    place = {letter: number for number, letter in enumerate(letters)}
    if unknown := set(content) - set(place):
        raise RunError(f"content holds {min(unknown)!r}, which is not in the alphabet; leave it out first.")
    return torch.from_numpy(np.fromiter((place[each] for each in content), dtype=np.int64, count=len(content)))


class Streams:
    """A text read at several places at once: each batch goes on where the one before it stopped.

    The rows start evenly spread over the text, all moved by an offset that is drawn with the seed; whoever comes to
    the end goes on at the beginning. So a state may be carried from batch to batch.

    Args:
        tokens: (N,).
        rows: places that are read at once.
        length: characters of each row in a batch.
        steps: batches in an epoch, which is no pass through the text, but the time from one look at the curves to the
            next.
        seed: of the offset.
    Yields:
        x (rows, length) and the characters that follow each, (rows * length,).
    Raises:
        RunError: a text that is too short.
    """

    def __init__(self, tokens: Tensor, rows: int, length: int, steps: int, seed: int) -> None:
        if len(tokens) < rows * (length + 1):
            raise RunError(
                f"The text has {len(tokens)} characters, too few for {rows} rows of {length}; give a longer one."
            )
        self.tokens, self.rows, self.length, self.steps = tokens, rows, length, steps
        offset = torch.randint(len(tokens), (1,), generator=torch.Generator().manual_seed(seed))
        self.starts = ((offset + torch.arange(rows) * len(tokens) // rows) % len(tokens)).to(tokens.device)
        self.samples = steps * rows * length

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        reach = torch.arange(self.length + 1, device=self.tokens.device)
        for step in range(number * self.steps, (number + 1) * self.steps):
            found = self.tokens[(self.starts[:, None] + step * self.length + reach) % len(self.tokens)]
            yield found[:, :-1], found[:, 1:].flatten()

    def shown(self, epochs: int) -> Tensor:
        """What has been read after so many epochs, row after row; no character twice in one row."""
        reach = torch.arange(min(epochs * self.steps * self.length, len(self.tokens)), device=self.tokens.device)
        return self.tokens[(self.starts[:, None] + reach) % len(self.tokens)].flatten()


class Pieces:
    """A held-out text in long pieces of one length, each read from a cold start to its end.

    Args:
        tokens: (N,).
        piece: about how many characters in each; they are evened out, and the few left over at the end are dropped.
        rows: pieces that are read at once.
    Yields:
        x (rows, piece) and the characters that follow each, (rows * piece,).
    Raises:
        RunError: a text without two characters.
    """

    def __init__(self, tokens: Tensor, piece: int, rows: int = 16) -> None:
        if len(tokens) < 2:
            raise RunError(f"A held-out text of {len(tokens)} characters has nothing to foretell; give a longer one.")
        count = max(1, round((len(tokens) - 1) / piece))
        size = (len(tokens) - 1) // count
        self.x = tokens[: count * size].view(count, size)
        self.y = tokens[1 : count * size + 1].view(count, size)
        self.rows, self.samples = rows, count * size

    def __len__(self) -> int:
        return -(-len(self.x) // self.rows)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in zip(self.x.split(self.rows), self.y.split(self.rows), strict=True):
            yield x, y.flatten()
