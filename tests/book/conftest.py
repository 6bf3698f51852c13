"""The built book, where there is one, and a small one to build."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.book.small import notebook_of, write
from tools.build_book import Book
from tools.house import ROOT


@pytest.fixture(scope="session")
def book(lacking: Callable[[str], None]) -> Book:
    """The book as `make test` has just built it; without it the test is skipped, or fails under CI."""
    built = Book()
    if not built.is_current():
        lacking("the book is not built from these sources: `make book`")
    return built


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
    write(
        tmp_path,
        {
            "mobius_lib/__init__.py": "ONE = 1\n",
            "book/intro.md": "# The book\n\n[a page](page.ipynb)\n",
            "book/page.ipynb": notebook_of(cell),
            "_config.yml": yaml.safe_dump(config),
            "_toc.yml": "format: jb-book\nroot: book/intro\nparts: [{caption: Pages, chapters: [{file: book/page}]}]\n",
        },
    )
    monkeypatch.setattr("tools.build_book.npm_available", lambda: False)
    return Book(tmp_path)
