"""Every rung: what it computes without its matrix, what it stores, what it finds again, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mobius_lib.gauge import (
    RUNGS,
    CosmicLinear,
    FibreVAE,
    FractalHarmonicLinear,
    HarmonicLinear,
    MetaMobiusLinear,
    MobiusHarmonicBridge,
    TriLevelHarmonicLinear,
    connection_count,
    fibres_of,
    log_cooccurrence,
    relative_error,
    seed_count,
)
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.harmonic import smooth

LEVELS = list(RUNGS)
CLOSED = LEVELS[:-1]
"""The rungs that are fitted without gradients."""


def smooth_matrix(rows=40, columns=60, noise=0.1, seed=0, dtype=torch.float32):
    """Rows of a few wide waves, and noise."""
    generator = torch.Generator().manual_seed(seed)
    j = torch.linspace(0, 1, columns)
    waves = torch.stack([torch.cos(math.pi * k * j) / k for k in range(1, 6)])
    w = torch.randn(rows, 5, generator=generator) @ waves + noise * torch.randn(rows, columns, generator=generator)
    return w.to(dtype)


def fit(level, w, terms=4):
    return RUNGS[level].from_dense(w, terms, **({"steps": 60} if level == "L6" else {}))


@pytest.mark.parametrize("made", ["new", "fitted"])
@pytest.mark.parametrize("level", LEVELS)
def test_forward_is_the_dense_matrix(level, made):
    rung = RUNGS[level](60, 40, 4) if made == "new" else fit(level, smooth_matrix())
    w = rung.to_dense()
    assert w.shape == (40, 60)
    for shape in ((60,), (3, 60), (2, 3, 60), (0, 60)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        y = rung(x)
        assert y.shape == (*shape[:-1], 40)
        # float32 sums of 60 products, and amplitudes that cancel up to a hundredfold
        torch.testing.assert_close(y, x @ w.mT, rtol=0, atol=1e-4 * (1 + w.abs().max().item()))
    torch.testing.assert_close(rung(torch.eye(60)), w.mT, rtol=0, atol=1e-4 * (1 + w.abs().max().item()))


@pytest.mark.parametrize("level", LEVELS)
def test_a_layer_that_can_be_trained_saved_and_loaded(level):
    rung = RUNGS[level](30, 20, 3, bias=True)
    loss = (rung(torch.randn(8, 30)) - torch.randn(8, 20)).square().mean()
    loss.backward()
    assert rung.bias.grad.abs().max() > 0
    moved = [name for name, each in rung.named_parameters() if each.grad is not None and each.grad.abs().max() > 0]
    assert len(moved) >= 3 and all(each.grad is None or each.grad.isfinite().all() for each in rung.parameters())
    other = RUNGS[level](30, 20, 3, bias=True)
    fitted = fit(level, smooth_matrix(20, 30), 3)
    other.load_state_dict(fitted.state_dict() | {"bias": torch.ones(20)})
    x = torch.randn(4, 30)
    torch.testing.assert_close(other(x), fitted(x) + 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_forward_never_forms_the_matrix(level, largest):
    """No tensor that it makes is nearly as large as the matrix of 600 x 500."""
    rung = RUNGS[level](500, 600, 2)
    with largest() as made, torch.no_grad():
        rung(torch.randn(1, 500))
    assert made.size < 600 * 500 / 10


EXPECTED = {  # of 60 columns, 40 rows, 4 terms; 3 scales; floats, and bits of what is no float
    "L1": (40 * 4 + 4, 40 * 4, 946),
    "L2": (4 * 4 + 8 + 8, 0, 0),
    "L3": (40 * 4 + 8, 0, 0),
    "L4": (40 * 4 + 4 + 1, 60, 273),
    "L5": (3 * (40 * 4 + 4 + 1) + 3 * (4 * 32 + 32 + 32 * 4 + 4) + 3 * 4 + 16, 180, 3 * 273),
    "L6": (40 * 8 + (8 * 16 + 16 + 16 * 32 + 32 + 32 * 12 + 12) + 13 + 3 * 5, 180, 3 * 273),
}


@pytest.mark.parametrize("level", LEVELS)
def test_every_number_is_counted(level):
    """60! is between 2^272 and 2^273, and the 60^160 ways to place L1's Gaussians between 2^945 and 2^946."""
    assert 2**272 < math.factorial(60) <= 2**273 and 2**945 < 60**160 <= 2**946
    rung = RUNGS[level](60, 40, 4)
    floats, whole, bits = EXPECTED[level]
    ratio, dense, stored = rung.compression_ratio()
    assert (dense, stored, ratio) == (2400, floats + whole, 2400 / (floats + whole))
    assert rung.stored_bits() == 32 * floats + bits and rung.stored_bits(16) == 16 * floats + bits
    # and it is what the module holds: every parameter and buffer, or a number it is made from
    held = sum(each.numel() for each in rung.state_dict().values())
    assert stored == held
    with_bias = RUNGS[level](60, 40, 4, bias=True).compression_ratio()
    assert (with_bias.dense, with_bias.stored) == (2440, stored + 40)


def planted(level, dtype=torch.float64):
    """A matrix that the rung can hold exactly, with widths and places that the pursuit tries."""
    generator = torch.Generator().manual_seed(3)
    rung = RUNGS[level](90, 50, 2).to(dtype)
    widths = gauge_widths(90)
    with torch.no_grad():
        for name, parameter in rung.named_parameters():
            if name in ("hw", "core", "amplitudes"):
                parameter.copy_(1 + torch.rand(parameter.shape, generator=generator, dtype=dtype))
        for place, width, columns in (("mu", "sigma", 90), ("nu", "rho", 50)):
            if hasattr(rung, place):
                if level == "L1":
                    rung.mu.copy_(torch.tensor([20, 70]) + torch.randint(-9, 9, (50, 2), generator=generator))
                    rung.sigma.copy_(torch.stack((widths[5], widths[5])))
                else:
                    getattr(rung, place).copy_(torch.tensor([columns // 5, 3 * columns // 4]))
                    getattr(rung, width).copy_(gauge_widths(columns)[[7, 5]])
    return rung


def gauge_widths(columns):
    from mobius_lib.gauge.fit import width_grid

    return width_grid(columns)


@pytest.mark.parametrize("level", ["L1", "L2", "L3"])
def test_a_planted_matrix_is_found_again(level):
    w = planted(level).to_dense().detach()
    found = RUNGS[level].from_dense(w, 2)
    assert relative_error(w, found.to_dense()) < 1e-6  # float64, and least squares of well separated Gaussians


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


@pytest.mark.parametrize("level", CLOSED)
def test_more_terms_are_nearer(level):
    w = smooth_matrix(120, 150)
    errors = [relative_error(w, fit(level, w, terms).to_dense()) for terms in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] < 1


@pytest.mark.parametrize("level", ["L2", "L3", "L4", "L5"])
def test_singular_values_bound_the_error_from_below(level):
    for seed in range(3):
        w = smooth_matrix(70, 80, noise=0.5, seed=seed)
        rank = 4 * (3 if level == "L5" else 1)
        values = torch.linalg.svdvals(w.double())
        bound = (values[rank:].square().sum() / values.square().sum()).sqrt().item()
        error = relative_error(w, fit(level, w).to_dense())
        assert bound * (1 - 1e-6) <= error < 1  # float32's rounding


def test_rows_of_their_own_are_not_bound_by_rank():
    """A diagonal matrix: one narrow Gaussian per row holds it, and no matrix of a small rank comes near."""
    w = torch.eye(64)
    rung = HarmonicLinear.from_dense(w, 1)
    assert relative_error(w, rung.to_dense()) < 0.01  # beside the diagonal, exp(-1 / 0.18) = 0.004
    assert relative_error(w, TriLevelHarmonicLinear.from_dense(w, 1).to_dense()) > 0.9


def test_amplitudes_are_least_squares():
    """No small change of any amplitude is nearer."""
    w = smooth_matrix(dtype=torch.float64)
    for level, name in (("L1", "amplitudes"), ("L2", "core"), ("L3", "hw"), ("L4", "hw"), ("L5", "hw")):
        rung = fit(level, w)
        before = (w - rung.to_dense()).norm()
        parameter = getattr(rung, name)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            change = 1e-3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            for side in (1, -2):
                with torch.no_grad():
                    parameter += side * change
                assert (w - rung.to_dense()).norm() > before, level
            with torch.no_grad():
                parameter += change


@pytest.mark.parametrize("level", CLOSED)
def test_fitting_is_the_same_each_time_and_leaves_the_generator_alone(level):
    w = smooth_matrix(300, 300)  # large enough for the random projection
    state = torch.random.get_rng_state()
    first = fit(level, w).to_dense()
    torch.manual_seed(5)
    torch.testing.assert_close(fit(level, w).to_dense(), first, rtol=0, atol=0)
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("level", LEVELS)
def test_matrices_at_the_edge(level):
    zero = fit(level, torch.zeros(6, 8), 2)
    assert relative_error(torch.zeros(6, 8), zero.to_dense()) == 0 or zero.to_dense().abs().max() < 1e-6
    one = fit(level, torch.tensor([[2.0]]), 1)
    # one number through a sigmoid-free decoder trained for 60 steps is near; the others are exact
    assert one.to_dense().item() == pytest.approx(2.0, rel=0.05 if level == "L6" else 1e-5)
    assert fit(level, torch.randn(5, 30).half(), 2).to_dense().isfinite().all()
    assert fit(level, torch.ones(1, 9), 3).to_dense().shape == (1, 9)


@pytest.mark.parametrize("level", LEVELS)
def test_a_multiple_of_a_matrix_has_the_same_rung(level):
    """A power of 2 rounds nothing, so the rung is the same; 10^25 rounds, as every number does."""
    w = smooth_matrix(noise=0.3)
    made = fit(level, w).to_dense()
    for size in (2.0**100,) if level == "L6" else (2.0**-100, 0.25, 2.0**100):
        # what is 10^-10 of the others has fewer digits at 2^-100
        assert relative_error(made, fit(level, w * size).to_dense() / size) < 1e-9, size
    for size in (1e-25, 1e36):
        # sixty steps of training amplify rounding
        allowed = 1e-2 if level == "L6" else 1e-5
        assert relative_error(made * size, fit(level, w * size).to_dense()) < allowed, size
    if level != "L6":
        with pytest.raises(ValueError, match="too near the limit"):
            fit(level, w / w.abs().max() * 3e37)
        assert fit(level, w * 1e-42).to_dense().isfinite().all()  # three digits are left of such numbers
        doubles = w.double() * 1e-200
        assert relative_error(doubles, fit(level, doubles).to_dense()) == pytest.approx(relative_error(w, made))


def test_a_bridge_of_a_kernel_of_any_size():
    k0 = torch.rand(25, generator=torch.Generator().manual_seed(0))
    one, other = (
        MobiusHarmonicBridge().derive(tokens(), 25, k0 * size, product="rows").to_dense() for size in (1, 2.0**100)
    )
    assert relative_error(one * 2.0**100, other) < 1e-9


# --- a drop-in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_from_linear_keeps_the_bias(level):
    linear = nn.Linear(24, 16)
    cls = RUNGS[level]
    rung = cls.from_linear(linear, 3, **({"steps": 20} if level == "L6" else {}))
    x = torch.randn(4, 24)
    torch.testing.assert_close(rung(x), x @ rung.to_dense().mT + linear.bias, rtol=0, atol=1e-4)
    assert rung.compression_ratio().dense == 24 * 16 + 16
    half = cls.from_linear(linear.bfloat16(), 3, **({"steps": 20} if level == "L6" else {}))
    assert half.weight.dtype == half.bias.dtype == half(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("level", LEVELS)
def test_what_a_linear_layer_takes_and_has(level):
    rung = RUNGS[level](30, 20, 3, bias=True, device="cpu", dtype=torch.float64)
    assert (rung.in_features, rung.out_features, rung.bias.shape) == (30, 20, (20,))
    assert {each.dtype for each in rung.parameters()} == {torch.float64} == {rung(torch.zeros(30).double()).dtype}
    assert rung.weight.dtype == torch.float64 and torch.equal(rung.weight, rung.to_dense())
    x = torch.randn(4, 30, dtype=torch.float64)
    torch.testing.assert_close(rung(x), nn.functional.linear(x, rung.weight, rung.bias), rtol=1e-9, atol=1e-9)
    meta = RUNGS[level](30, 20, 3, bias=True, device="meta")
    assert {each.device.type for each in (*meta.parameters(), *meta.buffers())} == {"meta"}
    if level != "L5":  # whether it has a matrix depends on its numbers
        assert meta.weight.shape == (20, 30)
    assert meta(torch.zeros(2, 30, device="meta")).shape == (2, 20)
    assert RUNGS[level](*map(np.int64, (30, 20, 3))).terms == 3
    assert "weight" not in rung.state_dict() and "_like" not in rung.state_dict()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_in_a_transformer(level, bias):
    """In training, where the layer calls it, and in eval, where PyTorch's own fast form asks for the weights."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, bias=bias)
    layer.linear1 = RUNGS[level](16, 32, 3, bias=bias)
    layer.linear2 = RUNGS[level](32, 16, 3, bias=bias)
    layer.self_attn.out_proj = RUNGS[level](16, 16, 3, bias=bias)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    trained = layer(x)
    trained.sum().backward()
    assert all(next(each.parameters()).grad is not None for each in (layer.linear1, layer.self_attn.out_proj))
    with torch.inference_mode():
        torch.testing.assert_close(layer.eval()(x), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", LEVELS)
def test_half_precision_errs_no_more_than_a_rounded_matrix(level, dtype):
    """Columns beyond 256, whose places bfloat16 cannot tell apart, and heights that cancel."""
    w = smooth_matrix(200, 700, noise=0.02) / 8  # products stay within half's range
    rung = fit(level, w, 8)
    x = torch.randn(64, 700, generator=torch.Generator().manual_seed(1))
    y, rounded = (x @ rung.to_dense().mT).detach(), rung.to_dense().detach().to(dtype)
    plain = relative_error(y, (x.to(dtype) @ rounded.mT).float())
    with torch.autocast("cpu", dtype):
        automatic = rung(x)
    matrix = rung.to_dense().detach()
    half = rung.to(dtype)
    for found in (half(x.to(dtype)), automatic):
        assert found.dtype == dtype and relative_error(y, found.float()) < 1.05 * plain  # a sample of 12,800 numbers
    assert torch.equal(half.weight, rounded) and torch.equal(half.to_dense(), matrix)
    found.sum().backward()
    assert all(each.grad.isfinite().all() for each in half.parameters() if each.grad is not None)
    again = half.float()
    torch.testing.assert_close(again(x), y, rtol=0, atol=1e-3)
    torch.set_default_dtype(dtype)
    try:
        made = [RUNGS[level](30, 20, 3, bias=True)]
    finally:
        torch.set_default_dtype(torch.float32)
    for each in (*made, RUNGS[level](30, 20, 3, bias=True, dtype=dtype)):
        x = torch.zeros(2, 30, dtype=dtype)
        assert each(x).dtype == each.weight.dtype == each.bias.dtype == dtype


def test_numpy_where_a_tensor_is():
    w = smooth_matrix()
    array = w.double().numpy()
    array.flags.writeable = False
    for level in LEVELS:
        assert relative_error(w, fit(level, array).to_dense()) == pytest.approx(
            relative_error(w, fit(level, w.double()).to_dense())
        )
    flipped = w.numpy()[::-1, ::-1].astype(">f4")  # neither contiguous nor of this machine's byte order
    assert torch.equal(fit("L3", flipped).to_dense(), fit("L3", w.flip(0, 1)).to_dense())
    stream, k0 = tokens(), torch.rand(25, generator=torch.Generator().manual_seed(0))
    d = log_cooccurrence(stream.numpy(), 25, 5)
    assert torch.equal(d, log_cooccurrence(stream, 25, 5)) and torch.equal(gauge.kernel(d.numpy()), gauge.kernel(d))
    bridge, other = (
        MobiusHarmonicBridge().derive(*given) for given in ((stream, 25, k0), (stream.numpy(), 25, k0.numpy()))
    )
    assert torch.equal(bridge.to_dense(), other.to_dense())
    with pytest.raises(ValueError, match=r"w must be a matrix .* not ndarray"):
        fit("L3", np.array([["a", "b"]]))
    with pytest.raises(ValueError, match="w must hold real numbers"):
        fit("L3", torch.ones(3, 3, dtype=torch.complex64))


# --- L1: smoothing ---------------------------------------------------------------------------------------------------


def test_smoothing_against_the_sum():
    x, sigma = torch.randn(3, 50, dtype=torch.float64), torch.tensor([0.4, 3.0, 40.0], dtype=torch.float64)
    j = torch.arange(50, dtype=torch.float64)
    for n, width in enumerate(sigma):
        bells = torch.exp(-((j - j.unsqueeze(1)) ** 2) / (2 * width**2))
        torch.testing.assert_close(smooth(x, sigma)[:, n], x @ bells, rtol=0, atol=1e-12)


# --- L4 --------------------------------------------------------------------------------------------------------------


def tokens(length=3000, vocabulary=25, seed=0):
    weights = 1 / torch.arange(1.0, vocabulary + 1)
    return torch.multinomial(weights, length, replacement=True, generator=torch.Generator().manual_seed(seed))


def test_a_bridge_gets_its_matrix_from_tokens():
    bridge = MobiusHarmonicBridge(window=5)
    for use in (lambda: bridge(torch.zeros(25)), bridge.to_dense, bridge.sigma, bridge.compression_ratio):
        with pytest.raises(ValueError, match="This bridge of window 5 has no matrix yet: call derive"):
            use()
    assert bridge.derive(tokens(), 25, product="none") is bridge
    d = log_cooccurrence(tokens(), 25, 5)
    assert relative_error(d, bridge.to_dense()) < 0.2
    assert bridge(torch.zeros(2, 25)).shape == (2, 25)
    torch.testing.assert_close(bridge.sigma(), bridge.sigma_0 * torch.arange(1, 9) ** (1 / 3))


def test_products_of_a_bridge():
    bridge, stream = MobiusHarmonicBridge(window=3), tokens()
    d, k0 = log_cooccurrence(stream, 25, 3), torch.randn(25, generator=torch.Generator().manual_seed(1))
    printed = torch.fft.ifft2(torch.fft.fft2(d) * torch.fft.fft2(gauge.circulant(k0))).real
    # float32 sums of 625 terms of about 3
    torch.testing.assert_close(bridge.target(stream, 25, k0), printed, rtol=0, atol=1e-2)
    by_rows = bridge.target(stream, 25, k0, product="rows")
    torch.testing.assert_close(by_rows, d @ gauge.circulant(k0), rtol=0, atol=1e-3)
    own = bridge.target(stream, 25, product="rows", eps=0.2)
    torch.testing.assert_close(own, d @ gauge.circulant(gauge.kernel(d, 0.2)), rtol=0, atol=1e-3)


# --- L5 --------------------------------------------------------------------------------------------------------------


def test_both_usages_of_the_seed():
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
def test_connections_never_make_it_worse(product):
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


def test_a_change_of_gauge_changes_nothing():
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


# --- L6 --------------------------------------------------------------------------------------------------------------


def test_the_autoencoder_is_of_the_printed_widths_and_learns():
    vae = FibreVAE()
    shapes = [tuple(layer.weight.shape) for layer in (*vae.encoder[::2], vae.mean, *vae.decoder[::2])]
    assert shapes == [(32, 48), (16, 32), (8, 16), (16, 8), (32, 16), (48, 32)]
    generator = torch.Generator().manual_seed(0)
    fibres = torch.randn(300, 3, generator=generator) @ torch.randn(3, 48, generator=generator)

    def error(vae):
        return relative_error(fibres, vae.decode(vae.encode(fibres)[0]))

    little, much = (error(FibreVAE().fit(fibres, steps=steps)) for steps in (1, 300))
    assert much < 0.3 < 0.9 < little
    assert error(FibreVAE().fit(fibres, steps=40)) == error(FibreVAE().fit(fibres, steps=40))


def test_squared_errors_of_fibres_are_those_of_the_matrix():
    w = smooth_matrix(dtype=torch.float64)
    l5, fibres = fibres_of(w, 4)
    q = gauge.symmetric_frame(l5.frames().detach().flatten(0, 1))
    torch.testing.assert_close(fibres @ q, l5.to_dense().detach(), rtol=0, atol=1e-7)
    other = fibres + torch.randn(fibres.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = (other - fibres) @ q @ q.mT  # what lies in a direction that Q has
    torch.testing.assert_close(((other - fibres) @ q).norm(), kept.norm())


def test_a_vae_of_other_fibres_can_be_shared():
    first, second = smooth_matrix(seed=1), smooth_matrix(seed=2)
    fibres = torch.cat([fibres_of(w, 4)[1] for w in (first, second)])
    vae = FibreVAE(12).fit(fibres, steps=300)
    rung = CosmicLinear.from_dense(first, 4, vae=vae)
    l5 = MetaMobiusLinear.from_dense(first, 4)
    assert relative_error(first, l5.to_dense()) <= relative_error(first, rung.to_dense()) < 0.9
    with pytest.raises(ValueError, match="vae is for fibres of 12 numbers, but these have 9"):
        CosmicLinear.from_dense(first, 3, vae=vae)
    with pytest.raises(ValueError, match="fibres must have 12 numbers each, not 9"):
        FibreVAE(12).fit(torch.randn(5, 9))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_bad_sizes(level):
    cls = RUNGS[level]
    for arguments, sentence in (
        ((8, 4, 9), "terms=9 Gaussians are more than the 8 columns"),
        ((0, 4, 1), "in_features must be a whole number from 1 on, not 0"),
        ((8, -1, 1), "out_features must be a whole number"),
        ((8, 4, 0), "terms must be a whole number"),
        ((8, 4, 2.5), "terms must be a whole number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            cls(*arguments)
    with pytest.raises(ValueError, match=r"x must end in 8 features, but has the shape \(2, 7\)"):
        cls(8, 4, 2)(torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r"x must be a torch\.Tensor of floating-point numbers, not numpy\.ndarray"):
        cls(8, 4, 2)(torch.zeros(2, 8).numpy())
    with pytest.raises(ValueError, match=r"floating-point numbers, not torch\.int64"):
        cls(8, 4, 2)(torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="x must end in 8 features"):
        cls(8, 4, 2)(torch.tensor(1.0))


@pytest.mark.parametrize("level", LEVELS)
def test_bad_matrices(level):
    cls, broken = RUNGS[level], torch.randn(5, 8)
    broken[2, 3] = float("nan")
    for w, terms, sentence in (
        (broken, 2, "w holds nan at row 2, column 3; every entry must be finite"),
        (torch.full((5, 8), float("inf")), 2, "w holds inf at row 0, column 0"),
        (torch.zeros(5), 2, "w must be a matrix"),
        (torch.zeros(0, 8), 2, "w must be a matrix .* that is not empty"),
        ([[1.0]], 1, "w must be a matrix .* not list"),
        (torch.randn(5, 8), 9, "terms must be a whole number from 1 to 8, not 9"),
        (torch.randn(5, 8), 0, "terms must be a whole number from 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            cls.from_dense(w, terms)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FractalHarmonicLinear(8, 4, 2, out_terms=5), "out_terms must be a whole number from 1 to 4, not 5"),
        (lambda: MobiusHarmonicBridge(window=0), "window must be a whole number from 1 on, not 0"),
        (lambda: MobiusHarmonicBridge(8), "in_features and out_features must be given both, or neither"),
        (lambda: MobiusHarmonicBridge().derive(tokens(), 25, product="fft"), "There is no product='fft'"),
        (lambda: MobiusHarmonicBridge().derive(tokens(), 25, torch.ones(3)), "k0 must be 25 finite numbers"),
        (lambda: MobiusHarmonicBridge(terms=30).derive(tokens(), 25), "terms must be a whole number from 1 to"),
        (lambda: MobiusHarmonicBridge().derive(tokens()[:0], 25), "tokens is empty"),
        (lambda: MobiusHarmonicBridge(window=50).derive(tokens(40), 25), "window=50 does not fit a text of 40 tokens"),
        (lambda: MetaMobiusLinear(8, 4, 2, windows=()), "windows must be at least one number"),
        (lambda: MetaMobiusLinear(8, 4, 2, windows=(5, 5)), "windows must be .* none twice"),
        (lambda: MetaMobiusLinear(8, 4, 2, activation="relu"), "There is no activation='relu'"),
        (lambda: MetaMobiusLinear.from_l4_bridges([], 25, tokens()), "bridges must hold at least one"),
        (
            lambda: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge()], 25, tokens(), [None, None]),
            "k0s holds 2 kernels for 1 bridges",
        ),
        (
            lambda: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge(terms=n) for n in (2, 3)], 25, tokens()),
            "all must have the same terms",
        ),
        (
            lambda: MetaMobiusLinear.from_l4_bridges([MobiusHarmonicBridge() for _ in range(2)], 25, tokens()),
            "windows must be .* none twice",
        ),
    ],
)  # fmt: skip
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
