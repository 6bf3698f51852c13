"""Chapter 2's widget: a soft staircase over Cantor's function, and its thirds of thirds."""

import math
from typing import Any

from traitlets import TraitError, Unicode, validate

from mobius_lib.cantor import CantorStaircase
from mobius_lib.cantor.math import FORMS
from mobius_lib.widgets.explorer import Explorer, recipe
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List

INITIAL: dict[str, Any] = {"alpha": 0.5, "tau": 0.25, "levels": 4, "form": "published"}
"""The published layer before training; `levels` waits for a form that has several."""

MAX_LEVELS = 8
"""The picture's error and arc length take 3^(levels + 1) points, and a dragged slider 60 pictures a second."""

MAX_ZOOM = 9
"""Digits: a window of 5e-5, after which a picture of thirds shows nothing new."""


def presets() -> list[dict[str, Any]]:
    """The buttons of the widget, each with a name, a note and the traits that it sets."""
    return [
        {"name": "Published layer", "note": "α 0.5, τ 0.25", "state": INITIAL},
        {"name": "Published, start", "note": "α 0.3290", "state": INITIAL | {"alpha": 0.3290}},
        {"name": "Published, end", "note": "α −0.0764", "state": INITIAL | {"alpha": -0.0764}},
        {
            "name": "Near the limit",
            "note": "convergent, τ 0.001",
            "state": {"alpha": 0.5, "tau": 0.001, "levels": MAX_LEVELS, "form": "convergent"},
        },
    ]


class CantorExplorer(Explorer):
    """A staircase with alpha, tau, levels and form, drawn over Cantor's function; zoom into a third, and again.

    Traits alpha, tau, levels and form are the arguments of `CantorStaircase`. `zoom` is the window shown, as ternary
    digits: "" is all of [0, 1], "02" the right third of the left third. `x` in [0, 1] is the marked position. Setting a
    trait from Python redraws; a moved slider sets the trait.

    Raises:
        TraitError: when alpha is not finite, tau not finite and positive, levels outside 1..8, form unknown, zoom more
            than nine digits or others than 0, 1, 2, or x outside [0, 1].
    Source:
        ours; two presets are the GeoFractalDavid card's alpha before and after training.
    """

    _esm = served("shared.js", "thirds.js", "cantor.js")
    _css = served("shared.css", "cantor.css")
    recipe = Unicode(recipe("CantorExplorer", "staircase = explorer.staircase(features=64)")).tag(sync=True)

    alpha = Float(INITIAL["alpha"]).tag(sync=True)
    tau = Float(INITIAL["tau"]).tag(sync=True)
    levels = Int(INITIAL["levels"]).tag(sync=True)
    form = Unicode(INITIAL["form"]).tag(sync=True)
    zoom = Unicode("").tag(sync=True)
    x = Float(0.25).tag(sync=True)
    presets = List(default_value=presets(), read_only=True).tag(sync=True)

    @validate("alpha", "tau", "levels", "form", "zoom", "x")
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if isinstance(value, float) and not math.isfinite(value):
            raise TraitError(f"{name} takes a finite number, got {value}.")
        if name == "tau" and value <= 0:
            raise TraitError(f"tau is a temperature, so it must be positive; got {value}.")
        if name == "levels" and not 1 <= value <= MAX_LEVELS:
            raise TraitError(f"levels must be from 1 to {MAX_LEVELS} in the widget, got {value}.")
        if name == "form" and value not in FORMS:
            raise TraitError(f"form must be one of {', '.join(FORMS)}; got {value!r}.")
        if name == "zoom" and (len(value) > MAX_ZOOM or not set(value) <= set("012")):
            raise TraitError(f"zoom takes up to {MAX_ZOOM} ternary digits, such as '02'; got {value!r}.")
        if name == "x" and not 0 <= value <= 1:
            raise TraitError(f"x is a position in [0, 1], got {value}.")
        return value

    @classmethod
    def from_staircase(cls, staircase: CantorStaircase, **traits: Any) -> "CantorExplorer":
        """A widget with the settings of a staircase, for instance of a trained `model.cantor_stairs`.

        It has one button more, which brings them back.

        Args:
            staircase: read, not kept: later changes on either side do not reach the other.
            traits: further traits, such as zoom.
        Raises:
            TypeError: when staircase is not a `CantorStaircase`.
            TraitError: when its alpha is not finite, or it has more levels than the widget draws.
        """
        if not isinstance(staircase, CantorStaircase):
            raise TypeError(f"from_staircase takes a CantorStaircase, got a {type(staircase).__name__}.")
        shown = {name: getattr(staircase, name) for name in ("tau", "levels", "form")}
        shown["alpha"] = staircase.alpha.item()
        explorer = cls(**shown, **traits)
        preset = {"name": "This staircase", "note": f"α {shown['alpha']:.4f}".replace("-", "−"), "state": shown}
        explorer.set_trait("presets", [*explorer.presets, preset])
        return explorer

    def staircase(self, features: int, **options: Any) -> CantorStaircase:
        """A module with the settings of the sliders.

        Args:
            features: the width of its input.
            options: further arguments of `CantorStaircase`, such as position.
        Returns:
            a new `CantorStaircase` in float32; its map from features to positions as freshly initialised.
        Raises:
            ValueError: as `CantorStaircase`.
        """
        shown = {name: getattr(self, name) for name in ("alpha", "tau", "levels", "form")}
        return CantorStaircase(features, **shown, **options)
