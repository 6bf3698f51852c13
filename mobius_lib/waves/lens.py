"""The lens and its block: `math.py` bound to parameters.

Parameter and buffer names are an interface: state dicts published for the distillation card's class load here.
"""

import math

import torch
from torch import Tensor, nn

from mobius_lib.waves import fast
from mobius_lib.waves import math as waves
from mobius_lib.waves.fast import products

BACKENDS = fast.BACKENDS
"""How a lens computes its gate; `mobius_lib.waves.fast` says what each is. All give the same numbers."""


class MobiusLens(nn.Module):
    """Twist in, gate by wave interference, twist out. Takes the place of an activation function.

    The lens stands at t = layer_idx / (total_layers - 1) of the network; t sets its two scales and its initial twist
    angles (t pi in, -t pi out), so that a deeper network samples the same path from 0 to 1 more finely.

    Args:
        dim: channels C.
        layer_idx: position among the lenses of the network, from 0.
        total_layers: how many lenses the network has.
        scale_range: scales at t = 0 and t = 1.
    Shape:
        (..., C) to (..., C): channels last.
    Raises:
        ValueError: when dim is not positive or layer_idx is not below total_layers; for an input of other channels.
    Attributes:
        backend: one of `BACKENDS`; all give the same numbers, some faster. `use_backend` sets it.
    Source:
        the distillation card.
    """

    backend = "auto"
    scales: Tensor

    def __init__(
        self, dim: int, layer_idx: int, total_layers: int, scale_range: tuple[float, float] = (0.5, 2.5)
    ) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"MobiusLens needs at least one channel, got dim={dim}.")
        if not 0 <= layer_idx < max(total_layers, 1):
            raise ValueError(f"layer_idx={layer_idx} is outside a network of {total_layers} lenses (count from 0).")
        self.t = layer_idx / max(total_layers - 1, 1)
        first, last = scale_range
        scale = first + self.t * (last - first)
        step = (last - first) / max(total_layers, 1)
        self.register_buffer("scales", torch.tensor([scale, scale + step]))
        self.omega = nn.Parameter(torch.tensor(math.pi))
        self.alpha = nn.Parameter(torch.tensor(1.5))
        self.phase_l, self.drift_l = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
        self.phase_m, self.drift_m = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.phase_r, self.drift_r = nn.Parameter(torch.zeros(2)), nn.Parameter(-torch.ones(2))
        self.accum_weights = nn.Parameter(torch.tensor([0.4, 0.2, 0.4]))
        self.xor_weight = nn.Parameter(torch.tensor(0.7))
        self.gate_norm = nn.LayerNorm(dim)
        self.twist_in_angle = nn.Parameter(torch.tensor(self.t * math.pi))
        self.twist_in_proj = nn.Linear(dim, dim, bias=False)
        self.twist_out_angle = nn.Parameter(torch.tensor(-self.t * math.pi))
        self.twist_out_proj = nn.Linear(dim, dim, bias=False)

    def twist_in(self, x: Tensor) -> Tensor:
        """The first turn, towards `twist_in_proj`: (..., C) to (..., C)."""
        return waves.twist(x, self.twist_in_proj.weight, self.twist_in_angle)

    def twist_out(self, x: Tensor) -> Tensor:
        """The last turn, towards `twist_out_proj`: (..., C) to (..., C)."""
        return waves.twist(x, self.twist_out_proj.weight, self.twist_out_angle)

    def paths(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The waves L, M, R of an input that has been twisted in: (..., C) to three of (..., C)."""
        u, t = torch.tanh(x), waves.drift_coordinate(x)
        shared = {"omega": self.omega, "alpha": self.alpha, "scales": self.scales}
        return (
            waves.wave(u, t, self.phase_l, self.drift_l, **shared),
            waves.wave(u, t, self.phase_m, self.drift_m, **shared),
            waves.wave(u, t, self.phase_r, self.drift_r, **shared),
        )

    def gate(self, x: Tensor) -> Tensor:
        """How much of each channel passes, in (0, 1), for an input that has been twisted in: (..., C)."""
        pattern = waves.interference(*self.paths(x), self.accum_weights, self.xor_weight)
        return waves.gate(pattern, self.gate_norm.weight, self.gate_norm.bias, self.gate_norm.eps)

    def gated(self, x: Tensor) -> Tensor:
        """x times its gate, for an input that has been twisted in, by the chosen backend: (..., C)."""
        self._check(x)
        if not self.folds:
            return x * self.gate(x)
        small = (
            *(self.phase_l, self.phase_m, self.phase_r, self.drift_l, self.drift_m, self.drift_r),
            *(self.omega, self.alpha, self.accum_weights, self.xor_weight),
        )
        norm = self.gate_norm
        return fast.gated(self.backend, x, small, self.scales, norm.weight, norm.bias, norm.eps)

    @property
    def folds(self) -> bool:
        """Whether `forward` takes a factor per channel into its last matrix: in all forms but the printed one."""
        return fast.asked(self.backend) != "printed"

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """The lens; with `factor` (C,), each channel of its result times that number, at no cost per position."""
        self._check(x)
        if not self.folds:
            y = self.twist_out(self.gated(self.twist_in(x)))
            return y if factor is None else y * factor
        turned = products.matrix(x, twist_matrix(self.twist_in_proj.weight, self.twist_in_angle))
        out = twist_matrix(self.twist_out_proj.weight, self.twist_out_angle)
        return products.matrix(self.gated(turned), out if factor is None else out * factor.unsqueeze(-1))

    def _check(self, x: Tensor) -> None:
        check_channels("MobiusLens", self.gate_norm.normalized_shape[0], x)


def check_channels(name: str, channels: int, x: Tensor) -> None:
    """Refuse what is no tensor with its `channels` channels last.

    Raises:
        ValueError: in one sentence.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"A {name} takes a torch.Tensor, not a {type(x).__module__}.{type(x).__name__}.")
    if x.ndim == 0 or x.shape[-1] != channels:
        first = x.ndim > 2 and x.shape[1] == channels
        raise ValueError(
            f"A {name} of {channels} channels takes them last, (..., {channels}), not a shape of {tuple(x.shape)}"
            + ("; move them there with x.movedim(1, -1)." if first else ".")
        )


def twist_matrix(matrix: Tensor, angle: Tensor) -> Tensor:
    """cos(angle) I + sin(angle) W: the one matrix that `math.twist` applies, built once per call.

    Args:
        matrix: (C, C), W.
        angle: scalar, radians.
    Returns:
        (C, C).
    """
    one = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    return torch.cos(angle) * one + torch.sin(angle) * matrix


def use_backend(model: nn.Module, backend: str) -> nn.Module:
    """Set the backend of every lens of a model, and of every GELU in the place of one, and return the model.

    Raises:
        ValueError: when the backend is not one of `BACKENDS`.
    """
    fast.known(backend)
    for module in model.modules():
        if isinstance(module, MobiusLens | GELULens):
            module.backend = backend
    return model


class GELULens(nn.Module):
    """The plain twin of the lens: Linear, GELU, Linear, with the same two C x C matrices and no biases.

    What a practitioner would put in the lens's place at the same cost in parameters and multiply-adds: it lacks only
    the lens's 20 scalars and its layer norm.

    Args:
        dim: channels C. The further arguments of `MobiusLens` are accepted and unused, so either fits a block.
    Shape:
        (..., C) to (..., C): channels last.
    Attributes:
        backend: "printed" computes it as PyTorch's own layers do; any other name gives it the lens's cheap matrices and
            residual, so that a comparison of cost is one of lens with GELU and of nothing else. Same numbers.
    Source:
        ours, as the baseline.
    """

    backend = "auto"

    def __init__(
        self, dim: int, layer_idx: int = 0, total_layers: int = 1, scale_range: tuple[float, float] = (0.5, 2.5)
    ) -> None:
        super().__init__()
        self.linear_in = nn.Linear(dim, dim, bias=False)
        self.activation = nn.GELU()
        self.linear_out = nn.Linear(dim, dim, bias=False)

    @property
    def folds(self) -> bool:
        """As of `MobiusLens`."""
        return fast.asked(self.backend) != "printed"

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """Linear, GELU, Linear; with `factor` (C,), each channel of the result times that number."""
        check_channels("GELULens", self.linear_in.in_features, x)
        if not self.folds:
            y = self.linear_out(self.activation(self.linear_in(x)))
            return y if factor is None else y * factor
        out = self.linear_out.weight if factor is None else self.linear_out.weight * factor.unsqueeze(-1)
        return products.matrix(self.activation(products.matrix(x, self.linear_in.weight)), out)


class MobiusConvBlock(nn.Module):
    """Depthwise and pointwise convolution, batch norm, lens, thirds mask, and a learned residual mix.

    output = r input + (1 - r) mask(lens(conv(input))), r = sigmoid(residual_weight), initially 0.711.

    Args:
        channels: C, in and out.
        layer_idx: the block's place, counted from 0; the thirds mask turns with it.
        total_layers: how many blocks there are; with the place it gives the lens its t.
        scale_range: lowest and highest scale of the lens's waves.
        reduction: factor on the masked third.
        lens: class put between convolution and mask.
    Shape:
        (N, C, H, W) to (N, C, H, W).
    Source:
        the distillation card.
    """

    thirds_mask: Tensor

    def __init__(
        self,
        channels: int,
        layer_idx: int,
        total_layers: int,
        scale_range: tuple[float, float] = (0.5, 2.5),
        reduction: float = 0.5,
        lens: type[nn.Module] = MobiusLens,
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.lens = lens(channels, layer_idx, total_layers, scale_range)
        mask = waves.thirds_mask(channels, layer_idx, reduction)
        self.register_buffer("thirds_mask", mask.view(1, -1, 1, 1))
        self.residual_weight = nn.Parameter(torch.tensor(0.9))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x).permute(0, 2, 3, 1)  # no copy where the memory is laid out as channels_last
        keep = torch.sigmoid(self.residual_weight)
        if getattr(self.lens, "folds", False):  # (1 - r) mask is one factor per channel: into the lens's last matrix
            h = self.lens(h, (1 - keep) * self.thirds_mask.flatten())
            return products.residual(h.permute(0, 3, 1, 2), x, keep)
        h = self.lens(h).permute(0, 3, 1, 2) * self.thirds_mask
        return keep * x + (1 - keep) * h
