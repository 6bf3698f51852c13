"""gauge-inside: a network that is trained with L5 in the place of its square layers, from its first step on.

gauge-network replaces the layers of a network that is trained already. Here nothing is replaced: each arm is that run's
network with something else where its three square matrices stand, on the same features, and every arm looks for its own
learning rate.

    dense         the matrices themselves
    L5            `MetaMobiusLinear` as it is made, every number of it learned
    L5 narrow     the same, beginning with Gaussians a column wide on the first columns, one behind the other
    L5 tanh       the latter with the perceptron that the note also speaks of
    low rank      two thin matrices with as many numbers as L5 stores, permutations not counted
    slim          the dense network, so slim that it has as many parameters as the one with L5
    no layers     the norm and the head alone: what square layers of any kind must beat

The Gaussians of L5 begin as broad as a part of all columns, and what a broad positive window reads of hundreds of
centred features is near zero. So it is given the kindest beginning that we know, besides: where it reads single
columns, and in the first layer those that vary most. Nothing decays. Source: ours.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from mobius_lib.gauge import MetaMobiusLinear
from mobius_lib.gauge.compress import TERMS
from mobius_lib.runs.base import Arm, Run, with_more_test_rows
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge import network as gauge_network

WIDTH = gauge_network.WIDTH
RATES = (1e-3, 3e-3, 1e-2)
HALF = 0.5
"""Columns: the first width of a narrow L5; its eighth is twice that."""


def with_layers(layer: Any) -> nn.Sequential:
    """The network of gauge-network with `layer(in, out)` where its square layers stand."""
    model = gauge_network.network()
    for name in gauge_network.square(model):
        model[int(name)] = layer(WIDTH, WIDTH)
    return model


def rung(activation: str, width: int, out: int) -> MetaMobiusLinear:
    """L5 with the note's N and a bias, as the layer in whose place it stands has one."""
    return MetaMobiusLinear(width, out, TERMS, activation=activation, bias=True)


def narrow(activation: str, width: int, out: int) -> MetaMobiusLinear:
    """The same, whose Gaussians begin on columns 0, 1, 2, ..., the scales in turn, and about a column wide."""
    layer = rung(activation, width, out)
    scales = len(layer.windows)
    with torch.no_grad():
        layer.mu.copy_(torch.arange(scales * TERMS).view(TERMS, scales).mT)
        layer.sigma_0.fill_(HALF)
    return layer


def numbers() -> int:
    """What one L5 stores beside its bias and its permutations: these are the identity where nothing was fitted."""
    layer = rung("linear", WIDTH, WIDTH)
    return sum(part.numbers for name, part in layer.storage().items() if name != "permutations")


def low_rank(width: int, out: int) -> nn.Sequential:
    """Of the rank at which two matrices have as many numbers as one L5, or just fewer."""
    rank = numbers() // (width + out)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, out))


def slim() -> nn.Sequential:
    """The network whose layers are as wide as it can have them with no more parameters than the one with L5."""
    most = _parameters(with_layers(partial(rung, "linear")))

    def made(width: int) -> nn.Sequential:
        model = gauge_network.network(width)
        model[0], model[1] = nn.LayerNorm(WIDTH, elementwise_affine=False), nn.Linear(WIDTH, width)
        return model

    return made(max(width for width in range(1, WIDTH) if _parameters(made(width)) <= most))


def no_layers() -> nn.Sequential:
    """The norm and the head of the network."""
    model = gauge_network.network()
    return nn.Sequential(model[0], model[-1])


load = partial(with_more_test_rows, gauge_network.load)
"""The features as plain rows, half of the 12,000 of them to test on."""


def arms(searched: bool) -> dict[str, Arm]:
    """Every arm; whether each looks for its learning rate, or takes the middle one."""
    rates = RATES if searched else RATES[1:2]
    make: dict[str, Callable[[], nn.Module]] = {
        "dense": gauge_network.network,
        "L5": partial(with_layers, partial(rung, "linear")),
        "L5 narrow": partial(with_layers, partial(narrow, "linear")),
        "L5 tanh": partial(with_layers, partial(narrow, "tanh")),
        "low rank": partial(with_layers, low_rank),
        "slim": slim,
        "no layers": no_layers,
    }
    return {name: Arm(each, rates=rates) for name, each in make.items()}


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


RUN = Run(
    **vars(ABOUT["gauge-inside"]),
    arms=arms(False),
    data=load,
    weight_decay=0.0,
    baseline="dense",
    long={"arms": arms(True)},
)
