"""The rules: numbers beside what was reported, over many draws and against intervals of independent origin."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from mobius_lib.ledger import Claim, LedgerError, judge
from mobius_lib.ledger.base import Found, Gate, Missing, Sample
from mobius_lib.ledger.rules import Ruling, agrees, family, rule


def claim(**fields: Any) -> Claim:
    given = {"id": "a", "chapter": 1, "whose": "ours", "statement": "It is so.", "check": "c", "why": "Because."}
    return Claim.model_validate(given | {"basis": "construction", "reported": 1} | fields)


def ruled(of: Claim, finding: Any) -> Ruling:
    return rule(of, finding, family({of.id: (of, finding)}))


@pytest.mark.parametrize(
    ("measured", "reported", "tolerance", "bound", "right"),
    [
        (1.04, 1, 0.05, "equal", True),
        (1.06, 1, 0.05, "equal", False),
        (0.94, 1, 0.05, "equal", False),
        (9, 1, 0.05, "at least", True),
        (0.94, 1, 0.05, "at least", False),
        (-9, 1, 0.05, "at most", True),
        (1.06, 1, 0.05, "at most", False),
        (1.1 + 2.2, 3.3, None, "equal", False),  # exactly is exactly
        (0.15, 0.1, 0.05, "equal", True),  # 0.15 - 0.1 is 0.04999…, and 0.1 + 0.05 is 0.15000…2
        (True, True, None, "equal", True),
        (1, True, None, "equal", False),
        (True, 1, None, "equal", False),
        ("a", "a", None, "equal", True),
        ("a", 1, None, "equal", False),
        ([1, 2], [1, 2.01], 0.05, "equal", True),
        ([1, 2], [1, 2, 3], 0.05, "equal", False),
        ([[1], [2]], [[1], [3]], 0.5, "equal", False),
        ({"x": 1}, {"x": 1.2}, 0.5, "equal", True),
        ({"x": 1}, {"y": 1}, 0.5, "equal", False),
        (None, 1, 9, "equal", False),
        (float("nan"), 1, 9, "equal", False),
    ],
)
def test_what_agrees(measured: Any, reported: Any, tolerance: Any, bound: Any, right: bool) -> None:
    assert agrees(measured, reported, tolerance, bound) is right


@pytest.mark.parametrize(
    ("basis", "value", "outcome"),
    [
        ("construction", 1, "reproduced"),
        ("public code", 2, "refuted"),
        ("published run", 2, "refuted"),
        ("measured small", 1, "seen here"),
        ("measured small", 2, "not seen here"),
    ],
)
def test_what_is_the_same_each_time(basis: str, value: int, outcome: str) -> None:
    assert ruled(claim(basis=basis), Found(value, "Words.")).outcome == outcome
    closed = ruled(claim(basis=basis), Found(value, "Words.", gates=(Gate("it was too dark", False),)))
    assert closed.outcome == "undecided" and "it was too dark" in closed.words
    assert ruled(claim(basis=basis), Missing("Nothing yet.")).outcome == "awaits"


@pytest.mark.parametrize("seed", range(30))
def test_at_the_setting_all_of_the_interval_counts(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.normal(0.8, 0.02, size=draw.integers(3, 8))
    low, high = reference.t.interval(0.95, len(values) - 1, values.mean(), reference.sem(values))
    reported = draw.choice([0.75, 0.8, 0.85])
    expected = "undecided"
    if reported - 0.03 <= low and high <= reported + 0.03:
        expected = "reproduced"
    elif high < reported - 0.03 or low > reported + 0.03:
        expected = "refuted"
    of = claim(basis="measured at its setting", reported=float(reported), tolerance=0.03)
    assert ruled(of, Sample(tuple(values), "Words.")).outcome == expected


def test_two_runs_at_the_setting_decide_nothing() -> None:
    of = claim(basis="measured at its setting", reported=0.8, tolerance=0.1)
    assert ruled(of, Sample((0.8, 0.8), "Words.")).outcome == "undecided"
    assert ruled(of, Sample((0.8, 0.8, 0.8), "Words.")).outcome == "reproduced"
    with pytest.raises(LedgerError, match="compared with a number"):
        ruled(of.model_copy(update={"reported": "more"}), Sample((0.8, 0.8, 0.8), "Words."))


@pytest.mark.parametrize("against", [0.0, 0.5])
@pytest.mark.parametrize(
    ("around", "reported", "outcome"),
    [
        (2, "more", "seen here"),
        (2, "less", "not seen here"),
        (2, "no difference", "not seen here"),
        (-2, "less", "seen here"),
        (-2, "more", "not seen here"),
        (0, "more", "no difference"),
        (0, "less", "no difference"),
        (0, "no difference", "seen here"),
        (1, "more", "undecided"),
        (1, "no difference", "undecided"),
    ],
)
def test_measured_small(around: float, reported: str, outcome: str, against: float) -> None:
    of = claim(basis="measured small", reported=reported, smallest=1, against=against)
    values = tuple(against + around + step for step in (-0.1, 0.1, 0.0, 0.05, -0.05))
    assert ruled(of, Sample(values, "Words.", row_error=0.0)).outcome == outcome
    assert ruled(of, Sample(values[:4], "Words.", row_error=0.0)).outcome == "undecided"
    assert ruled(of, Sample(values, "Words.", row_error=0.0, gates=(Gate("no", False),))).outcome == "undecided"
    unknown = ruled(of, Sample(values, "Words."))
    assert unknown.outcome == "undecided" and "finite test set adds is not known" in unknown.words
    # a test set so small that the difference may be its own
    assert ruled(of, Sample(values, "Words.", row_error=9.0)).outcome == "undecided"


def test_how_many_seeds_would_decide() -> None:
    of = claim(basis="measured small", reported="more", smallest=1)
    words = ruled(of, Sample((0.5, 3.5, 2.0, 1.0, 3.0), "Words.", row_error=0.0)).words
    n = int(words.split("Some ")[1].split()[0])
    for seeds, decides in ((n - 1, False), (n, True)):  # mean 2, standard deviation 1.2748
        low, _ = reference.t.interval(0.95, seeds - 1, 2.0, np.std([0.5, 3.5, 2, 1, 3], ddof=1) / np.sqrt(seeds))
        assert bool(low > 1) is decides
    assert "would not decide" in ruled(of, Sample((1.0,) * 4 + (1.01,), "Words.", row_error=1.0)).words
    of, values = claim(basis="measured at its setting", reported=2, tolerance=0.5), (1.8, 2.0, 2.5)
    n = int(ruled(of, Sample(values, "Words.", row_error=0.0)).words.split("Some ")[1].split()[0])
    for seeds, decides in ((n - 1, False), (n, True)):
        _, high = reference.t.interval(0.95, seeds - 1, 2.1, np.std(values, ddof=1) / np.sqrt(seeds))
        assert bool(high <= 2.5) is decides


def test_one_more_comparison_widens_the_others() -> None:
    of = claim(basis="measured small", reported="more", smallest=0.1)
    sample = Sample((0.4, 1.6, 1.0, 0.7, 1.3), "Words.", row_error=0.0)
    alone = family({"a": (of, sample)})["a"]
    both = family({"a": (of, sample), "b": (of, sample), "c": (claim(), Found(1, "Words."))})
    assert set(both) == {"a", "b"} and both["a"].low < alone.low and both["a"].level == pytest.approx(0.975)
    words = [rule(of, sample, found).words for found in ({of.id: alone}, {of.id: both["a"]})]
    assert " 95 % interval " in words[0] and "joint" not in words[0]
    assert " joint 95 % interval " in words[1] and "(by itself, 97.5 %)" in words[1]


def test_parts() -> None:
    of = claim(reported={"left": 1, "right": 2}, tolerance={"left": 0.5})
    found = ruled(of, Found({"left": 1.4, "right": 2}, "Words."))
    assert found.outcome == "reproduced" and found.measured == {"left": 1.4, "right": 2}
    found = ruled(of, Found({"left": 1.4, "right": 2.1}, "Words."))
    assert found.outcome == "partly" and found.parts is not None
    assert {name: part.outcome for name, part in found.parts.items()} == {"left": "reproduced", "right": "refuted"}
    assert ruled(of, Found({"left": 3, "right": 2.1}, "Words.")).outcome == "refuted"
    found = ruled(of, Found({"left": 1, "right": Missing("Not yet.")}, "Words."))
    assert found.outcome == "partly" and found.parts["right"].outcome == "awaits"
    assert ruled(of, Missing("Not yet.")).outcome == "awaits"
    with pytest.raises(LedgerError, match="parts"):
        ruled(of, Found({"left": 1}, "Words."))
    with pytest.raises(LedgerError, match="parts"):
        ruled(of, Found(1, "Words."))
    small = claim(basis="measured small", reported={"x": "more", "y": "less"}, smallest=1)
    samples = {"x": Sample((5.0,) * 5, "", row_error=0.0), "y": Sample((5.0,) * 5, "", row_error=0.0)}
    found = ruled(small, Found(samples, "Words."))
    assert [part.outcome for part in found.parts.values()] == ["seen here", "not seen here"]


def test_a_small_sample_without_a_smallest_effect_is_an_error() -> None:
    with pytest.raises(LedgerError, match="smallest"):
        ruled(claim(basis="measured small"), Sample((1.0,) * 5, "Words."))


def test_a_claim_that_is_judged_alone_is_judged_among_all_of_its_chapter() -> None:
    every = {verdict.claim.id: verdict for verdict in judge(chapter=2)}
    small = [name for name, verdict in every.items() if verdict.interval is not None]
    assert len(small) > 3
    for name in (*small[:2], small[-1]):
        assert judge(only=name) == [every[name]]


def test_where_nothing_is_decided_the_command_is_the_one_that_would_decide(tmp_path: Path, write_run: Any) -> None:
    of = claim(
        basis="measured small",
        reported="more",
        smallest=1,
        check="run_difference",
        arguments={"run": "r", "better": "a", "than": "b", "rows": 100_000_000},
        command="mobius run r --scale short --seeds 5",
    )
    made_by = "mobius run r --scale short --seeds 3 --device cpu"  # as `write_run` says
    a = [{"final_accuracy": accuracy} for accuracy in (0.80, 0.83, 0.81, 0.80, 0.82)]  # mean of the first 5: 0.812

    def verdict(seeds: int, other: float, **further: Any) -> tuple[str, str | None]:
        write_run("r", further, a=a[:seeds], b=[{"final_accuracy": other}] * seeds)
        (found,) = judge([of], results_dir=tmp_path)
        return found.outcome, found.command

    assert verdict(5, 0.5) == ("seen here", made_by)
    assert verdict(3, 0.5) == ("undecided", made_by.replace("3 -", "5 --extend -"))
    assert verdict(3, 0.803) == ("undecided", of.command)  # 1.03 points: five would not do
    outcome, command = verdict(5, 0.79)  # 2.2 points, standard deviation 1.3: more seeds than five, and not many more
    n = int(str(command).split("--seeds ")[1].split()[0])
    assert outcome == "undecided" and 5 < n < 12 and command == made_by.replace("3 -", f"{n} --extend -")
    assert verdict(5, 0.802) == ("undecided", of.command)  # 1.0 points: no number of seeds would tell them from 1
    one = {"a": {"lr": 1, "held_out": {"1": 0.5, "2": 0.4}}}  # its best rate is an end of its search
    assert verdict(3, 0.5, tuning=one) == ("undecided", of.command)
