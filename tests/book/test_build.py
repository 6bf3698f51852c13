"""`make book`: what is executed, when, and what happens when a cell fails."""

import asyncio
import copy
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import nbformat
import psutil
import pytest
import yaml
from nbclient.exceptions import CellExecutionError

from mobius_lib.twistor.fast import memory, nested, scan, step, turn
from mobius_lib.waves.fast import native as lens
from tools import execute, glossary, packs, set_up, vendor_assets
from tools.build_book import Book, build_kernels, workers
from tools.dependencies import code_of, dependencies, fingerprint, imports, reached
from tools.execute import Execution
from tools.house import ROOT, BuildError, notebooks, pages
from tools.one_at_a_time import one_at_a_time


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _notebook(*cells: str) -> str:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A page"), *map(nbformat.v4.new_code_cell, cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    return nbformat.writes(notebook)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A library of four packages, and two notebooks of which one uses two of them."""
    _write(
        tmp_path,
        {
            "mobius_lib/__init__.py": "from .errors import Wrong\nHOMES = {'make': 'mobius_lib.waves.lens'}\n",
            "mobius_lib/errors.py": "class Wrong(Exception): ...\n",
            "mobius_lib/waves/__init__.py": "",
            "mobius_lib/waves/math.py": "ONE = 1\n",
            "mobius_lib/waves/lens.py": "def make():\n    from . import math\n    return math.ONE\n",
            "mobius_lib/widgets/__init__.py": "from ..waves.lens import make\n",
            "mobius_lib/widgets/waves.js": "export default 1\n",
            "mobius_lib/cantor/__init__.py": "",
            "mobius_lib/cantor/math.py": "TWO = 2\n",
            "mobius_lib/datasets/__init__.py": "",
            "data/numbers.txt": "1 2 3\n",
            "requirements.txt": "torch==1\n",
            "book/1_waves.ipynb": _notebook("%pip list\nif True:\n    !ls\nfrom mobius_lib.widgets import make"),
            "book/2_cantor.ipynb": _notebook("import mobius_lib.cantor.math as m\nfrom mobius_lib import datasets"),
        },
    )
    return tmp_path


class TestDependencies:
    def test_imports_of_every_form(self):
        code = "import a.b, c\nfrom d import e\ndef f():\n    from .. import g\n    from .h import i\n"
        assert imports(code, "p.q.r") == {"a.b", "c", "d", "d.e", "p", "p.g", "p.q.h", "p.q.h.i"}
        assert imports("from . import x", "p.q", is_package=True) == {"p.q", "p.q.x"}

    def test_what_only_a_type_checker_imports_does_not_count(self):
        code = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\nif other:\n    import c\n"
        assert imports(code) == {"b", "c"}

    @pytest.mark.parametrize("code", ["from mobius_lib import make", "import mobius_lib\nprint(mobius_lib.make())"])
    def test_names_that_are_imported_when_they_are_asked_for(self, tree: Path, code: str):
        names = {"mobius_lib", *(f"mobius_lib.{name}" for name in ("errors", "waves", "waves.lens", "waves.math"))}
        assert set(reached(code, tree)) == names
        assert set(reached("import mobius_lib", tree)) == {"mobius_lib", "mobius_lib.errors"}

    def test_magics_do_not_hide_the_code(self, tree: Path):
        assert code_of(tree / "book/1_waves.ipynb").splitlines()[:3] == ["pass", "if True:", "    pass"]

    def test_what_is_reached(self, tree: Path):
        names = set(reached("from mobius_lib.widgets import make", tree))
        inner = {"errors", "widgets", "waves", "waves.lens", "waves.math"}
        assert names == {"mobius_lib"} | {f"mobius_lib.{name}" for name in inner}

    @pytest.mark.parametrize(
        ("changed", "waves", "cantor"),
        [
            ("mobius_lib/waves/math.py", True, False),  # through widgets, lens, and an import inside a function
            ("mobius_lib/widgets/waves.js", True, False),
            ("mobius_lib/cantor/math.py", False, True),
            ("data/numbers.txt", False, True),  # only the second can reach the data's loaders
            ("mobius_lib/errors.py", True, True),
            ("requirements.txt", True, True),
        ],
    )
    def test_a_change_is_stale_where_it_is_reached(self, tree: Path, changed: str, waves: bool, cantor: bool):
        books = (tree / "book/1_waves.ipynb", tree / "book/2_cantor.ipynb")
        before = [fingerprint(book, tree) for book in books]
        assert before == [fingerprint(book, tree) for book in books]
        with (tree / changed).open("a", encoding="utf-8") as file:
            file.write("\n")
        after = [fingerprint(book, tree) for book in books]
        assert [old != new for old, new in zip(before, after, strict=True)] == [waves, cantor]

    def test_prose_and_outputs_are_no_reason_to_execute(self, tree: Path):
        path = tree / "book/1_waves.ipynb"
        before = fingerprint(path, tree)
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        notebook.cells[0].source = "# Another title"
        notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="hello")]
        nbformat.write(notebook, path)
        assert fingerprint(path, tree) == before
        notebook.cells[1].source += "\n1"
        nbformat.write(notebook, path)
        assert fingerprint(path, tree) != before

    def test_the_scale_is_part_of_it(self, tree: Path, monkeypatch: pytest.MonkeyPatch):
        path = tree / "book/1_waves.ipynb"
        monkeypatch.setenv("MOBIUS_SCALE", "quick")
        before = fingerprint(path, tree)
        monkeypatch.setenv("MOBIUS_SCALE", "full")
        assert fingerprint(path, tree) != before

    def test_the_first_chapter(self):
        """Of the real book: a change in waves/math.py executes chapter 1 again, a change in a test does not."""
        chapter = next(path for path in notebooks() if path.stem == "1_waves")
        names = {path.relative_to(ROOT).as_posix() for path in dependencies(chapter)}
        assert {"mobius_lib/waves/math.py", "mobius_lib/widgets/waves.js", "requirements.txt"} <= names
        assert any(name.startswith("data/") for name in names)
        assert not any(name.startswith(("tests/", "tools/", "book/")) for name in names)
        assert "mobius_lib/cli.py" not in names


@pytest.fixture
def small_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """A book of one Markdown page and one notebook that leaves a line in a file whenever it runs."""
    marks = tmp_path / "marks.txt"
    marks.touch()
    cell = f"from mobius_lib import ONE\nprint(ONE)\nwith open({str(marks)!r}, 'a') as file:\n    print(ONE, file=file)"
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    for picture in (config["logo"], config["html"]["favicon"]):
        (tmp_path / picture).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / picture, tmp_path / picture)
    shutil.copytree(ROOT / "book/style", tmp_path / "book/style")
    _write(
        tmp_path,
        {
            "mobius_lib/__init__.py": "ONE = 1\n",
            "book/intro.md": "# The book\n\n[a page](page.ipynb)\n",
            "book/page.ipynb": _notebook(cell),
            "_config.yml": yaml.safe_dump(config),
            "_toc.yml": "format: jb-book\nroot: book/intro\nparts: [{caption: Pages, chapters: [{file: book/page}]}]\n",
        },
    )
    monkeypatch.setattr("tools.build_book.npm_available", lambda: False)
    return Book(tmp_path)


@pytest.mark.slow
def test_a_book_is_built_once_and_again_when_the_library_changes(small_book: Book, capfd: pytest.CaptureFixture[str]):
    root = small_book.root
    marks, page = root / "marks.txt", small_book.html / "book/page.html"
    assert not small_book.is_current()
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n"  # executed once, and these outputs are those that the page shows
    assert "There is no npm" in capfd.readouterr().out
    assert small_book.is_current() and not small_book.make()

    page.unlink()  # only the first page is there
    assert not small_book.is_current()
    assert small_book.make() and page.is_file()
    assert marks.read_text("utf-8") == "1\n"

    _write(root, {"book/intro.md": "# The same book\n\n[a page](page.ipynb)\n"})
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n"  # prose only: nothing executed
    assert "The same book" in (small_book.html / "book/intro.html").read_text("utf-8")

    _write(root, {"mobius_lib/__init__.py": "ONE = 1234567\n"})
    assert not small_book.is_current()
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n1234567\n"
    assert "1234567" in page.read_text("utf-8")


@pytest.mark.compiler
@pytest.mark.slow
def test_the_pages_tell_of_no_kernel_that_is_built(
    small_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """On a machine that has none yet; its compiler makes libraries without anything in them, in no time."""
    real = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    words = f'for word; do out="$word"; done; echo | {real} -shared -fPIC -x c - -o "$out"'
    monkeypatch.setenv("CXX", f"sh -c {shlex.quote(words)} sh")
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    _write(small_book.root, {"book/page.ipynb": _notebook("import os\nprint(os.listdir(os.environ['MOBIUS_CACHE']))")})
    monkeypatch.setattr(Book, "build_html", lambda book, local_assets: None)
    assert small_book.make()
    assert "kernels" in small_book.executed(small_book.root / "book/page.ipynb").cells[1].outputs[0].text
    said = capfd.readouterr()
    assert said.out.count("Building") == 1 and "Building" not in said.err
    for module in (memory, nested, scan, step, turn, lens):
        with suppress(AttributeError):  # there is no function in it
            module.library.__wrapped__()
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("CXX", "nowhere")
    build_kernels()
    assert capfd.readouterr().out.startswith("No C++ kernel is built: CXX names 'nowhere'")


@pytest.mark.slow
def test_a_failing_cell_stops_the_build_with_its_traceback(small_book: Book, capfd: pytest.CaptureFixture[str]):
    _write(small_book.root, {"book/page.ipynb": _notebook("1", "left = 1\nassert left == 2, 'left is wrong'")})
    where = r"book/page\.ipynb failed after \d+ s in cell 2 of 2: the cell and its traceback are above\."
    with pytest.raises(BuildError, match=where):
        small_book.make()
    said = capfd.readouterr().out
    assert "left is wrong" in said and "AssertionError" in said
    assert not small_book.html.exists() and not small_book.is_current()
    with pytest.raises(BuildError):  # and the failure is not taken for a result
        small_book.make()


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
    _write(book.root, {"book/page.ipynb": _notebook(*cells)})
    _write(book.root, {"book/other.ipynb": _notebook(WAITS.format(mine=marks[1], others=marks[0]))})
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
    _write(small_book.root, {"_build/book.json": json.dumps({"notebooks": seconds})})
    small_book.execute([small_book.root / f"book/{name}.ipynb" for name in "abcde"])
    assert "".join(begun) == "cebda"


@pytest.mark.slow
def test_an_interruption_stops_every_notebook(two_pages: tuple[Book, Path, Path]):
    """Those that run end at once, with their kernels; none of those that wait begins, and nothing passes for done."""
    book, first, second = two_pages
    waits = "import os, time\nfrom pathlib import Path\nPath('{}').write_text(str(os.getpid()))\ntime.sleep(600)"
    marks = [book.root / name for name in ("first", "second", "third")]
    pages = [first, second, book.root / "book/third.ipynb"]
    _write(book.root, {str(p): _notebook(waits.format(mark)) for p, mark in zip(pages, marks, strict=True)})
    code = (
        "import sys; from pathlib import Path; from tools import build_book\n"
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


@pytest.mark.slow
def test_outputs_that_were_damaged_are_made_again(small_book: Book):
    small_book.execute([small_book.root / "book/page.ipynb"])
    assert small_book.stale() == []
    (kept,) = (small_book.build_dir / ".jupyter_cache").rglob("*.ipynb")
    kept.write_text(kept.read_text("utf-8")[:100], "utf-8")
    assert len(small_book.stale()) == 1
    small_book.execute([small_book.root / "book/page.ipynb"])
    assert small_book.stale() == []


@pytest.mark.slow
def test_a_build_that_was_killed_passes_for_no_earlier_one(small_book: Book, monkeypatch: pytest.MonkeyPatch):
    assert small_book.make()
    first = (small_book.root / "book/intro.md").read_text("utf-8")
    _write(small_book.root, {"book/intro.md": "# Another book\n\n[a page](page.ipynb)\n"})
    with monkeypatch.context() as patch:
        # the pages are there, and the process ends before it has written that down
        patch.setattr("tools.build_book.listing", lambda folder: sys.exit(137))
        patch.setattr(Book, "_holds", lambda book, inputs: False)
        with pytest.raises(SystemExit):
            small_book.make()
    _write(small_book.root, {"book/intro.md": first})
    assert not small_book.is_current()
    assert small_book.make() and "The book" in (small_book.html / "book/intro.html").read_text("utf-8")


@pytest.mark.slow
def test_two_builds_at_once(small_book: Book):
    """The second waits for the first, says so, and finds everything done."""
    code = (
        "import sys; from pathlib import Path; from tools import build_book; "
        "build_book.npm_available = lambda: False; print(build_book.Book(Path(sys.argv[1])).make())"
    )
    command = [sys.executable, "-c", code, str(small_book.root)]
    builds = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [build.communicate(timeout=300)[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert sorted(text.splitlines()[-1] for text in said) == ["False", "True"]
    waited = next(text for text in said if text.endswith("False\n"))
    assert waited.startswith("Another process is building the book in this checkout; waiting")
    assert (small_book.root / "marks.txt").read_text("utf-8") == "1\n"


def test_a_lock_ends_with_its_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = (
        "import sys, time; from pathlib import Path; from tools.one_at_a_time import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(600)"
    )
    lock = tmp_path / "a folder to be made" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with one_at_a_time(lock, "busy") as waited:
        assert not waited
    assert capsys.readouterr().out == ""


class TestExecution:
    """A cell may take its time, and not for ever."""

    @staticmethod
    def executed(folder: Path, *cells: str, limit: float, beat: float) -> Execution:
        path = folder / "page.ipynb"
        path.write_text(_notebook(*cells), "utf-8")
        execution = Execution(path, "a page", limit, beat)
        asyncio.run(execution.run())
        return execution

    @pytest.fixture
    def used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    def test_a_cell_that_does_not_come_to_an_end(self, tmp_path: Path, used: Path, rate: float, why: str):
        path = tmp_path / "page.ipynb"
        cell = f"import os, time; open({str(used) + '.new'!r}, 'w').write('{rate}')\n"
        cell += f"os.replace({str(used) + '.new'!r}, {str(used)!r}); time.sleep(600)"
        path.write_text(_notebook("1", "", cell, "2"), "utf-8")
        run = Execution(path, "a page", limit=2.0)
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            asyncio.run(run.run())
        assert re.fullmatch(rf"Cell 2 of 3 was given up: {why}.*\.", run.reason)

    @pytest.mark.slow
    def test_a_slow_machine_fails_no_cell(self, tmp_path: Path, used: Path, capfd):
        """Four times the limit by the clock, but never idle, and less than the limit of all processors."""
        cell = "import time; time.sleep(6); print('done')"
        run = self.executed(tmp_path, cell, limit=1.5, beat=0.5)
        assert run.reason == ""
        assert nbformat.read(run.path, nbformat.NO_CONVERT).cells[1].outputs[0].text == "done\n"
        lines = capfd.readouterr().out.splitlines()
        assert len(lines) > 2 and all(line.startswith("  a page, cell 1 of 1, for ") for line in lines)
        assert lines[0].endswith(" s: import time; time.sleep(6); print('done')")

    def test_the_processor_time_of_a_kernel_has_its_childrens(self):
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


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for npm; gives the folders into which was fetched."""
    folders: list[Path] = []

    def fetch(folder: Path) -> dict[str, Path]:
        folders.append(folder)
        found = {name: folder / name for name in ("requirejs", "html-manager", "mathjax")}
        files = ["requirejs/require.js", "html-manager/dist/embed-amd.js", "html-manager/dist/a.woff2"]
        files += [f"mathjax/es5/{part}" + ("" if "." in part else "/a.js") for part in vendor_assets.MATHJAX_PARTS]
        _write(folder, {name: f"what is in {name}" for name in files})
        return found

    monkeypatch.setattr(vendor_assets, "_fetch", fetch)
    return folders


class TestVendoredScripts:
    def test_they_are_fetched_once(self, tmp_path: Path, fetched: list[Path]):
        target = vendor_assets.vendor(tmp_path)
        assert target == vendor_assets.vendor(tmp_path) and len(fetched) == 1
        assert (target / "mathjax/tex-mml-chtml.js").is_file() and (target / "anywidget.js").is_file()
        (target / ".DS_Store").touch()  # what a file manager leaves is no reason
        vendor_assets.vendor(tmp_path)
        assert len(fetched) == 1
        assert {path.name for path in target.parent.iterdir()} == {"vendor", "vendor.json"}

    @pytest.mark.parametrize("name", ["embed-amd.js", "mathjax/output/chtml/fonts/a.js", "widget-host.js"])
    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("cut sh", "utf-8")])
    def test_what_is_missing_or_damaged_is_fetched_anew(self, tmp_path: Path, fetched: list[Path], name: str, damage):
        target = vendor_assets.vendor(tmp_path)
        whole = (target / name).read_bytes()
        damage(target / name)
        vendor_assets.vendor(tmp_path)
        assert len(fetched) == 2 and (target / name).read_bytes() == whole

    def test_a_folder_of_which_nobody_wrote_down_the_content(self, tmp_path: Path, fetched: list[Path]):
        target = vendor_assets.vendor(tmp_path)
        target.with_suffix(".json").write_text("{", "utf-8")
        vendor_assets.vendor(tmp_path)
        assert len(fetched) == 2

    def test_filling_that_was_killed(self, tmp_path: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch):
        """It fills a folder beside the target, on the same file system, and the next build clears it away."""
        with monkeypatch.context() as patch:
            patch.setattr(vendor_assets, "listing", lambda folder: os._exit(137))
            killed = os.fork()
            if not killed:
                vendor_assets.vendor(tmp_path)
            assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == 137
        built = tmp_path / "_build"
        (left,) = built.iterdir()
        assert left.name.startswith("vendor-") and (left / "static/embed-amd.js").is_file()
        vendor_assets.vendor(tmp_path)
        assert {path.name for path in built.iterdir()} == {"vendor", "vendor.json"}


class TestSetUp:
    def test_progress_shows_each_step_and_keeps_the_last_words(self, capsys, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(set_up, "BEAT", 0.0)
        lines = ["Collecting torch\n", "  Downloading torch.whl (900 MB)\n", "Looking\n", "ERROR: no space left\n"]
        assert set_up.progress(lines)[-1] == "ERROR: no space left"
        assert capsys.readouterr().out.splitlines() == [
            *("  1 packages: Collecting torch", "  1 packages: Downloading torch.whl (900 MB)")
        ]

    @pytest.mark.slow
    def test_an_environment_is_made_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
        """And made anew where its making was cut short."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")  # without a person's own uv
        Path("requirements.txt").touch()
        calls = []
        monkeypatch.setattr(set_up, "pip", lambda python, *arguments: calls.append(arguments))
        environment = Path("environment")
        set_up.set_up(environment, environment / ".ready-1")
        assert len(calls) == 2 and (environment / ".ready-1").is_file()
        set_up.set_up(environment, environment / ".ready-1")
        assert len(calls) == 2
        set_up.set_up(environment, environment / ".ready-2")
        assert len(calls) == 4 and [path.name for path in environment.glob(".ready*")] == [".ready-2"]
        assert capfd.readouterr().out.count("Making environment") == 1
        (pip,) = environment.glob("lib/python*/site-packages/pip")
        shutil.rmtree(pip)
        set_up.set_up(environment, environment / ".ready-2")
        assert len(calls) == 6 and "Making environment" in capfd.readouterr().out

    @pytest.mark.slow
    @pytest.mark.parametrize("status", [0, 1])
    def test_uv_is_used_where_it_is_and_works(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int):
        monkeypatch.chdir(tmp_path)
        _write(tmp_path, {"requirements.txt": "", "bin/uv": f'#!/bin/sh\necho "$@" >> said.txt\nexit {status}\n'})
        (tmp_path / "bin/uv").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        calls = []
        monkeypatch.setattr(set_up, "pip", lambda python, *arguments: calls.append(arguments))
        monkeypatch.setattr(set_up, "works", lambda python: True)
        Path("environment").mkdir()
        set_up.set_up(Path("environment"), Path("environment/.ready-1"))
        python = Path("environment/bin/python")
        assert Path("said.txt").read_text("utf-8") == f"pip install --python {python} -r requirements.txt\n"
        assert calls == [("-r", "requirements.txt")] * status + [("--quiet", "--no-deps", "-e", ".")]


@pytest.mark.slow
def test_a_warning_stops_the_build(small_book: Book, capfd: pytest.CaptureFixture[str]):
    _write(small_book.root, {"book/intro.md": "# The book\n\n[nowhere](missing.md)\n"})
    with pytest.raises(BuildError, match="Jupyter Book could not build the pages, or warned"):
        small_book.make()
    assert "missing.md" in capfd.readouterr().out
    assert not small_book.is_current()


def test_a_training_cell_goes_on_when_it_is_run_again_and_shows_how_far_it_is():
    """In every notebook: its work is kept in a folder that has the same name the next time."""
    cells = [
        cell.source
        for notebook in notebooks()
        for cell in nbformat.read(notebook, nbformat.NO_CONVERT).cells
        if cell.cell_type == "code" and "execute(" in cell.source
    ]
    assert len(cells) >= 5
    for source in cells:
        assert 'Path("outputs", "' in source and "work=" in source, source
        assert "progress" not in source and "tempfile" not in source, source


def test_what_widgets_fetch_later_lies_beside_the_pages_that_ask(tmp_path: Path):
    config = {"sphinx": {"config": {"html_static_path": ["book/style"]}}}
    _write(tmp_path, {"book/uses.ipynb": "{}"})
    assert packs.write_packs(copy.deepcopy(config), tmp_path) == config
    _write(tmp_path, {f"book/{page}.ipynb": "{}" for page in packs.PACKED} | {"_build/packs/older.js": ""})
    written = packs.write_packs(copy.deepcopy(config), tmp_path)["sphinx"]["config"]["html_static_path"]
    assert written == ["book/style", "_build/packs"]
    found = {pack.name: pack.stat().st_size for pack in (tmp_path / "_build/packs").iterdir()}
    assert found.keys() == {"waves-network.js", "simplex-network.js", "squeezed-network.js", "twistor-readers.js"}
    assert max(found.values()) < 2.5e6


def test_the_entries_of_the_glossary_come_as_a_script(tmp_path: Path):
    """Read by a page that may fetch nothing; the first paragraph of each entry, as it stands in the page."""
    (tmp_path / "_static").mkdir()
    glossary.write_entries(tmp_path)
    assert not any((tmp_path / "_static").iterdir()), "a book without a glossary has no entries"
    words = '<section id="a-word"><h2>A word</h2><p>It <em>means</em> “this”.</p><p>More.</p></section>'
    _write(tmp_path, {"book/glossary.html": f'<section id="glossary"><h1>Glossary</h1><p>All.</p>{words}</section>'})
    glossary.write_entries(tmp_path)
    script = (tmp_path / "_static/glossary-entries.js").read_text("utf-8")
    assert json.loads(script.removeprefix("window.GLOSSARY = ").removesuffix(";\n")) == {
        "a-word": "<p>It <em>means</em> “this”.</p>"
    }


def test_a_citation_leads_to_its_reference():
    references = (ROOT / "book/references.md").read_text("utf-8")
    labels = re.findall(r"^\((.*)\)=\n- ", references, re.MULTILINE)
    assert len(labels) == len(set(labels)) == len(re.findall("^- ", references, re.MULTILINE)) > 40
    for notebook in notebooks():
        cells = [c.source for c in nbformat.read(notebook, nbformat.NO_CONVERT).cells if c.cell_type == "markdown"]
        linked = {label for cell in cells for label in re.findall(r"\]\(#([^)]*)\)", cell)}
        assert linked <= set(labels), notebook.name
        for cited in (cell for cell in cells if cell.startswith("**References.**")):
            works = re.findall(r"\*, (?:19|20)\d\d", cited)
            assert works and cited.count("](#") >= len(works), notebook.name


def test_every_page_of_the_contents_is_there():
    stems = [page.stem for page in pages()]
    assert stems[0] == "intro" and {"1_waves", "ledger", "notation", "references"} <= set(stems)
    toc = {page.name for page in pages()}
    left = {path.name for path in (ROOT / "book").iterdir() if path.suffix in {".md", ".ipynb"}} - toc
    assert not left, f"not in _toc.yml, so in nobody's book: {sorted(left)}"
    assert not (ROOT / "book" / "_static").exists(), "every script in there would be loaded by every page"


def test_no_error_and_no_stderr_in_the_executed_notebooks(book: Book):
    for notebook in notebooks():
        for cell in book.executed(notebook).cells:
            if cell.cell_type == "code" and cell.source.strip():
                assert cell.execution_count is not None
                for output in cell.outputs:
                    assert output.output_type != "error"
                    assert output.get("name") != "stderr", f"{notebook.name} warns: {output.text}"


def test_a_second_make_book_does_nothing(book: Book):
    """The command itself: in seconds, and no page is written again."""
    stamps = {path: path.stat().st_mtime_ns for path in book.html.rglob("*.html")}
    record = book.record_file.read_bytes()
    run = subprocess.run(
        [sys.executable, "-m", "tools.build_book"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert run.returncode == 0, run.stderr
    assert "up to date" in run.stdout and "webbrowser" in run.stdout.splitlines()[-1]
    assert stamps == {path: path.stat().st_mtime_ns for path in book.html.rglob("*.html")}
    assert book.record_file.read_bytes() == record
    assert set(json.loads(record)["notebooks"]) == {f"book/{path.name}" for path in notebooks()}
