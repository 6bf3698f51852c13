"""The library of the Möbius book: each chapter's architecture, rebuilt small and tested.

Importing it needs torch and numpy only; what is heavier is imported where it is used.
"""

from mobius_lib.cantor import CantorStaircase
from mobius_lib.gauge import MetaMobiusLinear
from mobius_lib.simplex import GeoFractalDavid
from mobius_lib.twistor import TwistorHopeArchitecture
from mobius_lib.waves import PRESETS, GELUTwin, MobiusLens, MobiusNet

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "CantorStaircase",
    "GELUTwin",
    "GeoFractalDavid",
    "MetaMobiusLinear",
    "MobiusLens",
    "MobiusNet",
    "TwistorHopeArchitecture",
    "__version__",
]
