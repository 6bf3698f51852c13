"""Every rung in the place of a linear layer: its bias, its types, in a transformer, in half precision, from numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from mobius_lib.gauge import (
    RUNGS,
    MobiusHarmonicBridge,
    log_cooccurrence,
    relative_error,
)
from mobius_lib.gauge import math as gauge

LEVELS = list(RUNGS)


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
def test_half_precision_errs_no_more_than_a_rounded_matrix(level, dtype, smooth_matrix, fit):
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


OPTIONS = [
    ("L5", {"route": "path", "beta": "root"}),
    ("L5", {"route": "steps", "beta": "free"}),
    ("L6", {"stack": True}),
]
"""What a rung can be made with beside its sizes."""


@pytest.mark.parametrize(("level", "options"), OPTIONS)
def test_options_are_drop_ins_too(level, options, smooth_matrix):
    meta = RUNGS[level](30, 20, 3, bias=True, device="meta", **options)
    assert {each.device.type for each in (*meta.parameters(), *meta.buffers())} == {"meta"}
    assert meta(torch.zeros(2, 30, device="meta")).shape == (2, 20)
    w = smooth_matrix(60, 300, noise=0.02) / 8
    rung = RUNGS[level].from_dense(w, 3, **options, **({"steps": 20} if level == "L6" else {}))
    x = torch.randn(64, 300, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        if level == "L5":
            rung.up.normal_(std=0.02, generator=torch.Generator().manual_seed(2))
        y, matrix = x @ rung.to_dense().mT, rung.to_dense()
        torch.testing.assert_close(rung.double()(x.double()).float(), y, rtol=0, atol=1e-4)
    for dtype in (torch.bfloat16, torch.float16):
        plain = relative_error(y, (x.to(dtype) @ matrix.to(dtype).mT).float())
        half = rung.float().to(dtype)
        found = half(x.to(dtype))
        assert found.dtype == dtype == half.weight.dtype
        assert relative_error(y, found.detach().float()) < 1.05 * plain  # a sample of 3,840 numbers
        assert all(each.dtype == torch.float32 for each in half.parameters())


def test_numpy_where_a_tensor_is(smooth_matrix, fit, tokens):
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
    rows = np.random.default_rng(0).normal(size=(30, 60))
    layer = RUNGS["L5"](60, 40, 2)
    assert layer.solve(rows, rows @ array.T) == layer.solve(torch.tensor(rows), torch.tensor(rows @ array.T))
    with pytest.raises(ValueError, match=r"w must be a matrix .* not ndarray"):
        fit("L3", np.array([["a", "b"]]))
    with pytest.raises(ValueError, match="w must hold real numbers"):
        fit("L3", torch.ones(3, 3, dtype=torch.complex64))


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
