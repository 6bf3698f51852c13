"""Which kernel computes a lens, and what happens where one does not work."""

import os
import warnings
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import NoCompiler
from mobius_lib.waves.fast.function import Gated, Kernel

BACKENDS = ("printed", "eager", "compiled", "native", "triton", "auto")
"""How a lens computes its gate; see the package. All give the same numbers."""

FALLBACKS = {"triton": "compiled", "native": "compiled", "compiled": "eager"}
"""What takes over where a backend fails."""

READS = {"triton": (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
"""Types of x that a kernel takes as they are, where they differ from `Kernel.reads`."""

EAGER = Kernel()
_kernels: dict[str, Kernel] = {"eager": EAGER}
_failed: dict[str, str] = {}


def available(backend: str) -> bool:
    """Whether a backend has not failed in this process."""
    return backend not in _failed


def fastest(device: str) -> str:
    """The backend that trains fastest on a kind of device, built now if need be.

    Args:
        device: "cpu", "cuda", or another of torch's.
    Returns:
        triton on CUDA; on a CPU native, or eager where there is no C++ compiler, or (which is said once) it fails.
    """
    if device == "cuda":
        return "triton"
    if device == "cpu":
        from mobius_lib.waves.fast import native

        try:
            native.library()
        except NoCompiler:
            return "eager"
        except (RuntimeError, OSError) as error:
            leave("native", error, "eager")
            return "eager"
        return "native"
    return "eager"


def gated(
    backend: str, x: Tensor, small: tuple[Tensor, ...], scales: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """x gate(x): all of the lens between its two twists, by any backend but `printed`.

    Args:
        backend: one of `BACKENDS`.
        x: (..., C), twisted in.
        small: the small parameters in the order of `function.SMALL`.
        scales: (2,).
        weight, bias, eps: of the gate's layer norm; weight and bias (C,).
    Returns:
        (..., C), in the type of x.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"The lens has {weight.shape[0]} channels, but its input ends in {x.shape[-1]}.")
    # one row per position: a kernel then depends on the number of channels alone, not on the batch and its axes
    rows = x.reshape(-1, x.shape[-1])
    # an outer compiler is shown the algebra, which it fuses with what stands around it
    plain = torch.compiler.is_compiling() or rows.shape[0] == 0
    kernel = EAGER if plain else Guarded(chosen_backend(backend, x))
    return Gated.apply(kernel, eps, scales, rows, weight, bias, *small).view(x.shape)


class Guarded(Kernel):
    """The kernel of a backend, or, where that fails, of the one that takes over from it."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    @property
    def reads(self) -> tuple[torch.dtype, ...]:
        return READS.get(self.backend, Kernel.reads)

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self._try("forward", x, *rest)

    def backward(self, dy: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self._try("backward", dy, x, *rest)

    def constants(self, packed: Tensor, scales: Tensor) -> Tensor:
        return self._try("constants", packed, scales)

    def finish(self, sums: Tensor, *rest: Tensor) -> Tensor:
        return self._try("finish", sums, *rest)

    def _try(self, name: str, *given: Any) -> Any:
        while True:
            backend = chosen_backend(self.backend, given[0])
            try:
                kernel = _kernel(backend)
                if given[0].dtype not in kernel.reads:  # only x and dy can be narrow
                    wide = torch.float32
                    given = tuple(part.to(wide) if isinstance(part, Tensor) else part for part in given)
                return getattr(kernel, name)(*given)
            except Exception as error:
                if backend not in FALLBACKS or isinstance(error, torch.OutOfMemoryError):
                    raise
                leave(backend, error)


def chosen_backend(backend: str, x: Tensor) -> str:
    """The backend that a name means for a tensor: `auto` settled, and those passed over that failed or do not fit."""
    if backend == "auto":
        backend = os.environ.get("MOBIUS_BACKEND") or ("triton" if x.is_cuda else "eager")
    if backend == "native" and x.device.type != "cpu":
        backend = "triton" if x.is_cuda else "eager"
    if backend == "triton" and not x.is_cuda and not os.environ.get("TRITON_INTERPRET"):
        backend = "native" if x.device.type == "cpu" else "eager"
    while backend in _failed:
        backend = FALLBACKS[backend]
    return backend


def leave(backend: str, error: Exception, successor: str | None = None) -> None:
    """Do without a backend for the rest of the process; says so once.

    Args:
        backend: a key of `FALLBACKS`.
        error: why.
        successor: what takes over, where that is not the backend's own fallback.
    """
    if backend in _failed:
        return
    lines = str(error).strip().splitlines()
    _failed[backend] = f"{type(error).__name__}: {lines[0] if lines else ''}"
    successor = successor or FALLBACKS[backend]
    warnings.warn(
        f"The lens's {backend} backend does not work here ({_failed[backend]}); {successor} takes over, "
        "with the same numbers.",
        RuntimeWarning,
        stacklevel=4,
    )


def _kernel(backend: str) -> Kernel:
    """The kernel of a backend, made on first use."""
    if backend not in _kernels:
        if backend == "compiled":
            from mobius_lib.waves.fast.compiled import CompiledKernel as Made
        elif backend == "native":
            from mobius_lib.waves.fast.native import NativeKernel as Made
        elif backend == "triton":
            from mobius_lib.waves.fast.triton_kernels import TritonKernel as Made
        else:
            raise ValueError(f"There is no backend {backend!r}; the backends are {', '.join(BACKENDS)}.")
        _kernels[backend] = Made()
    return _kernels[backend]
