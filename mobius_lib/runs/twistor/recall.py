"""twistor-recall: what a memory remembers that changes its own weights while it reads, live and frozen.

A sequence tells pairs of a key and a value, drawn anew each time, and then asks for the value of each key, in another
order. What its pairs are stands nowhere but in the sequence, so that only a state can know it: chance is right in one
of so many values.

    self-modifying    `ContinuumMemory` of one level between learned keys and values and a head
    continuum         the same of three levels, that change every 1, 4 and 16 tokens
    frozen            one level whose weights stay as they are while reading, in training as well
    lstm              one layer of LSTM in its place, as wide as makes its parameters as many

`final_accuracy` is read as trained. `frozen_accuracy` is that of the same weights with the memory as it was before the
sequence. Arms search for their rate in the same way (`runs.search`), with the first seed and on sequences of their own;
frozen, which knows nothing at any rate, takes that of self-modifying.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.base import Data, Run, nothing, sized
from mobius_lib.runs.search import search
from mobius_lib.runs.twistor import ABOUT
from mobius_lib.twistor import ContinuumMemory

RATES = (3e-3, 1e-2, 3e-2)
"""Those that are tried first."""


@dataclass(frozen=True)
class Sizes:
    """How large a scale is."""

    pairs: int
    kinds: int
    """Keys there are, and values."""
    dim: int
    steps: int
    batch: int = 32
    judged: int = 500
    """Sequences that are read in the end."""


SIZES = {"quick": Sizes(2, 4, 8, 10, judged=50), "short": Sizes(8, 16, 32, 400), "full": Sizes(16, 32, 64, 4_000)}


class Recall(nn.Module):
    """Keys, values, what reads them, and a head.

    Args:
        reads: (batch, time, dim) to the same, causal, and a state.
        dim, kinds: of keys and values.
    """

    def __init__(self, reads: nn.Module, dim: int, kinds: int) -> None:
        super().__init__()
        self.reads, self.head = reads, nn.Linear(dim, kinds)
        self.keys, self.values = (nn.Parameter(torch.randn(kinds, dim)) for _ in range(2))

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """Logits (batch, pairs, kinds) of the values of the keys that are asked for: (batch, pairs) each."""
        told = torch.cat([self.keys[keys] + self.values[values], self.keys[asked]], dim=1)
        return self.head(self.reads(told)[0][:, keys.shape[1] :])


def live(dim: int, levels: int = 1) -> ContinuumMemory:
    """A memory that changes while it reads."""
    return ContinuumMemory(dim, levels)


def frozen(dim: int) -> ContinuumMemory:
    """One that does not."""
    memory = ContinuumMemory(dim)
    memory.live = False
    return memory


class EqualLSTM(nn.Module):
    """An LSTM between two linear maps, of about as many parameters as `live(dim)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            wanted = sum(p.numel() for p in live(dim).parameters())
        # 4 h (dim + h + 2) of the cell and (h + 1) dim after it
        hidden = min(range(1, 512), key=lambda h: abs(4 * h * (dim + h + 2) + (h + 1) * dim - wanted))
        self.cell, self.out = nn.LSTM(dim, hidden, batch_first=True), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        y, state = self.cell(x)
        return x + self.out(y), state


ARMS: dict[str, Callable[[int], nn.Module]] = {
    "self-modifying": live,
    "continuum": partial(live, levels=3),
    "frozen": frozen,
    "lstm": EqualLSTM,
}
Task = tuple[Tensor, Tensor, Tensor, Tensor]


def task(sizes: Sizes, rows: int, generator: torch.Generator) -> Task:
    """Keys, values, keys that are asked for, and their values: (rows, pairs) each. No key twice in a sequence."""
    keys = torch.rand(rows, sizes.kinds, generator=generator).argsort(1)[:, : sizes.pairs]
    values = torch.randint(sizes.kinds, keys.shape, generator=generator)
    order = torch.rand(keys.shape, generator=generator).argsort(1)
    return keys, values, keys.gather(1, order), values.gather(1, order)


class Comparison:
    """Computes the records of all arms, a seed at a time. The rates are searched for once, with seed 0."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.rates: dict[str, tuple[float, Mapping[str, float]]] = {}

    def __call__(self, data: Data, seed: int) -> Mapping[str, dict[str, Any]]:
        if not self.rates:
            self.rates = {arm: search(RATES, partial(self._left, arm)) for arm in ARMS if arm != "frozen"}
            self.rates["frozen"] = self.rates["self-modifying"]
        return {arm: self._record(arm, seed) for arm in ARMS}

    def trained(self, arm: str, seed: int, rate: float, steps: int | None = None) -> Recall:
        """An arm after so many steps of Adam along a cosine; None: those of the scale."""
        torch.manual_seed(seed)
        model = Recall(ARMS[arm](self.sizes.dim), self.sizes.dim, self.sizes.kinds)
        optimizer = torch.optim.Adam(model.parameters(), rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.sizes.steps)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.sizes.steps if steps is None else steps):
            *given, answers = task(self.sizes, self.sizes.batch, generator)
            loss = F.cross_entropy(model(*given).flatten(0, 1), answers.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model

    @torch.no_grad()
    def judged(self, model: Recall, seed: int) -> tuple[float, float]:
        """Accuracy and cross-entropy on sequences that nobody has trained on."""
        *given, answers = task(self.sizes, self.sizes.judged, torch.Generator().manual_seed(seed))
        logits = model(*given).flatten(0, 1)
        right = (logits.argmax(1) == answers.flatten()).double().mean().item()
        return right, F.cross_entropy(logits, answers.flatten()).item()

    def _left(self, arm: str, rate: float) -> float:
        return self.judged(self.trained(arm, 0, rate), 20_000)[1]

    def _record(self, arm: str, seed: int) -> dict[str, Any]:
        rate, held_out = self.rates[arm]
        model = self.trained(arm, seed, rate)
        accuracy, left = self.judged(model, 10_000 + seed)
        record: dict[str, Any] = {
            "final_accuracy": accuracy,
            "cross_entropy": left,
            "parameters": sum(p.numel() for p in model.reads.parameters()),
            "lr": rate,
            "held_out": dict(held_out),
        }
        if isinstance(model.reads, ContinuumMemory):
            model.reads.live = False
            record["frozen_accuracy"] = self.judged(model, 10_000 + seed)[0]
        return record


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The cross-entropy of every arm after its first steps."""
    comparison: Any = run.compute
    few = min(20, comparison.sizes.steps)
    return {f"begun {arm}": comparison.judged(comparison.trained(arm, 0, RATES[1], few), 20_000)[1] for arm in ARMS}


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": nothing,
        "weight_decay": 0.0,
        "compute": Comparison(sizes),
        "facts": lambda: {"sizes": asdict(sizes)},
        "cell": cell,
    }


RUN = sized(ABOUT["twistor-recall"], fields, SIZES)
