"""gauge-cooccurrence: the ladder L1 to L5 on the co-occurrences of the King James Bible, beside plain compressors.

A tenth of the text is held out, other parts with each seed; D = log(1 + counts) is counted on the rest at the windows
5, 15 and 50. What is compressed is each D and, for the three windows together, their mean. Words stand in the order of
their frequency, in which neighbours are alike; L4 and L5 sort the columns by themselves.

The numbers directly in an arm's record are those of N = 8 Gaussians, the note's, on one matrix, which `target` names:
window 5 for L1 to L4, the mean for L5 and for the compressors, which get as many bits as L5. `rows` holds the others.

All know that D is symmetric (`gauge/bits.py`). The compressors keep half of it. A rung's matrix is not symmetric, and
its symmetric part costs nothing more: each measure takes the better of the two. Ratios in bits are to V^2 numbers of 32
bits, so D itself has one of nearly 2.

L6 is left out: its code is trained by gradient steps, which nothing here is.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mobius_lib.datasets import text
from mobius_lib.gauge import (
    WINDOWS,
    MetaMobiusLinear,
    MobiusHarmonicBridge,
    TriLevelHarmonicLinear,
    at_bits,
    fft_product,
    kernel,
    log_cooccurrence,
    power_law,
    relative_error,
)
from mobius_lib.gauge.baselines import Approximation, quantised
from mobius_lib.gauge.bits import FLOAT_BITS, entries, is_symmetric, symmetric_part
from mobius_lib.gauge.compress import RUNGS as LADDER
from mobius_lib.gauge.compress import TERMS
from mobius_lib.ledger.stats import student_quantile
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.measures import Bigrams, Neighbours, held_out_places

MEAN = "mean"
"""The name of the mean of the three matrices."""
RUNGS = {level: rung for level, rung in LADDER.items() if level != "L6"}
BASELINES: dict[str, Callable[[Tensor, int], Approximation | None]] = {
    "SVD": partial(at_bits, "svd"),
    "DCT": partial(at_bits, "dct"),
    "magnitude": partial(at_bits, "magnitude"),
}
ARMS: dict[str, Callable[..., Any]] = {
    "dense": torch.clone,
    "frequencies": torch.bincount,
    **{name: rung.from_dense for name, rung in RUNGS.items()},
    "L5 bridges": MetaMobiusLinear.from_l4_bridges,
    **BASELINES,
    "4 bits": quantised,
}


@dataclass(frozen=True)
class Sizes:
    """How large a scale is."""

    vocabulary: int | None
    """None: every word."""
    terms: tuple[int, ...]
    """N on the mean; on the single windows it is `TERMS` alone."""
    widths: int = 16
    """N of the cascades whose widths are measured: more than `TERMS`, for the sake of the exponent's interval."""


SIZES = {
    "quick": Sizes(1_000, (4, 8, 16)),
    "short": Sizes(5_000, (4, 8, 16)),
    "full": Sizes(None, (8,)),
}


def load(vocabulary: int | None) -> Data:
    """The text as (words, the word after each), numbered by frequency."""
    ids, _ = text.words(text.king_james(), vocabulary)
    nothing = ids[:0]
    return Data((ids[:-1], ids[1:]), (nothing, nothing), text.digest())


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm.

    Args:
        data: as `load`.
        seed: which blocks are held out.
        sizes: how large.
    """
    with torch.no_grad():
        return _Ladder(data, seed, sizes).records()


class _Ladder:
    def __init__(self, data: Data, seed: int, sizes: Sizes) -> None:
        self.sizes = sizes
        self.tokens, self.bigrams = parted(data, seed)
        self.vocabulary = len(self.bigrams.frequency)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ARMS}

    def records(self) -> dict[str, dict[str, Any]]:
        mean, widths = torch.zeros(self.vocabulary, self.vocabulary), {}
        for window in WINDOWS:
            d = log_cooccurrence(self.tokens, self.vocabulary, window)
            self._compress(str(window), d, (TERMS,))
            widths[window] = TriLevelHarmonicLinear.from_dense(d, self.sizes.widths).sigma
            mean += d / len(WINDOWS)
            if window == WINDOWS[0]:
                printed = _printed_product(d)
            del d
        self._compress(MEAN, mean, self.sizes.terms)
        self._bridges(mean)
        self.rows["frequencies"].append({"target": MEAN, "perplexity": self.bigrams.perplexity(None)})
        found = {name: self._summary(name) for name in ARMS}
        found["L3"] |= exponents(widths)
        found["L4"]["printed_product_error"] = printed
        return found

    def _compress(self, target: str, d: Tensor, terms: tuple[int, ...]) -> None:
        """Every rung and every compressor on one matrix."""
        self.neighbours = Neighbours.of(d)
        self._measure("dense", target, d, d, bits=entries(d) * FLOAT_BITS)
        allowed = []
        for n in terms:
            for name, rung in RUNGS.items():
                started = time.perf_counter()
                fitted = rung.from_dense(d, n)
                seconds = time.perf_counter() - started
                bits = fitted.stored_bits()
                stored = {"terms": n, "stored": fitted.compression_ratio().stored, "seconds": seconds}
                self._measure(name, target, d, fitted.to_dense(), bits=bits, **stored)
                # L1 and L2 lie far from both ends of what L3 and L5 use
                allowed += [(name, n, bits)] if name in ("L3", "L5") else []
        for rung, n, bits in allowed:
            for name, baseline in BASELINES.items():
                found = baseline(d, bits)
                if found is not None:
                    self._measure(name, target, d, found.matrix, bits=found.bits, beside=rung, terms=n)
        self._measure("4 bits", target, d, *quantised(d, 4))

    def _measure(self, name: str, target: str, d: Tensor, approximation: Tensor, bits: int, **known: Any) -> None:
        lost = judged(d, approximation, self.neighbours, self.bigrams)
        self.rows[name].append(
            {"target": target, **known, "bits": bits, "ratio_in_bits": d.numel() * FLOAT_BITS / bits, **lost}
        )

    def _bridges(self, mean: Tensor) -> None:
        """L5 as the note makes it, out of three L4; with the product that keeps D, for the printed one does not."""
        started = time.perf_counter()
        bridges = [MobiusHarmonicBridge(terms=TERMS, window=window) for window in WINDOWS]
        rung = MetaMobiusLinear.from_l4_bridges(bridges, self.vocabulary, self.tokens, product="none")
        seconds = time.perf_counter() - started
        stored = {"terms": TERMS, "stored": rung.compression_ratio().stored, "seconds": seconds}
        self._measure("L5 bridges", MEAN, mean, rung.to_dense(), bits=rung.stored_bits(), **stored)

    def _summary(self, name: str) -> dict[str, Any]:
        """The row that stands for the arm, and all of them."""
        target = str(WINDOWS[0]) if name in ("L1", "L2", "L3", "L4") else MEAN
        rows = self.rows[name]
        own = [row for row in rows if row["target"] == target and row.get("terms", TERMS) == TERMS]
        (chosen,) = [row for row in own if row.get("beside", "L5") == "L5"]
        return {**chosen, "rows": rows}


def parted(data: Data, seed: int) -> tuple[Tensor, Bigrams]:
    """The text without what is held out with a seed, and the pairs of what is.

    Held-out words keep their places, and are not counted.
    """
    tokens = torch.cat((data.train[0], data.train[1][-1:]))
    held = held_out_places(len(tokens), seed)
    return tokens.masked_fill(held, text.OUTSIDE), Bigrams.of(tokens, held, int(tokens.max()) + 1)


def judged(d: Tensor, approximation: Tensor, neighbours: Neighbours, bigrams: Bigrams) -> dict[str, float]:
    """Three measures of an approximation of D, each of the better of it and its symmetric part."""
    forms = [approximation] if is_symmetric(approximation) else [approximation, symmetric_part(approximation)]
    return {
        "relative_error": min(relative_error(d, form) for form in forms),
        "neighbours_kept": max(neighbours.kept(form) for form in forms),
        "perplexity": min(bigrams.perplexity(form) for form in forms),
    }


def mean_of_windows(tokens: Tensor, vocabulary: int) -> Tensor:
    """The mean of D at the three windows: (V, V)."""
    return sum(log_cooccurrence(tokens, vocabulary, window) / len(WINDOWS) for window in WINDOWS)  # type: ignore[return-value]


def _printed_product(d: Tensor) -> float:
    """How far the printed product of D with its kernel is from any multiple of D, beside |D|: 0 ... 1."""
    product = fft_product(d, kernel(d)).double()
    cosine = (product * d).sum() / (product.norm() * d.double().norm())
    return max(0.0, 1 - cosine.item() ** 2) ** 0.5


def exponents(widths: Mapping[int, Tensor]) -> dict[str, Any]:
    """sigma_k = sigma_0 k^b: b at each window, and how it changes with the window.

    The source does not say what k counts. Sorted by width, b is above 0 whatever the widths are, which is kind to the
    law; in the order in which the pursuit chose them (the most useful Gaussian first) it may have either sign.

    Args:
        widths: window to sigma, (N,).
    Returns:
        tables by window: `sigma_exponent` (sorted), `sigma_exponent_interval` (95 %, normal errors of log sigma),
        `sigma_exponent_in_order`, `sigma_mean`, `sigma`; and `window_exponent`, the p of b = b_0 s^p, with its own
        interval from the few windows, where all b are positive.
    """
    k = torch.arange(1, len(next(iter(widths.values()))) + 1)
    found: dict[str, dict[str, Any]] = {name: {} for name in (
        "sigma_exponent", "sigma_exponent_interval", "sigma_exponent_in_order", "sigma_mean", "sigma"
    )}  # fmt: skip
    for window, sigma in widths.items():
        name = str(window)
        b, error = power_law(k, sigma.sort().values)
        found["sigma_exponent"][name] = b
        found["sigma_exponent_interval"][name] = _interval(b, error, len(k))
        found["sigma_exponent_in_order"][name] = power_law(k, sigma)[0]
        found["sigma_mean"][name] = sigma.mean().item()
        found["sigma"][name] = sigma.tolist()
    b = torch.tensor(list(found["sigma_exponent"].values()))
    if len(b) < 3 or not (b > 0).all():
        return found
    power, error = power_law(torch.tensor(list(widths)), b)
    return {**found, "window_exponent": power, "window_exponent_interval": _interval(power, error, len(b))}


def _interval(value: float, error: float, points: int) -> list[float]:
    half = student_quantile(0.975, points - 2) * error
    return [value - half, value + half]


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """L2 and L3 on the narrowest window, and the frequencies."""
    ladder = _Ladder(data, 0, run.compute.keywords["sizes"])
    d = log_cooccurrence(ladder.tokens, ladder.vocabulary, WINDOWS[0])
    found = {"frequencies/perplexity": ladder.bigrams.perplexity(None)}
    for name in ("L2", "L3"):
        fitted = RUNGS[name].from_dense(d, TERMS)
        form = symmetric_part(fitted.to_dense())
        error = min(relative_error(d, form), relative_error(d, fitted.to_dense()))
        found |= {f"{name}/relative_error": error, f"{name}/bits": fitted.stored_bits()}
    return found


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": partial(load, sizes.vocabulary),
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": lambda: {"sizes": {"vocabulary": sizes.vocabulary, "terms": sizes.terms, "widths": sizes.widths}},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-cooccurrence"], fields, SIZES)
