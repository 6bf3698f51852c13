"""Where a result came from: the commit of the library, and the versions."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mobius_lib.runs import provenance

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package in it: (folder of the package, a function that runs git there)."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "repository" / "package"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "module.py").write_text("a = 1\n")
    (package.parent / "README.md").write_text("read me\n")
    (package.parent / ".gitignore").write_text("__pycache__/\n/installed/\n")

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
        run = subprocess.run(["git", *who, "-C", str(package.parent), *arguments], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    return package, git


def test_commit_of_a_clean_checkout(checkout):
    package, git = checkout
    head = git("rev-parse", "HEAD")
    found = provenance._commit(package)
    assert len(found) == 12 and head.startswith(found)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.pyc").write_bytes(b"made")
    (package.parent / "README.md").write_text("other words\n")
    assert provenance._commit(package) == found, "neither what is ignored nor what is not the library counts"


@pytest.mark.parametrize("change", ["edited", "staged", "added", "removed"])
def test_commit_with_changes(checkout, change):
    package, git = checkout
    module = package / "sub" / "module.py"
    if change in ("edited", "staged"):
        module.write_text("a = 2\n")
    if change == "staged":
        git("add", ".")
    if change == "added":
        (package / "sub" / "new.py").write_text("b = 1\n")
    if change == "removed":
        module.unlink()
    assert re.fullmatch(r"[0-9a-f]{12}\+changes", provenance._commit(package))


def test_no_commit_of_somebody_elses_repository(checkout, tmp_path):
    package, _ = checkout
    installed = package.parent / "installed" / "package"  # a virtual environment, say, that the repository ignores
    shutil.copytree(package, installed)
    assert provenance._commit(installed) == "not a checkout"
    shutil.copytree(package, tmp_path / "elsewhere")
    assert provenance._commit(tmp_path / "elsewhere") == "not a checkout"


def test_no_git(checkout, monkeypatch):
    package, _ = checkout
    monkeypatch.setenv("PATH", "")
    assert provenance._commit(package) == "not a checkout"


def test_provenance_of_this_code():
    found = provenance.provenance()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created"])
    assert found["versions"]["mobius_lib"] not in ("", "not installed")
    if (ROOT / ".git").exists() and shutil.which("git"):
        head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        assert head.startswith(found["commit"].removesuffix("+changes"))
