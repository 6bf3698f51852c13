"""Chapter 1's widget: turn every number of a lens and see its waves and its gate."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from traitlets import TraitError, Unicode, validate

from mobius_lib.waves import MobiusLens
from mobius_lib.widgets.explorer import Explorer, recipe
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, List

_WAVE_PARAMETERS = (
    *("omega", "alpha", "xor_weight", "accum_weights"),
    *(f"{kind}_{path}" for kind in ("drift", "phase") for path in "lmr"),
)
"""The parameters of `MobiusLens` that shape its gate; `scales` is a buffer, and the twists are not shown."""


@dataclass(frozen=True)
class LearnedBlock:
    """One line of the distillation card's table of what its six lenses learned."""

    name: str
    """Stage and block."""
    omega: float
    alpha: float
    xor_share: float
    """The weight of xor against and, after the sigmoid, as the table prints it."""
    means: tuple[float, float, float]
    """Mean of L, M, R over the author's data."""


PRESETS_TABLE = (
    LearnedBlock("S0B0", 1.55, 0.64, 0.40, (0.80, 0.92, 0.71)),
    LearnedBlock("S0B1", 3.01, 0.22, 0.69, (0.82, 0.80, 0.83)),
    LearnedBlock("S1B0", 0.93, 2.00, 0.79, (0.86, 0.87, 0.81)),
    LearnedBlock("S1B1", 1.63, 0.50, 0.41, (0.86, 0.48, 0.55)),
    LearnedBlock("S2B0", 1.64, 2.09, 0.58, (0.12, 0.08, 0.20)),
    LearnedBlock("S2B1", 2.68, 5.22, 0.99, (0.02, 0.02, 0.05)),
)
"""Source: the distillation card. Phases, drifts and path weights are not in its table, and stay at initial values."""


def block_scales(position: int, total: int, scale_range: tuple[float, float] = (0.5, 2.5)) -> list[float]:
    """The two scales of the lens at `position` of `total`, as `MobiusLens` sets them."""
    first, last = scale_range
    scale = first + position / max(total - 1, 1) * (last - first)
    return [scale, scale + (last - first) / max(total, 1)]


INITIAL: dict[str, Any] = {
    "omega": math.pi,
    "alpha": 1.5,
    "scales": block_scales(0, len(PRESETS_TABLE)),
    "drift_l": [1.0, 1.0],
    "drift_m": [0.0, 0.0],
    "drift_r": [-1.0, -1.0],
    "phase_l": [0.0, 0.0],
    "phase_m": [0.0, 0.0],
    "phase_r": [0.0, 0.0],
    "accum_weights": [0.4, 0.2, 0.4],
    "xor_weight": 0.7,
}
"""The state before training of the first of six lenses."""


def presets() -> list[dict[str, Any]]:
    """The buttons of the widget: the initial state, then the blocks of the table, each as its changes to that state."""
    buttons: list[dict[str, Any]] = [{"name": "initial", "state": INITIAL}]
    for position, block in enumerate(PRESETS_TABLE):
        state = {
            "omega": block.omega,
            "alpha": block.alpha,
            "xor_weight": math.log(block.xor_share / (1 - block.xor_share)),
            "scales": block_scales(position, len(PRESETS_TABLE)),
        }
        buttons.append({"name": block.name, "state": state, "means": list(block.means)})
    return buttons


def _numbers(name: str) -> List:
    return List(Float(), default_value=list(INITIAL[name])).tag(sync=True)


class WaveLensExplorer(Explorer):
    """Sliders for every wave parameter of a lens; pictures of L, M, R, of xor, and, gate, and of the gate over (x, t).

    Traits have the names, units and shapes of the parameters of `MobiusLens` (xor_weight and accum_weights before
    sigmoid and softmax). `t`, in [0, 1), is the drift coordinate, which in a lens follows from all channels of a
    position; here it is free. Setting a trait from Python redraws; a moved slider sets the trait.

    Raises:
        TraitError: when a list has another length than the lens's, a number is not finite, or t is outside [0, 1).
    Source:
        ours; the presets are the distillation card's table.
    """

    _esm = served("shared.js", "waves.js")
    _css = served("shared.css", "waves.css")
    recipe = Unicode(recipe("WaveLensExplorer", "lens = explorer.lens(dim=64)")).tag(sync=True)

    t = Float(0.5).tag(sync=True)
    omega = Float(INITIAL["omega"]).tag(sync=True)
    alpha = Float(INITIAL["alpha"]).tag(sync=True)
    xor_weight = Float(INITIAL["xor_weight"]).tag(sync=True)
    scales = _numbers("scales")
    accum_weights = _numbers("accum_weights")
    drift_l, drift_m, drift_r = _numbers("drift_l"), _numbers("drift_m"), _numbers("drift_r")
    phase_l, phase_m, phase_r = _numbers("phase_l"), _numbers("phase_m"), _numbers("phase_r")
    presets = List(default_value=presets(), read_only=True).tag(sync=True)

    @validate("t", "scales", *_WAVE_PARAMETERS)
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if isinstance(value, list) and len(value) != len(INITIAL[name]):
            raise TraitError(f"{name} takes {len(INITIAL[name])} numbers, got {len(value)}.")
        if not all(math.isfinite(number) for number in (value if isinstance(value, list) else [value])):
            raise TraitError(f"{name} takes finite numbers, got {value}.")
        if name == "t" and not 0 <= value < 1:
            raise TraitError(f"t is a mean of |tanh x|, so it lies in [0, 1); got {value}.")
        return value

    @classmethod
    def from_lens(cls, lens: MobiusLens, **traits: Any) -> "WaveLensExplorer":
        """A widget that shows the waves of a lens, for instance of a trained network's `model.blocks[3].lens`.

        It has one button more, which brings that lens back.

        Args:
            lens: read, not kept: later changes on either side do not reach the other.
            traits: further traits, such as t.
        Raises:
            TypeError: when lens is not a `MobiusLens`.
            TraitError: when the lens holds a number that is not finite.
        """
        if not isinstance(lens, MobiusLens):
            raise TypeError(f"from_lens takes a MobiusLens, got a {type(lens).__name__}; a network has one per block.")
        shown = {name: getattr(lens, name).tolist() for name in ("scales", *_WAVE_PARAMETERS)}
        explorer = cls(**shown, **traits)
        explorer.set_trait("presets", [*explorer.presets, {"name": "This lens", "state": shown}])
        return explorer

    def lens(self, dim: int, layer_idx: int = 0, total_layers: int = len(PRESETS_TABLE)) -> MobiusLens:
        """A lens whose waves are those of the sliders.

        Args:
            dim: channels C.
            layer_idx, total_layers: where in a network the lens stands; they set only its two twist angles here.
        Returns:
            a new `MobiusLens` in float32; twist matrices and layer norm as freshly initialised.
        Raises:
            ValueError: as `MobiusLens`.
        """
        lens = MobiusLens(dim, layer_idx, total_layers)
        with torch.no_grad():
            for name in ("scales", *_WAVE_PARAMETERS):
                getattr(lens, name).copy_(torch.tensor(getattr(self, name)))
        return lens
