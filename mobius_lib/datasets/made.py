"""A made data set on the unit sphere whose best possible accuracy is known: classes of von Mises-Fisher components.

Each class is a mixture of `modes` components with equal shares, all of one concentration, and all classes are equally
frequent. Then Bayes' rule is exact and short: the class with the largest sum over its modes of exp(kappa mu . x). What
it reaches is the most that any classifier can reach, so a model's accuracy says how much of what there is it found.

Source: ours; the sampler is Ulrich's (1984) in Wood's form (1994), Commun. Stat. Simul. Comput. 23(1), 157-164.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mobius_lib.datasets.store import Part, Stored, check_room, feature_cache, make_store, open_store
from mobius_lib.errors import DataError
from mobius_lib.progress import Bar

Split = Literal["train", "test", "bayes"]
_STREAMS = {"train": 1, "test": 2, "bayes": 3}  # 0 is that of the means
_ROWS = 16_384
"""Rows drawn at a time, each such part from a generator of its own. Another number makes another data set."""
_SCORES = 2**24
"""Scores held at once while Bayes' rule is computed: 64 MiB."""


@dataclass(frozen=True)
class SphereMixture:
    """The distribution: what to draw from, and the best rule for it.

    Args:
        classes: how many, at least 2.
        dim: of the space, at least 2.
        modes: components per class. With one, Bayes' rule is the nearest class mean; with several it is not linear.
        concentration: kappa; the mean of x . mu grows with it from 0 towards 1 (about kappa / dim while that is small).
        seed: of the means and of all draws.
    Raises:
        DataError: naming the argument that makes no sense.
    """

    classes: int = 1000
    dim: int = 512
    modes: int = 1
    concentration: float = 110.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("dim", 2), ("modes", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise DataError(f"{name} must be a whole number from {least} on, not {value!r}.")
            object.__setattr__(self, name, int(value))  # numpy's own, too: records name the mixture by its repr
        kappa = self.concentration
        if not isinstance(kappa, Real) or isinstance(kappa, bool) or not 0 <= kappa < math.inf:
            raise DataError(f"concentration must be a number from 0 on, not {kappa!r}.")
        object.__setattr__(self, "concentration", float(kappa))

    @cached_property
    def means(self) -> Tensor:
        """The centres of the components, drawn evenly over the sphere: (classes, modes, dim) float32, each of length 1.

        The same for every split and every number of samples.
        """
        draws = _generator(self.seed, 0).standard_normal((self.classes, self.modes, self.dim))
        return torch.nn.functional.normalize(torch.from_numpy(draws), dim=-1).float()

    def draw(self, samples: int, split: Split = "train") -> tuple[Tensor, Tensor]:
        """Samples, of which each class has equally many (but for one, when they do not divide evenly).

        Splits are disjoint streams. A smaller set is the beginning of a larger one.

        Args:
            samples: any number; memory is that of the result and some 100 MB.
            split: "train", "test", or "bayes" (what `bayes_accuracy` draws).
        Returns:
            (samples, dim) float32 rows of length 1, and (samples,) int64; row i is of class i modulo `classes`.
        Raises:
            DataError: another split, or fewer than one sample.
        """
        self._check(samples, split)
        x = torch.empty(samples, self.dim)
        for part, rows in enumerate(self._slices(samples, split)):
            x[part * _ROWS : part * _ROWS + len(rows)] = rows
        return x, torch.arange(samples) % self.classes

    def stored(self, samples: int, split: Split, kind: torch.dtype) -> Stored:
        """The same on the disk, drawn once and then mapped, for sets that memory does not hold.

        Args:
            samples, split: as in `draw`.
            kind: float32, or float16, in which a number is off by at most 2^-11 of it.
        Raises:
            DataError: no room.
        """
        self._check(samples, split)
        asked, folder = self._place(samples, split, kind)
        if (found := open_store(folder, asked)) is not None:
            return found
        check_room(folder, samples * self.dim * kind.itemsize)
        content = hashlib.sha256()
        with Bar("drawing", samples, "rows") as bar:

            def slices(_: int | None) -> Iterator[tuple[Tensor, Tensor]]:
                start = 0
                for rows in self._slices(samples, split):
                    content.update(memoryview(rows.numpy()).cast("B"))  # type: ignore[arg-type]  # it is one
                    yield rows, torch.arange(start, start + len(rows)) % self.classes
                    start += len(rows)
                    bar.add(len(rows))

            return make_store(folder, asked, [Part(asked["made"], slices, content.hexdigest)], kind, samples)

    def missing(self, samples: int, split: Split, kind: torch.dtype) -> int:
        """Bytes that `stored` would write now."""
        asked, folder = self._place(samples, split, kind)
        return samples * self.dim * kind.itemsize if open_store(folder, asked) is None else 0

    def _place(self, samples: int, split: Split, kind: torch.dtype) -> tuple[dict[str, Any], Path]:
        asked = {"made": f"{self} {split}", "samples": samples, "kind": str(kind)}
        return asked, feature_cache() / f"made-{hashlib.sha256(repr(asked).encode()).hexdigest()[:12]}"

    @staticmethod
    def _check(samples: int, split: str) -> None:
        if split not in _STREAMS:
            raise DataError(f"The made mixture has the splits {', '.join(map(repr, _STREAMS))}, not {split!r}.")
        if samples < 1:
            raise DataError(f"samples must be at least 1, not {samples}.")

    def _slices(self, samples: int, split: Split) -> Iterator[Tensor]:
        """The rows, a part at a time."""
        for part, start in enumerate(range(0, samples, _ROWS)):
            y = torch.arange(start, start + _ROWS) % self.classes
            yield self._part(_STREAMS[split], part, y)[: samples - start]

    def scores(self, x: Tensor) -> Tensor:
        """log p(class | x) up to a term that all classes share: (N, dim) to (N, classes)."""
        cosines = x @ self.means.flatten(0, 1).T.to(x.device)
        return (self.concentration * cosines).unflatten(1, (self.classes, self.modes)).logsumexp(-1)

    def bayes_predict(self, x: Tensor) -> Tensor:
        """The most probable class of each row, which no rule can beat on average.

        Args:
            x: (N, dim), rows of length 1.
        Returns:
            (N,) int64.
        """
        return torch.cat([self.scores(part).argmax(1) for part in x.split(self._batch())])

    def bayes_accuracy(self, draws: int = 50_000) -> tuple[float, float]:
        """What Bayes' rule gets right, measured on draws of its own, and the standard error of that.

        The mean of the largest posterior probability: its expectation is the accuracy of Bayes' rule, and it spreads
        less than counting hits does.

        Args:
            draws: how many, at least 2.
        Returns:
            accuracy and standard error, as fractions.
        """
        if draws < 2:
            raise DataError(f"draws must be at least 2, not {draws}.")
        x, _ = self.draw(draws, "bayes")
        largest = torch.cat([self.scores(part).softmax(1).amax(1).double() for part in x.split(self._batch())])
        return largest.mean().item(), largest.std().item() / math.sqrt(draws)

    def _batch(self) -> int:
        return max(1, _SCORES // (self.classes * self.modes))

    def _part(self, stream: int, part: int, y: Tensor) -> Tensor:
        """One part of a stream, always drawn whole, so that its rows do not depend on how many are asked for."""
        generator = _generator(self.seed, stream, part)
        mean = self.means[y, torch.from_numpy(generator.integers(self.modes, size=len(y)))]
        along = torch.from_numpy(_along(self.dim, self.concentration, len(y), generator)).unsqueeze(1)
        aside = torch.from_numpy(generator.standard_normal((len(y), self.dim), dtype=np.float32))
        aside -= (aside * mean).sum(1, keepdim=True) * mean  # tangent to the sphere at the mean, in any direction
        aside *= (1 - along.square()).sqrt() / aside.double().norm(dim=1, keepdim=True)
        return torch.nn.functional.normalize((along * mean + aside).float())


def _along(dim: int, kappa: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """x . mu of `count` draws of a von Mises-Fisher distribution, by rejection from a transformed beta: float64."""
    slope = (dim - 1) / (2 * kappa + math.hypot(2 * kappa, dim - 1))
    centre = (1 - slope) / (1 + slope)
    bound = kappa * centre + (dim - 1) * math.log1p(-(centre**2))
    found: list[np.ndarray] = []
    left = count
    while left:
        z = generator.beta((dim - 1) / 2, (dim - 1) / 2, size=2 * left)  # more than half are accepted
        w = (1 - (1 + slope) * z) / (1 - (1 - slope) * z)
        odds = kappa * w + (dim - 1) * np.log1p(-centre * w) - bound
        kept = w[odds >= np.log1p(-generator.random(len(w)))][:left]
        found.append(kept)
        left -= len(kept)
    return np.clip(np.concatenate(found), -1, 1)


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))
