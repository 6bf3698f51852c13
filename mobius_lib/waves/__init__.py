"""Chapter 1: wave interference as a gate (MobiusNet)."""

from mobius_lib.waves.lens import GELULens, MobiusConvBlock, MobiusLens, use_backend
from mobius_lib.waves.net import PRESETS, GELUTwin, MobiusNet, Preset

__all__ = [
    "PRESETS",
    "GELULens",
    "GELUTwin",
    "MobiusConvBlock",
    "MobiusLens",
    "MobiusNet",
    "Preset",
    "use_backend",
]
