"""For all tests: one thread per worker, and draws that do not depend on the machine's mood."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: several workers share the cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

from hypothesis import settings

# No deadline: what hypothesis would call slow is another process on a shared core.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
