"""For all tests: one thread per worker, draws that do not depend on the machine's mood, and what a machine may lack."""

import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: several workers share the cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test has more threads, they do not spin meanwhile

import pytest
from hypothesis import settings

import tools.browser

# No deadline: what hypothesis would call slow is another process on a shared core.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


def _lacking(message: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], None]:
    """Ends a test for something that this machine lacks and could have: it is skipped, and under CI it fails."""
    return _lacking


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads; afterwards it is what it was."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with tools.browser.opened() as running:
        yield running


@pytest.fixture(scope="session")
def made_up() -> list[Any]:
    """Verdicts that nobody reached: every outcome on every basis that can have it, in five chapters."""
    from mobius_lib.ledger.claims import BASES, Claim
    from mobius_lib.ledger.rules import OUTCOMES
    from mobius_lib.ledger.verdicts import Part, Verdict

    found = []
    for i, (basis, outcome) in enumerate((basis, outcome) for basis in BASES for outcome in OUTCOMES):
        small = basis == "measured small"
        if outcome in (("reproduced", "refuted") if small else ("seen here", "not seen here", "no difference")):
            continue
        parts = [("left", "undecided", 0.5), ("right", "seen here" if small else "refuted", 2.5)] * (
            outcome == "partly"
        )
        claim = Claim(
            id=f"claim-{i}",
            chapter=1 + i % 5,
            source=[f"00{i % 5}:{i + 1}"] if i % 7 else ["000:1", "001:2"],
            quote=None if i % 6 == 0 else f"~{i} <b>",
            whose="ours" if i % 6 == 0 else "source",
            statement=f"A claim, a|b *c* _d_ <b>e</b> $f$ `g|h` & number {i}",
            basis=basis,
            reported={"left": 1.0, "right": 2.0} if parts else 1000.0 + i,
            tolerance=0.25,
            why="Half a <digit>.",
            unit="points",
            fault="slip" if i % 2 else None,
            formula={"left": "1", "right": "2"} if parts else "1",
            smallest=0.5 if small else None,
            headline=i % 3 == 0,
        )
        record = {"record": "run.short.json", "made": "2026-01-02", "commit": "abc", "verified": "2026-01-03"}
        verdict = Verdict(
            claim=claim,
            outcome=outcome,
            measured=None if outcome == "awaits" else {name: value for name, _, value in parts} or 2000.0 + i,
            interval=None,
            note="10,000 rows, 5 seeds" if small else "",
            words=f"{i} + 1 = {i + 1}.",
            parts=tuple(
                Part(name=n, reported=1.0, measured=v, interval=None, outcome=o, words=f"{n} alone.")
                for n, o, v in parts
            ),
            sources=("results/run.short.json",) if small else ("mobius_lib.waves.math.gate",),
            evidence=(record | {"stale": f"{basis}: [o]ther code." if outcome == "stale" else None},)
            if small or outcome == "stale"
            else (),
            command=f"mobius run r --seeds {i}" if outcome in ("awaits", "stale") or small else None,
        )
        found.append(verdict)
    return found[1::2] + found[::2]  # in no order of its own


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[Path], str]]:
    """Serves a folder to browsers on this machine, to the end of the tests; gives its address."""
    with ExitStack() as until_the_end:
        yield lambda folder: until_the_end.enter_context(tools.browser.served(folder))


@pytest.fixture(scope="session")
def largest() -> type:
    """A context in which the size of the largest tensor that is made is kept, as `size`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            for each in made if isinstance(made, tuple | list) else (made,):
                if isinstance(each, torch.Tensor):
                    self.size = max(self.size, each.numel())
            return made

    return Largest


def pytest_configure(config: pytest.Config) -> None:
    """A test with two workers may have one processor: then torch warns of what it is asked for."""
    config.addinivalue_line("filterwarnings", "ignore:This DataLoader will create:UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long first, by a guess at their seconds: no worker is left alone with one of them at the end."""
    seconds: Counter[Path] = Counter()
    guess = {"slow": 10, "browser": 2}
    for item in items:
        seconds[item.path] += max((guess.get(mark.name, 0.1) for mark in item.iter_markers()), default=0.1)
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """What the test files have imported stays: whoever collects garbage, as each measurement of memory does, need not
    look through it."""
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whoever asks for the browser is marked as its test."""
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker("browser")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a machine lacks is said here, not in a fixture: pytest then says it once for all tests.

    A compiler that is there and fails is no reason to skip.
    """
    if "browser" in getattr(item, "fixturenames", ()) and tools.browser.chromium() is None:
        _lacking(tools.browser.NO_CHROMIUM)
    if item.get_closest_marker("compiler"):
        from mobius_lib.native import NoCompiler, compiler  # here: most test files ask for no torch so early

        try:
            compiler()
        except NoCompiler as error:
            pytest.skip(str(error))
