"""twistor-continual: three groups of books, one after the other, and what is left of the first ones at the end.

The groups are the law and the histories, the poetry and the prophets, and the New Testament; of each some books are
held out (those of twistor-text that belong to it). A model is trained on one group after the other, each with a fresh
optimiser and its own ascent and cosine, and after every stage it is measured on the held-out books of all three.

    bits         [stage][group], bits per character
    forgetting   the mean over the first two groups of: bits after the last stage - bits after the group's own stage
    learned      the mean over the groups of the bits after their own stage: who learned little has little to forget

Arms: twistor and an LSTM of as many parameters, each at the best of three rates (the first seed, the first group, half
of a stage); the twistor without its nested levels; and, for both, "mixed": the same text and as many steps, but all
three groups together from the beginning, as what could be had without an order (`forgetting` there is 0 by what the
word means, and is left out).

At long scale the groups contradict each other, so that forgetting can be seen: all characters of one are put through a
permutation of the alphabet, drawn once, and the same text means something else there. The order is then told apart from
the schedule: "mixed" has as many ascents and cosines, each with a fresh optimiser, as there are groups. And there is an
LSTM with the twistor's head, and what is left without nested levels is widened; all are of one size.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.datasets import text
from mobius_lib.runs.base import Data, Place, Run, sized
from mobius_lib.runs.search import search
from mobius_lib.runs.twistor import ABOUT
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor.maps import make_all
from mobius_lib.runs.twistor.text import RATES, Sizes, count, ended, make_models
from mobius_lib.runs.twistor.training import bits_per_character, train
from mobius_lib.runs.twistor.weights import FILE, save
from mobius_lib.twistor import TwistorHopeArchitecture

GROUPS: dict[str, tuple[str, ...]] = {
    "law and history": ("law", "history"),
    "poetry and prophets": ("poetry", "major prophets", "minor prophets"),
    "new testament": ("gospels and acts", "letters", "revelation"),
}
"""In the order in which they are read; their names of `text.book_groups`."""
ARMS = {"twistor": "twistor", "lstm": "lstm", "no nested": "no nested", "mixed": "twistor", "lstm mixed": "lstm"}
"""Arm to its model, a name of twistor-text."""
LONG_ARMS = {
    "twistor": "twistor", "lstm": "lstm", "lstm + head": "lstm + head", "no nested, wider": "no nested, wider",
    "mixed": "twistor", "lstm mixed": "lstm", "lstm + head mixed": "lstm + head",
}  # fmt: skip
RATE_OF = {"no nested": "twistor"}


@dataclass(frozen=True)
class Course:
    """How large a scale is."""

    model: Sizes
    """Dimensions, rows, length, rates and lengths of text as there; its steps are not used."""
    steps: int
    """Of every stage."""
    intervals: int
    """Of every stage."""
    contrary: str | None = None
    """The group whose alphabet is permuted; then "mixed" is trained in as many stages as the others, too."""


SIZES = {
    "quick": Course(
        Sizes(8, 2, 4, 16, 0, 0, 0, 0, piece=256, validation=1_000, training=30_000, test=2_000, rates=(3e-3, 1e-2)),
        steps=20, intervals=2,
    ),
    "short": Course(Sizes(48, 3, 16, 64, 0, 0, 0, 0, validation=8_192, test=49_152, rates=RATES), 200, 4),
    "long": Course(
        Sizes(48, 3, 16, 64, 0, 0, 0, 0, validation=8_192, test=49_152, rates=RATES), 400, 4, "poetry and prophets"
    ),
    "full": Course(Sizes(128, 5, 64, 128, 0, 0, 0, 0, validation=60_000, dropout=0.1, rates=RATES), 2_000, 10),
}  # fmt: skip


def held_out(books: tuple[str, ...], group: str) -> list[str]:
    """Those of some books that belong to one of `GROUPS`."""
    groups = text.book_groups()
    return [name for name in books if any(name in groups[part] for part in GROUPS[group])]


class Continual:
    """Computes the records of all arms, a seed at a time. The rates are searched for once, with seed 0.

    The texts of the groups travel as one row of characters each, in `Data` one after the other; `lengths` parts them.
    """

    def __init__(self, course: Course) -> None:
        self.course = course
        self.arms = ARMS if course.contrary is None else LONG_ARMS
        self.rates: dict[str, tuple[float, Mapping[str, float]]] = {}
        self.lengths: list[list[int]] = []

    def load(self) -> Data:
        """(training texts, validation texts) and (test texts, nothing)."""
        sizes = self.course.model
        texts = [
            [book.characters(book.training_books(parts), sizes.training) for parts in GROUPS.values()],
            [book.characters(held_out(book.VALIDATION, group), sizes.validation) for group in GROUPS],
            [book.characters(held_out(book.TEST, group), sizes.test) for group in GROUPS],
        ]
        if self.course.contrary is not None:
            which = list(GROUPS).index(self.course.contrary)
            letters = torch.randperm(len(book.alphabet()), generator=torch.Generator().manual_seed(0))
            for parts in texts:
                parts[which] = letters[parts[which]]
        self.lengths = [[len(part) for part in parts] for parts in texts]
        train, validation, test = (torch.cat(parts) for parts in texts)
        return Data((train, validation), (test, test[:0]), text.digest())

    def prepare(self, data: Data) -> None:
        """Take the texts, and the models for them."""
        sizes = self.course.model
        texts = zip((*data.train, data.test[0]), self.lengths, strict=True)
        train, validation, test = ([*whole.split(lengths)] for whole, lengths in texts)
        self.texts = train
        self.validation = [book.Pieces(each, sizes.piece) for each in validation]
        self.test = [book.Pieces(each, sizes.piece) for each in test]
        self.models = self._models()

    def _models(self) -> dict[str, Callable[[], nn.Module]]:
        given = self.course.model, len(book.alphabet())
        return make_models(*given) | ({} if self.course.contrary is None else make_all(*given))

    def fresh(self, arm: str) -> nn.Module:
        """The model of an arm, untrained."""
        return self._models()[self.arms[arm]]()

    def __call__(
        self, data: Data, seed: int, keep: Callable[..., dict[str, Any]], only: Collection[str] = ()
    ) -> Mapping[str, dict[str, Any]]:
        self.prepare(data)
        found = {}
        for arm in self.arms:
            if only and arm not in only:
                continue
            kind = RATE_OF.get(self.arms[arm], self.arms[arm])
            if kind not in self.rates:
                self.rates[kind] = search(self.course.model.rates, partial(self._attempt, kind, keep))
            found[arm] = keep(arm, seed, partial(self._record, arm, seed, *self.rates[kind]))
        return found

    def _attempt(self, name: str, keep: Callable[..., dict[str, Any]], rate: float) -> float:
        def made(place: Place | None) -> dict[str, Any]:
            steps = max(2, self.course.steps // 2)
            model = self._model(name, 0, steps)
            history, _ = self._stage(model, self.texts[0], self.validation[0], steps, rate, 0)
            return {"bits": history[-1]["validation_bits"]}

        bits = keep(f"{name} tried at {rate:.3g}", 0, made)["bits"]
        return math.nan if bits is None else bits

    def _model(self, name: str, seed: int, steps: int) -> nn.Module:
        torch.manual_seed(seed)
        model = self.models[name]().to(self.texts[0].device)
        if isinstance(model, TwistorHopeArchitecture):
            model.plan(steps)  # of the whole course: weights of the levels do not fall back between its stages
        return model

    def _stage(
        self,
        model: nn.Module,
        words: Tensor,
        validation: book.Pieces,
        steps: int,
        rate: float,
        seed: int,
        stop: int | None = None,
        place: Place | None = None,
    ) -> tuple[list[dict[str, Any]], float]:
        sizes, intervals = self.course.model, self.course.intervals
        streams = book.Streams(words, sizes.rows, sizes.length, max(1, steps // intervals), seed)
        outcome = train(model, streams, validation, intervals=intervals, lr=rate, seed=seed, stop=stop, place=place)
        return outcome.history, outcome.seconds

    def _record(
        self, arm: str, seed: int, rate: float, found: Mapping[str, float], place: Place | None
    ) -> dict[str, Any]:
        name = self.arms[arm]
        stages = len(GROUPS)
        model = self._model(name, seed, stages * self.course.steps)
        bits, history, seconds = [], [], 0.0
        if arm.endswith("mixed"):
            parts = self._mixed(stages)
        else:
            parts = [(words, self.validation[n], self.course.steps) for n, words in enumerate(self.texts)]
        for number, (words, validation, steps) in enumerate(parts, start=1):
            inner = None if place is None else place.of(f"stage{number}", arm=arm, stage=number)
            curve, spent = self._stage(model, words, validation, steps, rate, seed, place=inner)
            history, seconds = [*history, curve], seconds + spent
            bits.append([bits_per_character(model, test) for test in self.test])
        if place is not None:
            save(model, book.alphabet(), place.folder / FILE, place.about | {"arm": arm} | ended(history[-1]))
        return {
            **({"learned": sum(bits[-1]) / stages} if arm.endswith("mixed") else _lost(bits)),
            "bits_per_character": sum(bits[-1]) / stages,
            "bits": bits,
            "parameters": count(model),
            "seconds": seconds,
            "lr": rate,
            "held_out": dict(found),
            "history": history,
        }

    def _mixed(self, stages: int) -> list[tuple[Tensor, book.Pieces, int]]:
        """All groups together, in one stage as long as all, or in as many as there are groups, each reading on."""
        words, steps = torch.cat(self._evened()), self.course.steps
        if self.course.contrary is None:
            return [(words, self.validation[0], stages * steps)]
        read = steps * self.course.model.length
        return [(words.roll(-stage * read), self.validation[0], steps) for stage in range(stages)]

    def _evened(self) -> list[Tensor]:
        """The texts cut to the length of the shortest: in order each group has as many steps, so mixed too."""
        shortest = min(map(len, self.texts))
        return [words[:shortest] for words in self.texts]


def _lost(bits: list[list[float]]) -> dict[str, Any]:
    """Forgetting of all groups but the last, its mean, and what had been learned."""
    last = len(bits) - 1
    each = [bits[last][group] - bits[group][group] for group in range(last)]
    own = [bits[group][group] for group in range(len(bits))]
    return {"forgetting": sum(each) / last, "forgetting_by_group": each, "learned": sum(own) / len(own)}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The first interval of the first stage, of a twistor and an LSTM."""
    continual, found = run.compute, {}
    continual.prepare(data)
    for name in ("twistor", "lstm"):
        model = continual._model(name, 0, len(GROUPS) * continual.course.steps)
        words, validation, steps = continual.texts[0], continual.validation[0], continual.course.steps
        (first,), _ = continual._stage(model, words, validation, steps, rows[name]["lr"], 0, stop=1)
        found |= {f"{name}/history/0/0/{key}": first[key] for key in ("training_bits", "validation_bits")}
    return found


def fields(course: Course) -> dict[str, Any]:
    """What the run has at a scale."""
    continual = Continual(course)

    def facts() -> dict[str, Any]:
        books = {group: held_out(book.TEST, group) for group in GROUPS}
        return {"sizes": asdict(course), "groups": GROUPS, "test_books": books}

    return {
        "arms": {arm: partial(continual.fresh, arm) for arm in continual.arms},
        "data": continual.load,
        "compute": continual,
        "facts": facts,
        "cell": cell,
        "keeps_parts": True,
        "on_any_device": True,
    }


RUN = sized(ABOUT["twistor-continual"], fields, SIZES)
