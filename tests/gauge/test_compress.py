"""Any network with rungs in the place of its layers: it computes as with the rungs' matrices, and sizes are right."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from mobius_lib.gauge import RUNGS, HarmonicLinear, MetaMobiusLinear, TriLevelHarmonicLinear, compress, relative_error
from mobius_lib.gauge.bits import symmetric_part
from mobius_lib.gauge.compress import Pointwise, mixing, replaced

LEVELS = list(RUNGS)


def settings(level: str) -> dict:
    return {"steps": 20} if level == "L6" else {}


@pytest.fixture
def network() -> nn.Module:
    """Convolutions of every kind, a layer at two places, one that is frozen, and a head."""
    torch.manual_seed(0)
    twice = nn.Linear(24, 24)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 24, 1, stride=(2, 1)),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        twice,
        nn.GELU(),
        twice,
        nn.Linear(24, 20, bias=False).requires_grad_(False),
    ).eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randn(4, 3, 8, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("level", LEVELS)
def test_the_network_computes_with_the_rungs_matrices(level, network, pictures):
    before = copy.deepcopy(network.state_dict())
    found = compress(network, level, terms=1, **settings(level))
    assert [*found.layers] == ["2", "6", "9"]
    # what needs no fewer bits is kept: of a matrix so small, an L6
    assert all((each.terms is None) == (each.bits == each.dense_bits) for each in found.layers.values())
    ours = {name: RUNGS[level].from_dense(network[int(name)].weight.flatten(1), 1, **settings(level)) for name in "269"}
    used = {name: rung.to_dense() for name, rung in ours.items() if found.layers[name].terms}
    assert len(used) == (0 if level == "L6" else 3)
    with torch.no_grad():
        expected = replaced(network, used)(pictures)
        torch.testing.assert_close(found.model(pictures), expected, rtol=1e-4, atol=1e-5)  # sums in another order
        assert not used or not torch.allclose(found.model(pictures), network(pictures), rtol=1e-3)
    for name, each in found.layers.items():
        w = network[int(name)].weight.flatten(1)
        assert each.shape == tuple(w.shape) and each.dense_bits == 32 * w.numel()
        if each.terms:
            assert each.bits == ours[name].stored_bits() and each.terms == 1
            assert each.relative_error == pytest.approx(relative_error(w, used[name]), rel=1e-6)
    after = network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before), "changed"


def test_sizes_and_errors_are_those_of_all_together(network):
    found = compress(network, "L3", terms=2)
    pairs = [(network[index].weight.flatten(1), found.layers[str(index)]) for index in (2, 6, 9)]
    off = [RUNGS["L3"].from_dense(w, 2).to_dense() - w for w, _ in pairs]
    norms = [torch.cat([each.flatten() for each in part]).norm().item() for part in (off, [w for w, _ in pairs])]
    assert found.relative_error == pytest.approx(norms[0] / norms[1], rel=1e-5)
    numbers, kept = sum(w.numel() for w, _ in pairs), sum(2 * len(w) + 2 * 2 for w, _ in pairs)  # hw, mu, sigma
    assert found.bits == sum(each.bits for _, each in pairs) and found.ratio == numbers * 32 / found.bits
    assert found.bits == 32 * kept
    whole = sum(each.numel() for each in network.parameters())  # once, what stands at two places
    assert found.dense_network_bits == 32 * whole
    assert found.network_bits == 32 * (whole - numbers) + found.bits
    assert found.network_ratio == found.dense_network_bits / found.network_bits
    lines = str(found).splitlines()
    assert len(lines) == 4 and "N = 2" in lines[0] and f"{found.ratio:.1f} times" in lines[-1]


def test_what_stays_with_a_layer(network):
    model = compress(network, "L3", terms=2).model
    assert isinstance(model[2], Pointwise) and isinstance(model[2].rung, TriLevelHarmonicLinear)
    assert model[6] is model[8], "a layer at two places became two"
    assert torch.equal(model[6].bias, network[6].bias) and model[6].bias is not network[6].bias
    assert model[9].bias is None and not any(each.requires_grad for each in model[9].parameters())
    assert all(each.requires_grad for each in model[2].parameters()) and not model[2].rung.training
    wide = compress(network.double().train(), "L3", terms=2).model
    assert {each.dtype for each in wide.parameters()} == {torch.float64} and wide[2].rung.training


@pytest.mark.parametrize("layer", [nn.Conv1d(6, 5, 1, stride=3), nn.Conv3d(6, 5, 1, stride=(1, 2, 3), bias=False)])
def test_pointwise_convolutions_of_any_dimension(layer):
    """With a Gaussian for each column a rung is exact, so nothing but the place of the channels is tested."""
    rung = TriLevelHarmonicLinear.from_dense(layer.weight.flatten(1), 6).take_from(layer)
    for batch in ((2,), ()):
        x = torch.randn(*batch, 6, *range(4, 4 + len(layer.stride)))
        torch.testing.assert_close(Pointwise(rung, layer.stride)(x), layer(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_bits_choose_the_largest_number_of_terms(level):
    linear, allowed = nn.Linear(30, 120), 20.0
    found = compress(linear, level, bits=allowed, **settings(level))
    (layer,) = found.layers.values()
    cls, limit = RUNGS[level], allowed * linear.weight.numel()
    assert type(found.model) is cls and found.model.terms == layer.terms
    assert layer.bits <= limit and (layer.terms == 30 or cls(30, 120, layer.terms + 1).stored_bits() > limit)


def test_a_layer_that_the_bits_allow_no_rung_for_is_kept():
    found = compress(nn.Linear(90, 200), "L5", bits=0.5)
    assert found.layers[""].terms is None and found.ratio == 1 and found.relative_error == 0
    assert type(found.model) is nn.Linear


def test_a_symmetric_matrix_is_kept_as_half_of_it():
    linear = nn.Linear(10, 10)
    linear.weight.data = symmetric_part(linear.weight.data)
    layer = compress(linear, "L5").layers[""]
    assert layer.terms is None and layer.bits == 55 * 32 and layer.dense_bits == 100 * 32


def test_half_precision_counts_what_is_kept():
    """A rung keeps its Gaussians in float32."""
    linear = nn.Linear(64, 64).bfloat16()
    found = compress(linear, "L3", terms=4)
    rung = TriLevelHarmonicLinear.from_dense(linear.weight, 4)
    assert found.layers[""].dense_bits == 16 * 64 * 64 and found.bits == rung.stored_bits()
    assert found.dense_network_bits == 16 * (64 * 64 + 64) and found.network_bits == found.bits + 16 * 64
    assert found.model(torch.randn(2, 64).bfloat16()).dtype == torch.bfloat16
    # 30 Gaussians in each row take fewer bits than the matrix in float32, and more than in bfloat16
    assert compress(linear, "L1", terms=30).layers[""].terms is None
    assert compress(linear.float(), "L1", terms=30).layers[""].terms == 30


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, ["2", "6", "9"]),
        ("9", ["9"]),
        (["9", "2"], ["2", "9"]),
        (["[26]"], ["2", "6"]),
        (lambda name, layer: isinstance(layer, nn.Linear) and layer.bias is None, ["9"]),
    ],
)
def test_layers_are_chosen(network, layers, names):
    found = compress(network, "L3", layers=layers, terms=2)
    assert [*found.layers] == names
    changed = {str(place) for place, (one, other) in enumerate(zip(network, found.model, strict=True))
               if type(one) is not type(other)}  # fmt: skip
    assert changed == {*names, *(["8"] if "6" in names else [])}


def test_a_weight_that_others_use_is_still_kept():
    """A head whose matrix is the embedding's: the embedding needs it as before."""
    model = nn.ModuleDict({"words": nn.Embedding(50, 30), "head": nn.Linear(30, 50, bias=False)})
    model["head"].weight = model["words"].weight
    found = compress(model, "L3", terms=2)
    assert found.dense_network_bits == 32 * 1500 and found.network_bits == 32 * 1500 + found.bits
    assert torch.equal(found.model["words"].weight, model["words"].weight)


def test_a_transformer_in_training_and_in_pytorchs_fast_form():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
    found = compress(layer, "L3", terms=4)
    assert [*found.layers] == ["self_attn.out_proj", "linear1", "linear2"]
    x = torch.randn(2, 5, 32)
    trained = found.model(x)
    trained.sum().backward()
    with torch.inference_mode():
        torch.testing.assert_close(found.model.eval()(x), trained, rtol=1e-4, atol=1e-4)


def test_rungs_are_left_alone():
    """What stands inside of one, L6's decoder, is no layer of the network."""
    model = nn.Sequential(nn.Linear(30, 40), RUNGS["L6"](40, 30, 3), nn.Conv2d(3, 4, 1, padding=1))
    assert [*mixing(model)] == ["0", "2"] and not mixing(model[1])
    found = compress(model, "L3", terms=2)
    assert [*found.layers] == ["0"], "a pointwise convolution with padding is no linear layer"
    with pytest.raises(ValueError, match="has no linear layer and no pointwise convolution"):
        compress(found.model, "L3")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rung": "L7"}, "There is no rung 'L7'; there are L1, L2, L3, L4, L5, L6"),
        ({"rung": nn.Linear}, "There is no rung"),
        ({"terms": 2, "bits": 2}, "not both"),
        ({"terms": 0}, "terms must be a whole number from 1 on, not 0"),
        ({"bits": 0}, "bits must be a finite number above 0"),
        ({"bits": math.nan}, "bits must be a finite number above 0"),
        ({"bits": "2"}, "bits must be a finite number above 0"),
        ({"bits": True}, "bits must be a finite number above 0"),
        ({"layers": "heads"}, "layers has 'heads', but no linear layer .* near it are 'head'"),
        ({"layers": ["head", "convolution"]}, "layers has 'convolution'"),
        ({"layers": []}, "chooses none of the network's 2 layers"),
        ({"layers": lambda name, layer: False}, "chooses none of the network's 2 layers"),
    ],
)
def test_what_cannot_be_says_so(given, words):
    model = nn.ModuleDict({"body": nn.Linear(8, 8), "head": nn.Linear(8, 4)})
    with pytest.raises(ValueError, match=words):
        compress(model, **given)


def test_a_layer_without_a_matrix_is_named():
    model = nn.ModuleDict({"body": nn.Linear(30, 40), "head": nn.LazyLinear(4)})
    with pytest.raises(ValueError, match="Layer 'head' has no size yet"):
        compress(model, "L3", terms=2)
    model = nn.ModuleDict({"body": nn.Linear(30, 40)})
    model["body"].weight.data[3, 2] = math.inf
    with pytest.raises(ValueError, match="Layer 'body' cannot be replaced: w holds inf at row 3, column 2"):
        compress(model, "L3", terms=2)


def test_a_class_of_rungs_and_its_settings():
    found = compress(nn.Linear(60, 60), MetaMobiusLinear, terms=2, windows=(5, 50))
    assert found.model.windows == (5, 50)
    by_bits = compress(nn.Linear(90, 200), MetaMobiusLinear, bits=12, windows=(5, 50))
    for bits in (np.int64(12), np.float32(12)):
        assert compress(nn.Linear(90, 200), MetaMobiusLinear, bits=bits, windows=(5, 50)).bits == by_bits.bits
    rung = MetaMobiusLinear(90, 200, by_bits.model.terms + 1, windows=(5, 50))
    assert by_bits.bits <= 12 * 90 * 200 < rung.stored_bits()
    assert type(compress(nn.Linear(30, 40), HarmonicLinear, terms=2).model) is HarmonicLinear
