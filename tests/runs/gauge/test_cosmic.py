"""The run gauge-cosmic: fibres that are judged were not trained on, and every number has its rung beside it."""

import json

import pytest
import torch

from mobius_lib.gauge import CosmicLinear, fibres_of, train_stack
from mobius_lib.gauge.cosmic import CLAIMED
from mobius_lib.runs.base import Data
from mobius_lib.runs.gauge import cosmic
from mobius_lib.runs.gauge.cooccurrence import mean_of_windows, parted
from tests.runs.computed import at_sizes, two_seeds

SIZES = cosmic.Sizes(60, 5, encoder=False)


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.multinomial(1 / torch.arange(1.0, 61), 20_000, replacement=True, generator=generator)
    return Data((tokens[:-1], tokens[1:]), (tokens[:0], tokens[:0]), {"made": "1" * 64})


@pytest.fixture(scope="module")
def record(data) -> dict:
    return two_seeds("gauge-cosmic", cosmic.fields(SIZES), data=lambda: data)


def test_what_the_record_says(record, data):
    json.dumps(record, allow_nan=False)
    assert record["arms"].keys() == cosmic.ARMS.keys()
    for rows in record["arms"].values():
        assert rows[0] != {**rows[1], "seed": 0} and rows[0]["target"] == "mean"
    stack, one, plain, l5, l6, svd = (record["arms"][name][0] for name in cosmic.ARMS)
    assert stack["trained"] == 14_096 and stack["claimed"] == CLAIMED
    assert list(stack["by_latents"]) == list(plain["by_latents"]) == ["32", "16", "8"]
    tokens, bigrams = parted(data, 0)
    l5_again, fibres = fibres_of(mean_of_windows(tokens, len(bigrams.frequency)), 16)
    made = train_stack(fibres.detach(), steps=5, seed=0, lr=stack["lr"])
    assert stack["held_out_error"] == made.held_out[-1] == stack["by_latents"]["8"]
    assert plain["held_out_error"] == made.components[-1]
    assert one["held_out_error"] == cosmic.single(fibres.detach(), 5, 0, one["lr"])
    for arm in (stack, one):
        assert min(arm["held_out"], key=arm["held_out"].__getitem__) == f"{arm['lr']:.3g}"
    # more components keep more, and no code of the fibres is nearer to the matrix than the fibres
    assert plain["by_latents"]["32"] <= plain["by_latents"]["16"] <= plain["by_latents"]["8"]
    assert l5["bits"] == l5_again.stored_bits() and l5["relative_error"] < l6["relative_error"]
    assert svd["bits"] <= l6["bits"] == CosmicLinear(60, 60, stack=True).stored_bits()


def test_the_layer_is_the_networks_largest():
    pytest.importorskip("efficientnet_lite_pytorch")
    w = cosmic.layer()
    assert w.shape == (1280, 320) and not w.requires_grad


def test_its_cell_is_of_the_record(data, record):
    run = at_sizes("gauge-cosmic", cosmic.fields(SIZES))
    found = cosmic.cell(run, data, {})
    assert found["PCA/held_out_error"] == record["arms"]["PCA"][0]["held_out_error"]
    assert found["L5/relative_error"] == record["arms"]["L5"][0]["relative_error"]
    assert set(found) == {"PCA/held_out_error", "L5/relative_error", *(f"begun stack/{n}" for n in (32, 16, 8))}


def test_its_scales():
    for scale, sizes in cosmic.SIZES.items():
        run = cosmic.RUN.at(scale)
        assert run.compute.sizes == sizes and run.data.args == (sizes.vocabulary,)
        assert (run.data.func is cosmic.load_all) == sizes.encoder
