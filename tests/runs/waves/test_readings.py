"""What is read off a network's lenses, against a computation by hand, and with nothing left behind."""

import pytest
import torch

from mobius_lib.runs.waves.readings import lens_readings, lens_state
from mobius_lib.waves import GELUTwin, MobiusNet
from mobius_lib.waves import math as waves


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MobiusNet(num_classes=3, channels=(6, 9), depths=(1, 2)).eval()


def test_readings_of_the_first_lens_by_hand(net):
    x = torch.randn(4, 1, 10, 10)
    readings = lens_readings(net, x)
    assert len(readings) == 3 * 5
    block = net.blocks[0]
    with torch.no_grad():
        given = block.conv(net.stem(x)).permute(0, 2, 3, 1)
        turned = waves.twist(given, block.lens.twist_in_proj.weight, block.lens.twist_in_angle)
        left, _, right = block.lens.paths(turned)
        gate = block.lens.gate(turned)
    # the same numbers in the same order of operations, but for the mean's
    assert readings["block0/mean_l"] == pytest.approx(left.mean().item(), rel=1e-6)
    assert readings["block0/mean_r"] == pytest.approx(right.mean().item(), rel=1e-6)
    assert readings["block0/mean_gate"] == pytest.approx(gate.mean().item(), rel=1e-6)
    share = (gate.sum(-1) ** 2 / (6 * (gate**2).sum(-1))).mean().item()
    assert readings["block0/gate_participation"] == pytest.approx(share, rel=1e-5)


def test_readings_leave_the_network_as_it_was(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = torch.randn(4, 1, 10, 10)
    with torch.no_grad():
        logits = net(x)
    lens_readings(net, x)
    assert not any(block.lens._forward_pre_hooks for block in net.blocks)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(net(x), logits)


def test_hooks_go_even_when_the_network_fails(net):
    with pytest.raises(ValueError, match=r"shape \(N, 1, height, width\)"):
        lens_readings(net, torch.randn(4, 5, 10, 10))
    assert not any(block.lens._forward_pre_hooks for block in net.blocks)


def test_a_sharper_lens_passes_less(net):
    x = torch.randn(4, 1, 10, 10)
    before = lens_readings(net, x)
    with torch.no_grad():
        net.blocks[2].lens.alpha.fill_(8.0)
    after = lens_readings(net, x)
    assert all(after[f"block2/mean_{path}"] < before[f"block2/mean_{path}"] for path in "lmr")
    assert after["block0/mean_l"] == before["block0/mean_l"]


def test_a_network_without_lenses_gives_nothing():
    assert lens_readings(GELUTwin(num_classes=3, channels=(4,), depths=(1,)), torch.randn(2, 1, 5, 5)) == {}


def test_lens_state_names_every_lens():
    state = lens_state(MobiusNet(num_classes=3, channels=(4, 8), depths=(1, 2)))
    assert len(state) == 3 * 9
    assert state["block0/alpha"] == 1.5
    assert state["block2/residual_weight"] == pytest.approx(0.7109495)  # sigmoid(0.9)
    assert state["block1/xor_weight"] == pytest.approx(0.6681878)  # sigmoid(0.7)
    assert sum(state[f"block1/weight_{path}"] for path in "lmr") == pytest.approx(1)
    assert set(lens_state(GELUTwin(num_classes=3, channels=(4,), depths=(1,)))) == {"block0/residual_weight"}
