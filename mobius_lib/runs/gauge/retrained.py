"""gauge-retrained: the square layers of a trained network replaced, and then the network trained on.

gauge-network replaces the same layers and stops, which is unkind to whatever keeps the matrices badly and could learn
what they are for. Here every form is trained on from the replaced network, for as many steps as that network was
trained, with its own learning rate, in as many bits as L5 or fewer:

    dense             the matrices themselves, for as many more steps
    L5                the rung fitted to each matrix; every number of it learns
    low rank          the two thin factors of a truncated SVD
    low rank, 4 bits  the same, each number one of 16 values between the least and the largest of 64 neighbours, and so
                      of a higher rank
    pruned            the largest entries; which they are stays, and is counted
    1 bit             the sign of each entry, times a number for its row

What is rounded learns as if it were not: the gradient goes straight through (Courbariaux, Bengio and David 2015; with
a number for each row Rastegari et al. 2016). Rates are searched for with the first seed, on a fifth of the training
rows that neither the network nor its replacements have seen. Biases and head learn in all arms, and are not counted.

Source: ours; the note claims its layer in the place of a trained one, without training.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from mobius_lib.gauge import MetaMobiusLinear, at_bits
from mobius_lib.gauge.baselines import GROUP, quantised
from mobius_lib.gauge.bits import FLOAT_BITS
from mobius_lib.gauge.compress import TERMS, replaced
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.inside import load
from mobius_lib.runs.gauge.network import network, square
from mobius_lib.runs.search import search

Rows = tuple[Tensor, Tensor]
FIRST_RATE, BATCH = 3e-4, 100
"""Of the network that is replaced: the rate that served it best in gauge-inside."""
RATES = (3e-4, 1e-3, 3e-3)
"""Tried first by every arm."""
FURTHER = 4
"""As of the runs that are to decide."""


@dataclass(frozen=True)
class Sizes:
    """How much a scale trains: as often before the replacement as after."""

    epochs: int
    rows: int


SIZES = {"quick": Sizes(1, 300), "short": Sizes(12, 6_000)}


class Layer(NamedTuple):
    """What stands for a layer."""

    module: nn.Module
    bits: int
    """Of its matrix."""


class Through(nn.Module):
    """A parametrization: the rounded weight, whose gradient is that of the weight itself."""

    def __init__(self, rounded: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rounded = rounded

    def forward(self, w: Tensor) -> Tensor:
        return w + (self.rounded(w.detach()) - w).detach()


class Kept(nn.Module):
    """A parametrization: the entries of a mask, the others 0."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w: Tensor) -> Tensor:
        return w * self.mask


def one_bit(w: Tensor) -> Tensor:
    """(out, in): the mean size of each row, with the sign of each entry."""
    size = w.abs().mean(1, keepdim=True)
    return torch.where(w >= 0, size, -size)


def four_bits(w: Tensor) -> Tensor:
    """As of `quantised`."""
    return quantised(w, 4).matrix


def dense(layer: nn.Linear, most: int) -> Layer:
    """As it is, whatever is allowed."""
    return Layer(layer, layer.weight.numel() * FLOAT_BITS)


def rung(layer: nn.Linear, most: int) -> Layer:
    """L5 with the note's N."""
    found = MetaMobiusLinear.from_dense(layer.weight.detach(), TERMS)
    return Layer(found.take_from(layer), most)


def low_rank(layer: nn.Linear, most: int, bits: int = FLOAT_BITS) -> Layer:
    """The factors of the best approximation of a rank, as large as the bits allow."""
    out, width = layer.weight.shape

    def taken(rank: int) -> int:
        groups = math.ceil(rank * out / GROUP) + math.ceil(rank * width / GROUP)
        return rank * (out + width) * bits + (2 * groups * FLOAT_BITS if bits < FLOAT_BITS else 0)

    rank = max(rank for rank in range(1, min(out, width) + 1) if rank == 1 or taken(rank) <= most)
    u, s, vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    first, second = nn.Linear(width, rank, bias=False), nn.Linear(rank, out)
    with torch.no_grad():
        first.weight.copy_(s[:rank].sqrt().unsqueeze(1) * vh[:rank])
        second.weight.copy_(u[:, :rank] * s[:rank].sqrt())
        second.bias.copy_(layer.bias)
    if bits < FLOAT_BITS:
        for part in (first, second):
            register_parametrization(part, "weight", Through(four_bits))
    return Layer(nn.Sequential(first, second), taken(rank))


def pruned(layer: nn.Linear, most: int) -> Layer:
    """The largest entries, and where they stand."""
    found = at_bits("magnitude", layer.weight.detach(), most)
    assert found is not None  # L5 has more bits than one entry
    register_parametrization(layer, "weight", Kept((found.matrix != 0).to(layer.weight)))
    return Layer(layer, found.bits)


def signs(layer: nn.Linear, most: int) -> Layer:
    """A bit for each entry, and a number for each row."""
    register_parametrization(layer, "weight", Through(one_bit))
    return Layer(layer, layer.weight.numel() + layer.out_features * FLOAT_BITS)


ARMS: dict[str, Callable[[nn.Linear, int], Layer]] = {
    "dense": dense,
    "L5": rung,
    "low rank": low_rank,
    "low rank, 4 bits": partial(low_rank, bits=4),
    "pruned": pruned,
    "1 bit": signs,
}


def trained(model: nn.Module, rows: Rows, seed: int, rate: float, epochs: int) -> nn.Module:
    """The model itself, after so many epochs of AdamW along a cosine, ready for evaluation."""
    from mobius_lib.training import Recipe, ResidentBatches, fit

    train = ResidentBatches(*rows, BATCH, shuffle=True, seed=seed)
    few = ResidentBatches(*(part[:BATCH] for part in rows), BATCH, shuffle=False, seed=0)
    recipe = Recipe(epochs=epochs, lr=rate, weight_decay=0.0, batch_size=BATCH, seed=seed)
    fit(model, train, few, recipe, None, device="cpu", progress=False)
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, rows: Rows) -> float:
    """The share of rows that it gets right."""
    return (model.eval()(rows[0]).argmax(1) == rows[1]).double().mean().item()


def form(arm: str, begun: nn.Module) -> tuple[nn.Module, int]:
    """A copy of the network in that form, not trained on, and the bits of its square layers."""
    other = copy.deepcopy(begun)
    new, bits = {}, 0
    for name, layer in square(other).items():
        most = MetaMobiusLinear(layer.in_features, layer.out_features, TERMS, device="meta").stored_bits()
        found = ARMS[arm](layer, most)
        new[name], bits = found.module, bits + found.bits
    return replaced(other, new), bits


class Retraining:
    """Computes the records of all arms, a seed at a time. The rates are searched for once, with seed 0."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.rates: dict[str, tuple[float, Mapping[str, float]]] = {}

    def __call__(self, data: Data, seed: int) -> Mapping[str, dict[str, Any]]:
        rows = data.train[0][: self.sizes.rows], data.train[1][: self.sizes.rows]
        if not self.rates:
            held = torch.randperm(len(rows[1]), generator=torch.Generator().manual_seed(0)) < len(rows[1]) // 5
            begun = self.begun((rows[0][~held], rows[1][~held]), 0)
            self.rates = {arm: self._search(arm, begun, rows, held) for arm in ARMS}
        begun = self.begun(rows, seed)
        return {arm: self._record(arm, begun, rows, data.test, seed) for arm in ARMS}

    def begun(self, rows: Rows, seed: int) -> nn.Module:
        """The network that is replaced."""
        torch.manual_seed(seed)
        model = network(rows[0].shape[1], int(rows[1].max()) + 1)
        return trained(model, rows, seed, FIRST_RATE, self.sizes.epochs)

    def _search(self, arm: str, begun: nn.Module, rows: Rows, held: Tensor) -> tuple[float, Mapping[str, float]]:
        (x, y), (model, _) = rows, form(arm, begun)

        def errors(rate: float) -> float:
            own = trained(copy.deepcopy(model), (x[~held], y[~held]), 0, rate, self.sizes.epochs)
            return 1 - accuracy(own, (x[held], y[held]))

        return search(RATES, errors, FURTHER)

    def _record(self, arm: str, begun: nn.Module, rows: Rows, test: Rows, seed: int) -> dict[str, Any]:
        rate, held_out = self.rates[arm]
        model, bits = form(arm, begun)
        before = accuracy(model, test)
        after = accuracy(trained(model, rows, seed, rate, self.sizes.epochs), test)
        known = {"final_accuracy": after, "replaced_accuracy": before, "bits": bits}
        return known | {"lr": rate, "held_out": dict(held_out)}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Of a network hardly trained the bits of every form but L5, whose fit takes long, and what they get right."""
    begun = Retraining(SIZES["quick"]).begun((data.train[0][:600], data.train[1][:600]), 0)
    found = {}
    for arm in ARMS:
        if arm != "L5":
            model, bits = form(arm, begun)
            found |= {f"{arm}/bits": float(bits), f"begun {arm}": accuracy(model, data.test)}
    return found


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": load,
        "weight_decay": 0.0,
        "compute": Retraining(sizes),
        "facts": lambda: {"sizes": asdict(sizes)},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-retrained"], fields, SIZES)
