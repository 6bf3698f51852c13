"""A setting that takes no time, and a record of it."""

import pytest
import torch

from mobius_lib.bench import measure
from mobius_lib.bench.waves import Setting, bench

TINY = Setting(
    torch.device("cpu"), batch=3, size=(6, 5), channels=(5, 8), depths=(1, 2), classes=4, widths=((5, 6), (8, 2)),
    gate_elements=1200,
)  # fmt: skip
FORMS = ("printed", "ours", "folded", "gelu", "gelu folded")


@pytest.fixture(scope="session", autouse=True)
def short_turns():
    """No figure of these tests says anything, so a turn may be as short as the clock allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SHORTEST", 1e-3)
        yield


@pytest.fixture
def tiny() -> Setting:
    return TINY


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A quick benchmark without torch.compile: its file, its record, and what it said."""
    path, said = tmp_path_factory.mktemp("bench") / "cpu.json", []
    record = bench(
        "cpu", quick=True, threads=1, forms=FORMS, backend="eager", rounds=4, rows=300, output=path, say=said.append
    )
    return path, record, said
