"""Checks are called with what a claim says, whatever that is, and what they find is a number."""

import math
from typing import Any

import pytest
import torch

from mobius_lib.ledger import LedgerError
from mobius_lib.ledger.base import CHECKS, Found, Sample, call
from mobius_lib.ledger.results import Results
from mobius_lib.runs.about import RunError


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, OverflowError, ImportError, MemoryError, RunError])
def test_whatever_an_argument_comes_to_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], tmp_path: Any
) -> None:
    def odd(*, size: int) -> Found:
        raise error(f"of {size}\nlines")

    monkeypatch.setitem(CHECKS, "odd", odd)
    with pytest.raises(LedgerError, match="the check odd cannot use its `arguments`") as caught:
        call("odd", {"size": 3}, Results(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, [1.0, math.nan], {"a": 1, "b": {"c": math.inf}}])
def test_what_is_no_number_refutes_nothing(monkeypatch: pytest.MonkeyPatch, value: Any, tmp_path: Any) -> None:
    monkeypatch.setitem(CHECKS, "odd", lambda: Found(value, "Words."))
    with pytest.raises(LedgerError, match=r"odd finds .*finite"):
        call("odd", {}, Results(tmp_path))


@pytest.mark.parametrize(("values", "rows"), [((), 0.0), ((1.0, math.nan), 0.0), ((1e200,), 0.0), ((1.0,), math.inf)])
def test_a_sample_is_of_numbers(values: tuple[float, ...], rows: float) -> None:
    with pytest.raises(LedgerError, match="averaged"):
        Sample(values, "Words.", row_error=rows)


def test_a_check_draws_from_a_state_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(CHECKS, "odd", lambda: Found(torch.rand(1).item(), "Words."))
    before = torch.random.get_rng_state()
    assert call("odd", {}, Results(tmp_path)) == call("odd", {}, Results(tmp_path))
    assert torch.equal(before, torch.random.get_rng_state())
