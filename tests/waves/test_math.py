"""The laws that the docstrings of `waves/math.py` state, over many draws, in both precisions."""

import math

import pytest
import torch

from mobius_lib.waves import math as waves

DTYPES = [torch.float32, torch.float64]
SEEDS = range(5)
pytestmark = [pytest.mark.parametrize("seed", SEEDS), pytest.mark.parametrize("dtype", DTYPES, ids=str)]


def eps(dtype, factor=64):
    """A few dozen roundings: the angles reach about 30, and a sine's error grows with its argument."""
    return factor * torch.finfo(dtype).eps


class Draw:
    """Random parameters of a wave, larger than any that training reached in the published table."""

    def __init__(self, seed, dtype):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            self.u = torch.rand(64, 17) * 2 - 1
            self.t = torch.rand(64, 1)
            self.phase, self.drift = torch.randn(2), torch.randn(2)
            self.omega, self.alpha = torch.rand(()) * 4 + 0.1, torch.randn(()) * 3
            self.scales = torch.rand(2) * 2.5 + 0.25
            self.left, self.middle, self.right = torch.rand(3, 64, 17).clamp_min(1e-3)
            self.path_weights, self.xor_weight = torch.randn(3), torch.randn(())
        finally:
            torch.set_default_dtype(torch.float32)

    def wave(self, **changes):
        names = ("u", "t", "phase", "drift", "omega", "alpha", "scales")
        return waves.wave(**({name: getattr(self, name) for name in names} | changes))


def test_wave_against_plain_python(seed, dtype):
    d = Draw(seed, dtype)
    u, t = d.u[3, 5].item(), d.t[3, 0].item()
    value = 1.0
    for s, phase, drift in zip(d.scales.tolist(), d.phase.tolist(), d.drift.tolist(), strict=True):
        value *= math.exp(-(abs(d.alpha.item()) + 0.1) * math.sin(s * d.omega.item() * (u + drift * t) + phase) ** 2)
    assert d.wave()[3, 5].item() == pytest.approx(value, rel=eps(dtype))


def test_wave_lies_between_its_trough_and_one(seed, dtype):
    d = Draw(seed, dtype)
    trough = torch.exp(-waves.sharpness(d.alpha) * len(d.scales))
    assert (d.wave() >= trough * (1 - eps(dtype))).all()
    assert (d.wave() <= 1).all()
    assert (d.wave() > 0).all()
    crest = d.wave(u=torch.zeros_like(d.u), phase=torch.zeros(2, dtype=dtype), drift=torch.zeros(2, dtype=dtype))
    assert (crest == 1).all()


def test_wave_is_periodic(seed, dtype):
    d = Draw(seed, dtype)
    one = {"scales": d.scales[:1], "phase": d.phase[:1], "drift": d.drift[:1]}
    period = math.pi / (d.scales[0] * d.omega)
    # a step along u costs relative rounding of the angle, times the slope a of the exponent
    tolerance = eps(dtype) * (1 + waves.sharpness(d.alpha).item())
    torch.testing.assert_close(d.wave(u=d.u + period, **one), d.wave(**one), rtol=0, atol=tolerance)
    torch.testing.assert_close(d.wave(phase=d.phase + math.pi), d.wave(), rtol=0, atol=tolerance)
    assert not torch.allclose(d.wave(u=d.u + period / 3, **one), d.wave(**one), atol=1e-3)  # and not any shift


def test_wave_is_even_and_mirrors(seed, dtype):
    d = Draw(seed, dtype)
    still = torch.zeros(2, dtype=dtype)
    torch.testing.assert_close(d.wave(u=-d.u, phase=still, drift=still), d.wave(phase=still, drift=still))
    torch.testing.assert_close(d.wave(u=-d.u, phase=still, drift=-d.drift), d.wave(phase=still))
    torch.testing.assert_close(d.wave(alpha=-d.alpha), d.wave(), rtol=0, atol=0)


def test_sharpness(seed, dtype):
    d = Draw(seed, dtype)
    assert waves.sharpness(d.alpha) >= 0.1
    assert waves.sharpness(-d.alpha) == waves.sharpness(d.alpha)
    assert waves.sharpness(torch.zeros((), dtype=dtype)) == pytest.approx(0.1)


def test_drift_coordinate(seed, dtype):
    d = Draw(seed, dtype)
    t = waves.drift_coordinate(d.u * 5)
    assert t.shape == (64, 1)
    assert ((t >= 0) & (t < 1)).all()
    assert torch.equal(t, waves.drift_coordinate(-d.u * 5))
    assert waves.drift_coordinate(torch.zeros(3, 4, dtype=dtype)).eq(0).all()


def test_truth_tables(seed, dtype):
    corners = torch.tensor([0.0, 1.0], dtype=dtype)
    left, right = torch.meshgrid(corners, corners, indexing="ij")
    assert torch.equal(waves.soft_xor(left, right), (left != right).to(dtype))
    assert torch.equal(waves.soft_and(left, right), (left.bool() & right.bool()).to(dtype))


def test_xor_and_and_share_out_one(seed, dtype):
    d = Draw(seed, dtype)
    xor, both = waves.soft_xor(d.left, d.right), waves.soft_and(d.left, d.right)
    neither = (1 - d.left) * (1 - d.right)
    torch.testing.assert_close(xor + both + neither, torch.ones_like(xor), rtol=0, atol=eps(dtype))
    assert ((xor >= 0) & (xor <= 1)).all()
    assert torch.equal(xor, waves.soft_xor(d.right, d.left))
    bare = d.left + d.right - 2 * d.left * d.right
    assert (bare >= -torch.finfo(dtype).eps).all()  # the absolute value never acts


def test_interference(seed, dtype):
    d = Draw(seed, dtype)
    mixed = waves.interference(d.left, d.middle, d.right, d.path_weights, d.xor_weight)
    assert ((mixed > 0) & (mixed <= 1)).all()
    swapped = waves.interference(d.right, d.middle, d.left, d.path_weights.flip(0), d.xor_weight)
    torch.testing.assert_close(swapped, mixed, rtol=eps(dtype), atol=0)
    double, none = (waves.interference(d.left, k * d.middle, d.right, d.path_weights, d.xor_weight) for k in (2, 0))
    torch.testing.assert_close(double - mixed, mixed - none, rtol=0, atol=eps(dtype))


def test_gate(seed, dtype):
    d = Draw(seed, dtype)
    gate = waves.gate(d.left)
    assert ((gate > 0) & (gate < 1)).all()
    # eps = 1e-5 beside a variance of about 1/12 moves the gate by less than 1e-4; eps = 0 shows the law itself
    sharp = waves.gate(d.left, eps=0.0)
    torch.testing.assert_close(waves.gate(0.02 * d.left + 0.5, eps=0.0), sharp, rtol=0, atol=eps(dtype, 4096))
    torch.testing.assert_close(gate, sharp, rtol=0, atol=1e-4)


def test_twist(seed, dtype):
    d = Draw(seed, dtype)
    matrix = torch.randn(17, 17, dtype=dtype)
    angle = torch.randn((), dtype=dtype)
    zero, half, whole = (torch.tensor(k * math.pi, dtype=dtype) for k in (0, 0.5, 1))
    assert torch.equal(waves.twist(d.u, matrix, zero), d.u)
    size = (d.u @ matrix.T).abs().max().item()
    torch.testing.assert_close(waves.twist(d.u, matrix, half), d.u @ matrix.T, rtol=0, atol=eps(dtype) * size)
    torch.testing.assert_close(waves.twist(d.u, matrix, whole), -d.u, rtol=0, atol=eps(dtype) * size)
    one = torch.cos(angle) * torch.eye(17, dtype=dtype) + torch.sin(angle) * matrix
    torch.testing.assert_close(waves.twist(d.u, matrix, angle), d.u @ one.T, rtol=0, atol=eps(dtype) * size)


def test_thirds_mask(seed, dtype):
    channels = int(torch.randint(3, 200, (), generator=torch.Generator().manual_seed(seed)))
    masks = torch.stack([waves.thirds_mask(channels, layer, 0.5) for layer in range(3)])
    assert torch.equal((masks == 0.5).sum(0), torch.ones(channels, dtype=torch.long))
    assert ((masks == 1) | (masks == 0.5)).all()
    third = channels // 3
    assert (masks == 0.5).sum(1).tolist() == [third, third, third + channels % 3]
    assert torch.equal(waves.thirds_mask(channels, 7), masks[1])
