"""gauge-retrained: what stands for the layers, in how many bits, and that it learns."""

import copy

import pytest
import torch
from torch import nn

from mobius_lib.gauge import MetaMobiusLinear
from mobius_lib.gauge.baselines import truncated_svd
from mobius_lib.gauge.compress import TERMS
from mobius_lib.runs.gauge import retrained
from mobius_lib.runs.gauge.network import network, square

WIDTH = 256
MOST = MetaMobiusLinear(WIDTH, WIDTH, TERMS, device="meta").stored_bits()


@pytest.fixture
def begun() -> nn.Module:
    torch.manual_seed(0)
    return network(WIDTH, 3).eval()


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """300 rows of three classes, a pattern each under noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    return torch.randn(300, WIDTH, generator=generator) + torch.randn(3, WIDTH, generator=generator)[y], y


def test_every_form_is_within_the_bits_of_l5(begun: nn.Module) -> None:
    before = copy.deepcopy(begun.state_dict())
    bits = {arm: retrained.form(arm, begun)[1] for arm in retrained.ARMS}
    assert all(torch.equal(value, before[name]) for name, value in begun.state_dict().items())
    assert bits.pop("dense") == 3 * WIDTH**2 * 32 and bits.pop("L5") == 3 * MOST
    for arm in ("low rank", "low rank, 4 bits", "pruned"):  # a rank or an entry more would be too many
        assert 0.9 * 3 * MOST < bits.pop(arm) <= 3 * MOST
    assert bits == {"1 bit": 3 * (WIDTH**2 + 32 * WIDTH)}
    wide = MetaMobiusLinear(768, 768, TERMS, device="meta").stored_bits()
    assert wide > 768**2 + 32 * 768, "at the run's own width a bit an entry is no more than L5 takes"


def test_what_stands_for_a_layer_is_what_it_is_called(begun: nn.Module) -> None:
    layers = [layer.weight.detach() for layer in square(begun).values()]
    x = torch.eye(WIDTH)

    def matrices(arm: str) -> list[torch.Tensor]:
        model, _ = retrained.form(arm, begun)
        with torch.no_grad():
            return [(model[at](x) - model[at](torch.zeros(1, WIDTH))).mT for at in (1, 3, 5)]

    for w, found in zip(layers, matrices("dense"), strict=True):
        torch.testing.assert_close(found, w)
    for w, found in zip(layers, matrices("low rank"), strict=True):
        rank = int(torch.linalg.matrix_rank(found, rtol=1e-4))
        torch.testing.assert_close(found, truncated_svd(w, rank).matrix, rtol=1e-4, atol=1e-5)
    for w, found in zip(layers, matrices("pruned"), strict=True):
        kept = found.abs() > 1e-6
        torch.testing.assert_close(found[kept], w[kept])
        assert w[kept].abs().min() >= w[~kept].abs().max()
    for w, found in zip(layers, matrices("1 bit"), strict=True):
        torch.testing.assert_close(found.sign(), w.sign())
        torch.testing.assert_close(found.abs(), w.abs().mean(1, keepdim=True).expand_as(w))
    coarse = [torch.linalg.matrix_rank(found, rtol=1e-4) for found in matrices("low rank, 4 bits")]
    assert min(coarse) > 2 * rank


def test_the_gradient_goes_straight_through() -> None:
    w = torch.randn(4, 64, requires_grad=True)
    for rounded in (retrained.one_bit, retrained.four_bits):
        found = retrained.Through(rounded)(w)
        assert not torch.equal(found, w)
        torch.testing.assert_close(found.detach(), rounded(w.detach()))
        (given,) = torch.autograd.grad((found * torch.arange(256.0).view(4, 64)).sum(), w)
        assert torch.equal(given, torch.arange(256.0).view(4, 64))


def test_every_form_learns_and_stays_what_it_is(begun: nn.Module, rows) -> None:
    for arm in retrained.ARMS:
        model, _ = retrained.form(arm, begun)
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        masks = {name: value.clone() for name, value in model.named_buffers() if name.endswith("mask")}
        before = retrained.accuracy(model, rows)
        first = [value.detach().clone() for value in model.parameters()]
        after = retrained.accuracy(retrained.trained(model, rows, 0, 1e-3, 4), rows)
        assert before < 0.6  # by chance a third
        assert after > 0.8 or arm == "L5", arm  # which reads little of such rows: broad windows of noise
        moved = [not torch.equal(value, old) for value, old in zip(model.parameters(), first, strict=True)]
        assert all(moved) or (arm == "L5" and sum(moved) > len(moved) // 2)  # its connection begins as a zero product
        assert {name: value.shape for name, value in model.state_dict().items()} == shapes
        assert all(torch.equal(value, dict(model.named_buffers())[name]) for name, value in masks.items())


def test_rates_are_searched_on_rows_that_nobody_saw(begun: nn.Module, rows, monkeypatch) -> None:
    seen: list[set[tuple[float, ...]]] = []
    judged: list[set[tuple[float, ...]]] = []

    def trained(model, part, seed, rate, epochs):
        seen.append({tuple(row[:3].tolist()) for row in part[0]})
        return model.eval()

    def accuracy(model, part):
        judged.append({tuple(row[:3].tolist()) for row in part[0]})
        return 0.5

    monkeypatch.setattr(retrained, "trained", trained)
    monkeypatch.setattr(retrained, "accuracy", accuracy)
    retraining = retrained.Retraining(retrained.Sizes(1, 300))
    data = retrained.Data(rows, (rows[0][:7] + 9, rows[1][:7]))
    record = retraining(data, 0)
    searches = sum(len(row["held_out"]) for row in record.values())
    assert record.keys() == retrained.ARMS.keys() and searches >= 3 * len(record)
    assert all(len(part) == 240 for part in seen[: 1 + searches]), "the first network and all that is searched"
    assert all(not part & seen[0] and len(part) == 60 for part in judged[:searches])
    assert all(len(part) == 300 for part in seen[1 + searches :])
    retraining(data, 1)
    assert len(judged) == searches + 2 * 2 * len(record), "no second search"
