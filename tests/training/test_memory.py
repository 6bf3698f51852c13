import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
if sys.argv[1] == "kept":
    from mobius_lib.training.memory import keep_freed_memory
    assert keep_freed_memory()
held = [torch.ones(2**20) for _ in range(4)]  # 4 MB each
del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    several = [torch.ones(2**20) for _ in range(4)]
    del several
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again():
    """Page faults of 200 tensors of 1024 pages each: next to none, where the system's default makes thousands."""

    def faults(mode: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        return int(done.stdout)

    pages = 1024  # of one tensor, 200 of which are made
    assert faults("kept") < 5 * pages  # those of the four that are held at once, and what else Python asks for
    # now and then something small that lies at the heap's end keeps the system from taking it back
    assert any(faults("default") > 100 * pages for _ in range(20))
