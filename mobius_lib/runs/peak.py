"""The most memory that tensors take at once during a piece of work."""

import gc
import os
from collections.abc import Callable
from typing import Any

import torch


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most that tensors took at once while it ran, above what was held before it. It should have run before.

    On a GPU it is what torch allocates; on a CPU it is followed through the profiler's record of every allocation of
    torch's, in which what Python or a library holds for itself does not appear.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - held
    return _peak_on_cpu(work)


def _peak_on_cpu(work: Callable[[], Any]) -> int:
    from torch.autograd import _disable_profiler
    from torch.autograd.profiler import profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would speak of GPUs that are not there
    profiler = profile(profile_memory=True)
    profiler.__enter__()
    try:
        work()
    finally:
        # not its own exit: that makes a Python object of every event, which takes many times as long as the work
        found = _disable_profiler()
    held = highest = 0
    for event in sorted((e for e in found.events() if e.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()  # type: ignore[attr-defined]  # (torch's stub lacks it) negative where memory is given back
        highest = max(highest, held)
    return highest
