"""Which words stand near which: the matrix D that chapter 4's ladder compresses.

Source: D = log(1 + counts) within a window, as in the MetaMobius note; the counting is ours.
"""

import numpy as np
import torch
from torch import Tensor

from mobius_lib.gauge.base import as_tensor

OUTSIDE = -1
"""A token outside the vocabulary: it keeps its place, so that distances stay right, and is not counted."""

KEYS = 2**26
"""Pairs that are sorted at once: 512 MiB. Sorting is faster than a table of all V^2 pairs, and needs none."""


def check_tokens(tokens: Tensor | np.ndarray, vocabulary: int, window: int) -> Tensor:
    """The tokens as int64 on the CPU.

    Raises:
        ValueError: a vocabulary of fewer than two words, no tokens, a window below 1 or as long as the text, or a token
            that is neither a number of the vocabulary nor `OUTSIDE`.
    """
    if vocabulary < 2:
        raise ValueError(f"vocabulary must hold at least 2 words to stand beside each other, not {vocabulary}.")
    tokens = as_tensor(tokens)
    if not isinstance(tokens, Tensor) or tokens.dim() != 1 or tokens.is_floating_point() or tokens.is_complex():
        raise ValueError("tokens must be a list of whole numbers, one per word of the text: a (T,) int64 tensor.")
    if not len(tokens):
        raise ValueError("tokens is empty; give a text of at least 2 words.")
    if not 1 <= window < len(tokens):
        raise ValueError(
            f"window={window} does not fit a text of {len(tokens)} tokens; it must be from 1 to {len(tokens) - 1}."
        )
    tokens = tokens.detach().cpu().long()
    low, high = tokens.min().item(), tokens.max().item()
    if low < OUTSIDE or high >= vocabulary:
        wrong = high if high >= vocabulary else low
        raise ValueError(
            f"tokens holds {wrong}, which is not in a vocabulary of {vocabulary} words (0 to {vocabulary - 1}); number "
            f"a word outside it {OUTSIDE}."
        )
    return tokens


def pair_counts(tokens: Tensor, vocabulary: int, window: int) -> tuple[Tensor, Tensor]:
    """How often word j stands 1 to `window` places after word i, sparse.

    Args:
        tokens: (T,), numbers 0 ... vocabulary-1, or `OUTSIDE`.
        vocabulary: V, how many words there are.
        window: the largest distance.
    Returns:
        pairs (2, P) int64, sorted, of those that occur; and their counts (P,) int64. The counts add up to the pairs of
        places at a distance of 1 to `window` whose words are both in the vocabulary.
    Raises:
        ValueError: as `check_tokens`.
    """
    ids = check_tokens(tokens, vocabulary, window).numpy()
    found, waiting = [], []
    for distance in range(1, window + 1):
        first, second = ids[:-distance], ids[distance:]
        waiting.append((first * vocabulary + second)[(first >= 0) & (second >= 0)])
        if sum(map(len, waiting)) > KEYS or distance == window:
            found.append(_runs(np.concatenate(waiting)))
            waiting = []
    keys, counts = found[0]
    if len(found) > 1:
        keys, place = np.unique(np.concatenate([keys for keys, _ in found]), return_inverse=True)
        counts = np.zeros(len(keys), dtype=np.int64)
        start = 0
        for _, more in found:
            counts[place[start : start + len(more)]] += more  # no pair stands twice in one of them
            start += len(more)
    both = torch.from_numpy(keys)
    return torch.stack((both // vocabulary, both % vocabulary)), torch.from_numpy(counts)


def _runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What occurs, sorted, and how often; np.unique does the same with twice the passes. Sorts in place."""
    keys.sort()
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
    return keys[starts], np.diff(starts, append=len(keys))


def cooccurrence_counts(tokens: Tensor, vocabulary: int, window: int) -> Tensor:
    """How often two words stand within a window of each other, in either order.

    Laws: symmetric; sums to twice the counts of `pair_counts`; a reversed text gives the same.

    Args:
        tokens, vocabulary, window: as `pair_counts`.
    Returns:
        (V, V) float32: exact up to 2^24 of a pair.
    Raises:
        ValueError: as `check_tokens`.
    """
    pairs, counts = pair_counts(tokens, vocabulary, window)
    result = torch.zeros(vocabulary**2)
    counts = counts.float()
    for first, second in (pairs, pairs.flip(0)):
        result.index_add_(0, first * vocabulary + second, counts)
    return result.view(vocabulary, vocabulary)


def log_cooccurrence(tokens: Tensor, vocabulary: int, window: int) -> Tensor:
    """D = log(1 + counts): (V, V) float32, symmetric, not negative.

    Args:
        tokens, vocabulary, window: as `pair_counts`.
    Raises:
        ValueError: as `check_tokens`.
    """
    return cooccurrence_counts(tokens, vocabulary, window).log1p_()
