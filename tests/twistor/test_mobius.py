"""The start of the Möbius cycles."""

import torch

from mobius_lib.twistor import MobiusCycles


def test_cycles_that_start_anywhere_begin_with_rotations():
    torch.manual_seed(3)
    cycles = MobiusCycles(4 * 4000, 2, anywhere=True)
    first, second = cycles.maps()
    one = torch.eye(2, dtype=first.dtype)
    # float32, and a product of two of them
    torch.testing.assert_close(first @ first.mH, one.expand_as(first), rtol=0, atol=1e-5)
    assert not torch.allclose(second @ second.mH, one.expand_as(second), atol=1e-3)
    # over all rotations the mean is 0, each entry of variance 1/2: five standard errors
    assert first.mean(0).abs().max() < 5 * (0.5 / 4000) ** 0.5
    assert abs(first[:, 0, 0].abs().square().mean() - 0.5) < 5 * 0.3 / 4000**0.5
    assert not torch.equal(first, MobiusCycles(4 * 4000, 2, anywhere=True).maps()[0])


def test_cycles_start_near_the_identity_otherwise():
    maps = MobiusCycles(4 * 500, 1).maps()
    # entries of 0.1 N(0, 1) in 6 numbers: none of 500 pairs comes near 1
    assert (maps - torch.eye(2)).abs().max() < 0.8
