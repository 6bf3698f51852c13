"""What a check is: its outcome, its evidence, and the register of all of them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from mobius_lib.errors import MobiusError

if TYPE_CHECKING:
    from mobius_lib.ledger.claims import Claim
    from mobius_lib.ledger.results import Results

REPRODUCED: Literal["reproduced"] = "reproduced"
PARTLY: Literal["partly"] = "partly"
REFUTED: Literal["refuted"] = "refuted"
AWAITS: Literal["awaits"] = "awaits"
Word = Literal["reproduced", "partly", "refuted", "awaits"]
WORDS: tuple[Word, ...] = (REPRODUCED, PARTLY, REFUTED, AWAITS)


class LedgerError(MobiusError):
    """A claim, a result file or a README block is not what the ledger can judge; the sentence names it."""


@dataclass(frozen=True)
class Measurement:
    """What a check found."""

    value: Any
    """A number, a list or a mapping of numbers, or text; None when nothing could be measured."""
    unit: str
    verdict: Word
    explanation: str
    """The arithmetic in one or two sentences, with its numbers."""
    sources: tuple[str, ...] = ()
    """The functions or the result files it was measured with."""


Check = Callable[..., Measurement]
CHECKS: dict[str, Check] = {}
"""Every check by name, filled by `register`."""


def register(function: Check) -> Check:
    """Make a function a check, under its own name.

    It is called as `function(claim, results, **claim.arguments)` and returns a `Measurement`. It is pure: the same
    code and the same result files give the same outcome.
    """
    if function.__name__ in CHECKS:
        raise ValueError(f"Two checks are called {function.__name__!r}.")
    CHECKS[function.__name__] = function
    return function


def argument_names(check: Check) -> tuple[set[str], set[str]]:
    """Names a claim may give to a check, and those it must give."""
    parameters = list(inspect.signature(check).parameters.values())[2:]
    return {p.name for p in parameters}, {p.name for p in parameters if p.default is inspect.Parameter.empty}


def call(claim: "Claim", results: "Results") -> Measurement:
    """Run a claim's check with a random state of its own: what it draws is repeatable, and the caller's state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        try:
            return CHECKS[claim.check](claim, results, **claim.arguments)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise LedgerError(
                f"claim {claim.id!r}: the check {claim.check} cannot use its `reported` or `arguments` "
                f"({type(error).__name__}: {error})."
            ) from error


def awaits(explanation: str) -> Measurement:
    """The outcome of a check whose evidence is not there yet; the claim's command would make it."""
    return Measurement(None, "", AWAITS, explanation)
