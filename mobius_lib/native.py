"""C++ kernels for CPUs, built by the machine's compiler on first use and kept on the disk."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-march=native", "-ffp-contract=fast", "-fno-math-errno")
FLAGS += ("-fno-trapping-math", "-fopenmp")
"""Nothing that would let the compiler reorder sums: where a kernel allows it, it says so (omp simd reduction)."""


class NoCompiler(RuntimeError):
    """There is no C++ compiler: slower forms serve as well, and nobody need be told."""


def build(source: Path) -> ctypes.CDLL:
    """The library of one C++ file that needs nothing but the standard library and headers beside it.

    Raises:
        NoCompiler: when there is no C++ compiler.
        RuntimeError: when it fails; the message ends with what it said.
    """
    command = [*compiler(), *FLAGS, str(source)]
    headers = b"".join(header.read_bytes() for header in sorted(source.parent.glob("*.h")))
    return build_once(command, kept_as(source.stem, source.read_bytes() + headers, *command[:-1]))


def addresses(*tensors: Any) -> list[int | None]:
    """Where tensors lie in memory, for a kernel; None for None. The caller keeps them alive, and contiguous."""
    return [None if each is None else each.data_ptr() for each in tensors]


def concrete(*tensors: Tensor | None) -> bool:
    """Whether tensors lie in memory and nothing records or transforms what is done with them.

    Only then may a kernel read addresses, a check look at values, or an `autograd.Function` without rules for it stand
    in the way. Else (torch.compile, export, torch.func, forward mode, batched gradients, tensors on the meta device,
    fake ones and other subclasses) plain operations have to serve.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack()
        or any(
            each.is_meta or type(each) not in (Tensor, Parameter) or torch._C._functorch.is_legacy_batchedtensor(each)
            for each in tensors
            if each is not None
        )
    )


def compiler() -> list[str]:
    """The command of this machine's C++ compiler.

    Raises:
        NoCompiler: when there is none.
    """
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not found:
        raise NoCompiler("there is no C++ compiler; install g++ or clang++, or name one in CXX")
    return found.split()


def kept_as(name: str, source: bytes, *words: str) -> Path:
    """Where a built kernel lies: one file per source, words (of the command, say) and machine."""
    print_of = hashlib.sha256(source)
    print_of.update("\0".join([*words, _processor()]).encode())
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("MOBIUS_CACHE") or shared / "mobius")
    return folder / "kernels" / f"{name}-{print_of.hexdigest()[:16]}.so"


def build_once(command: list[str], target: Path) -> ctypes.CDLL:
    """The library that a command builds, from the disk where it has been built before.

    Args:
        command: of the compiler, without its output.
        target: of `kept_as`.
    Raises:
        RuntimeError: when the compiler fails; the message ends with what it said.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(suffix=".so", dir=target.parent)
        os.close(handle)
        try:
            done = subprocess.run([*command, "-o", scratch], capture_output=True, text=True)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
                source = next((Path(word).name for word in command if word.endswith(".cpp")), "a kernel")
                raise RuntimeError(f"{command[0]} could not build {source}: {(errors or ['no message'])[0]}")
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
