"""What must be true of the functions in `math.py`, as laws (see `mobius_lib.lawful`).

Source: the laws are stated in the docstrings of `math.py`; the checks are ours.
"""

import math

import torch
from torch import Tensor

from mobius_lib.lawful import close, laws_in
from mobius_lib.waves import math as waves


class Draw:
    """Random inputs and parameters of a wave, wider than any that training reached in the published table."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, dtype=dtype)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        self.u, self.t = uniform(64, 17) * 2 - 1, uniform(64, 1)
        self.phase, self.drift = normal(2), normal(2)
        self.omega, self.alpha = uniform() * 4 + 0.1, normal() * 3
        self.scales = uniform(2) * 2.5 + 0.25
        self.left, self.middle, self.right = uniform(3, 64, 17).clamp_min(1e-3)
        self.path_weights, self.xor_weight = normal(3), normal()
        self.matrix, self.angle = normal(17, 17), normal()
        self.still = torch.zeros(2, dtype=dtype)

    def wave(self, **changes: Tensor) -> Tensor:
        """The wave of this draw, with some of its arguments changed."""
        names = ("u", "t", "phase", "drift", "omega", "alpha", "scales")
        return waves.wave(**({name: getattr(self, name) for name in names} | changes))


def rounding(dtype: torch.dtype, units: float = 64) -> float:
    """So many rounding units: 64 covers a short chain of operations on angles up to about 30."""
    return units * torch.finfo(dtype).eps


def wave_stays_between_its_trough_and_one(seed: int, dtype: torch.dtype) -> None:
    """exp(-a S) <= wave <= 1, and the crest is exactly 1 where every sine is 0."""
    d = Draw(seed, dtype)
    trough = torch.exp(-waves.sharpness(d.alpha) * len(d.scales))
    assert (d.wave() >= trough * (1 - rounding(dtype))).all()
    assert ((d.wave() > 0) & (d.wave() <= 1)).all()
    assert (d.wave(u=torch.zeros_like(d.u), phase=d.still, drift=d.still) == 1).all()


def wave_is_periodic(seed: int, dtype: torch.dtype) -> None:
    """One scale: period pi / (s omega) in u; any scales: period pi in the phase; and not just any shift is a period."""
    d = Draw(seed, dtype)
    one = {"scales": d.scales[:1], "phase": d.phase[:1], "drift": d.drift[:1]}
    period = math.pi / (d.scales[0] * d.omega)
    tolerance = rounding(dtype) * (1 + waves.sharpness(d.alpha).item())  # the exponent multiplies rounding by a
    close(d.wave(u=d.u + period, **one), d.wave(**one), tolerance)
    close(d.wave(phase=d.phase + math.pi), d.wave(), tolerance)
    assert (d.wave(u=d.u + period / 3, **one) - d.wave(**one)).abs().max() > 1e-3


def wave_mirrors(seed: int, dtype: torch.dtype) -> None:
    """With phase 0, turning round both u and the drift changes nothing: the initial L and R are mirror images."""
    d = Draw(seed, dtype)
    close(d.wave(u=-d.u, phase=d.still, drift=-d.drift), d.wave(phase=d.still))
    close(d.wave(u=-d.u, phase=d.still, drift=d.still), d.wave(phase=d.still, drift=d.still))


def sign_of_alpha_has_no_effect(seed: int, dtype: torch.dtype) -> None:
    """a = |alpha| + 0.1: even, and never below 0.1."""
    d = Draw(seed, dtype)
    close(d.wave(alpha=-d.alpha), d.wave())
    assert waves.sharpness(d.alpha) >= 0.1


def larger_alpha_is_sharper(seed: int, dtype: torch.dtype) -> None:
    """A larger |alpha| lowers the wave everywhere but on its crests: it selects."""
    d = Draw(seed, dtype)
    assert (d.wave(alpha=d.alpha.abs() + 1) <= d.wave(alpha=d.alpha)).all()


def drift_coordinate_lies_in_the_unit_interval(seed: int, dtype: torch.dtype) -> None:
    """t is in [0, 1), even in x, and 0 for x = 0."""
    d = Draw(seed, dtype)
    t = waves.drift_coordinate(5 * d.u)
    assert t.shape == (64, 1)
    assert ((t >= 0) & (t < 1)).all()
    close(t, waves.drift_coordinate(-5 * d.u))
    assert (waves.drift_coordinate(torch.zeros_like(d.u)) == 0).all()


def xor_and_and_keep_their_truth_tables(seed: int, dtype: torch.dtype) -> None:
    """On 0 and 1 they are exclusive or, and and."""
    corners = torch.tensor([0.0, 1.0], dtype=dtype)
    left, right = torch.meshgrid(corners, corners, indexing="ij")
    close(waves.soft_xor(left, right), (left != right).to(dtype))
    close(waves.soft_and(left, right), (left.bool() & right.bool()).to(dtype))


def xor_and_and_share_out_one(seed: int, dtype: torch.dtype) -> None:
    """xor + and + neither = 1, and the absolute value in xor never acts."""
    d = Draw(seed, dtype)
    xor, both = waves.soft_xor(d.left, d.right), waves.soft_and(d.left, d.right)
    close(xor + both + (1 - d.left) * (1 - d.right), torch.ones_like(xor), rounding(dtype))
    assert ((xor >= 0) & (xor <= 1)).all()
    close(xor, waves.soft_xor(d.right, d.left))
    assert (d.left + d.right - 2 * d.left * d.right >= -torch.finfo(dtype).eps).all()


def xor_and_and_have_slopes(seed: int, dtype: torch.dtype) -> None:
    """Both are differentiable: inside the unit square their slopes in L are 1 - 2R and R."""
    d = Draw(seed, dtype)
    for operation, expected in ((waves.soft_xor, 1 - 2 * d.right), (waves.soft_and, d.right)):
        left = d.left.clone().requires_grad_()
        close(torch.autograd.grad(operation(left, d.right).sum(), left)[0], expected, rounding(dtype))


def interference_stays_in_the_unit_interval(seed: int, dtype: torch.dtype) -> None:
    """In (0, 1]; the same when L and R swap together with their weights; linear in M."""
    d = Draw(seed, dtype)
    mixed = waves.interference(d.left, d.middle, d.right, d.path_weights, d.xor_weight)
    assert ((mixed > 0) & (mixed <= 1)).all()
    close(waves.interference(d.right, d.middle, d.left, d.path_weights.flip(0), d.xor_weight), mixed, rounding(dtype))
    double = waves.interference(d.left, 2 * d.middle, d.right, d.path_weights, d.xor_weight)
    none = waves.interference(d.left, 0 * d.middle, d.right, d.path_weights, d.xor_weight)
    close(double - mixed, mixed - none, rounding(dtype))


def the_middle_path_always_passes_a_slope(seed: int, dtype: torch.dtype) -> None:
    """Whatever L and R are, the pattern's slope in M stays between half the weight of M and all of it."""
    d = Draw(seed, dtype)
    middle = d.middle.clone().requires_grad_()
    mixed = waves.interference(d.left, middle, d.right, d.path_weights, d.xor_weight)
    slope = torch.autograd.grad(mixed.sum(), middle)[0] / torch.softmax(d.path_weights, dim=0)[1]
    assert ((slope >= 0.5 - rounding(dtype)) & (slope <= 1 + rounding(dtype))).all()


def gate_lies_in_the_open_unit_interval(seed: int, dtype: torch.dtype) -> None:
    """A sigmoid: neither 0 nor 1 is ever reached."""
    gate = waves.gate(Draw(seed, dtype).left)
    assert ((gate > 0) & (gate < 1)).all()


def gate_sees_contrast_alone(seed: int, dtype: torch.dtype) -> None:
    """The layer norm undoes any change of level and size: even waves that differ by 1/50 become a full gate."""
    d = Draw(seed, dtype)
    # without eps the law is exact; dividing the spread by 50 multiplies the rounding by as much
    close(waves.gate(0.02 * d.left + 0.5, eps=0.0), waves.gate(d.left, eps=0.0), rounding(dtype, 64 * 50))
    # eps = 1e-5 beside a variance of about 1/12 moves the gate by less than 1e-4
    close(waves.gate(d.left), waves.gate(d.left, eps=0.0), 1e-4)


def least_participation(channels: int, weight: float = 1.0, bias: float = 0.0) -> float:
    """The smallest share of the channels that can carry a gate through a layer norm of that weight and bias.

    Over the patterns that put k channels high and all others low, k from 1 to channels - 1.
    """
    patterns = torch.ones(channels, channels, dtype=torch.float64).tril()[:-1]
    scale, shift = (torch.full((channels,), value, dtype=torch.float64) for value in (weight, bias))
    return waves.participation(waves.gate(patterns, scale, shift)).min().item()


def a_norm_as_initialised_makes_no_winners(seed: int, dtype: torch.dtype) -> None:
    """With norm weight 1 and bias 0 four fifths of the channels carry any gate: winners take a larger norm."""
    assert least_participation(16 + seed) > 0.8
    d = Draw(seed, dtype)
    assert (waves.participation(waves.gate(d.wave(alpha=10 * d.alpha))) > 0.8).all()
    assert least_participation(64, 1 + 4, -4) < 0.1


def twist_turns_from_the_identity_to_the_matrix(seed: int, dtype: torch.dtype) -> None:
    """Angle 0 gives x, pi/2 gives W x, pi gives -x; and at every angle it is one matrix, cos I + sin W."""
    d = Draw(seed, dtype)
    turned = d.u @ d.matrix.T
    tolerance = rounding(dtype) * turned.abs().max().item()
    zero, half, whole = (torch.tensor(k * math.pi, dtype=dtype) for k in (0, 0.5, 1))
    close(waves.twist(d.u, d.matrix, zero), d.u)
    close(waves.twist(d.u, d.matrix, half), turned, tolerance)
    close(waves.twist(d.u, d.matrix, whole), -d.u, tolerance)
    one = torch.cos(d.angle) * torch.eye(17, dtype=dtype) + torch.sin(d.angle) * d.matrix
    close(waves.twist(d.u, d.matrix, d.angle), d.u @ one.T, tolerance)


def thirds_mask_turns_every_channel_down_once(seed: int, dtype: torch.dtype) -> None:
    """Three layers on, every channel has had its turn exactly once; the masks repeat; nothing is set to zero."""
    channels = 3 + 37 * seed + seed**2  # all remainders of division by 3 among the first seeds
    masks = torch.stack([waves.thirds_mask(channels, layer) for layer in range(3)])
    assert ((masks == 0.5).sum(0) == 1).all()
    assert ((masks == 1) | (masks == 0.5)).all()
    assert (masks == 0.5).sum(1).tolist() == [channels // 3, channels // 3, channels // 3 + channels % 3]
    assert [int((mask == 0.5).nonzero()[0]) for mask in masks] == [0, channels // 3, 2 * (channels // 3)]
    close(masks[0], waves.thirds_mask(channels, 3))
    close(masks[1], waves.thirds_mask(channels, 7))


def participation_counts_the_channels_that_carry(seed: int, dtype: torch.dtype) -> None:
    """k equal channels of C give k/C, and the size of the weights does not matter."""
    channels, alive = 10 + 7 * seed, 1 + seed
    gate = torch.zeros(4, channels, dtype=dtype)
    gate[:, :alive] = 0.7
    close(waves.participation(gate), torch.full((4,), alive / channels, dtype=dtype), rounding(dtype))
    d = Draw(seed, dtype)
    close(waves.participation(100 * d.left), waves.participation(d.left), rounding(dtype))


LAWS = laws_in(globals())
