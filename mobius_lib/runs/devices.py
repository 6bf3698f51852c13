"""Which device a run computes on."""

import os
import re

import torch

from mobius_lib.runs.about import RunError


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU.

    Raises:
        RunError: an unknown device, or a GPU where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ and torch.cuda.device_count() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"  # each process of a launcher has a GPU of its own
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", name):
        raise RunError(f"There is no device {name!r}; use auto, cpu, cuda, mps, or a numbered GPU such as cuda:1.")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise RunError("The device 'mps' was asked for, but torch sees none here; use --device cpu.")
        return torch.device(name)
    there = torch.cuda.device_count()
    # torch keeps the number in eight bits: it is compared before that
    if name != "cpu" and (len(name) > 12 or int(name.partition(":")[2] or 0) >= there):
        raise RunError(f"The device {name!r} was asked for, but torch sees {there} GPUs here; use --device cpu.")
    return torch.device(name)
