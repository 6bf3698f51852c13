"""The Möbius cycles: how they start, and whether they are maps of points."""

import math

import torch

from mobius_lib.twistor import MobiusCycles, MobiusLayer, laws
from mobius_lib.twistor import math as twistor


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


def test_images_of_one_point_are_one_by_maps_and_apart_by_j():
    torch.manual_seed(0)
    z = torch.randn(50, 24, dtype=torch.float64)
    phase = torch.polar(*torch.stack([torch.ones(50, 1), 2 * math.pi * torch.rand(50, 1)]).double())
    matrix = twistor.real_form(twistor.special_linear(torch.randn(6, 3, dtype=torch.complex128))).permute(1, 2, 0)
    assert laws.images_apart(lambda z: z, z, phase) < 1e-12
    assert laws.images_apart(lambda z: twistor.turn(z, matrix), z, phase) < 1e-8  # where both components are small
    # (1, 0) is at infinity; with J (1, -c), and for (i, 0) it is (i, ic): the points -1/c and 1/c, and c = 1 puts them
    # at the two ends of a diameter
    one = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)
    found = laws.images_apart(lambda z: twistor.couple(z, 1.0), one, torch.full((1, 1), 1j, dtype=torch.complex128))
    assert abs(found - 2) < 1e-12


def test_the_layer_is_a_map_of_points_only_without_its_couplings():
    torch.manual_seed(0)
    layer, z = MobiusLayer(32), torch.randn(200, 32)
    phase = torch.polar(torch.ones(200, 1), 2 * math.pi * torch.rand(200, 1))
    assert laws.images_apart(layer, z, phase) > 0.3
    with torch.no_grad():
        layer.cycles.couplings.zero_()
    assert laws.images_apart(layer, z, phase) < 1e-3  # float32
