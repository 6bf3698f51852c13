"""The run twistor-text: rivals are as large as the twistor, what is measured is what is said, and the record has it."""

import json
import math
from itertools import pairwise

import pytest
import torch

from mobius_lib.runs import execute
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor import text as twistor_text
from mobius_lib.runs.twistor.models import equal_recurrent, equal_transformer
from mobius_lib.runs.twistor.training import bits_of_pieces, bits_per_character, train
from tests.runs.computed import at_sizes
from tests.runs.twistor.small import TINY, V, small, tokens


@pytest.mark.parametrize("scale", ["short", "full"])
def test_rivals_have_equal_parameters(scale):
    models = twistor_text.make_models(twistor_text.SIZES[scale], 76)
    ours = twistor_text.count(models["twistor"]())
    for name in twistor_text.RIVALS:
        assert twistor_text.count(models[name]()) == pytest.approx(ours, rel=0.01), name
    for name in twistor_text.ABLATIONS:
        assert twistor_text.count(models[name]()) < ours, name
    assert set(models) == set(twistor_text.ARMS) - set(twistor_text.COUNTED)


def test_counts_of_the_rivals():
    for parameters in (5_000, 40_000, 459_000):
        for model in (
            equal_recurrent("lstm", parameters, V, 8),
            equal_recurrent("gru", parameters, V, 8),
            equal_transformer(parameters, V, 16),
        ):
            # a wider layer of this size is a step of some hundreds of parameters
            assert abs(twistor_text.count(model) - parameters) < 0.03 * parameters


@pytest.mark.parametrize("name", ["lstm", "gru", "twistor"])
def test_bits_of_a_recurrent_model_are_those_of_character_by_character(name):
    model, content = small(name).eval(), tokens(61)
    surprise, state = [], None
    with torch.no_grad():
        for now, following in pairwise(content):
            logits, state = model.stream(now.view(1, 1), state)
            surprise.append(-torch.log_softmax(logits[0, -1].double(), 0)[following].item() / math.log(2))
    # float32 logits
    assert bits_per_character(model, book.Pieces(content, 60)) == pytest.approx(sum(surprise) / 60, abs=1e-5)


@pytest.mark.parametrize("time", [1, 5, 12, 13, 18, 19, 31, 60])
def test_bits_of_a_transformer_are_those_of_character_by_character(time):
    model, content = small("transformer").eval(), tokens(time + 1)
    surprise = []
    with torch.no_grad():
        for place in range(time):
            # the window that scores this place: the first, or one that begins at a whole half window
            start = 0 if place < 12 else 6 * (place // 6 - 1)
            assert place < 12 or place - start >= 6, "half a window comes before it"
            logits = model.within(content[None, start : place + 1])[0, -1]
            surprise.append(-torch.log_softmax(logits.double(), 0)[content[place + 1]].item() / math.log(2))
    assert bits_per_character(model, book.Pieces(content, time)) == pytest.approx(sum(surprise) / time, abs=1e-5)


@pytest.mark.parametrize("name", ["lstm", "transformer", "twistor"])
def test_bits_of_the_pieces_are_those_of_the_text(name):
    pieces = book.Pieces(tokens(200), 12, rows=4)
    found = bits_of_pieces(small(name), pieces)
    assert len(found) == len(pieces.x)
    assert sum(found) / len(found) == pytest.approx(bits_per_character(small(name), pieces), abs=1e-5)


def test_training_carries_the_state_and_learns():
    streams = book.Streams(tokens(4_000), 4, 8, steps=30, seed=0)
    held = book.Pieces(tokens(400, seed=1), 200)
    before = bits_per_character(small("lstm"), held)
    model = small("lstm")
    seen = []
    kept = model.loss

    def loss(x, y, state=None):
        found = kept(x, y, state)
        seen.append((state, found[2]))
        return found

    model.loss = loss
    outcome = train(model, streams, held, intervals=3, lr=1e-2, seed=0)
    assert seen[0][0] is None
    for (_, left), (taken, _) in pairwise(seen):
        assert all(torch.equal(a, b) and not b.requires_grad for a, b in zip(left, taken, strict=True))
    assert [row["characters"] for row in outcome.history] == [960, 1_920, 2_880]
    assert outcome.history[-1]["validation_bits"] == pytest.approx(bits_per_character(model, held), abs=1e-5)
    assert outcome.history[-1]["validation_bits"] < before - 0.5, "most of a bit of what this text gives away"
    assert all(row["gradient_norm"] > 0 for row in outcome.history) and outcome.skipped_batches == 0


def test_gradient_norm_is_that_before_clipping(monkeypatch):
    model, norms = small("gru"), []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a, **k: norms.append(clip(*a, **k)) or norms[-1])
    outcome = train(
        model, book.Streams(tokens(500), 2, 8, 5, 0), book.Pieces(tokens(50), 50), intervals=2, lr=1e-2, seed=0
    )
    assert len(norms) == 10
    for number, row in enumerate(outcome.history):
        mean = sum(float(norm) for norm in norms[5 * number : 5 * number + 5]) / 5
        assert row["gradient_norm"] == pytest.approx(mean, rel=1e-4)  # sums of float32 in another order


@pytest.fixture(scope="module")
def text_record() -> dict:
    return execute(at_sizes("twistor-text", twistor_text.fields(TINY)), "quick", seeds=1, progress=False)


def test_record_of_the_text(text_record):
    json.dumps(text_record, allow_nan=False)
    assert text_record["command"] == "mobius run twistor-text --scale quick --seeds 1"
    arms = {name: rows[0] for name, rows in text_record["arms"].items()}
    assert set(arms) == set(twistor_text.ARMS)
    for name, row in arms.items():
        assert 0 < row["bits_per_character"] < 12 and row["parameters"] > 0 and row["seconds"] > 0, name
        if name in twistor_text.COUNTED:
            assert row["bits_per_character"] == row["bits_by_order"][str(row["order"])]
            continue
        kind, times = twistor_text.LONGER.get(name, (name, 1.0))
        assert len(row["history"]) == 2 and row["characters"] == row["history"][-1]["characters"] == row["steps"] * 64
        assert row["steps"] == 2 * round(4 * times / 2)
        assert row["lr"] == arms["twistor" if kind in twistor_text.ABLATIONS else kind]["lr"]
    twistor = arms["twistor"]
    assert twistor["pairing_spread"] < 1e-5 and 1 <= twistor["different_memories"] <= 3
    assert twistor["level_weight_change"] > 1, "planned from 0.1 to 1"
    for row in twistor["history"]:
        assert row["level_rates"] == pytest.approx([row["lr"], row["lr"] * 0.9])
        assert len(row["memory_length"]) == 3 and row["constraint"] >= 0
        assert {"training_bits", "validation_bits", "gradient_norm", "level_weights"} <= set(row)
    assert "different_memories" not in arms["no memory"]
    assert arms["n-gram, same text"]["characters"] == twistor["characters"]


def test_same_seed_same_numbers():
    data = twistor_text.load(TINY)

    def curve(seed: int) -> list:
        comparison = twistor_text.Comparison(TINY)
        comparison.prepare(data)
        return comparison.trained("twistor", seed, 1e-2, 4, 2)[1].history

    assert curve(0) == curve(0) != curve(1)
