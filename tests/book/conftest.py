"""The built book, where there is one."""

import os

import pytest

from tools.build_book import Book


@pytest.fixture(scope="session")
def book() -> Book:
    """The book as `make test` has just built it; without it the test is skipped, or fails under CI."""
    built = Book()
    if not built.is_current():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the book is not built from these sources: `make book`")
    return built
