"""Whether a C++ form can be taken, and what is said where a compiler fails to build it."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from mobius_lib.native import NoCompiler, build_together, fits, warn

BACKENDS = ("loop", "eager", "native", "auto")
"""How many steps are computed, with the same numbers: `cell.step` again and again; all steps of a product at once
(`unroll.py`); that with C++ between the products, for float32 on a CPU; the fastest of them that works here."""

failed: list[str] = []
"""Why the C++ forms do not work in this process; empty where they do."""


def known_backend(name: str) -> str:
    """The name.

    Raises:
        ValueError: when there is no such backend, with those there are.
    """
    if name not in BACKENDS:
        raise ValueError(f"There is no backend {name!r}; the backends are {', '.join(BACKENDS)}.")
    return name


@functools.cache
def build_ahead(form: str) -> None:
    """Build what a model will ask for, all at the same time, and not one after the other when it does."""
    names = ("turn", "memory", "nested", "scan" if form == "scan" else "step")
    build_together(*(Path(__file__).with_name(f"{name}.cpp") for name in names))


def works(library: Callable[[], ctypes.CDLL], *given: Tensor | None) -> bool:
    """Whether a C++ library can be had and can take some tensors; says once what a compiler failed at."""
    if failed or not fits(*given):
        return False
    try:
        library()
    except NoCompiler as error:
        failed.append(str(error))
        return False
    except (RuntimeError, OSError) as error:
        failed.append(str(error))
        warn(f"The twistors' C++ forms do not work here ({error}); slower ones take over, with the same numbers.")
        return False
    return True
