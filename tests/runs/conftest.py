"""The tiny run, and what of a result must be the same when it is made again."""

import copy
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mobius_lib.runs import Run


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A run's numbers differ with the number of threads; before what else a module makes once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).parents[1] / "tiny_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(tiny_module: ModuleType) -> Run:
    return tiny_module.RUN


@pytest.fixture(scope="session")
def lasting():
    """A function that leaves out of a result what differs from one making to the next: times alone."""

    def strip(result: dict[str, Any]) -> dict[str, Any]:
        result = copy.deepcopy(result)
        for name in ("wall_seconds", "created"):
            assert result.pop(name)
        for rows in result["arms"].values():
            for row in rows:
                assert row.pop("seconds") > 0
                for epoch in row["history"]:
                    assert epoch.pop("seconds") > 0
        for row in result["cost"].values():
            for name in ("seconds", "ratio_to_gelu"):
                assert row.pop(name) > 0
            assert min(row.pop("ratios_to_gelu")) > 0
        return result

    return strip
