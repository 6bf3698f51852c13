"""Chapter 4's widget: a cascade of Gaussians over a real row, the ladder's sizes, and transport round a loop."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from traitlets import TraitError, Unicode, validate

from mobius_lib.gauge import RUNGS, MobiusHarmonicBridge
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.cooccurrence import log_cooccurrence
from mobius_lib.gauge.fit import pursue_shared
from mobius_lib.widgets.explorer import Explorer, recipe
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List

# The row of "king" in the King James Bible: how often each of the 128 most frequent
# words stands within 5 words of it, by gauge.cooccurrence(text.words(text.king_james(), 128)[0], 128, 5). Below, those
# words, and the order in which an L4 of 8 Gaussians puts the columns of the whole matrix. A test makes them again.
_COUNTS = (
    "2883 1508 1837 547 268 304 209 132 399 174 113 217 167 191 125 98 137 213 109 87 122 113 159 91 75 146 66 98 "
    "117 53 296 62 36 37 58 59 66 58 63 19 74 69 45 27 31 43 27 23 244 76 124 47 59 324 135 55 126 104 64 73 37 "
    "37 72 81 25 28 88 12 44 36 29 18 82 82 25 13 27 46 73 33 72 25 78 113 72 26 26 22 54 40 42 11 21 28 18 40 13 "
    "11 25 7 17 16 71 34 31 18 94 100 55 10 35 7 18 15 27 35 10 9 13 7 20 12 20 18 19 3 14 14"
)
_WORDS = (
    "the and of to that in he shall unto for i his a lord they be is him not them it with all thou thy was god "
    "which my me said but ye their have will thee from as are when this out were upon by man you israel up son "
    "there hath king then people came had house into on her come one we children before your also day land an so "
    "against men shalt if at let go hand us saying made went no even do now behold saith every therefore these "
    "because after our things down or sons hast o say make may david over did earth what jesus she father who "
    "great thine name any among away put thereof forth give neither am take"
)
_PLACES = (
    "0 1 2 3 4 5 6 10 7 8 9 13 12 11 15 18 19 16 14 17 20 21 22 23 28 37 24 26 25 27 31 29 33 38 32 34 30 35 36 "
    "42 40 39 44 55 46 45 41 43 47 48 70 49 53 54 50 52 75 71 60 62 63 64 51 61 56 87 59 77 57 65 78 74 58 66 76 "
    "89 67 80 69 73 83 68 79 88 104 82 86 81 72 85 94 97 84 90 91 93 96 92 98 102 126 116 103 95 105 106 110 109 "
    "119 124 99 107 121 100 101 111 115 117 114 108 112 118 127 113 120 123 125 122"
)


PARTS = ("cascade", "ladder", "transport")
ORDERS = ("frequency", "common", "own")
PATHS = ("links", "line")

INITIAL: dict[str, Any] = {
    "part": "cascade",
    "row": [round(math.log1p(int(count)), 4) for count in _COUNTS.split()],
    "words": _WORDS.split(),
    "places": [int(place) for place in _PLACES.split()],
    "order": "common",
    "terms": 8,
    "sigma_0": 8.0,
    "exponent": gauge.KPZ,
    "level": "L5",
    "vocabulary": 5000.0,
    "path": "links",
    "strength": 0.8,
    "pieces": 4,
    "gauge": 0.0,
    "turn": [-0.5, 0.4],
}
"""L5 at the vocabulary of the note's second example; sigma_0 about as an L4 of the whole matrix finds it."""

LIMITS = {
    "terms": (1, 16),
    "pieces": (1, 24),
    "sigma_0": (0.1, 1000.0),
    "vocabulary": (100.0, 1e7),
    "strength": (0.0, 3.0),
    "gauge": (0.0, 360.0),
}
"""What the page can draw: pursuit takes time with the square of terms."""

LONGEST = 512
"""Columns of a row."""

_CHOICES = {"part": PARTS, "order": ORDERS, "path": PATHS, "level": tuple(RUNGS)}


class Cascade(NamedTuple):
    """What the picture shows of a row."""

    places: Tensor
    """(V,) int64: where each column stands."""
    mu: Tensor
    """(N,), places."""
    sigma: Tensor
    """(N,)."""
    amplitudes: Tensor
    """(N,)."""
    fitted: Tensor
    """(V,), the sum of the Gaussians, columns in their own order."""
    error: float
    """|row - fitted| / |row|."""


class GaugeExplorer(Explorer):
    """Three pictures of the ladder, of which `part` says the one that is shown.

    `cascade`: terms Gaussians of the widths sigma_0 k^exponent over `row`, a row of D = log(1 + counts) whose columns
    are the `words`. `order` sorts its columns: "frequency" as counted, "common" by `places`, one order for all rows of
    the matrix, as an L4 has it, "own" by the row's own values. `ladder`: what the rung `level` keeps for a
    `vocabulary`, as the MetaMobius note reports it and as the library counts it. `transport`: a vector is carried round
    5 -> 15 -> 50 -> 5 by rotations of `strength` radians a link, in `pieces` steps a link; `gauge` in degrees changes
    the basis at each place. On the `path` "links" each link turns about an axis of its own; on "line" the connection is
    A(x) dx with x = log10(window / 5), and the way back undoes the way out. `turn` is yaw and pitch of the picture, in
    radians.

    Setting a trait from Python redraws; a moved slider sets the trait.

    Raises:
        TraitError: when a number is not finite or outside `LIMITS`, a choice is unknown, the row has fewer than 2 or
            more than 512 columns, or places is no order of so many columns.
    Source:
        ours; the ratios of the ladder are the MetaMobius note's.
    """

    _esm = served("shared.js", "solid.js", "gauge.js")
    _css = served("shared.css", "gauge.css")
    recipe = Unicode(recipe("GaugeExplorer", "cascade = explorer.cascade()")).tag(sync=True)

    part = Unicode(INITIAL["part"]).tag(sync=True)
    row = List(Float(), default_value=INITIAL["row"], minlen=2, maxlen=LONGEST).tag(sync=True)
    words = List(Unicode(), default_value=INITIAL["words"], maxlen=LONGEST).tag(sync=True)
    places = List(Int(), default_value=INITIAL["places"], maxlen=LONGEST).tag(sync=True)
    order = Unicode(INITIAL["order"]).tag(sync=True)
    terms = Int(INITIAL["terms"]).tag(sync=True)
    sigma_0 = Float(INITIAL["sigma_0"]).tag(sync=True)
    exponent = Float(INITIAL["exponent"]).tag(sync=True)
    level = Unicode(INITIAL["level"]).tag(sync=True)
    vocabulary = Float(INITIAL["vocabulary"]).tag(sync=True)
    path = Unicode(INITIAL["path"]).tag(sync=True)
    strength = Float(INITIAL["strength"]).tag(sync=True)
    pieces = Int(INITIAL["pieces"]).tag(sync=True)
    gauge = Float(INITIAL["gauge"]).tag(sync=True)
    turn = List(Float(), default_value=INITIAL["turn"]).tag(sync=True)

    @validate(*INITIAL)
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name in _CHOICES and value not in _CHOICES[name]:
            raise TraitError(f"{name} must be one of {', '.join(_CHOICES[name])}; got {value!r}.")
        numbers = [value] if isinstance(value, float) else value if name in ("row", "turn") else []
        if not all(math.isfinite(number) for number in numbers):
            raise TraitError(f"{name} takes finite numbers, got {value}.")
        if name in LIMITS and not LIMITS[name][0] <= value <= LIMITS[name][1]:
            raise TraitError(f"{name} must be from {LIMITS[name][0]:g} to {LIMITS[name][1]:g}, got {value}.")
        if name == "turn" and len(value) != 2:
            raise TraitError(f"turn takes 2 numbers, got {len(value)}.")
        if name == "places" and sorted(value) != list(range(len(value))):
            raise TraitError(f"places must hold each number from 0 to {len(value) - 1} once: where each column goes.")
        return value

    @classmethod
    def from_tokens(
        cls, tokens: Tensor, words: Sequence[str], word: str, *, window: int = 5, **traits: Any
    ) -> "GaugeExplorer":
        """The row of a word in the co-occurrence matrix of a text, with the order that an L4 gives the matrix.

        Args:
            tokens: (T,), numbers of words, -1 for others, as `datasets.text.words` returns them.
            words: the vocabulary, at most 512 words.
            word: whose row.
            window: of the co-occurrence.
            traits: further traits, such as terms.
        Raises:
            ValueError: word is not among the words, there are too many of them; or as `gauge.cooccurrence`.
        """
        if word not in words:
            raise ValueError(f"word={word!r} is not one of the {len(words)} words; take one of them.")
        if len(words) > LONGEST:
            raise ValueError(f"words holds {len(words)} words, and the picture {LONGEST}; number fewer of them.")
        d = log_cooccurrence(tokens, len(words), window)
        places = MobiusHarmonicBridge.from_dense(d, min(INITIAL["terms"], len(words)), window=window).places
        row = [round(value, 4) for value in d[list(words).index(word)].tolist()]  # a page stores every digit
        return cls(row=row, words=list(words), places=places.tolist(), **traits)

    def column_places(self) -> Tensor:
        """Where each column stands in the picture: (V,) int64. Places of another length than the row's are ignored."""
        if self.order == "common" and len(self.places) == len(self.row):
            return torch.tensor(self.places)
        places = torch.arange(len(self.row))
        if self.order == "own":
            places[torch.argsort(torch.tensor(self.row, dtype=torch.float64), descending=True, stable=True)] = (
                torch.arange(len(self.row))
            )
        return places

    def cascade(self) -> Cascade:
        """What the picture shows, from the library's functions, in float64."""
        row, places = torch.tensor(self.row, dtype=torch.float64), self.column_places()
        sigma = gauge.kpz_widths(
            torch.tensor(self.sigma_0, dtype=torch.float64), min(self.terms, len(row)), self.exponent
        )
        placed = torch.empty_like(row)
        placed[places] = row
        mu = pursue_shared(placed.unsqueeze(0), list(sigma.split(1)))[0].mu.double()
        g = gauge.gaussians(mu, sigma, places.double())
        amplitudes = gauge.amplitudes(row.unsqueeze(0), g)[0]
        fitted, size = amplitudes @ g, row.norm().item()
        error = (row - fitted).norm().item()
        return Cascade(places, mu, sigma, amplitudes, fitted, error / size if size else 0.0)

    def bridge(self) -> MobiusHarmonicBridge:
        """The picture as a layer: an L4 with one output, the row.

        Raises:
            ValueError: when the exponent is not 1/3, or the order not one for all rows: an L4 has no other.
        """
        if self.exponent != gauge.KPZ or self.order == "own":
            raise ValueError("An L4 has the exponent 1/3 and one order for all rows; set exponent=1/3, order='common'.")
        found = self.cascade()
        bridge = MobiusHarmonicBridge(len(self.row), 1, len(found.mu))
        with torch.no_grad():
            bridge.hw.copy_(found.amplitudes.unsqueeze(0))
            bridge.mu.copy_(found.mu)
            bridge.sigma_0.copy_(torch.tensor(self.sigma_0))
            bridge.places.copy_(found.places)
        return bridge

    def legs(self) -> list[Tensor]:
        """The connection over each piece of the three links, before any change of basis: (m, 3, 3) each, float64."""
        if self.path == "links":
            return [
                _hat(axis).expand(self.pieces, 3, 3) * self.strength / self.pieces for axis in torch.eye(3).tolist()
            ]

        def connection(x: float) -> Tensor:
            return 2 * self.strength * _hat((math.cos(math.pi * x), math.sin(math.pi * x), 0.0))

        out, on = (
            gauge.along(connection, 0, math.log10(3), self.pieces),
            gauge.along(connection, math.log10(3), 1, self.pieces),
        )
        return [out, on, -torch.cat([out, on]).flip(0)]

    def holonomies(self) -> tuple[Tensor, Tensor]:
        """Round the loop, in the chosen gauge: exactly, and by the printed first-order steps; (3, 3) each, float64."""
        legs = self.legs()
        one = torch.eye(3, dtype=torch.float64)
        exact = gauge.holonomy([gauge.path_ordered(leg) for leg in legs])
        first = gauge.holonomy([gauge.transport_first_order(one, -piece).mT for leg in legs for piece in leg])
        angle = math.radians(self.gauge)
        basis = torch.linalg.matrix_exp(_hat((math.sqrt(0.5), 0.0, math.sqrt(0.5))) * angle)
        return basis @ exact @ basis.mT, basis @ first @ basis.mT


def _hat(axis: Sequence[float]) -> Tensor:
    """The matrix of the cross product with a vector: it generates the rotations about it."""
    x, y, z = axis
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
