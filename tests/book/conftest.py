"""The built book, where there is one."""

from collections.abc import Callable

import pytest

from tools.build_book import Book


@pytest.fixture(scope="session")
def book(lacking: Callable[[str], None]) -> Book:
    """The book as `make test` has just built it; without it the test is skipped, or fails under CI."""
    built = Book()
    if not built.is_current():
        lacking("the book is not built from these sources: `make book`")
    return built
