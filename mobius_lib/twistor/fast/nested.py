"""A level of `TwistorNestedLearning` for a CPU and float32: its products, and between them one sweep each way,
`nested.cpp`, where the readable form has one for each of torch's operations.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib import transforms
from mobius_lib.native import addresses, declared, ready
from mobius_lib.products import product, weight_gradient
from mobius_lib.twistor.fast.holding import hold

ROWS_PER_THREAD = 16


library = declared(
    Path(__file__).with_name("nested.cpp"),
    level_forward="nnippppfpp",
    level_backward="nnippppfpppp",
)


def level(z: Tensor, weights: Tensor, modulus: float, *networks: Tensor) -> tuple[Tensor, Tensor]:
    """Omega and pi (2, R, 2n), the level's weights (2,), the modulus, and of omega's network and then pi's both weights
    and biases (weight, bias, weight, bias, each (2n, 2n) or (2n,)) to the rows after the level, and |omega . pi| before
    the move, (R,).
    """
    z, weights, *networks = ready(z, weights, *networks)
    return LevelNative.apply(z, weights, modulus, *networks)


def readable_level(z: Tensor, weights: Tensor, modulus: float, *networks: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch's operations."""
    step = [
        F.linear(F.gelu(F.linear(x, *networks[4 * part : 4 * part + 2])), *networks[4 * part + 2 : 4 * part + 4])
        for part, x in enumerate(z)
    ]
    return hold(z + weights[:, None, None] * torch.stack(step), modulus)


class LevelNative(torch.autograd.Function):
    """`level`, of tensors made `ready`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor, modulus: float, *networks: Tensor) -> tuple[Tensor, Tensor]:
        before = [product(x, networks[4 * part], networks[4 * part + 1]) for part, x in enumerate(z)]
        inner = [F.gelu(x) for x in before]
        step = [product(x, networks[4 * part + 2], networks[4 * part + 3]) for part, x in enumerate(inner)]
        held, size = torch.empty_like(z), z.new_empty(z.shape[1])
        library().level_forward(
            *_sizes(z), *_places(z, step, weights), modulus, *addresses((held, z.numel()), (size, z.shape[1]))
        )
        ctx.save_for_backward(z, weights, *before, *inner, *step, *networks)
        ctx.modulus = modulus
        return held, size

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, weights, *kept = ctx.saved_tensors
        if transforms.again(*grads):
            return transforms.gradients(readable_level, (z, weights, ctx.modulus, *kept[6:]), grads)
        with torch.autocast("cpu", enabled=False):  # C++ reads float32
            return LevelNative._backward(ctx.modulus, z, weights, kept, *ready(*grads))

    @staticmethod
    def _backward(
        modulus: float, z: Tensor, weights: Tensor, kept: list[Tensor], d_held: Tensor, d_size: Tensor
    ) -> tuple[Tensor | None, ...]:
        before, inner, step, networks = kept[:2], kept[2:4], kept[4:6], kept[6:]
        d_sum, d_weights = torch.empty_like(z), z.new_empty(z.shape[1], 2)
        made = addresses((d_held, z.numel()), (d_size, z.shape[1]), (d_sum, z.numel()), (d_weights, 2 * z.shape[1]))
        library().level_backward(*_sizes(z), *_places(z, step, weights), modulus, *made)
        found: list[Tensor] = []
        for part, weight in enumerate(weights):
            first, _, second, _ = networks[4 * part : 4 * part + 4]
            # the gradient of a step is that of the sum times the weight, which goes where there are fewer numbers
            d_second, d_other = weight_gradient(d_sum[part], inner[part]).mul_(weight), d_sum[part].sum(0).mul_(weight)
            d_inner = product(d_sum[part], (second * weight).t())
            d_before = torch.ops.aten.gelu_backward(d_inner, before[part])
            found += [weight_gradient(d_before, z[part]), d_before.sum(0), d_second, d_other]
            d_sum[part] += product(d_before, first.t())
        return d_sum, d_weights.sum(0), None, *found


def _places(z: Tensor, step: list[Tensor], weights: Tensor) -> list[int | None]:
    return addresses((z, z.numel()), *((each, z[0].numel()) for each in step), (weights, 2))


def _sizes(z: Tensor) -> tuple[int, int, int]:
    """Rows, n and threads."""
    rows, width = z.shape[1:]
    return rows, width // 2, max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
