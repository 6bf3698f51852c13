"""Whether a C++ form can be taken, and what is said where a compiler fails to build it."""

import ctypes
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mobius_lib.native import NoCompiler

failed: list[str] = []
"""Why the C++ forms do not work in this process; empty where they do."""


def works(library: Callable[[], ctypes.CDLL], x: Tensor) -> bool:
    """Whether a C++ library can be had and can take a tensor; says once what a compiler failed at."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or failed or torch.compiler.is_compiling():
        return False
    try:
        library()
    except NoCompiler as error:
        failed.append(str(error))
        return False
    except (RuntimeError, OSError) as error:
        failed.append(str(error))
        warnings.warn(
            f"The recurrence's C++ form does not work here ({error}); a slower one takes over, with the same numbers.",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True
