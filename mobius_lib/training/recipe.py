"""How a model is trained, as one value: written into every checkpoint and compared when a run is continued."""

import math
import numbers
from dataclasses import dataclass

import numpy as np

from mobius_lib.errors import MobiusError

PRECISIONS = ("no", "bf16", "fp16")
SCHEDULES = ("cosine", "cosine_restarts", "linear", "constant")


class RecipeError(MobiusError, ValueError):
    """A recipe asks for something that cannot be done."""


@dataclass(frozen=True)
class Recipe:
    """The choices that decide the outcome of a run, apart from the model and the data.

    Raises:
        RecipeError: naming the first field that makes no sense.
    Source:
        AdamW and the cosine per epoch are the distillation card's; the defaults below are the published runs'.
    """

    epochs: int
    """Passes over the training data. The schedule ends here, so it cannot be changed once a run has begun."""
    lr: float
    """Highest learning rate. 3e-4 in the published run on Tiny ImageNet, 1e-3 in the card's on features."""
    weight_decay: float = 0.05
    """Decoupled (AdamW), on all parameters: both published runs use 0.05."""
    batch_size: int = 128
    """Samples per step. `fit` takes the batches as they come; it stands here so that a checkpoint remembers it."""
    grad_clip: float | None = 1.0
    """Largest gradient norm. The sharp lenses (alpha above 5) give rare spikes that 1.0 cuts; None leaves them."""
    precision: str = "no"
    """"no" is float32; "bf16" halves the memory on newer GPUs; "fp16" is for GPUs without bf16 and scales the loss."""
    seed: int = 0
    """Of the data order and of all random draws while training (the model's own start is the caller's)."""
    warmup_epochs: int = 0
    """Epochs of linear ascent before the schedule. The published runs have none; large batches want a few."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    accumulate: int = 1
    """Batches whose gradients are added up before each step, weighted by their labels: as one batch of all of them, in
    the memory of one (batch norm alone sees them one by one)."""
    save_every_n_epochs: int = 10
    """Epochs between checkpoints: what a killed run has to do again at most. The only field free to change later."""
    schedule: str = "cosine"
    """Of the learning rate after the warm-up: the distillation card's half of a cosine down to 0; "cosine_restarts",
    one after the other; "linear" down to 0; "constant". The GeoFractalDavid card has a scheduler_type, and does not say
    which."""
    restart_epochs: int = 10
    """Of the first cosine of "cosine_restarts"; each next is twice as long."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # a checkpoint holds Python's numbers alone
                object.__setattr__(self, name, value.item())
        for name in ("epochs", "batch_size", "accumulate", "save_every_n_epochs"):
            _require(_is_int(value := getattr(self, name)) and value >= 1, name, value, "a whole number from 1 on")
        _require(_is_number(self.lr) and self.lr > 0, "lr", self.lr, "a number above 0")
        _require(
            _is_number(self.weight_decay) and self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more"
        )
        _require(
            self.grad_clip is None or (_is_number(self.grad_clip) and self.grad_clip > 0),
            "grad_clip",
            self.grad_clip,
            "a number above 0, or None",
        )
        _require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        _require(_is_int(self.seed) and 0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 2**32 - 1")
        _require(
            _is_int(self.warmup_epochs) and 0 <= self.warmup_epochs < self.epochs,
            "warmup_epochs",
            self.warmup_epochs,
            f"a whole number from 0 to {self.epochs - 1} (fewer than epochs)",
        )
        _require(
            _is_number(self.label_smoothing) and 0 <= self.label_smoothing < 1,
            "label_smoothing",
            self.label_smoothing,
            "at least 0 and below 1",
        )
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        _require(
            _is_int(self.restart_epochs) and self.restart_epochs >= 1,
            "restart_epochs",
            self.restart_epochs,
            "a whole number from 1 on",
        )

    def lr_factor(self, epoch: int) -> float:
        """What `lr` is multiplied by in an epoch (from 0): a linear ascent, then the schedule.

        Without a warm-up equal to torch's CosineAnnealingLR over `epochs`, CosineAnnealingWarmRestarts with T_mult 2,
        and LinearLR from 1 to 0, stepped once per epoch.
        """
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        if self.schedule == "constant":
            return 1.0
        done, length = epoch - self.warmup_epochs, self.epochs - self.warmup_epochs
        if self.schedule == "cosine_restarts":
            length = self.restart_epochs
            while done >= length:
                done, length = done - length, 2 * length
        if self.schedule == "linear":
            return 1 - done / length
        return (1 + math.cos(math.pi * (done / length))) / 2


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _require(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise RecipeError(f"{name} must be {wanted}, not {value!r}.")
