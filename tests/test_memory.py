import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from mobius_lib.memory import keep_freed_memory

def faults():
    held = [torch.ones(2**20) for _ in range(4)]  # 4 MB each
    del held
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        several = [torch.ones(2**20) for _ in range(4)]
        del several
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults()
assert keep_freed_memory()
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again():
    """Page faults of 200 tensors of 1024 pages each: next to none, where the system's default makes thousands."""
    pages = 1024  # of one tensor, 200 of which are made
    for _ in range(20):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        default, kept = map(int, done.stdout.split())
        assert kept < 5 * pages  # those of the four that are held at once, and what else Python asks for
        if default > 100 * pages:  # now and then something small at the heap's end keeps the system from taking it back
            return
    pytest.fail("the system's default takes nothing back here")
