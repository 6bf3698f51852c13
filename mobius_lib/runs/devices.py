"""Which device a run computes on."""

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
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        raise RunError(f"There is no device {name!r}; use auto, cpu, cuda, or a numbered GPU such as cuda:1.")
    there = torch.cuda.device_count()
    # torch keeps the number in eight bits: it is compared before that
    if name != "cpu" and (len(name) > 12 or int(name.partition(":")[2] or 0) >= there):
        raise RunError(f"The device {name!r} was asked for, but torch sees {there} GPUs here; use --device cpu.")
    return torch.device(name)
