"""The run on chapter 1's network: it is trained as there, and what is replaced is what is counted."""

import json
import math

import pytest
import torch
from torch import nn

from mobius_lib.gauge.compress import replaced
from mobius_lib.runs import execute
from mobius_lib.runs.gauge import lens as gauge_lens
from mobius_lib.runs.gauge.forms import ARMS
from mobius_lib.runs.waves import features as waves_features
from tests.runs.computed import two_seeds


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return waves_features.lens().eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return waves_features.load().test[0][:3]


def test_what_is_replaced(network):
    layers = gauge_lens.replaceable(network)
    numbers = gauge_lens.facts(gauge_lens.SIZES["short"])["sizes"]["numbers"]
    # two blocks a width, a matrix C x C in each pointwise convolution, two in each lens
    square = sum(2 * width**2 for width in (64, 128, 256))
    assert numbers == {
        "twists": 2 * square,
        "pointwise": square,
        "3 x 3": 9 * (64 * 128 + 128 * 256 + 256 * 256),
    }
    everything = sum(p.numel() for p in network.parameters())
    # stem, head, norms, depthwise convolutions and scalars are the rest
    assert sum(numbers.values()) == sum(layer.weight.numel() for layer in layers.values()) < everything
    assert round(100 * sum(numbers.values()) / everything) == 99
    assert {gauge_lens.kind(layer) for layer in layers.values()} == set(gauge_lens.KINDS)
    assert not any(name.startswith(("stem", "head")) for name in layers)


def test_the_same_matrices_give_the_same_network(network, pictures):
    own = {name: layer.weight.flatten(1).clone() for name, layer in gauge_lens.replaceable(network).items()}
    with torch.no_grad():
        assert torch.equal(replaced(network, own)(pictures), network(pictures))


@pytest.mark.parametrize("name", ["stages.0.1.lens.twist_in_proj", "stages.1.0.conv.1", "downsamples.0.0"])
def test_a_replaced_layer_is_another_and_the_others_stay(network, pictures, name):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    weight = gauge_lens.replaceable(network)[name].weight
    matrix = torch.randn(weight.flatten(1).shape, generator=torch.Generator().manual_seed(1))
    other = replaced(network, {name: matrix})
    after = other.state_dict()
    assert [key for key, value in after.items() if not torch.equal(value, before[key])] == [f"{name}.weight"]
    # a column for each channel and place, in the order of the weight itself
    assert torch.equal(after[f"{name}.weight"], matrix.view(weight.shape))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), "changed in place"
    with torch.no_grad():
        assert not torch.allclose(other(pictures), network(pictures), rtol=1e-4)


def test_no_twist_matrix_counts_at_the_first_lens(network, pictures):
    """Its angle is 0 before training: cos(0) I + sin(0) W."""
    names = ("stages.0.0.lens.twist_in_proj", "stages.0.0.lens.twist_out_proj")
    layers = gauge_lens.replaceable(network)
    gone = replaced(network, {name: torch.zeros_like(layers[name].weight) for name in names})
    with torch.no_grad():
        assert torch.equal(gone(pictures), network(pictures))


# The record.


@pytest.fixture(scope="module")
def chapter(tiny_module):
    """Chapter 1's run with a network of two narrow blocks, trained for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gauge_lens, "waves_features", tiny_module)
        yield tiny_module


@pytest.fixture(scope="module")
def record(chapter) -> dict:
    return two_seeds("gauge-lens", gauge_lens.fields(gauge_lens.Sizes("quick", None, (2, 8))))


def test_the_untouched_network_is_the_one_of_chapter_1(record, chapter):
    own = execute(chapter.RUN, "quick", seeds=2, device="cpu", progress=False)
    accuracies = [[run["final_accuracy"] for run in runs] for runs in (record["arms"]["dense"], own["arms"]["lens"])]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1e-9) and max(accuracies[0]) > 0.5  # chance is 0.33


def test_record(record):
    json.dumps(record, allow_nan=False)
    assert set(record["arms"]) == set(ARMS)
    for name, runs in record["arms"].items():
        for run in runs:
            assert 0 <= run["final_accuracy"] <= 1
            if name == "dense":
                assert run["relative_error"] == 0 and run["ratio_in_bits"] == 1
                continue
            assert set(run["only"]) == set(gauge_lens.KINDS)
            if name != "4 bits":
                assert [row["terms"] for row in run["rows"]] == [2, 8] and run["terms"] == 8
                limit = record["arms"]["L5"][run["seed"]]["rows"]
                assert name[0] == "L" or all(
                    row["bits"] <= most["bits"] for row, most in zip(run["rows"], limit, strict=True)
                )
    errors = [runs[0]["relative_error"] for runs in record["arms"].values()]
    assert all(math.isfinite(error) and error <= 1 + 1e-6 for error in errors)  # least squares leave no more than all
    dense = record["arms"]["dense"]
    assert dense[0]["final_accuracy"] != dense[1]["final_accuracy"] or errors != [
        runs[1]["relative_error"] for runs in record["arms"].values()
    ]


def test_scales_name_scales_of_chapter_1():
    for scale, sizes in gauge_lens.SIZES.items():
        assert sizes.training == scale and scale in waves_features.RUN.scales and 8 in sizes.terms
