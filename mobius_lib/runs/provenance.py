"""Where a result came from: machine, versions, commit, time."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """Versions, commit (with "+changes" when the library differs from it) and the time now."""
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "mobius_lib": _version("mobius_lib"),
            "system": f"{sys.platform} {platform.machine()}",
            "processor": processor(),
        },
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe_device(device: torch.device) -> str:
    """For instance "cpu: AMD EPYC, 2 threads" or "cuda: NVIDIA H100"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return f"mps: {_cpu_name()}"
    return f"cpu: {_cpu_name()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The CPU and the instructions that torch uses on it, by which sums of products differ in their last digits."""
    return f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit(package: Path = Path(__file__).parent.parent) -> str:
    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        # an installed copy may lie inside somebody else's repository, whose commit says nothing about it
        git("ls-files", "--error-unmatch", "__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=all", "--", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
