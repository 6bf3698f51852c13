"""`make new-run` in a copy of the tree: what it writes passes lint and its own test as it is written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.house import ROOT, BuildError
from tools.new import chapter, new_run

CHAPTERS = ["waves", "cantor", "simplex", "gauge", "twistor"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a run, its lint and its test need of the tree."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("mobius_lib", "tests/runs", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for path in [
        ROOT / "pyproject.toml",
        ROOT / "_toc.yml",
        *(ROOT / "book").iterdir(),
        ROOT / "tests" / "conftest.py",
    ]:
        if path.is_file():
            (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def _passes(copy: Path, *command: str) -> None:
    run = subprocess.run([sys.executable, *command], cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_a_new_run_of_every_chapter_passes_lint_and_its_own_test(copy: Path, monkeypatch: pytest.MonkeyPatch):
    for variable, value in {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(variable, value)
    tests = []
    for number, name in enumerate(CHAPTERS, start=1):
        written = new_run("edges-help", name if number % 2 else str(number), copy)
        assert len(written) == 3
        tests.append(f"tests/runs/{name}/test_edges_help.py")
        assert copy / tests[-1] in written
    _passes(copy, "-m", "ruff", "check", ".")
    _passes(
        copy, "-m", "ruff", "format", "--check", *(f"mobius_lib/runs/{name}/edges_help.py" for name in CHAPTERS), *tests
    )
    _passes(copy, "-c", "from importlinter.cli import lint_imports_command as lint; lint()")
    _passes(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests[0], tests[-1])  # each takes seconds
    listed = "from mobius_lib.runs import ABOUT, RUNS; assert ABOUT.keys() == RUNS.keys() >= {'gauge-edges-help'}"
    _passes(copy, "-c", f"{listed}; assert list(ABOUT) == list(RUNS)")


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        (
            "edges",
            "sonar",
            "There is no chapter 'sonar': give CHAPTER as one of waves, cantor, simplex, gauge, twistor",
        ),
        ("edges", "6", "There is no chapter '6'"),
        ("", "waves", "'' is no name: give NAME in small letters"),
        ("../edges", "waves", "is no name"),
        ("features", "waves", "mobius_lib/runs/waves/features.py is there already: give another NAME"),
        ("waves-features", "waves", "mobius_lib/runs/waves/features.py is there already"),
        ("clip-weights", "waves", "There is a run waves-clip-weights already: give another NAME"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(copy: Path, name: str, of: str, message: str):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with pytest.raises(BuildError) as error:
        new_run(name, of, copy)
    assert message in str(error.value)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}


def test_chapters_are_known_by_name_and_number():
    assert (
        [chapter(name) for name in CHAPTERS]
        == [chapter(str(n)) for n in range(1, 6)]
        == [*enumerate(CHAPTERS, start=1)]
    )


def test_the_command_ends_with_one_sentence():
    run = subprocess.run(
        [sys.executable, "-m", "tools.new", "run", "edges", ""], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("There is no chapter ''") and run.stderr.count("\n") == 1
