"""The run twistor-recall: what is asked was told, nothing else tells it, and the arms are of one size."""

import json

import pytest
import torch

from mobius_lib.runs.twistor import recall
from tests.runs.computed import at_sizes, two_seeds

SIZES = recall.Sizes(2, 4, 8, 3, judged=20)


@pytest.fixture(scope="module")
def record() -> dict:
    return two_seeds("twistor-recall", recall.fields(SIZES))


def test_what_the_record_says(record):
    json.dumps(record, allow_nan=False)
    assert record["arms"].keys() == recall.ARMS.keys()
    for name, rows in record["arms"].items():
        assert rows[0] != {**rows[1], "seed": 0} and rows[0]["lr"] == rows[1]["lr"], name
        assert min(rows[0]["held_out"], key=rows[0]["held_out"].__getitem__) == f"{rows[0]['lr']:.3g}"
        assert ("frozen_accuracy" in rows[0]) == (name != "lstm")
    still = record["arms"]["frozen"][0]
    assert still["frozen_accuracy"] == still["final_accuracy"]


def test_the_same_seed_gives_the_same(record):
    again = recall.Comparison(SIZES)
    model = again.trained("continuum", 1, record["arms"]["continuum"][1]["lr"])
    assert again.judged(model, 10_001)[1] == record["arms"]["continuum"][1]["cross_entropy"]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_asked_was_told(seed):
    keys, values, asked, answers = recall.task(recall.SIZES["short"], 50, torch.Generator().manual_seed(seed))
    for row in range(50):
        told = dict(zip(keys[row].tolist(), values[row].tolist(), strict=True))
        assert len(told) == 8, "no key twice"
        assert [told[key] for key in asked[row].tolist()] == answers[row].tolist()
        assert sorted(asked[row].tolist()) == sorted(told)
    assert not torch.equal(keys, asked)


def test_frozen_nothing_of_the_pairs_reaches_an_answer():
    torch.manual_seed(0)
    keys, values, asked, _ = recall.task(SIZES, 5, torch.Generator().manual_seed(0))
    others = (values + 1) % SIZES.kinds
    for name, moved in (("frozen", False), ("self-modifying", True), ("lstm", True)):
        model = recall.Recall(recall.ARMS[name](8), 8, 4)
        with torch.no_grad():
            assert torch.equal(model(keys, values, asked), model(keys, others, asked)) != moved, name


@pytest.mark.parametrize("scale", list(recall.SIZES))
def test_the_arms_are_of_one_size(scale):
    dim = recall.SIZES[scale].dim
    sizes = {name: sum(p.numel() for p in make(dim).parameters()) for name, make in recall.ARMS.items()}
    assert sizes["self-modifying"] == sizes["frozen"] and sizes["continuum"] == 3 * sizes["frozen"]
    assert abs(sizes["lstm"] / sizes["frozen"] - 1) < (0.05 if scale != "quick" else 0.15)


def test_its_scales_and_cell():
    for scale, sizes in recall.SIZES.items():
        run = recall.RUN.at(scale)
        assert run.compute.sizes == sizes and run.facts()["sizes"]["pairs"] == sizes.pairs
    found = recall.cell(at_sizes("twistor-recall", recall.fields(SIZES)), None, {})
    assert found.keys() == {f"begun {name}" for name in recall.ARMS} and len(set(found.values())) == 4
