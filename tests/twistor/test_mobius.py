"""The Möbius cycles: how they start, and whether they are maps of points."""

import math

import pytest
import torch

from mobius_lib.twistor import AdaptiveMobiusLayer, MobiusCycles, MobiusLayer, laws
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


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_couplings_a_layer_is_the_quotient_exactly(dtype):
    """omega / pi of what comes out is (az + b)/(cz + d) of omega / pi of what goes in, a, b, c, d of the layer; and
    for the layer whose rows set their maps, of the row. With couplings neither."""
    torch.manual_seed(0)
    z = torch.randn(200, 32, dtype=dtype)
    points = torch.stack(twistor.to_complex(z), dim=-1)
    phase = torch.polar(*torch.stack([torch.ones(200, 1), 2 * math.pi * torch.rand(200, 1)]).to(dtype))

    def apart(layer, maps) -> float:
        made = twistor.sphere(torch.stack(twistor.to_complex(layer(z)), dim=-1))
        return (made - twistor.sphere(twistor.move(maps, points))).norm(dim=-1).max().item()

    for kind in (MobiusLayer, AdaptiveMobiusLayer):
        for coupled in (False, True):
            layer = kind(32, 3, coupled=coupled).to(dtype)
            first, second, third = layer.cycles.maps()
            maps = twistor.compose(third, twistor.compose(second, first))
            if kind is AdaptiveMobiusLayer:
                maps = twistor.compose(layer.maps(z), maps)
            if coupled:
                assert apart(layer, maps) > 0.1
            else:  # what `turn` adds to a length, 1e-12, is seen where a pair is small
                assert apart(layer, maps) < laws.rounding(dtype, units=1000) + 1e-8
            # that its maps of points are those of the pair, whatever its phase; only a layer with fixed maps can be
            if kind is MobiusLayer and not coupled:
                assert laws.images_apart(layer, z, phase) < laws.rounding(dtype, units=2000) + 1e-8


@pytest.mark.parametrize("form", ["recurrent", "scan"])
def test_couplings_are_left_out_of_the_whole_model(model, form):
    """Not one is learned, what is left starts as it would, and weights that have them are refused."""
    plain, without = model(form=form), model(form=form, coupled=False)
    named = dict(without.named_parameters())
    assert not any("couplings" in name for name in named)
    for name, value in plain.named_parameters():
        assert "couplings" in name or torch.equal(value, named[name]), name
    cycles = [each for each in without.modules() if isinstance(each, MobiusCycles)]
    kept = len([each for each in plain.modules() if isinstance(each, MobiusCycles)])
    assert len(cycles) == kept == (2 if form == "recurrent" else 0) + 1 + 1 + 3
    assert not any(each.couplings.any() for each in cycles)
    with pytest.raises(RuntimeError, match="couplings"):
        without.load_state_dict(plain.state_dict())
    x = torch.arange(11).repeat(2, 1)
    assert torch.equal(without.eval()(x), without(x)) and not torch.equal(without(x), plain.eval()(x))
    for _ in range(2):
        without.loss(x, x)[0].backward()
    assert all(not each.couplings.any() for each in cycles)
