"""Attention by incidence: the O(n^2) layer that the recurrence does without, kept to compare with."""

import math

import torch
from torch import Tensor, nn

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.checks import check_twistor, check_width, is_whole


class IncidenceAttention(nn.Module):
    """Each step attends to those whose rays meet its own.

    Two null twistors meet where <z, w> = 0 (`math.hermitian`); so the score is -(|<q, k>|^2 + m |<q, Jk>|^2) over the
    width of a head, where the second, the Möbius term with its learned m >= 0, asks the same of the conjugate ray.
    The two together measure q against the quaternionic line through k.

    Args:
        dim: width 4n of the twistors.
        heads: how many; n must be a multiple of it.
        causal: each step sees itself and those before it; else all.
    Shape:
        (batch, time, 4n) to the same; time and memory grow with time squared.
    Source:
        the MT-HOPE README asks for attention by incidence with a Möbius term; the score is ours.
    """

    def __init__(self, dim: int, heads: int = 4, causal: bool = True) -> None:
        super().__init__()
        check_width("dim", dim)
        if not is_whole(heads) or heads < 1 or (dim // 4) % heads:
            raise ValueError(f"heads must divide the {dim // 4} component pairs of dim={dim}, but is {heads}.")
        self.dim, self.heads, self.causal = dim, heads, causal
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.sharpness = nn.Parameter(torch.ones(heads))
        self.mobius = nn.Parameter(torch.zeros(heads))

    def scores(self, x: Tensor) -> Tensor:
        """(batch, time, 4n) to (batch, heads, time, time), not masked; never positive."""
        q, k = (self._split(layer(x)) for layer in (self.query, self.key))
        meets = self._square(q, k)
        conjugate = self._square(q, twistor.conjugate(k))
        m = nn.functional.softplus(self.mobius)[:, None, None]
        sharpness = self.sharpness.abs()[:, None, None]
        return -sharpness * (meets + m * conjugate) / math.sqrt(q.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        check_twistor("x", x, self.dim, ("batch", "time"))
        scores = self.scores(x)
        if self.causal:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        mixed = torch.softmax(scores, dim=-1) @ self._split(self.value(x))
        return self.out(mixed.transpose(1, 2).unflatten(-1, (4, -1)).transpose(2, 3).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, 4n) to (B, heads, T, 4n / heads), each head with whole pairs."""
        return x.unflatten(-1, (4, self.heads, -1)).permute(0, 3, 1, 2, 4).flatten(3)

    @staticmethod
    def _square(q: Tensor, k: Tensor) -> Tensor:
        """|<q_i, k_j>|^2 for all i, j, as two matrix products."""
        # <q, k> in its real and imaginary part is a dot product with k turned round; see `math.hermitian`
        a, b, c, d = k.chunk(4, dim=-1)
        real, imag = torch.cat([c, d, a, b], dim=-1), torch.cat([d, -c, b, -a], dim=-1)
        return (q @ real.mT).square() + (q @ imag.mT).square()
