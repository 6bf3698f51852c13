"""The exact algebra against the printed form: values and all gradients."""

import pytest
import torch

from mobius_lib.waves import MobiusLens

SHAPES = [(3, 5, 7, 64), (2, 17), (1, 1), (4, 3, 100)]


def lens_and_twin(channels, dtype, seed):
    """A lens with every parameter moved away from its start, and the same lens in the printed form."""
    torch.manual_seed(seed)
    lens = MobiusLens(channels, layer_idx=seed % 4, total_layers=4).to(dtype)
    with torch.no_grad():
        for parameter in lens.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if seed % 2:
            lens.alpha.neg_()
    printed = MobiusLens(channels, layer_idx=seed % 4, total_layers=4).to(dtype)
    printed.load_state_dict(lens.state_dict())
    printed.backend = "printed"
    return lens, printed


@pytest.mark.parametrize("backend", ["eager"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
# rounding of two orders of operations: a few hundred of them, relative to the largest value
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=str)
def test_values_and_gradients(backend, seed, shape, dtype, tolerance):
    lens, printed = lens_and_twin(shape[-1], dtype, seed)
    lens.backend = backend
    x = torch.randn(shape, dtype=dtype)
    out = []
    for module in (lens, printed):
        given = x.clone().requires_grad_()
        y = module(given)
        (y * torch.cos(torch.arange(y.numel(), dtype=dtype)).view_as(y)).sum().backward()
        out.append({"y": y.detach(), "x": given.grad} | {k: p.grad for k, p in module.named_parameters()})
    for name, reference in out[1].items():
        scale = max(1.0, reference.abs().max().item())
        error = (out[0][name] - reference).abs().max().item() / scale
        assert error < tolerance, (name, error)


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_zero_and_huge_inputs_stay_finite(value):
    lens, printed = lens_and_twin(6, torch.float32, 0)
    x = torch.full((2, 6), value, requires_grad=True)
    lens(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    # relative to the size of the values that pass the gate
    torch.testing.assert_close(lens(x), printed(x), rtol=1e-5, atol=1e-5)
