"""The run twistor-length: what grows with the text and what does not, and the presets in training."""

import json

import torch

from mobius_lib.runs.twistor import length as twistor_length
from mobius_lib.twistor import create_full_config


def test_record_of_the_lengths(monkeypatch):
    sizes = twistor_length.Sizes((128, 256, 512), 1, dim=8, levels=2)
    # attention holds a matrix of (length x length) floats for each of its 4 heads: two of them are more than this
    monkeypatch.setattr(twistor_length, "LIMIT", 8 * 400**2 * 4)
    found = twistor_length.compute(twistor_length.nothing(), 0, sizes)
    json.dumps(found, allow_nan=False)
    assert set(found) == set(twistor_length.LENGTH_ARMS)
    attention = found["attention"]
    assert attention["memory_by_length"]["512"] is None is attention["seconds_by_length"]["512"]
    assert attention["memory_by_length"]["256"] > 4 * 256**2 * 4
    memory = {name: row["memory_by_length"] for name, row in found.items()}
    # a quarter more at most: what does not depend on the length makes it less
    assert 1.5 * memory["twistor"]["256"] < memory["twistor"]["512"] < 2.5 * memory["twistor"]["256"]
    assert memory["streaming"]["512"] < 1.1 * memory["streaming"]["256"], "a state of one size"
    for row in found.values():
        assert row["seconds_by_length"]["256"] > 0
        assert row["memory_per_character"]["256"] == row["memory_by_length"]["256"] / 256


def test_streaming_of_the_lengths_gives_the_whole_texts_logits():
    sizes = twistor_length.SIZES["quick"]
    torch.manual_seed(0)
    model = twistor_length.make_models(sizes)["twistor"].eval()
    given = torch.randint(twistor_length.VOCABULARY, (1, 300))
    whole = twistor_length._whole(model, given)
    assert torch.allclose(twistor_length._stream(model, given), whole[:, 256:], atol=1e-4)  # float32, 300 steps


def test_training_of_a_preset(monkeypatch):
    monkeypatch.setattr(
        twistor_length,
        "create_full_config",
        lambda name, vocab: create_full_config(name, vocab, dim=8, num_nested_levels=2),
    )
    for name in ("small", twistor_length.MIXED):
        found = twistor_length._training(name, 0, 1, torch.device("cpu"))
        # weights, gradients and two moments of four bytes each, and something to compute with
        assert found["training_memory_mb"] * 2**20 > 16 * found["parameters"]
        assert found["forward_ms"] > 0 and found["step_ms"] > 0


def test_arms_of_the_full_lengths_are_those_that_claims_name():
    arms = set(twistor_length.RUN.at("full").arms)
    assert {"small", "medium", "recommended", "large", "recommended, mixed"} <= arms
