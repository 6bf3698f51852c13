"""The Triton kernels in Triton's interpreter, on CPU tensors: the tests of test_fused.py that name a backend.

A process of its own, because the interpreter is chosen when the kernels are imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton cannot be imported here")


@pytest.mark.slow
def test_in_the_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1", "MOBIUS_TEST_BACKEND": "triton"}
    command = [sys.executable, "-m", "pytest", "-v", "-x", "-k", "triton", "-p", "no:cacheprovider", "-p", "no:xdist"]
    # the interpreter is numpy, which remarks on what a GPU does in silence: 2 * 3e38 and inf - inf
    command += [f"-Wignore:{what}:RuntimeWarning" for what in ("overflow", "invalid value", "divide by zero")]
    file = Path(__file__).with_name("test_fused.py")
    done = subprocess.run([*command, str(file)], env=environment, capture_output=True, text=True, cwd=file.parents[3])
    assert done.returncode == 0 and "-triton] PASSED" in done.stdout, done.stdout[-3000:]
