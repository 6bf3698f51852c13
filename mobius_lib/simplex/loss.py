"""The contrastive basin loss: make the right class's basin fit, and the others not.

The GeoFractalDavid card names the parts (contrast, coherence, separation, discretisation) and gives no formulas. The
nearest public recipes of its author give those of score, temperature, coherence, discretisation and scale consistency;
what they leave open is ours, and marked so. Everything is computed in logarithms: a score is a product of three numbers
that may be very small.

Shapes: `B` the batch, `C` the classes, `y` (B,) int64 labels in [0, C).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.native import concrete
from mobius_lib.simplex.david import Geometry, ScaleGeometry

CANTOR_WIDTH = 0.1
"""In the Cantor compatibility exp(-gap^2 / 0.1): a gap of 0.32 counts 1/e."""

LEAST = 1e-4
"""The feature compatibility is at least this, so that a class opposite to a feature gives no endless gradient: ours."""


def log_feature_compatibility(cosine: Tensor) -> Tensor:
    """log((cos + 1) / 2): 0 in the centroid's direction, log(1/2) across it, log(LEAST) opposite.

    Args:
        cosine: any shape, in [-1, 1].
    Source:
        the mapped cosine: the public recipes; the bound: ours.
    """
    # log1p: near the centroid (1 + cos) / 2 would round to 1
    return torch.log1p(((cosine - 1) / 2).clamp(LEAST - 1, 0))


def log_cantor_compatibility(gap: Tensor) -> Tensor:
    """-gap^2 / 0.1, the logarithm of exp(-gap^2 / 0.1).

    Args:
        gap: any shape, Cantor position minus prototype.
    Source:
        the public recipes.
    """
    return -gap.square() / CANTOR_WIDTH


def log_basin_compatibility(distance: Tensor) -> Tensor:
    """-distance, the logarithm of exp(-distance).

    Ours, because the source gives none. Of exp(-d) and 1 / (1 + d) it is the one for which the crystal term of the log
    score is the crystal term of the logits, so that training and prediction rank the vertices alike.

    Args:
        distance: any shape, to the nearest vertex.
    """
    return -distance


def log_score(scale: ScaleGeometry) -> Tensor:
    """log of the product of compatibilities^weight: how well each class fits on one scale, at most 0.

    Returns:
        (B, C).
    Source:
        the public recipes.
    """
    feature, cantor, crystal = scale.weights
    return (
        feature * log_feature_compatibility(scale.cosine)
        + cantor * log_cantor_compatibility(scale.gap)
        + crystal * log_basin_compatibility(scale.distance)
    )


def fuse(log_scores: Sequence[Tensor], fusion: Tensor) -> Tensor:
    """log sum_s fusion_s score_s: the scores mixed as the logits are.

    Args:
        log_scores: S of (B, C).
        fusion: (S,), not negative, sum 1.
    Returns:
        (B, C).
    Source:
        the mixing is the model's; that it is done to scores: ours, because the source gives none.
    """
    return torch.logsumexp(torch.stack(list(log_scores)) + fusion.log().view(-1, 1, 1), dim=0)


def contrastive(log_scores: Tensor, y: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of log score / T: the right class's share of the sum of score^(1/T).

    Args:
        log_scores: (B, C).
        y: labels.
        temperature: T, positive.
    Source:
        the public recipes, T = 0.1. (The GeoFractalDavid card: "no cross-entropy", and "cross-entropy applied to
        scores".)
    """
    return F.cross_entropy(log_scores / temperature, y)


def coherence(log_scores: Tensor, y: Tensor) -> Tensor:
    """Mean of 1 - score_y: the right class has to fit by itself, and not only better than the others.

    Args:
        log_scores: (B, C).
        y: labels.
    Source:
        the public recipes.
    """
    return -torch.expm1(_of_label(log_scores, y)).mean()


def separation(log_scores: Tensor, y: Tensor, margin: float = 0.1) -> Tensor:
    """Mean of max(0, margin + best wrong score - score_y): no other basin may come near.

    Ours, because the source gives none.

    Args:
        log_scores: (B, C), C >= 2.
        y: labels.
        margin: between scores, which lie in (0, 1].
    """
    wrong = log_scores.scatter(1, y.unsqueeze(1), -torch.inf).amax(dim=1)
    return F.relu(margin + wrong.exp() - _of_label(log_scores, y).exp()).mean()


def discretisation(cantor: Tensor, prototypes: Sequence[Tensor], y: Tensor) -> Tensor:
    """Mean over scales of MSE(c, prototype_y): the staircase has to put each class at one place.

    Args:
        cantor: (B,), positions on the staircase.
        prototypes: S of (C,).
        y: labels.
    Source:
        the public recipes; the mean over scales: ours.
    """
    return torch.stack([F.mse_loss(each[y], cantor) for each in prototypes]).mean()


def scale_consistency(log_scores: Sequence[Tensor]) -> Tensor:
    """Mean over pairs of scales of the mean squared difference of their scores; 0 with one scale.

    sum_{s<t} (a_s - a_t)^2 = S sum_s (a_s - mean a)^2, so no pair is formed.

    Args:
        log_scores: S of (B, C).
    Source:
        that it is pairwise, and its weight: the public recipes; of scores, and squared: ours.
    """
    if len(log_scores) == 1:
        return log_scores[0].new_zeros(())
    scores = torch.stack(list(log_scores)).exp()
    squares = (scores - scores.mean(dim=0)).square().sum(dim=0)
    return 2 / (len(log_scores) - 1) * squares.mean()  # over S (S - 1) / 2 pairs


@dataclass(frozen=True)
class BasinLoss:
    """The weighted sum of the terms; a weight of 0 leaves its term out.

    total = w_contrastive CE(fused) + w_coherence (1 - score_y of fused)
          + w_scales mean_s [w_contrastive CE(s) + w_coherence (1 - score_y of s)]
          + w_separation ... + w_discretisation ... + w_consistency ...

    Shape:
        a `Geometry` of B rows and labels (B,) to (total, terms), all scalars.
    Raises:
        ValueError: for a negative weight, a temperature that is not positive, labels that are none, or no rows.
    Source:
        the weights are the public recipes'; that of separation: ours.
    """

    contrastive: float = 1.0
    coherence: float = 0.3
    scales: float = 1.0
    """Of the first two once more, for each scale by itself, averaged."""
    separation: float = 0.1
    discretisation: float = 0.5
    consistency: float = 0.3
    temperature: float = 0.1
    margin: float = 0.1
    """Of the separation."""

    def __post_init__(self) -> None:
        for name in ("contrastive", "coherence", "scales", "separation", "discretisation", "consistency", "margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, not {getattr(self, name)!r}.")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, not {self.temperature!r}.")

    def __call__(self, geometry: Geometry, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss.

        Args:
            geometry: of `GeoFractalDavid.geometry`.
            y: (B,) int64. That they lie in [0, C) is looked at where they lie on the CPU; on a GPU torch's own
                assertion stops a label outside, without naming it.
        Returns:
            the total, and each term by name, detached and without its weight.
        """
        scales = list(geometry.scales.values())
        _check_labels(y, geometry.cantor.shape[0], len(scales[0].prototypes))
        each = [log_score(scale) for scale in scales]
        fused = fuse(each, geometry.fusion)
        total, terms = fused.new_zeros(()), {}

        def add(name: str, weight: float, value: Tensor) -> None:
            nonlocal total
            total = total + weight * value
            terms[name] = value.detach()

        if self.contrastive:
            add("contrastive", self.contrastive, contrastive(fused, y, self.temperature))
        if self.coherence:
            add("coherence", self.coherence, coherence(fused, y))
        if self.scales and self.contrastive:
            losses = torch.stack([contrastive(scores, y, self.temperature) for scores in each])
            add("scale_contrastive", self.scales * self.contrastive, losses.mean())
        if self.scales and self.coherence:
            losses = torch.stack([coherence(scores, y) for scores in each])
            add("scale_coherence", self.scales * self.coherence, losses.mean())
        if self.separation:
            add("separation", self.separation, separation(fused, y, self.margin))
        if self.discretisation:
            prototypes = [scale.prototypes for scale in scales]
            add("discretisation", self.discretisation, discretisation(geometry.cantor, prototypes, y))
        if self.consistency:
            add("consistency", self.consistency, scale_consistency(each))
        return total, terms


def _of_label(values: Tensor, y: Tensor) -> Tensor:
    """(B, C) and (B,) to (B,)."""
    return values.gather(1, y.unsqueeze(1)).squeeze(1)


def _check_labels(y: Tensor, rows: int, classes: int) -> None:
    if not isinstance(y, Tensor) or y.shape != (rows,) or y.dtype != torch.int64:
        what = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(f"y must be one int64 label for each of {rows} rows, not {what}.")
    if not rows:
        raise ValueError("An empty batch has no loss; leave it out.")
    if y.device.type == "cpu" and concrete(y):
        low, high = y.aminmax()
        if low < 0 or high >= classes:
            raise ValueError(
                f"y must lie in 0 to {classes - 1}, the classes of the model, but reaches from {low} to {high}."
            )
