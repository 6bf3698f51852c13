"""Chapter 3: what GeoFractalDavid is by construction. Random draws are repeatable: a check is called with its own
random state."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.errors import CheckpointError
from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.simplex import GeoFractalDavid, loss
from mobius_lib.simplex import math as simplex

MODEL = "mobius_lib.simplex.GeoFractalDavid"
ONLY = 50.0
"""A mixing weight's logit that leaves the other two terms a share of exp(-100), which is 0 beside 1 in float32."""


@register
def david_parameters(
    claim: Claim, results: Results, *, k: int, scales: list[int], classes: int, dim: int
) -> Measurement:
    """Parameters of a model of these sizes, beside the same number by hand."""
    shapes = _shapes(GeoFractalDavid, k, tuple(scales), classes, dim)
    count = sum(shape.numel() for shape, learned in shapes.values() if learned)
    heads = sum(shape.numel() for name, (shape, _) in shapes.items() if name.endswith("class_prototypes"))
    return Measurement(
        count,
        "parameters",
        REPRODUCED if abs(count - reported_number(claim)) <= (claim.tolerance or 0.0) else REFUTED,
        f"k = {k}, {len(scales)} scales, {classes:,} classes and {dim} features give {count:,} parameters, of which "
        f"{heads:,} ({heads / count:.0%}) are coordinates of simplex vertices.",
        (MODEL,),
    )


@register
def simplex_vertices(
    claim: Claim, results: Results, *, k: int, scales: list[int], classes: int, dim: int
) -> Measurement:
    """Vertices that the model holds, in all and on each scale."""
    shapes = _shapes(GeoFractalDavid, k, tuple(scales), classes, dim)
    each = [shape[0] * shape[1] for name, (shape, _) in shapes.items() if name.endswith("class_prototypes")]
    reported = reported_number(claim)
    verdict: Word = REPRODUCED if sum(each) == reported else PARTLY if set(each) == {reported} else REFUTED
    return Measurement(
        sum(each),
        "vertices",
        verdict,
        f"{classes:,} classes × {k + 1} vertices are {each[0]:,} on each scale, and every one of the {len(each)} "
        f"scales has its own: {sum(each):,} in all.",
        (MODEL,),
    )


@register
def free_templates(claim: Claim, results: Results, *, k: int, scales: list[int], classes: int, dim: int) -> Measurement:
    """Learned numbers that belong to single classes, beside those of a linear classifier of the same features."""
    shapes = _shapes(GeoFractalDavid, k, tuple(scales), classes, dim)
    own = sum(s.numel() for n, (s, learned) in shapes.items() if learned and n.endswith("_prototypes"))
    per_class, linear = own // classes, dim + 1
    return Measurement(
        per_class,
        "free parameters per class",
        REPRODUCED if per_class == reported_number(claim) else REFUTED if per_class >= linear else PARTLY,
        f"Each class owns {per_class:,} numbers that gradient descent moves freely (the coordinates of its vertices on "
        f"all scales, and its Cantor prototypes); a row of W and its b are {linear}, so {per_class / linear:.0f} times "
        "as many. No constraint keeps them to a shape.",
        (MODEL,),
    )


@register
def simplex_shape(claim: Claim, results: Results, *, k: int, steps: int, clip: float, at_most: float) -> Measurement:
    """Longest over shortest edge of the class simplices, at the start and after some steps of AdamW."""
    before, after = _trained_unevenness(k, 0, clip), _trained_unevenness(k, steps, clip)
    rigid = _trained_unevenness(k, steps, None)
    verdict: Word = REFUTED if before > at_most else REPRODUCED if after <= at_most else PARTLY
    return Measurement(
        round(after, 2),
        "times the shortest edge",
        verdict,
        f"The longest edge of a class's simplex is {before:.4f} times its shortest at the start and {after:.2f} times "
        f"after {steps} steps with gradients clipped at norm {clip:g} (the card says that they are clipped, and not "
        f"where): nothing pulls the vertices back to a regular simplex. Without clipping it would be {rigid:.2f}, for "
        "the zero centroids then give a first gradient so large that Adam's steps stay next to nothing.",
        (MODEL, "mobius_lib.simplex.math.edges"),
    )


@register
def centroid_norms(claim: Claim, results: Results, *, k: int, dim: int, classes: int, at_least: float) -> Measurement:
    """How long the centroids of the published simplices are before training, beside their vertices."""
    published, spread = (_centroid_share(simplex.simplices(classes, k, dim, 0, kind)) for kind in simplex.KINDS[::-1])
    return Measurement(
        float(f"{published:.1e}"),
        "times a vertex's length",
        REPRODUCED if published >= at_least else PARTLY,
        f"A simplex whose rows are centred has its centroid at the origin: the longest of {classes} is {published:.0e} "
        "of its vertices' length, so the cosine to it is the direction of a rounding error until training moves the "
        f"vertices. (Our other initialisation gives {spread:.2f}.)",
        ("mobius_lib.simplex.math.simplices",),
    )


@register
def crystal_term(claim: Claim, results: Results) -> Measurement:
    """The model's logits with the crystal term alone, against distances taken one by one."""
    model, features = _small(), _unit_rows(40, 24)
    worst = 0.0
    with torch.no_grad():
        _keep_only(model, 2)
        for scale, logits in model.get_scale_logits(features).items():
            head = model.heads[str(scale)]
            apart = (head.project(features)[:, None, None] - head.class_prototypes).norm(dim=-1)
            worst = max(worst, (logits + apart.amin(dim=-1)).abs().max().item())
    return Measurement(
        float(f"{worst:.1e}"),
        "largest difference",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"With all the weight on the crystal term, the logits are minus the distance to the nearest vertex, to "
        f"{worst:.0e}, for 40 features and {len(model.heads)} scales.",
        (MODEL,),
    )


@register
def cantor_term(claim: Claim, results: Results, *, alphas: list[float]) -> Measurement:
    """The model's logits with the Cantor term alone: a plain squared distance, or one over alpha squared?"""
    model, features = _small(), _unit_rows(40, 24)
    plain = normalised = 0.0
    with torch.no_grad():
        _keep_only(model, 1)
        for alpha in alphas:
            model.cantor_stairs.alpha.fill_(alpha)
            position = model.cantor_stairs(features)
            for scale, logits in model.get_scale_logits(features).items():
                squared = (position[:, None] - model.heads[str(scale)].cantor_prototypes).square()
                plain = max(plain, (logits + squared).abs().max().item())
                normalised = max(normalised, (logits * alpha**2 + squared).abs().max().item())
    tolerance = claim.tolerance or 0.0
    return Measurement(
        "squared distance" if plain <= tolerance else "neither",
        "",
        REPRODUCED if normalised <= tolerance else PARTLY if plain <= tolerance else REFUTED,
        f"With all the weight on the Cantor term and α = {', '.join(f'{alpha:g}' for alpha in alphas)}, the logits "
        f"miss minus the squared distance by up to {plain:.0e}, and α² times the logits miss it by {normalised:.0e}: "
        + ("the distance stands as it is." if plain <= tolerance else "the term is another one."),
        (MODEL,),
    )


@register
def usage_snippet(claim: Claim, results: Results, *, k: int, scales: list[int], classes: int, dim: int) -> Measurement:
    """Weights of the sizes in the card's results, loaded into a model of the sizes in its snippet."""
    if not isinstance(claim.reported, dict):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads a mapping with k and scales.")
    weights = GeoFractalDavid(feature_dim=dim, num_classes=classes, k=k, scales=scales).state_dict()
    printed = GeoFractalDavid(feature_dim=dim, num_classes=classes, **claim.reported)
    own = printed.state_dict()
    fit = sum(name in own and own[name].shape == tensor.shape for name, tensor in weights.items())
    try:
        printed.load_state_dict(weights)
        loads = True
    except CheckpointError:
        loads = False
    sizes = f"k = {claim.reported['k']} and {len(claim.reported['scales'])} scales"
    return Measurement(
        f"{fit} of {len(weights)} tensors fit",
        "",
        REPRODUCED if loads else REFUTED,
        f"The results are of k = {k} and {len(scales)} scales; the snippet builds {sizes}. {fit} of {len(weights)} "
        f"tensors have the same name and shape there, and loading {'succeeds' if loads else 'raises an error'}.",
        (MODEL,),
    )


@register
def rows_independent(
    claim: Claim, results: Results, *, classes: int, rows: int, alpha: float, table: list[dict[str, Any]]
) -> Measurement:
    """Logits and classes of the same features in another order, with the card's mixing weights, alpha and prototypes.

    The rest of the weights is as initialised: the published ones are not here.
    """
    features, order = _unit_rows(rows, 512), torch.randperm(rows)
    found = {}
    for position in ("batch", "features"):
        model = GeoFractalDavid(
            feature_dim=512, num_classes=classes, k=12, scales=[row["scale"] for row in table], alpha_init=alpha,
            init="published", position=position,
        )  # fmt: skip
        with torch.no_grad():
            for row in table:
                head = model.heads[str(row["scale"])]
                head.geo_weights.copy_(torch.tensor([row[name] for name in ("feature", "cantor", "crystal")]).log())
                head.cantor_prototypes.copy_(torch.linspace(row["low"], row["high"], classes))
            straight, mixed = model(features), model(features[order])
        moved = straight[order].argmax(-1) != mixed.argmax(-1)
        found[position] = (straight[order] - mixed).abs().max().item(), moved.double().mean().item()
    (worst, changed), (ours, _) = found["batch"], found["features"]
    return Measurement(
        round(worst, 4),
        "largest difference",
        REFUTED if changed else PARTLY if worst > (claim.tolerance or 0.0) else REPRODUCED,
        f"The published position counts a row's place in its batch. The same {rows} rows in another order have logits "
        f"that differ by up to {worst:.4f}, and {changed:.0%} of them get another class; with our default position "
        f"the logits agree to {ours:.0e}.",
        (MODEL,),
    )


@register
def cross_entropy_inside(claim: Claim, results: Results) -> Measurement:
    """The first term of the loss against the cross-entropy of the log scores, written out."""
    log_scores, y = torch.randn(64, 9).clamp(max=0), torch.randint(9, (64,))
    right = log_scores.gather(1, y[:, None]).squeeze(1) / 0.1
    written = ((log_scores / 0.1).logsumexp(1) - right).mean()
    off = (loss.contrastive(log_scores, y, 0.1) - written).abs().item()
    same = off <= (claim.tolerance or 0.0)
    return Measurement(
        "cross-entropy of scores" if same else "another loss",
        "",
        REFUTED if same else REPRODUCED,
        "The first term of the author's public recipes is log Σ exp(s/T) - s_y/T over the log scores s, at T = 0.1: "
        + (f"a cross-entropy (equal to {off:.0e})" if same else f"no cross-entropy (off by {off:.2f})")
        + ". What differs from a linear classifier is how the scores are made, not how classes are learned from them.",
        ("mobius_lib.simplex.loss.contrastive",),
    )


@register
def supervised_terms(claim: Claim, results: Results) -> Measurement:
    """Whether the loss's Cantor term reads the labels, and whether its gradient reaches the geometry."""
    model, features, y = _small(), _unit_rows(40, 24), torch.arange(40) % 7
    found = model.geometry(features)
    prototypes = [scale.prototypes for scale in found.scales.values()]
    term, other = (loss.discretisation(found.cantor, prototypes, labels) for labels in (y, y.roll(1)))
    moved = abs(term.item() - other.item())
    geometry = [model.cantor_stairs.alpha, *(head.cantor_prototypes for head in model.heads.values())]
    slopes = torch.autograd.grad(term, geometry, allow_unused=True)
    reached = sum(slope is not None and bool(slope.abs().sum() > 0) for slope in slopes)
    reads, reaches = moved > 0, reached == len(geometry)
    return Measurement(
        f"labels in {'a' if reads else 'no'} geometric term",
        "",
        REFUTED if reads and reaches else PARTLY if reads or reaches else REPRODUCED,
        f"With other labels the term that pulls a Cantor position to its class's prototype moves by {moved:.3f}, and "
        f"its gradient reaches {reached} of {len(geometry)} geometric parameters (α and the prototypes of each scale)"
        + (": the labels supervise the geometry." if reads and reaches else "."),
        ("mobius_lib.simplex.loss.discretisation",),
    )


@functools.lru_cache(maxsize=8)
def _shapes(model: Any, k: int, scales: tuple[int, ...], classes: int, dim: int) -> dict[str, tuple[torch.Size, bool]]:
    """Every parameter's shape, and whether it learns. Kept, as building 63 million of them takes a second."""
    built = model(feature_dim=dim, num_classes=classes, k=k, scales=scales)
    return {name: (p.shape, p.requires_grad) for name, p in built.named_parameters()}


def _small() -> GeoFractalDavid:
    """A model of two scales, in which every parameter has been moved away from its start."""
    model = GeoFractalDavid(feature_dim=24, num_classes=7, k=4, scales=[16, 20])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def _keep_only(model: GeoFractalDavid, term: int) -> None:
    """Give one of the three terms all the weight, on every scale."""
    for head in model.heads.values():
        head.geo_weights.fill_(-ONLY)
        head.geo_weights[term] = ONLY


def _trained_unevenness(k: int, steps: int, clip: float | None) -> float:
    """Longest over shortest edge after so many steps on made rows, from the published start."""
    torch.manual_seed(0)
    model = GeoFractalDavid(feature_dim=32, num_classes=10, k=k, scales=[2 * k], init="published")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1e-5)
    means = _unit_rows(10, 32)
    for _ in range(steps):
        labels = torch.randint(10, (64,))
        features = F.normalize(means[labels] + 0.1 * torch.randn(64, 32), dim=-1)
        optimizer.zero_grad()
        loss.BasinLoss()(model.geometry(features), labels)[0].backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return _unevenness(model)


def _unit_rows(count: int, dim: int) -> Tensor:
    return F.normalize(torch.randn(count, dim), dim=-1)


def _unevenness(model: GeoFractalDavid) -> float:
    """Longest over shortest edge, of the class for which that is largest."""
    with torch.no_grad():
        lengths = [simplex.edges(head.class_prototypes) for head in model.heads.values()]
    return max((edge.amax(-1) / edge.amin(-1)).max().item() for edge in lengths)


def _centroid_share(v: Tensor) -> float:
    """The longest centroid over the mean length of the vertices."""
    return (simplex.centroid(v).norm(dim=-1).max() / v.norm(dim=-1).mean()).item()
