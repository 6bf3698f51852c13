"""L4: a matrix from tokens, its products, and columns in any order."""

import pytest
import torch

from mobius_lib.gauge import PRODUCTS, MobiusHarmonicBridge, TriLevelHarmonicLinear, log_cooccurrence, relative_error
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.codes import cascade_of_number, order_of_number
from mobius_lib.gauge.fit import width_grid


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


@pytest.mark.parametrize(("product", "whole_bits"), list(zip(PRODUCTS, (None, 8, 8), strict=True)))
def test_the_five_steps_and_the_bridge_that_is_made_of_them(product, whole_bits, tokens):
    bridge = MobiusHarmonicBridge(terms=4).derive(tokens(), 25, product=product, whole_bits=whole_bits, observe=True)
    plain = MobiusHarmonicBridge(terms=4).derive(tokens(), 25, product=product, whole_bits=whole_bits)
    assert torch.equal(plain.to_dense(), bridge.to_dense()), "observing changes nothing"
    steps = bridge.steps()
    names = ["FFT product", "integer normal", "KPZ scaling", "normal cascade", "gauge tensor"]
    assert [step.name for step in steps] == names
    made, normal, scaling, cascade, tensor = steps
    d = log_cooccurrence(tokens(), 25, 5)
    w = bridge.target(tokens(), 25, product=product)
    assert torch.equal(made.value, w)
    best = (w * d).sum() / d.square().sum() * d if product != "none" else w
    # the nearest multiple of D is as far from the product as the angle says; float32
    assert made.error == pytest.approx(
        (w.norm() ** 2 - best.norm() ** 2).clamp_min(0).sqrt().item() / w.norm().item(), abs=1e-3
    )
    assert made.bits == 32 * (25 if product == "printed" else 25 * 26 // 2 if product == "none" else 625)
    rounded = normal.value.decode().float()
    assert normal.error == pytest.approx(relative_error(w, rounded))
    assert normal.error == 0 if whole_bits is None else 1e-3 < normal.error < 0.1
    # the whole bridge from the two numbers: its order, its widths, its places; heights by least squares
    places = order_of_number(normal.value.order, 25)
    first, *mu = cascade_of_number(cascade.value, [len(scaling.value), *[25] * 4])
    sigma = gauge.kpz_widths(width_grid(25)[first], 4)
    g = gauge.gaussians(torch.tensor(mu).double(), sigma, places.double())
    rebuilt = gauge.amplitudes(rounded, g.float()) @ g.float()
    assert relative_error(bridge.to_dense(), rebuilt) < 1e-5  # float32
    assert min(scaling.value.values()) == cascade.error
    # the rung is the best of this span, which the pursuit saw but for what lies beyond its singular vectors
    assert tensor.error == pytest.approx(relative_error(rounded, bridge.to_dense()))
    assert tensor.error == pytest.approx(cascade.error, abs=1e-3) and tensor.bits == bridge.stored_bits()
    g = gauge.gaussians(tensor.value.mu, tensor.value.sigma, tensor.value.places.float())
    torch.testing.assert_close(tensor.value.hw @ g, bridge.to_dense(), rtol=0, atol=1e-4)


def test_mirrored_bridges_resolve_to_the_same(tokens):
    bridge = MobiusHarmonicBridge(terms=4).derive(tokens(), 25, product="none")
    other = MobiusHarmonicBridge(terms=4).derive(tokens(), 25, product="none")
    with torch.no_grad():
        other.places.copy_(24 - other.places)
        other.mu.copy_(24 - other.mu)
        other.sigma_0.neg_()
    torch.testing.assert_close(other.to_dense(), bridge.to_dense())
    assert not torch.equal(other.places, bridge.places)
    assert all(map(torch.equal, bridge.resolved(), other.resolved()))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda tokens: MobiusHarmonicBridge(window=0), "window must be a whole number from 1 on, not 0"),
        (lambda tokens: MobiusHarmonicBridge().derive(tokens(), 25).steps(), "has not kept its steps; call derive"),
        (lambda tokens: MobiusHarmonicBridge().steps(), "has not kept its steps"),
        (lambda tokens: MobiusHarmonicBridge().derive(tokens(), 25, whole_bits=1), "whole_bits must be a whole number"),
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
