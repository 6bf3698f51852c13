"""`make book`: execute what is stale, build the HTML, say how to open it.

1. Each notebook whose fingerprint (tools/dependencies.py) has changed is executed (tools/execute.py) in an empty
   folder, two at a time (`make book WORKERS=1`: one after the other), and its outputs go into the Jupyter cache. This
   is the only execution: `make test` and `make book` share it. The C++ kernels that they may ask for are built before:
   else the page that comes first would tell of it.
2. Jupyter Book builds `_build/html` from that cache, with warnings as errors; what widgets fetch later (tools/packs.py)
   is put beside the pages.
3. When nothing has changed since the last time, and nothing that was built is missing, neither happens.

One build at a time: a second one in the same checkout waits for the first.
"""

import copy
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient.exceptions import CellExecutionError, DeadKernelError

from tools.dependencies import digest, fingerprint
from tools.execute import Execution, say, several
from tools.glossary import write_entries
from tools.house import BUILD, ROOT, BuildError, listing, notebooks, pages
from tools.one_at_a_time import one_at_a_time
from tools.packs import write_packs
from tools.vendor_assets import npm_available, overlay, vendor

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What says with how many threads numpy and torch compute."""

THEBE = re.compile(r"(?s)(<script>const THEBE_JS_URL.*?</script>)(.*?)\1")
"""A script that the theme puts into each page twice, where the browser complains of the second."""


class Book:
    """A checkout and what has been built from it."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.build_dir = root / BUILD
        self.html = self.build_dir / "html"
        self.record_file = self.build_dir / "book.json"
        self.config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))

    def record(self) -> dict[str, Any]:
        """What the last build was made of; empty when there was none."""
        try:
            return json.loads(self.record_file.read_text("utf-8"))
        except (OSError, json.JSONDecodeError):
            return {}

    def inputs(self, local_assets: bool) -> str:
        """One digest of everything that the HTML is made of."""
        files = {path for path in (self.root / "book").rglob("*") if path.is_file() and "checkpoint" not in path.name}
        files |= {self.root / "_config.yml", self.root / "_toc.yml", *(self.root / "tools").glob("*.py")}
        files |= {*(self.root / "mobius_lib").rglob("*.py")}  # their docstrings are pages
        notes = [fingerprint(notebook, self.root) for notebook in notebooks(self.root)]
        return digest(sorted(files), self.root, str(local_assets), sys.version, *notes)

    def is_current(self) -> bool:
        """Whether `_build/html` is what these sources give (with or without local copies of the pages' scripts)."""
        return self._holds(self.inputs(bool(self.record().get("local"))))

    def _holds(self, inputs: str) -> bool:
        """Whether `_build/html` was made of these inputs, and is still whole."""
        record = self.record()
        return record.get("inputs") == inputs and record.get("files", {}).items() <= listing(self.html).items()

    def executed(self, notebook: Path) -> nbformat.NotebookNode:
        """The notebook with the outputs of its last execution.

        Raises:
            KeyError: when this code has not been executed.
        """
        source = nbformat.read(notebook, nbformat.NO_CONVERT)
        return self._cache().merge_match_into_notebook(source)[1]

    def stale(self) -> list[Path]:
        """The notebooks whose outputs may no longer be what their code gives."""
        known = self.record().get("notebooks", {})
        found = []
        for notebook in notebooks(self.root):
            try:
                self.executed(notebook)
                same = known.get(self._name(notebook), {}).get("fingerprint") == fingerprint(notebook, self.root)
            except (KeyError, ValueError):  # never executed, or what was kept is damaged
                same = False
            if not same:
                found.append(notebook)
        return found

    def execute(self, stale: list[Path], workers: int = 1) -> None:
        """Run every cell of these notebooks, each in a folder of its own, and keep the outputs.

        The one that took longest the last time begins; of those that were never executed, the first in the book.

        Args:
            stale: the notebooks.
            workers: how many at a time. They share the processors.
        Raises:
            BuildError: when a cell fails or does not come to an end; its traceback has then been printed, and all
                other notebooks have been executed.
        """
        known = self.record().get("notebooks", {})
        stale = sorted(stale, key=lambda notebook: -known.get(self._name(notebook), {}).get("seconds", math.inf))
        workers = max(1, min(workers, len(stale)))
        failures: list[str] = []
        several([partial(self._execute, notebook, workers, failures) for notebook in stale], workers)
        if failures:
            raise BuildError(" ".join(failures))

    async def _execute(self, notebook: Path, workers: int, failures: list[str]) -> None:
        name, mark, started = self._name(notebook), fingerprint(notebook, self.root), time.perf_counter()
        say(f"Executing {name} ...")
        with tempfile.TemporaryDirectory() as folder:
            # a chapter must not depend on where it is run
            copy = Path(folder) / notebook.name
            shutil.copy(notebook, copy)
            environment = self._environment(folder, workers)
            execution = Execution(copy, name, self.config["execute"]["timeout"], environment=environment)
            try:
                await execution.run()
            except (CellExecutionError, DeadKernelError) as error:
                say(f"{error}\n{execution.reason or f'{name} failed in {execution.cell}: {execution.line}'}")
                where = f"{name} failed after {time.perf_counter() - started:.0f} s in {execution.cell}"
                failures.append(f"{where}: the cell and its traceback are above.")
                return
        seconds = time.perf_counter() - started
        self._keep(notebook, execution.notebook, seconds)
        record = self.record()
        done = {"fingerprint": mark, "seconds": round(seconds, 1), "workers": workers}
        record.setdefault("notebooks", {})[name] = done
        self._write(record)
        say(f"Executed {name} in {seconds:.0f} s.")

    def build_html(self, local_assets: bool) -> None:
        """Build `_build/html` from the executed notebooks.

        Raises:
            BuildError: on any warning of Sphinx; what it said has then been printed.
        """
        for old in (self.html, self.build_dir / ".doctrees"):
            shutil.rmtree(old, ignore_errors=True)
        config = write_packs(copy.deepcopy(self.config), self.root)
        if local_assets:
            config = overlay(config)
        config_file = self.build_dir / "config.yml"
        config_file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "utf-8")
        command = [
            *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
            *("build", str(self.root), "--config", str(config_file), "--all", "-W", "--keep-going"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(
                command,
                cwd=self.root,
                env=self._environment(folder),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        (self.build_dir / "build.log").write_text(run.stdout, "utf-8")
        if run.returncode or not (self.html / "index.html").is_file():
            print(run.stdout, flush=True)
            raise BuildError("Jupyter Book could not build the pages, or warned: its words are above.")
        for page in self.html.rglob("*.html"):
            page.write_text(THEBE.sub(r"\1\2", page.read_text("utf-8")), "utf-8")
        write_entries(self.html)

    def make(self) -> bool:
        """Bring `_build/html` up to date.

        Returns:
            whether anything had to be done.
        Raises:
            BuildError: when a notebook, a package or a page fails.
        """
        with one_at_a_time(self.build_dir / "lock", "building the book in this checkout"):
            return self._make()

    def _make(self) -> bool:
        local = npm_available()
        if local:
            try:
                vendor(self.root)
            except BuildError as error:
                local = False
                print(f"{error}\nThe pages will load their scripts from the CDNs.", flush=True)
        else:
            print("There is no npm: the pages will load MathJax from a CDN.", flush=True)
        inputs = self.inputs(local)
        if self._holds(inputs):
            return False
        stale = self.stale()
        if stale:
            build_kernels()
            self.execute(stale, workers())
        known = self.record().get("notebooks", {})
        kept = {name: known[name] for name in map(self._name, notebooks(self.root))}
        self._write({"notebooks": kept})  # if it is killed now, half a folder of pages passes for no earlier whole one
        self.build_html(local)
        self._write({"inputs": inputs, "local": local, "notebooks": kept, "files": listing(self.html)})
        return True

    def _name(self, notebook: Path) -> str:
        return notebook.relative_to(self.root).as_posix()

    def _cache(self) -> Any:
        return get_cache(str(self.build_dir / ".jupyter_cache"))

    def _keep(self, notebook: Path, result: nbformat.NotebookNode, seconds: float) -> None:
        """Put the outputs of `result` into the cache, under the code of `notebook`."""
        source = nbformat.read(notebook, nbformat.NO_CONVERT)
        for cell, done in zip(source.cells, result.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
        for key in ("widgets", "language_info"):
            if key in result.metadata:
                source.metadata[key] = result.metadata[key]
        bundle = CacheBundleIn(source, str(notebook), data={"execution_seconds": seconds})
        self._cache().cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    def _write(self, record: dict[str, Any]) -> None:
        part = self.record_file.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1), "utf-8")
        part.replace(self.record_file)

    def _environment(self, folder: str, workers: int = 1) -> dict[str, str]:
        """For subprocesses: this checkout's library, this environment's kernel, nobody's IPython profile."""
        paths = [str(self.root), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = str(max(1, processors() // workers))
        # Threads that wait for one another would spin: beside other work on the same cores, a quick run of seconds took
        # minutes so. Whoever sets it otherwise has it otherwise.
        return (
            {"OMP_WAIT_POLICY": "passive"}
            | (dict.fromkeys(THREADS, threads) if workers > 1 else {})
            | os.environ
            | {
                "PYTHONPATH": os.pathsep.join(paths),
                "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),
                "JUPYTER_PREFER_ENV_PATH": "1",
                "IPYTHONDIR": str(Path(folder) / "ipython"),
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                "PYTHONUNBUFFERED": "1",
            }
        )


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """How many notebooks are executed at a time: WORKERS, else two, and no more than there are processors.

    Raises:
        BuildError: when WORKERS is no number of them.
    """
    asked = os.environ.get("WORKERS", "2")
    if not asked.isdecimal() or int(asked) < 1:
        raise BuildError(f"WORKERS is {asked!r}; give how many notebooks are to be executed at a time, such as 2.")
    return min(int(asked), processors())


def build_kernels() -> None:
    """Build every C++ kernel of the library that is not on this machine's disk yet, all at the same time.

    One line says so, and one more of each that fails: the pages then come from slower forms.
    """
    from mobius_lib import native  # here: it imports torch, and a build that finds nothing to do takes no second
    from mobius_lib.waves.fast.native import SOURCE, recipe

    others = [path for path in sorted(Path(native.__file__).parent.rglob("*.cpp")) if path != SOURCE]
    try:
        recipes = [recipe(), *map(native._recipe, others)]
    except (native.NoCompiler, native.BadCompiler) as error:
        print(f"No C++ kernel is built: {error}.", flush=True)
        return
    missing = [each for each in recipes if not each[1].exists()]
    if missing:
        print(f"Building {len(missing)} C++ kernels; kept in {missing[0][1].parent} ...", flush=True)
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(native.build_once, *each, told=True) for each in missing]:
                if error := done.exception():
                    print(f"{error}; slower forms serve.", flush=True)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a BuildError into its sentence and exit status 1, and Ctrl-C into status 130."""
    try:
        yield
    except BuildError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Stopped; the same command continues.", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    started = time.perf_counter()
    book = Book()
    with one_sentence():
        changed = book.make()
    done = f"built in {time.perf_counter() - started:.0f} s" if changed else "up to date"
    print(f"The book is {done}: {len(pages())} pages. Open it:")
    print(f'  python3 -m webbrowser "{(book.html / "index.html").as_uri()}"')


if __name__ == "__main__":
    main()
