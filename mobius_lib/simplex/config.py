"""The sizes and settings of a GeoFractalDavid, checked where they are given."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from torch import Tensor

from mobius_lib.cantor.math import FORMS, MAX_LEVELS
from mobius_lib.cantor.staircase import POSITIONS
from mobius_lib.errors import CheckpointError
from mobius_lib.simplex.math import KINDS

TERMS = ("feature", "cantor", "crystal")
"""What a class is judged by: cosine to its centroid, Cantor position, nearest vertex; in the order of the weights."""


@dataclass(frozen=True)
class DavidConfig:
    """Everything that decides what a model is. Two models of equal configurations start with equal weights.

    The defaults are the sizes of the published run (k = 12, five scales, 63,053,342 parameters). They differ from its
    behaviour in `position` and `init`; `DavidConfig(position="batch", init="published")` is its.

    Raises:
        ValueError: naming the argument that no model can have.
    """

    feature_dim: int = 512
    """Width d of the features: CLIP ViT-B/16 has 512."""
    num_classes: int = 1000
    """C, at least 2."""
    k: int = 12
    """Dimension of the simplices, so k + 1 vertices per class; at most the smallest scale."""
    scales: Sequence[int] = (384, 512, 768, 1024, 1280)
    """Dimension of each space in which simplices lie; each has a projection and a head of its own."""
    alpha_init: float = 0.5
    """What the middle third of the staircase counts at first; 1/2 is Cantor's."""
    tau: float = 0.25
    """Temperature of the thirds, positive; small is sharp."""
    levels: int = 1
    """Digits of the staircase; the published model has one."""
    form: str = "published"
    """Of the staircase: published, multilevel, halting or convergent (chapter 2)."""
    position: str = "features"
    """features: from the row alone. batch: as published, from the row's place in its batch too, so that a prediction
    depends on its neighbours. mean: from the mean of the row, the earlier variant."""
    learn_alpha: bool = True
    """False keeps alpha where it began."""
    init: str = "spread"
    """Of the simplices: spread, or published (all centroids zero); `math.simplices` says what each is."""
    seed: int = 0
    """Of all initial weights, in any process."""
    terms: Sequence[str] = TERMS
    """Those that count. The mixing weight of one that is left out is 0; the layout of the weights stays."""

    def __post_init__(self) -> None:
        for name in ("feature_dim", "num_classes", "k", "levels", "seed"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        object.__setattr__(self, "scales", _several("scales", self.scales))
        object.__setattr__(self, "terms", _several("terms", self.terms))
        object.__setattr__(self, "scales", tuple(_whole("scales", scale) for scale in self.scales))
        for name, least, why in (
            ("feature_dim", 1, "it is the width of the features"),
            ("num_classes", 2, "with one class there is nothing to tell apart"),
            ("k", 1, "a simplex of dimension 0 is a point, with no shape"),
            ("levels", 1, "it is the number of digits of the staircase"),
            ("seed", 0, "it numbers the draws"),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}: {why}.")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, not {self.seed}.")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales must differ from each other, for they name the heads, but are {self.scales}.")
        if self.k > min(self.scales):
            raise ValueError(
                f"k={self.k} is larger than the smallest of scales, {min(self.scales)}: a k-simplex needs k "
                "dimensions. Lower k, or leave that scale out."
            )
        if not (_is_number(self.tau) and self.tau > 0):
            raise ValueError(
                f"tau must be a positive number, not {self.tau!r}: it divides the distances to the thirds."
            )
        if self.levels > MAX_LEVELS:
            raise ValueError(f"levels must be at most {MAX_LEVELS}, not {self.levels}: float32 has no further digits.")
        if not _is_number(self.alpha_init):
            raise ValueError(f"alpha_init must be a finite number, not {self.alpha_init!r}.")
        for name, known in (("form", tuple(FORMS)), ("position", POSITIONS), ("init", KINDS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}.")
        if not set(self.terms) <= set(TERMS) or len(set(self.terms)) < len(self.terms):
            raise ValueError(f"terms must be some of {', '.join(TERMS)}, each once, not {self.terms}.")

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], **settings: Any) -> Self:
        """The configuration whose model such weights fit.

        Sizes are read from the shapes. What leaves no trace in the weights (tau, levels, form, position, terms) is
        taken from `settings`, else it is the default: for published weights give position="batch". The scales are
        taken to ascend, as all published ones do, for the fusion weights do not name theirs; for another order give
        scales.

        Args:
            state: weights by name, as `load_file` of safetensors gives them.
            settings: further fields.
        Raises:
            CheckpointError: when these are no weights of a GeoFractalDavid.
            ValueError: when a setting is given that the weights decide, or that does not exist.
        """
        sizes = sizes_of(state)
        if set(settings.get("scales", ())) == set(sizes["scales"]):
            sizes["scales"] = settings.pop("scales")
        for name in settings:
            if name in sizes or name not in {field.name for field in fields(cls)}:
                why = "is read from the weights" if name in sizes else "is no setting"
                raise ValueError(f"{name} {why}; leave it out.")
        return cls(**sizes, **settings)


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """feature_dim, num_classes, k and scales of published or own weights.

    Raises:
        CheckpointError: when these are no weights of a GeoFractalDavid.
    """
    heads = [name.split(".")[1] for name in state if name.startswith("heads.") and name.endswith(".class_prototypes")]
    line = state.get("cantor_stairs.feature_to_position.weight")
    if not heads or not all(head.isdecimal() for head in heads) or line is None or line.ndim != 2:
        raise CheckpointError(
            "These are no weights of a GeoFractalDavid: they lack cantor_stairs.feature_to_position.weight or "
            "heads.<scale>.class_prototypes. Give the state dict itself, not a checkpoint that holds it."
        )
    shapes = {int(head): tuple(state[f"heads.{head}.class_prototypes"].shape) for head in heads}
    first = next(iter(shapes.values()))
    for scale, shape in shapes.items():
        if len(shape) != 3 or shape != (*first[:2], scale):
            raise CheckpointError(
                f"heads.{scale}.class_prototypes has shape {shape}, but a GeoFractalDavid has (classes, k + 1, "
                f"{scale}) there, with the same classes and k in every head: the file is damaged or of another model."
            )
    return {"feature_dim": line.shape[1], "num_classes": first[0], "k": first[1] - 1, "scales": tuple(sorted(shapes))}


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {value!r}.")
    return int(value)


def _several(name: str, value: Any) -> tuple:
    value = value.tolist() if hasattr(value, "tolist") else value  # of an array
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name} must be a list with at least one entry, not {value!r}.")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
