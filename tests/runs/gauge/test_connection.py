"""The run gauge-connection: all arms have the same bits and the same rows, and what is judged was not fitted."""

import json

import pytest
import torch
from torch import nn

from mobius_lib.gauge import MetaMobiusLinear, at_bits, relative_error
from mobius_lib.gauge.bits import FLOAT_BITS
from mobius_lib.runs.base import Data
from mobius_lib.runs.gauge import connection
from mobius_lib.runs.gauge.cooccurrence import mean_of_windows, parted
from tests.runs.computed import at_sizes, two_seeds

SIZES = connection.Sizes(60, 4, 80, 8, encoder=False)


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.multinomial(1 / torch.arange(1.0, 61), 20_000, replacement=True, generator=generator)
    return Data((tokens[:-1], tokens[1:]), connection.fashion_mnist("test"), {"made": "1" * 64})


@pytest.fixture(scope="module")
def record(data) -> dict:
    return two_seeds("gauge-connection", connection.fields(SIZES), data=lambda: data)


def test_what_the_record_says(record):
    json.dumps(record, allow_nan=False)
    assert record["arms"].keys() == connection.ARMS.keys()
    for name, (row, other) in record["arms"].items():
        assert [each["target"] for each in row["rows"]] == ["mean", "lens"]
        assert row["relative_error"] == row["rows"][0]["relative_error"] and row["target"] == "mean"
        assert name == "dense" or row["relative_error"] != other["relative_error"]
    arms = {name: rows[0]["rows"] for name, rows in record["arms"].items()}
    for target in (0, 1):
        bits = {name: rows[target]["bits"] for name, rows in arms.items()}
        assert len({bits[name] for name in ("L5", *connection.LEARNED)}) == 1
        assert max(bits["more terms"], bits["SVD"]) <= bits["L5"]
        measure = "fitted_error" if target else "relative_error"
        left = {name: rows[target][measure] for name, rows in arms.items()}
        assert left["dense"] == 0
        # they begin where the closed form is; symmetric parts may be judged otherwise by a little
        assert max(left[name] for name in connection.LEARNED) <= left["L5"] * (1 + 1e-4)
    assert arms["L5"][1]["bits"] < arms["dense"][1]["bits"] and arms["dense"][1]["final_accuracy"] > 0.3


def test_the_numbers_are_those_of_the_layer(record, data):
    tokens, bigrams = parted(data, 0)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    torch.manual_seed(0)
    layer = MetaMobiusLinear.from_dense(d, 8, activation="tanh")
    row = record["arms"]["L5"][0]
    assert row["bits"] == layer.stored_bits()
    plain = at_bits("svd", d, layer.stored_bits())
    # of float32 entries, right to 6e-8, a difference of 6e-4 is right to 1e-4 of itself
    assert record["arms"]["SVD"][0]["relative_error"] == pytest.approx(relative_error(d, plain.matrix), rel=1e-4)
    layer.solve(torch.eye(60), d)
    made = layer.to_dense().detach()
    assert row["relative_error"] == pytest.approx(relative_error(d, (made + made.mT) / 2), rel=1e-4)


def test_bits_without_connection_and_attention():
    for size, terms in ((300, 8), (64, 12)):
        layer = MetaMobiusLinear(size, size, terms)
        kept = [name for name in layer.storage() if name not in ("connections", "attention")]
        floats = sum(layer.storage()[name].numbers for name in kept if name != "permutations")
        assert connection.without_transport(layer) == floats * FLOAT_BITS + layer.storage()["permutations"].bits


def test_rows_that_reach_a_layer_are_all_its_inputs_and_no_others():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1, bias=False))
    pictures = torch.randn(2, 3, 6, 7)
    found = connection.reaching(model, ["1"], lambda: model(pictures), 1_000, 0)["1"]
    with torch.no_grad():
        inner = model[0](pictures)
    expected = torch.stack([inner[i, :, j, k] for i in range(2) for j in range(4) for k in range(5)])
    assert torch.equal(found.sort(0).values, expected.sort(0).values) and not torch.equal(found, expected)
    assert len(connection.reaching(model, ["1"], lambda: model(pictures), 7, 0)["1"]) == 7
    assert not model[1]._forward_pre_hooks


def test_no_picture_fits_and_judges():
    for seed in range(3):
        fit, judge = connection.halves(11, 100, seed)
        assert sorted([*fit.tolist(), *judge.tolist()]) == list(range(11))
    assert [len(part) for part in connection.halves(11, 4, 0)] == [4, 4]


def test_the_reduced_rank_is_the_best_of_its_rank_on_the_rows():
    torch.manual_seed(0)
    w, x = torch.randn(6, 9), torch.randn(40, 9) * torch.logspace(0, 2, 9)
    y, bits = x @ w.mT, 3 * FLOAT_BITS * 15
    made = connection.reduced_rank(w, y, bits)
    left = torch.linalg.svdvals(y.double())[3:].norm() / y.double().norm()
    assert torch.linalg.matrix_rank(made.double(), rtol=1e-5) == 3
    assert relative_error(y, x @ made.mT) == pytest.approx(left.item(), rel=1e-4)
    assert relative_error(y, x @ at_bits("svd", w, bits).matrix.mT) > left * 1.01


def test_its_cell_is_of_the_record(data, record):
    run = at_sizes("gauge-connection", connection.fields(SIZES))
    found = connection.cell(run, data, {})
    for name in ("L5", "SVD", "more terms"):
        assert found[f"{name}/relative_error"] == record["arms"][name][0]["relative_error"]
    assert found["begun both/relative_error"] >= record["arms"]["both"][0]["relative_error"] * (1 - 1e-6)


def test_its_scales():
    for scale, sizes in connection.SIZES.items():
        run = connection.RUN.at(scale)
        assert run.compute.keywords == {"sizes": sizes} and run.data.args == (sizes.vocabulary, sizes.encoder)
        assert run.facts()["sizes"]["terms"] == 8
