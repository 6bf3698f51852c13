"""What chapter 4's pages print of a record."""

import pytest

from mobius_lib.runs.gauge.summary import (
    gap,
    guesses,
    in_words,
    lead,
    leads,
    network_table,
    per_seed,
    points,
    retrained_table,
)


def _record() -> dict:
    """Two arms beside the network itself and its 4 bits, three seeds; the SVD is ahead, the rung only guesses."""

    def rows(accuracy: float, **own: object) -> list[dict]:
        found = [
            {"final_accuracy": accuracy + seed / 1000, "bits": 64, "ratio_in_bits": 4.0, "relative_error": 0.5, **own}
            for seed in range(3)
        ]
        return [{"rows": [row]} for row in found]

    arms = {"dense": rows(0.9, bits=256, ratio_in_bits=1.0), "4 bits": rows(0.89)}
    arms |= {"L5": rows(0.1, terms=8), "SVD": rows(0.8, terms=8, beside="L5")}
    return {"arms": arms, "sizes": {"test": 1000}}


def test_rows_are_found_and_averaged():
    record = _record()
    assert per_seed(record, "SVD", "final_accuracy", terms=8) == [0.8, 0.801, 0.802]
    (row,) = points(record, "SVD", terms=8)
    assert row["final_accuracy"] == pytest.approx(0.801) and row["beside"] == "L5"
    assert points(record, "SVD", terms=16) == []
    with pytest.raises(ValueError, match="unpack"):
        per_seed(record, "SVD", "final_accuracy", terms=16)


def test_who_is_ahead():
    record = _record()
    found = gap(record, ("L5", {}), ("SVD", {}), "final_accuracy", terms=8)
    assert found.mean == pytest.approx(-0.7)
    assert in_words(found, 1, ("L5", "SVD"), lower=False).endswith("**SVD**")
    assert in_words(found, 1, ("L5", "SVD")).endswith("**L5**")  # of an error, less is better
    assert lead(record, "L5", "SVD", 8).mean == pytest.approx(-70)
    assert leads(record, [8]).splitlines()[0] == (
        "- N = 8: L5 minus SVD -70.0 (95 % interval -70.0 to -70.0): **SVD is better**"
    )


def test_an_arm_that_guesses_has_no_row():
    record = _record()
    assert guesses(record, "L5", "final_accuracy", terms=8)
    assert not guesses(record, "SVD", "final_accuracy", terms=8)
    table = network_table(record, 8)
    assert "| SVD | 80.1 % ± 0.2 | 8.000 | 4.0 | 0.500 |" in table
    assert "| L5 |" not in table and table.endswith("without a row: L5.")


def test_what_was_trained_on_stands_beside_the_matrices():
    """Bits are told per weight; the differences are paired by seed."""
    arms = {"dense": (3200, 0.9, 0.88), "L5": (113, 0.1, 0.5)}
    record = {
        "arms": {
            arm: [
                {"bits": bits, "replaced_accuracy": before, "final_accuracy": after + seed / 100} for seed in range(3)
            ]
            for arm, (bits, before, after) in arms.items()
        }
    }
    assert retrained_table(record).splitlines() == [
        "| in the place of the layers | bits a weight | accuracy, % | against *dense*, points |",
        "|---|--:|--:|--:|",
        "| dense | 32 | 90.0 → 89.0 |  |",
        "| L5 | 1.13 | 10.0 → 51.0 | -38.0 (-38.0 to -38.0) |",
        "",
        "(95 % intervals over the seeds, each by itself.)",
    ]
