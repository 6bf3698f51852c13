"""A result in words: what a difference can say where a search of learning rates ended at its edge."""

import pytest

from mobius_lib.runs.summary import difference_in_words, edge_of_search, table


def record(first: float, second: float, **best: float) -> dict:
    """Two arms of three seeds, and the best of the rates 0.001, 0.003 and 0.01 for those that searched."""
    arms = {
        name: [{"final_accuracy": mean + seed / 1000} for seed in (-1, 0, 1)]
        for name, mean in (("a", first), ("b", second))
    }
    held_out = {"0.001": 0.5, "0.003": 0.5, "0.01": 0.5}
    return {"arms": arms, "tuning": {arm: {"lr": rate, "held_out": held_out} for arm, rate in best.items()}}


@pytest.mark.parametrize(("rate", "edge"), [(0.001, "smallest"), (0.003, None), (0.01, "largest")])
def test_the_edge_of_a_search(rate: float, edge: str | None) -> None:
    assert edge_of_search(record(0.8, 0.7, a=rate), "a") == edge
    assert edge_of_search(record(0.8, 0.7, a=rate), "b") is None
    assert edge_of_search({"arms": {}}, "a") is None


def test_who_is_behind_at_the_edge_of_its_search_may_not_be() -> None:
    words = difference_in_words(record(0.7, 0.8, a=0.01, b=0.003), "a", "b")
    assert words.endswith(
        "so a is worse than b here at these rates; undecided, because a's best rate was the largest tried."
    )
    # who is ahead could only gain
    assert difference_in_words(record(0.8, 0.7, a=0.01, b=0.003), "a", "b").endswith("so a is better than b here.")
    both = difference_in_words(record(0.8, 0.8, a=0.01, b=0.001), "a", "b")
    assert "a's best rate was the largest tried and b's best rate was the smallest tried" in both
    assert "undecided" not in difference_in_words(record(0.7, 0.8, a=0.003, b=0.01), "a", "b")


def test_an_arm_can_be_marked() -> None:
    found = record(0.8, 0.7) | {"cost": {}}
    for row in (*found["arms"]["a"], *found["arms"]["b"]):
        row["parameters"] = 10
    assert [line.split("|")[1].strip() for line in table(found, ["b"]).splitlines()[2:]] == ["a", "b †"]
    assert "†" not in table(found)
