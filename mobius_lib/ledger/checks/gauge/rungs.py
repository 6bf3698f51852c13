"""Chapter 4: what our rungs store, every number counted, and whether they can be used as the seed's snippets do."""

from typing import Any

import torch

from mobius_lib import gauge
from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results


@register
def rung_ratio(claim: Claim, results: Results, *, rung: str, size: int, terms: int | None = None) -> Measurement:
    """Numbers of a square matrix over the numbers that our rung stores for it, at some terms and at the fewest.

    A rung whose sizes are fixed takes no terms.
    """
    ratio, dense, stored = _rung(rung, size, terms).compression_ratio()
    most, _, least = _rung(rung, size, None if terms is None else 1).compression_ratio()
    bar, slack = reported_number(claim), claim.tolerance or 0.0
    verdict: Word = REPRODUCED if abs(ratio - bar) <= slack else PARTLY if most >= bar - slack else REFUTED
    found = (
        f"{rung} of {size:,} × {size:,} stores {stored:,} numbers for {dense:,}, a ratio of {ratio:,.1f}"
        if terms is None
        else f"{rung} of {size:,} × {size:,} stores {stored:,} numbers for {dense:,} with {terms} terms, a ratio of "
        f"{ratio:,.1f}; with a single term {least:,} numbers, {most:,.1f}"
    )
    judged = {
        REPRODUCED: "The table names no size and no number of terms.",
        PARTLY: f"So {bar:,.0f} is a matter of how many terms, and says nothing without its error.",
        REFUTED: f"{bar:,.0f} is out of its reach.",
    }
    shown = round(ratio) if ratio >= 1000 else round(ratio, 1)
    return Measurement(shown, "times", verdict, f"{found}. {judged[verdict]}", (f"mobius_lib.gauge.{rung}",))


@register
def meta_linear_shape(claim: Claim, results: Results, *, size: int) -> Measurement:
    """The seed's first snippet: build the layer, apply it to some rows, ask for its ratio."""
    layer = gauge.MetaMobiusLinear(size, size)
    rows = claim.reported[0] if isinstance(claim.reported, list) else 1
    with torch.no_grad():
        shape = list(layer(torch.randn(rows, size)).shape)
    ratio, dense, stored = layer.compression_ratio()
    return Measurement(
        _times(shape),
        "",
        REPRODUCED if shape == claim.reported else REFUTED,
        f"Our layer takes {rows} rows of {size:,} numbers to {_times(shape)}; it says that it "
        f"stores {stored:,} numbers for {dense:,}, {ratio:,.1f} times fewer.",
        ("mobius_lib.gauge.MetaMobiusLinear",),
    )


@register
def meta_from_bridges(
    claim: Claim, results: Results, *, windows: list[int], vocabulary: int, words: int
) -> Measurement:
    """The seed's second snippet, on a made text."""
    tokens = torch.randint(vocabulary, (words,))
    bridges = [gauge.MobiusHarmonicBridge(window=window) for window in windows]
    k0s = [torch.eye(vocabulary)[0] for _ in windows]
    layer = gauge.MetaMobiusLinear.from_l4_bridges(bridges, vocabulary, tokens, k0s)
    shape = list(layer.to_dense().shape)
    return Measurement(
        _times(shape),
        "",
        REPRODUCED if shape == [vocabulary, vocabulary] else REFUTED,
        f"Three bridges and {words:,} tokens of {vocabulary} words give a layer of {_times(shape)}.",
        ("mobius_lib.gauge.MetaMobiusLinear.from_l4_bridges",),
    )


@register
def transport_adds(claim: Claim, results: Results, *, size: int, draws: int) -> Measurement:
    """Whether a layer with connections is a matrix that no layer without them could be."""
    worst = 0.0
    for _ in range(draws):
        carried, plain = gauge.MetaMobiusLinear(size, size), gauge.MetaMobiusLinear(size, size)
        with torch.no_grad():
            carried.up.normal_(std=0.1)
            plain.hw.copy_(carried.hw @ carried.links())  # the connection goes into the amplitudes
            x = torch.randn(2 * size, size)
            worst = max(worst, ((carried(x) - plain(x)).norm() / carried(x).norm()).item())
    spent = sum(p.numel() for p in (carried.up, carried.up_bias, carried.down, carried.down_bias))
    return Measurement(
        float(f"{worst:.1e}"),
        "relative difference",
        REFUTED if worst <= (claim.tolerance or 0.0) else REPRODUCED,
        f"Without an activation a connection multiplies the amplitudes, and those are free: {draws} layers with random "
        f"connections are equal to layers without (to {worst:.0e}). The {spent:,} numbers of the connections buy no "
        "matrix that would be out of reach without them.",
        ("mobius_lib.gauge.MetaMobiusLinear",),
    )


def _rung(name: str, size: int, terms: int | None) -> Any:
    return getattr(gauge, name)(size, size, *([] if terms is None else [terms]))


def _times(shape: list[int]) -> str:
    return " × ".join(f"{n:,}" for n in shape)
