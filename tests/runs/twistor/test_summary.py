"""What chapter 5's pages print of a record."""

import pytest

from mobius_lib.ledger.stats import interval
from mobius_lib.runs.twistor.summary import SMALLEST, column, gap, in_words, listed, minus

RECORD = {
    "arms": {
        "twistor": [{"bits_per_character": each} for each in (2.0, 2.1, 2.2)],
        "lstm": [{"bits_per_character": each} for each in (1.9, 2.0, 2.1)],
        "n-gram": [{"bits_per_character": 2.5}],
    }
}


def test_seeds_are_paired():
    assert column(RECORD, "lstm", "bits_per_character") == [1.9, 2.0, 2.1]
    assert minus(RECORD, "twistor", "lstm") == pytest.approx([0.1] * 3)
    assert gap(RECORD, "twistor", "lstm").low == pytest.approx(0.1)
    assert listed(RECORD) == {
        "twistor": (2.1, pytest.approx(0.1)),
        "lstm": (2.0, pytest.approx(0.1)),
        "n-gram": (2.5, 0),
    }
    with pytest.raises(ValueError, match="zip"):
        minus(RECORD, "twistor", "n-gram")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1, 0.1, 0.1], "more"),
        ([-0.1, -0.1, -0.1], "less"),
        ([SMALLEST / 10] * 3, "no difference that matters"),
        ([-1.0, 0.0, 1.0], "undecided"),
        ([0.1], "one seed, which says nothing of the spread"),
    ],
)
def test_a_difference_counts_from_the_smallest_on(values: list[float], said: str):
    assert in_words(interval(values), "bits", "less", "more").endswith(f": {said}")
