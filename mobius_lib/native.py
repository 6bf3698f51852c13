"""C++ kernels for CPUs, built by the machine's compiler on first use and kept on the disk."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-march=native", "-ffp-contract=fast", "-fno-math-errno")
FLAGS += ("-fno-trapping-math", "-fopenmp")
"""Nothing that would let the compiler reorder sums: where a kernel allows it, it says so (omp simd reduction)."""


def build(source: Path) -> ctypes.CDLL:
    """The library of one C++ file that needs nothing but the standard library and headers beside it.

    Raises:
        RuntimeError: when there is no C++ compiler, or it fails; the message ends with what it said.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise RuntimeError("there is no C++ compiler; install g++ or clang++, or name one in CXX")
    command = [*compiler.split(), *FLAGS, str(source)]
    print_of = hashlib.sha256(source.read_bytes())
    for header in sorted(source.parent.glob("*.h")):
        print_of.update(header.read_bytes())
    print_of.update("\0".join([*command[:-1], _processor()]).encode())
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("MOBIUS_CACHE") or shared / "mobius") / "kernels"
    target = folder / f"{source.stem}-{print_of.hexdigest()[:16]}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(suffix=".so", dir=folder)
        os.close(handle)
        try:
            done = subprocess.run([*command, "-o", scratch], capture_output=True, text=True)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
                raise RuntimeError(f"{command[0]} could not build {source.name}: {(errors or ['no message'])[0]}")
            os.replace(scratch, target)  # in one step: another process may be building it, too
        finally:
            Path(scratch).unlink(missing_ok=True)
    return ctypes.CDLL(str(target))


def _processor() -> str:
    """What -march=native stands for here: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), "")
