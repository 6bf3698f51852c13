"""gauge-inside: networks with something in the place of their square layers, of equal size."""

from dataclasses import replace

import torch
from torch import nn

from mobius_lib.gauge import MetaMobiusLinear
from mobius_lib.runs import execute, get_run
from mobius_lib.runs.gauge import inside


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_arm_is_the_network_with_other_layers() -> None:
    x = torch.randn(3, inside.WIDTH)
    for name, arm in inside.arms(False).items():
        model = arm()
        assert isinstance(model[0], nn.LayerNorm) and model(x).shape == (3, 10), name
        rungs = [module for module in model if isinstance(module, MetaMobiusLinear)]
        assert len(rungs) == (3 if name.startswith("L5") else 0), name
        assert all(rung.bias is not None and rung.terms == 8 for rung in rungs)


def test_rivals_of_l5_are_as_large() -> None:
    most = count(inside.arms(False)["L5"]())
    for name in ("low rank", "slim"):
        assert 0.98 * most < count(inside.arms(False)[name]()) <= most, name  # a width or a rank more is too many


def test_l5_stores_what_the_low_rank_does() -> None:
    layer = inside.rung("linear", inside.WIDTH, inside.WIDTH)
    trained = sum(p.numel() for name, p in layer.named_parameters() if name != "bias")
    assert inside.numbers() == trained  # every number that is stored is trained, and no other


def test_a_narrow_beginning_reads_single_columns() -> None:
    layer = inside.narrow("linear", inside.WIDTH, inside.WIDTH)
    frames = layer.frames().detach().permute(1, 0, 2).flatten(0, 1)  # by place: the scales in turn
    assert frames.argmax(-1).tolist() == list(range(24))
    assert (frames > 0.5).sum(-1).max() <= 3  # the widest falls to exp(-1/2) a column away
    broad = inside.rung("linear", inside.WIDTH, inside.WIDTH).frames()
    assert (broad > 0.5).sum(-1).min() > 40


def test_rates_are_searched_beyond_quick_scale() -> None:
    run = get_run("gauge-inside")
    assert all(len(arm.rates) == 1 for arm in run.arms.values())
    long = run.at("long")
    assert all(arm.rates == inside.RATES for arm in long.arms.values())
    assert long.keep_predictions and long.further_rates > 0
    x, _ = inside.load().test
    assert x.shape == (6_000, 768)


def test_a_record() -> None:
    whole = inside.load()
    few = replace(whole, train=tuple(each[:200] for each in whole.train), test=tuple(each[:200] for each in whole.test))
    record = execute(replace(get_run("gauge-inside"), data=lambda: few), "quick", seeds=1, progress=False)
    assert set(record["arms"]) == set(inside.arms(False))
    assert all(0 <= seeds[0]["final_accuracy"] <= 1 for seeds in record["arms"].values())
