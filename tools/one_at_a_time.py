"""One process at a time works in a checkout. Needs the standard library alone: it also guards the making of .venv."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(lock: Path, work: str) -> Iterator[bool]:
    """Hold `lock` while the body runs; where another process holds it, say so and wait.

    The system lets go of the lock when its holder ends, however it ends.

    Args:
        lock: a file to lock; it is made where it is missing, and left as it is where it is there.
        work: what the holder does, for the sentence that a waiting person reads.
    Yields:
        whether this process had to wait.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            print(f"Another process is {work}; waiting until it has finished.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield waited
