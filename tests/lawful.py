"""What the tests of every chapter's laws have in common: each law holds, and each has been seen to fail."""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
import torch


def hold(laws: ModuleType, seeds: int = 8) -> Callable[..., None]:
    """A test of each law in both precisions."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("seed", range(seeds))
    @pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
    def test_law(law, seed, dtype):
        law(seed, dtype)

    return test_law


def fail(
    laws: ModuleType,
    math: ModuleType,
    faults: Sequence[tuple[str, Callable[..., Any], str]],
    seeds: int = 8,
    *,
    table: Mapping[str, Any] | None = None,
    raises: tuple[type[Exception], ...] = (AssertionError,),
) -> tuple[Callable[..., None], Callable[[], None]]:
    """A test of each fault, and one that no law is without.

    Args:
        math: where the functions are.
        faults: the name of a function, what is put in its place, and a law that has to notice it.
        table: names in it are replaced there.
        raises: more, where a fault may leave nothing that can be compared.
    """

    @pytest.mark.parametrize(("name", "fault", "law"), faults, ids=lambda each: each if isinstance(each, str) else "")
    def test_a_fault_is_noticed(monkeypatch, name, fault, law):
        if name in (table or ()):
            monkeypatch.setitem(table, name, fault)
        else:
            monkeypatch.setattr(math, name, fault)
        with pytest.raises(raises):
            for seed in range(seeds):
                getattr(laws, law)(seed, torch.float64)

    def test_every_law_can_fail():
        assert {law.__name__ for law in laws.LAWS} == {law for *_, law in faults}

    return test_a_fault_is_noticed, test_every_law_can_fail
