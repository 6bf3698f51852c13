"""L5: both usages of the seed, connections, gauges, and the printed formulas."""

import math

import pytest
import torch
from torch import nn

from mobius_lib.gauge import (
    MetaMobiusLinear,
    MobiusHarmonicBridge,
    connection_count,
    log_cooccurrence,
    relative_error,
    seed_count,
)
from mobius_lib.gauge import math as gauge


def test_both_usages_of_the_seed(tokens):
    layer = MetaMobiusLinear(96, 96)
    assert layer(torch.randn(2, 96)).shape == (2, 96)
    ratio, dense, stored = layer.compression_ratio()
    assert dense == 96 * 96 and ratio == dense / stored
    bridges = [MobiusHarmonicBridge(window=s) for s in (5, 15, 50)]
    stream = tokens()
    k0s = [gauge.kernel(log_cooccurrence(stream, 25, s)) for s in (5, 15, 50)]
    layer = MetaMobiusLinear.from_l4_bridges(bridges, 25, stream, k0s)
    assert layer.windows == (5, 15, 50) and layer.linear
    again = MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge(window=s) for s in (5, 15, 50)], 25, stream)
    torch.testing.assert_close(again.to_dense(), layer.to_dense())


@pytest.mark.parametrize("product", ["printed", "rows", "none"])
def test_connections_never_make_it_worse(product, tokens):
    stream = tokens(seed=4)
    bridges = [MobiusHarmonicBridge(window=s) for s in (2, 9, 30)]
    plain, carried = (
        MetaMobiusLinear.from_l4_bridges(bridges, 25, stream, product=product, sweeps=sweeps) for sweeps in (0, 3)
    )
    target = sum(bridge.target(stream, 25, product=product) for bridge in bridges) / 3
    mean = sum(bridge.to_dense() for bridge in bridges) / 3
    torch.testing.assert_close(plain.to_dense(), mean, rtol=0, atol=1e-4 * target.abs().max().item())
    before, after = relative_error(target, plain.to_dense()), relative_error(target, carried.to_dense())
    assert after <= before + 1e-5  # float32 of the links


def test_a_change_of_gauge_changes_nothing(smooth_matrix):
    layer = MetaMobiusLinear.from_dense(smooth_matrix(dtype=torch.float64), 4)
    before = layer.to_dense().detach()
    bases = torch.eye(4) + 0.3 * torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    hw = layer.hw.detach().clone()
    layer.change_gauge(bases.double())
    assert (layer.hw - hw).abs().max() > 1e-2 and layer.up.abs().max() > 1e-2
    # float64, times the condition of the bases and of the Gaussians
    torch.testing.assert_close(layer.to_dense(), before, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer(torch.eye(60, dtype=torch.float64)), before.mT, rtol=0, atol=1e-9)


def transcription(layer, x):
    """The printed formulas, scale by scale, in plain Python on one row."""
    n, parts = layer.terms, []
    for s in range(len(layer.windows)):
        z = []
        for k in range(n):
            sigma = layer.sigma_0[s] * (k + 1) ** (1 / 3)
            bell = [math.exp(-((place - layer.mu[s, k]) ** 2) / (2 * sigma**2)) for place in layer.places[s]]
            z.append(sum(x[j] * bell[j] for j in range(layer.in_features)))
        parts.append(torch.stack(z))
    q = layer.query @ (sum(parts) / len(parts))
    scores = torch.stack([q @ key / math.sqrt(n) for key in layer.keys])
    alpha = torch.exp(scores) / torch.exp(scores).sum()
    y = 0
    for s, z in enumerate(parts):
        h = layer.down[s] @ z + layer.down_bias[s]
        h = torch.tanh(h) if layer.activation == "tanh" else h
        y = y + alpha[s] * layer.hw[s] @ (z + layer.up[s] @ h + layer.up_bias[s])
    return y


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_attention_and_transport_as_printed(activation):
    generator = torch.Generator().manual_seed(2)
    layer = MetaMobiusLinear(12, 7, 3, activation=activation).double()
    assert layer.linear
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        layer.places.copy_(torch.stack([torch.randperm(12, generator=generator) for _ in range(3)]))
        x = torch.randn(4, 12, generator=generator, dtype=torch.float64)
        expected = torch.stack([transcription(layer, row) for row in x])
        torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    alpha = layer.attention(layer.coordinates(x))
    torch.testing.assert_close(alpha.sum(-1), torch.ones(4, dtype=torch.float64))
    assert not layer.linear
    with pytest.raises(ValueError, match="This layer is not linear"):
        layer.to_dense()


def test_what_makes_it_bend():
    for name in ("up_bias", "down_bias", "query"):
        layer = MetaMobiusLinear(12, 7, 3)
        nn.init.ones_(getattr(layer, name))
        nn.init.ones_(layer.up)
        assert not layer.linear, name
    layer = MetaMobiusLinear(12, 7, 3)
    nn.init.ones_(layer.up)
    assert layer.linear
    torch.testing.assert_close(layer(torch.eye(12)), layer.to_dense().mT)
    layer.activation = "tanh"
    assert not layer.linear


def test_the_counts_of_the_seed():
    assert connection_count(8) == 1656 and seed_count(1000) == 3 * 16_008 + 1656 + 88
    # the ratios that its formulas give
    for size, ratio in ((1000, 20.1), (5000, 103), (15000, 312), (4096, 84.6)):
        assert size**2 / seed_count(size) == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda tokens: MetaMobiusLinear(8, 4, 2, windows=()), "windows must be at least one number"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, windows=(5, 5)), "windows must be .* none twice"),
        (lambda tokens: MetaMobiusLinear(8, 4, 2, activation="relu"), "There is no activation='relu'"),
        (lambda tokens: MetaMobiusLinear.from_l4_bridges([], 25, tokens()), "bridges must hold at least one"),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge()], 25, tokens(), [None, None]),
            "k0s holds 2 kernels for 1 bridges",
        ),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges(
                [MobiusHarmonicBridge(terms=n) for n in (2, 3)], 25, tokens()
            ),
            "all must have the same terms",
        ),
        (
            lambda tokens: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge() for _ in range(2)], 25, tokens()),
            "windows must be .* none twice",
        ),
    ],
)
def test_bad_input(call, sentence, tokens):
    with pytest.raises(ValueError, match=sentence):
        call(tokens)
