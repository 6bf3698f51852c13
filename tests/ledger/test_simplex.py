"""Chapters 2 and 3: what their own checks find, and what their runs must have had."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mobius_lib.ledger import Verdict
from mobius_lib.ledger.base import Missing, Sample
from mobius_lib.ledger.checks import simplex as checks
from mobius_lib.ledger.checks.runs import run_parts
from mobius_lib.ledger.results import Results

WriteRun = Callable[..., Path]


# The numbers themselves, against closed forms and the published model.


def test_the_counts_are_those_added_up_by_hand(without_results: list[Verdict]) -> None:
    found = {v.claim.id: v.measured for v in without_results}
    scales = (384, 512, 768, 1024, 1280)
    assert found["simplex-vertices"] == 5 * 13_000 and found["free-templates"] == 13 * sum(scales) + 5
    assert checks.david_count(pattern="*").value == 63_053_342


def test_the_staircase_leaves_the_unit_interval_by_less_than_alpha(without_results: list[Verdict]) -> None:
    # the least value is near x = 1/2, where it is alpha p_mid + p_right with shares exp(0), exp(-4) and exp(-4)
    (found,) = (v.measured for v in without_results if v.claim.id == "staircase-unit-interval")
    least = (-0.0764 + math.exp(-4)) / (1 + 2 * math.exp(-4))
    assert -0.0764 < -found["α = -0.0764"] <= least + 1e-12


# Runs.


def test_a_state_out_of_reach_decides_nothing(write_run: WriteRun, results: Results) -> None:
    history = [{"lr": 0.01}, {"lr": 0.015}]  # three steps each: 0.075
    rows = [{"w": [w, 0.2], "history": history} for w in (0.5, 0.6)]
    write_run("r", {"configuration": {"train_samples": 250, "batch_size": 100}}, a=rows)
    asked = {"run": "r", "scale": "short", "measure": "w/0", "what": "Weight"}
    for distance, reached in ((0.07, True), (0.08, False)):
        found = checks.run_learned(results, arm="a", distance=distance, **asked)
        assert isinstance(found, Sample) and [gate.open for gate in found.gates] == [True, reached]
    assert len(checks.run_learned(results, arm="a", **asked).gates) == 1
    both = checks.run_learned(results, arm="a", distance=0.07, minus="w/1", **asked)
    assert both.values == pytest.approx((0.3, 0.4))
    away = checks.run_learned(results, arm="a", away_from=0.55, **asked)
    assert away.values == pytest.approx((0.05, 0.05)), "their mean is 0.55, and neither of them is"
    with pytest.raises(Missing):
        checks.run_learned(results, arm="c", distance=1, **asked)


def test_parts_of_a_record_wait_together(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=[{"deep": {"x": 1.0, "y": 2.0}}] * 3)
    ask = {"run": "r", "arm": "a", "scale": "short"}
    found = run_parts(results, measures={"first": "deep/x", "second": "deep/y"}, **ask)
    assert {name: part.values for name, part in found.value.items()} == {"first": (1.0,) * 3, "second": (2.0,) * 3}
    with pytest.raises(Missing):
        run_parts(results, measures={"first": "deep/x", "third": "deep/z"}, **ask)
