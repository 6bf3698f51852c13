"""Chapters 2 and 3: what their own checks find when the code is another, and what their runs must have had."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.cantor import math as cantor
from mobius_lib.ledger import Verdict
from mobius_lib.ledger.base import Missing, Sample
from mobius_lib.ledger.checks import simplex as checks
from mobius_lib.ledger.results import Results
from mobius_lib.simplex import GeoFractalDavid, loss
from mobius_lib.waves import math as waves

JudgeOne = Callable[..., Verdict]
WriteRun = Callable[..., Path]

EXPECTED = {
    "reproduced": """alpha-global alpha-weighs-middle alpha-change alpha-not-converged triadic-soft cantor-continuous
        prototypes-one-per-class prototypes-pull prototypes-agree prototypes-cluster fusion-gains
        simplex-vertices-per-class centroid-similarity centroids-at-zero cantor-normalised crystal-distance
        weights-differ weights-sum cross-entropy-of-scores contrast-direction rate-factors imagenet-rows""",
    "partly": "staircase-unit-interval usage-snippet weights-follow-scale simplex-shape-kept",
    "refuted": """mask-fractal alpha-start alpha-stays-near-half staircase-fractal prototypes-reachable
        prototypes-in-middle prototypes-cover simplex-vertices cantor-term-decides free-templates rows-independent
        no-cross-entropy settings-stated no-supervision""",
    "undecided": "david-comparable",
}
"""A golden list: a change here changes what the book says, so it should be meant."""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def test_code_alone_decides_just_these(without_results: list[Verdict]) -> None:
    found = {v.claim.id: v.outcome for v in without_results if v.outcome != "awaits" and v.claim.chapter in (2, 3)}
    assert found == {name: outcome for outcome, names in EXPECTED.items() for name in names.split()}


# Other code, another outcome.


def ternary_mask(channels: int, layer: int, reduction: float = 0.5) -> Tensor:
    """What the card's words would be: of every interval that is left, the middle third is turned down."""
    place, kept = torch.arange(channels), torch.ones(channels, dtype=torch.bool)
    for level in range(layer + 1):
        middle = kept & (place // (channels // 3 ** (level + 1)) % 3 == 1)
        kept = kept & ~middle
    return torch.where(middle, reduction, 1.0)


class _Other(GeoFractalDavid):
    """A model whose terms are the mean vertex's, a plain distance's and the farthest vertex's, and nothing learns."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"position": "features"}))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("prototypes" not in name)

    def get_scale_logits(self, features: Tensor) -> dict[int, Tensor]:
        c = self.get_cantor_values(features)[:, None]
        found = {}
        for head in self.heads.values():
            q, v, weights = head.project(features), head.class_prototypes, head.weights()
            gap, far = (c - head.cantor_prototypes).abs(), (q[:, None, None] - v).norm(dim=-1).amax(-1)
            found[head.scale] = weights[0] * (q @ v.mean(dim=1).T) - weights[1] * gap - weights[2] * far
        return found

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return None


def unlabelled(position: Tensor, prototypes: Any, y: Tensor) -> Tensor:
    return torch.stack([(position[:, None] - p.detach()).abs().amin(1).mean() for p in prototypes]).mean()


exact = cantor.cantor_function


@pytest.mark.parametrize(
    ("names", "where", "attribute", "replacement", "outcome"),
    [
        ("mask-fractal", waves, "thirds_mask", ternary_mask, "reproduced"),
        ("staircase-fractal", cantor, "staircase_published", lambda x, a, t: exact(x), "reproduced"),
        ("staircase-unit-interval", cantor, "staircase_published", lambda x, a, t: exact(x), "reproduced"),
        ("staircase-unit-interval", cantor, "staircase_published", lambda x, a, t: x - 0.1, "refuted"),
        ("prototypes-reachable", cantor, "staircase_published", lambda x, a, t: x - 0.5, "reproduced"),
        ("simplex-shape-kept free-templates rows-independent", checks, "GeoFractalDavid", _Other, "reproduced"),
        ("prototypes-one-per-class simplex-vertices", checks, "GeoFractalDavid", _Other, "refuted"),
        ("centroid-similarity cantor-normalised crystal-distance", checks, "GeoFractalDavid", _Other, "refuted"),
        ("usage-snippet", checks, "GeoFractalDavid", _Other, "partly"),
        ("no-cross-entropy", loss, "contrastive", lambda s, y, t: F.multi_margin_loss(s, y), "reproduced"),
        ("cross-entropy-of-scores", loss, "contrastive", lambda s, y, t: F.multi_margin_loss(s, y), "refuted"),
        ("contrast-direction", loss, "contrastive", lambda s, y, t: -F.cross_entropy(s, y), "refuted"),
        ("prototypes-pull", loss, "discretisation", unlabelled, "refuted"),
        ("rate-factors", checks, "parameter_groups", lambda m, lr: [{"name": "heads", "lr": lr}], None),
    ],
)
def test_the_outcome_follows_the_code(
    judge_one: JudgeOne,
    monkeypatch: pytest.MonkeyPatch,
    names: str,
    where: Any,
    attribute: str,
    replacement: Any,
    outcome: str | None,
) -> None:
    before = [judge_one(name) for name in names.split()]
    monkeypatch.setattr(where, attribute, replacement)
    if outcome is None:
        with pytest.raises(Exception, match="the check finds the parts"):
            judge_one(names)
        return
    after = [judge_one(name) for name in names.split()]
    assert [each.outcome for each in after] == [outcome] * len(after)
    assert all(a.measured != b.measured for a, b in zip(after, before, strict=True))


def test_a_loss_without_labels_supervises_nothing(judge_one: JudgeOne, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "discretisation", unlabelled)
    parts = {part.name: part.outcome for part in judge_one("no-supervision").parts}
    assert parts == {"change with other labels": "reproduced", "geometric parameters reached": "refuted"}  # α is


# The numbers themselves, against closed forms and FACTS.


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
    assert isinstance(checks.run_learned(results, arm="c", distance=1, **asked), Missing)


def test_parts_of_a_record_wait_together(write_run: WriteRun, results: Results) -> None:
    write_run("r", a=[{"deep": {"x": 1.0, "y": 2.0}}] * 3)
    ask = {"run": "r", "arm": "a", "scale": "short"}
    found = checks.run_parts(results, measures={"first": "deep/x", "second": "deep/y"}, **ask)
    assert {name: part.values for name, part in found.value.items()} == {"first": (1.0,) * 3, "second": (2.0,) * 3}
    assert isinstance(checks.run_parts(results, measures={"first": "deep/x", "third": "deep/z"}, **ask), Missing)
