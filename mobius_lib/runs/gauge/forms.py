"""The matrices of a network in every form: by rungs of the ladder, by plain compressors, by 4 bits.

Shared by the runs that replace the layers of a trained network. A matrix of which an arm would store no fewer bits than
it has is kept as it is, and one with fewer columns than N gets as many Gaussians as it has columns. The compressors get
as many bits as L5, matrix by matrix.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mobius_lib.gauge import Rung
from mobius_lib.gauge.baselines import quantised
from mobius_lib.gauge.bits import FLOAT_BITS, entries
from mobius_lib.gauge.compress import TERMS, fitted
from mobius_lib.runs.gauge.cooccurrence import BASELINES, RUNGS

ARMS: dict[str, Callable[..., Any]] = {
    "dense": torch.clone,
    **{name: rung.from_dense for name, rung in RUNGS.items()},
    **BASELINES,
    "4 bits": quantised,
}


class Form(NamedTuple):
    """The matrices as one arm keeps them."""

    arm: str
    matrices: list[Tensor]
    bits: list[int]
    """Of each matrix."""
    known: dict[str, Any]
    """What else the record says."""

    @property
    def is_seeds(self) -> bool:
        """Whether it has the note's N, or needs none."""
        return self.known.get("terms", TERMS) == TERMS


def compressed(weights: list[Tensor], terms: tuple[int, ...]) -> list[Form]:
    """Matrices in every form.

    Args:
        weights: (out, in) each.
        terms: N.
    """
    dense = [dense_bits(w) for w in weights]
    found = [Form("dense", weights, dense, {"stored": sum(w.numel() for w in weights)})]
    for n in terms:
        for name, rung in RUNGS.items():
            found.append(_rung(name, rung, weights, n))
        allowed = found[-1].bits  # of L5
        for name, baseline in BASELINES.items():
            form = _baseline(name, baseline, weights, allowed)
            if form is not None:
                found.append(form._replace(known={"terms": n, **form.known}))
    form = _baseline("4 bits", lambda w, _: quantised(w, 4), weights, [0] * len(weights))
    return [*found, form]


def _rung(name: str, rung: type[Rung], weights: list[Tensor], n: int) -> Form:
    started = time.perf_counter()
    found = [fitted(w, rung, n) for w in weights]
    seconds = time.perf_counter() - started
    known = {"terms": n, "stored": sum(each.numbers for each in found), "seconds": seconds}
    return Form(name, [each.matrix for each in found], [each.bits for each in found], known)


def _baseline(name: str, baseline: Callable, weights: list[Tensor], allowed: list[int]) -> Form | None:
    """None when it has nothing so small for one of the matrices."""
    started = time.perf_counter()
    matrices, bits = [], []
    for w, most in zip(weights, allowed, strict=True):
        if most >= dense_bits(w):  # the rung kept this matrix
            matrices.append(w)
            bits.append(dense_bits(w))
            continue
        found = baseline(w, most)
        if found is None:
            return None
        matrices.append(found.matrix)
        bits.append(found.bits)
    return Form(name, matrices, bits, {"seconds": time.perf_counter() - started})


def dense_bits(w: Tensor) -> int:
    """Of the matrix as it is, with 32 bits for each entry that has to be kept."""
    return entries(w) * FLOAT_BITS


def size(weights: Iterable[Tensor], form: Form) -> dict[str, Any]:
    """What a form keeps and loses, for its row in the record."""
    weights = list(weights)
    return {
        **form.known,
        "bits": sum(form.bits),
        "ratio_in_bits": sum(w.numel() * FLOAT_BITS for w in weights) / sum(form.bits),
        "relative_error": error(weights, form.matrices),
        "layers_kept": sum(bits == dense_bits(w) for w, bits in zip(weights, form.bits, strict=True)),
    }


def error(weights: Iterable[Tensor], matrices: Iterable[Tensor]) -> float:
    """|W - W'| / |W| of some matrices together."""
    pairs = list(zip(weights, matrices, strict=True))
    off = sum((w - m).square().sum().item() for w, m in pairs)
    return math.sqrt(off / sum(w.square().sum().item() for w, _ in pairs))


def by_arm(
    arms: Iterable[str], rows: Iterable[tuple[str, dict[str, Any]]], more: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """The record of every arm: the entries of its row with the note's N, `more` of them, and all its rows."""
    own: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for name, row in rows:
        own[name].append(row)
    return {
        name: {
            **next(row for row in found if row.get("terms", TERMS) == TERMS),
            **(more or {}).get(name, {}),
            "rows": found,
        }
        for name, found in own.items()
    }


def some_rungs(weights: list[Tensor], names: tuple[str, ...] = ("L2", "L3")) -> dict[str, float]:
    """Bits and error of matrices by rungs that are soon fitted, by their places in a record."""
    found = {}
    for name in names:
        form = _rung(name, RUNGS[name], weights, TERMS)
        found |= {f"{name}/bits": sum(form.bits), f"{name}/relative_error": error(weights, form.matrices)}
    return found
