"""Nested learning: levels that learn at their own rates and their own times, with |omega . pi| held."""

import functools
import weakref
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from mobius_lib.native import concrete
from mobius_lib.twistor.checks import check_count, check_rows, check_width
from mobius_lib.twistor.fast.choice import known_backend, works
from mobius_lib.twistor.fast.holding import hold
from mobius_lib.twistor.fast.nested import level as native_level
from mobius_lib.twistor.fast.nested import library

Networks = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Weight, bias, weight, bias of a level's network for omega, and of that for pi."""


class TwistorNestedLearning(nn.Module):
    """A chain of levels, each a small network for omega and one for pi; after each, |omega . pi| = constant.

    Level l adds a_l times its network's output to what came from level l - 1. What makes it nested:

    - rates: level l learns at lr x factor^l, omega and pi from learning rates of their own (`parameter_groups`, or the
      two optimisers below);
    - times: level l is updated every period^l steps, with the mean of the gradients since, as in the continuum memory
      of Nested Learning. Between two updates its parameters have no gradient (None, not 0), so that any optimizer
      leaves them alone: not even decay or momentum acts;
    - weights: a_l rises over training from 0.1 to 1, in the course set by `plan`, times a learned factor in (0, 2).

    Times are counted in steps of an optimizer (of `torch.optim`, with any of this module's parameters; where there are
    two, for omega and pi, the first to step counts for both). What comes before a step is one step, however many
    forward and backward passes it is made of: several batches in one loss, gradients accumulated over parts of a batch,
    a sequence in pieces. Whoever updates parameters without such an optimizer calls `stepped` after each update.

    Gradients are held where they arrive in a parameter's `.grad`, by hooks on the parameters; forward is a function of
    its input and the parameters, so that `torch.autograd.grad`, torch.func and compilers see nothing of this. Held are
    only gradients of training mode, and only finite ones: one that is not is shown to whoever looks for it (a scaler
    of the loss, a check), and adds nothing to the mean. They are held at the scale of the loss itself: with a
    `torch.amp.GradScaler`, say so by `scaled_by`, for its scale changes from step to step. Under
    DistributedDataParallel what is held is the mean over all processes; its no_sync is not supported.

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
        clock: (), int64, the steps so far. total: (), int64, those that are planned; 0: not known.
    Source:
        the MT-HOPE README; continuum memory: Behrouz et al., Nested Learning (2025). The exact constraint is ours.
    """

    clock: Tensor
    total: Tensor

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
        check_count("num_nested_levels", num_nested_levels)
        check_count("period", period)
        if not 0 < level_factor <= 1:
            raise ValueError(f"level_factor must lie above 0 and at most at 1, not {level_factor!r}.")
        if constant is not None and not constant >= 0:
            raise ValueError(f"constant must not be negative, or None, not {constant!r}.")
        self.dim, self.num_nested_levels, self.period = dim, int(num_nested_levels), int(period)
        self.level_factor, self.constant, self.dynamic_weights = level_factor, constant, dynamic_weights
        self.backend = known_backend(backend)
        self.omega_nets = nn.ModuleList(_network(dim // 2) for _ in range(num_nested_levels))
        self.pi_nets = nn.ModuleList(_network(dim // 2) for _ in range(num_nested_levels))
        self.weights = nn.Parameter(torch.zeros(2, num_nested_levels))
        self.origin = nn.Parameter(torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat_interleave(dim // 4))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.register_buffer("total", torch.zeros((), dtype=torch.int64))
        for level, name, parameter in self._levels():
            if self.period_of(level) > 1:
                self.register_buffer(_held_name(name), torch.zeros_like(parameter))
        self._scaler: Any = None
        self._step: int | None = None  # the number of the step whose gradients are arriving, if some have
        self._shown: dict[str, tuple[weakref.ref, int]] = {}  # mean gradients shown in this step, and their versions
        self._watched: dict[str, weakref.ref] = {}  # parameters with a hook, by name
        self._watch()
        _nested.add(self)

    def period_of(self, level: int) -> int:
        """Steps from one update of a level to the next: period^level."""
        return self.period**level

    def rate_of(self, level: int) -> float:
        """What the learning rate of a level is multiplied by: level_factor^level."""
        return self.level_factor**level

    def due(self, level: int) -> bool:
        """Whether the next step updates a level."""
        return (int(self.clock) + 1) % self.period_of(level) == 0

    def plan(self, total_steps: int) -> None:
        """Say how many steps there will be: the weights of the levels rise in their course."""
        check_count("total_steps", total_steps)
        self.total.fill_(total_steps)

    def expect(self, total_steps: int) -> None:
        """`plan`, where nobody has and no step has been taken: `fit` says so, and a plan of one's own stands."""
        if not int(self.total) and not int(self.clock):
            self.plan(total_steps)

    def level_weights(self) -> Tensor:
        """a_l of omega and pi: (2, L)."""
        factors = 2 * torch.sigmoid(self.weights)
        if not self.dynamic_weights:
            return factors
        clock, total = (each.to(factors.dtype) for each in (self.clock, self.total))
        done = torch.where(total > 0, clock / total.clamp_min(1), torch.ones_like(clock)).clamp_max(1.0)
        return (0.1 + 0.9 * done) * factors

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_rows("x", x, self.dim)
        if self.training and concrete(x):
            self._watch()  # parameters may have been replaced
        weights = self.level_weights()
        # omega and pi as two matrices of rows
        z = torch.stack((_normal(x) + self.origin.to(x.dtype)).chunk(2, dim=-1)).flatten(1, -2)
        networks: list[Networks] = [
            (tuple(self.omega_nets[level].parameters()), tuple(self.pi_nets[level].parameters()))
            for level in range(self.num_nested_levels)
        ]
        plain = self.backend == "eager" or self.constant is None or torch.is_autocast_enabled("cpu")
        if not plain and works(library, z, weights, *self.parameters()):
            z, off = self._native(z, networks, weights)
        else:
            z, off = self._readable(z, networks, weights)
        return torch.cat(z.unbind(0), dim=-1).view(x.shape), off

    def _readable(self, z: Tensor, networks: list[Networks], weights: Tensor) -> tuple[Tensor, Tensor]:
        pairs = self.dim // 4
        wide = torch.float64 if z.dtype == torch.float64 else torch.float32
        off = z.new_zeros((), dtype=wide)
        for level, both in enumerate(networks):
            # both networks of a level in one product
            first, bias, second, other_bias = (torch.stack(each) for each in zip(*both, strict=True))
            inner = F.gelu(torch.baddbmm(bias.unsqueeze(1), z, first.mT))
            step = torch.baddbmm(other_bias.unsqueeze(1), inner, second.mT)
            z = torch.addcmul(z, weights[:, level, None, None].to(z.dtype), step.to(z.dtype))
            if self.constant is not None:
                held, modulus = hold(z.to(wide), self.constant * pairs)
                z = held.to(z.dtype)
                off = off + (modulus / pairs - self.constant).square().mean() / self.num_nested_levels
        return z, off

    def _native(self, z: Tensor, networks: list[Networks], weights: Tensor) -> tuple[Tensor, Tensor]:
        """The same numbers by `nested.cpp`."""
        assert self.constant is not None  # else `forward` would not be here
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
        rest = {"params": [self.weights, self.origin], "rate": 1.0, "name": "weights and origin"}
        return [*self.levels_of("omega", omega_rate), *self.levels_of("pi", pi_rate), rest]

    def levels_of(self, part: str, rate: float = 1.0) -> list[dict[str, Any]]:
        """The groups of one part, "omega" or "pi", one for each level: of `parameter_groups`, and of the optimisers."""
        nets = self.omega_nets if part == "omega" else self.pi_nets
        return [
            {"params": list(net.parameters()), "rate": rate * self.rate_of(level), "name": f"{part} {level}"}
            for level, net in enumerate(nets)
        ]

    # --- steps and what is held between them

    def stepped(self) -> None:
        """Say that a step is over: the parameters have been updated. An optimizer of `torch.optim` says so itself."""
        if self._step is None:
            return
        for level, name, _ in self._levels():
            if self.period_of(level) > 1 and self._step % self.period_of(level) == 0:
                self.get_buffer(_held_name(name)).zero_()
        self.clock.add_(1)
        self._step = None
        self._shown.clear()

    def scaled_by(self, scaler: Any) -> None:
        """Say by what the loss is multiplied before its backward pass, so that gradients are held without it.

        Args:
            scaler: a `torch.amp.GradScaler`, or whatever has its get_scale(); None: by nothing. It is asked in every
                backward pass, and may change its scale between two steps.
        """
        self._scaler = scaler

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._watch()
        return self

    def _load_from_state_dict(self, *given: Any) -> None:
        self._step = None  # what has arrived belongs to what was there before
        self._shown.clear()
        super()._load_from_state_dict(*given)

    def __getstate__(self) -> dict[str, Any]:
        # hooks do not travel with copies
        return self.__dict__ | {"_step": None, "_shown": {}, "_watched": {}, "_scaler": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._watch()
        _nested.add(self)

    def _levels(self) -> Iterator[tuple[int, str, nn.Parameter]]:
        """Level, name and value of the parameters of all networks."""
        for nets in ("omega_nets", "pi_nets"):
            for name, parameter in getattr(self, nets).named_parameters():
                yield int(name.partition(".")[0]), f"{nets}.{name}", parameter

    def _watch(self) -> None:
        """Be told when a gradient arrives, of any parameter."""
        levels = {name: level for level, name, _ in self._levels()}
        for name, parameter in self.named_parameters():
            known = self._watched.get(name)
            if parameter.requires_grad and (known is None or known() is not parameter):
                hook = functools.partial(_arrived, weakref.ref(self), name, levels.get(name, 0))
                parameter.register_post_accumulate_grad_hook(hook)
                self._watched[name] = weakref.ref(parameter)

    @torch.no_grad()
    def _hold(self, name: str, level: int, parameter: Tensor) -> None:
        """Put a gradient that has arrived to those that are held; show their mean where the level is due."""
        if self._step is None:
            self._step = int(self.clock) + 1  # on a GPU this waits for it, so it is done once a step
        period = self.period_of(level)
        given: Any = parameter.grad
        if period == 1 or given is None:
            return
        buffer = self.get_buffer(_held_name(name))
        scale = 1.0 if self._scaler is None else self._scaler.get_scale()
        shown, version = self._shown.pop(name, (None, 0))
        # a second pass of the same step adds to the mean that was shown; an optimizer may have cleared it in between
        again = shown is not None and given._version == version + 1 and shown() is given
        new = given - buffer * (scale / period) if again else given
        finite = torch.isfinite(new).all()
        buffer.add_(torch.where(finite, new if scale == 1 else new / scale, 0.0))
        if self._step % period:
            parameter.grad = None
            return
        mean = buffer / period if scale == 1 else buffer * (scale / period)
        parameter.grad = torch.where(finite, mean, new)
        self._shown[name] = (weakref.ref(parameter.grad), parameter.grad._version)


_nested: "weakref.WeakSet[TwistorNestedLearning]" = weakref.WeakSet()


def _arrived(owner: "weakref.ref[TwistorNestedLearning]", name: str, level: int, parameter: Tensor) -> None:
    """A hook: a gradient has arrived in a parameter."""
    nested = owner()
    if nested is None or not nested.training or parameter.is_meta:
        return
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        nested._hold(name, level, parameter)
        return
    # the mean over processes is there only when the pass is over, and what makes it is then queued already
    later = torch.autograd.Variable._execution_engine.queue_callback
    later(lambda: later(lambda: nested._hold(name, level, parameter)))


def _stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """A hook of all optimizers: one has stepped."""
    waiting = [nested for nested in _nested if nested._step is not None]
    if not waiting:
        return
    updated = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for nested in waiting:
        if any(id(parameter) in updated for parameter in nested.parameters()):
            nested.stepped()


register_optimizer_step_post_hook(_stepped)


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
        groups = [{**group, "lr": lr * group["rate"]} for group in nested.levels_of(part)]
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


def _held_name(name: str) -> str:
    """omega_nets.2.0.weight to held_omega_2_0_weight."""
    return f"held_{name.replace('_nets', '').replace('.', '_')}"
