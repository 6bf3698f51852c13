"""Counting pairs: against a double loop, its laws, and bad input."""

from collections import Counter

import pytest
import torch

from mobius_lib.gauge import cooccurrence as module
from mobius_lib.gauge import cooccurrence_counts, log_cooccurrence, pair_counts


def drawn(length=400, vocabulary=17, seed=0, outside=False):
    tokens = torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(seed))
    if outside:
        tokens[::5] = -1
    return tokens


def by_loops(tokens, window):
    found = Counter()
    for place, first in enumerate(tokens.tolist()):
        for second in tokens[place + 1 : place + 1 + window].tolist():
            if first >= 0 and second >= 0:
                found[first, second] += 1
    return found


@pytest.mark.parametrize("few", [False, True], ids=["at once", "in parts"])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("window", [1, 5, 50])
def test_against_a_double_loop(monkeypatch, window, outside, few):
    if few:
        monkeypatch.setattr(module, "KEYS", 700)
    tokens = drawn(outside=outside)
    pairs, counts = pair_counts(tokens, 17, window)
    expected = by_loops(tokens, window)
    assert dict(zip(map(tuple, pairs.mT.tolist()), counts.tolist(), strict=True)) == dict(expected)
    assert list(map(tuple, pairs.mT.tolist())) == sorted(expected)
    both = cooccurrence_counts(tokens, 17, window)
    for i in range(17):
        for j in range(17):
            assert both[i, j] == expected[i, j] + expected[j, i]
    torch.testing.assert_close(log_cooccurrence(tokens, 17, window), torch.log1p(both))


def test_laws():
    tokens = drawn(1000, outside=True)
    d = cooccurrence_counts(tokens, 17, 15)
    assert torch.equal(d, d.mT)
    assert torch.equal(d, cooccurrence_counts(tokens.flip(0), 17, 15))
    assert d.sum() == 2 * pair_counts(tokens, 17, 15)[1].sum()
    kept = (tokens >= 0).long()
    assert d.sum() == 2 * sum((kept[:-s] * kept[s:]).sum() for s in range(1, 16))
    # a word outside keeps its place: words two places apart are not within a window of one
    assert cooccurrence_counts(torch.tensor([0, -1, 1]), 2, 1).sum() == 0


def test_a_text_without_any_pair_inside_the_vocabulary():
    pairs, counts = pair_counts(torch.tensor([-1, -1, 1, -1]), 2, 2)
    assert pairs.shape == (2, 0) and counts.shape == (0,)
    assert cooccurrence_counts(torch.tensor([-1, -1, 1, -1]), 2, 2).sum() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((torch.tensor([], dtype=torch.int64), 5, 1), "tokens is empty"),
        ((torch.tensor([0, 0, 0]), 1, 1), "vocabulary must hold at least 2 words"),
        ((torch.tensor([0, 1, 0]), 2, 3), "window=3 does not fit a text of 3 tokens; it must be from 1 to 2"),
        ((torch.tensor([0, 1, 0]), 2, 0), "window=0 does not fit"),
        ((torch.tensor([0, 2, 0]), 2, 1), "tokens holds 2, which is not in a vocabulary of 2 words"),
        ((torch.tensor([0, -2, 0]), 2, 1), "tokens holds -2"),
        ((torch.tensor([0.0, 1.0]), 2, 1), "tokens must be a list of whole numbers"),
        ((torch.zeros(2, 2, dtype=torch.int64), 2, 1), "tokens must be a list of whole numbers"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        cooccurrence_counts(*arguments)
