"""Chapter 2: Cantor's staircase, soft and exact, and the mask of thirds."""

from mobius_lib.cantor.laws import error_against
from mobius_lib.cantor.mask import MASKS, drop_third, thirds_mask, with_mask
from mobius_lib.cantor.math import (
    DIMENSION,
    FORMS,
    arc_length,
    cantor_function,
    cantor_inverse,
    hoelder_exponent,
    staircase_convergent,
    triadic,
)
from mobius_lib.cantor.staircase import POSITIONS, CantorStaircase

__all__ = [
    "DIMENSION",
    "FORMS",
    "MASKS",
    "POSITIONS",
    "CantorStaircase",
    "arc_length",
    "cantor_function",
    "cantor_inverse",
    "drop_third",
    "error_against",
    "hoelder_exponent",
    "staircase_convergent",
    "thirds_mask",
    "triadic",
    "with_mask",
]
