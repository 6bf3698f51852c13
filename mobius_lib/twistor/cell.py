"""One step of the recurrence, as its equations read. `unroll.py` computes many steps of it fast."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.checks import check_carried, check_twistor, check_width
from mobius_lib.twistor.mobius import MobiusCycles

SCALES = {"fast": (1, 1), "medium": (2, 4), "slow": (3, 16)}
"""Layers of each evolution network, and the steps between two of its evaluations."""
RATES = (0.001, 0.1)
"""Between which the evolution rate adapts; the public code's."""


@dataclass(frozen=True)
class CellState:
    """What a cell carries from one step to the next. Its size does not depend on how many steps there were."""

    twistor: Tensor
    """(B, H): the state (omega, pi), what an LSTM calls its cell."""
    hidden: Tensor
    """(B, H): what was put out last."""
    held: Tensor
    """(scales, B, H): the direction that each evolution network gave last."""
    clock: int
    """Steps so far."""

    def detach(self) -> Self:
        """The same numbers, of which no gradient knows where they came from."""
        return type(self)(self.twistor.detach(), self.hidden.detach(), self.held.detach(), self.clock)


class TwistorTitansCell(nn.Module):
    """Gates, evolution on several time scales, a Möbius map of the state: one step.

    With x the input and h, z the carried output and state (gates i, f, o by sigmoid, the candidate g by tanh, from one
    product each of x and h):

        z' = f z + i g                             as in an LSTM, on the parts of a twistor
        e  = sum_s softmax(w)_s E_s                E_s(z') anew every period_s steps, held in between
        r  = r_min + (r_max - r_min) sigmoid(v . |g - z| / sqrt H + b)
        z  = turn(z' + r e)                        each pair by its Möbius cycles, length kept
        h  = o tanh(z)

    g - z is the gradient by which the state would learn the candidate, (1/2)|g - z|^2: the rate is drawn from the
    surprise. The networks of the slower scales are deeper and are asked more seldom, and so belong to a slower time.

    Args:
        input_dim: width of x.
        hidden_dim: width H of the state, a multiple of 4.
        use_mobius: apply the Möbius cycles.
        num_mobius_cycles: how many; see `math.cycle_matrix`. coupled: False leaves out J; see `MobiusCycles`.
        use_adaptive_evolution_rate: draw the rate from the surprise; else it is one learned number.
        scales: which of `SCALES` there are; none leaves the evolution out.
    Shape:
        x (B, input_dim) and a state to h (B, H) and the next state.
    Raises:
        ValueError: for a width that is no multiple of 4, an unknown scale, or input that does not fit.
    Source:
        the parts are named in the MT-HOPE README; gates, networks and rates are the public code's. A state of
        its own beside the output, the rate from the gradient, the periods, and the map with its length kept are ours.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        *,
        use_mobius: bool = True,
        num_mobius_cycles: int = 3,
        coupled: bool = True,
        use_adaptive_evolution_rate: bool = True,
        scales: Sequence[str] = tuple(SCALES),
    ) -> None:
        super().__init__()
        check_width("hidden_dim", hidden_dim)
        if unknown := [name for name in scales if name not in SCALES]:
            raise ValueError(f"scales names {unknown[0]!r}, but there are {', '.join(SCALES)}.")
        if len(set(scales)) < len(scales):
            raise ValueError(f"scales names one twice: {', '.join(scales)}.")
        self.input_dim, self.hidden_dim, self.scales = input_dim, hidden_dim, tuple(scales)
        self.periods = tuple(SCALES[name][1] for name in scales)
        self.input = nn.Linear(input_dim, 4 * hidden_dim)
        self.recur = nn.Linear(hidden_dim, 4 * hidden_dim, bias=False)
        with torch.no_grad():
            self.input.bias[hidden_dim : 2 * hidden_dim] = 1.0  # the usual start of a forget gate: remember
        self.evolution = nn.ModuleList(_evolution(hidden_dim, SCALES[name][0]) for name in scales)
        self.scale_weights = nn.Parameter(torch.zeros(len(scales)))
        self.surprise = nn.Parameter(torch.zeros(hidden_dim)) if use_adaptive_evolution_rate and scales else None
        self.rate = nn.Parameter(torch.zeros(())) if scales else None
        self.mobius = MobiusCycles(hidden_dim, num_mobius_cycles, coupled=coupled) if use_mobius else None

    def initial(self, batch: int, like: Tensor) -> CellState:
        """The state before the first step, for a batch, in the type and place of a tensor."""
        zero = like.new_zeros(batch, self.hidden_dim)
        return CellState(zero, zero, like.new_zeros(len(self.scales), batch, self.hidden_dim), 0)

    def check(self, state: CellState, batch: int) -> CellState:
        """A state in the type of this cell's numbers.

        Raises:
            ValueError: naming the argument state, where it cannot be this cell's for a batch of that size.
        """
        if not isinstance(state, CellState):
            raise ValueError(f"state must be a CellState, as returned with the output, not a {type(state).__name__}.")
        like = self.input.weight
        for name in ("twistor", "hidden", "held"):
            check_carried(f"state's {name}", getattr(state, name), like)
        want = (len(self.scales), batch, self.hidden_dim)
        shapes = (tuple(state.twistor.shape), tuple(state.hidden.shape), tuple(state.held.shape))
        if shapes != (want[1:], want[1:], want):
            raise ValueError(
                f"state is of another model or batch: it holds a twistor of shape {shapes[0]} and {shapes[2][0]} held "
                f"directions, but this cell and batch need {want[1:]} and {want[0]}. Begin with state=None."
            )
        z, h, held = (part.to(like.dtype) for part in (state.twistor, state.hidden, state.held))
        return CellState(z, h, held, state.clock)

    def forward(self, x: Tensor, state: CellState | None = None) -> tuple[Tensor, CellState]:
        check_twistor("x", x, self.input_dim, ("batch",))
        if state is None:
            state = self.initial(x.shape[0], x)
        state = self.check(state, x.shape[0])
        return self.step(self.input(x), state, None if self.mobius is None else self.mobius.matrix())

    def step(self, drive: Tensor, state: CellState, matrix: Tensor | None) -> tuple[Tensor, CellState]:
        """One step from the input's part of the gates, (B, 4H), and the cycles' matrix: what the loop repeats."""
        gates, candidate = (drive + self.recur(state.hidden)).split((3 * self.hidden_dim, self.hidden_dim), dim=-1)
        i, f, o = torch.sigmoid(gates).chunk(3, dim=-1)
        g = torch.tanh(candidate)
        z = f * state.twistor + i * g
        held = state.held
        if self.scales:
            held = torch.stack(
                [
                    network(z) if state.clock % period == 0 else before
                    for network, period, before in zip(self.evolution, self.periods, state.held, strict=True)
                ]
            )
            direction = (torch.softmax(self.scale_weights, dim=0)[:, None, None] * held).sum(0)
            z = z + self.evolution_rate(g - state.twistor) * direction
        if matrix is not None:
            z = twistor.turn(z, matrix)
        h = o * torch.tanh(z)
        return h, CellState(z, h, held, state.clock + 1)

    def evolution_rate(self, gradient: Tensor) -> Tensor:
        """r, from the gradient g - z: (B, H) to (B, 1), between `RATES`."""
        assert self.rate is not None  # without scales there is nothing whose rate could be asked for
        logit = self.rate.expand(gradient.shape[0], 1)
        if self.surprise is not None:
            logit = logit + gradient.abs() @ self.surprise.unsqueeze(-1) / math.sqrt(self.hidden_dim)
        return RATES[0] + (RATES[1] - RATES[0]) * torch.sigmoid(logit)


def _evolution(width: int, layers: int) -> nn.Sequential:
    """A network of some layers, twice as wide inside, that ends in tanh."""
    sizes = [width, *([2 * width] * (layers - 1)), width]
    parts: list[nn.Module] = []
    for number, (into, out) in enumerate(pairwise(sizes)):
        parts += [nn.Linear(into, out), nn.Tanh() if number == layers - 1 else nn.GELU()]
    return nn.Sequential(*parts)
