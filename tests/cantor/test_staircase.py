"""The layer: positions, the published layout, what does and does not depend on the batch, and bad input."""

import copy
import math

import pytest
import torch

from mobius_lib.cantor import FORMS, POSITIONS, CantorStaircase


def unit(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    f = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(f, dim=-1)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [0, 1, 2, 17])
def test_shapes_ranges_and_gradients(form, position, rows):
    stairs = CantorStaircase(12, form=form, position=position, levels=4, tau=0.1)
    f = unit(rows, 12).requires_grad_()
    c, x, p = stairs(f), stairs.positions(f), stairs.interval_distribution(f)
    assert (c.shape, x.shape, p.shape) == ((rows,), (rows,), (rows, 3))
    assert ((c >= 0) & (c <= 1)).all() and ((x > 0) & (x < 1)).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(rows), rtol=0, atol=1e-6)
    c.sum().backward()
    assert f.grad.isfinite().all() and stairs.alpha.grad.isfinite()


def published(f, alpha, weight, bias, tau=0.25):
    """The printed layer, row by row in plain Python."""
    out = []
    for row, values in enumerate(f.tolist()):
        dot = sum(v * w for v, w in zip(values, weight.flatten().tolist(), strict=True)) + bias.item()
        x = row / max(len(f) - 1, 1) + 0.3 * math.tanh(dot)
        y = 3 * min(max(x, 1e-6), 1 - 1e-6) % 3
        left, middle, right = (math.exp(-((y - c) ** 2) / tau) for c in (0.5, 1.5, 2.5))
        out.append((alpha.item() * middle + right) / (left + middle + right))
    return out


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_the_published_layer(rows):
    stairs = CantorStaircase(8, position="batch", alpha=-0.0764)
    f = unit(rows, 8)
    expected = published(f, stairs.alpha, *stairs.feature_to_position.parameters())
    assert stairs(f).tolist() == pytest.approx(expected, abs=1e-5)  # float32 against float64, times 6 / tau = 24


def test_published_state_loads_and_is_laid_out_as_published():
    state = {
        "alpha": torch.tensor(-0.0764),
        "centers": torch.tensor([0.5, 1.5, 2.5]),
        "feature_to_position.weight": torch.randn(1, 512),
        "feature_to_position.bias": torch.randn(1),
    }
    for position in POSITIONS:
        stairs = CantorStaircase(512, position=position)
        assert stairs.state_dict().keys() == state.keys()
        stairs.load_state_dict(state, strict=True)
        assert stairs.alpha.item() == pytest.approx(-0.0764)
        assert sum(p.numel() for p in stairs.parameters()) == 512 + 1 + 1


def test_other_centres_are_refused():
    state = CantorStaircase(4).state_dict() | {"centers": torch.tensor([0.5, 1.0, 2.5])}
    with pytest.raises(RuntimeError, match=r"centers is \[0.5, 1.0, 2.5\].*another layer"):
        CantorStaircase(4).load_state_dict(state)
    nested = torch.nn.ModuleDict({"cantor_stairs": CantorStaircase(4)})
    with pytest.raises(RuntimeError, match=r"cantor_stairs\.centers"):
        nested.load_state_dict({f"cantor_stairs.{key}": value for key, value in state.items()})


@pytest.mark.parametrize("position", ["features", "mean"])
def test_a_row_does_not_depend_on_its_neighbours(position):
    stairs, f = CantorStaircase(20, position=position), unit(64, 20)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    # a matrix product of other rows may be added up in another order
    torch.testing.assert_close(stairs(f)[order], stairs(f[order]), rtol=0, atol=1e-5)
    torch.testing.assert_close(stairs(f)[5:6], stairs(f[5:6]), rtol=0, atol=1e-5)


def test_the_published_position_depends_on_the_order_of_the_batch():
    stairs, f = CantorStaircase(20, position="batch"), unit(64, 20)
    assert (stairs(f).flip(0) - stairs(f.flip(0))).abs().mean() > 0.3  # from one end of the stairs to the other
    assert stairs.positions(f[:1]).item() <= 0.3  # a batch of one stands at row 0, and the drift is at most 0.3


def test_default_rows_start_out_spread_over_the_unit_interval():
    """Kolmogorov's distance to the uniform distribution, over draws of the weights."""
    torch.manual_seed(0)
    f, n = unit(4000, 256), 4000
    even = torch.arange(1, n + 1) / n
    distances = []
    for _ in range(5):
        x = CantorStaircase(256).positions(f).detach().sort().values
        distances.append((x - even).abs().max().item())
    # The normal with deviation 1.7 is 0.0095 from the logistic; the length of w wavers by 1 / sqrt(512) = 4% and moves
    # the distribution by 0.01; 4,000 rows add 1.4 / sqrt(4000) = 0.022 in one sample of a hundred.
    assert max(distances) < 0.045
    plain = torch.sigmoid(f @ torch.randn(256) / 16).sort().values  # the usual small weights bunch at 1/2
    assert (plain - even).abs().max() > 0.3


def test_frozen_alpha_stays():
    stairs = CantorStaircase(6, alpha=0.3, learn_alpha=False)
    assert not stairs.alpha.requires_grad
    optimiser = torch.optim.SGD(stairs.parameters(), lr=1.0)
    stairs(unit(9, 6)).sum().backward()
    optimiser.step()
    assert stairs.alpha.item() == pytest.approx(0.3)
    assert stairs.feature_to_position.weight.grad.abs().sum() > 0


def test_alpha_moves_towards_a_target_that_it_can_reach():
    """Rows in the middle third are worth alpha: fitted to -0.2, alpha goes there (below 0, as in the published run)."""
    stairs = CantorStaircase(1, tau=1e-2)
    with torch.no_grad():
        stairs.feature_to_position.weight.fill_(0.01)
    f = torch.linspace(-1, 1, 32).unsqueeze(1)
    optimiser = torch.optim.SGD([stairs.alpha], lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        (stairs(f) + 0.2).square().mean().backward()
        optimiser.step()
    assert stairs.alpha.item() == pytest.approx(-0.2, abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tau", [1e-4, 1e-2])
def test_cold_stairs_have_finite_gradients(form, tau):
    stairs = CantorStaircase(3, form=form, tau=tau, levels=12)
    with torch.no_grad():  # every x that float32 has near the boundaries, and saturated sigmoids at both ends
        stairs.feature_to_position.weight.copy_(torch.tensor([[1.0, 0, 0]]))
    logit = torch.logit(torch.arange(1, 27) / 27)
    f = torch.stack((torch.cat((logit, torch.tensor([-200.0, 200.0]))),) * 3, dim=1).requires_grad_()
    c = stairs(f)
    c.sum().backward()
    assert c.isfinite().all() and f.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in stairs.parameters())


def test_bfloat16_and_float64_run():
    for dtype in (torch.bfloat16, torch.float64):
        assert CantorStaircase(5, form="convergent", levels=3).to(dtype)(unit(4, 5).to(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_errs_by_its_last_places(form, position, dtype):
    """700 rows, of which bfloat16 numbers 256; cold thirds, whose exponents half cannot hold."""
    stairs = CantorStaircase(12, form=form, position=position, levels=4, tau=1e-5).to(dtype)
    f = unit(700, 12).to(dtype)
    exact = copy.deepcopy(stairs).double()
    x, expected = exact.positions(f.double()), stairs.positions(f)
    # one rounding of w.f + b, whose size is at most 8 here
    assert (x - expected).abs().max() <= 8 * torch.finfo(dtype).eps
    # the stairs themselves, from one position
    exact.positions = lambda f: expected.double()
    assert (stairs(f).double() - exact(f.double())).abs().max() <= 2 * torch.finfo(dtype).eps


def test_autocast_leaves_the_stairs_in_float32():
    stairs, f = CantorStaircase(12, position="batch"), unit(700, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        c = stairs(f)
    assert c.dtype == torch.float32 and stairs.positions(f).unique().numel() > 500


def test_copies_and_its_line_of_description():
    stairs = CantorStaircase(5, form="convergent", levels=6, tau=0.1)
    torch.testing.assert_close(copy.deepcopy(stairs)(unit(4, 5)), stairs(unit(4, 5)))
    assert "form='convergent', position='features', tau=0.1, levels=6" in repr(stairs)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"features": 0}, "features=0"),
        ({"features": 4, "tau": 0.0}, "tau must be a positive temperature, got tau=0.0"),
        ({"features": 4, "tau": -1.0}, "tau=-1.0"),
        ({"features": 4, "tau": math.nan}, "tau=nan"),
        ({"features": 4, "tau": math.inf}, "tau=inf"),
        ({"features": 4, "levels": 0}, "levels=0"),
        ({"features": 4, "levels": 99}, "levels must be from 1 to 40, got levels=99"),
        ({"features": 4, "form": "hard"}, "form='hard'; the forms are published, multilevel, halting, convergent"),
        ({"features": 4, "position": "row"}, "position='row'; the positions are features, batch, mean"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        CantorStaircase(**arguments)


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("method", ["forward", "positions", "interval_distribution"])
def test_a_wrong_shape(shape, method):
    with pytest.raises(ValueError, match=r"features must be laid out \(batch, 4\).*shape"):
        getattr(CantorStaircase(4), method)(torch.zeros(shape))


def test_what_is_no_tensor():
    with pytest.raises(ValueError, match=r"must be a torch.Tensor of shape \(batch, 4\), not a ndarray"):
        CantorStaircase(4)(torch.zeros(3, 4).numpy())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", POSITIONS)
def test_a_row_that_is_no_number(value, position):
    f = unit(9, 4)
    f[6, 2] = f[7, 1] = value
    with pytest.raises(ValueError, match=r"features hold NaN or infinity in 2 of 9 rows, the first of them row 6"):
        CantorStaircase(4, position=position)(f)
