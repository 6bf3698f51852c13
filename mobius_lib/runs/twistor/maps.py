"""twistor-maps: is it the Möbius maps by which a twistor reads, or what stands around them?

The text, the steps and the loop of twistor-text. A twistor ends in a head that halves the width and norms it, the LSTM
of that run in a bare one; and an arm with a part removed there keeps fewer parameters. Here every arm is as large as
the twistor, within 1 %, and has its own rate, searched for at full length (the first seed, held-out validation text)
until the best lies between two that are worse; rates that come close to the best are compared over three seeds:

    twistor           `TwistorHopeArchitecture`, one direction, whole
    no mobius, wider  the same without its maps
    bare              without maps, memory, nested levels and scales, wider still: what is left is an LSTM, its forget
                      gate begun at "remember", and the twistor's head
    bare + maps       that with the Möbius maps, in the cells, between the layers and after them
    bare + mixing     that with a free real 4 x 4 matrix in the place of every map (`Mixing`)
    lstm              torch's, with a bare head: as in twistor-text
    lstm + head       torch's, with the twistor's head
    gru + head        likewise

At long scale there are all parts of the twistor as well, each taken away and what is left widened (`WITHOUT`), and the
twistor without what makes its numbers twistors; a Transformer; and the strongest rivals given more steps (`LONGER`):
the recurrent ones for as much time as the twistor takes, the Transformer until its curve is flat.

twistor-couplings is a run of three of these arms alone, by the same search: the twistor, whose maps couple omega and pi
by J; the same with maps that are (az + b)/(cz + d) and nothing else; and without maps. Five seeds take about an hour on
one core: some 30 trainings of 1,000 steps, those for the rates among them.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn

from mobius_lib.runs.base import Data, Place, Run, sized
from mobius_lib.runs.search import judged
from mobius_lib.runs.twistor import ABOUT
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor.models import MixedTwistor, equal_recurrent, equal_transformer
from mobius_lib.runs.twistor.text import (
    ABLATIONS,
    SIZES,
    Comparison,
    Sizes,
    configuration,
    load,
    parameters_of,
    told,
)
from mobius_lib.runs.twistor.training import bits_of_pieces
from mobius_lib.twistor import TwistorConfig, TwistorHopeArchitecture

BARE: dict[str, Any] = {"use_memory": False, "use_nested_learning": False, "scales": ()}
NO_MAPS = {"use_mobius": False}
ARMS = ("twistor", "no mobius, wider", "bare", "bare + maps", "bare + mixing", "lstm", "lstm + head", "gru + head")
WITHOUT: dict[str, dict[str, Any]] = {
    "no J, wider": {"coupled": False},
    "plain vectors": NO_MAPS | {"use_phase_compression": False, "constraint": None},
    **{f"{name}, wider": part for name, part in ABLATIONS.items() if part != NO_MAPS},
}
"""Arms of the long scale. In "plain vectors" memory, levels and scales are there, but nothing reads a state as omega
and pi: no maps, no phases, no pairing that is held. "no J" has maps that are (az + b)/(cz + d) and nothing else."""
COUPLINGS = {"no J, wider": WITHOUT["no J, wider"], "no mobius, wider": NO_MAPS}
"""Arms of twistor-couplings beside the twistor."""
LONGER = {"lstm + head, longer": ("lstm + head", 2.0), "transformer, longer": ("transformer", 8.0)}
"""Arm of the long scale to whose model and rate it has, and how many times the steps."""
LONG_ARMS = (*ARMS, *WITHOUT, "transformer", *LONGER)
RATES = (5e-3, 1e-2, 2e-2)
"""Tried first; beyond them by the same factor."""
FURTHER = 6
"""Rates tried beyond those: from 1/64 to 64 times, so that only a run without a best rate ends at an edge."""
CLOSE = 0.03
"""Bits of validation text: two trainings at one rate differ by as much from seed to seed."""
JUDGES = 3
"""Seeds over which rates that are that close to the best are compared."""
EQUAL = 0.01
"""By how much the arms' numbers of parameters may differ from the twistor's."""
CURVES = ("characters", "training_bits", "validation_bits", "lr", "gradient_norm")
"""What is kept of every interval."""


def widened(
    config: TwistorConfig, parameters: int, count: Callable[[TwistorConfig], int] = parameters_of
) -> TwistorConfig:
    """The configuration at the width at which a model has as many parameters as another, within `EQUAL`.

    Between two widths lies more than that. So where none fits, the state is a little wider or narrower than what is
    between the layers, and of those that fit the least so, and then the nearest.
    """

    def sized(dim: int, hidden: int) -> TwistorConfig:
        return replace(config, dim=dim, hidden_dim=hidden)

    dim = config.dim
    while count(sized(dim, dim)) < parameters:
        dim += 2
    near = range(max(2, dim - 8), dim + 8, 2)
    off = {(d, h): abs(count(sized(d, h)) / parameters - 1) for d, h in product(near, near)}
    return sized(*min(off, key=lambda pair: (off[pair] > EQUAL, abs(pair[0] - pair[1]), off[pair])))


def make_models(sizes: Sizes, vocab_size: int) -> dict[str, Callable[[], nn.Module]]:
    """Arm to a function that makes a fresh model, for `ARMS`."""
    whole = configuration(sizes, vocab_size)
    parameters = parameters_of(whole)
    bare = replace(whole, **BARE)
    made: dict[str, Callable[[], nn.Module]] = {"twistor": partial(TwistorHopeArchitecture, whole)}
    for name, config in {
        "no mobius, wider": replace(whole, **NO_MAPS),
        "bare": replace(bare, **NO_MAPS),
        "bare + maps": bare,
    }.items():
        made[name] = partial(TwistorHopeArchitecture, widened(config, parameters))
    made["bare + mixing"] = partial(MixedTwistor, widened(bare, parameters, _parameters_mixed))
    for name, (kind, head) in {
        "lstm": ("lstm", "bare"), "lstm + head": ("lstm", "twistor"), "gru + head": ("gru", "twistor")
    }.items():  # fmt: skip
        made[name] = partial(
            equal_recurrent, kind, parameters, vocab_size, 2 * sizes.dim, head=head, dropout=sizes.dropout
        )
    return made


def make_all(sizes: Sizes, vocab_size: int) -> dict[str, Callable[[], nn.Module]]:
    """The same for `LONG_ARMS`."""
    whole = configuration(sizes, vocab_size)
    parameters = parameters_of(whole)
    made = make_models(sizes, vocab_size)
    for name, without in WITHOUT.items():
        made[name] = partial(TwistorHopeArchitecture, widened(replace(whole, **without), parameters))
    made["transformer"] = partial(equal_transformer, parameters, vocab_size, 2 * sizes.length, dropout=sizes.dropout)
    return made | {name: made[kind] for name, (kind, _) in LONGER.items()}


def make_couplings(sizes: Sizes, vocab_size: int) -> dict[str, Callable[[], nn.Module]]:
    """The same for the twistor and `COUPLINGS`."""
    whole = configuration(sizes, vocab_size)
    parameters = parameters_of(whole)
    return {"twistor": partial(TwistorHopeArchitecture, whole)} | {
        name: partial(TwistorHopeArchitecture, widened(replace(whole, **without), parameters))
        for name, without in COUPLINGS.items()
    }


def _parameters_mixed(config: TwistorConfig) -> int:
    with torch.random.fork_rng(devices=[]):
        return sum(p.numel() for p in MixedTwistor(config).parameters())


class Maps(Comparison):
    """Computes the records of all arms, a seed at a time; the search's training at the rate that is taken is the first
    seed's. What is trained is kept at once."""

    make = staticmethod(make_models)
    arms: Collection[str] = ARMS
    looked_at: Collection[str] = ("twistor", "bare + maps", "bare + mixing", "lstm + head")
    """Arms of whose first interval a replay asks."""

    def __call__(
        self, data: Data, seed: int, keep: Callable[..., dict[str, Any]], only: Collection[str] = ()
    ) -> Mapping[str, dict[str, Any]]:
        self.prepare(data)
        records = {}
        for name in self.arms:
            if only and name not in only:
                continue
            kind, _ = LONGER.get(name, (name, 1.0))
            if kind not in self.rates:
                self.rates[kind] = self._searched(kind, keep)
            rate, tried = self.rates[kind]
            records[name] = self._kept(name, seed, rate, keep) | dict(tried)
        return records

    def _searched(self, name: str, keep: Callable[..., dict[str, Any]]) -> tuple[float, Mapping[str, Any]]:
        """The rate of an arm; validation bits of the first seed at each that was tried, of three at close ones."""
        attempt = partial(self._validated, name, keep)
        best, tried, compared = judged(self.sizes.rates, attempt, FURTHER, lambda _: CLOSE, JUDGES)
        return best, {"held_out": dict(tried), "compared": compared}

    def _validated(self, name: str, keep: Callable[..., dict[str, Any]], seed: int, rate: float) -> float:
        bits = self._kept(name, seed, rate, keep)["history"][-1]["validation_bits"]
        return math.nan if bits is None else bits

    def _kept(self, name: str, seed: int, rate: float, keep: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        return keep(f"{name} at {rate:.3g}", seed, partial(self._read, name, seed, rate))

    def _read(self, name: str, seed: int, rate: float, place: Place | None) -> dict[str, Any]:
        _, times = LONGER.get(name, (name, 1.0))
        steps, intervals = round(self.sizes.steps * times), self.sizes.intervals
        model, outcome = self.trained(name, seed, rate, steps, intervals, place=place)
        pieces = bits_of_pieces(model, self.test)
        return {
            "bits_per_character": math.fsum(pieces) / len(pieces),
            **told(model, outcome, rate, self._each(steps, intervals) * intervals),
            "history": [{key: row[key] for key in CURVES} for row in outcome.history],
            "bits_by_piece": [round(bits, 4) for bits in pieces],
        }


class AllMaps(Maps):
    """The same with all arms of the long scale."""

    make = staticmethod(make_all)
    arms = LONG_ARMS


class Couplings(Maps):
    """The same with the arms of twistor-couplings."""

    make = staticmethod(make_couplings)
    arms = looked_at = ("twistor", *COUPLINGS)


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The first interval of a few arms."""
    return run.compute.first_interval(data, rows, *run.compute.looked_at)


def fields(scale: str, couplings: bool = False) -> dict[str, Any]:
    """What the run, or the one of couplings, has at a scale."""
    long = scale == "long"
    sizes = replace(SIZES["short" if long else scale], rates=RATES)
    facts = {"sizes": asdict(sizes), "test_books": book.TEST, "validation_books": book.VALIDATION}
    compute = (Couplings if couplings else AllMaps if long else Maps)(sizes)
    return {
        "arms": {arm: partial(compute.fresh, arm) for arm in compute.arms},
        "data": partial(load, sizes),
        "compute": compute,
        "facts": lambda: facts,
        "cell": cell,
        "keeps_parts": True,
        "on_any_device": True,
    }


RUN = sized(ABOUT["twistor-maps"], fields)
RUN_COUPLINGS = sized(ABOUT["twistor-couplings"], partial(fields, couplings=True))
