"""What a notebook reaches, and so which change makes its outputs stale."""

from pathlib import Path

import nbformat
import pytest

from tests.book.small import notebook_of, write
from tools.dependencies import code_of, dependencies, fingerprint, imports, reached
from tools.house import ROOT, notebooks


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A library of four packages, and two notebooks of which one uses two of them."""
    write(
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
            "book/1_waves.ipynb": notebook_of("%pip list\nif True:\n    !ls\nfrom mobius_lib.widgets import make"),
            "book/2_cantor.ipynb": notebook_of("import mobius_lib.cantor.math as m\nfrom mobius_lib import datasets"),
        },
    )
    return tmp_path


def test_imports_of_every_form():
    code = "import a.b, c\nfrom d import e\ndef f():\n    from .. import g\n    from .h import i\n"
    assert imports(code, "p.q.r") == {"a.b", "c", "d", "d.e", "p", "p.g", "p.q.h", "p.q.h.i"}
    assert imports("from . import x", "p.q", is_package=True) == {"p.q", "p.q.x"}


def test_what_only_a_type_checker_imports_does_not_count():
    code = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\nif other:\n    import c\n"
    assert imports(code) == {"b", "c"}


@pytest.mark.parametrize("code", ["from mobius_lib import make", "import mobius_lib\nprint(mobius_lib.make())"])
def test_names_that_are_imported_when_they_are_asked_for(tree: Path, code: str):
    names = {"mobius_lib", *(f"mobius_lib.{name}" for name in ("errors", "waves", "waves.lens", "waves.math"))}
    assert set(reached(code, tree)) == names
    assert set(reached("import mobius_lib", tree)) == {"mobius_lib", "mobius_lib.errors"}


def test_magics_do_not_hide_the_code(tree: Path):
    assert code_of(tree / "book/1_waves.ipynb").splitlines()[:3] == ["pass", "if True:", "    pass"]


def test_what_is_reached(tree: Path):
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
def test_a_change_is_stale_where_it_is_reached(tree: Path, changed: str, waves: bool, cantor: bool):
    books = (tree / "book/1_waves.ipynb", tree / "book/2_cantor.ipynb")
    before = [fingerprint(book, tree) for book in books]
    assert before == [fingerprint(book, tree) for book in books]
    with (tree / changed).open("a", encoding="utf-8") as file:
        file.write("\n")
    after = [fingerprint(book, tree) for book in books]
    assert [old != new for old, new in zip(before, after, strict=True)] == [waves, cantor]


def test_prose_and_outputs_are_no_reason_to_execute(tree: Path):
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


def test_the_scale_is_part_of_it(tree: Path, monkeypatch: pytest.MonkeyPatch):
    path = tree / "book/1_waves.ipynb"
    monkeypatch.setenv("MOBIUS_SCALE", "quick")
    before = fingerprint(path, tree)
    monkeypatch.setenv("MOBIUS_SCALE", "full")
    assert fingerprint(path, tree) != before


def test_the_first_chapter():
    """Of the real book: a change in waves/math.py executes chapter 1 again, a change in a test does not."""
    chapter = next(path for path in notebooks() if path.stem == "1_waves")
    names = {path.relative_to(ROOT).as_posix() for path in dependencies(chapter)}
    assert {"mobius_lib/waves/math.py", "mobius_lib/widgets/waves.js", "requirements.txt"} <= names
    assert any(name.startswith("data/") for name in names)
    assert not any(name.startswith(("tests/", "tools/", "book/")) for name in names)
    assert "mobius_lib/cli.py" not in names
