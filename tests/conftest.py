"""For all tests: one thread per worker, draws that do not depend on the machine's mood, and what a machine may lack."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: several workers share the cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest
from hypothesis import settings

# No deadline: what hypothesis would call slow is another process on a shared core.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `compiler` where there is none; one that fails is no reason to skip."""
    if item.get_closest_marker("compiler"):
        from mobius_lib.native import NoCompiler, compiler  # here: most test files ask for no torch so early

        try:
            compiler()
        except NoCompiler as error:
            pytest.skip(str(error))
