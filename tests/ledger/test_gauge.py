"""Chapter 4's checks: what they find, in code and in the records of a run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mobius_lib.gauge as ladder
from mobius_lib.ledger import Claim, Verdict
from mobius_lib.ledger.checks import gauge as checks
from mobius_lib.ledger.results import RunFile
from mobius_lib.ledger.stats import interval
from mobius_lib.runs.gauge.measures import SHARE

JudgeOne = Callable[..., Verdict]
WriteRun = Callable[..., Path]
RUN = "gauge-cooccurrence"


def test_the_formulas_are_the_librarys_counts(claims: dict[str, Claim], judge_one: JudgeOne) -> None:
    for vocabulary in (1, 1000, 15_000):
        numbers = claims["l5-stored"].numbers | {"V": vocabulary}
        assert judge_one("l5-stored", numbers=numbers).measured == ladder.seed_count(vocabulary)
    assert judge_one("l5-connections").measured == ladder.connection_count(8)
    # counted apart, by hand: 20.1, 84.6, 103 and 312 times
    names = ("l5-ratio-1000", "l5-ratio", "l5-ratio-5000", "l5-ratio-15000")
    assert [round(judge_one(name).measured, 1) for name in names] == [20.1, 84.6, 103.4, 311.7]
    words = int(judge_one("l5-practical").measured)
    below, at = (v * v / ladder.seed_count(v) for v in (words - 1, words))
    assert below < 290_000 <= at
    bits = sum(math.log2(n) for n in range(1, 1001))  # of an order of 1,000 columns; Stirling errs by 1 / (12 V)
    assert judge_one("permutation-counted").measured["of the V columns"] == pytest.approx(16_008 + bits / 32, abs=1e-3)


# Runs.


def test_seeds_that_leave_out_tenths_of_one_text_are_a_jackknife() -> None:
    """Its standard error is that of the mean of the whole text, from any number of seeds."""
    blocks, seeds, draws = 200, 5, 400
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(draws, blocks, generator=generator, dtype=torch.float64)
    file = RunFile(Path("r.short.json"), "short", {}, {})
    variances = []
    for text in texts:
        kept = [torch.randperm(blocks, generator=generator)[blocks // 10 :] for _ in range(seeds)]
        sample = checks._of_one_text(file, [text[places].mean().item() for places in kept], "")
        assert sum(sample.values) / seeds == pytest.approx(sum(text[p].mean().item() for p in kept) / seeds)
        variances.append(interval(sample.values).spread ** 2 / seeds)
    # 400 variances of 4 degrees of freedom each: a standard error of 3.5 %
    assert sum(variances) / draws == pytest.approx(1 / blocks, rel=0.12)
    assert checks.HELD_OUT == SHARE
    held_out = checks._of_one_text(file, [1.0, 2.0, 3.0, 4.0, 5.0], "", held_out=True)
    assert interval(held_out.values).spread ** 2 / seeds == pytest.approx(2.5 * (1 / 5 + 1 / 9))


def row(target: str, value: float, measure: str, terms: int = 8, **where: Any) -> dict[str, Any]:
    return {"target": target, "terms": terms, measure: value, **where}


def test_windows_are_compared_at_as_many_cascades(judge_one: JudgeOne, write_run: WriteRun) -> None:
    """Not L4, of one cascade, with L5, of three: whatever L4 has does not count."""

    def five(one: float, all_of_them: float, terms: int = 8) -> list[dict[str, Any]]:
        kinds = [("5", one, terms), ("mean", all_of_them, terms), ("mean", 1.0, 16)]
        rows = [[row(target, value * (1 + i / 1e4), "perplexity", n) for target, value, n in kinds] for i in range(5)]
        return [{"rows": each} for each in rows]

    other = [{"rows": [row("5", 400.0, "perplexity")], "perplexity": 400.0}] * 5
    for one, all_of_them, outcome in (
        (340, 330, "seen here"),
        (330, 340, "not seen here"),
        (330, 331, "no difference"),
    ):
        write_run(RUN, L4=other, L5=five(one, all_of_them))
        verdict = judge_one("scales-help")
        assert verdict.outcome == outcome
        assert verdict.measured == pytest.approx(math.log(all_of_them / one))
    write_run(RUN, L4=other, L5=five(340, 330)[:4])
    assert judge_one("scales-help").outcome == "undecided"
    write_run(RUN, L4=other, L5=five(340, 330)[:4] + five(1, 2, terms=4)[:1])
    assert judge_one("scales-help").outcome == "awaits"


@pytest.mark.parametrize(
    ("name", "measure", "better"),
    [("ladder-against-svd", "relative_error", 0.1), ("neighbours-kept", "neighbours_kept", 0.3)],
)
def test_rungs_are_compared_with_what_has_their_bits(
    judge_one: JudgeOne, write_run: WriteRun, name: str, measure: str, better: float
) -> None:
    beside_l3 = row("mean", 9.0, measure, beside="L3")

    def arms(l5: float, svd: float) -> dict[str, list[dict[str, Any]]]:
        return {
            "L5": [{"rows": [row("mean", l5, measure)]}] * 5,
            "SVD": [{"rows": [beside_l3, row("mean", svd, measure, beside="L5")]}] * 5,
        }

    write_run(RUN, **arms(better, 0.2))
    assert judge_one(name).outcome == "seen here"
    write_run(RUN, **arms(0.2, better))
    assert judge_one(name).outcome == "not seen here"
    write_run(RUN, **arms(0.2, 0.2))
    assert judge_one(name).outcome == "no difference"


def widths(exponents: tuple[float, ...], firsts: tuple[float, ...] = (0.3, 0.4, 0.5)) -> dict[str, Any]:
    """Cascades that follow a power law exactly, shuffled."""
    k = [3, 1, 4, 2, 6, 5, 8, 7]
    kinds = zip(("5", "15", "50"), firsts, exponents, strict=True)
    return {"sigma": {window: [first * n**b for n in k] for window, first, b in kinds}}


def law(power: float) -> tuple[float, ...]:
    return tuple((s / 5) ** power / 3 for s in (5, 15, 50))


THIRD = law(0)


@pytest.mark.parametrize(
    ("name", "record", "outcome", "measured"),
    [
        ("kpz-here", widths(THIRD), "seen here", dict.fromkeys(("window 5", "window 15", "window 50"), 1 / 3)),
        ("kpz-here", widths(law(-0.5)), "partly", None),
        ("kpz-here", widths((0.6, 0.7, 0.8)), "not seen here", None),
        ("root-law-here", widths(law(-0.5)), "seen here", -0.5),
        ("root-law-here", widths(THIRD), "not seen here", 0.0),
        ("root-law-here", widths((0.4, 0.2, 0.0)), "awaits", None),  # no power of the window is 0
        ("short-is-sharper-here", widths(THIRD), "seen here", math.log(0.5 / 0.3)),
        ("short-is-sharper-here", widths(THIRD, (0.5, 0.4, 0.3)), "not seen here", math.log(0.3 / 0.5)),
        ("short-is-sharper-here", widths(THIRD, (0.5, 0.4, 0.5001)), "no difference", math.log(0.5001 / 0.5)),
    ],
)
def test_what_widths_say(
    judge_one: JudgeOne, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, name: str, record: dict[str, Any],
    outcome: str, measured: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(checks, "read_from_planted", lambda: (0.33, 0.34))
    assert judge_one(name).outcome == "awaits"
    write_run(RUN, L3=[record] * 5)
    verdict = judge_one(name)
    assert verdict.outcome == outcome
    if measured is not None:
        assert verdict.measured == pytest.approx(measured, abs=1e-6)
    write_run(RUN, L3=[record] * 4 + [{"sigma": {"5": record["sigma"]["5"]}}])
    assert judge_one(name).outcome == "awaits"


@pytest.mark.parametrize(
    ("exponents", "error", "resolution", "outcome"),
    [
        ((0.33, 0.34, 0.33), 0.01, 0.02, "seen here"),
        ((0.33, 0.34, 0.6), 0.01, 0.02, "partly"),
        ((0.6, 0.6, 0.6), 0.01, 0.02, "not seen here"),
        ((0.33, 0.34, 0.33), 0.10, 0.02, "undecided"),  # a reading that is itself in doubt
        ((0.33, 0.34, 0.33), 0.01, 0.06, "undecided"),  # planted exponents are read no nearer
    ],
)
def test_what_widths_on_no_list_say(
    judge_one: JudgeOne, write_run: WriteRun, exponents: tuple[float, ...], error: float, resolution: float,
    outcome: str,
) -> None:  # fmt: skip
    assert judge_one("kpz-off-the-list").outcome == "awaits"
    by_window = dict(zip(("5", "15", "50"), exponents, strict=True))
    read = {"sigma_exponent": by_window, "sigma_exponent_error": dict.fromkeys(by_window, error)}
    write_run("gauge-kpz", continuous=[read] * 5, planted=[{"resolution": resolution}] * 5)
    verdict = judge_one("kpz-off-the-list")
    assert verdict.outcome == outcome
    assert [part.measured for part in verdict.parts] == pytest.approx(list(exponents))
    assert ("planted exponents are missed by up to 0.06" in verdict.words) == (resolution == 0.06)


@pytest.mark.parametrize("name", ["kpz-here", "root-law-here", "short-is-sharper-here"])
def test_widths_that_end_where_the_fit_ends_decide_nothing(
    judge_one: JudgeOne, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(checks, "read_from_planted", lambda: (0.33, 0.34))
    same = widths(THIRD, (0.3, 0.3, 0.3))
    write_run(RUN, L3=[same] * 5)
    verdict = judge_one(name)
    assert verdict.outcome == "undecided"
    assert f"all {10 if 'sharper' in name else 15} fits run from 0.3 to 1 columns" in verdict.words
    assert "8 drawn from these at random have an exponent of" in verdict.words


@pytest.mark.parametrize("name", ["kpz-here", "root-law-here"])
def test_a_fit_that_misreads_a_planted_law_decides_nothing(
    judge_one: JudgeOne, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_run(RUN, L3=[widths(law(-0.5))] * 5)
    verdict = judge_one(name)  # the library's own fit
    assert verdict.outcome == "undecided" and "where 1/3 is planted" in verdict.words


def test_a_replaced_layer_keeps_the_accuracy(judge_one: JudgeOne, write_run: WriteRun) -> None:
    dense = [{"final_accuracy": 0.999}] * 5
    for l5, outcome in ((0.9985, "no difference"), (0.90, "not seen here"), (0.985, "undecided")):
        write_run("gauge-network", dense=dense, L5=[{"final_accuracy": l5}] * 5)
        verdict = judge_one("drop-in-here")
        assert verdict.outcome == ("seen here" if outcome == "no difference" else outcome)
        assert verdict.measured == pytest.approx(100 * (l5 - 0.999))


@pytest.mark.parametrize(
    ("name", "run", "row", "measure"),
    [
        ("learned-connection-helps", "gauge-connection", {"target": "mean", "terms": 8}, "relative_error"),
        ("learned-attention-helps", "gauge-connection", {"target": "mean", "terms": 8}, "relative_error"),
        ("learned-parts-pay", "gauge-connection", {"target": "encoder", "terms": 8}, "relative_error"),
        ("stack-against-components", "gauge-cosmic", {"target": "mean", "terms": 16}, "held_out_error"),
        ("cosmic-against-svd", "gauge-cosmic", {"target": "mean", "terms": 16}, "relative_error"),
    ],
)
def test_what_the_learned_rungs_say(
    judge_one: JudgeOne, write_run: WriteRun, claims: dict[str, Claim], name: str, run: str, row: dict[str, Any],
    measure: str,
) -> None:  # fmt: skip
    """Of each target its own rows; spread out, because seeds share the text or the pictures."""
    arguments = claims[name].arguments
    first, second = (arguments[side]["arm"] for side in ("first", "second"))
    assert judge_one(name).outcome == "awaits"

    def write(gap: float, spread: float = 0.0) -> None:
        def of(error: float) -> dict[str, Any]:
            # directly in the record and at another target stand other numbers
            return {measure: 0.9, "rows": [{**row, "target": "other", measure: 0.7}, {**row, measure: error}]}

        errors = [0.3 + gap + spread * step for step in (-2, -1, 0, 1, 2)]
        write_run(run, **{first: [of(error) for error in errors], second: [of(0.3)] * 5})

    for gap, outcome in ((-0.02, "seen here"), (0.001, "no difference"), (0.02, "not seen here")):
        write(gap)
        verdict = judge_one(name)
        assert verdict.outcome == outcome and verdict.measured == pytest.approx(gap)
    write(-0.02, 0.005)  # as far from 0 as five seeds of their own would decide
    assert interval([-0.03, -0.025, -0.02, -0.015, -0.01]).high < -0.01 and judge_one(name).outcome == "undecided"
