"""Execute one notebook in place, telling at which cell it is: `python -m tools.execute NOTEBOOK NAME SECONDS`.

A limit by the clock would fail a slow or busy machine. So a cell is given up when its kernel has used more processor
time than SECONDS of the whole machine, or none to speak of for SECONDS by the clock.
"""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

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


class Execution:
    """One notebook on its way through a kernel.

    Args:
        notebook: the file; it is executed in its folder, and gets the outputs.
        name: what a person calls it.
        limit: seconds, as in the module's description.
        beat: seconds between two lines about the same cell.
    """

    def __init__(self, notebook: Path, name: str, limit: float, beat: float = BEAT) -> None:
        self.path, self.name, self.limit, self.beat = notebook, name, limit, beat
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
        self.number, self.line, self.began, self.reason = 0, "", 0.0, ""

    def begin(self, cell: Any, cell_index: int) -> None:
        """The next code cell starts."""
        self.number += 1
        self.line = next(line.strip() for line in cell.source.splitlines() if line.strip())
        self.began = time.monotonic()
        if sys.stdout.isatty():
            self.tell()

    def tell(self) -> None:
        """Where it is: one line, on a terminal always the same one."""
        seconds = time.monotonic() - self.began
        text = f"  {self.name}, cell {self.number} of {self.cells}, for {seconds:.0f} s: {self.line}"
        if sys.stdout.isatty():
            print(f"\r\033[K{text[: os.get_terminal_size().columns - 1]}", end="", flush=True)
        else:
            print(text[:120], flush=True)

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
        try:
            await self.client.async_execute()
        finally:
            watch.cancel()
            if sys.stdout.isatty():
                print("\r\033[K", end="", flush=True)
        nbformat.write(self.notebook, self.path)


def main(path: str, name: str, limit: str) -> None:
    execution = Execution(Path(path), name, float(limit))
    try:
        asyncio.run(execution.run())
    except (CellExecutionError, DeadKernelError) as error:
        where = f"in cell {execution.number} of {execution.cells}: {execution.line}"
        print(error, execution.reason or f"It failed {where}", sep="\n", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
