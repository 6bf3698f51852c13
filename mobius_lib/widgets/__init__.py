"""The book's widgets, one per chapter: a Python class, its JavaScript and its style sheet.

Each runs without a kernel in a static page, and two-way with one. Needs `anywidget`, which the rest of the library
does without.
"""

from mobius_lib.widgets.cantor import CantorExplorer
from mobius_lib.widgets.gauge import GaugeExplorer
from mobius_lib.widgets.gauge_network import GaugeNetwork
from mobius_lib.widgets.simplex import BasinExplorer
from mobius_lib.widgets.simplex_network import SimplexNetwork
from mobius_lib.widgets.twistor import MobiusExplorer
from mobius_lib.widgets.twistor_reader import TwistorReader
from mobius_lib.widgets.waves import WaveLensExplorer
from mobius_lib.widgets.waves_network import WavesNetwork

__all__ = [
    "BasinExplorer",
    "CantorExplorer",
    "GaugeExplorer",
    "GaugeNetwork",
    "MobiusExplorer",
    "SimplexNetwork",
    "TwistorReader",
    "WaveLensExplorer",
    "WavesNetwork",
]
