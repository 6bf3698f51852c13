"""Which kernel computes a lens, and what happens where one does not work."""

import os
from typing import Any

import torch
from torch import Tensor

from mobius_lib.errors import MobiusError
from mobius_lib.native import NoCompiler, compiler, concrete, warn
from mobius_lib.waves.fast.function import Gated, Kernel, plain

BACKENDS = ("printed", "eager", "compiled", "native", "triton", "auto")
"""How a lens computes its gate; see the package. All give the same numbers."""

FALLBACKS = {"triton": "compiled", "native": "eager", "compiled": "eager"}
"""What takes over where a backend fails. (torch.compile needs the compiler, too, that "native" lacks.)"""

READS = {"triton": (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
"""Types of x that a kernel takes as they are, where they differ from `Kernel.reads`."""

EAGER = Kernel()
_kernels: dict[str, Kernel] = {"eager": EAGER}
_failed: dict[str, str] = {}
_said: set[str] = set()
"""Of those that failed: the ones of which the user has been told."""


class BackendError(MobiusError, ValueError):
    """A backend was asked for that does not exist."""


def available(backend: str) -> bool:
    """Whether a backend has not failed in this process."""
    return backend not in _failed


def asked(backend: str) -> str:
    """The name, and for "auto" what MOBIUS_BACKEND says, if anything.

    Raises:
        BackendError: when there is no such backend.
    """
    if backend != "auto":
        return known(backend)
    return known(os.environ.get("MOBIUS_BACKEND") or "auto", ", which MOBIUS_BACKEND asks for")


def known(backend: str, why: str = "") -> str:
    """The name.

    Raises:
        BackendError: when there is no such backend.
    """
    if backend not in BACKENDS:
        raise BackendError(f"There is no backend {backend!r}{why}; the backends are {', '.join(BACKENDS)}.")
    return backend


def fastest(device: str) -> str:
    """The fastest backend that works on a kind of device, built now if need be; MOBIUS_BACKEND overrides it.

    Args:
        device: "cpu", "cuda", or another of torch's.
    Returns:
        triton on CUDA; on a CPU native, or eager where there is no C++ compiler, or (which is said once) it fails.
    """
    return chosen_backend("auto", device)


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
    # one row per position: a kernel then depends on the number of channels alone, not on the batch and its axes
    rows = x.reshape(-1, x.shape[-1])
    if torch.compiler.is_compiling():  # it is shown the algebra, which it fuses with what stands around
        kernel = EAGER
    elif not concrete(x, weight, bias, scales, *small):
        return plain(eps, scales, rows, weight, bias, small).view(x.shape)
    else:
        kernel = EAGER if rows.shape[0] == 0 else Guarded(chosen_backend(backend, x.device.type))
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
            backend = chosen_backend(self.backend, given[0].device.type)
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


def chosen_backend(backend: str, device: str) -> str:
    """The backend that a name means on a kind of device: `auto` settled, and those passed over that do not work."""
    backend = asked(backend)
    chosen = {"cuda": "triton", "cpu": "native"}.get(device, "eager") if backend == "auto" else backend
    if chosen == "native" and device != "cpu":
        chosen = "triton" if device == "cuda" else "eager"
    if chosen == "triton" and device != "cuda" and not os.environ.get("TRITON_INTERPRET"):
        chosen = "native" if device == "cpu" else "eager"
    while chosen in FALLBACKS and not _works(chosen, device, asked_for=backend != "auto"):
        chosen = FALLBACKS[chosen]
    return chosen


def _works(backend: str, device: str, asked_for: bool) -> bool:
    """Whether a backend has not failed, and, where it needs a compiler, has one; says once why not.

    That there is none is only said to those who asked for the backend by name.
    """
    if not (backend in _failed or backend in _kernels) and device == "cpu" and backend in ("native", "compiled"):
        try:
            if backend == "native":
                from mobius_lib.waves.fast import native

                native.library()
            else:
                compiler()  # torch.compile would look for one for a minute, once for every graph
        except (RuntimeError, OSError) as error:
            leave(backend, error, quiet=isinstance(error, NoCompiler) and not asked_for)
    if backend in _failed and asked_for and backend not in _said:
        _say(backend)
    return backend not in _failed


def leave(backend: str, error: Exception, quiet: bool = False) -> None:
    """Do without a backend for the rest of the process; says so once.

    Args:
        backend: a key of `FALLBACKS`.
        error: why.
        quiet: say it when somebody asks for the backend by name, and not now.
    """
    if backend in _failed:
        return
    lines = str(error).strip().splitlines()
    _failed[backend] = f"{type(error).__name__}: {lines[0] if lines else ''}"
    if not quiet:
        _say(backend)


def _say(backend: str) -> None:
    _said.add(backend)
    warn(
        f"The lens's {backend} backend does not work here ({_failed[backend]}); {FALLBACKS[backend]} takes over, "
        "with the same numbers."
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
            raise ValueError(f"{backend!r} is no kernel.")
        _kernels[backend] = Made()
    return _kernels[backend]
