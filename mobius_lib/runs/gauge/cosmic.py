"""gauge-cosmic: the training of L6, a stack of variational autoencoders over the fibres of L5s.

An L5 of three scales with N = 16 Gaussians gives each row of a matrix a fibre of 48 numbers. A stack 48 -> 32 -> 16 ->
8 is trained on four fifths of them, level after level and then as a whole, and judged by the others. Beside it, with as
many numbers for each fibre: principal components of the same fibres, what anybody would try first; and one autoencoder
of these widths, with as many steps.

    stack, autoencoder, PCA   the error of fibres that they have not seen, with 8 numbers each; of the stack and of
                              principal components also with 32 and 16, and of fibres that they were fitted to
    L5                        the rung below, of all 48 numbers: no code of its fibres is nearer to the matrix
    L6                        the rung itself: a stack fitted to all fibres of a matrix, its decoder counted
    SVD                       in as many bits as L6

Two matrices, in `rows`: `mean`, a text's co-occurrences, of which other parts are held out with each seed; and
`encoder`, the largest pointwise convolution of EfficientNet-Lite0, always the same. The fibres that are held out are
drawn with the seed. Stack and autoencoder search for their rate in the same way (`runs.search`), with the text's fibres
of the first seed, on a fifth of those that are trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mobius_lib.gauge import (
    CosmicLinear,
    FibreVAE,
    FractalVAEStack,
    MetaMobiusLinear,
    at_bits,
    fibres_of,
    relative_error,
    train_stack,
)
from mobius_lib.gauge.cosmic import INNER, TERMS, split_fibres
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT, encoder
from mobius_lib.runs.gauge.cooccurrence import MEAN, judged, load, mean_of_windows, parted
from mobius_lib.runs.gauge.measures import Neighbours
from mobius_lib.runs.search import search

ARMS: dict[str, Callable[..., Any]] = {
    "stack": FractalVAEStack,
    "autoencoder": FibreVAE,
    "PCA": torch.linalg.svd,
    "L5": MetaMobiusLinear.from_dense,
    "L6": CosmicLinear.from_dense,
    "SVD": partial(at_bits, "svd"),
}

RATES = (1e-3, 3e-3, 1e-2)
"""Those that are tried first."""
HELD_OUT = 0.2
"""Of the fibres."""
Rates = Mapping[str, tuple[float, Mapping[str, float]]]
"""Arm to its rate, and what each that was tried left."""


@dataclass(frozen=True)
class Sizes:
    """How much a scale trains."""

    vocabulary: int
    steps: int
    """Of each level of the stack, and of all together."""
    encoder: bool
    """Whether the network's layer is looked at, too."""


SIZES = {"quick": Sizes(200, 20, False), "short": Sizes(1_000, 800, True), "full": Sizes(10_000, 5_000, True)}


class Training:
    """Computes the records of all arms, a seed at a time. The rates are searched for once, with seed 0."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.rates: Rates = {}

    def __call__(self, data: Data, seed: int) -> Mapping[str, dict[str, Any]]:
        if not self.rates:
            self.rates = self.search(data)
        tokens, bigrams = parted(data, seed)
        d = mean_of_windows(tokens, len(bigrams.frequency))
        neighbours = Neighbours.of(d)
        rows = [of_matrix(MEAN, d, lambda w: judged(d, w, neighbours, bigrams), seed, self.sizes.steps, self.rates)]
        if self.sizes.encoder:
            w = layer()

            def lost(other: Tensor) -> dict[str, float]:
                return {"relative_error": relative_error(w, other)}

            rows.append(of_matrix("encoder", w, lost, seed, self.sizes.steps, self.rates))
        return {arm: {**rows[0][arm], "rows": [each[arm] for each in rows]} for arm in ARMS}

    def search(self, data: Data) -> Rates:
        """The rates of what is trained, by fibres that no seed 0 is judged by."""
        tokens, bigrams = parted(data, 0)
        fibres = fibres_of(mean_of_windows(tokens, len(bigrams.frequency)), TERMS)[1].detach()
        train = split_fibres(fibres, HELD_OUT, 0)[0]
        steps = self.sizes.steps

        def stacked(rate: float) -> float:
            return train_stack(train, held_out=HELD_OUT, steps=steps, lr=rate).held_out[-1]

        return {"stack": search(RATES, stacked), "autoencoder": search(RATES, partial(single, train, steps, 0))}


def single(fibres: Tensor, steps: int, seed: int, rate: float) -> float:
    """The error of one autoencoder on fibres that it has not seen, after as many steps in all as a stack takes."""
    train, test = split_fibres(fibres, HELD_OUT, seed)
    vae = FibreVAE(fibres.shape[1]).fit(train, steps=steps * (len(INNER) + 1), seed=seed, lr=rate)
    with torch.no_grad():
        return relative_error(test, vae.decode(vae.encode(test)[0]))


def layer() -> Tensor:
    """The matrix of EfficientNet-Lite0's largest pointwise convolution: (1280, 320)."""
    model = encoder.network()
    (index,) = encoder.largest(model, 1)
    return list(encoder.pointwise(model).values())[index].weight.detach().flatten(1).contiguous()


def of_matrix(
    target: str, w: Tensor, judge: Callable[[Tensor], Mapping[str, float]], seed: int, steps: int, rates: Rates
) -> dict[str, dict[str, Any]]:
    """The row of every arm on one matrix.

    Args:
        judge: from an approximation to what is measured of it.
    """
    l5, fibres = fibres_of(w, TERMS)
    fibres = fibres.detach()
    rate = rates["stack"][0]
    made = train_stack(fibres, held_out=HELD_OUT, steps=steps, seed=seed, lr=rate)
    whole = FractalVAEStack(fibres.shape[1]).fit(fibres, steps=steps, seed=seed, lr=rate)
    l6 = CosmicLinear.from_dense(w, TERMS, vae=whole)
    plain = at_bits("svd", w, l6.stored_bits())
    assert plain is not None  # a rung keeps more than one row and one column
    levels = [str(width) for width in INNER]
    with torch.no_grad():
        found: dict[str, dict[str, Any]] = {
            "stack": {
                "held_out_error": made.held_out[-1],
                "by_latents": dict(zip(levels, made.held_out, strict=True)),
                "fitted": dict(zip(levels, made.errors, strict=True)),
                **made.stack.parameters_counted(),
            },
            "autoencoder": {"held_out_error": single(fibres, steps, seed, rates["autoencoder"][0])},
            "PCA": {
                "held_out_error": made.components[-1],
                "by_latents": dict(zip(levels, made.components, strict=True)),
            },
            "L5": {"bits": l5.stored_bits(), **judge(l5.to_dense())},
            "L6": {"bits": l6.stored_bits(), "ratio": l6.compression_ratio().ratio, **judge(l6.to_dense())},
            "SVD": {"bits": plain.bits, **judge(plain.matrix)},
        }
    for arm, (own, left) in rates.items():
        found[arm] |= {"lr": own, "held_out": dict(left)}
    return {arm: {"target": target, "terms": TERMS, **found[arm]} for arm in ARMS}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The fibres of the text by principal components and the L5 that they are of; a short training beside them."""
    training: Any = run.compute
    tokens, bigrams = parted(data, 0)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    l5, fibres = fibres_of(d, TERMS)
    made = train_stack(fibres.detach(), steps=min(5, training.sizes.steps))
    lost = judged(d, l5.to_dense().detach(), Neighbours.of(d), bigrams)
    begun = {f"begun stack/{width}": error for width, error in zip(INNER, made.held_out, strict=True)}
    return {"PCA/held_out_error": made.components[-1], "L5/relative_error": lost["relative_error"], **begun}


def load_all(vocabulary: int) -> Data:
    """The text, with the hash of the network's weights."""
    data = load(vocabulary)
    return replace(data, hashes={**data.hashes, **encoder.weights_hash()})


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": partial(load_all if sizes.encoder else load, sizes.vocabulary),
        "weight_decay": 0.0,
        "compute": Training(sizes),
        "facts": lambda: {"sizes": asdict(sizes) | {"terms": TERMS, "widths": list(INNER)}},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-cosmic"], fields, SIZES)
