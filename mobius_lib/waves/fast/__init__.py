"""The lens between its twists as one operation with its own backward; `function.py` has the algebra.

Backends, all with the same numbers:

    printed     `math.py`, as the card prints it: the reference
    eager       the algebra in torch operations: works everywhere
    compiled    the algebra under torch.compile
    native      one C++ kernel each way, built once per machine by its own compiler (`kernel.cpp`): for CPUs
    triton      one Triton kernel each way: for CUDA
    auto        triton on CUDA; on a CPU native where there is a C++ compiler, which builds it once per machine; else
                eager. MOBIUS_BACKEND overrules it

While torch.compile, torch.export, torch.func or forward mode look on, the algebra stands for any of them, and second
derivatives are taken of its derivative.

A backend that fails on some machine is left with one warning, and the next one works on.
"""

from mobius_lib.waves.fast.backends import BACKENDS, FALLBACKS, asked, available, fastest, gated, known

__all__ = ["BACKENDS", "FALLBACKS", "asked", "available", "fastest", "gated", "known"]
