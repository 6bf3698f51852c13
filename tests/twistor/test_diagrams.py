"""The four pictures say what the model is: another model has other ones."""

from xml.etree import ElementTree

import pytest

from mobius_lib.twistor.diagrams import NAMES, diagrams


def words(picture) -> list[str]:
    return [each.text for each in ElementTree.fromstring(picture.data).iter("text")]


def test_they_are_drawn_from_the_model(model):
    m = model(continuum_levels=1, slot_bits=8)
    m.train()
    found = {name: words(picture) for name, picture in diagrams(m, 5).items()}
    assert list(found) == ["data flow", "components", "memory update", "nested levels"] and m.training
    flow = found["data flow"]
    assert [each for each in flow if each in NAMES] == list(NAMES)  # in the order in which they are called
    assert "5 × 16" in flow and flow[-1] == "5 × 11"
    counts = [int(each.split()[0].replace(",", "")) for each in found["components"] if "parameters" in each]
    assert sum(counts) == sum(p.numel() for p in m.parameters())
    assert "read by phases, kept in 8 bits" in found["memory update"] and "3 × 16" in found["memory update"]
    levels = found["nested levels"]
    assert levels[::3] == ["level 0: each step", "level 1: every 2 steps", "level 2: every 4 steps"]
    assert levels[7] == "learning rate × 0.81"


@pytest.mark.parametrize("left_out", ["memory", "nested_learning"])
def test_what_a_model_does_not_have_is_not_drawn(model, left_out):
    found = diagrams(model(**{f"use_{left_out}": False, "bidirectional": True, "use_mobius": False}))
    assert len(found) == 3 and left_out.split("_")[0] not in words(found["data flow"])
    assert "continuum" not in words(found["data flow"]) and "both ways" in found["data flow"].data
