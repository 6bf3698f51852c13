"""Chapter 1: wave interference as a gate (MobiusNet)."""

from mobius_lib.waves.lens import GELULens, MobiusConvBlock, MobiusLens, use_backend
from mobius_lib.waves.net import PRESETS, GELUTwin, MobiusNet, Preset
from mobius_lib.waves.readings import lens_readings, lens_state

__all__ = [
    "PRESETS",
    "GELULens",
    "GELUTwin",
    "MobiusConvBlock",
    "MobiusLens",
    "MobiusNet",
    "Preset",
    "lens_readings",
    "lens_state",
    "use_backend",
]
