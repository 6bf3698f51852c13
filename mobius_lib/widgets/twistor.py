"""Chapter 5's widget: a Möbius map of the plane and the sphere, and a recurrent state along a text."""

import cmath
import math
from typing import Any

import torch
from torch import Tensor
from traitlets import TraitError, Tuple, Unicode, validate

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.cell import TwistorTitansCell
from mobius_lib.widgets.explorer import Explorer, recipe
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List

SMALLEST_DETERMINANT = 1e-6
"""Below this modulus ad - bc counts as zero, and the matrix as no map."""

FARTHEST = 1e6
"""Points beyond this modulus, infinity among them, are set to it: on the sphere it is within 2e-6 of infinity."""


def _around(q: complex) -> list[list[float]]:
    """The map with fixed points 1 and -1 and multiplier exp(2q)."""
    c, s = cmath.cosh(q), cmath.sinh(q)
    return [[z.real, z.imag] for z in (c, s, s, c)]


CLASSES: dict[str, tuple[str, list[list[float]]]] = {
    "Elliptic": ("turns", _around(1j * math.pi / 8)),
    "Parabolic": ("one fixed point", [[1.5, 0.0], [-0.5, 0.0], [0.5, 0.0], [0.5, 0.0]]),
    "Hyperbolic": ("flows", _around(0.4)),
    "Loxodromic": ("spirals", _around(0.25 + 1j * math.pi / 8)),
}
"""An example of each class, with determinant 1."""

INITIAL: dict[str, Any] = {
    "matrix": CLASSES["Loxodromic"][1],
    "circle": [0.5, 1.2, 0.5],
    "time": 0.0,
    "turn": [-0.5, 0.35],
    "trajectory": [],
    "at": 0,
}
"""A spiral, and no text."""


def presets() -> list[dict[str, Any]]:
    """The buttons of the widget: one for each class."""
    return [{"name": name, "note": note, "state": {"matrix": matrix}} for name, (note, matrix) in CLASSES.items()]


class MobiusExplorer(Explorer):
    """The plane and the sphere under z -> (az + b)/(cz + d), with a, b, c and d to drag.

    `matrix` holds a, b, c, d as [real, imaginary]; the map is that of the matrix divided by the root of its
    determinant, so any determinant but 0 will do. `circle` is centre and radius of a circle that the map takes to other
    circles; `time` how many steps of the map, not only whole ones, the dots and the circle have gone; `turn` yaw and
    pitch of the sphere in radians.

    `trajectory` is a state along a text: [character, real, imaginary] for each character, the point
    omega_k / pi_k after it; `at` is the place that is marked. It is drawn over both pictures; empty, as at first, it
    hides its slider. `show` sets it.

    Setting a trait from Python redraws; a moved point or slider sets the trait.

    Raises:
        TraitError: when a trait has another shape, holds a number that is not finite, the determinant is 0, the radius
            not positive, or a character of the trajectory not one character.
    Source:
        ours.
    """

    _esm = served("shared.js", "solid.js", "twistor.js")
    _css = served("shared.css", "twistor.css")
    recipe = Unicode(recipe("MobiusExplorer", "mobius = explorer.map()")).tag(sync=True)

    matrix = List(List(Float()), default_value=INITIAL["matrix"]).tag(sync=True)
    circle = List(Float(), default_value=INITIAL["circle"]).tag(sync=True)
    time = Float(INITIAL["time"]).tag(sync=True)
    turn = List(Float(), default_value=INITIAL["turn"]).tag(sync=True)
    trajectory = List(Tuple(Unicode(), Float(), Float()), default_value=[]).tag(sync=True)
    at = Int(0).tag(sync=True)
    presets = List(default_value=presets(), read_only=True).tag(sync=True)

    @validate(*INITIAL)
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "matrix" and [len(z) for z in value] != [2] * 4:
            raise TraitError("matrix takes a, b, c and d, each as its real and its imaginary part.")
        if name in ("circle", "turn") and len(value) != len(INITIAL[name]):
            raise TraitError(f"{name} takes {len(INITIAL[name])} numbers, got {len(value)}.")
        for number in _numbers(name, value):
            if not math.isfinite(number):
                raise TraitError(f"{name} takes finite numbers, got {number}.")
        if name == "matrix":
            a, b, c, d = (complex(*z) for z in value)
            if abs(a * d - b * c) < SMALLEST_DETERMINANT:
                raise TraitError("matrix must have a determinant ad - bc other than 0; else all points go to one.")
        if name == "circle" and value[2] <= 0:
            raise TraitError(f"circle takes a positive radius, got {value[2]}.")
        if name == "trajectory" and any(len(character) != 1 for character, *_ in value):
            raise TraitError("trajectory takes one character for each point.")
        if name == "at" and value < 0:
            raise TraitError(f"at is a place in the text, from 0 on; got {value}.")
        return value

    @classmethod
    def from_cell(cls, cell: TwistorTitansCell, pair: int = 0, cycle: int = 0, **traits: Any) -> "MobiusExplorer":
        """A widget with one of the Möbius maps that a cell has learned, and a button that brings it back.

        Args:
            cell: read, not kept.
            pair: which component pair (omega_k, pi_k).
            cycle: which of the cell's cycles.
            traits: further traits.
        Raises:
            TypeError: when cell is not a `TwistorTitansCell`.
            ValueError: when it has no Möbius maps, or no such pair or cycle.
        """
        if not isinstance(cell, TwistorTitansCell):
            raise TypeError(f"from_cell takes a TwistorTitansCell, got a {type(cell).__name__}.")
        if cell.mobius is None:
            raise ValueError("cell has no Möbius maps; build it with use_mobius=True.")
        maps = cell.mobius.maps()
        for name, index, size in (("cycle", cycle, maps.shape[0]), ("pair", pair, maps.shape[1])):
            if not 0 <= index < size:
                raise ValueError(f"{name} must be from 0 to {size - 1}, got {index}.")
        state = {"matrix": [[z.real, z.imag] for z in maps[cycle, pair].flatten().tolist()]}
        explorer = cls(**state, **traits)
        preset = {"name": "Learned", "note": f"map of pair {pair}", "state": state}
        explorer.set_trait("presets", [preset, *explorer.presets])
        return explorer

    def show(self, text: str, states: Tensor, pair: int = 0) -> None:
        """Draw the way of one component pair of a recurrent state along a text: sets trajectory, and at to its start.

        Args:
            text: T characters.
            states: (T, 4n), the twistor of the state after each, such as `CellState.twistor`, batch taken out.
            pair: which k of omega_k / pi_k, from 0 to n - 1.
        Raises:
            ValueError: for another number of states than characters, a width that is no multiple of 4, no such pair,
                or a state that is not finite.
        """
        if states.ndim != 2 or states.shape[0] != len(text) or not text or states.shape[1] % 4:
            raise ValueError(
                f"states must be one twistor for each of the {len(text)} characters, (characters, 4n), but has the "
                f"shape {tuple(states.shape)}."
            )
        if not 0 <= pair < states.shape[1] // 4:
            raise ValueError(f"pair must be from 0 to {states.shape[1] // 4 - 1}, got {pair}.")
        if not states.isfinite().all():
            raise ValueError("states holds a number that is not finite; look at what the cell was given.")
        omega, pi = twistor.to_complex(states.detach().cpu().double())
        points = twistor.affine(torch.stack([omega[:, pair], pi[:, pair]], dim=-1)).tolist()
        shown = [z if abs(z) <= FARTHEST else _far(z) for z in points]
        self.at = 0
        self.trajectory = [(character, z.real, z.imag) for character, z in zip(text, shown, strict=True)]

    @staticmethod
    def pair_to_follow(states: Tensor) -> int:
        """The component pair whose way the eye can follow: of those that stay in the picture at nine characters of
        ten (or, where none does, of all), the one with the smallest step by the median.

        Args:
            states: (T, 4n), T at least 2, as `show` takes them.
        Returns:
            from 0 to n - 1.
        """
        omega, pi = twistor.to_complex(states.detach().cpu().double())
        points = twistor.affine(torch.stack([omega, pi], dim=-1))  # (T, n)
        inside = ((points.real.abs() <= 3) & (points.imag.abs() <= 3)).double().mean(dim=0) >= 0.9
        steps = points.diff(dim=0).abs().nan_to_num(torch.inf).median(dim=0).values
        return int((steps.masked_fill(~inside, torch.inf) if inside.any() else steps).argmin())

    def map(self) -> Tensor:
        """The map with determinant 1, and of its two matrices the one whose trace has no negative real part:
        (2, 2) complex128."""
        a, b, c, d = (complex(*z) for z in self.matrix)
        m = torch.tensor([[a, b], [c, d]], dtype=torch.complex128) / cmath.sqrt(a * d - b * c)
        trace = (m[0, 0] + m[1, 1]).item()
        return -m if trace.real < 0 or (trace.real == 0 and trace.imag < 0) else m

    def kind(self) -> str:
        """The class of the map, one of `twistor.math.KINDS`."""
        return twistor.KINDS[int(twistor.classify(self.map()))]


def _far(z: complex) -> complex:
    """A point too far away, or infinity, at the farthest that a page is told."""
    return complex(FARTHEST) if not cmath.isfinite(z) else z / abs(z) * FARTHEST


def _numbers(name: str, value: Any) -> list[float]:
    if name == "matrix":
        return [number for z in value for number in z]
    if name == "trajectory":
        return [number for _, *z in value for number in z]
    return value if isinstance(value, list) else [value]
