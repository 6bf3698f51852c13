"""GeoFractalDavid: a classifier by the fit of a feature to the geometry of each class, on several scales.

Parameter and buffer names are an interface: weights published for the card's model load here with strict=True.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from mobius_lib.cantor.staircase import CantorStaircase
from mobius_lib.errors import CheckpointError
from mobius_lib.native import concrete
from mobius_lib.simplex import math as simplex
from mobius_lib.simplex.config import TERMS, DavidConfig, sizes_of
from mobius_lib.simplex.fast.products import cosine_and_distance

LR_FACTORS = {"heads": 1.0, "fusion": 0.5, "cantor": 0.1}
"""Of the learning rate of each group of parameters (the GeoFractalDavid card): scales, fusion weights, staircase."""


@dataclass(frozen=True)
class ScaleGeometry:
    """How a batch fits the classes on one scale."""

    cosine: Tensor
    """(B, C): to the centroid, in [-1, 1]."""
    gap: Tensor
    """(B, C): Cantor position minus the class's Cantor prototype."""
    distance: Tensor
    """(B, C): to the nearest vertex."""
    weights: Tensor
    """(3,): of feature, Cantor and crystal term; sum 1."""
    prototypes: Tensor
    """(C,): the Cantor prototypes."""
    projected: Tensor | None = None
    """(B, scale): the features on the unit sphere of this scale."""

    @property
    def logits(self) -> Tensor:
        """(B, C)."""
        return simplex.logits(self.cosine, self.gap, self.distance, self.weights)


@dataclass(frozen=True)
class Geometry:
    """How a batch fits the classes: what logits and losses are computed from."""

    cantor: Tensor
    """(B,): position on the staircase."""
    scales: dict[int, ScaleGeometry]
    fusion: Tensor
    """(S,): weight of each scale; sum 1."""

    @property
    def logits(self) -> Tensor:
        """(B, C), the scales mixed."""
        return sum(weight * scale.logits for weight, scale in zip(self.fusion, self.scales.values(), strict=True))


class DavidHead(nn.Module):
    """One scale: a projection onto the unit sphere, and a simplex and a Cantor prototype for each class.

    Args:
        config: of the model.
        scale: dimension of the sphere's space.
    Shape:
        features (B, d) and Cantor positions (B,) to a `ScaleGeometry`.
    Source:
        the GeoFractalDavid card.
    """

    def __init__(self, config: DavidConfig, scale: int) -> None:
        super().__init__()
        self.scale, self.terms = scale, config.terms
        self.projection = nn.Sequential(
            nn.Linear(config.feature_dim, 2 * scale), nn.GELU(), nn.LayerNorm(2 * scale), nn.Linear(2 * scale, scale)
        )
        self.class_prototypes = nn.Parameter(
            simplex.simplices(config.num_classes, config.k, scale, config.seed, config.init)
        )
        self.cantor_prototypes = nn.Parameter(torch.linspace(0, 1, config.num_classes))
        self.geo_weights = nn.Parameter(torch.zeros(len(TERMS)))

    def weights(self) -> Tensor:
        """(3,): softmax over the terms that count; 0 for the others."""
        if set(self.terms) == set(TERMS):
            return torch.softmax(self.geo_weights, dim=0)
        left_out = torch.tensor([term not in self.terms for term in TERMS], device=self.geo_weights.device)
        return torch.softmax(self.geo_weights.masked_fill(left_out, -torch.inf), dim=0)

    def project(self, features: Tensor) -> Tensor:
        """Features on the unit sphere of this scale: (B, d) to (B, scale)."""
        return simplex.unit(self.projection(features))

    def forward(self, features: Tensor, cantor: Tensor) -> ScaleGeometry:
        q = self.project(features)
        cosine, distance = cosine_and_distance(q, self.class_prototypes)
        gap = cantor.unsqueeze(-1) - self.cantor_prototypes
        return ScaleGeometry(cosine, gap, distance, self.weights(), self.cantor_prototypes, q)


class GeoFractalDavid(nn.Module):
    """Class logits from three terms per scale, the scales mixed by learned weights.

    logits_s = w1 cos(q, centroid) - w2 (c - prototype)^2 - w3 min_v |q - v|, w = softmax(geo_weights), where q is the
    feature's projection on scale s and c its position on the Cantor staircase; logits = sum_s softmax(fusion)_s
    logits_s. They lie within [-4, 1] or so: for probabilities divide by a temperature (the loss uses 0.1).

    Every method that takes features brings their rows to length 1 first, as the published model does, so their length
    counts for nothing. A row of zeros stays one, and has logits.

    Args:
        config: a `DavidConfig`; None is its defaults.
        settings: fields of it by name, in place of it or of some of its fields, so that the card's usage works:
            `GeoFractalDavid(feature_dim=512, num_classes=1000, k=5, scales=[256, 384], alpha_init=0.5, tau=0.25)`.
    Shape:
        (B, feature_dim) to (B, num_classes), B >= 0; with `return_intermediates` also the Cantor positions (B,) and
        {scale: (B, scale)}, the projections.
    Raises:
        ValueError: for a configuration that cannot be, or features that cannot be read. A NaN is looked for where the
            features lie on the CPU; on a GPU that would mean waiting for it, so there the row's logits are NaN, and by
            default (not with position="batch") no other row's.
    Source:
        the GeoFractalDavid card's model; "features" positions and "spread" simplices are ours.
    """

    def __init__(self, config: DavidConfig | None = None, **settings: Any) -> None:
        super().__init__()
        config = replace(config, **settings) if config is not None else DavidConfig(**settings)
        self.config = config
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as if nothing had been drawn
            torch.manual_seed(config.seed)
            self.cantor_stairs = CantorStaircase(
                config.feature_dim, alpha=config.alpha_init, tau=config.tau, levels=config.levels, form=config.form,
                position=config.position, learn_alpha=config.learn_alpha,
            )  # fmt: skip
            self.heads = nn.ModuleDict({str(scale): DavidHead(config, scale) for scale in config.scales})
        self.fusion_weights = nn.Parameter(torch.zeros(len(config.scales)))

    def _heads(self) -> list[DavidHead]:
        return cast("list[DavidHead]", list(self.heads.values()))

    def geometry(self, features: Tensor) -> Geometry:
        """How the batch fits the classes, term by term: what `BasinLoss` reads. (B, feature_dim)."""
        features = self._on_the_sphere(features)
        cantor = self.cantor_stairs(features)
        scales = {head.scale: head(features, cantor) for head in self._heads()}
        return Geometry(cantor, scales, torch.softmax(self.fusion_weights, dim=0))

    def forward(
        self, features: Tensor, return_intermediates: bool = False
    ) -> Tensor | tuple[Tensor, Tensor, dict[int, Tensor]]:
        geometry = self.geometry(features)
        if not return_intermediates:
            return geometry.logits
        return (
            geometry.logits,
            geometry.cantor,
            {scale: each.projected for scale, each in geometry.scales.items() if each.projected is not None},
        )

    def get_scale_logits(self, features: Tensor) -> dict[int, Tensor]:
        """The logits of every scale alone: {scale: (B, C)}."""
        return {name: scale.logits for name, scale in self.geometry(features).scales.items()}

    def get_cantor_values(self, features: Tensor) -> Tensor:
        """Where each row stands on the staircase: (B, d) to (B,)."""
        return self.cantor_stairs(self._on_the_sphere(features))

    def get_geometric_weights(self) -> dict[int, dict[str, float]]:
        """What each scale relies on: {scale: {"feature": ..., "cantor": ..., "crystal": ...}}, each with sum 1."""
        return {head.scale: dict(zip(TERMS, head.weights().detach().tolist(), strict=True)) for head in self._heads()}

    def get_fusion_weights(self) -> dict[int, float]:
        """What each scale counts: {scale: weight}, with sum 1."""
        return dict(zip(self.config.scales, torch.softmax(self.fusion_weights, 0).tolist(), strict=True))

    def get_cantor_interval_distribution(self, features: Tensor) -> Tensor:
        """How much each feature lies in the left, middle and right third of the staircase: (B, d) to (B, 3)."""
        return self.cantor_stairs.interval_distribution(self._on_the_sphere(features))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], **settings: Any) -> Self:
        """A model of these weights.

        Args:
            state: published weights or own, by name.
            settings: what `DavidConfig.from_state_dict` cannot read from them; position="batch" for published ones.
        Raises:
            CheckpointError: when these are no weights of a GeoFractalDavid.
        """
        model = cls(DavidConfig.from_state_dict(state, **settings))
        model.load_state_dict(state)
        return model

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch, but weights of another configuration are named in one sentence.

        Raises:
            CheckpointError: when the weights are of another model or configuration.
        """
        if strict:
            theirs = sizes_of(state_dict)
            differ = [name for name, size in theirs.items() if size != getattr(self.config, name)]
            # the order of the scales is the order of the fusion weights, which names no scale
            if "scales" in differ and set(theirs["scales"]) == set(self.config.scales):
                differ.remove("scales")
            if differ:
                there = ", ".join(f"{name}={theirs[name]}" for name in differ)
                here = ", ".join(f"{name}={getattr(self.config, name)}" for name in differ)
                raise CheckpointError(
                    f"These weights belong to a model with {there}, and this one has {here}. Build theirs with "
                    "GeoFractalDavid.from_state_dict(weights)."
                )
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            problem = " ".join(str(error).split())
            raise CheckpointError(f"These weights do not fit a GeoFractalDavid: {problem}") from error

    def _on_the_sphere(self, features: Tensor) -> Tensor:
        """Features that can be read, their rows of length 1."""
        width = self.config.feature_dim
        if not isinstance(features, Tensor):
            raise ValueError(
                f"features must be a torch.Tensor of shape (batch, {width}), not a {type(features).__name__}; "
                "torch.from_numpy makes one of a NumPy array."
            )
        if features.ndim != 2 or features.shape[-1] != width or not features.is_floating_point():
            raise ValueError(
                f"features must be floating-point numbers of shape (batch, {width}), not {features.dtype} of shape "
                f"{tuple(features.shape)}."
            )
        if features.device.type == "cpu" and concrete(features):
            bad = (~torch.isfinite(features).all(dim=-1)).nonzero().flatten().tolist()
            if bad:
                rows = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                raise ValueError(
                    f"features has NaN or infinity in {len(bad)} of {len(features)} rows (row {rows}); leave them out."
                )
        return simplex.unit(features)


def parameter_groups(model: GeoFractalDavid, lr: float) -> list[dict[str, Any]]:
    """Groups for AdamW: the scales' heads at lr, the fusion weights at lr / 2, the staircase at lr / 10.

    Args:
        model: each of its parameters that is trained falls into one group.
        lr: positive.
    Returns:
        heads, fusion, cantor: each with params, lr and name.
    Raises:
        ValueError: when lr is not positive.
    Source:
        the GeoFractalDavid card's optimiser; that all that belongs to a scale is in its first group is our reading.
    """
    if not lr > 0:
        raise ValueError(f"lr must be positive, not {lr!r}.")
    parameters = {
        "heads": list(model.heads.parameters()),
        "fusion": [model.fusion_weights],
        "cantor": list(model.cantor_stairs.parameters()),
    }
    trained = {name: [each for each in group if each.requires_grad] for name, group in parameters.items()}
    return [{"params": trained[name], "lr": lr * factor, "name": name} for name, factor in LR_FACTORS.items()]
