"""Möbius maps as layers: of every component pair of a twistor, with learned maps, or with maps that the input sets."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.products import Linear
from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.checks import check_count, check_rows, check_width
from mobius_lib.twistor.fast.choice import works
from mobius_lib.twistor.fast.turn import library, shear
from mobius_lib.twistor.fast.turning import turn


class MobiusCycles(nn.Module):
    """The learned cycles of a width of twistors: for each component pair and cycle a Möbius map, and c of each cycle.

    Determinant 1 holds by construction, for the parameters are generators; they start near the identity. The couplings
    start at 0.1 (k + 1) / cycles, as in the public code.

    Args:
        dim: width 4n of the twistors.
        cycles: how many, at least 1.
        anywhere: the first cycle starts as a rotation of the sphere, another one for each pair, drawn from all of them,
            and not near the identity; so two such modules take one twistor to two that have little in common.
        coupled: False holds the couplings at 0: all cycles together are one Möbius map of each pair.
    Attributes:
        generators: (cycles, n, 6).
        couplings: (cycles,), learned, or 0 for good.
    """

    couplings: Tensor

    def __init__(self, dim: int, cycles: int, anywhere: bool = False, coupled: bool = True) -> None:
        super().__init__()
        check_count("num_mobius_cycles", cycles, "; use_mobius=False leaves them out")
        self.generators = nn.Parameter(0.1 * torch.randn(cycles, dim // 4, 6))
        if anywhere:
            with torch.no_grad():
                self.generators[0] = _rotations(dim // 4)
        if coupled:
            self.couplings = nn.Parameter(0.1 * torch.arange(1.0, cycles + 1) / cycles)
        else:  # not kept in a state dict, so that the weights of a coupled one do not fit and are refused
            self.register_buffer("couplings", torch.zeros(cycles), persistent=False)

    def matrix(self) -> Tensor:
        """All cycles in a row as one real matrix for each pair: (4, 4, n)."""
        return matrices([self])[0]

    def maps(self) -> Tensor:
        """The Möbius map of each cycle and pair, without the couplings: (cycles, n, 2, 2) complex."""
        x = _wide(self.generators.detach())
        return twistor.special_linear(torch.complex(x[..., :3], x[..., 3:]))


def matrices(cycles: Iterable[Any]) -> Tensor:
    """`matrix` of several alike, in one go: (K, 4, 4, n)."""
    generators = torch.stack([each.generators for each in cycles])
    couplings = torch.stack([each.couplings for each in cycles])
    return twistor.cycle_matrix(_wide(generators), _wide(couplings)).to(generators.dtype)


def _wide(x: Tensor) -> Tensor:
    """In double precision where it has that, else in single: complex numbers have no other."""
    return x if x.dtype == torch.float64 else x.float()


def _rotations(pairs: int) -> Tensor:
    """Generators (pairs, 6) of rotations, each equally likely (Haar's measure).

    [[ia, b + ic], [-b + ic, -ia]] generates the rotation cos(t) + sin(t)/t times itself, t = |(a, b, c)|; so a unit
    quaternion is drawn and its angle and axis are taken.
    """
    quaternion = F.normalize(torch.randn(pairs, 4), dim=-1)
    axis = quaternion[:, 1:]
    a, b, c = (torch.atan2(axis.norm(dim=-1), quaternion[:, 0])[:, None] * F.normalize(axis, dim=-1)).mT
    return torch.stack([torch.zeros_like(a), b, -b, a, c, c], dim=-1)


class MobiusLayer(nn.Module):
    """Learned Möbius cycles: each pair's point omega_k / pi_k moves, its length stays.

    As long as a coupling is not 0, where the point goes depends on the phase of its pair as well: J conjugates. So the
    layer as a whole is no map (az + b)/(cz + d); `laws.images_apart` measures how far it is from one. With
    coupled=False it is one, exactly: the product of `cycles.maps()`, the last of them leftmost.

    Every row is treated alone, so the layer is causal over any axis.

    Args:
        dim: width 4n of the twistors.
        cycles: maps in a row, with z + c Jz after each; see `math.cycle_matrix`.
        coupled: False leaves out J; see `MobiusCycles`.
    Shape:
        (..., 4n) to (..., 4n).
    Source:
        the MT-HOPE README asks for (az + b)/(cz + d), its cycles, chirality flip and conjugation; determinant 1 by
        construction, the projective form and the kept length are ours.
    """

    def __init__(self, dim: int, cycles: int = 3, coupled: bool = True) -> None:
        super().__init__()
        check_width("dim", dim)
        self.dim, self.cycles = dim, MobiusCycles(dim, cycles, coupled=coupled)

    def forward(self, x: Tensor) -> Tensor:
        check_rows("x", x, self.dim)
        return turn(x, self.cycles.matrix())


class AdaptiveMobiusLayer(nn.Module):
    """Möbius cycles, and then a map that each row sets for itself, from its own content: causal over any axis.

    The row's map is [[1, d], [0, 1]] [[1, 0], [c, 1]] [[1, b], [0, 1]], with determinant 1 whatever b, c and d are.
    They come from the row through a narrow network and are bounded by `strength`. The public code takes its coupling
    from the mean of the whole sequence, by which the past sees the future.

    Args:
        dim: width 4n of the twistors.
        cycles: of the learned maps before.
        rank: width of the network that sets the maps.
        coupled: False leaves out J, and the whole is a Möbius map of each pair, which the row chooses.
    Attributes:
        strength: (), learned; the largest modulus of the real and imaginary parts of b, c and d; 0.5 at first.
    Shape:
        (..., 4n) to (..., 4n).
    Source:
        the MT-HOPE README asks for a coupling that adapts to the input; the form is ours.
    """

    def __init__(self, dim: int, cycles: int = 3, rank: int = 16, coupled: bool = True) -> None:
        super().__init__()
        check_width("dim", dim)
        self.dim, self.cycles = dim, MobiusCycles(dim, cycles, coupled=coupled)
        self.down, self.up = Linear(dim, rank), Linear(rank, 6 * (dim // 4))
        self.strength = nn.Parameter(torch.tensor(0.5))

    def controls(self, x: Tensor) -> Tensor:
        """b, c and d of every row and pair, real parts and imaginary parts by turns: (..., 4n) to (..., 6, n)."""
        return (self.strength * torch.tanh(self._logits(x))).unflatten(-1, (6, -1))

    def maps(self, x: Tensor) -> Tensor:
        """The row's own map of every pair: (..., 4n) to (..., n, 2, 2) complex, of determinant 1."""
        b, c, d = (torch.complex(*_wide(part).unbind(-2)) for part in self.controls(x).split(2, dim=-2))
        rows = [1 + d * c, b + d + b * c * d, c, 1 + b * c]
        return torch.stack(rows, dim=-1).unflatten(-1, (2, 2))

    def forward(self, x: Tensor) -> Tensor:
        check_rows("x", x, self.dim)
        turned = turn(x, self.cycles.matrix())
        # under autocast the network gives logits of fewer digits
        logits = self._logits(x).to(turned.dtype)
        if works(library, turned, logits, self.strength):
            return shear(turned, logits, self.strength)
        return twistor.shear(turned, (self.strength * torch.tanh(logits)).unflatten(-1, (6, -1)))

    def _logits(self, x: Tensor) -> Tensor:
        return self.up(F.silu(self.down(x)))
