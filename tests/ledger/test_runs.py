"""The checks that all chapters' runs share, on result files of invented runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobius_lib.ledger import LedgerError, Verdict
from mobius_lib.ledger.base import Missing, Sample
from mobius_lib.ledger.checks.runs import run_difference, run_growth, run_step_ratio, run_value
from mobius_lib.ledger.results import Results
from mobius_lib.runs.predictions import ENDING, pack

JudgeOne = Callable[..., Verdict]
WriteRun = Callable[..., Path]


def accuracies(*values: float, **further: Any) -> list[dict[str, Any]]:
    return [{"final_accuracy": value, "best_accuracy": value, **further} for value in values]


def closed(sample: Any) -> list[str]:
    assert isinstance(sample, Sample)
    return [gate.text for gate in sample.gates if not gate.open]


def test_a_difference_is_paired_by_seed_and_not_by_place(write_run: WriteRun, results: Results) -> None:
    a, b = accuracies(0.9, 0.8, 0.7), accuracies(0.6, 0.65, 0.85)
    for row, seed in zip(b, (2, 1, 0), strict=True):
        row["seed"] = seed
    write_run("r", a=a, b=b)
    found = run_difference(results, run="r", better="a", than="b")
    assert found.values == pytest.approx((5, 15, 10)) and "0.8" in found.words and "0.7" in found.words
    assert run_difference(results, run="r", better="b", than="a", factor=1).values == pytest.approx(
        (-0.05, -0.15, -0.1)
    )


def test_seeds_that_one_arm_alone_has_are_left_out(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=accuracies(0.9, 0.8, 0.7), b=accuracies(0.6, 0.6))
    assert len(run_difference(results, run="r", better="a", than="b").values) == 2


def test_the_final_accuracy_counts_and_not_the_best(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=[{"final_accuracy": 0.6, "best_accuracy": 0.9}], b=accuracies(0.7))
    assert run_difference(results, run="r", better="a", than="b").values == pytest.approx((-10,))


def test_the_rows_of_the_test_set_have_an_error_of_their_own(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=accuracies(0.9, 0.7), b=accuracies(0.6, 0.6))
    found = run_difference(results, run="r", better="a", than="b", rows=400)
    assert found.row_error == pytest.approx(100 * np.sqrt((0.8 * 0.2 + 0.6 * 0.4) / 400))
    assert run_value(results, run="r", arm="a", rows=400).row_error == pytest.approx(np.sqrt(0.8 * 0.2 / 400))
    assert run_value(results, run="r", arm="a").row_error is None


def test_the_pieces_of_a_text_give_the_error_of_a_text(write_run: WriteRun, results: Results) -> None:
    draw = np.random.default_rng(0)
    pieces = draw.normal(2, 0.3, size=(2, 3, 40)).round(4)
    arms = {
        arm: [{"bits_per_character": row.mean(), "bits_by_piece": row.tolist()} for row in side]
        for arm, side in zip("ab", pieces, strict=True)
    }
    write_run("r", **arms)
    ask = {"run": "r", "better": "a", "than": "b", "measure": "bits_per_character", "factor": 1}
    gaps = pieces[0].mean(0) - pieces[1].mean(0)
    assert run_difference(results, **ask).row_error == pytest.approx(gaps.std(ddof=1) / np.sqrt(40))
    del arms["b"][1]["bits_by_piece"]
    write_run("r", **arms)
    assert run_difference(results, **ask).row_error is None


def test_the_rows_error_is_what_the_record_says_of_it(write_run: WriteRun, results: Results) -> None:
    """Of both arms together, as if each had rows of its own; of what predictions tell, the paired one."""
    ask = {"run": "r", "better": "a", "than": "b"}
    rows = {name: [{"m": 0.5, "m_error": e} for e in errors] for name, errors in (("a", (0.3, 0.3)), ("b", (0.4, 0.4)))}
    write_run("r", **rows)
    assert run_difference(results, measure="m", **ask).row_error == pytest.approx(100 * 0.5)
    assert run_difference(results, measure="m", factor=1, rows=100, **ask).row_error == pytest.approx(0.5)
    path = write_run("r", a=accuracies(0.75), b=accuracies(0.5))
    labels = torch.tensor([0, 1, 2, 3])
    predicted = {"a": [torch.tensor([0, 1, 2, 0])], "b": [torch.tensor([0, 1, 0, 0])]}
    path.with_suffix(ENDING).write_bytes(pack(labels, predicted))
    assert run_difference(results, rows=4, **ask).row_error == pytest.approx(100 * 0.25)  # (0, 0, 1, 0): 0.5 / sqrt(4)


def test_a_number_after_an_epoch(write_run: WriteRun, results: Results) -> None:
    rows = [[{"epoch": n + 1, "val_accuracy": v} for n, v in enumerate(curve)] for curve in ((0.1, 0.5), (0.2, 0.6))]
    write_run("r", a=[{"history": row} for row in rows], b=[{"history": row} for row in reversed(rows)])
    ask = {"run": "r", "measure": "val_accuracy"}
    assert run_value(results, arm="a", epoch=2, **ask).values == (0.5, 0.6)
    assert run_difference(results, better="a", than="b", epoch=1, **ask).values == pytest.approx((-10, 10))
    with pytest.raises(Missing, match="val_accuracy after epoch 3"):
        run_value(results, arm="a", epoch=3, **ask)


def test_what_is_not_there_is_missing(write_run: WriteRun, results: Results) -> None:
    with pytest.raises(Missing):
        run_value(results, run="r", arm="a")
    write_run("r", a=accuracies(0.9))
    with pytest.raises(Missing):
        run_value(results, run="r", arm="b")
    with pytest.raises(Missing):
        run_value(results, run="r", arm="a", scale="quick")
    with pytest.raises(Missing):
        run_value(results, run="r", arm="a", measure="lens_state/x")
    with pytest.raises(Missing):
        run_difference(results, run="r", better="a", than="b")
    with pytest.raises(Missing):
        run_growth(results, run="r", arm="b", measure="x")
    with pytest.raises(Missing):
        run_step_ratio(results, run="r", form="a")


@pytest.mark.parametrize("value", ["high", None, True, float("nan"), [1]])
def test_a_number_that_is_none_is_named(write_run: WriteRun, results: Results, value: Any) -> None:
    path = write_run("r", a=[{"final_accuracy": value}])
    with pytest.raises(LedgerError, match=path.name):
        run_value(results, run="r", arm="a")


def test_deeper_numbers(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=[{"lens_state": {"block0/alpha": 1.5}, "deep": {"x": [1, 2]}}])
    assert run_value(results, run="r", arm="a", measure="block0/alpha").values == (1.5,)
    assert run_value(results, run="r", arm="a", measure="deep/x/1").values == (2,)
    with pytest.raises(Missing):
        run_value(results, run="r", arm="a", measure="deep/x/y")


def test_the_best_rate_at_the_edge_of_its_search_decides_nothing(write_run: WriteRun, results: Results) -> None:
    held_out = {"0.001": 0.5, "0.003": 0.6, "0.01": 0.7}
    for best, said in ((0.003, []), (0.01, ["largest"]), (0.001, ["smallest"])):
        write_run("r", a=[{"final_accuracy": 0.5, "lr": best, "held_out": held_out}], b=accuracies(0.5))
        found = closed(run_difference(results, run="r", better="b", than="a"))
        assert len(found) == len(said) and all(word in text for word, text in zip(said, found, strict=True))
        tuning = {"a": {"lr": best, "held_out": held_out}}
        write_run("r", {"tuning": tuning}, **{"a": accuracies(0.5), "a, few": accuracies(0.4)})
        for arm in ("a", "a, few"):
            assert len(closed(run_value(results, run="r", arm=arm))) == len(said)


def test_arms_whose_rates_chance_has_chosen_are_not_compared(write_run: WriteRun, results: Results) -> None:
    """Of 100 held-out rows an accuracy of 0.8 is known to 0.04."""
    rows = {"configuration": {"train_samples": 500, "epochs": 1}}
    ask = {"run": "r", "better": "a", "than": "b"}

    def search(best: str, **held_out: float) -> dict[str, Any]:
        return {"lr": float(best), "held_out": {"0.001": 0.5, "1": 0.5} | held_out}

    clear, close = {"0.01": 0.8, "0.1": 0.75}, {"0.01": 0.8, "0.1": 0.77}
    judged = {"compared": {"0.01": [0.8, 0.79], "0.1": [0.77, 0.78]}}
    for mine, theirs, said in (
        (search("0.01", **clear), search("0.1", **{"0.01": 0.7, "0.1": 0.8}), 0),
        (search("0.01", **close), search("0.1", **{"0.01": 0.7, "0.1": 0.8}), 1),
        (search("0.01", **close), search("0.1", **{"0.01": 0.79, "0.1": 0.8}), 2),
        (search("0.01", **close), search("0.01", **close), 0),  # one rate, whatever chose it
        (search("0.01", **close), search("0.12", **{"0.12": 0.8}), 1),  # which a did not try, but 0.1
        (search("0.01", **close) | judged, search("0.1", **{"0.01": 0.7, "0.1": 0.8}), 0),
        (search("0.01", **close) | judged, search("0.5", **{"0.1": 0.7, "0.5": 0.8}), 0),  # far off, so not judged
        (search("0.01", **close, **{"1": 0.78}) | judged, search("0.5", **{"0.1": 0.7, "0.5": 0.8}), 1),  # nor close
    ):
        for arms in ({}, {"a, few": accuracies(0.4), "b, few": accuracies(0.5)}):
            tuning = {"tuning": {"a": mine, "b": theirs}}
            write_run("r", rows | tuning, a=accuracies(0.5), b=accuracies(0.5), **arms)
            asked = ask | ({"better": "a, few", "than": "b, few"} if arms else {})
            found = closed(run_difference(results, **asked))
            assert len(found) == said and all("100 held-out rows do not tell apart" in text for text in found)
    write_run("r", {"tuning": {"a": mine, "b": theirs}}, a=accuracies(0.5), b=accuracies(0.5))
    assert closed(run_difference(results, **ask)) == []  # how many rows were held out is not known


def test_arms_that_were_trained_at_one_rate_alone_are_not_compared(write_run: WriteRun, results: Results) -> None:
    searched = {"tuning": {"a": {"lr": 0.003, "held_out": {"0.001": 0.5, "0.003": 0.6, "0.01": 0.5}}}}
    history = [{"epoch": 1}]
    write_run("r", searched, a=accuracies(0.9, history=history), b=accuracies(0.8, history=history), c=accuracies(0.7))
    assert closed(run_difference(results, run="r", better="a", than="b")) == ["no other learning rate of `b` was tried"]
    assert closed(run_difference(results, run="r", better="a", than="c")) == [], "c was not trained"
    assert closed(run_value(results, run="r", arm="b")) == [], "that it learns, it learns at any rate"


def test_arms_below_the_trivial_baseline_decide_nothing(write_run: WriteRun, results: Results) -> None:
    extra = {"extra": {"linear probe": {"accuracy": 0.85}}}
    write_run("r", extra, a=accuracies(0.9), b=accuracies(0.8), c=accuracies(0.7))
    ask = {"run": "r", "better": "a", "than": "b"}
    assert closed(run_difference(results, above=["linear probe"], **ask)) == [
        "`b` (80.0 %) is not above the baseline `linear probe` (85.0 %)"
    ]
    assert closed(run_difference(results, above=["c"], **ask)) == []
    assert len(closed(run_difference(results, above=["nothing of this name"], **ask))) == 2


@pytest.mark.parametrize("power", [-1.0, 0.5, 1.0, 2.0])
def test_an_exact_power_is_measured_exactly(write_run: WriteRun, results: Results, power: float) -> None:
    table = {str(n): 3 * n**power for n in (64, 128, 256, 1024)} | {"4096": None}
    write_run("r", a=[{"bytes": table}, {"bytes": table}])
    assert run_growth(results, run="r", arm="a", measure="bytes").values == pytest.approx((power, power))
    write_run("r", a=[{"bytes": {"64": 1.0, "128": 2.0}}])
    with pytest.raises(Missing):
        run_growth(results, run="r", arm="a", measure="bytes")
    write_run("r", a=[{"bytes": {"many": 1.0}}])
    with pytest.raises(LedgerError, match="sizes"):
        run_growth(results, run="r", arm="a", measure="bytes")


def test_steps_are_compared_round_by_round(write_run: WriteRun, results: Results) -> None:
    cost = {"lens": {"ratios_to_gelu": [1.0, 2.0, 4.0, 2.0, 8.0]}, "few": {"ratios_to_gelu": [2.0] * 4}}
    write_run("r", {"cost": cost}, gelu=accuracies(0.5))
    found = run_step_ratio(results, run="r", form="lens")
    assert found.values == (0, 1, 2, 1, 3) and "2.00 times" in found.words and not closed(found)
    assert closed(run_step_ratio(results, run="r", form="few")) == ["4 of at least 5 rounds"]
    with pytest.raises(Missing):
        run_step_ratio(results, run="r", form="other")


def test_a_small_training_run_tells_its_share_of_the_sources(judge_one: JudgeOne, write_run: WriteRun) -> None:
    """Rows by epochs: 1,281,167 x 50 of the card's. Where either is not known, nothing is said."""
    small = {"configuration": {"train_samples": 2500, "epochs": 4}}
    for further, said in ((small, ": 10 K of the source's 64.06 M samples"), ({}, "")):
        arms = {"lens": 0.8, "gelu": 0.7, "linear probe": 0.6}
        arms = {name: [{"final_accuracy": value}] * 5 for name, value in arms.items()}
        write_run("waves-images", further, scale="long", **arms)
        note = "2,500 rows, 4 epochs" if further else ""
        assert judge_one("better-on-images").note == note + said
        assert judge_one("better-on-images", source=["003:1"]).note == note
    arms = {f"{name}, 5 per class": accuracies(0.5) for name in ("david", "cosine")}
    write_run("simplex-robustness", small, scale="long", **arms)  # not all of the rows, by the arm's own name
    assert judge_one("structure-few-rows").note == "2,500 rows, 4 epochs, 5 per class"
    all_rows = {"configuration": {"train_samples": None, "epochs": 4}}
    write_run("waves-images", all_rows, lens=[{"final_accuracy": 0.8}])
    assert judge_one("works").note == "all rows, 4 epochs"


def test_without_a_scale_full_goes_before_others_and_quick_comes_last(write_run: WriteRun, results: Results) -> None:
    for scale, value in (("quick", 0.1), ("short", 0.2), ("full", 0.3)):
        write_run("r", scale=scale, a=accuracies(value))
        assert run_value(results, run="r", arm="a").values == (value,)
    assert run_value(results, run="r", arm="a", scale="short").values == (0.2,)
    write_run("r-other", scale="full", a=accuracies(0.4))
    assert run_value(results, run="r", arm="a").values == (0.3,)
