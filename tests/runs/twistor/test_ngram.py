"""N-grams: against counting by hand, and that they are probabilities."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from mobius_lib.runs.twistor.ngram import NGrams
from tests.runs.twistor.small import V, tokens


def test_ngrams_add_up_to_one_after_any_context():
    grams = NGrams(tokens(400), V, 4)
    draw = torch.Generator().manual_seed(3)
    for context in [tokens(400)[50:60], *(torch.randint(V, (n,), generator=draw) for n in (1, 2, 3, 4, 9) * 5)]:
        each = [[p[-1] for p in grams.probabilities(np.append(context.numpy(), letter))] for letter in range(V)]
        for order in range(4):
            column = [row[order] for row in each]
            assert sum(column) == pytest.approx(1, abs=1e-12) and min(column) > 0


def test_ngrams_by_counting():
    seen = tokens(300).tolist()

    def p(context: tuple[int, ...], letter: int, length: int) -> float:
        if length < 0:
            return 1 / V
        h = context[len(context) - length :]
        after = [seen[i + length] for i in range(len(seen) - length) if tuple(seen[i : i + length]) == h]
        lower = p(context, letter, length - 1)
        if not after:
            return lower
        kinds = len(set(after))
        return (Counter(after)[letter] + kinds * lower) / (len(after) + kinds)

    held = tokens(80, seed=1).tolist()
    bits = NGrams(torch.tensor(seen), V, 3).bits(torch.tensor(held))
    for order in (1, 2, 3):
        surprise = [-math.log2(p(tuple(held[:i]), held[i], min(i, order - 1))) for i in range(1, len(held))]
        assert bits[order - 1] == pytest.approx(sum(surprise) / len(surprise), abs=1e-9)


def test_order_is_chosen_and_bounded():
    grams, order = NGrams.chosen(tokens(3_000), tokens(500, seed=1), V, 5)
    bits = grams.bits(tokens(500, seed=1))
    assert bits[order - 1] == min(bits) and 2 <= order < 5, "each character depends on the one before, and no other"
    assert grams.stored(1) == V
    for wrong in (0, 40):
        with pytest.raises(ValueError, match="order must lie between 1 and 18"):
            NGrams(tokens(50), V, wrong)
