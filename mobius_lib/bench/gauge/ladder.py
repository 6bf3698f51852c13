"""What counting a text and fitting the whole ladder to it costs: seconds, and the most memory that the process took.

Run as a process of its own (`python -m mobius_lib.bench.gauge.ladder 5000`), so that the memory is that of the fits
and of nothing that was there before; it prints one line of JSON.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mobius_lib.bench.base import BenchError
from mobius_lib.datasets.text import king_james, words
from mobius_lib.gauge import RUNGS, WINDOWS, log_cooccurrence

TERMS = 8
"""N, as in the note."""
LEVELS = ("L1", "L2", "L3", "L4", "L5")
COUNTED, QUICK_COUNTED = 1_000_000, 50_000
"""Tokens; the text is read again from its beginning until there are so many."""


def measure(vocabulary: int | None, counted: int = COUNTED) -> dict[str, Any]:
    """Count the King James Bible at every window, then fit every rung to the co-occurrences at the narrowest.

    Args:
        vocabulary: the most frequent words; None takes all.
        counted: tokens.
    Returns:
        `vocabulary`, `tokens`, `counting_seconds` by window, `fit_seconds` by rung, and `peak_bytes` of this process
        (resident; None where the system does not tell).
    """
    tokens, names = words(king_james(), vocabulary)
    many = tokens.repeat(-(-counted // len(tokens)))[:counted]
    counting, fitting = {}, {}
    with torch.no_grad():
        for window in WINDOWS:
            before = time.perf_counter()
            log_cooccurrence(many, len(names), window)
            counting[str(window)] = time.perf_counter() - before
        d = log_cooccurrence(tokens, len(names), WINDOWS[0])
        for level in LEVELS:
            before = time.perf_counter()
            RUNGS[level].from_dense(d, TERMS)
            fitting[level] = time.perf_counter() - before
    return {
        "vocabulary": len(names),
        "tokens": len(many),
        "counting_seconds": counting,
        "fit_seconds": fitting,
        "peak_bytes": _peak_bytes(),
    }


def measure_apart(vocabulary: int | None, counted: int = COUNTED) -> dict[str, Any]:
    """`measure` in a process of its own, with as many threads as this one.

    Raises:
        BenchError: when that process fails, with the last line of what it said.
    """
    words_ = [sys.executable, "-m", __name__, str(vocabulary or "all"), str(counted), str(torch.get_num_threads())]
    done = subprocess.run(words_, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise BenchError(f"The ladder could not be fitted in a process of its own: {said}")
    return json.loads(done.stdout)


def _peak_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError, KeyError):  # Linux; there `getrusage` begins at the parent's peak
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    words_in, *numbers = sys.argv[1:]
    if len(numbers) > 1:
        torch.set_num_threads(int(numbers[1]))
    print(json.dumps(measure(None if words_in == "all" else int(words_in), *map(int, numbers[:1]))))
