"""Notebooks are executed several at a time; a cell may take its time, and not for ever."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import nbformat
import psutil
import pytest
from nbclient.exceptions import CellExecutionError

from tests.book.small import notebook_of, write
from tools import execute
from tools.build_book import Book, workers
from tools.execute import Execution
from tools.house import ROOT, BuildError


@pytest.fixture
def two_pages(small_book: Book) -> tuple[Book, Path, Path]:
    """The book, with a second notebook."""
    first, second = (small_book.root / f"book/{name}.ipynb" for name in ("page", "other"))
    toc = small_book.root / "_toc.yml"
    toc.write_text(toc.read_text("utf-8").replace("{file: book/page}", "{file: book/page}, {file: book/other}"))
    return small_book, first, second


WAITS = """
import os, time
from pathlib import Path
Path({mine!r}).touch()
while not Path({others!r}).exists(): time.sleep(0.02)
print(os.environ["OMP_NUM_THREADS"])
"""
"""Ends only where the other notebook runs at the same time."""


@pytest.mark.slow
def test_two_notebooks_are_executed_at_a_time(
    two_pages: tuple[Book, Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Which share the processors. Of the one that fails the cell is told, and the other's outputs are kept."""
    book, first, second = two_pages
    marks = [str(book.root / name) for name in ("first", "second")]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("tools.build_book.processors", lambda: 6)
    monkeypatch.setenv("WORKERS", "2")
    cells = WAITS.format(mine=marks[0], others=marks[1]), "assert not 'right', 'it is wrong'"
    write(book.root, {"book/page.ipynb": notebook_of(*cells)})
    write(book.root, {"book/other.ipynb": notebook_of(WAITS.format(mine=marks[1], others=marks[0]))})
    with pytest.raises(BuildError) as failed:
        book.execute([first, second], workers())
    assert re.fullmatch(r"book/page\.ipynb failed after \d+ s in cell 2 of 2: the .* above\.", str(failed.value))
    said = capfd.readouterr().out
    assert "it is wrong" in said and "\nbook/page.ipynb failed in cell 2 of 2: assert not 'right'" in said
    assert book.stale() == [first] and book.record()["notebooks"]["book/other.ipynb"]["workers"] == 2
    assert book.executed(second).cells[1].outputs[0].text == "3\n"


def test_what_took_longest_begins(small_book: Book, monkeypatch: pytest.MonkeyPatch):
    """After what was never executed."""
    begun = []

    async def execute(book: Book, notebook: Path, workers: int, failures: list[str]) -> None:
        begun.append(notebook.stem)

    monkeypatch.setattr(Book, "_execute", execute)
    seconds = {f"book/{name}.ipynb": {"seconds": seconds} for name, seconds in {"a": 12, "b": 300, "d": 40.5}.items()}
    write(small_book.root, {"_build/book.json": json.dumps({"notebooks": seconds})})
    small_book.execute([small_book.root / f"book/{name}.ipynb" for name in "abcde"])
    assert "".join(begun) == "cebda"


@pytest.mark.slow
def test_an_interruption_stops_every_notebook(two_pages: tuple[Book, Path, Path]):
    """Those that run end at once, with their kernels; none of those that wait begins, and nothing passes for done."""
    book, first, second = two_pages
    waits = "import os, time\nfrom pathlib import Path\nPath('{}').write_text(str(os.getpid()))\ntime.sleep(600)"
    marks = [book.root / name for name in ("first", "second", "third")]
    pages = [first, second, book.root / "book/third.ipynb"]
    write(book.root, {str(p): notebook_of(waits.format(mark)) for p, mark in zip(pages, marks, strict=True)})
    code = (
        "import signal, sys; from pathlib import Path; from tools import build_book\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "with build_book.one_sentence(): build_book.Book(Path(sys.argv[1])).execute([*map(Path, sys.argv[2:])], 2)"
    )
    command = [sys.executable, "-c", code, str(book.root), *map(str, pages)]
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as build:
        while not (marks[0].exists() and marks[1].exists() and marks[0].read_text() and marks[1].read_text()):
            assert build.poll() is None
            time.sleep(0.05)
        kernels = [psutil.Process(int(mark.read_text())) for mark in marks[:2]]
        build.send_signal(signal.SIGINT)
        said, complained = build.communicate(timeout=600)
    assert build.returncode == 130 and "Traceback" not in said + complained
    assert complained == "Stopped; the same command continues.\n"
    assert not any(kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE for kernel in kernels)
    assert not marks[2].exists() and not book.record_file.exists()


@pytest.mark.parametrize("asked", ["two", "0", "-1", ""])
def test_workers_that_are_no_number(asked: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKERS", asked)
    with pytest.raises(BuildError, match=f"WORKERS is '{asked}'; give how many notebooks"):
        workers()


@pytest.fixture
def used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the kernel's use of processors depend on the clock alone, so that a starved machine changes nothing.

    A tenth of a processor, always; from the moment that the file given here stands: the rate that stands in it.
    """
    mark, start = tmp_path / "rate", time.monotonic()
    spent = [0.0, start]

    def seconds(process: object) -> float:
        now = time.monotonic()
        spent[:] = spent[0] + (float(mark.read_text()) if mark.is_file() else 0.1) * (now - spent[1]), now
        return spent[0]

    monkeypatch.setattr(execute, "processor_seconds", seconds)
    return mark


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "why"), [(0.0, "it did nothing for"), (1e6, "it took .* s of the time")], ids=["waiting", "endless"]
)
def test_a_cell_that_does_not_come_to_an_end(tmp_path: Path, used: Path, rate: float, why: str):
    path = tmp_path / "page.ipynb"
    cell = f"import os, time; open({str(used) + '.new'!r}, 'w').write('{rate}')\n"
    cell += f"os.replace({str(used) + '.new'!r}, {str(used)!r}); time.sleep(600)"
    path.write_text(notebook_of("1", "", cell, "2"), "utf-8")
    run = Execution(path, "a page", limit=2.0)
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        asyncio.run(run.run())
    assert re.fullmatch(rf"Cell 2 of 3 was given up: {why}.*\.", run.reason)


@pytest.mark.slow
def test_a_slow_machine_fails_no_cell(tmp_path: Path, used: Path, capfd):
    """Four times the limit by the clock, but never idle, and less than the limit of all processors."""
    path = tmp_path / "page.ipynb"
    path.write_text(notebook_of("import time; time.sleep(6); print('done')"), "utf-8")
    run = Execution(path, "a page", limit=1.5, beat=0.5)
    asyncio.run(run.run())
    assert run.reason == ""
    assert nbformat.read(run.path, nbformat.NO_CONVERT).cells[1].outputs[0].text == "done\n"
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 2 and all(line.startswith("  a page, cell 1 of 1, for ") for line in lines)
    assert lines[0].endswith(" s: import time; time.sleep(6); print('done')")


def test_the_processor_time_of_a_kernel_has_its_childrens():
    """A child's that is running, and a child's that has ended."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    me = psutil.Process()
    before = execute.processor_seconds(me)
    with subprocess.Popen([sys.executable, "-c", burn], stdin=PIPE, stdout=PIPE) as child:
        child.stdout.readline()
        running = execute.processor_seconds(me) - before
        child.communicate(b"\n")
    assert running > 0.25  # user and system time are each cut to the hundredth of a second at which /proc ticks
    assert execute.processor_seconds(me) - before > 0.25
