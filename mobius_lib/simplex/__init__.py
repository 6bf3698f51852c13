"""Chapter 3: classes as simplices, and the basins around them (GeoFractalDavid)."""

from mobius_lib.simplex.config import TERMS, DavidConfig
from mobius_lib.simplex.david import GeoFractalDavid, Geometry, ScaleGeometry, parameter_groups
from mobius_lib.simplex.loss import BasinLoss
from mobius_lib.simplex.math import (
    barycentric,
    basin,
    cayley_menger_volume,
    regular_simplex,
    regular_volume,
    simplices,
    vertex_distance,
)

__all__ = [
    "TERMS",
    "BasinLoss",
    "DavidConfig",
    "GeoFractalDavid",
    "Geometry",
    "ScaleGeometry",
    "barycentric",
    "basin",
    "cayley_menger_volume",
    "parameter_groups",
    "regular_simplex",
    "regular_volume",
    "simplices",
    "vertex_distance",
]
