"""Chapter 3's widget: the decision regions of three classes in a plane, and a 3-simplex to turn."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from traitlets import TraitError, Unicode, validate

from mobius_lib.cantor.math import staircase_published
from mobius_lib.simplex import DavidConfig, GeoFractalDavid, ScaleGeometry, simplices
from mobius_lib.simplex import math as simplex
from mobius_lib.simplex.david import DavidHead
from mobius_lib.widgets.explorer import Explorer, recipe
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, List

CLASSES, K, DIM = 3, 2, 2
"""Three triangles in a plane."""

STEEPNESS = 4.0
"""The staircase sees x = sigmoid(STEEPNESS q.d): on the unit circle from 0.02 to 0.98."""

LEARNED_WEIGHTS = {
    384: (0.929, 0.020, 0.051),
    512: (0.885, 0.023, 0.092),
    768: (0.996, 0.001, 0.003),
    1024: (0.952, 0.005, 0.043),
    1280: (0.411, 0.003, 0.587),
}
"""Feature, Cantor and crystal weight of each scale, as the GeoFractalDavid card prints them."""

_SEED = 8  # of the published starts, one where no centroid rounds to exactly zero and no two triangles coincide


def _placed(kind: str) -> list[Any]:
    return simplices(CLASSES, K, DIM, _SEED, kind).tolist()


INITIAL: dict[str, Any] = {
    "vertices": _placed("spread"),
    "geo_weights": [0.0, 0.0, 0.0],
    "cantor_prototypes": [0.0, 0.5, 1.0],
    "alpha": 0.5,
    "tau": 0.25,
    "direction": 30.0,
    "turn": [0.4, 1.2],
    "pull": 1.0,
}
"""A model of three classes before training."""

_LENGTHS = {"geo_weights": 3, "cantor_prototypes": CLASSES, "turn": 2}


def presets() -> list[dict[str, Any]]:
    """The buttons of the widget: where the triangles stand, and how the terms are mixed."""
    buttons: list[dict[str, Any]] = [
        {"group": "place", "name": "Spread", "note": "our start", "state": {"vertices": INITIAL["vertices"]}},
        {
            "group": "place",
            "name": "Published start",
            "note": "all centroids 0",
            "state": {"vertices": _placed("published")},
        },
        {"group": "mix", "name": "start", "note": "⅓ ⅓ ⅓", "state": {"geo_weights": INITIAL["geo_weights"]}},
    ]
    for scale, weights in LEARNED_WEIGHTS.items():
        note = " ".join(f"{weight:.3f}"[1:] for weight in weights)
        state = {"geo_weights": [math.log(weight) for weight in weights]}
        buttons.append({"group": "mix", "name": str(scale), "note": note, "state": state})
    return buttons


class BasinExplorer(Explorer):
    """Three classes as triangles in a plane, with draggable vertices, and the regions in which each class wins.

    The logits are those of one scale of `GeoFractalDavid` with D = 2 and k = 2,

        w1 cos(q, centroid) - w2 (c - prototype)^2 - w3 min_v |q - v|,    w = softmax(geo_weights).

    The network normalises q, so it reads the unit circle alone; the plane shows the same formula off it. In the network
    c follows from the features before the projection; here it follows from q, x = sigmoid(4 q.d), with the direction d
    in degrees. Below stands a 3-simplex, turned by `turn` (yaw and pitch in radians), its fourth vertex at `pull` times
    its regular height. Setting a trait from Python redraws; a dragged vertex sets `vertices`, (3, 3, 2): class, vertex,
    coordinate. alpha, tau, geo_weights and cantor_prototypes are named as in the model.

    Raises:
        TraitError: when a trait has another shape, holds a number that is not finite, or tau is not positive.
    Source:
        ours; the mixing weights of the buttons are the GeoFractalDavid card's.
    """

    _esm = served("shared.js", "thirds.js", "tones.js", "simplex.js")
    _css = served("shared.css", "simplex.css")
    recipe = Unicode(recipe("BasinExplorer", "config = explorer.config()")).tag(sync=True)

    vertices = List(List(List(Float())), default_value=INITIAL["vertices"]).tag(sync=True)
    geo_weights = List(Float(), default_value=INITIAL["geo_weights"]).tag(sync=True)
    cantor_prototypes = List(Float(), default_value=INITIAL["cantor_prototypes"]).tag(sync=True)
    alpha = Float(INITIAL["alpha"]).tag(sync=True)
    tau = Float(INITIAL["tau"]).tag(sync=True)
    direction = Float(INITIAL["direction"]).tag(sync=True)
    turn = List(Float(), default_value=INITIAL["turn"]).tag(sync=True)
    pull = Float(INITIAL["pull"]).tag(sync=True)
    presets = List(default_value=presets(), read_only=True).tag(sync=True)

    @validate(*INITIAL)
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name in _LENGTHS and len(value) != _LENGTHS[name]:
            raise TraitError(f"{name} takes {_LENGTHS[name]} numbers, got {len(value)}.")
        if name == "vertices" and ([len(each) for each in value] != [K + 1] * CLASSES or {
            len(point) for each in value for point in each
        } != {DIM}):  # fmt: skip
            raise TraitError("vertices takes 3 classes of 3 vertices of 2 coordinates each.")
        flat = [value] if isinstance(value, float) else torch.tensor(value).flatten().tolist()
        if not all(math.isfinite(number) for number in flat):
            raise TraitError(f"{name} takes finite numbers, got {value}.")
        if name == "tau" and value <= 0:
            raise TraitError(f"tau is a temperature, so it must be positive; got {value}.")
        return value

    @classmethod
    def from_david(
        cls, model: GeoFractalDavid, scale: int, classes: Sequence[int] = (0, 1, 2), **traits: Any
    ) -> "BasinExplorer":
        """A widget with the mixing weights, staircase and three Cantor prototypes of a model, trained or not.

        The triangles stay where they are: simplices of many dimensions have no place in a plane. It has one button
        more, which brings the model back.

        Args:
            model: read, not kept.
            scale: one of `model.config.scales`.
            classes: three of its classes.
            traits: further traits, such as vertices.
        Raises:
            TypeError: when model is not a `GeoFractalDavid`.
            ValueError: when it has no such scale or class, or these are not three classes.
        """
        if not isinstance(model, GeoFractalDavid):
            raise TypeError(f"from_david takes a GeoFractalDavid, got a {type(model).__name__}.")
        if scale not in model.config.scales:
            raise ValueError(f"scale must be one of {', '.join(map(str, model.config.scales))}, got {scale}.")
        if len(classes) != CLASSES or not all(0 <= each < model.config.num_classes for each in classes):
            raise ValueError(f"classes must be 3 numbers from 0 to {model.config.num_classes - 1}, got {classes}.")
        head = cast(DavidHead, model.heads[str(scale)])
        # the weights as they count, so that a term that is left out counts little here too
        shown = {
            "geo_weights": head.weights().detach().double().clamp_min(1e-4).log().tolist(),
            "cantor_prototypes": head.cantor_prototypes.detach()[list(classes)].tolist(),
            "alpha": model.cantor_stairs.alpha.item(),
            "tau": model.cantor_stairs.tau,
        }
        explorer = cls(**shown, **traits)
        preset = {"group": "mix", "name": "This model", "note": "and its staircase", "state": shown}
        explorer.set_trait("presets", [*explorer.presets, preset])
        return explorer

    def classes(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The triangles as they stand, laid out as a head's `class_prototypes`: (3, 3, 2)."""
        return torch.tensor(self.vertices, dtype=dtype)

    def config(self, **settings: Any) -> DavidConfig:
        """The configuration of a model with these classes and this staircase.

        Args:
            settings: further fields of `DavidConfig`, or other values of feature_dim.
        Returns:
            three classes with k = 2, one scale of two dimensions.
        """
        own = {"feature_dim": DIM, "num_classes": CLASSES, "k": K, "scales": (DIM,)}
        return DavidConfig(**{**own, "alpha_init": self.alpha, "tau": self.tau, **settings})

    def geometry(self, q: Tensor) -> ScaleGeometry:
        """What the picture shows, from the library's functions: the terms and the logits of points of the plane.

        Args:
            q: (B, 2), of any length; the cosine takes the direction alone.
        Returns:
            cosine, gap and distance, each (B, 3), and with them `.logits`.
        Raises:
            ValueError: when q has another shape.
        """
        if q.ndim != 2 or q.shape[1] != DIM:
            raise ValueError(f"q must be points of the plane, (batch, 2), but has the shape {tuple(q.shape)}.")
        classes = self.classes(q.dtype)
        angle = math.radians(self.direction)
        along = q @ torch.tensor([math.cos(angle), math.sin(angle)], dtype=q.dtype)
        c = staircase_published(torch.sigmoid(STEEPNESS * along), self.alpha, self.tau)
        prototypes = torch.tensor(self.cantor_prototypes, dtype=q.dtype)
        return ScaleGeometry(
            cosine=simplex.centroid_cosine(torch.nn.functional.normalize(q, dim=-1), classes),
            gap=c.unsqueeze(-1) - prototypes,
            distance=simplex.vertex_distance(q, classes),
            weights=torch.softmax(torch.tensor(self.geo_weights, dtype=q.dtype), dim=0),
            prototypes=prototypes,
        )
