"""The inference form of a trained network: everything linear between two nonlinearities becomes one map.

Trained, nothing moves any more, and a block is linear but for its gate:

    depthwise -> pointwise -> batch norm -> twist in        =  depthwise, then one matrix with a bias
    twist out -> thirds mask -> weight 1 - r of the branch   =  one matrix

with twist in = cos(a) I + sin(a) W. Of 9 C + 3 C^2 multiply-adds per position (pointwise and two twists) 9 C + 2 C^2
are left, and no batch norm, mask or twist passes over the picture again. The batch norms of stem, downsamplings and
integrator go into their convolutions.

Source: ours.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.waves.lens import GELULens, MobiusConvBlock, MobiusLens
from mobius_lib.waves.net import MobiusNet, check_pictures


class FoldedBlock(nn.Module):
    """A block with its weights multiplied out: output = r input + out(gate(matrix(depthwise(input)))).

    Both matrices are 1 x 1 convolutions, which read channels-last pictures without a copy.

    Args:
        block: a `MobiusConvBlock` in eval mode, with a `MobiusLens` or a `GELULens`; it is copied, not changed.
    Shape:
        (N, C, H, W) to (N, C, H, W).
    Raises:
        TypeError: when the block has a lens of another class.
    """

    def __init__(self, block: MobiusConvBlock) -> None:
        super().__init__()
        depthwise, pointwise, norm = block.conv
        turn_in, self.gate, turn_out = _split(block.lens)
        scale, shift = _scale_and_shift(norm)
        keep = torch.sigmoid(_exact(block.residual_weight))
        mask = _exact(block.thirds_mask).view(-1, 1)

        self.depthwise = copy.deepcopy(depthwise)
        self.matrix = _one_by_one(turn_in @ (scale.view(-1, 1) * _exact(pointwise.weight).flatten(1)), pointwise.weight)
        self.matrix.bias = nn.Parameter((turn_in @ shift).to(pointwise.weight))
        self.out = _one_by_one((1 - keep) * mask * turn_out, pointwise.weight)
        self.register_buffer("keep", keep.to(block.residual_weight))

    def forward(self, x: Tensor) -> Tensor:
        h = self.matrix(self.depthwise(x)).permute(0, 2, 3, 1)
        return self.out(self.gate(h).permute(0, 3, 1, 2)).addcmul_(x, self.keep)


class FoldedMobiusNet(nn.Module):
    """What `fold` returns: the same logits from fewer operations, and nothing left to train.

    Its state dict fits every network folded from the same sizes and the same kind of lens, and its tensors lie as a
    file wants them, while those of the network lie channels last.

    Args:
        model: a `MobiusNet` or `GELUTwin` in eval mode; it is copied, not changed.
    Shape:
        (N, in_chans, H, W), in any memory format, to (N, num_classes).
    """

    def __init__(self, model: MobiusNet) -> None:
        super().__init__()
        self.stem = _conv_of(model.stem)
        self.stages = nn.ModuleList(nn.ModuleList(FoldedBlock(block) for block in stage) for stage in model.stages)
        self.downsamples = nn.ModuleList(_conv_of(pair) for pair in model.downsamples)
        integrator = model.integrator
        self.integrator = (
            nn.Identity() if isinstance(integrator, nn.Identity) else nn.Sequential(_conv_of(integrator), nn.GELU())
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = copy.deepcopy(model.head)
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()
        self.register_state_dict_post_hook(_in_one_row)

    @property
    def blocks(self) -> list[FoldedBlock]:
        """All blocks, in the order in which the input meets them."""
        return [block for stage in self.stages for block in stage]

    def forward(self, x: Tensor) -> Tensor:
        check_pictures(self, self.stem.in_channels, x)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for i, stage in enumerate(self.stages):
            for block in stage:
                x = block(x)
            if i < len(self.downsamples):
                x = self.downsamples[i](x)
        return self.head(self.pool(self.integrator(x)).flatten(1))


def _in_one_row(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name, value in state.items():
        if name.startswith(prefix) and isinstance(value, Tensor):
            state[name] = value.contiguous()


def fold(model: MobiusNet) -> FoldedMobiusNet:
    """The inference form of a trained network, with the same logits up to rounding.

    The products of matrices are taken in float64 and rounded once. The model itself stays as it is, and may go on
    training; the folded one does not follow it.

    Laws: logits equal to 1e-4 of the largest (float32); per block and position C^2 fewer multiply-adds
    (`mobius_lib.waves.cost.multiply_adds` counts both); nothing requires a gradient.

    Args:
        model: a `MobiusNet` or its `GELUTwin`, on any device, after `model.eval()`.
    Returns:
        the folded network, in eval mode, on the same device and in the same precision.
    Raises:
        ValueError: when any part of the model is in training mode, where batch norm is no fixed map.
        TypeError: when it is no such network.
    """
    if isinstance(model, FoldedMobiusNet):
        raise TypeError("This network is folded already; use it as it is.")
    if not isinstance(model, MobiusNet):
        raise TypeError(f"Only a MobiusNet or a GELUTwin can be folded, not a {type(model).__name__}.")
    training = [name or "the model" for name, module in model.named_modules() if module.training]
    if training:
        raise ValueError(
            f"A model in training mode cannot be folded ({training[0]} is): its batch norms still change with every "
            "batch; call model.eval() first."
        )
    with torch.no_grad():
        return FoldedMobiusNet(model)


class _Gate(nn.Module):
    """A lens without its twists, which have gone into the matrices around it: (..., C) to (..., C)."""

    def __init__(self, lens: MobiusLens) -> None:
        super().__init__()
        self.lens = copy.deepcopy(lens)
        for name in ("twist_in_proj", "twist_in_angle", "twist_out_proj", "twist_out_angle"):
            delattr(self.lens, name)

    def forward(self, x: Tensor) -> Tensor:
        return self.lens.gated(x)


def _split(lens: nn.Module) -> tuple[Tensor, nn.Module, Tensor]:
    """A lens as matrix, nonlinearity, matrix; the matrices in float64."""
    if isinstance(lens, MobiusLens):
        turn_in = _turn(lens.twist_in_proj.weight, lens.twist_in_angle)
        return turn_in, _Gate(lens), _turn(lens.twist_out_proj.weight, lens.twist_out_angle)
    if isinstance(lens, GELULens):
        return _exact(lens.linear_in.weight), nn.GELU(), _exact(lens.linear_out.weight)
    raise TypeError(f"A block is folded with a MobiusLens or a GELULens in it, not with a {type(lens).__name__}.")


def _turn(matrix: Tensor, angle: Tensor) -> Tensor:
    """The matrix of `math.twist`: cos(angle) I + sin(angle) W."""
    matrix, angle = _exact(matrix), _exact(angle)
    return torch.cos(angle) * torch.eye(len(matrix), dtype=matrix.dtype) + torch.sin(angle) * matrix


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as x scale + shift, each (C,)."""
    scale = _exact(norm.weight) / torch.sqrt(_exact(norm.running_var) + norm.eps)
    return scale, _exact(norm.bias) - _exact(norm.running_mean) * scale


def _conv_of(pair: nn.Sequential) -> nn.Conv2d:
    """The convolution that a convolution without bias and its batch norm (the first two of `pair`) make together."""
    conv, (scale, shift) = copy.deepcopy(pair[0]), _scale_and_shift(pair[1])
    conv.weight.copy_(scale.view(-1, 1, 1, 1) * _exact(conv.weight))
    conv.bias = nn.Parameter(shift.to(conv.weight))
    return conv


def _one_by_one(matrix: Tensor, like: Tensor) -> nn.Conv2d:
    """A 1 x 1 convolution by a matrix, in the precision and on the device of `like`."""
    rows, columns = matrix.shape
    conv = nn.Conv2d(columns, rows, 1, bias=False, device="meta")
    conv.weight = nn.Parameter(matrix.view(rows, columns, 1, 1).to(like))
    return conv


def _exact(values: Tensor) -> Tensor:
    """In float64, on the CPU: not every accelerator has it."""
    return values.detach().cpu().double()
