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
drawn with the seed.
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
from mobius_lib.gauge.cosmic import INNER, TERMS
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.gauge import ABOUT, encoder
from mobius_lib.runs.gauge.cooccurrence import MEAN, judged, load, mean_of_windows, parted
from mobius_lib.runs.gauge.measures import Neighbours

ARMS: dict[str, Callable[..., Any]] = {
    "stack": FractalVAEStack,
    "autoencoder": FibreVAE,
    "PCA": torch.linalg.svd,
    "L5": MetaMobiusLinear.from_dense,
    "L6": CosmicLinear.from_dense,
    "SVD": partial(at_bits, "svd"),
}


@dataclass(frozen=True)
class Sizes:
    """How much a scale trains."""

    vocabulary: int
    steps: int
    """Of each level of the stack, and of all together."""
    encoder: bool
    """Whether the network's layer is looked at, too."""


SIZES = {"quick": Sizes(200, 20, False), "short": Sizes(1_000, 1_000, True), "full": Sizes(10_000, 5_000, True)}


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm.

    Args:
        data: as `cooccurrence.load`.
        seed: what is held out, of the text and of the fibres.
        sizes: how much.
    """
    tokens, bigrams = parted(data, seed)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    neighbours = Neighbours.of(d)
    rows = [of_matrix(MEAN, d, lambda w: judged(d, w, neighbours, bigrams), seed, sizes.steps)]
    if sizes.encoder:
        w = layer()

        def lost(other: Tensor) -> dict[str, float]:
            return {"relative_error": relative_error(w, other)}

        rows.append(of_matrix("encoder", w, lost, seed, sizes.steps))
    return {arm: {**rows[0][arm], "rows": [each[arm] for each in rows]} for arm in ARMS}


def layer() -> Tensor:
    """The matrix of EfficientNet-Lite0's largest pointwise convolution: (1280, 320)."""
    model = encoder.network()
    (index,) = encoder.largest(model, 1)
    return list(encoder.pointwise(model).values())[index].weight.detach().flatten(1).contiguous()


def of_matrix(
    target: str, w: Tensor, judge: Callable[[Tensor], Mapping[str, float]], seed: int, steps: int
) -> dict[str, dict[str, Any]]:
    """The row of every arm on one matrix.

    Args:
        judge: from an approximation to what is measured of it.
    """
    l5, fibres = fibres_of(w, TERMS)
    fibres = fibres.detach()
    made = train_stack(fibres, steps=steps, seed=seed)
    whole = FractalVAEStack(fibres.shape[1]).fit(fibres, steps=steps, seed=seed)
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
            "autoencoder": {"held_out_error": made.single},
            "PCA": {
                "held_out_error": made.components[-1],
                "by_latents": dict(zip(levels, made.components, strict=True)),
            },
            "L5": {"bits": l5.stored_bits(), **judge(l5.to_dense())},
            "L6": {"bits": l6.stored_bits(), "ratio": l6.compression_ratio().ratio, **judge(l6.to_dense())},
            "SVD": {"bits": plain.bits, **judge(plain.matrix)},
        }
    return {arm: {"target": target, "terms": TERMS, **found[arm]} for arm in ARMS}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The fibres of the text by principal components and the L5 that they are of; a short training beside them."""
    sizes: Sizes = run.compute.keywords["sizes"]
    tokens, bigrams = parted(data, 0)
    d = mean_of_windows(tokens, len(bigrams.frequency))
    l5, fibres = fibres_of(d, TERMS)
    made = train_stack(fibres.detach(), steps=min(5, sizes.steps))
    lost = judged(d, l5.to_dense().detach(), Neighbours.of(d), bigrams)
    begun = {f"begun stack/{width}": error for width, error in zip(INNER, made.held_out, strict=True)}
    return {"PCA/held_out_error": made.components[-1], "L5/relative_error": lost["relative_error"], **begun}


def at_scale(scale: str) -> Run:
    """The run with the sizes of that scale."""
    sizes = SIZES[scale]
    return replace(
        RUN,
        data=partial(load_all if sizes.encoder else load, sizes.vocabulary),
        compute=partial(compute, sizes=sizes),
        facts=lambda: {"sizes": asdict(sizes) | {"terms": TERMS, "widths": list(INNER)}},
    )


def load_all(vocabulary: int) -> Data:
    """The text, with the hash of the network's weights."""
    data = load(vocabulary)
    return replace(data, hashes={**data.hashes, **encoder.weights_hash()})


RUN = Run(
    **vars(ABOUT["gauge-cosmic"]),
    arms=ARMS,
    data=partial(load, SIZES["quick"].vocabulary),
    weight_decay=0.0,
    compute=partial(compute, sizes=SIZES["quick"]),
    at_scale=at_scale,
    cell=cell,
)
