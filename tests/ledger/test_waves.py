"""Chapter 1's checks: what they find, in code, in the card's table and in the records of a run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobius_lib.ledger import Claim, Verdict, results
from mobius_lib.ledger.checks import waves as checks
from mobius_lib.ledger.checks.runs import reachable
from mobius_lib.waves import math as waves

JudgeOne = Callable[..., Verdict]
WriteRun = Callable[..., Path]


def test_the_counts_are_those_measured_on_the_printed_class(without_results: list[Verdict]) -> None:
    found = {verdict.claim.id: verdict for verdict in without_results}
    counts = {"params-base": 33_709_338, "params-clip": 1_745_318, "params-tiny-s": 1_540_870}  # of the published class
    assert {name: found[name].measured for name in counts} == counts and "950,534 without" in found[
        "params-tiny-s"
    ].words
    assert found["flops-base"].measured == pytest.approx(2.66e9, abs=5e6)  # the class's, to two decimals
    assert found["means-are-no-weights"].measured == [2.43, 2.45, 2.54, 1.89, 0.40, 0.09]


@pytest.mark.parametrize(
    ("name", "changes", "outcome"),
    [
        ("alpha-rises", {"alpha": [0.22, 0.5, 0.6, 2.0, 2.1, 5.22]}, "reproduced"),
        (
            "selectivity-rises",
            {"left": [0.9, 0.8, 0.6, 0.4, 0.2, 0.0], "middle": [0.5] * 6, "right": [0.5] * 6},
            "reproduced",
        ),
        ("alpha-selects", {"alpha": [0.64, 0.22, 0.50, 2.00, 2.09, 5.22]}, "reproduced"),
        ("table-possible", {"left": [0.8, 0.5, 0.8, 0.8, 0.1, 0.0]}, "partly"),  # exp(-0.64) = 0.53 in the second block
        ("middle-right-diverge", {"middle": [0.8, 0.8, 0.8, 0.2, 0.1, 0.0]}, "reproduced"),
        ("middle-right-diverge", {"left": [0.8, 0.8, 0.8, 0.5, 0.1, 0.0]}, "refuted"),
        ("label-sharpening", {"left": [0.8, 0.8, 0.5, 0.8, 0.1, 0.0]}, "reproduced"),
        (
            "label-nearly-all",
            {path: [0.9, 0.95, 0.8, 0.4, 0.1, 0.0] for path in ("left", "middle", "right")},
            "reproduced",
        ),
        ("label-winners", {"right": [0.7, 0.8, 0.8, 0.5, 0.2, 0.2]}, "refuted"),
        ("xor-near-pure", {"xor": [0.4, 0.7, 0.8, 0.4, 0.6, 4.0]}, "partly"),  # as a parameter alone
    ],
)
def test_the_outcome_follows_the_table(
    judge_one: JudgeOne, claims: dict[str, Claim], name: str, changes: dict[str, list[float]], outcome: str
) -> None:
    numbers = claims[name].numbers
    rows = [row | {key: column[i] for key, column in changes.items()} for i, row in enumerate(numbers["lens"])]
    assert judge_one(name, numbers=numbers | {"lens": rows}).outcome == outcome


def test_what_a_run_left_is_looked_for(judge_one: JudgeOne, monkeypatch: pytest.MonkeyPatch) -> None:
    names, _ = checks._small_run()
    fewer = [name for name in names if "alpha" not in name and "final_model.pt" not in name]
    monkeypatch.setattr(checks, "_small_run", lambda: (fewer, False))
    lost = {}
    for claim in ("checkpoint-layout", "checkpoint-resume", "tensorboard-list"):
        lost[claim] = [part.name for part in judge_one(claim).parts if part.outcome == "refuted"]
    assert [len(parts) for parts in lost.values()] == [1, 1, 1]
    assert lost["checkpoint-layout"] == ["best and final model"] and lost["tensorboard-list"] == ["lens parameters"]


# Runs.


def trained(rate: float, **readings: list[float]) -> dict[str, Any]:
    """A record whose six lenses (or fewer) read so, after one epoch at that rate."""
    state = {f"block{i}/{name}": value for name, column in readings.items() for i, value in enumerate(column)}
    return {"lens_state": state, "history": [{"epoch": 1, "lr": rate}]}


SETTING = {"configuration": {"train_samples": 1000, "batch_size": 10, "epochs": 1}}


@pytest.mark.parametrize(
    ("name", "reading", "column", "rate", "outcome"),
    [
        ("alpha-rises-here", "alpha", [1.0, 1.5, -2.0], 0.01, "seen here"),
        ("alpha-rises-here", "alpha", [1.0, 1.5, -2.0], 0.001, "undecided"),  # 0.1 cannot have moved it by 0.25
        ("alpha-rises-here", "alpha", [2.0, 1.5, 1.0], 0.01, "not seen here"),
        ("alpha-rises-here", "alpha", [1.5, 3.0, 1.4], 0.01, "no difference"),
        ("xor-emerges-here", "xor_weight", [0.5, 0.95], 0.03, "seen here"),
        ("xor-emerges-here", "xor_weight", [0.5, 0.95], 0.02, "undecided"),  # the logit of 0.94 is 2.75, 2.05 above
        ("winners-here", "gate_participation", [0.9, 0.05], 0.03, "seen here"),
        ("winners-here", "gate_participation", [0.05, 0.9], 0.03, "not seen here"),
        ("winners-here", "gate_participation", [0.05, 0.9], 0.02, "undecided"),
        ("ghost-path-learned", "weight_m", [0.29, 0.30], 0.01, "seen here"),
        ("ghost-path-learned", "weight_m", [0.29, 0.36], 0.01, "not seen here"),
    ],
)
def test_what_lenses_learn(
    judge_one: JudgeOne, write_run: WriteRun, name: str, reading: str, column: list[float], rate: float, outcome: str
) -> None:
    write_run("waves-tiny-features", SETTING, lens=[trained(rate, **{reading: column})] * 5)
    assert judge_one(name).outcome == outcome
    write_run("waves-tiny-features", SETTING, lens=[trained(rate, omega=column)] * 5)
    assert judge_one(name).outcome == "awaits"


def test_what_is_in_reach_is_the_sum_of_all_steps_rates(write_run: WriteRun) -> None:
    history = [{"epoch": 1, "lr": 0.01}, {"epoch": 2, "lr": 0.005}]
    path = write_run("r", {"configuration": {"train_samples": 95, "batch_size": 10}}, a=[{"history": history}])
    assert reachable(results.read(path), "a", 0.149).open and not reachable(results.read(path), "a", 0.151).open
    assert not reachable(results.read(write_run("r", a=[{"history": history}])), "a", 0.0).open


@pytest.mark.parametrize("channels", [256, 128])
def test_winners_take_a_larger_norm(channels: int) -> None:
    # one winner in twenty of a normed pattern stands at +4.36, the rest at -0.229: their gates must fall to 0.02
    patterns = (torch.arange(channels) < torch.arange(1, channels // 4)[:, None]).double()
    far = checks._to_winners(0.1)
    for away, enough in ((far, True), (far - 0.2, False)):
        weight, bias = (torch.full((channels,), value, dtype=torch.float64) for value in (1 + away, -away))
        assert (waves.participation(waves.gate(patterns, weight, bias)).min().item() <= 0.1) is enough
    assert math.isclose(far, 2.9)


def test_the_published_weights(judge_one: JudgeOne, write_run: WriteRun, claims: dict[str, Claim]) -> None:
    table = claims["table-of-weights"].reported
    columns = {"omega": table["omega"], "alpha": [-a for a in table["alpha"]], "xor_weight": table["xor"]}

    def found(
        accuracy: float = 0.8083, gates: tuple[float, ...] = (0.8, 0.8, 0.7, 0.5, 0.1, 0.05), **changes: Any
    ) -> Any:
        record = trained(0, **columns | {"gate_participation": list(gates)} | changes) | {"final_accuracy": accuracy}
        write_run("waves-clip-weights", scale="full", lens=[record])
        return [
            judge_one(name).outcome
            for name in ("clip-top1-weights", "table-of-weights", "winners-at-the-end", "sparse-coding")
        ]

    assert found() == ["reproduced", "reproduced", "reproduced", "refuted"]
    assert found(0.81, (0.1,) * 6, omega=[1.56, *table["omega"][1:]]) == [
        "refuted",
        "partly",
        "reproduced",
        "reproduced",
    ]
    assert found(gates=(0.1,) * 5 + (0.2,))[2:] == ["refuted", "reproduced"]
