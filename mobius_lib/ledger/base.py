"""What a check returns: numbers in words, never a verdict; and the register of all checks.

A check does not see what was reported. `rules` compares the two.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mobius_lib.errors import MobiusError

if TYPE_CHECKING:
    from mobius_lib.ledger.results import Results


class LedgerError(MobiusError):
    """A claim, a result file or a README block is not what the ledger can judge; the sentence names it."""


LARGEST = 1e100
"""Sums and squares of smaller numbers are finite."""


@dataclass(frozen=True)
class Gate:
    """What must hold before a small measurement decides anything."""

    text: str
    """Why nothing is decided while it is closed: "the best rate of lens, 0.01, is the largest tried"."""
    open: bool


@dataclass(frozen=True)
class Found:
    """What is the same each time it is measured."""

    value: Any
    """A number, bool, text, list, or mapping of named parts (or of their findings), shaped as `reported`."""
    words: str
    """The arithmetic in a sentence or two, with its numbers."""
    sources: tuple[str, ...] = ()
    """The functions (dotted) or the result files ("results/NAME.json") it was measured with."""
    note: str = ""
    """How small a small measurement was: "10,000 rows"."""
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True)
class Sample:
    """What varies from seed to seed: one number per seed, of two arms their difference."""

    values: tuple[float, ...]
    words: str
    unit: str = ""
    gates: tuple[Gate, ...] = ()
    row_error: float | None = None
    """Standard error that the finite test set adds to the mean; None where it is not known: then a small one decides
    nothing."""
    sources: tuple[str, ...] = ()
    note: str = ""
    wider: Callable[[int], float] = lambda _: 1.0
    """How many times the spread of so many seeds was taken for `values`, since seeds share what they are drawn from."""

    def __post_init__(self) -> None:
        if not self.values or not all(abs(value) < LARGEST for value in (*self.values, self.row_error or 0.0)):
            raise LedgerError(f"not all of {list(self.values)}, with a row error of {self.row_error}, can be averaged.")


class Missing(Exception):
    """There is no evidence yet; the claim's command makes it. A check raises it."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


Finding = Found | Sample | Missing
Check = Callable[..., Finding]
CHECKS: dict[str, Check] = {}
"""Every check by name, filled by `register`."""


def register(function: Check) -> Check:
    """Make a function a check, under its own name.

    It is called as `function(**arguments)` with the arguments of the claim; one named `results` gets the result files.
    It is pure: the same code and the same result files give the same numbers.
    """
    if function.__name__ in CHECKS:
        raise ValueError(f"Two checks are called {function.__name__!r}.")
    CHECKS[function.__name__] = function
    return function


def argument_names(check: Check) -> tuple[set[str], set[str]]:
    """Names a claim may give to a check, and those it must give."""
    parameters = [p for p in inspect.signature(check).parameters.values() if p.name != "results"]
    return {p.name for p in parameters}, {p.name for p in parameters if p.default is inspect.Parameter.empty}


def call(name: str, arguments: Mapping[str, Any], results: "Results") -> Finding:
    """Run a check with a random state of its own: what it draws is repeatable, and the caller's state stays.

    Raises:
        LedgerError: when it cannot use its arguments, or what it finds is no finite number.
    """
    check = CHECKS[name]
    given = {"results": results} if "results" in inspect.signature(check).parameters else {}
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        try:
            found = check(**given, **arguments)
        except LedgerError:
            raise
        except Missing as nothing:
            return nothing
        except Exception as error:  # an argument of any type may come to anything
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise LedgerError(f"the check {name} cannot use its `arguments` ({said}).") from error
    if isinstance(found, Found) and not _is_finite(found.value):
        raise LedgerError(f"the check {name} finds {found.value!r}, where finite numbers belong.")
    return found


def _is_finite(value: Any) -> bool:
    if isinstance(value, Found):
        return _is_finite(value.value)
    if isinstance(value, Mapping | list | tuple):
        return all(map(_is_finite, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, float) or math.isfinite(value)
