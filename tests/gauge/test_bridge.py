"""L4: a matrix from tokens, its products, and columns in any order."""

import pytest
import torch

from mobius_lib.gauge import MobiusHarmonicBridge, TriLevelHarmonicLinear, log_cooccurrence, relative_error
from mobius_lib.gauge import math as gauge


def test_a_planted_bridge_is_found_again_under_any_order_of_columns():
    """One Gaussian over shuffled columns: the sort finds the order but for its mirror fold, and widths near the own."""
    places = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    row = gauge.gaussians(torch.tensor([0.0]), torch.tensor([25.0]), places.float())
    w = torch.rand(30, 1, generator=torch.Generator().manual_seed(1)) @ row
    bridge = MobiusHarmonicBridge.from_dense(w, 4)
    # four widths tied to one another cannot meet a Gaussian of another width exactly, but nearly
    assert relative_error(w, bridge.to_dense()) < 0.01
    unsorted = TriLevelHarmonicLinear.from_dense(w, 4)
    assert relative_error(w, unsorted.to_dense()) > 0.2
    assert sorted(bridge.places.tolist()) == list(range(80))


def test_a_bridge_of_a_kernel_of_any_size(tokens):
    k0 = torch.rand(25, generator=torch.Generator().manual_seed(0))
    one, other = (
        MobiusHarmonicBridge().derive(tokens(), 25, k0 * size, product="rows").to_dense() for size in (1, 2.0**100)
    )
    assert relative_error(one * 2.0**100, other) < 1e-9


def test_a_bridge_gets_its_matrix_from_tokens(tokens):
    bridge = MobiusHarmonicBridge(window=5)
    for use in (lambda: bridge(torch.zeros(25)), bridge.to_dense, bridge.sigma, bridge.compression_ratio):
        with pytest.raises(ValueError, match="This bridge of window 5 has no matrix yet: call derive"):
            use()
    assert bridge.derive(tokens(), 25, product="none") is bridge
    d = log_cooccurrence(tokens(), 25, 5)
    assert relative_error(d, bridge.to_dense()) < 0.2
    assert bridge(torch.zeros(2, 25)).shape == (2, 25)
    torch.testing.assert_close(bridge.sigma(), bridge.sigma_0 * torch.arange(1, 9) ** (1 / 3))


def test_products_of_a_bridge(tokens):
    bridge, stream = MobiusHarmonicBridge(window=3), tokens()
    d, k0 = log_cooccurrence(stream, 25, 3), torch.randn(25, generator=torch.Generator().manual_seed(1))
    printed = torch.fft.ifft2(torch.fft.fft2(d) * torch.fft.fft2(gauge.circulant(k0))).real
    # float32 sums of 625 terms of about 3
    torch.testing.assert_close(bridge.target(stream, 25, k0), printed, rtol=0, atol=1e-2)
    by_rows = bridge.target(stream, 25, k0, product="rows")
    torch.testing.assert_close(by_rows, d @ gauge.circulant(k0), rtol=0, atol=1e-3)
    own = bridge.target(stream, 25, product="rows", eps=0.2)
    torch.testing.assert_close(own, d @ gauge.circulant(gauge.kernel(d, 0.2)), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda tokens: MobiusHarmonicBridge(window=0), "window must be a whole number from 1 on, not 0"),
        (lambda tokens: MobiusHarmonicBridge(8), "in_features and out_features must be given both, or neither"),
        (lambda tokens: MobiusHarmonicBridge().derive(tokens(), 25, product="fft"), "There is no product='fft'"),
        (lambda tokens: MobiusHarmonicBridge().derive(tokens(), 25, torch.ones(3)), "k0 must be 25 finite numbers"),
        (lambda tokens: MobiusHarmonicBridge(terms=30).derive(tokens(), 25), "terms must be a whole number from 1 to"),
        (lambda tokens: MobiusHarmonicBridge().derive(tokens()[:0], 25), "tokens is empty"),
        (
            lambda tokens: MobiusHarmonicBridge(window=50).derive(tokens(40), 25),
            "window=50 does not fit a text of 40 tokens",
        ),
    ],
)
def test_bad_input(call, sentence, tokens):
    with pytest.raises(ValueError, match=sentence):
        call(tokens)
