"""The run gauge-kpz: what its record holds, and that a planted law is read back from as much noise."""

import json

import pytest
import torch

from mobius_lib.gauge import log_cooccurrence
from mobius_lib.runs.base import Data
from mobius_lib.runs.gauge import kpz
from mobius_lib.runs.gauge.measures import held_out_places
from mobius_lib.runs.gauge.widths import continuous_fits, exponent_of
from tests.runs.computed import at_sizes, two_seeds

SIZES = kpz.Sizes(120, 5, 2)


@pytest.fixture(scope="module")
def data() -> Data:
    weights = 1 / torch.arange(1.0, 121)
    tokens = torch.multinomial(weights, 20_000, replacement=True, generator=torch.Generator().manual_seed(0))
    return Data((tokens[:-1], tokens[1:]), (tokens[:0], tokens[:0]), {"made": "0" * 64})


@pytest.fixture(scope="module")
def record(data) -> dict:
    return two_seeds("gauge-kpz", kpz.fields(SIZES), data=lambda: data)


def test_what_the_record_says(record, data):
    json.dumps(record, allow_nan=False)
    assert record["arms"].keys() == kpz.ARMS.keys()
    for name, rows in record["arms"].items():
        assert [row["seed"] for row in rows] == [0, 1] and rows[0] != {**rows[1], "seed": 0}, name
    listed, lists, continuous, planted = (record["arms"][name][0] for name in kpz.ARMS)
    tokens = torch.cat((data.train[0], data.train[1][-1:]))
    tokens = tokens.masked_fill(held_out_places(len(tokens), 0), -1)
    fits = continuous_fits(log_cooccurrence(tokens, 120, 15), 5, 2, seed=0)
    best = min(fits, key=lambda fit: fit.left[1])
    assert listed["sigma_exponent"]["15"] == exponent_of(fits[0].listed.sigma)[0]
    assert lists["sigma_exponent_range"]["15"] == [exponent_of(fits[1].listed.sigma)[0]] * 2
    assert continuous["sigma_exponent"]["15"] == exponent_of(best.moved.sigma)[0]
    assert continuous["sigma"]["15"] == best.moved.sigma.sort().values.tolist()
    assert all(after <= listed["left"][window] for window, after in continuous["left"].items())
    assert planted["resolution"] == max(
        abs(planted["sigma_exponent"][name] - exponent) for name, exponent in kpz.PLANTED.items()
    )
    assert planted["noise"] == max(continuous["left"].values()) ** 0.5


def test_exponents_that_change_with_the_window():
    found = kpz._by_window({"5": 0.4, "15": 0.4 / 3**0.5, "50": 0.4 / 10**0.5})
    assert found["window_exponent"] == pytest.approx(-0.5, abs=1e-6)
    assert kpz._by_window({"5": 0.4, "15": -0.1, "50": 0.2}) == {}


def test_its_cell_is_of_the_record(data, record):
    run = at_sizes("gauge-kpz", kpz.fields(SIZES))
    found = kpz.cell(run, data, {})
    assert found["listed/sigma_exponent/5"] == record["arms"]["listed"][0]["sigma_exponent"]["5"]
    assert found["left"] >= record["arms"]["continuous"][0]["left"]["5"]


def test_its_scales():
    for scale, sizes in kpz.SIZES.items():
        assert kpz.RUN.at(scale).compute.keywords == {"sizes": sizes}
