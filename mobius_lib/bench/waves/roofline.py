"""How much a gate computes and moves per number of its input: the two axes of a roofline plot.

Counted by hand from `waves/math.py` and `waves/fast`, operation by operation, for three paths and two scales. Every
operation on one number counts one, a sine or an exponential too; numbers of which there is one per position or per
network (t, phases, weights) count nothing. `accesses` counts the numbers that are read from memory or written to it.

Source: ours. tests/bench/waves/test_roofline.py counts the printed form again, by machine.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Of one form of the gate, per number of its input."""

    operations: int
    accesses: int

    def intensity(self, bytes_per_number: int = 4) -> float:
        """Operations per byte moved."""
        return self.operations / (self.accesses * bytes_per_number)


# One wave of two scales, in math.wave: u + drift t, times s omega, plus phase, sin, square, times -a, exp: 7 operations
# on 2 numbers each, and their product over the scales. Each but the first reads 2 and writes 2; the first reads 1, the
# product writes 1.
_WAVE = Work(operations=7 * 2 + 1, accesses=(1 + 2) + 6 * (2 + 2) + (2 + 1))
# tanh for the waves; tanh, its size and the sum of these for t.
_COORDINATES = Work(operations=1 + 3, accesses=2 + (2 + 2 + 1))
# math.interference: three products and two sums of the paths (5 operations: 2, 2, 2 and 3, 3 numbers); the xor
# (L + R, 2 L, times R, difference, size: 3 + 2 + 3 + 3 + 2); the and (3); their blend (2 + 2 + 3); half of it, plus a
# half (2 + 2); times the mixture (3).
_INTERFERENCE = Work(operations=5 + 5 + 1 + 3 + 2 + 1, accesses=12 + 13 + 3 + 7 + 4 + 3)
# Layer norm: sum; difference, square, sum; scaled; weight and bias. Then sigmoid, and the product with x.
_NORM = Work(operations=7, accesses=2)
_GATE = Work(operations=1 + 1, accesses=2 + 3)


def _total(*parts: Work) -> Work:
    return Work(sum(part.operations for part in parts), sum(part.accesses for part in parts))


PRINTED = _total(_COORDINATES, _WAVE, _WAVE, _WAVE, _INTERFERENCE, _NORM, _GATE)
# The algebra of `fast`: tanh, its size and the sum; per scale an angle, its cosine and its sine; per path and scale
# two products and two sums, and per path a product and an exponential; the blend without the xor's absolute value; norm
# and gate as above. It has to move only x and the result.
FUSED = Work(3 + 2 * 3 + 3 * (2 * 4 + 2) + _INTERFERENCE.operations - 1 + _NORM.operations + 2, accesses=2)
# The printed operations, where torch.compile fuses all of them: the least that this form can move.
PRINTED_COMPILED = Work(PRINTED.operations, accesses=2)
# x / sqrt 2, erf, plus 1, times x, times a half.
GELU = Work(5, accesses=2)

WORK = {"printed": PRINTED, "printed compiled": PRINTED_COMPILED, "ours": FUSED, "gelu": GELU}
