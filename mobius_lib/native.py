"""C++ kernels for CPUs: built by the machine's compiler on first use and kept on the disk; and the gate through which
tensors come to them.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

try:
    import fcntl
except ImportError:  # not on Windows: there two processes may build one kernel twice, and the later one is kept
    fcntl = None  # type: ignore[assignment]

FLAGS: tuple[str, ...] = ("-O3", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=fast")
FLAGS += ("-fno-math-errno", "-fno-trapping-math", "-fopenmp")
"""Nothing that would let the compiler reorder sums: where a kernel allows it, it says so (omp simd reduction)."""

NATIVE, AVX2 = "-march=native", "-march=x86-64-v3"
SPARED = {"-fopenmp": ("openmp", "omp"), **dict.fromkeys((NATIVE, AVX2), ("march", "mcpu", "cpu"))}
"""Flags that a compiler may lack, as Apple's clang lacks OpenMP, and how it names them when it complains: without them
a kernel is slower (on one thread, or without wide registers), and its numbers are the same."""

RUNTIME = re.compile(r"/lib(gomp|omp|iomp5)\b[^/]*$")
"""An OpenMP runtime, by the end of its path."""


class NoCompiler(RuntimeError):
    """There is no C++ compiler: slower forms serve as well, and nobody need be told."""


class BadCompiler(RuntimeError):
    """CXX names something that cannot be used: slower forms serve, and whoever set it is told."""


# --- the gate --------------------------------------------------------------------------------------------------------


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


def fits(*given: Tensor | None, dtypes: Sequence[torch.dtype] = (torch.float32,)) -> bool:
    """Whether kernels that read numbers of some types may be handed these tensors; None is passed over."""
    return concrete(*given) and all(
        x.device.type == "cpu" and x.dtype in dtypes and x.layout == torch.strided for x in given if x is not None
    )


def ready(*given: Tensor | None, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    """Tensors as kernels read them: of one type, one number after the other. Autograd sees it."""
    return [None if x is None else x.to(dtype).resolve_neg().contiguous() for x in given]


def address(x: Tensor | None, count: int, dtype: torch.dtype = torch.float32) -> int | None:
    """Where a tensor lies in memory, for a kernel; None for None. The caller keeps it alive.

    This is the one place where a tensor becomes a pointer, so that no kernel reads or writes what is not there.

    Args:
        x: contiguous, on the CPU, of the type: `ready` makes it so.
        count: how many numbers the kernel reads or writes there.
    Raises:
        ValueError: when it is anything else.
    """
    if x is None:
        return None
    good = (
        x.dtype == dtype
        and x.device.type == "cpu"
        and x.layout == torch.strided
        and x.is_contiguous()
        and not x.is_neg()
        and x.numel() == count
        and (not count or x.untyped_storage().nbytes() >= (x.storage_offset() + count) * x.element_size())
    )
    if not good:
        raise ValueError(
            f"A kernel takes {count} numbers of {dtype} in one row on the CPU, not {x.dtype} of shape "
            f"{tuple(x.shape)} and stride {x.stride() if x.layout == torch.strided else x.layout} on {x.device}: "
            'give tensors that fit each other, or take the readable form with backend="eager".'
        )
    return x.data_ptr()


def addresses(*pairs: tuple[Tensor | None, int], dtype: torch.dtype = torch.float32) -> list[int | None]:
    """`address` of several tensors, each with its count of numbers."""
    return [address(x, count, dtype) for x, count in pairs]


def rows(x: Tensor | None, steps: int, count: int) -> list[int | None]:
    """Where each of so many steps of a tensor (steps, ...) lies, of count numbers each; None has no memory."""
    first = address(x, steps * count)
    return [None if first is None or x is None else first + t * count * x.element_size() for t in range(steps)]


# --- building --------------------------------------------------------------------------------------------------------


def build(source: Path) -> ctypes.CDLL:
    """The library of one C++ file that needs nothing but the standard library and headers beside it.

    Raises:
        NoCompiler: when there is no C++ compiler.
        RuntimeError: when it fails; the message ends with what it said.
    """
    return build_once(*_recipe(source))


TYPES: dict[str, Any] = {"n": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float, "p": ctypes.c_void_p}


def declared(source: Path, **functions: str) -> Callable[[], ctypes.CDLL]:
    """The library of one C++ file, as `build` makes it when it is asked for, and kept.

    Args:
        functions: name to the types of its arguments, a letter of `TYPES` for each; it returns nothing.
    """

    @functools.cache
    def library() -> ctypes.CDLL:
        lib = build(source)
        for name, letters in functions.items():
            function = getattr(lib, name)
            function.argtypes, function.restype = [TYPES[letter] for letter in letters], None
        return lib

    return library


def build_together(*sources: Path) -> None:
    """Those of several files that `build` would have to build, all at the same time; what fails is left to `build`."""
    try:
        missing = [recipe for recipe in map(_recipe, sources) if not recipe[1].exists()]
    except (NoCompiler, BadCompiler):
        return
    if len(missing) > 1:
        _say([_source(command) for command, _ in missing], missing[0][1].parent)
        with ThreadPoolExecutor(len(missing)) as pool:
            for done in [pool.submit(build_once, *recipe, told=True) for recipe in missing]:
                done.exception()


def compiler() -> list[str]:
    """The command of this machine's C++ compiler: that in CXX, which may have arguments, or the first that is found.

    Raises:
        NoCompiler: when there is none.
        BadCompiler: when CXX names one that is not there, or that cannot be used.
    """
    named = os.environ.get("CXX", "").strip()
    if not named:
        found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        if not found:
            raise NoCompiler("there is no C++ compiler; install g++ or clang++, or name one in CXX")
        return [found]
    # a path may have a space in it, and so may a command: "ccache g++"
    try:
        words = [named] if shutil.which(named) else shlex.split(named)
    except ValueError:  # a quotation mark without another
        words = []
    if not words or not shutil.which(words[0]):
        raise BadCompiler(f"CXX names {named!r}, which is no command here; correct it, or unset it")
    if Path(words[0]).stem.lower() in ("cl", "clang-cl"):
        raise BadCompiler(f"CXX names {named!r}, and Microsoft's compiler is not supported; name g++ or clang++")
    return words


def warn(message: str) -> None:
    """A RuntimeWarning that points to the line outside of this library and of torch that led here."""
    inside = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def kept_as(name: str, source: bytes, *words: str) -> Path:
    """Where a built kernel lies: one file per source, words (of the command, say) and machine."""
    print_of = hashlib.sha256(source)
    print_of.update("\0".join([*words, _processor()]).encode())
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("MOBIUS_CACHE") or shared / "mobius")
    return folder / "kernels" / f"{name}-{print_of.hexdigest()[:16]}.so"


def openmp() -> Path | None:
    """The OpenMP runtime that this process's torch computes with, where it can be told (Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    loaded = [Path(line.split(maxsplit=5)[5]) for line in lines if RUNTIME.search(line)]
    home = Path(torch.__file__).resolve().parent
    # other packages may have brought theirs
    own = [path for path in loaded if {home, home.with_name("torch.libs")} & set(path.parents)]
    return own[0] if own else loaded[0] if len(set(loaded)) == 1 else None


def one_openmp() -> list[str]:
    """What makes a kernel take torch's OpenMP runtime, so that one pool of threads serves both.

    The loader has a library once for each name. Under the usual one a kernel finds torch's by itself; some wheels gave
    theirs another (libgomp-a34b3233.so.1), and the kernel's threads would fight with torch's for the processors.
    """
    runtime = openmp()
    if runtime is None or runtime.name == "libgomp.so.1":
        return []
    # as needed: the compiler's own, which comes after it, has nothing left to give, and is left out
    return ["-Wl,--as-needed", f"-Wl,-rpath,{runtime.parent}", str(runtime)]


def build_once(command: list[str], target: Path, told: bool = False) -> ctypes.CDLL:
    """The library that a command builds, from the disk where it has been built before.

    Of several processes that want it one builds it, and the others wait. A file that cannot be loaded is built anew.

    Args:
        command: of the compiler, without its output.
        target: of `kept_as`.
        told: whether somebody has said already what is being built.
    Raises:
        RuntimeError: when the compiler fails; the message ends with what it said.
        OSError: when the folder cannot be written.
    """
    if target in _failed:
        raise RuntimeError(_failed[target])
    if target.exists():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    was = target.stat().st_ino if target.exists() else None  # damaged
    with _alone(target):
        if not target.exists() or target.stat().st_ino == was:  # nobody else has built it meanwhile
            if not told:
                _say([_source(command)], target.parent)
            # a folder, and not a file made beforehand: the linker then gives the file the rights that others need
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
                made = Path(scratch) / target.name
                try:
                    _compile(command, made)
                except RuntimeError as error:
                    _failed[target] = str(error)
                    raise
                os.replace(made, target)
    return ctypes.CDLL(str(target))


_failed: dict[Path, str] = {}
"""What the compiler said of those that it could not build: another try would end alike."""


def march() -> str:
    """The instructions that kernels are built for: this processor's, or AVX2 where torch is told to use no more.

    ATEN_CPU_CAPABILITY=avx2 so shows what a processor without AVX-512 would do.
    """
    return AVX2 if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() == "avx2" else NATIVE


def torch_compile(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """`torch.compile` with that limit.

    Inductor keeps its graphs by its settings, not by the variable: what it kept for AVX-512 and builds for AVX2 writes
    beyond its arrays.
    """
    if march() == AVX2:
        import torch._inductor.config as inductor

        inductor.cpp.simdlen = 256
    return torch.compile(function, **how)


def _recipe(source: Path) -> tuple[list[str], Path]:
    """The compiler's command, without its output, and the file that it makes."""
    before, after = [*compiler(), *FLAGS, march()], one_openmp()
    headers = b"".join(header.read_bytes() for header in sorted(source.parent.glob("*.h")))
    return [*before, str(source), *after], kept_as(source.stem, source.read_bytes() + headers, *before, *after)


def _compile(command: list[str], made: Path) -> None:
    """Run the compiler, once more without those flags of `SPARED` that it does not know, or torch's OpenMP."""
    while True:
        try:
            done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise RuntimeError(f"{command[0]} could not be run: {error.strerror}") from error
        if not done.returncode and made.exists():
            return
        lines = done.stderr.splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        text = " ".join(errors).lower()
        spared = next((word for word in command if RUNTIME.search(word) and word.lower() in text), None)
        if spared is None:
            spared = next((flag for flag in SPARED if flag in command and any(w in text for w in SPARED[flag])), None)
        if spared is None:
            raise RuntimeError(f"{command[0]} could not build {_source(command)}: {errors[0]}")
        command = [word for word in command if word != spared]


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Inside, no other process is inside for the same target; it is let go of when a process ends in any way."""
    if fcntl is None:
        yield
        return
    # to read alone: a folder may be shared, and the file be another user's
    handle = os.open(target.with_suffix(".lock"), os.O_CREAT | os.O_RDONLY, 0o644)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _say(names: list[str], folder: Path) -> None:
    what = f"the C++ kernel {names[0]}" if len(names) == 1 else f"the C++ kernels {', '.join(names)}"
    print(f"Building {what} for this processor, once; kept in {folder} ...", file=sys.stderr, flush=True)


def _source(command: list[str]) -> str:
    return next((Path(word).name for word in command if word.endswith(".cpp")), "a kernel")


def _processor() -> str:
    """What -march=native stands for here: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    # x86 says flags; ARM says Features, and which core it is
    telling = ("flags", "Features", "CPU implementer", "CPU part")
    first = {name: next((line for line in lines if line.startswith(name)), "") for name in telling}
    return "\n".join(filter(None, first.values())) or f"{platform.machine()} {platform.processor()}"
