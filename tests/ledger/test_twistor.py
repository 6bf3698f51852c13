"""Chapter 5: what its own checks find, and what must hold before its runs decide anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobius_lib.ledger import Verdict
from mobius_lib.ledger.base import Missing, Sample
from mobius_lib.ledger.checks import twistor as checks
from mobius_lib.ledger.checks.laws import laws_hold
from mobius_lib.ledger.checks.runs import run_parts
from mobius_lib.ledger.results import Results
from mobius_lib.twistor import PRESETS
from mobius_lib.twistor import math as twistor

WriteRun = Callable[..., Path]


def test_phases_of_normal_numbers_keep_a_quarter_of_pi(judge_one: Callable[..., Verdict]) -> None:
    # a complex normal number has |z|² = 1 and |z| = sqrt(pi)/2 in the mean, so a share 1 - pi/4 is lost
    # 0.002: 20,000 x 64 draws leave 0.0004
    assert judge_one("compression-whole").measured == pytest.approx(1 - torch.pi / 4, abs=0.002)


def test_a_law_that_does_not_hold_is_said_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"chapter": "twistor", "laws": {"angles": "angles_are_kept", "circles": "cross_ratio_is_kept"}}
    assert laws_hold(**asked).value == {"angles": True, "circles": True}
    exact = twistor.mobius
    monkeypatch.setattr(twistor, "mobius", lambda m, z: exact(m, z).conj())
    assert laws_hold(**asked).value == {"angles": False, "circles": True}


# Runs.

SEARCHED = {"lr": 0.01, "parameters": 1000, "held_out": {"0.005": 2.1, "0.01": 2.0, "0.02": 2.2}, "steps": 1000}
ANOTHER = SEARCHED | {"held_out": {"0.005": 2.3, "0.01": 2.1, "0.02": 2.4}}


def bits(*values: float, measure: str = "bits_per_character", **further: Any) -> list[dict[str, Any]]:
    return [{measure: value, **further} for value in values]


def closed(finding: Any) -> list[str]:
    assert isinstance(finding, Sample)
    return [gate.text for gate in finding.gates if not gate.open]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"parameters": 1021}, "the arms have 1,021 and 1,000 parameters"),
        ({"held_out": SEARCHED["held_out"]}, "a and b share one search"),
        ({"held_out": {"0.005": 2.0, "0.01": 1.995, "0.02": 2.2}}, "learning rate of a was chosen by 0.005 bits only"),
        ({"held_out": {"0.005": 2.1, "0.01": 2.0}}, "is the largest tried"),
    ],
)
def test_a_comparison_needs_arms_of_one_size_with_rates_of_their_own(
    write_run: WriteRun, results: Results, change: dict[str, Any], says: str
) -> None:
    write_run("r", a=bits(2.5, 2.4, **ANOTHER | change), b=bits(2.3, 2.3, **SEARCHED))
    found = checks.bits_apart(results, run="r", better="a", than="b")
    assert found.values == pytest.approx((0.2, 0.1))
    assert len(closed(found)) == bool(says) and says in " ".join(closed(found))


def test_what_is_counted_has_no_rate_and_no_size(write_run: WriteRun, results: Results) -> None:
    write_run("r", grams=bits(2.5, parameters=7), b=bits(2.3, **SEARCHED))
    assert closed(checks.bits_apart(results, run="r", better="grams", than="b")) == []


@pytest.mark.parametrize(("longer", "open_"), [(2.60, True), (2.50, False)])
def test_an_arm_that_is_still_learning_decides_nothing(
    write_run: WriteRun, results: Results, longer: float, open_: bool
) -> None:
    # five times the steps are 2.32 doublings: at a gain of 0.02 each they leave 2.57, at 0.12 they go below 2.4
    far = bits(longer, longer, **ANOTHER | {"steps": 2000})
    write_run("r", a=bits(2.62, 2.62, **ANOTHER), b=bits(2.40, 2.40, **SEARCHED), long=far)
    found = closed(checks.bits_apart(results, run="r", better="a", than="b", longer="long"))
    assert (found == []) == open_ and all("still learning" in text for text in found)


@pytest.mark.parametrize(
    ("lost", "ascents", "says"),
    [(0.05, 3, []), (-0.05, 3, ["no arm forgets"]), (0.05, 1, ["confounded with 3 ascents"])],
)
def test_forgetting_needs_something_forgotten_and_one_schedule(
    write_run: WriteRun, results: Results, lost: float, ascents: int, says: list[str]
) -> None:
    course = {"measure": "forgetting", "history": [[]] * 3}
    arms = {"lstm": bits(lost, **course, **ANOTHER), "twistor": bits(lost - 0.1, **course, **SEARCHED)}
    write_run("r", **arms, mixed=[{"history": [[]] * ascents}])
    found = checks.forgets_less(results, run="r", better="lstm", than="twistor", mixed="mixed")
    assert found.values == pytest.approx((0.1,))
    assert len(closed(found)) == len(says) and all(text in one for text, one in zip(says, closed(found), strict=True))


def test_a_gradient_stands_out_by_medians(write_run: WriteRun, results: Results) -> None:
    a, b = ([{"gradient_norm": each} for each in norms] for norms in ((8.0, 2.0, 1.0), (3.0, 2.0, 2.0)))
    write_run("r", a=[{"history": a}], b=[{"history": b}])
    assert checks.gradients_stand_out(results, run="r", better="a", than="b").values == pytest.approx((4 - 1.5,))


def test_what_only_a_gpu_can_show(write_run: WriteRun, results: Results) -> None:
    asked = {"measure": "step_ms", "faster": True}
    parts = {"run": "twistor-length", "scale": "full", "measures": dict.fromkeys(PRESETS, "step_ms")}
    rows = {name: bits(13.0, 13.0, measure="step_ms") for name in PRESETS}
    write_run("twistor-length", **rows)
    with pytest.raises(Missing):  # a short run on a CPU says nothing of it
        run_parts(results, **parts)
    write_run("twistor-length", scale="full", **rows)
    with pytest.raises(Missing):
        checks.mixed_saves(results, **asked)
    assert {name: part.values for name, part in run_parts(results, **parts).value.items()} == dict.fromkeys(
        PRESETS, (13.0, 13.0)
    )
    write_run("twistor-length", scale="full", **rows, **{"recommended, mixed": bits(10.0, 6.5, measure="step_ms")})
    assert checks.mixed_saves(results, **asked).values == pytest.approx((0.3, 1.0))
    assert checks.mixed_saves(results, **asked | {"faster": False}).values == pytest.approx((3 / 13, 0.5))
