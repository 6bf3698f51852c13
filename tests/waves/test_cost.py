"""Counts against hand-written formulas, layer by layer."""

import pytest
import torch
from torch import Tensor, nn

from mobius_lib.waves import PRESETS, GELUTwin, MobiusLens, MobiusNet
from mobius_lib.waves.cost import multiply_adds, parameter_count


def by_hand(preset: str, classes: int, height: int, width: int) -> int:
    """Multiply-adds of a preset from its sizes alone: 3x3 convolutions, depthwise and pointwise, two twists, head."""
    sizes = PRESETS[preset]
    total, before = 0, sizes.in_chans
    for stage, (channels, depth) in enumerate(zip(sizes.channels, sizes.depths, strict=True)):
        if stage:
            height, width = (height + 1) // 2, (width + 1) // 2  # stride 2, padding 1
        total += height * width * (9 * before * channels + depth * (9 * channels + 3 * channels**2))
        before = channels
    return total + height * width * 9 * before**2 + before * classes


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (24, 32), (7, 5)])
def test_the_count_is_the_formulas(preset: str, height: int, width: int) -> None:
    with torch.device("meta"):
        lens, twin = MobiusNet(num_classes=10, **PRESETS[preset]), GELUTwin(num_classes=10, **PRESETS[preset])
    shape = (2, PRESETS[preset].in_chans, height, width)
    expected = 2 * by_hand(preset, 10, height, width)
    assert multiply_adds(lens, shape) == expected
    assert multiply_adds(twin, shape) == expected  # equal by construction: the same two matrices per lens


def test_a_layer_counts_where_it_is_called_not_where_it_is_defined() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.unused = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(self.shared(x), self.shared.weight)

    assert multiply_adds(Twice(), (3, 5)) == 3 * 5 * 5 * 2
    assert parameter_count(Twice()) == 2 * (25 + 5)


def test_counting_changes_nothing() -> None:
    model = MobiusNet(channels=(6, 8), depths=(1, 1), num_classes=3)
    model.stem.eval()  # a mixture of modes is kept, too
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert multiply_adds(model, (1, 1, 8, 8)) > 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"shape \(N, 1, height, width\)"):  # two channels where one belongs
        multiply_adds(model, (1, 2, 8, 8))
    assert [module.training for module in model.modules()] == modes


def test_parameters_are_counted_without_buffers() -> None:
    lens = MobiusLens(7, 0, 3)
    # 2 matrices, a norm's weight and bias, and 20 scalars: omega, alpha, xor, 2 angles, 3 weights, 3 phases and drifts
    assert parameter_count(lens) == 2 * 49 + 2 * 7 + 20
    assert parameter_count(nn.Sequential(lens, lens)) == parameter_count(lens)
