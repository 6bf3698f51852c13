"""gauge-connection: what L5's learned connection and attention add to its closed form, at equal bits.

An L5 of N = 8 is fitted to a matrix in closed form; its Gaussians then stay, and what lies between them and the heights
is trained (`MetaMobiusLinear.learn`), beside the heights that are best for it. It is trained on rows x and what the
matrix makes of them, and all arms have the same rows. Every L5 keeps as many numbers, whether its connection is zero
or learned.

    L5          the closed form: connection zero, equal attention, heights by least squares on the rows
    more terms  the same with as many Gaussians as the bits of connection and attention, which it needs none of, allow
    connection  the note's network N -> 32 -> N, with tanh, from each scale to the common fibre
    links       the same from each window to the next: 5 -> 15 -> 50 -> common
    attention   weights of the scales that depend on the input
    both        connection and attention
    SVD         of the matrix, or of what it makes of the rows (reduced-rank regression), in as many bits

Three targets, in `rows`:

    mean     the mean of a text's D at the windows 5, 15 and 50. Rows are the words themselves, so a bent layer is
             still a matrix, of rank 3 N at most: the bound of an SVD of that rank holds for it. Other parts are held
             out with each seed, as in gauge-cooccurrence, and its three measures are taken
    lens     the pointwise convolutions of the last stage of the network that chapter 1 shows in the page, on what
             reaches them from test pictures: half of these, drawn with the seed, to fit, and half to judge; the
             accuracy is that of the network with these layers replaced
    encoder  some of the largest pointwise convolutions of EfficientNet-Lite0, likewise; the error alone
"""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.datasets import fashion_mnist
from mobius_lib.datasets.embedded import digests
from mobius_lib.datasets.paths import content
from mobius_lib.gauge import MetaMobiusLinear, at_bits
from mobius_lib.gauge.bits import FLOAT_BITS
from mobius_lib.gauge.compress import TERMS, Pointwise, is_pointwise, mixing, replaced
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT, encoder
from mobius_lib.runs.gauge.cooccurrence import MEAN, judged, mean_of_windows, parted
from mobius_lib.runs.gauge.cooccurrence import load as load_text
from mobius_lib.runs.gauge.forms import dense_bits
from mobius_lib.runs.gauge.measures import Neighbours
from mobius_lib.runs.waves.network import FILE, network

LEARNED: dict[str, tuple[str, tuple[str, ...]]] = {
    "connection": ("direct", ("connection",)),
    "links": ("steps", ("connection",)),
    "attention": ("direct", ("attention",)),
    "both": ("direct", ("connection", "attention")),
}
"""Arm to the route of its transport, and what is trained."""
ARMS: dict[str, Callable[..., Any]] = {
    "dense": torch.clone,
    **dict.fromkeys(("L5", "more terms", *LEARNED), MetaMobiusLinear.from_dense),
    "SVD": partial(at_bits, "svd"),
}
Forms = dict[str, tuple[Any, int]]
"""Arm to what stands for the matrix, a layer or another matrix, and its bits."""


@dataclass(frozen=True)
class Sizes:
    """How much a scale fits."""

    vocabulary: int
    steps: int
    """Of L-BFGS."""
    rows: int
    """Of what reaches a layer, to fit and to judge."""
    pictures: int
    """To fit and to judge."""
    encoder: bool
    """Whether the second network is looked at, too."""


SIZES = {
    "quick": Sizes(300, 10, 300, 50, encoder=False),
    "short": Sizes(1_000, 60, 2_000, 400, encoder=True),
    "full": Sizes(5_000, 300, 20_000, 1_000, encoder=True),
}
LAYERS = 2
"""Of the encoder, the largest ones."""


def load(vocabulary: int, with_encoder: bool) -> Data:
    """The text as (words, the word after each), and the test pictures with their labels."""
    data = load_text(vocabulary)
    hashes = {**data.hashes, **digests("FashionMNIST"), FILE: hashlib.sha256(content(FILE)).hexdigest()}
    hashes |= encoder.weights_hash() if with_encoder else {}
    return Data(data.train, fashion_mnist("test"), hashes)


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm.

    Args:
        data: as `load`.
        seed: what is held out, which pictures fit and which judge, and what the connections begin from.
        sizes: how much.
    """
    torch.manual_seed(seed)
    rows = [of_text(data, seed, sizes), of_lens(data.test, seed, sizes)]
    if sizes.encoder:
        rows.append(of_encoder(data.test[0], seed, sizes))
    return {arm: {**rows[0][arm], "rows": [each[arm] for each in rows]} for arm in ARMS}


def of_text(data: Data, seed: int, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """The row of every arm on the co-occurrences."""
    tokens, bigrams = parted(data, seed)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    neighbours, words = Neighbours.of(d), torch.eye(len(d))
    found: dict[str, dict[str, Any]] = {}
    for arm, (form, bits) in forms(d, words, sizes.steps).items():
        with torch.no_grad():
            matrix = form(words).mT if isinstance(form, nn.Module) else form
            found[arm] = {"target": MEAN, "terms": TERMS, "bits": bits, **judged(d, matrix, neighbours, bigrams)}
    return found


def of_lens(pictures: tuple[Tensor, Tensor], seed: int, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """The row of every arm on chapter 1's network."""
    pixels = fashion_mnist("train")[0].float()  # which its inputs are scaled by
    x, y = (pictures[0].float() - pixels.mean()) / pixels.std(), pictures[1]
    fit, judge = halves(len(x), sizes.pictures, seed)
    model = network()
    names = [name for name, layer in mixing(model).items() if is_pointwise(layer) and name.startswith("stages.2")]
    made, rows = of_layers(model, names, [partial(model, x[each]) for each in (fit, judge)], seed, sizes)
    for arm, row in rows.items():
        other = replaced(model, made[arm])
        with torch.no_grad():
            row["final_accuracy"] = (other(x[judge]).argmax(1) == y[judge]).double().mean().item()
    return {arm: {"target": "lens", "terms": TERMS, **row} for arm, row in rows.items()}


def of_encoder(pictures: Tensor, seed: int, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """The row of every arm on EfficientNet-Lite0."""
    model = encoder.network()
    layers = list(encoder.pointwise(model))
    names = [layers[index] for index in encoder.largest(model, LAYERS)]
    feeds = [partial(encoder.features, model, pictures[each]) for each in halves(len(pictures), sizes.pictures, seed)]
    rows = of_layers(model, names, feeds, seed, sizes)[1]
    return {arm: {"target": "encoder", "terms": TERMS, **row} for arm, row in rows.items()}


def of_layers(
    model: nn.Module, names: list[str], feeds: list[Callable[[], Tensor]], seed: int, sizes: Sizes
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """What stands in the place of pointwise layers, for each arm, and the bits and errors of these together.

    Args:
        feeds: let the model see the pictures to fit on, and those to judge by.
    Returns:
        arm to what `replaced` takes, and arm to its row: the error of what layers put out, on rows that they have not
        seen, and on those that they were fitted to.
    """
    seen = [reaching(model, names, feed, sizes.rows, seed) for feed in feeds]
    made: dict[str, dict[str, Any]] = {arm: {} for arm in ARMS}
    sums = {arm: torch.zeros(2, 2, dtype=torch.float64) for arm in ARMS}
    bits = dict.fromkeys(ARMS, 0)
    for name in names:
        layer: Any = model.get_submodule(name)
        w = layer.weight.detach().flatten(1)
        for arm, (form, own) in forms(w, seen[0][name], sizes.steps).items():
            bent = isinstance(form, nn.Module)
            made[arm][name] = Pointwise(form, layer.stride) if bent else form
            bits[arm] += own
            for side, x in enumerate(each[name] for each in seen):
                with torch.no_grad():
                    y, other = x @ w.mT, form(x) if bent else x @ form.mT
                sums[arm][side] += torch.stack([(y - other).square().sum(), y.square().sum()]).double()
    rows: dict[str, dict[str, Any]] = {}
    for arm, ((off_fit, fit), (off, size)) in sums.items():
        errors = {"relative_error": (off / size).sqrt().item(), "fitted_error": (off_fit / fit).sqrt().item()}
        rows[arm] = {"bits": bits[arm], **errors}
    return made, rows


def forms(w: Tensor, x: Tensor, steps: int, terms: int = TERMS) -> Forms:
    """A matrix in every form, fitted to what it makes of rows.

    Args:
        w: (out, in).
        x: (T, in); the unit matrix for the matrix itself.
        steps: of the training.
        terms: N.
    """
    y = x @ w.mT
    layer = MetaMobiusLinear.from_dense(w, terms, activation="tanh")
    layer.solve(x, y)
    bits = layer.stored_bits()
    found: Forms = {"dense": (w, dense_bits(w)), "L5": (layer, bits), "more terms": more_terms(w, x, bits, terms)}
    for arm, (route, parts) in LEARNED.items():
        other = copy.deepcopy(layer)
        other.route = route
        other.learn(x, y, parts, steps=steps)
        found[arm] = other, bits
    plain = at_bits("svd", w, bits)
    assert plain is not None  # an L5 keeps more than one row and one column
    if len(x) != w.shape[1] or not torch.equal(x, torch.eye(len(x))):
        plain = plain._replace(matrix=reduced_rank(w, y, bits))
    return found | {"SVD": (plain.matrix, plain.bits)}


def more_terms(w: Tensor, x: Tensor, bits: int, terms: int) -> tuple[MetaMobiusLinear, int]:
    """The closed form with as many Gaussians as the bits allow where connection and attention are not kept."""
    most = min(2 * terms, w.shape[1])
    with torch.device("meta"):  # what is asked is only their size
        sizes = {n: without_transport(MetaMobiusLinear(w.shape[1], len(w), n)) for n in range(terms, most + 1)}
    n = max(n for n, size in sizes.items() if size <= bits)
    layer = MetaMobiusLinear.from_dense(w, n)
    layer.solve(x, x @ w.mT)
    return layer, sizes[n]


def without_transport(layer: MetaMobiusLinear) -> int:
    """Bits of a layer whose connection is zero and whose attention is equal."""
    storage = layer.storage()
    return layer.stored_bits() - FLOAT_BITS * (storage["connections"].numbers + storage["attention"].numbers)


def reduced_rank(w: Tensor, y: Tensor, bits: int) -> Tensor:
    """The matrix whose outputs are nearest to those of w, of the rank that bits allow: U U^T W, U from the outputs."""
    rank = min(bits // (FLOAT_BITS * sum(w.shape)), *w.shape)
    u = torch.linalg.eigh(y.double().mT @ y.double()).eigenvectors[:, -rank:]
    return (u @ (u.mT @ w.double())).to(w.dtype)


def reaching(
    model: nn.Module, names: list[str], feed: Callable[[], Tensor], count: int, seed: int
) -> dict[str, Tensor]:
    """Rows (count, in) of what reaches some pointwise layers, drawn from all places with the seed."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(rows: list[Tensor], module: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.append(given[0].movedim(1, -1).flatten(0, -2))

    hooks = [model.get_submodule(name).register_forward_pre_hook(partial(keep, rows)) for name, rows in found.items()]
    try:
        with torch.no_grad():
            feed()
    finally:
        for hook in hooks:
            hook.remove()
    drawn = {}
    for name, parts in found.items():
        rows = torch.cat(parts)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        drawn[name] = rows[order[:count]].contiguous()
    return drawn


def halves(count: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which pictures fit and which judge: so many of each half of all, drawn with the seed."""
    first, second = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).chunk(2)
    return first[:each], second[:each]


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The closed form and the SVD of the text, and the first steps of what is trained beside it."""
    sizes: Sizes = run.compute.keywords["sizes"]
    tokens, bigrams = parted(data, 0)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    words, found = torch.eye(len(d)), dict[str, float]()
    torch.manual_seed(0)
    for arm, (form, bits) in forms(d, words, min(3, sizes.steps)).items():
        with torch.no_grad():
            matrix = form(words).mT if isinstance(form, nn.Module) else form
        began = f"begun {arm}" if arm in LEARNED else arm
        lost = judged(d, matrix, Neighbours.of(d), bigrams)
        found |= {f"{began}/bits": bits, f"{began}/relative_error": lost["relative_error"]}
    return found


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": partial(load, sizes.vocabulary, sizes.encoder),
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": lambda: {"sizes": asdict(sizes) | {"terms": TERMS}},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-connection"], fields, SIZES)
