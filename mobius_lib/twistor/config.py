"""The sizes of a TwistorHopeArchitecture, checked where they are given, and the four presets of the MT-HOPE README."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from mobius_lib.twistor.cell import SCALES
from mobius_lib.twistor.checks import is_whole
from mobius_lib.twistor.fast.choice import BACKENDS
from mobius_lib.twistor.recurrent import FORMS

PRESETS: dict[str, dict[str, Any]] = {
    name: dict(
        zip(("dim", "num_recurrent_layers", "num_nested_levels", "num_memories", "bidirectional"), sizes, strict=True)
    )
    for name, sizes in {
        "small": (128, 2, 5, 3, False),
        "medium": (192, 2, 5, 4, False),
        "recommended": (256, 3, 6, 5, True),
        "large": (512, 4, 8, 8, True),
    }.items()
}
"""The README's table. Its counts, at 1,000 tokens: 4.7M, 8.5M, 25M, 100M; the chapter says what ours count."""


@dataclass(frozen=True)
class TwistorConfig:
    """Everything that decides what a model is.

    Raises:
        ValueError: naming the argument that no model can have.
    """

    vocab_size: int = 1000
    """Tokens there are."""
    dim: int = 128
    """Real numbers of each of omega and pi; even. Everything between the layers is 2 dim wide."""
    hidden_dim: int | None = None
    """As dim, of the recurrent state; None is dim."""
    num_recurrent_layers: int = 2
    num_nested_levels: int = 5
    num_memories: int = 3
    """Slots."""
    bidirectional: bool = False
    """Read from both ends. Such a model sees the future: it has no streaming, and learns from hidden tokens
    (`masked_objective`)."""
    num_mobius_cycles: int = 3
    num_memory_cycles: int = 2
    coupled: bool = True
    """z + c Jz after every Möbius map, c learned. False: what turns points is (az + b)/(cz + d) everywhere, exactly."""
    dropout: float = 0.1
    form: str = "recurrent"
    """recurrent, or scan: gates from the input alone (`scan_cell.py` says what that loses)."""
    use_mobius: bool = True
    """False leaves out all Möbius layers, also those in the cells."""
    use_memory: bool = True
    use_phase_compression: bool = True
    slot_bits: int | None = None
    """8 or 16: slots are kept between the pieces of a sequence by their phases, of so many bits; None: as they are."""
    use_nested_learning: bool = True
    use_adaptive_evolution_rate: bool = True
    scales: Sequence[str] = tuple(SCALES)
    """Of the evolution: some of fast, medium, slow; () leaves it out."""
    update_rate: float = 0.1
    """alpha of the fastest slot at first."""
    continuum_levels: int = 0
    """Of a memory that changes its own weights while it reads (`self_modifying.py`); 0: none."""
    continuum_period: int = 4
    """C of that memory: its level l changes every C^l tokens."""
    nested_period: int = 2
    """C: level l is updated every C^l steps."""
    level_factor: float = 0.9
    """Of the learning rate from one level to the next; the public code's."""
    omega_rate: float = 1.0
    """What the learning rate of the omega networks is multiplied by; pi_rate likewise."""
    pi_rate: float = 1.0
    constraint: float | None = 1.0
    """What |omega . pi| per pair is held at; None holds nothing."""
    constraint_weight: float = 0.1
    """Of the constraint loss; the public code's."""
    dynamic_weights: bool = True
    """The levels' weights rise over training."""
    backend: str = "auto"
    """Of recurrence, memory and nested levels; decides speed and nothing else."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_dim", self.dim if self.hidden_dim is None else self.hidden_dim)
        for name in (
            "vocab_size", "dim", "hidden_dim", "num_recurrent_layers", "num_nested_levels", "num_memories",
            "num_mobius_cycles", "num_memory_cycles", "nested_period", "continuum_levels", "continuum_period",
        ):  # fmt: skip
            value, least = getattr(self, name), 0 if name in ("num_memory_cycles", "continuum_levels") else 1
            if not is_whole(value) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}.")
            object.__setattr__(self, name, int(value))  # of numpy, perhaps
        for name in ("dim", "hidden_dim"):
            if getattr(self, name) % 2:
                raise ValueError(
                    f"{name} must be even, for omega and pi have {name}/2 real and {name}/2 imaginary parts, "
                    f"not {getattr(self, name)}."
                )
        if isinstance(self.scales, str):
            raise ValueError(f"scales must be a list of some of {', '.join(SCALES)}, not the text {self.scales!r}.")
        object.__setattr__(self, "scales", tuple(self.scales))
        for name, low, high, words in (
            ("dropout", 0, 1, "at least 0 and below 1"),
            ("level_factor", 0, math.inf, "above 0 and at most 1"),
            ("update_rate", 0, 1, "between 0 and 1"),
            ("omega_rate", 0, math.inf, "above 0"),
            ("pi_rate", 0, math.inf, "above 0"),
            ("constraint_weight", 0, math.inf, "0 or more"),
        ):
            value = getattr(self, name)
            zero = name in ("dropout", "constraint_weight")
            good = _is_number(value) and (low <= value if zero else low < value) and value < high
            if not good or (name == "level_factor" and value > 1):
                raise ValueError(f"{name} must be {words}, not {value!r}.")
        if self.constraint is not None and not (_is_number(self.constraint) and self.constraint >= 0):
            raise ValueError(f"constraint must be 0 or more, or None, not {self.constraint!r}.")
        for name, there in (("form", FORMS), ("backend", BACKENDS)):
            if getattr(self, name) not in there:
                raise ValueError(f"{name} must be one of {', '.join(there)}, not {getattr(self, name)!r}.")
        if unknown := [each for each in self.scales if each not in SCALES]:
            raise ValueError(f"scales names {unknown[0]!r}, but there are {', '.join(SCALES)}.")


def get_config(name: str = "recommended") -> dict[str, Any]:
    """The sizes of a preset, as the MT-HOPE README's table has them.

    Raises:
        ValueError: when there is no such preset, with those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; the presets are {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def create_full_config(name: str = "recommended", vocab_size: int = 1000, **settings: Any) -> TwistorConfig:
    """A preset as a whole configuration, with some of its settings changed.

    Args:
        name: small, medium, recommended, large. The last two read both ways, and learn from hidden tokens;
            bidirectional=False makes language models of them.
        vocab_size: tokens there are.
        settings: fields of `TwistorConfig`.
    Raises:
        ValueError: when there is no such preset or setting, or no model can have it.
    """
    sizes = get_config(name)
    known = [field.name for field in fields(TwistorConfig)]
    if unknown := [each for each in settings if each not in known]:
        raise ValueError(f"There is no setting {unknown[0]!r}; the settings are {', '.join(known)}.")
    return TwistorConfig(**(sizes | {"vocab_size": vocab_size} | settings))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
