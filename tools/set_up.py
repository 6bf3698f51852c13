"""`make setup`: make the environment and install the pinned requirements into it. Standard library alone.

With uv where it is there, since it takes seconds for what takes pip minutes; where uv fails (it reads no pip.conf, for
one), with pip. Both read the same pins.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tools.one_at_a_time import one_at_a_time

BEAT = 15.0  # seconds between two lines of progress, where there is no terminal
STEPS = ("Collecting ", "Processing ", "Downloading ", "Using cached ", "Building ", "Installing ")
"""How pip's lines begin that tell what it does."""


def progress(lines: Iterable[str]) -> list[str]:
    """Show what pip is at, on a terminal always in the same line, else now and then; returns its last lines."""
    kept: list[str] = []
    told, packages, terminal = time.monotonic(), 0, sys.stdout.isatty()
    for line in map(str.strip, lines):
        kept = [*kept[-30:], line]
        packages += line.startswith(("Collecting ", "Processing "))
        if not line.startswith(STEPS):
            continue
        text = f"  {packages} packages: {line}"
        if terminal:
            print(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif time.monotonic() - told > BEAT or line.startswith("Installing "):
            told = time.monotonic()
            print(text[:120], flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)
    return kept


def pip(python: Path, *arguments: str) -> None:
    """`pip install ...`, showing how far it is; ends this process with pip's own words where it fails."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        last = progress(process.stdout)
    if process.returncode:
        print(*last, sep="\n", file=sys.stderr)
        sys.exit("pip could not install the requirements; what it said last is above.")


def works(python: Path) -> bool:
    """Whether an environment was made to its end: its Python runs, and has pip."""
    try:
        return subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def set_up(environment: Path, stamp: Path) -> None:
    """Make what is lacking, and `stamp` at the end; where that is there, nothing. One process at a time.

    Args:
        environment: the folder of the environment.
        stamp: a file in it, whose name tells what it was made from.
    """
    python = environment / "bin" / "python"
    with one_at_a_time(Path("requirements.txt"), "installing the requirements into this checkout"):
        if stamp.is_file() and works(python):
            return
        if not works(python):
            print(f"Making {environment} with Python {sys.version.split()[0]}.", flush=True)
            if subprocess.run([sys.executable, "-m", "venv", "--clear", environment]).returncode:
                sys.exit(f"Python could not make {environment}; on Debian and Ubuntu: apt install python3-venv")
        for old in environment.glob(".ready-*"):
            old.unlink()
        uv = shutil.which("uv")
        if uv:
            print(f"Installing the pinned requirements with {uv}.", flush=True)
            if subprocess.run([uv, "pip", "install", "--python", python, "-r", "requirements.txt"]).returncode:
                print("uv could not; trying with pip.", flush=True)
                uv = None
        if not uv:
            print("Installing the pinned requirements (a few minutes the first time).", flush=True)
            pip(python, "-r", "requirements.txt")
        pip(python, "--quiet", "--no-deps", "-e", ".")
        stamp.touch()


if __name__ == "__main__":
    try:
        set_up(Path(sys.argv[1]), Path(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
