"""Chapter 3: what GeoFractalDavid is by construction, and what only its runs can show."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.errors import CheckpointError
from mobius_lib.ledger.base import Found, Gate, Sample, register
from mobius_lib.ledger.checks.runs import reachable, run_value
from mobius_lib.ledger.results import Results
from mobius_lib.simplex import TERMS, GeoFractalDavid, loss, parameter_groups
from mobius_lib.simplex import math as simplex

MODEL = ("mobius_lib.simplex.GeoFractalDavid",)
DIM = 512
ONLY = 50.0
"""A mixing weight's logit that leaves the other two terms a share of exp(-100), which is 0 beside 1 in float32."""


@register
def david_count(*, pattern: str, per: int = 1, vectors: bool = False) -> Found:
    """Learned numbers of the k = 12 model whose names fit a pattern, or of their rows, per so many."""
    shapes = {name: shape for name, shape in _shapes(GeoFractalDavid).items() if fnmatchcase(name, pattern)}
    counts = [math.prod(shape[:-1] if vectors else shape) for shape in shapes.values()]
    what = "vectors" if vectors else "numbers"
    words = f"{len(counts)} parameter(s) called {pattern} hold {' + '.join(f'{n:,}' for n in counts)} {what}"
    return Found(sum(counts) / per, words + (f", divided by {per:,}." if per > 1 else "."), MODEL)


@register
def david_term(*, term: str, alphas: Sequence[float] = (0.5,)) -> Found:
    """The model's logits with the weight on one term alone, against that term taken row by row and class by class."""
    model, features, worst = _small(), _unit_rows(40, 24), 0.0
    with torch.no_grad():
        for head in model.heads.values():
            head.geo_weights.fill_(-ONLY)
            head.geo_weights[TERMS.index(term)] = ONLY
        for alpha in alphas:
            model.cantor_stairs.alpha.fill_(alpha)
            position = model.get_cantor_values(features)[:, None]
            for scale, logits in model.get_scale_logits(features).items():
                head = model.heads[str(scale)]
                q, v = head.project(features)[:, None], head.class_prototypes
                written = {
                    "feature": F.cosine_similarity(q, v.mean(dim=1), dim=-1),
                    "cantor": -(position - head.cantor_prototypes).square(),
                    "crystal": -(q[:, None] - v).norm(dim=-1).amin(dim=-1),
                }[term]
                worst = max(worst, (logits - written).abs().max().item())
    return Found(worst, f"For 40 features and {len(model.heads)} scales they agree to {worst:.0e}.", MODEL)


@register
def simplex_evenness(*, k: int, steps: int, clip: float) -> Found:
    """Longest over shortest edge of the class simplices, at the start and after some steps of AdamW on made rows."""
    model = GeoFractalDavid(feature_dim=32, num_classes=10, k=k, scales=[2 * k], init="published")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1e-5)
    means, before = _unit_rows(10, 32), _unevenness(model)
    for _ in range(steps):
        labels = torch.randint(10, (64,))
        features = F.normalize(means[labels] + 0.1 * torch.randn(64, 32), dim=-1)
        optimizer.zero_grad()
        loss.BasinLoss()(model.geometry(features), labels)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    words = f"AdamW at the sibling run's rate of 0.01, gradients clipped at norm {clip:g}: no term of the loss pulls"
    found = {"at the start": before, f"after {steps} steps": _unevenness(model)}
    return Found(found, f"{words} vertices back to a regular simplex.", MODEL)


@register
def usage_snippet(*, k: int, scales: Sequence[int], printed: Mapping[str, Any], line: str, classes: int = 6) -> Found:
    """The card's snippet: whether the model that it builds takes the weights of the results, and what it prints."""
    weights = GeoFractalDavid(feature_dim=DIM, num_classes=classes, k=k, scales=scales).state_dict()
    model = GeoFractalDavid(feature_dim=DIM, num_classes=classes, **printed)
    own = model.state_dict()
    fit = sum(name in own and own[name].shape == tensor.shape for name, tensor in weights.items())
    said = line.format()  # an f-string, too, turns {{ into a brace and fills nothing in between
    columns = model(_unit_rows(3, DIM)).shape[1]
    try:
        model.load_state_dict(weights)
        loads = True
    except CheckpointError:
        loads = False
    words = f"{fit} of {len(weights)} tensors of k = {k} and {len(scales)} scales fit; it prints {said!r}."
    found = {"the weights load": loads, "α is printed": "0.5000" in said, "one logit per class": columns == classes}
    return Found(found, words, MODEL)


@register
def rows_moved(*, classes: int, rows: int, alpha: float, ends: Sequence[float], table: list[dict[str, Any]]) -> Found:
    """Share of the rows that get another class in another order, with the card's mixing weights, alpha and prototypes.

    The rest of the weights is as initialised: the published ones are not here.
    """
    features, order, scales = _unit_rows(rows, DIM), torch.randperm(rows), [row["scale"] for row in table]
    model = GeoFractalDavid(
        feature_dim=DIM, num_classes=classes, scales=scales, alpha_init=alpha, init="published", position="batch"
    )
    with torch.no_grad():
        for head, row in zip(model.heads.values(), table, strict=True):
            head.geo_weights.copy_(torch.tensor([row[term] for term in TERMS]).log())
            head.cantor_prototypes.copy_(torch.linspace(*ends, classes))
        moved = model(features)[order].argmax(-1) != model(features[order]).argmax(-1)
    share = moved.double().mean().item()
    words = f"The published position counts a row's place in its batch: of the same {rows} rows in another order"
    return Found(share, f"{words} {share:.1%} get another class.", MODEL)


@register
def contrast(*, what: str) -> Found:
    """Of the loss's first term: how far it is from a cross-entropy written out, or whom its slope lifts and lowers."""
    log_scores, y = torch.randn(64, 9).clamp(max=0).requires_grad_(), torch.randint(9, (64,))
    term = loss.contrastive(log_scores, y, 0.1)
    right = log_scores.gather(1, y[:, None]).squeeze(1) / 0.1
    gap = (term - ((log_scores / 0.1).logsumexp(1) - right).mean()).abs().item()
    (slope,) = torch.autograd.grad(term, log_scores)
    signs = torch.where(F.one_hot(y, 9) > 0, slope <= 0, slope >= 0).double().mean().item()
    value, words = {
        "gap": (gap, f"It differs from log Σ exp(s/T) - s_y/T over the log scores s, at T = 0.1, by {gap:.0e}."),
        "signs": (signs, f"Its slope has the right sign for {signs:.1%} of 64 rows by 9 classes."),
    }[what]
    return Found(value, words, ("mobius_lib.simplex.loss.contrastive",))


@register
def cantor_supervision(*, what: str) -> Found:
    """Of the loss's Cantor term: what its slope does to positions, whether it reads labels, and what it reaches."""
    model, features, y = _small(), _unit_rows(40, 24), torch.arange(40) % 7
    geometry = model.geometry(features)
    prototypes = [scale.prototypes for scale in geometry.scales.values()]
    term, other = (loss.discretisation(geometry.cantor, prototypes, labels) for labels in (y, y.roll(1)))
    learned = [model.cantor_stairs.alpha, *(head.cantor_prototypes for head in model.heads.values())]
    position, *slopes = torch.autograd.grad(term, [geometry.cantor, *learned], allow_unused=True)
    away = geometry.cantor - torch.stack([each[y] for each in prototypes]).mean(dim=0)
    pulled = 0.0 if position is None else (position * away > 0).double().mean().item()
    reached = sum(slope is not None and bool(slope.any()) for slope in slopes)
    moved = abs(term.item() - other.item())
    words = f"With other labels it moves by {moved:.3f}, and its slope reaches {reached} of {len(learned)} parameters"
    found = {"change with other labels": moved, "geometric parameters reached": reached}
    value: Any = pulled if what == "pull" else found
    return Found(value, f"{words} of the geometry.", ("mobius_lib.simplex.loss.discretisation",))


@register
def rate_factors() -> Found:
    """What the learning rate is multiplied by for each group of parameters."""
    found = {group["name"]: group["lr"] for group in parameter_groups(_small(), 1.0)}
    return Found(found, "The groups hold each trained parameter once.", ("mobius_lib.simplex.parameter_groups",))


@register
def run_learned(
    results: Results, *, run: str, arm: str, measure: str, scale: str, what: str,
    minus: str | None = None, away_from: float | None = None, distance: float | None = None,
) -> Sample:  # fmt: skip
    """A parameter (or one minus another) that an arm has learned, seed by seed.

    Args:
        what: how it is called.
        away_from: a number, from which its distance is taken; a mean over seeds may lie where none of them does.
        distance: how far the source's own went; the run must have had steps enough to go as far.
    """
    first, *second = (run_value(results, run=run, arm=arm, measure=m, scale=scale) for m in (measure, minus) if m)
    values = tuple(sum(pair) for pair in zip(first.values, *([-v for v in s.values] for s in second), strict=True))
    values = values if away_from is None else tuple(abs(value - away_from) for value in values)
    reach = () if distance is None else (reachable(results.find(run, arm, scale=scale), arm, distance),)
    return replace(first, values=values, words=f"{what} of {arm}.", gates=(*first.gates, *reach), row_error=0.0)


@register
def not_known(*, words: str) -> Found:
    """What no run of ours can decide, as the source leaves out what it takes."""
    return Found(None, "", gates=(Gate(words, False),))


@functools.lru_cache(maxsize=4)
def _shapes(model: Any) -> dict[str, torch.Size]:
    """Shape of every learned parameter of the k = 12 model. Kept, as building 63 million of them takes a second."""
    return {name: p.shape for name, p in model().named_parameters() if p.requires_grad}


def _small() -> GeoFractalDavid:
    """A model of two scales, in which every parameter has been moved away from its start."""
    model = GeoFractalDavid(feature_dim=24, num_classes=7, k=4, scales=[16, 20])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def _unit_rows(count: int, dim: int) -> Tensor:
    return F.normalize(torch.randn(count, dim), dim=-1)


def _unevenness(model: GeoFractalDavid) -> float:
    """Longest over shortest edge, of the class for which that is largest."""
    lengths = [simplex.edges(head.class_prototypes.detach()) for head in model.heads.values()]
    return max((edge.amax(-1) / edge.amin(-1)).max().item() for edge in lengths)
