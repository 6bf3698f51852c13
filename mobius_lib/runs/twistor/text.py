"""twistor-text: bits per character of the King James Bible, twistors beside LSTM, GRU, Transformer and counted n-grams.

Whole books are held out: what is reported is measured on some of each genre (`books.TEST`), and rates and
orders are chosen on others (`books.VALIDATION`); no model learns from either.

Arms, all trained ones with AdamW, clipping, the same cosine and the same number of characters:

    twistor                          `TwistorHopeArchitecture`, one direction
    no mobius, memory, nested, scales    the same with a part removed; what is left is not made larger
    scan                             its gates from the input alone, all steps at once
    lstm, gru, transformer           as many parameters as twistor, within 1 %
    lstm longer, transformer longer  as much time: so many times the steps as a step of twistor takes in theirs, on one
                                     thread of the machine on which `LONGER` was measured; see `seconds` in the record
    n-gram                           counted on all training books, the order chosen; the floor
    n-gram, same text                counted on just the characters that the networks of that seed have read

Twistor, LSTM, GRU and Transformer each search for their rate in the same way (`runs.search`), on the first
seed, with a quarter of the steps; the others take that of their model. Recurrent models read rows of text in short
stretches and carry their state from one to the next; the Transformer reads windows of twice that length from half as
many rows, so as many characters a step. On held-out text recurrent models carry their state through long pieces, and
the Transformer's window moves on by half of its length (`TransformerModel`). Dropout is the same in all.

At short scale a network reads a quarter of the training books, once: what counts there is who learns fast, and the
n-grams, which count all of it, are far ahead.

The work folder keeps of each trained arm and seed the checkpoints from which a stopped training goes on, curves, and
`model.safetensors`, from which `mobius generate FOLDER "In the beginning"` writes; so do the other runs on text.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
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
from mobius_lib.runs.twistor.measures import (
    curves,
    level_change,
    level_rates,
    level_weights,
    memory_summary,
    pairing_spread,
    slots_over_time,
    trajectory,
)
from mobius_lib.runs.twistor.models import equal_recurrent, equal_transformer
from mobius_lib.runs.twistor.ngram import NGrams
from mobius_lib.runs.twistor.training import Trained, bits_per_character, train
from mobius_lib.runs.twistor.weights import FILE, save
from mobius_lib.twistor import TwistorConfig, TwistorHopeArchitecture, create_full_config

ABLATIONS: dict[str, dict[str, Any]] = {
    "no mobius": {"use_mobius": False},
    "no memory": {"use_memory": False},
    "no nested": {"use_nested_learning": False},
    "no scales": {"scales": ()},
    "scan": {"form": "scan"},
}
RIVALS = ("lstm", "gru", "transformer")
LONGER = {"lstm longer": ("lstm", 3.0), "transformer longer": ("transformer", 1.4)}
"""Arm to whose model it has and how many times the steps: as many as a step of twistor takes of its steps."""
COUNTED = ("n-gram", "n-gram, same text")
ARMS = ("twistor", *RIVALS, *LONGER, *ABLATIONS, *COUNTED)
RATES = (1e-3, 3e-3, 1e-2)
"""Those that are tried first."""
SEARCH_INTERVALS = 10
LOOK = (8, 256)
"""Rows and characters of held-out text on which memories and the constraint are looked at."""


@dataclass(frozen=True)
class Sizes:
    """How large a scale is."""

    dim: int
    """Of each of omega and pi; the model is twice as wide."""
    levels: int
    rows: int
    length: int
    """Characters of each row in a step; the Transformer's window is twice that, on half the rows."""
    steps: int
    """In all, in `intervals`; each is followed by a look at the curves."""
    intervals: int
    search_steps: int
    order: int
    """Longest n-gram that is tried."""
    piece: int = 1024
    """Characters through which a state is carried on held-out text."""
    validation: int = 16_384
    """Characters of validation text on which curves are drawn and rates are chosen."""
    training: int | None = None
    test: int | None = None
    """Characters at most; None: all."""
    dropout: float = 0.0
    rates: tuple[float, ...] = RATES
    """Tried first."""


SIZES = {
    "quick": Sizes(8, 2, 4, 16, 20, 2, 10, order=5, piece=256, validation=2_000, training=100_000, test=4_000,
                   rates=(3e-3, 1e-2)),
    "short": Sizes(48, 3, 16, 64, 1_000, 20, 250, order=8),
    "full": Sizes(128, 5, 64, 128, 4_000, 40, 1_000, order=10, validation=60_000, dropout=0.1),
}  # fmt: skip


def load(sizes: Sizes) -> Data:
    """(training text, validation text) and (test text, nothing), as characters."""
    test = book.characters(book.TEST, sizes.test)
    return Data(
        (book.characters(book.training_books(), sizes.training), book.characters(book.VALIDATION)),
        (test, test[:0]),
        text.digest(),
    )


def make_models(sizes: Sizes, vocab_size: int) -> dict[str, Callable[[], nn.Module]]:
    """Arm to a function that makes a fresh model, for all arms that are trained."""
    config = configuration(sizes, vocab_size)
    parameters = parameters_of(config)
    given = {"dropout": sizes.dropout}
    made: dict[str, Callable[[], nn.Module]] = {"twistor": partial(TwistorHopeArchitecture, config)}
    made |= {name: partial(TwistorHopeArchitecture, config, **part) for name, part in ABLATIONS.items()}
    for kind in ("lstm", "gru"):
        made[kind] = partial(equal_recurrent, kind, parameters, vocab_size, 2 * sizes.dim, **given)
    made["transformer"] = partial(equal_transformer, parameters, vocab_size, 2 * sizes.length, **given)
    return made | {name: made[kind] for name, (kind, _) in LONGER.items()}


def configuration(sizes: Sizes, vocab_size: int) -> TwistorConfig:
    """Of the twistor of a scale."""
    return create_full_config(
        "small", vocab_size, bidirectional=False, dim=sizes.dim, num_nested_levels=sizes.levels, dropout=sizes.dropout
    )


def parameters_of(config: TwistorConfig) -> int:
    """How many a twistor has. Nothing is drawn by this."""
    with torch.random.fork_rng(devices=[]):
        return count(TwistorHopeArchitecture(config))


def count(model: nn.Module) -> int:
    """Its parameters."""
    return sum(p.numel() for p in model.parameters())


class Comparison:
    """Computes the records of all arms, a seed at a time. The rates are searched for once, with seed 0."""

    make = staticmethod(make_models)
    """From sizes and vocabulary to the arms that are trained."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.rates: dict[str, tuple[float, Mapping[str, float]]] = {}

    def prepare(self, data: Data) -> None:
        """Take the texts, and the models for them."""
        self.vocab_size = len(book.alphabet())
        (self.text, validation), (test, _) = data.train, data.test
        self.whole_validation, self.test_text = validation, test
        self.validation = book.Pieces(validation[: self.sizes.validation + 1], self.sizes.piece)
        self.test = book.Pieces(test, self.sizes.piece)
        self.models = self.make(self.sizes, self.vocab_size)

    def fresh(self, name: str) -> nn.Module:
        """The model of an arm, untrained."""
        return self.make(self.sizes, len(book.alphabet()))[name]()

    def __call__(
        self, data: Data, seed: int, keep: Callable[..., dict[str, Any]], only: Collection[str] = ()
    ) -> Mapping[str, dict[str, Any]]:
        self.prepare(data)
        return {name: self._arm(name, seed, keep) for name in ARMS if not only or name in only}

    def _arm(self, name: str, seed: int, keep: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        if name in COUNTED:
            return keep(name, seed, lambda place: self._counted(self._shown(name, seed)))
        kind, _ = LONGER.get(name, (name, 1.0))
        kind = "twistor" if kind in ABLATIONS else kind
        if kind not in self.rates:
            self.rates[kind] = search(self.sizes.rates, partial(self._attempt, kind, keep))
        return keep(name, seed, partial(self._record, name, seed, *self.rates[kind]))

    def _attempt(self, name: str, keep: Callable[..., dict[str, Any]], rate: float) -> float:
        """Bits per character of validation text after a quarter of the training."""

        def made(place: Place | None) -> dict[str, Any]:  # short, so nothing of it is kept but what came of it
            intervals = min(SEARCH_INTERVALS, self.sizes.intervals)
            _, outcome = self.trained(name, 0, rate, self.sizes.search_steps, intervals)
            return {"bits": outcome.history[-1]["validation_bits"]}

        bits = keep(f"{name} tried at {rate:.3g}", 0, made)["bits"]
        return math.nan if bits is None else bits

    def trained(
        self,
        name: str,
        seed: int,
        rate: float,
        steps: int,
        intervals: int,
        stop: int | None = None,
        place: Place | None = None,
    ) -> tuple[nn.Module, Trained]:
        """An arm's model as it is trained, and how that went; with a place its weights are kept there in `FILE`."""
        place = None if place is None else place.of(arm=name)
        torch.manual_seed(seed)
        model = self.models[name]().to(self.text.device)
        look = None
        if isinstance(model, TwistorHopeArchitecture):
            x = self._sample(self.validation)
            look = lambda model: curves(model, x)  # noqa: E731
        streams = self._streams(name, seed, self._each(steps, intervals))
        outcome = train(
            model, streams, self.validation, intervals=intervals, lr=rate, seed=seed, look=look, stop=stop, place=place
        )
        if isinstance(model, TwistorHopeArchitecture) and model.nested is not None:
            for row in outcome.history:
                row["level_rates"] = level_rates(model, row["lr"])
        if place is not None:
            save(model, book.alphabet(), place.folder / FILE, place.about | ended(outcome.history))
        return model, outcome

    def first_interval(self, data: Data, rows: Mapping[str, Mapping[str, Any]], *arms: str) -> dict[str, float]:
        """What some arms come to in their first interval with seed 0, by its place in the record."""
        self.prepare(data)
        found = {}
        for name in arms:
            _, outcome = self.trained(name, 0, rows[name]["lr"], self.sizes.steps, self.sizes.intervals, stop=1)
            found |= {
                f"{name}/history/0/{key}": outcome.history[0][key] for key in ("training_bits", "validation_bits")
            }
        return found

    def _streams(self, name: str, seed: int, each: int) -> book.Streams:
        rows, length = self.sizes.rows, self.sizes.length
        if name.startswith("transformer"):
            rows, length = rows // 2, length * 2
        return book.Streams(self.text, rows, length, each, seed)

    @staticmethod
    def _each(steps: int, intervals: int) -> int:
        """Steps of an interval."""
        return max(1, round(steps / intervals))

    def _record(
        self, name: str, seed: int, rate: float, found: Mapping[str, float], place: Place | None
    ) -> dict[str, Any]:
        _, times = LONGER.get(name, (name, 1.0))
        torch.manual_seed(seed)
        before = level_weights(self._planned(name)) if name == "twistor" else {}
        steps, intervals = round(self.sizes.steps * times), self.sizes.intervals
        model, outcome = self.trained(name, seed, rate, steps, intervals, place=place)
        record = {
            "bits_per_character": bits_per_character(model, self.test),
            **told(model, outcome, rate, self._each(steps, intervals) * intervals),
            "held_out": dict(found),
            "history": outcome.history,
        }
        if name == "twistor":
            x = self._sample(self.test)
            record |= level_change(before, level_weights(model))
            record["pairing_spread"] = pairing_spread(model, x)
        if isinstance(model, TwistorHopeArchitecture) and model.memory is not None:
            slots = slots_over_time(model, self._sample(self.test))
            record |= memory_summary(slots) | {"memory_trajectory": trajectory(slots)}
        return record

    def _planned(self, name: str) -> TwistorHopeArchitecture:
        model = self.models[name]()
        model.plan(self.sizes.steps)
        return model

    def _sample(self, pieces: book.Pieces) -> Tensor:
        rows, length = LOOK
        return pieces.x[:rows, :length]

    def _shown(self, name: str, seed: int) -> Tensor:
        """What an arm counts."""
        if name == "n-gram":
            return self.text
        each = self._each(self.sizes.steps, self.sizes.intervals)
        return self._streams("twistor", seed, each).shown(self.sizes.intervals)

    def _counted(self, text: Tensor) -> dict[str, Any]:
        started = time.perf_counter()
        grams, order = NGrams.chosen(text, self.whole_validation, self.vocab_size, self.sizes.order)
        bits = grams.bits(self.test_text[: self.test.samples + 1])
        return {
            "bits_per_character": bits[order - 1],
            "parameters": grams.stored(order),
            "seconds": time.perf_counter() - started,
            "characters": len(text),
            "order": order,
            "bits_by_order": {str(n): found for n, found in enumerate(bits, start=1)},
        }


def ended(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By what a training's weights are known to be those that a record speaks of."""
    return {key: history[-1][key] for key in ("characters", "validation_bits")}


def told(model: nn.Module, outcome: Trained, rate: float, steps: int) -> dict[str, Any]:
    """What every record of a trained model tells beside its bits and its curves."""
    return {
        "parameters": count(model),
        "seconds": outcome.seconds,
        "steps": steps,
        "characters": outcome.history[-1]["characters"],
        "lr": rate,
        "skipped_batches": outcome.skipped_batches,
    }


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The first interval of a twistor with and without its parts, and of what stands beside it."""
    return run.compute.first_interval(data, rows, "twistor", "no nested", "scan", "lstm", "transformer")


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    compute = Comparison(sizes)
    facts = {"sizes": asdict(sizes), "longer": {name: times for name, (_, times) in LONGER.items()},
             "test_books": book.TEST, "validation_books": book.VALIDATION}  # fmt: skip
    return {
        "arms": {name: partial(compute.fresh, name) for name in ARMS},
        "data": partial(load, sizes),
        "compute": compute,
        "facts": lambda: facts,
        "cell": cell,
        "keeps_parts": True,
        "on_any_device": True,
    }


RUN = sized(ABOUT["twistor-text"], fields, SIZES)
