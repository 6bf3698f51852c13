"""Texts of chapter 5's runs: what is held out is nowhere in training, and a text is read in order and scored once."""

from itertools import pairwise

import pytest
import torch

from mobius_lib.datasets import text
from mobius_lib.runs import RunError
from mobius_lib.runs.twistor import books as book


def test_held_out_books_are_nowhere_in_training():
    training = book.training_books()
    assert len(training) == 66 - len(book.TEST) - len(book.VALIDATION) == 57
    assert not set(training) & {*book.TEST, *book.VALIDATION} and not set(book.TEST) & set(book.VALIDATION)
    texts, letters = text.books(), book.alphabet()
    learned = "".join(letters[n] for n in book.characters(training).tolist())
    assert learned == "\n".join(texts[name] for name in training)
    for name in book.TEST + book.VALIDATION:
        lines = [line for line in texts[name].split("\n") if len(line) > 120]
        found = [line for line in lines if line in learned]
        assert len(found) <= 0.02 * len(lines), name  # the Bible repeats a verse here and there


def test_streams_go_on_where_they_stopped():
    whole = torch.arange(101)
    streams = book.Streams(whole, rows=3, length=5, steps=4, seed=1)
    batches = [batch for epoch in range(3) for batch in streams.epoch(epoch)]
    assert len(streams) == 4 and streams.samples == 60 and len(batches) == 12
    for (x, y), (later, _) in pairwise(batches):
        assert torch.equal(y.view(3, 5)[:, :-1], x[:, 1:]) and torch.equal(y.view(3, 5)[:, -1], later[:, 0])
    read = torch.cat([x for x, _ in batches], dim=1)
    assert torch.equal((read[:, 1:] - read[:, :-1]) % 101, torch.ones(3, 59, dtype=torch.int64)), "in order, and around"
    assert torch.equal(streams.shown(3), read.flatten())
    assert torch.equal(batches[4][0], next(streams.epoch(1))[0])
    other = next(book.Streams(whole, 3, 5, 4, seed=2).epoch(0))[0]
    assert not torch.equal(other, batches[0][0])


def test_pieces_score_each_character_once():
    for length, piece in ((100, 30), (100, 99), (101, 7), (5, 30)):
        pieces = book.Pieces(torch.arange(length), piece, rows=2)
        scored = torch.cat([y for _, y in pieces.epoch(0)])
        assert torch.equal(scored, torch.arange(1, pieces.samples + 1)) and pieces.samples > length - 1 - len(pieces.x)
        assert len(list(pieces.epoch(0))) == len(pieces)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: book.Streams(torch.arange(9), 3, 5, 1, 0), "too few for 3 rows of 5"),
        (lambda: book.Pieces(torch.arange(1), 5), "of 1 characters"),
        (lambda: book.encode("ab☃", "ab"), "'☃', which is not in the alphabet"),
    ],
)
def test_bad_text(make, says):
    with pytest.raises(RunError, match=says):
        make()
