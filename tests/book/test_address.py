"""The repository's address stands in `_config.yml`; every other mention agrees with it and moves with it."""

import contextlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.house import ROOT, BuildError, Repository, notebooks, repository, source_files
from tools.set_repository import renamed, set_repository

BOOK = repository()


def _texts(root: Path = ROOT) -> dict[Path, str]:
    """Every file that is text; data and pictures are not."""
    found = {}
    for path in source_files(root):
        with contextlib.suppress(UnicodeDecodeError):
            found[path] = path.read_text("utf-8")
    return found


def test_pyproject_names_the_repository():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["urls"]["Repository"] == BOOK.url


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_every_notebook_starts_with_the_same_set_up_cell(notebook: Path):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "".join(first["source"]) == BOOK.setup_cell
    others = "".join("".join(cell["source"]) for cell in cells if cell is not first and cell["cell_type"] == "code")
    assert "pip install" not in others


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_every_notebook_has_a_badge_that_opens_itself(notebook: Path):
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert f"[![Open in Colab](open-in-colab.svg)]({BOOK.colab}/book/{notebook.name})" in text


def test_every_colab_pip_and_raw_address_is_the_books():
    """These forms only ever point to the book itself, so each of them must agree with `_config.yml`."""
    own = re.compile(
        r"(?:colab\.research\.google\.com/github|git\+https://github\.com|raw\.githubusercontent\.com)"
        r"/([A-Za-z0-9-]+/[A-Za-z0-9._-]+)"
    )
    found = 0
    for path, text in _texts().items():
        if path.is_relative_to(ROOT / "tests") or path.is_relative_to(ROOT / "tools"):
            continue
        for slug in own.findall(text):
            found += 1
            assert slug.removesuffix(".git") == BOOK.slug, f"{path} points to {slug}, _config.yml to {BOOK.slug}"
    assert found >= 2 * len(notebooks())  # a badge and a set-up cell each


def test_colab_addresses_name_files_that_are_there():
    pattern = re.compile(re.escape(BOOK.colab) + r"/([^)\s\"']+)")
    for path, text in _texts().items():
        for name in pattern.findall(text):
            assert (ROOT / name).is_file(), f"{path} opens {name} in Colab, and there is no such file"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tree, without git and without what was built."""
    for path in _texts():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_set_repository_moves_every_address(copy: Path):
    elsewhere = "Some-Body/their.book"
    assert set_repository(f"https://github.com/{elsewhere}.git/", copy)
    for path, text in _texts(copy).items():
        assert BOOK.slug not in text and BOOK.pages not in text, f"{path} still names the old address"
    moved = repository(copy)
    assert moved.slug == elsewhere
    for notebook in notebooks(copy):
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        first = next(cell for cell in cells if cell["cell_type"] == "code")
        assert "".join(first["source"]) == moved.setup_cell
    assert tomllib.loads((copy / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"] == moved.url
    yaml.safe_load((copy / "_config.yml").read_text("utf-8"))

    assert set_repository(moved.url, copy) == []  # again changes nothing
    assert set_repository(BOOK.url, copy)  # and back: the tree is as it was
    back = {path.relative_to(copy): text for path, text in _texts(copy).items()}
    assert back == {path.relative_to(ROOT): text for path, text in _texts().items()}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "someone/book",
        "https://github.com/someone",
        "http://github.com/someone/book",
        "https://gitlab.com/someone/book",
        "https://github.com/someone/book/tree/main",
        "https://github.com/some one/book",
        "https://github.com/-someone/book",
        "https://github.com/someone/..",
        "git@github.com:someone/book.git",
    ],
)
def test_a_malformed_address_is_refused_and_changes_nothing(url: str, copy: Path):
    before = _texts(copy)
    with pytest.raises(BuildError, match=r"is no repository address: give one like https://github.com/OWNER/NAME"):
        set_repository(url, copy)
    assert _texts(copy) == before


def test_addresses_of_other_repositories_stay():
    old, new = Repository("a", "book"), Repository("b", "tome")
    same = "https://github.com/a/book-2 https://github.com/a/book.js https://github.com/aa/book a/book"
    assert renamed(same, old, new) == same
    text = (
        "git+https://github.com/a/book https://github.com/a/book.git, (https://github.com/a/book/issues)."
        " https://a.github.io/book/"
    )
    expected = (
        "git+https://github.com/b/tome https://github.com/b/tome.git, (https://github.com/b/tome/issues)."
        " https://b.github.io/tome/"
    )
    assert renamed(text, old, new) == expected
    assert renamed("See https://github.com/a/book.", old, new) == "See https://github.com/b/tome."
