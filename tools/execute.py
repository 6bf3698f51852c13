"""Execute notebooks in place, several at a time, telling at which cell each is.

A limit by the clock would fail a slow or busy machine. So a cell is given up when its kernel has used more processor
time than the limit of the whole machine, or none to speak of for the limit by the clock.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

BEAT = 30.0  # seconds between two lines about the same cell
IDLE = 0.01  # of a processor: whoever uses no more while the limit runs waits for something that does not come
GRACE = 30.0  # seconds between the request to stop and the end of the kernel
PATIENCE = 3600  # seconds, for what only a busy machine delays: the kernel's start, outputs still on their way


def processor_seconds(process: psutil.Process) -> float:
    """What a process and its children have used, those that have ended included."""
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:  # ended in between; its parent's times have it
            continue
    return total


def say(text: str, end: str = "\n") -> None:
    """Print it, on a terminal in the place of the line that tells where everything is."""
    print(f"\r\033[K{text}" if sys.stdout.isatty() else text, end=end, flush=True)


class Execution:
    """One notebook on its way through a kernel.

    Args:
        notebook: the file; it is executed in its folder, and gets the outputs.
        name: what a person calls it.
        limit: seconds, as in the module's description.
        beat: seconds between two lines about the same cell.
        environment: of the kernel; that of this process where none is given.
    """

    running: ClassVar[list["Execution"]] = []
    """All that are on their way, for the one line of a terminal."""

    def __init__(
        self, notebook: Path, name: str, limit: float, beat: float = BEAT, environment: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.name, self.limit, self.beat = notebook, name, limit, beat
        self.environment = {} if environment is None else {"env": dict(environment)}
        self.notebook = nbformat.read(notebook, nbformat.NO_CONVERT)
        self.cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in self.notebook.cells)
        self.client = NotebookClient(
            self.notebook,
            kernel_name="python3",
            timeout=None,
            startup_timeout=PATIENCE,
            iopub_timeout=PATIENCE,
            extra_arguments=["--log-level=ERROR"],  # it warns of its sockets, which nobody else can reach here
            resources={"metadata": {"path": str(notebook.parent)}},
            on_cell_execute=self.begin,
        )
        # this environment's kernel, whatever a person has installed
        kernels = KernelSpecManager(kernel_dirs=[str(Path(sys.prefix, "share", "jupyter", "kernels"))])
        self.client.create_kernel_manager().kernel_spec_manager = kernels
        self.number, self.line, self.began, self.reason = 0, "", 0.0, ""

    def begin(self, cell: Any, cell_index: int) -> None:
        """The next code cell starts."""
        self.number += 1
        self.line = next(line.strip() for line in cell.source.splitlines() if line.strip())
        self.began = time.monotonic()
        if sys.stdout.isatty():
            self.tell()

    def __str__(self) -> str:
        """Where it is."""
        seconds = time.monotonic() - self.began
        return f"{self.name}, {self.cell}, for {seconds:.0f} s: {self.line}"

    @property
    def cell(self) -> str:
        """The one that it is at; the kernel that does not start has none before it."""
        return f"cell {self.number} of {self.cells}"

    def tell(self) -> None:
        """Where it is: a line of its own; on a terminal always the same one, with where the others are."""
        if sys.stdout.isatty():
            width = os.get_terminal_size().columns // len(self.running) - 1
            line = " ".join(f"{each!s:{width}.{width}}" for each in self.running if each.number)
            say(line.rstrip(), end="")
        else:
            say(f"  {self}"[:120])

    async def watch(self) -> None:
        """Tell where it is, and stop a cell that does not come to an end."""
        while not self.number:
            await asyncio.sleep(0.1)
        kernel = psutil.Process(self.client.km.provisioner.pid)
        processors = os.cpu_count() or 1
        beat = 1.0 if sys.stdout.isatty() else self.beat
        with suppress(psutil.NoSuchProcess):  # a kernel that has ended is the client's to report
            while True:
                number, first = self.number, processor_seconds(kernel)
                mark, busy, told = 0.0, self.began, self.began
                while number == self.number:
                    await asyncio.sleep(min(1.0, beat, self.limit / 10))
                    used, now = processor_seconds(kernel) - first, time.monotonic()
                    if used - mark > IDLE * self.limit:
                        mark, busy = used, now
                    if used > self.limit * processors:
                        await self.give_up(kernel, f"it took {used:.0f} s of the time of {processors} processors")
                    elif now - busy > self.limit:
                        await self.give_up(kernel, f"it did nothing for {now - busy:.0f} s")
                    if now - told > beat:
                        told = now
                        self.tell()

    async def give_up(self, kernel: psutil.Process, why: str) -> None:
        """Ask the kernel to stop, so that a traceback shows where it was; end it where it does not answer."""
        self.reason = f"Cell {self.number} of {self.cells} was given up: {why}."
        kernel.send_signal(signal.SIGINT)
        await asyncio.sleep(GRACE)
        kernel.kill()

    async def run(self) -> None:
        """Execute every cell and write the outputs into the file.

        Raises:
            CellExecutionError: when a cell raises; its text has the cell and the traceback.
            DeadKernelError: when the kernel ended.
        """
        watch = asyncio.create_task(self.watch())
        self.running.append(self)
        try:
            await self.client.async_execute(**self.environment)
        except DeadKernelError:
            if asyncio.current_task().cancelling():  # nbclient takes its own end for that of the kernel
                raise asyncio.CancelledError from None
            raise
        finally:
            self.running.remove(self)
            watch.cancel()
            say("", end="")
        nbformat.write(self.notebook, self.path)


def several(work: Iterable[Callable[[], Awaitable[None]]], workers: int) -> None:
    """Do all of it, begun in this order, so many at a time; an interruption stops what is on its way.

    In a thread of its own: in the main one nbclient takes an interruption for itself, and ends one kernel alone.
    """
    waiting = iter(list(work))

    async def worker() -> None:
        for each in waiting:
            await each()

    begun: Future[asyncio.Task[None]] = Future()

    async def all_of_it() -> None:
        begun.set_result(asyncio.current_task())
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())

    def stop() -> None:
        for each in Execution.running:
            each.client.shutdown_kernel = "immediate"  # a busy kernel that is asked to end complains
        begun.result().cancel()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio.run, all_of_it())
        try:
            done.result()
        except KeyboardInterrupt:
            begun.result().get_loop().call_soon_threadsafe(stop)
            raise
