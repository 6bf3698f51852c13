"""gauge-kpz: do the widths of a text's Gaussians grow like k^(1/3), with widths on no list, beside planted laws.

A tenth of the text is held out, other parts with each seed, and D = log(1 + counts) is counted on the rest at the
windows 5, 15 and 50, as in gauge-cooccurrence. A cascade of N Gaussians that all rows share is found by pursuit, from a
list of widths in equal ratios and from lists drawn at random, and then its places and widths are moved continuously
(`widths.continuous_fits`). Read is the exponent of the sorted widths of the fit that leaves least.

    listed       the exponent of the pursuit's widths, on the list in equal ratios: what gauge-cooccurrence reads
    random list  the same on lists drawn at random: from lowest to highest
    continuous   with widths on no list, its standard error, and how it changes with the window
    planted      the same reading, of matrices of as many columns in which 0, 1/3 and 1/2 are planted, with as much
                 white noise as the text's fit leaves: by how much it misses is the resolution
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mobius_lib.datasets import text
from mobius_lib.gauge import KPZ, WINDOWS, log_cooccurrence, power_law
from mobius_lib.ledger.stats import student_quantile
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.cooccurrence import load
from mobius_lib.runs.gauge.measures import held_out_places
from mobius_lib.runs.gauge.widths import Fit, continuous_fits, exponent_of, planted, read_exponent

PLANTED = {"0": 0.0, "1/3": KPZ, "1/2": 0.5}
"""The exponents that are planted, by their names in the record."""
ARMS = {"listed": exponent_of, "random list": exponent_of, "continuous": read_exponent, "planted": planted}


@dataclass(frozen=True)
class Sizes:
    """How large a scale is."""

    vocabulary: int
    terms: int
    """N: enough for a slope."""
    starts: int
    """Lists of widths for each matrix."""


SIZES = {"quick": Sizes(500, 12, 3), "short": Sizes(2_000, 16, 4), "full": Sizes(10_000, 16, 8)}


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm.

    Args:
        data: as `cooccurrence.load`.
        seed: which blocks are held out, and what is planted.
        sizes: how large.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in ARMS}
    for window in WINDOWS:
        fits = continuous_fits(_counted(data, seed, sizes.vocabulary, window), sizes.terms, sizes.starts, seed=seed)
        for arm, measures in _read(fits, sizes.vocabulary).items():
            for measure, value in measures.items():
                found[arm].setdefault(measure, {})[str(window)] = value
    continuous = found["continuous"]
    continuous |= _by_window(continuous["sigma_exponent"])
    found["planted"] = _planted(seed, sizes, max(continuous["left"].values()) ** 0.5)
    return found


def _read(fits: list[Fit], columns: int) -> dict[str, dict[str, Any]]:
    """What is kept of one window."""
    reading, best = read_exponent(fits, columns), min(fits, key=lambda fit: fit.left[1])
    first, *others = (exponent_of(fit.listed.sigma)[0] for fit in fits)
    return {
        "listed": {"sigma_exponent": first, "left": fits[0].left[0]},
        "random list": {"sigma_exponent_range": [min(others), max(others)]},
        "continuous": {
            "sigma_exponent": reading.exponent,
            "sigma_exponent_error": reading.error,
            "left": best.left[1],
            "alike": reading.alike,
            "inside": reading.inside,
            "sigma": best.moved.sigma.sort().values.tolist(),
        },
    }


def _counted(data: Data, seed: int, columns: int, window: int) -> Tensor:
    tokens = torch.cat((data.train[0], data.train[1][-1:]))
    return log_cooccurrence(tokens.masked_fill(held_out_places(len(tokens), seed), text.OUTSIDE), columns, window)


def _planted(seed: int, sizes: Sizes, noise: float) -> dict[str, Any]:
    read = {}
    for name, exponent in PLANTED.items():
        w = planted(sizes.vocabulary, sizes.terms, exponent, seed, noise=noise)
        read[name] = read_exponent(continuous_fits(w, sizes.terms, sizes.starts, seed=seed), sizes.vocabulary)
    return {
        "noise": noise,
        "sigma_exponent": {name: each.exponent for name, each in read.items()},
        "sigma_exponent_error": {name: each.error for name, each in read.items()},
        "resolution": max(abs(read[name].exponent - exponent) for name, exponent in PLANTED.items()),
    }


def _by_window(exponents: Mapping[str, float]) -> dict[str, Any]:
    """The p of b = b_0 s^p, with its interval of 95 % from the few windows, where all b are positive."""
    b = torch.tensor(list(exponents.values()))
    if not (b > 0).all():
        return {}
    power, error = power_law(torch.tensor(list(map(float, exponents))), b)
    half = student_quantile(0.975, len(b) - 2) * error
    return {"window_exponent": power, "window_exponent_interval": [power - half, power + half]}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The narrowest window by the list in equal ratios, and what a refinement leaves of it."""
    sizes: Sizes = run.compute.keywords["sizes"]
    (fit,) = continuous_fits(_counted(data, 0, sizes.vocabulary, WINDOWS[0]), sizes.terms, 1)
    name = f"sigma_exponent/{WINDOWS[0]}"
    return {f"listed/{name}": exponent_of(fit.listed.sigma)[0], "left": fit.left[1]}


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    said = asdict(sizes)
    return {
        "arms": ARMS,
        "data": partial(load, sizes.vocabulary),
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": lambda: {"sizes": said},
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-kpz"], fields, SIZES)
