"""`make book`: what is executed, when, and what happens when a cell fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from tools.build_book import Book
from tools.dependencies import code_of, dependencies, fingerprint, imports, reached
from tools.house import ROOT, BuildError, notebooks, pages


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
            "mobius_lib/__init__.py": "from mobius_lib.errors import Wrong\n",
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
    assert marks.read_text("utf-8") == "1\n"  # executed once: nbmake's outputs are those that the page shows
    assert "There is no npm" in capfd.readouterr().out
    assert small_book.is_current() and not small_book.make()

    _write(root, {"book/intro.md": "# The same book\n\n[a page](page.ipynb)\n"})
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n"  # prose only: nothing executed
    assert "The same book" in (small_book.html / "book/intro.html").read_text("utf-8")

    _write(root, {"mobius_lib/__init__.py": "ONE = 1234567\n"})
    assert not small_book.is_current()
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n1234567\n"
    assert "1234567" in page.read_text("utf-8")


@pytest.mark.slow
def test_a_failing_cell_stops_the_build_with_its_traceback(small_book: Book, capfd: pytest.CaptureFixture[str]):
    _write(small_book.root, {"book/page.ipynb": _notebook("1", "left = 1\nassert left == 2, 'left is wrong'")})
    with pytest.raises(BuildError, match=r"book/page\.ipynb failed after .* the cell and its traceback are above"):
        small_book.make()
    said = capfd.readouterr().out
    assert "left is wrong" in said and "AssertionError" in said
    assert not small_book.html.exists() and not small_book.is_current()
    with pytest.raises(BuildError):  # and the failure is not taken for a result
        small_book.make()


@pytest.mark.slow
def test_a_warning_stops_the_build(small_book: Book, capfd: pytest.CaptureFixture[str]):
    _write(small_book.root, {"book/intro.md": "# The book\n\n[nowhere](missing.md)\n"})
    with pytest.raises(BuildError, match="Jupyter Book could not build the pages, or warned"):
        small_book.make()
    assert "missing.md" in capfd.readouterr().out
    assert not small_book.is_current()


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
