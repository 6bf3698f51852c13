"""Verdicts that runs decide: invented result files, and what must follow from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobius_lib.ledger import LedgerError, Verdict
from mobius_lib.ledger.base import AWAITS, PARTLY, REFUTED, REPRODUCED
from mobius_lib.ledger.results import Results

JudgeOne = Callable[..., Verdict]
WriteRun = Callable[..., Path]
COMPARISONS = {"better-on-features": "waves-features", "better-on-images": "waves-images"}


def accuracies(*values: float) -> list[dict[str, float]]:
    return [{"final_accuracy": v, "best_accuracy": v} for v in values]


def states(name: str, *curves: list[float]) -> list[dict[str, Any]]:
    return [{"lens_state": {f"block{i}/{name}": v for i, v in enumerate(curve)}} for curve in curves]


# Lens against twin.


@pytest.mark.parametrize(("name", "run"), COMPARISONS.items())
@pytest.mark.parametrize(
    ("lens", "gelu", "word"),
    [
        ((0.90, 0.89, 0.91), (0.88, 0.87, 0.885), REPRODUCED),
        ((0.88, 0.87, 0.885), (0.90, 0.89, 0.91), REFUTED),
        ((0.90, 0.88, 0.89), (0.88, 0.90, 0.89), PARTLY),
        ((0.95, 0.80, 0.90), (0.94, 0.79, 0.89), REPRODUCED),  # spread far above the gap, but paired by seed
        ((0.90, 0.90, 0.90), (0.90, 0.90, 0.90), PARTLY),
    ],
)
def test_lens_against_twin(
    judge_one: JudgeOne, write_run: WriteRun, name: str, run: str, lens: Any, gelu: Any, word: str
) -> None:
    assert judge_one(name).word == AWAITS
    path = write_run(run, lens=accuracies(*lens), gelu=accuracies(*gelu))
    verdict = judge_one(name)
    assert verdict.word == word and verdict.sources == (f"results/{path.name}",)
    assert verdict.measured == pytest.approx(100 * (sum(lens) - sum(gelu)) / 3, abs=0.006)  # rounded to 0.01 points


def test_a_known_interval_is_printed(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("waves-features", lens=accuracies(0.81, 0.82, 0.83), gelu=accuracies(0.80, 0.80, 0.80))
    # differences 1, 2, 3 points: mean 2, deviation 1, t(0.975, 2) = 4.3027, so 2 ± 4.3027/sqrt 3 = 2 ± 2.484
    explanation = judge_one("better-on-features").explanation
    assert "+2.00 points, 95 % interval [-0.48, +4.48], 3 seeds" in explanation and "undecided" in explanation


def test_the_final_accuracy_counts_not_the_best(judge_one: JudgeOne, write_run: WriteRun) -> None:
    rows = [{"final_accuracy": 0.8 + i / 1000, "best_accuracy": 0.99} for i in range(3)]
    write_run("waves-features", lens=rows, gelu=accuracies(0.9, 0.9, 0.9))
    assert judge_one("better-on-features").word == REFUTED


def test_two_seeds_or_unpaired_ones_do_not_decide(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("waves-features", lens=accuracies(0.9, 0.9), gelu=accuracies(0.8, 0.8))
    assert judge_one("better-on-features").word == AWAITS
    path = write_run("waves-features", lens=accuracies(0.9, 0.91, 0.92), gelu=accuracies(0.8, 0.8, 0.8))
    assert judge_one("better-on-features").word == REPRODUCED
    content = json.loads(path.read_text())
    for record in content["arms"]["gelu"]:
        record["seed"] += 1  # seeds 0, 1, 2 against 1, 2, 3 share two
    path.write_text(json.dumps(content))
    waiting = judge_one("better-on-features")
    assert waiting.word == AWAITS and waiting.command.startswith("mobius run waves-features")
    assert "3 seed(s) or more of lens and gelu" in waiting.explanation
    del content["arms"]["gelu"]
    path.write_text(json.dumps(content))
    assert judge_one("better-on-features").word == AWAITS


def test_pairs_follow_the_seed_not_the_place(judge_one: JudgeOne, write_run: WriteRun) -> None:
    lens, gelu = (0.90, 0.80, 0.70, 0.60), (0.89, 0.79, 0.69, 0.59)
    path = write_run("waves-features", lens=accuracies(*lens), gelu=accuracies(*gelu))
    straight = judge_one("better-on-features")
    content = json.loads(path.read_text())
    content["arms"]["gelu"].reverse()
    path.write_text(json.dumps(content))
    assert judge_one("better-on-features").explanation == straight.explanation


def test_only_the_scale_that_the_claim_names_decides(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("waves-features", "quick", lens=accuracies(0.9, 0.91, 0.92), gelu=accuracies(0.8, 0.8, 0.8))
    assert judge_one("better-on-features").word == AWAITS  # three epochs decide nothing about fifty


def test_without_a_scale_full_goes_before_others_and_quick_comes_last(write_run: WriteRun, tmp_path: Path) -> None:
    results = Results(tmp_path)
    for scale, expected in (("quick", "quick"), ("long", "long"), ("full", "full")):
        write_run("r", scale, a=accuracies(1, 1, 1))
        assert results.find("r", "a").scale == expected
    write_run("r", "full", a=accuracies(1, 1))
    assert results.find("r", "a").scale == "long"
    assert results.find("r", "a", scale="full") is None and results.find("r", "a", scale="full", seeds=2) is not None
    assert results.find("r", "b") is None and results.find("other", "a") is None
    assert Results(tmp_path / "none").find("r", "a") is None


def test_a_run_whose_name_begins_alike_is_another(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("waves-clip-weights", a=accuracies(1, 1, 1))
    assert Results(tmp_path).find("waves-clip", "a") is None


# Accuracies that were reported.


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0.807, 0.808, 0.809), REPRODUCED),
        ((0.82, 0.82, 0.82), REPRODUCED),
        ((0.790, 0.802, 0.806), PARTLY),  # mean 0.799, but the interval reaches 0.803
        ((0.780, 0.781, 0.782), REFUTED),
    ],
)
def test_clip_accuracy(judge_one: JudgeOne, write_run: WriteRun, values: Any, word: str) -> None:
    write_run("waves-clip", lens=accuracies(*values))
    assert judge_one("clip-top1").word == word


def test_tiny_imagenet_accuracy(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("waves-tiny-imagenet", lens=accuracies(0.56, 0.565, 0.57))
    assert judge_one("tiny-imagenet-base").word == REPRODUCED
    assert judge_one("tiny-imagenet-base", reported=0.7).word == REFUTED


@pytest.mark.parametrize(("value", "word"), [(0.8078, REPRODUCED), (0.80, REFUTED)])
def test_published_weights_need_one_seed(judge_one: JudgeOne, write_run: WriteRun, value: float, word: str) -> None:
    write_run("waves-clip-weights", lens=accuracies(value))
    assert judge_one("clip-top1-weights").word == word


def test_the_table_is_compared_with_the_published_weights(judge_one: JudgeOne, write_run: WriteRun) -> None:
    rows = judge_one("table-of-weights").claim.reported
    columns = {"omega": "omega", "alpha": "alpha", "xor_weight": "xor"}
    state = {f"block{i}/{n}": row[c] + 0.004 for i, row in enumerate(rows) for n, c in columns.items()}
    state["block2/alpha"] *= -1  # only the size of alpha counts
    write_run("waves-clip-weights", lens=[{"lens_state": state}])
    assert judge_one("table-of-weights").word == REPRODUCED
    write_run("waves-clip-weights", lens=[{"lens_state": state | {"block4/omega": 3.0}}])
    verdict = judge_one("table-of-weights")
    assert verdict.word == PARTLY and verdict.measured == "17 of 18 entries" and "S2B0 omega" in verdict.explanation
    write_run("waves-clip-weights", lens=[{"lens_state": {name: 9.0 for name in state}}])
    assert judge_one("table-of-weights").word == REFUTED
    write_run("waves-clip-weights", lens=[{"lens_state": {"block0/omega": 1.55}}])
    assert judge_one("table-of-weights").word == AWAITS


# Time.


def steps(printed: list[float], **others: list[float]) -> dict[str, Any]:
    forms = {"lens (printed)": printed, "gelu": [1.0] * len(printed), **others}
    return {form: {"seconds": 0.1, "ratios_to_gelu": ratios} for form, ratios in forms.items()}


@pytest.mark.parametrize(
    ("printed", "higher", "twists"),
    [
        ([4.0, 4.2, 4.1, 3.9, 4.0], REPRODUCED, REFUTED),
        ([1.5, 1.6, 1.55, 1.5, 1.5], REPRODUCED, PARTLY),  # the twin's 0.65 leaves it open
        ([0.9, 0.91, 0.92, 0.9, 0.9], REFUTED, PARTLY),
        ([0.9, 1.1, 1.0, 0.95, 1.05], PARTLY, PARTLY),
        ([4.0, 4.0, 4.0, 4.0], AWAITS, AWAITS),  # too few rounds
    ],
)
def test_time(judge_one: JudgeOne, write_run: WriteRun, printed: list[float], higher: str, twists: str) -> None:
    write_run("waves-features", "quick", cost=steps(printed), lens=[{}], gelu=[{}])  # any scale shows a ratio
    assert judge_one("time-higher").word == higher
    assert judge_one("time-from-twists").word == twists


def test_time_is_the_median_round_and_names_the_other_forms(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("waves-features", cost=steps([1, 1, 1.5, 2, 80], lens=[2.0] * 5), lens=[{}], gelu=[{}])
    verdict = judge_one("time-higher")
    assert verdict.measured == 1.5  # whatever the slow last round
    assert "In the same rounds: lens 2.00." in verdict.explanation


# What the lenses learned.

UP, DOWN = [0.5, 1.0, 1.2, 1.9, 2.0, 4.0], [4.0, 2.0, 1.9, 1.2, 1.0, 0.5]
NEARLY_UP = [0.5, 1.2, 1.0, 1.9, 2.0, 4.0]


@pytest.mark.parametrize(
    ("curves", "word"),
    [
        ((UP, NEARLY_UP, UP), REPRODUCED),
        ((DOWN, DOWN, DOWN), REFUTED),
        ((UP, DOWN, UP), PARTLY),
        (([-a for a in UP],) * 3, REPRODUCED),  # the sign of alpha has no effect
    ],
)
def test_alpha_through_depth(judge_one: JudgeOne, write_run: WriteRun, curves: Any, word: str) -> None:
    write_run("waves-features", lens=states("alpha", *curves))
    assert judge_one("alpha-rises-here").word == word


def test_depth_is_a_number_not_a_word(judge_one: JudgeOne, write_run: WriteRun) -> None:
    long = [0.1 * i for i in range(12)]  # block10 sorts before block2 as a word
    write_run("waves-features", lens=states("alpha", long, long, long))
    assert judge_one("alpha-rises-here").measured == 1.0


@pytest.mark.parametrize(
    ("last", "word"),
    [((0.99, 0.98, 0.97), REPRODUCED), ((0.75, 0.74, 0.76), PARTLY), ((0.66, 0.70, 0.65), REFUTED)],
)
def test_xor_of_the_last_block(judge_one: JudgeOne, write_run: WriteRun, last: Any, word: str) -> None:
    write_run("waves-features", lens=states("xor_weight", *[[0.6, 0.5, value] for value in last]))
    assert judge_one("xor-emerges-here").word == word


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [(0.9, 0.05, REPRODUCED), (0.9, 0.4, PARTLY), (0.9, 0.6, REFUTED), (0.8, 0.85, REFUTED)],
)
def test_gate_of_the_last_block(judge_one: JudgeOne, write_run: WriteRun, first: float, last: float, word: str) -> None:
    curves = [[first + e, 0.9, last + e / 2] for e in (0, 0.01, 0.02)]
    write_run("waves-features", lens=states("gate_participation", *curves))
    assert judge_one("winners-here").word == word


def paths(*triples: tuple[float, float, float]) -> dict[str, Any]:
    state = {}
    for i, triple in enumerate(triples):
        state |= {f"block{i}/weight_{path}": value for path, value in zip("lmr", triple, strict=True)}
    return {"lens_state": state}


def test_the_ghost_after_training(judge_one: JudgeOne, write_run: WriteRun) -> None:
    weak, strong = (0.4, 0.2, 0.4), (0.3, 0.4, 0.3)
    for triples, word in (((weak, weak), REPRODUCED), ((weak, strong), REFUTED), ((weak, weak, strong), PARTLY)):
        write_run("waves-features", lens=[paths(*triples)] * 3)
        assert judge_one("ghost-path-learned").word == word


@pytest.mark.parametrize("name", ["alpha-rises-here", "xor-emerges-here", "winners-here", "ghost-path-learned"])
def test_a_file_that_does_not_record_it_leaves_it_waiting(judge_one: JudgeOne, write_run: WriteRun, name: str) -> None:
    write_run("waves-features", lens=states("omega", [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]))
    verdict = judge_one(name)
    assert verdict.word == AWAITS and "make it again" in verdict.explanation


# Damaged files.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no result file"),
        ("[]", "is no result file"),
        ('{"run": "waves-features", "scale": "short"}', "is no result file.*arms"),
        ('{"run": "waves-features", "scale": "short", "arms": {"lens": [{"best": 1}]}}', "is no result file.*seed"),
        ('{"run": "waves-features", "scale": "short", "arms": []}', "is no result file"),
        ('{"run": "waves-images", "scale": "short", "arms": {}}', r"says that it is waves-images\.short\.json"),
        ('{"run": "waves-features", "scale": "short", "arms": {"lens": [{"seed": 1}, {"seed": 1}]}}', "one seed twice"),
    ],
)
def test_a_damaged_file_is_named(judge_one: JudgeOne, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "waves-features.short.json").write_text(text)
    with pytest.raises(LedgerError, match=rf"waves-features\.short\.json.*{says}"):
        judge_one("better-on-features")


@pytest.mark.parametrize("value", [None, "0.9", float("nan"), True])
def test_a_number_that_is_none_is_named(judge_one: JudgeOne, write_run: WriteRun, value: Any) -> None:
    write_run("waves-features", lens=[{"final_accuracy": value}] * 3, gelu=accuracies(0.9, 0.9, 0.9))
    with pytest.raises(LedgerError, match=r"arm 'lens', seed 0 has final_accuracy = .* finite number"):
        judge_one("better-on-features")


# Chapters 2 and 3.

DIFFERENCES = {
    # claim: (measure, the arm of which more speaks for the claim, the other)
    "mask-redundancy": ("accuracy_without_a_third", "thirds", "unmasked"),
    "mask-coadaptation": ("coadaptation", "unmasked", "thirds"),
    "mask-regularises": ("train_test_gap", "unmasked", "thirds"),
    "mask-helps": ("final_accuracy", "thirds", "unmasked"),
    "mask-rotation-matters": ("accuracy_without_a_third", "thirds", "fixed"),
    "alpha-learned-matters": ("final_accuracy", "learned fast", "frozen 1/2"),
    "david-better-here": ("final_accuracy", "david", "linear"),
    "feature-term-helps": ("final_accuracy", "david", "no feature"),
    "cantor-term-helps": ("final_accuracy", "david", "no cantor"),
    "crystal-term-helps": ("final_accuracy", "david", "no crystal"),
    "basin-loss-helps": ("final_accuracy", "david", "cross-entropy"),
    "structure-few-rows": ("final_accuracy", "david, 5 per class", "cosine, 5 per class"),
    "structure-wrong-labels": ("final_accuracy", "david, 40 % noise", "cosine, 40 % noise"),
    "structure-strange-classes": ("auroc_score", "david, 7 classes", "cosine, 7 classes"),
    "structure-calibration": ("ece_scaled", "cosine", "david"),
}


@pytest.mark.parametrize(("name", "measure", "more", "less"), [(name, *rest) for name, rest in DIFFERENCES.items()])
def test_differences_between_arms(
    judge_one: JudgeOne, write_run: WriteRun, claims: Any, name: str, measure: str, more: str, less: str
) -> None:
    run = claims[name].arguments["run"]
    high, low = [{measure: 0.7 + i / 100} for i in range(3)], [{measure: 0.6 + i / 100} for i in range(3)]
    assert judge_one(name).word == AWAITS
    for first, second, word in ((high, low, REPRODUCED), (low, high, REFUTED), (high, high[::-1], PARTLY)):
        write_run(run, **{more: first, less: second})
        verdict = judge_one(name)
        assert verdict.word == word and verdict.command.endswith("--seeds 3 --device cpu")
    write_run(run, **{more: high[:2], less: low[:2]})
    assert judge_one(name).word == AWAITS


def test_every_comparison_of_chapters_2_and_3_is_among_them(claims: Any) -> None:
    assert {c.id for c in claims.values() if c.check == "run_difference" and c.chapter in (2, 3)} == set(DIFFERENCES)


def test_a_loss_is_no_percentage(judge_one: JudgeOne, write_run: WriteRun) -> None:
    write_run("cantor-mask", unmasked=[{"coadaptation": 0.5}] * 3, thirds=[{"coadaptation": 0.25}] * 3)
    verdict = judge_one("mask-coadaptation")
    assert (verdict.measured, verdict.measured_unit) == (0.25, "nats") and "+0.250 nats," in verdict.explanation


def epochs(*values: float | None) -> dict[str, Any]:
    return {"history": [{"epoch": i, "val_accuracy": v} for i, v in enumerate(values, 1) if v is not None]}


@pytest.mark.parametrize(
    ("first", "word"),
    [
        ((0.71, 0.72, 0.70), REPRODUCED),
        ((0.696, 0.695, 0.697), REPRODUCED),  # within the tolerance of half a point
        ((0.68, 0.70, 0.69), PARTLY),  # mean 0.69, but the interval reaches 0.715
        ((0.66, 0.661, 0.662), REFUTED),
    ],
)
def test_accuracy_after_the_first_epoch(judge_one: JudgeOne, write_run: WriteRun, first: Any, word: str) -> None:
    write_run("simplex-imagenet", published=[epochs(value, 0.99) for value in first])
    assert judge_one("david-first-epoch").word == word


def test_no_accuracy_after_the_first_epoch_is_no_verdict(judge_one: JudgeOne, write_run: WriteRun) -> None:
    for rows in ([epochs(None, 0.9)] * 3, [{"history": []}] * 3, [{}] * 3):
        write_run("simplex-imagenet", published=rows)
        write_run("simplex-mixture", david=rows, linear=[epochs(0.5)] * 3)
        for name in ("david-first-epoch", "david-rapid-here"):
            verdict = judge_one(name)
            assert verdict.word == AWAITS and "make it again" in verdict.explanation


@pytest.mark.parametrize(
    ("david", "linear", "word"),
    [
        ((0.5, 0.6, 0.7), (0.3, 0.4, 0.5), REPRODUCED),
        ((0.3, 0.4, 0.5), (0.5, 0.6, 0.7), REFUTED),
        ((0.3, 0.6, 0.5), (0.5, 0.4, 0.5), PARTLY),
    ],
)
def test_who_leads_after_the_first_epoch(
    judge_one: JudgeOne, write_run: WriteRun, david: Any, linear: Any, word: str
) -> None:
    # what comes later does not count
    arms = {"david": [epochs(v, 1 - v) for v in david], "linear": [epochs(v, 1 - v) for v in linear]}
    write_run("simplex-mixture", **arms)
    verdict = judge_one("david-rapid-here")
    assert verdict.word == word
    assert verdict.measured == pytest.approx(100 * (sum(david) - sum(linear)) / 3, abs=0.006)  # rounded to 0.01


@pytest.mark.parametrize(("seconds", "word"), [(900, REPRODUCED), (1230, REPRODUCED), (1300, PARTLY), (9000, PARTLY)])
def test_time_on_a_machine_that_nobody_named(
    judge_one: JudgeOne, write_run: WriteRun, seconds: float, word: str
) -> None:
    write_run("simplex-imagenet", published=[{"seconds": seconds + i} for i in (-1, 0, 1)])
    verdict = judge_one("david-time")
    assert verdict.word == word and verdict.measured == seconds


@pytest.mark.parametrize(
    ("off", "word"),
    [((0, 0.01, -0.01, 0.019, 0), REPRODUCED), ((0, 0.3, 0.3, 0.3, 0.3), PARTLY), ((0.1,) * 5, REFUTED)],
)
def test_accuracy_of_each_scale(judge_one: JudgeOne, write_run: WriteRun, off: Any, word: str) -> None:
    rows = judge_one("david-scales").claim.reported
    found = {str(row["scale"]): row["accuracy"] + gap for row, gap in zip(rows, off, strict=True)}
    write_run("simplex-imagenet", published=[{"scale_accuracy": found}] * 3)
    assert judge_one("david-scales").word == word
    del found["768"]
    write_run("simplex-imagenet", published=[{"scale_accuracy": found}] * 3)
    assert judge_one("david-scales").word == AWAITS


def test_accuracy_of_the_published_model(judge_one: JudgeOne, write_run: WriteRun) -> None:
    for values, word in (((0.71, 0.715, 0.713), REPRODUCED), ((0.69, 0.691, 0.692), REFUTED)):
        write_run("simplex-imagenet", published=accuracies(*values), david=accuracies(0.9, 0.9, 0.9))
        assert judge_one("david-top1").word == word


FAST = "learned fast"


@pytest.mark.parametrize(
    ("alphas", "word"),
    [
        ((0.49, 0.50, 0.52), REPRODUCED),
        ((0.45, 0.58, 0.62), PARTLY),
        ((-0.07, -0.08, -0.06), REFUTED),
        ((0.2, 0.8, 0.2), REFUTED),  # near in the mean, but no seed is
    ],
)
def test_where_alpha_ends(judge_one: JudgeOne, write_run: WriteRun, alphas: Any, word: str) -> None:
    write_run("cantor-alpha", **{FAST: [{"alpha": alpha} for alpha in alphas]})
    verdict = judge_one("alpha-near-half-here")
    assert verdict.word == word and verdict.measured == pytest.approx(sum(alphas) / 3, abs=5e-4)  # three decimals


SIZES = ("96", "128", "1024")  # sorted as words, 1024 would come first


def mixes(*crystal: float) -> dict[str, Any]:
    return {"geo_weights": {size: [0.9 - c, 0.1, c] for size, c in zip(SIZES, crystal, strict=True)}}


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ((mixes(0.1, 0.2, 0.3), mixes(0.1, 0.2, 0.3), mixes(0.1, 0.2, 0.4)), REPRODUCED),
        ((mixes(0.3, 0.2, 0.1),) * 3, REFUTED),
        ((mixes(0.3, 0.2, 0.1), mixes(0.1, 0.2, 0.3), mixes(0.1, 0.3, 0.2)), PARTLY),
    ],
)
def test_crystal_weight_through_the_scales(judge_one: JudgeOne, write_run: WriteRun, rows: Any, word: str) -> None:
    write_run("simplex-features", david=list(rows))
    assert judge_one("weights-follow-scale-here").word == word


def ends(low: float, high: float) -> dict[str, Any]:
    return {"cantor_prototypes": {s: {"mean": 0.5, "std": 0.1, "min": low, "max": high} for s in SIZES}}


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ((ends(0, 1), ends(-0.5, 0.99), ends(0.01, 1.5)), REPRODUCED),
        ((ends(0, 0.5), ends(0, 0.51), ends(0, 0.52)), REFUTED),
        ((ends(0, 0.8), ends(0, 1), ends(0, 0.9)), PARTLY),
        ((ends(2, 3),) * 3, REFUTED),  # wide, but elsewhere
    ],
)
def test_how_far_the_prototypes_reach(judge_one: JudgeOne, write_run: WriteRun, rows: Any, word: str) -> None:
    write_run("simplex-features", david=list(rows))
    assert judge_one("prototypes-cover-here").word == word


@pytest.mark.parametrize("name", ["alpha-near-half-here", "weights-follow-scale-here", "prototypes-cover-here"])
@pytest.mark.parametrize("row", [{}, {"geo_weights": {"96": [1]}, "cantor_prototypes": {"96": {"min": 0}}}])
def test_a_record_without_what_david_learned_leaves_it_waiting(
    judge_one: JudgeOne, write_run: WriteRun, claims: Any, name: str, row: dict[str, Any]
) -> None:
    arguments = claims[name].arguments
    write_run(arguments["run"], **{arguments["arm"]: [row] * 3})
    verdict = judge_one(name)
    assert verdict.word == AWAITS and "make it again" in verdict.explanation


@pytest.mark.parametrize("value", [None, "0.5", float("inf"), False])
def test_an_entry_that_is_no_number_is_named(judge_one: JudgeOne, write_run: WriteRun, value: Any) -> None:
    write_run("cantor-alpha", **{FAST: [{"alpha": value}] * 3})
    with pytest.raises(LedgerError, match=r"arm 'learned fast', seed 0 has alpha = .* finite number"):
        judge_one("alpha-near-half-here")


def test_the_command_is_the_one_of_the_record(judge_one: JudgeOne, write_run: WriteRun) -> None:
    path = write_run("cantor-alpha", **{FAST: [{"alpha": 0.5}] * 3})
    assert judge_one("alpha-near-half-here").command == "mobius run cantor-alpha --scale short --seeds 3 --device cpu"
    content = json.loads(path.read_text())
    del content["command"]  # an older file
    path.write_text(json.dumps(content))
    assert judge_one("alpha-near-half-here").command == "mobius run cantor-alpha --scale short --seeds 5"
