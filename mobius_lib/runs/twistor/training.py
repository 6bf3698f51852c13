"""A language model through the shared loop: carried states and curves."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.base import Place
from mobius_lib.runs.replay import Enough
from mobius_lib.runs.twistor.books import Pieces, Streams
from mobius_lib.runs.twistor.models import LanguageModel
from mobius_lib.twistor.cell import CellState
from mobius_lib.twistor.hope import HopeState
from mobius_lib.twistor.memory import PackedPhases
from mobius_lib.twistor.self_modifying import FastState

Look = Callable[[nn.Module], dict[str, Any]]
"""From a model to what is worth drawing, after an interval."""
torch.serialization.add_safe_globals([HopeState, CellState, PackedPhases, FastState])  # tensors and numbers alone


@dataclass(frozen=True)
class Trained:
    """What a training run came to."""

    history: list[dict[str, Any]]
    """Per interval: characters, training_bits, validation_bits, lr, gradient_norm, and what `look` saw."""
    seconds: float
    """Of training alone."""
    skipped_batches: int


class Flat(nn.Module):
    """A language model with its logits in one long row, (batch * time, vocabulary), as the loop wants them."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, tokens: Tensor) -> Tensor:
        return self.core(tokens).flatten(0, 1)


class Carrying:
    """What the loop makes small: the model's own loss, its state carried from batch to batch. It counts as it goes.

    Args:
        norm: of the model's gradients.
        look: what else to tell after an interval.
        device: on which the state lies.
    """

    def __init__(self, norm: "GradientNorm", look: Look | None, device: torch.device) -> None:
        self.norm, self.look, self.device = norm, look, device
        self.state: Any = None
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def __call__(self, model: Flat, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.norm.step()  # the one before this
        core: LanguageModel = model.core  # type: ignore[assignment]
        total, logits, state, terms = core.loss(x, y.view_as(x), self.state)
        good = torch.isfinite(total)
        self.state = _detached(state) if bool(good) else None  # after a bad batch it starts anew
        if bool(good):
            self.steps += 1
            for name, term in terms.items():
                self.sums[name] = self.sums.get(name, 0.0) + term
        return total, logits.flatten(0, 1)

    def told(self, model: nn.Module) -> dict[str, Any]:
        """After an interval: the means over its steps of gradient norm and terms of the loss, and what `look` sees."""
        self.norm.step()
        terms = {name: float(total) / max(1, self.steps) for name, total in self.sums.items()}
        self.sums, self.steps = {}, 0
        return {"gradient_norm": self.norm.mean(), **terms, **({} if self.look is None else self.look(model.core))}

    def state_dict(self) -> dict[str, Any]:
        """Between two intervals there is nothing but the state that is carried."""
        return {"state": self.state}

    def load_state_dict(self, given: dict[str, Any]) -> None:
        content = io.BytesIO()
        torch.save(given, content)
        content.seek(0)
        self.state = torch.load(content, self.device, weights_only=True)["state"]  # from the CPU to where it lay


class GradientNorm:
    """The length of the gradient before it is clipped, as the mean over steps since it was asked last."""

    def __init__(self, model: nn.Module) -> None:
        self.square: Tensor | float = 0.0
        self.total, self.steps = 0.0, 0
        self.hooks = [p.register_post_accumulate_grad_hook(self._add) for p in model.parameters()]

    def _add(self, parameter: Tensor) -> None:
        if parameter.grad is not None:  # a level that is not due
            self.square = self.square + parameter.grad.square().sum()

    def step(self) -> None:
        """A step is over, if there was one."""
        if isinstance(self.square, float):
            return
        norm = math.sqrt(float(self.square))
        if math.isfinite(norm):
            self.total, self.steps = self.total + norm, self.steps + 1
        self.square = 0.0

    def mean(self) -> float:
        found = self.total / max(1, self.steps)
        self.total, self.steps = 0.0, 0
        return found

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


def train(
    model: nn.Module,
    streams: Streams,
    validation: Pieces,
    *,
    intervals: int,
    lr: float,
    seed: int,
    look: Look | None = None,
    stop: int | None = None,
    place: Place | None = None,
) -> Trained:
    """Train a language model for so many intervals (the epochs of `streams`): AdamW, a tenth of ascent, then a cosine.

    Args:
        model: a `LanguageModel`; its `parameter_groups`, where it has them, learn at their own rates.
        streams: what is read.
        validation: what the curve is drawn on.
        intervals: at least 2.
        lr: the highest rate.
        seed: of what is drawn while training.
        look: what else to draw.
        stop: end after so many intervals, whatever the schedule has left.
        place: where checkpoints, weights and curves are kept, and a training that was stopped goes on.
    """
    from mobius_lib.training import Recipe, RunFolder, fit

    device, norm, history = streams.tokens.device, GradientNorm(model), []
    objective = Carrying(norm, look, device)

    def ended(record: dict[str, Any]) -> None:
        history.append(record)
        if len(history) == stop:
            raise Enough

    recipe = Recipe(
        epochs=intervals, lr=lr, seed=seed, warmup_epochs=min(-(-intervals // 10), intervals - 1),
        save_every_n_epochs=max(1, intervals // 10),
    )  # fmt: skip
    groups = (lambda flat: flat.core.parameter_groups()) if hasattr(model, "parameter_groups") else None
    seconds, skipped = math.nan, 0
    try:
        outcome = fit(
            Flat(model), streams, validation, recipe, None if place is None else RunFolder(place.folder, lean=True),
            device=str(device), objective=objective, groups=groups, scalars=objective.told, progress=False,
            config=None if place is None else place.about, on_epoch=None if stop is None else ended,
        )  # fmt: skip
        seconds, skipped = streams.samples * intervals / outcome.samples_per_second, outcome.skipped_batches
        history = outcome.history
    except Enough:
        pass
    finally:
        norm.remove()
    return Trained([_row(record, streams.samples) for record in history], seconds, skipped)


def _row(record: dict[str, Any], samples: int) -> dict[str, Any]:
    """What a run tells of an interval, from what the loop does."""
    scalars = dict(record["scalars"])
    return {
        "characters": record["epoch"] * samples,
        "training_bits": scalars.pop("cross_entropy", math.nan) / math.log(2),
        "validation_bits": record["val_loss"] / math.log(2),
        "lr": record["lr"],
        **scalars,
    }


def bits_per_character(model: nn.Module, text: Pieces) -> float:
    """Of a held-out text, with the state carried through each piece; leaves the model in evaluation mode."""
    from mobius_lib.training import evaluate

    return evaluate(Flat(model), text, text.x.device)[0] / math.log(2)


def bits_of_pieces(model: nn.Module, text: Pieces) -> list[float]:
    """As `bits_per_character`, of every piece by itself: their mean is that of the text."""
    model.eval()
    found: list[float] = []
    with torch.inference_mode():
        for x, y in text.epoch(0):
            loss = F.cross_entropy(model(x).flatten(0, 1).float(), y, reduction="none")
            found += (loss.view(x.shape).double().mean(1) / math.log(2)).tolist()
    return found


def _detached(state: Any) -> Any:
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(_detached(part) for part in state)
    return state.detach()
