"""The lens between its twists as one operation with its own backward; `function.py` has the algebra.

Backends, all with the same numbers:

    printed     `math.py`, as in the seed: the reference
    eager       the algebra in torch operations: works everywhere
    compiled    the algebra under torch.compile
    native      one C++ kernel each way, built once per machine by its own compiler (`kernel.cpp`): for CPUs
    triton      one Triton kernel each way: for CUDA
    auto        triton on CUDA, else eager, so that no lone forward pass waits for a compiler; MOBIUS_BACKEND overrules

A backend that fails on some machine is left with one warning, and the next one works on.
"""

from mobius_lib.waves.fast.backends import BACKENDS, FALLBACKS, available, fastest, gated

__all__ = ["BACKENDS", "FALLBACKS", "available", "fastest", "gated"]
