"""What the public code of MT-HOPE computes where its README says something else: for chapter, tests and ledger.

Nothing of the library is built from these. Tensors are laid out as in `math.py`.

Source: github.com/logos-42/Mobius-Twistor-model, in formulas of ours: `layer`, `cell`, `updated` and the modules that
`parameters` counts at commit 724ef00, `strength` and `random_floor` at 08a6b3f.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.twistor.math import couple

STRENGTHS = (0.1 / 3, 0.2 / 3, 0.1)
"""c of its three cycles."""


def layer(z: Tensor, strengths: Sequence[float] = STRENGTHS) -> Tensor:
    """mobius_layer.py: z + c Jz, once for each c; (..., 4n) to (..., 4n). No map of points: J conjugates."""
    for c in strengths:
        z = couple(z, c)
    return z


def cell(z: Tensor, strengths: Sequence[float] = STRENGTHS) -> Tensor:
    """twistor_titans_cell.py: (1 - c)(omega, pi) + c (pi, -omega). Each point moves by a Möbius map, which is fixed."""
    omega, pi = z.chunk(2, dim=-1)
    for c in strengths:
        omega, pi = (1 - c) * omega + c * pi, (1 - c) * pi - c * omega
    return torch.cat([omega, pi], dim=-1)


def strength(x: Tensor, whole: Callable[[Tensor], Tensor], local: Callable[[Tensor], Tensor]) -> Tensor:
    """twistor_self_modifying_recurrent.py: c of every step, in which `whole` hears the mean of all steps.

    Args:
        x: (batch, time, 4n); whole, local: from rows to a number from 0 to 1.
    """
    return 0.1 + 0.4 * (0.7 * whole(x.mean(1, keepdim=True)) + 0.3 * local(x) - 0.5)


def updated(memory: Tensor, heard: Tensor, rate: float = 0.1) -> Tensor:
    """twistor_memory_system.py: all slots (K, 4n) move towards one mean (4n,); its rate there is divided by K."""
    return (1 - rate / len(memory)) * memory + rate / len(memory) * heard


def random_floor(vocabulary: int, dim: int, rows: int, length: int) -> tuple[float, float]:
    """train_gpu.py without a data set: tokens and targets are drawn at random, and what is asked for is the vector of
    a target, by the mean square. The loss of the best constant for each position, on the rows that it was fitted to
    and on as many new ones."""
    table = torch.randn(vocabulary, dim)
    fitted, new = (F.embedding(torch.randint(vocabulary, (rows, length)), table) for _ in range(2))
    constant = fitted.mean(0)
    return (fitted - constant).square().mean().item(), (new - constant).square().mean().item()


def parameters(dim: int, layers: int, levels: int, memories: int, both: bool, vocabulary: int = 1000) -> int:
    """Parameters at one row of the README's table, added up module by module.

    Twistors and hidden states have 2 dim numbers each; two directions double the cells and what they feed.
    """
    d, ways = 2 * dim, 2 if both else 1
    half = d // 2
    rate = _linear(2 * d, d) + _linear(d, half) + _linear(half, 1)
    evolution = _linear(d, d) + 2 * (_linear(d, 2 * d) + _linear(2 * d, d)) + _linear(2 * d, 2 * d) + 3
    inputs = [d] + [ways * d] * (layers - 1)
    cells = ways * sum(8 * _linear(width + d, half) + evolution + rate for width in inputs)
    joined = _linear(2 * d, d) if both else 0
    factor = _linear(d, half) + _linear(half, half // 2) + _linear(half // 2, 1)
    adaptive = _linear(d, d) + 2 * factor + 1
    feed = _linear(d, 4 * d) + _linear(4 * d, d) + 2 * 2 * d + 1
    gate = _linear(d, half) + _linear(half, 1)
    memory = memories + _linear(d, half) + _linear(half, d) + memories * gate
    nested = levels * (4 * _linear(half, half) + 6 + gate)  # two nets of two layers, six weights, one constraint
    output = _linear(d, dim) + 2 * dim
    return 2 * vocabulary * dim + cells + joined + adaptive + feed + memory + nested + output


def _linear(inputs: int, outputs: int) -> int:
    """Parameters of an affine layer."""
    return inputs * outputs + outputs
