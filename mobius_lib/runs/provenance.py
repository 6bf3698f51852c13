"""Where a result came from: machine, versions, commit, time. And the one way a result is written."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """Versions, commit (with "+changes" when the tree differs from it) and time of making."""
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "mobius_lib": _version("mobius_lib"),
            "system": f"{sys.platform} {platform.machine()}",
        },
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe_device(device: torch.device) -> str:
    """For instance "cpu: AMD EPYC, 2 threads" or "cuda: NVIDIA H100"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {_cpu_name()}, {torch.get_num_threads()} threads"


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all: into a file beside it, which then takes its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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


def _commit() -> str:
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", str(here.parent)], capture_output=True)
        return head.stdout.strip() + ("+changes" if dirty.returncode else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
