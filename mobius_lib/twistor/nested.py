"""Nested learning: levels that learn at their own rates and their own times, with |omega . pi| held."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.twistor.checks import check_rows, check_width
from mobius_lib.twistor.fast.choice import known_backend, works
from mobius_lib.twistor.fast.holding import hold
from mobius_lib.twistor.fast.nested import level as native_level
from mobius_lib.twistor.fast.nested import library

PARTS = ("omega", "pi")
Networks = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Weight, bias, weight, bias of a level's network for omega, and of that for pi."""


class TwistorNestedLearning(nn.Module):
    """A chain of levels, each a small network for omega and one for pi; after each, |omega . pi| = constant.

    Level l adds a_l times its network's output to what came from level l - 1. What makes it nested:

    rates: level l learns at lr x factor^l, omega and pi from learning rates of their own (`parameter_groups`, or the
        two optimisers below);
    times: level l is updated every period^l steps, with the mean of the gradients since (`Held`), as in the continuum
        memory of Nested Learning. Between two updates its parameters have no gradient, so that any optimiser leaves
        them alone: not even decay or momentum acts. A step is a backward pass through this module;
    weights: a_l rises over training from 0.1 to 1, in the course set by `plan`, times a learned factor in (0, 2).

    The constraint. A level's sum is moved along the gradient of |omega . pi| until |omega . pi| / n = constant
    (`math.hold_pairing`, in closed form), so that it holds exactly, at every step. How far the sums were from it before
    is the constraint loss, by which the levels learn to need no correction. Rows come in at a mean square of 1 and are
    moved by a learned origin, at first omega = pi = 1 in every pair: so |omega . pi| / n is near 1 from the start. Near
    0 its phase, which the move follows, would hang on a rounding: no continuous map takes all numbers to a circle.

    Args:
        dim: width 4n of the twistors.
        num_nested_levels: L, at least 1.
        period: C; level l is updated every C^l steps; 1 updates all at each.
        level_factor: of the learning rate, from one level to the next.
        constant: what |omega . pi| / n is held at; None holds nothing.
        dynamic_weights: False keeps a_l at 1 times its factor.
        backend: one of `choice.BACKENDS`; "eager" is torch's operations one by one, the others C++ between the
            products; the same numbers.
    Shape:
        (..., 4n) to (..., 4n) and the constraint loss, a scalar: each row is treated alone, so it is causal.
    Attributes:
        clock: (), int64, the backward passes so far. total: (), int64, those that are planned; 0: not known.
    Source:
        seed 004; continuum memory: Behrouz et al., Nested Learning (2025). The exact constraint is ours.
    """

    def __init__(
        self,
        dim: int,
        num_nested_levels: int = 5,
        *,
        period: int = 2,
        level_factor: float = 0.9,
        constant: float | None = 1.0,
        dynamic_weights: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_width("dim", dim)
        for name, value, least in (("num_nested_levels", num_nested_levels, 1), ("period", period, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}.")
        if not 0 < level_factor <= 1:
            raise ValueError(f"level_factor must lie above 0 and at most at 1, not {level_factor!r}.")
        if constant is not None and not constant >= 0:
            raise ValueError(f"constant must not be negative, or None, not {constant!r}.")
        self.dim, self.num_nested_levels, self.period = dim, num_nested_levels, period
        self.level_factor, self.constant, self.dynamic_weights = level_factor, constant, dynamic_weights
        self.backend = known_backend(backend)
        self.omega_nets = nn.ModuleList(_network(dim // 2) for _ in range(num_nested_levels))
        self.pi_nets = nn.ModuleList(_network(dim // 2) for _ in range(num_nested_levels))
        self.weights = nn.Parameter(torch.zeros(2, num_nested_levels))
        self.origin = nn.Parameter(torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat_interleave(dim // 4))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.register_buffer("total", torch.zeros((), dtype=torch.int64))
        for level in range(1, num_nested_levels):  # level 0 is updated at every step
            for part in PARTS if self.period_of(level) > 1 else ():
                for name, parameter in self._named(part, level):
                    self.register_buffer(_held_name(part, level, name), torch.zeros_like(parameter))

    def period_of(self, level: int) -> int:
        """Steps from one update of a level to the next: period^level."""
        return self.period**level

    def rate_of(self, level: int) -> float:
        """What the learning rate of a level is multiplied by: level_factor^level."""
        return self.level_factor**level

    def due(self, level: int) -> bool:
        """Whether the next backward pass updates a level."""
        return (int(self.clock) + 1) % self.period_of(level) == 0

    def plan(self, total_steps: int) -> None:
        """Say how many backward passes there will be: the weights of the levels rise in their course."""
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, not {total_steps}.")
        self.total.fill_(total_steps)

    def level_weights(self) -> Tensor:
        """a_l of omega and pi: (2, L)."""
        factors = 2 * torch.sigmoid(self.weights)
        if not self.dynamic_weights:
            return factors
        done = torch.where(self.total > 0, self.clock / self.total.clamp_min(1), 1.0).clamp_max(1.0)
        return (0.1 + 0.9 * done) * factors

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_rows("x", x, self.dim)
        learns = self.training and torch.is_grad_enabled()
        weights = self.level_weights()
        if learns:
            weights = _Tick.apply(weights, self.clock)
        clock = int(self.clock) if learns and self.period > 1 else 0  # on a GPU this waits for it, so it is done once
        # omega and pi as two matrices of rows
        z = torch.stack((_normal(x) + self.origin.to(x.dtype)).chunk(2, dim=-1)).flatten(1, -2)
        networks = [self._networks(level, clock if learns else None) for level in range(self.num_nested_levels)]
        plain = self.backend == "eager" or self.constant is None or not works(library, z)
        if not plain and not torch.is_autocast_enabled("cpu"):
            z, off = self._native(z, networks, weights)
        else:
            z, off = self._readable(z, networks, weights)
        return torch.cat(z.unbind(0), dim=-1).view(x.shape), off

    def _readable(self, z: Tensor, networks: list[Networks], weights: Tensor) -> tuple[Tensor, Tensor]:
        pairs = self.dim // 4
        off = z.new_zeros((), dtype=torch.float32)
        for level, both in enumerate(networks):
            # both networks of a level in one product
            first, bias, second, other_bias = (torch.stack(each) for each in zip(*both, strict=True))
            inner = F.gelu(torch.baddbmm(bias.unsqueeze(1), z, first.mT))
            step = torch.baddbmm(other_bias.unsqueeze(1), inner, second.mT)
            z = torch.addcmul(z, weights[:, level, None, None].to(z.dtype), step.to(z.dtype))
            if self.constant is not None:
                held, modulus = hold(z.float(), self.constant * pairs)
                z = held.to(z.dtype)
                off = off + (modulus / pairs - self.constant).square().mean() / self.num_nested_levels
        return z, off

    def _native(self, z: Tensor, networks: list[Networks], weights: Tensor) -> tuple[Tensor, Tensor]:
        """The same numbers by `nested.cpp`."""
        pairs, moduli = self.dim // 4, []
        for level, (omega, pi) in enumerate(networks):
            z, modulus = native_level(z, weights[:, level], self.constant * pairs, *omega, *pi)
            moduli.append(modulus)
        return z, (torch.stack(moduli) / pairs - self.constant).square().mean()

    def parameter_groups(self, omega_rate: float = 1.0, pi_rate: float = 1.0) -> list[dict[str, Any]]:
        """Each level's omega and pi network with what its learning rate is multiplied by, and the rest at 1.

        Returns:
            groups with params, rate and name.
        """
        groups = [
            {"params": list(nets[level].parameters()), "rate": rate * self.rate_of(level), "name": f"{part} {level}"}
            for part, nets, rate in zip(PARTS, (self.omega_nets, self.pi_nets), (omega_rate, pi_rate), strict=True)
            for level in range(self.num_nested_levels)
        ]
        return [*groups, {"params": [self.weights, self.origin], "rate": 1.0, "name": "weights and origin"}]

    def _named(self, part: str, level: int) -> Iterator[tuple[str, nn.Parameter]]:
        return (self.omega_nets if part == "omega" else self.pi_nets)[level].named_parameters()

    def _networks(self, level: int, clock: int | None) -> Networks:
        """The level's parameters; where they learn, and at slower times, with their gradients held back."""
        period = self.period_of(level)

        def held(part: str, name: str, parameter: Tensor) -> Tensor:
            if clock is None or period == 1 or not parameter.requires_grad:
                return parameter
            return Held.apply(
                parameter, self.get_buffer(_held_name(part, level, name)), (clock + 1) % period == 0, period
            )

        omega, pi = (tuple(held(part, name, each) for name, each in self._named(part, level)) for part in PARTS)
        return omega, pi


class Held(torch.autograd.Function):
    """A parameter whose gradient is given out once every so many backward passes, as the mean of those since.

    In between it is added up in a buffer of the model, so that checkpoints hold it, and the parameter gets none at all
    (None, not 0): an optimiser passes it over.

    Source: the continuum memory of Nested Learning; the form is ours.
    """

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, buffer: Tensor, due: bool, period: int) -> Tensor:
        ctx.buffer, ctx.due, ctx.period = buffer, due, period
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.due:
            ctx.buffer.add_(grad)
            return None, None, None, None
        mean = (ctx.buffer + grad) / ctx.period
        ctx.buffer.zero_()
        return mean, None, None, None


class _Tick(torch.autograd.Function):
    """The identity; counts the backward passes through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clock: Tensor) -> Tensor:
        ctx.clock = clock
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.clock.add_(1)
        return grad, None


class NestedOptimizer(torch.optim.AdamW):
    """AdamW over one part of the levels, each at lr x factor^level; what is not due has no gradient and stays.

    Args:
        nested: whose levels.
        part: "omega" or "pi".
        lr: of level 0.
        options: of `torch.optim.AdamW`.
    """

    def __init__(self, nested: TwistorNestedLearning, part: str, lr: float = 1e-4, **options: Any) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, not {lr!r}.")
        nets = nested.omega_nets if part == "omega" else nested.pi_nets
        groups = [
            {"params": list(net.parameters()), "lr": lr * nested.rate_of(level), "name": f"{part} {level}"}
            for level, net in enumerate(nets)
        ]
        super().__init__(groups, lr=lr, **options)

    def rates(self) -> list[float]:
        """The learning rate of each level."""
        return [group["lr"] for group in self.param_groups]


class OmegaNestedOptimizer(NestedOptimizer):
    """`NestedOptimizer` of the omega networks."""

    def __init__(self, nested: TwistorNestedLearning, lr: float = 1e-4, **options: Any) -> None:
        super().__init__(nested, "omega", lr, **options)


class PiNestedOptimizer(NestedOptimizer):
    """`NestedOptimizer` of the pi networks."""

    def __init__(self, nested: TwistorNestedLearning, lr: float = 1e-4, **options: Any) -> None:
        super().__init__(nested, "pi", lr, **options)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


def _normal(x: Tensor) -> Tensor:
    """Each row at a mean square of 1, so that the constant means the same for every row."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def _held_name(part: str, level: int, name: str) -> str:
    return f"held_{part}_{level}_{name.replace('.', '_')}"
