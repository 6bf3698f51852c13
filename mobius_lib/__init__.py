"""The library of the Möbius book: each chapter's architecture, rebuilt small and tested.

Importing it needs nothing: what it names is imported when it is asked for. The chapters' architectures need torch and
numpy only; their trainers need what `pip install mobius_lib[run]` brings.
"""

from typing import TYPE_CHECKING

from mobius_lib.lazy import lazy_names

if TYPE_CHECKING:
    from mobius_lib import cantor, gauge, simplex, twistor, waves
    from mobius_lib.cantor import CantorStaircase
    from mobius_lib.gauge import MetaMobiusLinear
    from mobius_lib.runs.own import train_on as train_on
    from mobius_lib.runs.predict import predict as predict
    from mobius_lib.runs.simplex.trainer import train_david as train_david
    from mobius_lib.runs.waves.trainer import train_tiny_imagenet as train_tiny_imagenet
    from mobius_lib.simplex import GeoFractalDavid
    from mobius_lib.twistor import TwistorHopeArchitecture
    from mobius_lib.waves import PRESETS, GELUTwin, MobiusLens, MobiusNet

__version__ = "0.1.0"

HOMES = {
    "cantor": "mobius_lib.cantor",
    "gauge": "mobius_lib.gauge",
    "simplex": "mobius_lib.simplex",
    "twistor": "mobius_lib.twistor",
    "waves": "mobius_lib.waves",
    "CantorStaircase": "mobius_lib.cantor",
    "GELUTwin": "mobius_lib.waves",
    "GeoFractalDavid": "mobius_lib.simplex",
    "MetaMobiusLinear": "mobius_lib.gauge",
    "MobiusLens": "mobius_lib.waves",
    "MobiusNet": "mobius_lib.waves",
    "PRESETS": "mobius_lib.waves",
    "TwistorHopeArchitecture": "mobius_lib.twistor",
    "predict": "mobius_lib.runs.predict",
    "train_david": "mobius_lib.runs.simplex.trainer",
    "train_on": "mobius_lib.runs.own",
    "train_tiny_imagenet": "mobius_lib.runs.waves.trainer",
}
"""Where each name lives."""

__getattr__, __dir__ = lazy_names(__name__, HOMES)

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
    "cantor",
    "gauge",
    "simplex",
    "twistor",
    "waves",
]  # without the trainers: `import *` needs torch and numpy only
