"""A model of characters that is counted and not trained: the floor for those that are."""

import math
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor


class _Level(NamedTuple):
    """The counts of the n-grams of one length."""

    grams: np.ndarray
    """Their codes, sorted."""
    counts: np.ndarray
    contexts: np.ndarray
    """The codes of what stands before their last characters, sorted."""
    totals: np.ndarray
    """How often each context was followed by anything."""
    kinds: np.ndarray
    """By how many different characters."""


class NGrams:
    """Witten and Bell's interpolation: the next character after a context h of k characters has the probability

        p_k(c | h) = (count(h c) + kinds(h) p_(k-1)(c | h without its first)) / (count(h) + kinds(h)),

    kinds(h) the number of different characters that were seen after h, p_(-1) equal for all. A context that was never
    seen leaves it to the shorter one; so the probabilities of all characters add up to 1 after any context.

    Args:
        tokens: (N,) the text to count, N >= 2.
        vocab_size: V.
        order: longest n-gram; the context is one shorter.
    Raises:
        ValueError: an order without a code in 64 bits, or below 1.
    Source:
        Witten and Bell (1991).
    """

    def __init__(self, tokens: Tensor, vocab_size: int, order: int) -> None:
        if order < 1 or order * math.log2(vocab_size) >= 63:
            raise ValueError(f"order must lie between 1 and {int(63 / math.log2(vocab_size))}, not {order}.")
        self.vocab_size, self.order = vocab_size, order
        text = tokens.cpu().numpy()
        self.levels = [self._count(self._codes(text, length)) for length in range(1, order + 1)]

    def bits(self, tokens: Tensor, skip: int = 1) -> list[float]:
        """Mean bits of the characters of a text from the place `skip` on, for every order from 1 to the longest."""
        text = tokens.cpu().numpy()
        return [float(-np.log2(p[skip:]).mean()) for p in self.probabilities(text)]

    def probabilities(self, text: np.ndarray) -> list[np.ndarray]:
        """Of each character of a text after those before it, for every order; at its start contexts are short."""
        p = np.full(len(text), 1 / self.vocab_size)
        found = []
        for length, level in enumerate(self.levels, start=1):
            p = p.copy()
            if len(text) >= length:
                grams = self._codes(text, length)
                counts = _look_up(level.grams, level.counts, grams)
                totals = _look_up(level.contexts, level.totals, grams // self.vocab_size)
                kinds = _look_up(level.contexts, level.kinds, grams // self.vocab_size)
                tail = p[length - 1 :]
                seen = totals > 0
                tail[seen] = ((counts + kinds * tail) / np.where(seen, totals + kinds, 1))[seen]
            found.append(p)
        return found

    def stored(self, order: int | None = None) -> int:
        """Counts that it keeps up to an order: what stands for its parameters."""
        return sum(len(level.grams) for level in self.levels[:order])

    def _codes(self, text: np.ndarray, length: int) -> np.ndarray:
        """Every run of so many characters as a number in the base V, the last character its last digit."""
        places = len(text) - length + 1
        code = np.zeros(places, dtype=np.int64)
        for shift in range(length):
            code = code * self.vocab_size + text[shift : shift + places]
        return code

    def _count(self, codes: np.ndarray) -> _Level:
        grams, counts = np.unique(codes, return_counts=True)
        contexts, first, kinds = np.unique(grams // self.vocab_size, return_index=True, return_counts=True)
        return _Level(grams, counts, contexts, np.add.reduceat(counts, first), kinds)

    @classmethod
    def chosen(cls, tokens: Tensor, validation: Tensor, vocab_size: int, longest: int) -> tuple[Self, int]:
        """Counted, and the order that does best on a held-out text."""
        grams = cls(tokens, vocab_size, longest)
        found = grams.bits(validation)
        return grams, 1 + min(range(longest), key=found.__getitem__)


def _look_up(known: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The values of some codes; 0 for one that is not known."""
    place = np.searchsorted(known, asked).clip(max=len(known) - 1)
    return np.where(known[place] == asked, values[place], 0)
