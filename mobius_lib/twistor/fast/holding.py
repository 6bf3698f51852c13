"""`math.hold_pairing` for long inputs: the same numbers, with its two sweeps over the rows written out both ways.

Between the sweeps stand three numbers a row, on which autograd is left to work.
"""

from typing import Any

import torch
from torch import Tensor

from mobius_lib import transforms
from mobius_lib.native import concrete


def hold(z: Tensor, modulus: float) -> tuple[Tensor, Tensor]:
    """As `math.hold_pairing`, and the modulus that there was.

    Args:
        z: (2, ..., 2n): omega and pi, each [Re | Im].
        modulus: not negative.
    Returns:
        (2, ..., 2n) and (...).
    """
    plain = not concrete(z)
    real, imag, norm = _readable_pairing(z) if plain else _Pairing.apply(z)
    tiny = torch.finfo(z.dtype).tiny
    square = real.square() + imag.square()
    flat = square <= tiny  # no phase there: 1 is as good as any
    safe = square.masked_fill(flat, 1.0).sqrt()
    size = safe.masked_fill(flat, 0.0)
    gap = modulus - size
    root = (norm.square() + 4 * size * gap).clamp_min(1e-24).sqrt()
    mu = 2 * gap / (norm + root).clamp_min(1e-12)
    u, v = torch.where(flat, mu, mu * real / safe), (mu * imag / safe).masked_fill(flat, 0.0)
    return _readable_move(z, u, v) if plain else _Move.apply(z, u, v), size


def _mix(z: Tensor, u: Tensor, v: Tensor, out: Tensor) -> Tensor:
    """out += (u + iv) (conj pi, conj omega), for z = (omega, pi)."""
    u, v = u.unsqueeze(-1), v.unsqueeze(-1)
    a, b = z.flip(0).chunk(2, dim=-1)  # the other part
    re, im = out.chunk(2, dim=-1)
    re.addcmul_(u, a).addcmul_(v, b)
    im.addcmul_(v, a).addcmul_(u, b, value=-1)
    return out


def _readable_pairing(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """omega . pi in its real and imaginary part, and |z|^2."""
    (a, c), (b, d) = z.chunk(2, dim=-1)
    return (a * c - b * d).sum(-1), (a * d + b * c).sum(-1), z.square().sum(-1).sum(0)


def _readable_move(z: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """z + (u + iv) (conj pi, conj omega)."""
    a, b = z.flip(0).chunk(2, dim=-1)
    u, v = u.unsqueeze(-1), v.unsqueeze(-1)
    return z + torch.cat([u * a + v * b, v * a - u * b], dim=-1)


class _Pairing(torch.autograd.Function):
    """`_readable_pairing`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(z)
        (a, c), (b, d) = z.chunk(2, dim=-1)
        real = (a * c).addcmul_(b, d, value=-1).sum(-1)
        return real, (a * d).addcmul_(b, c).sum(-1), z.square().sum(-1).sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor | None:
        (z,) = ctx.saved_tensors
        if transforms.again(*grads):
            return transforms.gradients(_readable_pairing, (z,), grads)[0]
        d_real, d_imag, d_norm = grads
        return _mix(z, d_real, d_imag, z * (2 * d_norm).unsqueeze(-1))


class _Move(torch.autograd.Function):
    """`_readable_move`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(z, u, v)
        return _mix(z, u, v, z.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, u, v = ctx.saved_tensors
        if transforms.again(grad):
            return transforms.gradients(_readable_move, (z, u, v), (grad,))
        a, b = z.flip(0).chunk(2, dim=-1)
        p, q = grad.chunk(2, dim=-1)
        d_u = (p * a).addcmul_(q, b, value=-1).sum(-1).sum(0)
        d_v = (p * b).addcmul_(q, a).sum(-1).sum(0)
        return _mix(grad, u, v, grad.clone()), d_u, d_v
