"""For all tests: one thread per worker, draws that do not depend on the machine's mood, and what a machine may lack."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: several workers share the cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest
from hypothesis import settings

# No deadline: what hypothesis would call slow is another process on a shared core.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

NO_CHROMIUM = "no Chromium for the browser tests: `apt install chromium`, or on a Mac `brew install --cask chromium`"
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_chromium(), args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[Path], str]]:
    """Serves a folder to browsers on this machine, to the end of the tests; gives its address."""
    with ExitStack() as until_the_end:

        def serve(folder: Path) -> str:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
            thread = threading.Thread(target=until_the_end.enter_context(server).serve_forever, daemon=True)
            thread.start()
            for close in (thread.join, server.shutdown):  # the last one first
                until_the_end.callback(close)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


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


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whoever asks for the browser is marked as its test."""
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker("browser")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a machine lacks is said here, not in a fixture: pytest then says it once for all tests.

    A compiler that is there and fails is no reason to skip.
    """
    if "browser" in getattr(item, "fixturenames", ()) and _chromium() is None:
        _lacking(NO_CHROMIUM)
    if item.get_closest_marker("compiler"):
        from mobius_lib.native import NoCompiler, compiler  # here: most test files ask for no torch so early

        try:
            compiler()
        except NoCompiler as error:
            pytest.skip(str(error))
