"""The lens as one C++ kernel each way, for CPUs: `kernel.cpp`, built by the machine's compiler on first use."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from mobius_lib.native import addresses, build_once, compiler, kept_as, march, one_openmp, ready
from mobius_lib.waves.fast.function import SUMS, Kernel

SOURCE = Path(__file__).with_name("kernel.cpp")
CONSTANTS = 20
"""Numbers of `function.constants`."""


class NativeKernel(Kernel):
    """Both passes by `kernel.cpp`: one sweep over the rows each, nothing of the size of x written but the result."""

    def __init__(self) -> None:
        self.library = library()

    def forward(self, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y = torch.empty_like(x)
        self._call("forward", (x, k, weight, bias), eps, (y,))
        return y

    def backward(
        self, dy: Tensor, x: Tensor, k: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[-1]
        dx = torch.empty_like(x)
        # a row of totals per thread: added up in an order that depends on the number of threads alone
        totals = torch.zeros(torch.get_num_threads(), len(SUMS) + 2 * channels, dtype=torch.float64)
        self._call("backward", (dy, x, k, weight, bias), eps, (dx, totals))
        sums, dweight, dbias = totals.sum(0).to(x.dtype).split((len(SUMS), channels, channels))
        return dx, sums, dweight, dbias

    def _call(self, name: str, given: tuple[Tensor, ...], eps: float, made: tuple[Tensor, ...]) -> None:
        x = made[0]
        function = getattr(self.library, f"{name}_{str(x.dtype).removeprefix('torch.')}")
        # bound to names until the call returns: a pointer does not keep its tensor alive
        *given, k, weight, bias = ready(*given, dtype=x.dtype)
        pairs = [(part, x.numel()) for part in given] + [(k, CONSTANTS), (weight, x.shape[1]), (bias, x.shape[1])]
        read, written = addresses(*pairs, dtype=x.dtype), addresses((x, x.numel()), dtype=x.dtype)
        written += addresses(*((part, part.numel()) for part in made[1:]), dtype=torch.float64)
        function(
            *map(ctypes.c_void_p, read),
            ctypes.c_double(eps),
            ctypes.c_int64(x.shape[0]),
            ctypes.c_int64(x.shape[1]),
            *map(ctypes.c_void_p, written),
        )


@functools.cache
def library() -> ctypes.CDLL:
    """The built kernel, from the disk where this source, torch and compiler flags have been there before.

    Raises:
        NoCompiler: when there is no C++ compiler.
        RuntimeError: when it fails; the message ends with what it said.
    """
    return build_once(*recipe())


def recipe() -> tuple[list[str], Path]:
    """The compiler's command, without its output, and the file that it makes: one per source, torch and machine."""
    capability = torch.backends.cpu.get_cpu_capability()
    flags = ["-O3", "-std=c++20", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
    flags += ["-fopenmp"]  # at::parallel_for runs on one thread without it; the loader finds torch's own libgomp there
    flags += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}", f"-DCPU_CAPABILITY={capability}"]
    if capability in ("AVX2", "AVX512"):
        flags += [march(), f"-DCPU_CAPABILITY_{capability}"]
    home = Path(torch.__file__).parent
    flags += [f"-I{home / 'include'}", str(SOURCE), f"-L{home / 'lib'}", f"-Wl,-rpath,{home / 'lib'}"]
    flags += ["-lc10", "-ltorch_cpu", *one_openmp()]
    command = [*compiler(), *flags]
    return command, kept_as("lens", SOURCE.read_bytes(), *command, torch.__version__)
