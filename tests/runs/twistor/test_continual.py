"""The run twistor-continual: its groups, what is forgotten, and the course in which one group has another alphabet."""

import json
from dataclasses import replace
from itertools import chain

import pytest
import torch

from mobius_lib.runs import execute
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor import continual as twistor_continual
from tests.runs.computed import at_sizes

COURSE = twistor_continual.Course(
    replace(twistor_continual.SIZES["quick"].model, training=8_000, validation=600, test=1_000), steps=4, intervals=2
)


def test_groups_part_the_books():
    learned = [book.training_books(parts) for parts in twistor_continual.GROUPS.values()]
    assert sorted(chain(*learned)) == sorted(book.training_books())
    for books in (book.TEST, book.VALIDATION):
        parts = [twistor_continual.held_out(books, group) for group in twistor_continual.GROUPS]
        assert all(parts) and sorted(chain(*parts)) == sorted(books)


def test_record_of_the_continual_run():
    run = at_sizes("twistor-continual", twistor_continual.fields(COURSE))
    record = execute(run, "quick", seeds=1, progress=False)
    json.dumps(record, allow_nan=False)
    arms = {name: rows[0] for name, rows in record["arms"].items()}
    assert set(arms) == set(twistor_continual.ARMS)
    assert arms["lstm"]["parameters"] == pytest.approx(arms["twistor"]["parameters"], rel=0.02)
    for name, row in arms.items():
        if "mixed" in name:
            assert "forgetting" not in row and len(row["bits"]) == 1 and len(row["history"][0]) == 2
            continue
        bits = row["bits"]
        lost = [bits[2][0] - bits[0][0], bits[2][1] - bits[1][1]]
        assert row["forgetting_by_group"] == pytest.approx(lost) and row["forgetting"] == pytest.approx(sum(lost) / 2)
        assert len(row["history"]) == 3 and row["bits_per_character"] == pytest.approx(sum(bits[2]) / 3)


def test_groups_that_contradict_each_other(monkeypatch):
    """One of them in another alphabet; and all groups together in as many stages, each reading on."""
    run = at_sizes("twistor-continual", twistor_continual.fields(replace(COURSE, contrary="poetry and prophets")))
    one, other = twistor_continual.Continual(COURSE), run.compute
    plain, permuted = one.load(), other.load()
    assert one.lengths == other.lengths
    for ours, theirs, lengths in zip(
        (*plain.train, plain.test[0]), (*permuted.train, permuted.test[0]), one.lengths, strict=True
    ):
        first, second, third = zip(ours.split(lengths), theirs.split(lengths), strict=True)
        assert torch.equal(*first) and torch.equal(*third)
        pairs = set(zip(*(part.tolist() for part in second), strict=True))
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs), "one letter for one letter"
        assert sum(a == b for a, b in pairs) < 0.2 * len(pairs), "of 66 letters one stays, on average"
    seen = []
    train = twistor_continual.train
    monkeypatch.setattr(
        twistor_continual,
        "train",
        lambda model, streams, *a, **k: seen.append(streams) or train(model, streams, *a, **k),
    )
    arms = {name: rows[0] for name, rows in execute(run, "quick", seeds=1, progress=False)["arms"].items()}
    assert set(arms) == set(twistor_continual.LONG_ARMS)
    for name, row in arms.items():
        assert [len(stage) for stage in row["history"]] == [2, 2, 2] and len(row["bits"]) == 3
        assert ("forgetting" in row) != ("mixed" in name) and row["learned"] > 0
    stages = seen[-3:]  # of the last arm, which is mixed
    once = book.Streams(stages[0].tokens, COURSE.model.rows, COURSE.model.length, 12, 0)
    expected = torch.cat([x for x, _ in once.epoch(0)], dim=1)
    found = torch.cat([x for each in stages for number in range(2) for x, _ in each.epoch(number)], dim=1)
    assert torch.equal(found, expected), "as one stage of all steps would read"
