"""A memory that changes its own weights while it reads, by a rule that comes out of them; and a chain of such."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from mobius_lib import transforms
from mobius_lib.products import Linear
from mobius_lib.twistor.checks import check_carried, check_count, check_twistor, check_width

RATE, KEEP = -2.0, 4.0
"""Logits at first: a step corrects about 1/8 of an error and forgets about 1/50 of what was learned."""


@dataclass(frozen=True)
class FastState:
    """What a `SelfModifyingMemory` carries from one piece of a sequence to the next."""

    learned: Tensor
    """(B, heads, rows, d): the fast weights, less those of the start."""
    asked: Tensor
    """The same shape: what the steps since the last change have asked for."""
    clock: int
    """Steps so far."""

    def detach(self) -> Self:
        """The same numbers, of which no gradient knows where they came from."""
        return type(self)(self.learned.detach(), self.asked.detach(), self.clock)


FastStates = tuple[FastState, ...]


class SelfModifyingMemory(nn.Module):
    """Each head has a matrix W of fast weights, which every row of a batch rewrites for itself as it is read.

    With u the step's input, of length 1, everything comes out of W: what is read, and the rule by which W changes

        (read, k, v, a, b) = W u,   rate = sigmoid(a + a_0),   keep = sigmoid(b + b_0),   k and v made of length 1
        W <- start + keep (W - start) + rate (tanh(W v) - W k) k^T
        y = x + out(read)

    That is the delta rule, with a target tanh(W v), rate, key and decay that the memory gives itself: what it has
    learned decides how it learns. Reading comes before writing. As keys have at most length 1, and rate and keep lie
    between 0 and 1, W - start never grows by itself and a step adds a bounded target: W stays finite whatever is read.

    With a period P all of P tokens ask with the W from before them, and the mean of what they ask for is done at once
    after the last; so they are read together, in one product.

    Args:
        dim: width 4n of the twistors.
        period: tokens from one change of W to the next.
        heads: a divisor of dim; None takes the fewest that are at most 16 wide.
    Shape:
        (batch, time, 4n) and a state, or None for the start, to (batch, time, 4n) and the state after the last step.
        Causal; no row of the batch sees another's.
    Attributes:
        start: (heads, 3 d + 2, d), the fast weights before a sequence. bias: (2, heads), a_0 and b_0.
    Raises:
        ValueError: for sizes that cannot be, an empty sequence, or a state of another model or batch.
    Source:
        self-modifying Titans of Behrouz et al., Nested Learning (2025), with the one matrix of Irie et al., A Modern
        Self-Referential Weight Matrix (2022); the MT-HOPE README names it. Bounds, start and the mean of a period are
        ours.
    """

    def __init__(self, dim: int, period: int = 1, heads: int | None = None) -> None:
        super().__init__()
        check_width("dim", dim)
        check_count("period", period)
        if heads is None:
            heads = next(number for number in range(-(-dim // 16), dim + 1) if dim % number == 0)
        check_count("heads", heads)
        if dim % heads:
            raise ValueError(f"heads must divide dim={dim}, but is {heads}.")
        self.dim, self.period, self.heads, self.each = dim, int(period), int(heads), dim // heads
        self.input, self.out = Linear(dim, dim), Linear(dim, dim)
        self.start = nn.Parameter(0.5 * torch.randn(heads, 3 * self.each + 2, self.each))
        self.bias = nn.Parameter(torch.tensor([[RATE], [KEEP]]).repeat(1, heads))

    def forward(self, x: Tensor, state: FastState | None = None, live: bool = True) -> tuple[Tensor, FastState]:
        """See the class; where live is False the fast weights are read and stay as they are."""
        check_twistor("x", x, self.dim, ("batch", "time"))
        state = self._begin(x, state)
        with transforms.no_autocast(x):  # what is added up over a sequence keeps its digits
            u = _unit(self.input(x.to(self.start.dtype)).unflatten(-1, (self.heads, -1))).transpose(1, 2)
            reads, done = [], 0
            while done < x.shape[1]:
                count = min(self.period - state.clock % self.period, x.shape[1] - done)
                read, state = self._piece(u[:, :, done : done + count], state, live)
                reads.append(read)
                done += count
            read = torch.cat(reads, dim=2).transpose(1, 2).flatten(2)
        return x + self.out(read), state

    def _piece(self, u: Tensor, state: FastState, live: bool) -> tuple[Tensor, FastState]:
        """Steps (B, heads, t, d) within a period, and the change after them where it is due."""
        weights = self.start + state.learned
        made = u @ weights.mT
        read, key, value, logits = made.split((self.each, self.each, self.each, 2), dim=-1)
        clock = state.clock + u.shape[2]
        if not live:
            return read, FastState(state.learned, state.asked, clock)
        rate, keep = torch.sigmoid(logits + self.bias.mT.unsqueeze(1)).split(1, dim=-1)
        key, value = _unit(key), _unit(value)
        error = torch.tanh(value @ weights.mT) - key @ weights.mT
        forgotten = (1 - keep).sum(2, keepdim=True) * state.learned
        asked = state.asked + ((rate * error).mT @ key - forgotten) / self.period
        if clock % self.period:
            return read, FastState(state.learned, asked, clock)
        return read, FastState(state.learned + asked, torch.zeros_like(asked), clock)

    def _begin(self, x: Tensor, state: FastState | None) -> FastState:
        want = (x.shape[0], *self.start.shape)
        if state is None:
            zero = self.start.new_zeros(want)
            return FastState(zero, zero, 0)
        if not isinstance(state, FastState):
            raise ValueError(f"state must be a FastState, as returned with the output, not a {type(state).__name__}.")
        for part in (state.learned, state.asked):
            check_carried("state", part, self.start)
            if tuple(there := part.shape) != want:
                raise ValueError(f"state is of another model or batch: its shape is {tuple(there)}, not {want}.")
        return FastState(state.learned.to(self.start.dtype), state.asked.to(self.start.dtype), state.clock)


class ContinuumMemory(nn.Module):
    """A chain of `SelfModifyingMemory`: level l changes its weights every period^l tokens, from the first on at each.

    Args:
        dim: width 4n of the twistors.
        levels: at least 1. period: C.
    Shape:
        as `SelfModifyingMemory`, with a tuple of the levels' states.
    Attributes:
        live: False leaves the weights as they are while reading, to compare; it is not kept in a state dict.
    Source:
        the continuum memory of Behrouz et al., Nested Learning (2025), whose levels are updated every C^l steps.
    """

    def __init__(self, dim: int, levels: int = 1, period: int = 4) -> None:
        super().__init__()
        check_count("levels", levels)
        check_count("period", period)
        self.levels = nn.ModuleList(SelfModifyingMemory(dim, period**level) for level in range(levels))
        self.live = True

    def forward(self, x: Tensor, state: FastStates | None = None) -> tuple[Tensor, FastStates]:
        if state is not None and (not isinstance(state, tuple) or len(state) != len(self.levels)):
            there = len(state) if isinstance(state, tuple) else type(state).__name__
            raise ValueError(f"state must be a tuple of {len(self.levels)} levels' states, not {there}.")
        after = []
        for number, level in enumerate(self.levels):
            x, last = level(x, None if state is None else state[number], self.live)
            after.append(last)
        return x, tuple(after)


def _unit(x: Tensor) -> Tensor:
    """Each row at length 1, or a little below; 0 stays 0."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
