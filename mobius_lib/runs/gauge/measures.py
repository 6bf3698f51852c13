"""What a user of a compressed co-occurrence matrix would notice: nearest words, and words that it has not seen."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from mobius_lib.datasets.text import OUTSIDE

BLOCK = 1_000
"""Words of a part of the text that is held out as a whole, so that few pairs lie across a border."""
SHARE = 0.1
"""Of the blocks, held out."""
MIXTURES = tuple(tenth / 20 for tenth in range(20))
"""Weights of the matrix beside the frequencies of the words, of which the best is taken; 0: frequencies alone."""
ROWS = 1_024
"""Rows that are worked on at once."""


def held_out_places(words: int, seed: int) -> Tensor:
    """Which words of the text are held out: (words,) bool. A tenth of its blocks, at least one, drawn with the seed."""
    blocks = -(-words // BLOCK)
    drawn = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed))[: max(1, round(SHARE * blocks))]
    held = torch.zeros(blocks, dtype=torch.bool)
    held[drawn] = True
    return held.repeat_interleave(BLOCK)[:words]


class Neighbours(NamedTuple):
    """The nearest words of some words, by the cosine of their rows."""

    words: Tensor
    """(n,) whose neighbours are asked for."""
    nearest: Tensor
    """(n, k)."""

    @classmethod
    def of(cls, d: Tensor, words: int = 200, k: int = 10) -> Self:
        """Of a matrix, for words spread evenly over the ranks; words whose row is zero have no direction, so none."""
        known = d.any(dim=1).nonzero().squeeze(1)
        chosen = known[torch.linspace(0, len(known) - 1, min(words, len(known))).long()]
        return cls(chosen, nearest(d, chosen, min(k, len(d) - 1)))

    def kept(self, approximation: Tensor) -> float:
        """The share of these neighbours that another matrix names as well: 0 ... 1."""
        again = nearest(approximation, self.words, self.nearest.shape[1])
        return (self.nearest.unsqueeze(2) == again.unsqueeze(1)).any(2).double().mean().item()


def nearest(d: Tensor, words: Tensor, k: int) -> Tensor:
    """The k words, other than itself, whose rows have the largest cosine with that of each word: (n, k)."""
    lengths = d.norm(dim=1).clamp_min(torch.finfo(d.dtype).tiny)
    cosines = (d[words] @ d.mT) / lengths
    cosines.scatter_(1, words.unsqueeze(1), -torch.inf)
    return cosines.topk(k, dim=1).indices


class Bigrams(NamedTuple):
    """Pairs of neighbouring words of the held-out text, and how frequent each word is in the other text.

    A matrix W predicts the word j after the word i with

        q(j | i) = m c_ij / sum_j c_ij + (1 - m) f_j,  c = exp(W) - 1 where W > 0, else 0,

    f the frequencies. c undoes D = log(1 + counts). The mixture m is the one that does best on every other pair; what
    is reported is the perplexity of the rest.
    """

    first: Tensor
    second: Tensor
    """(n,) each."""
    frequency: Tensor
    """(V,), one added to each count; adds up to 1."""

    @classmethod
    def of(cls, tokens: Tensor, held: Tensor, vocabulary: int) -> Self:
        """Of a text.

        Args:
            tokens: (T,), `OUTSIDE` for words outside the vocabulary.
            held: (T,), which places are held out.
            vocabulary: V.
        """
        both = held[:-1] & held[1:] & (tokens[:-1] != OUTSIDE) & (tokens[1:] != OUTSIDE)
        counts = tokens[~held & (tokens != OUTSIDE)].bincount(minlength=vocabulary) + 1.0
        return cls(tokens[:-1][both], tokens[1:][both], counts / counts.sum())

    def perplexity(self, w: Tensor | None) -> float:
        """exp of the mean of -log q over the pairs that did not choose m; of the frequencies alone for None."""
        single = self.frequency[self.second].double()
        if w is None:
            return single[1::2].log().mean().neg().exp().item()
        sums = torch.cat([_counts(rows).sum(1, dtype=torch.float64) for rows in w.split(ROWS)])[self.first]
        pairs = _counts(w[self.first, self.second]).double() / sums.clamp_min(torch.finfo(torch.float64).tiny)
        # a row without a positive entry predicts nothing, and leaves it to the frequencies
        pairs = torch.where(sums > 0, pairs, single)
        logs = {m: (m * pairs + (1 - m) * single).log() for m in MIXTURES}
        best = max(MIXTURES, key=lambda m: logs[m][::2].mean().item())
        return logs[best][1::2].mean().neg().exp().item()


def _counts(w: Tensor) -> Tensor:
    # exp(30) is far above any count, and its sums are far from float32's end
    return w.clamp(0, 30).expm1()
