"""`.venv` is made once, by pip or by uv, and made anew where its making was cut short."""

import shutil
from pathlib import Path

import pytest

from tests.book.small import write
from tools import set_up


def test_progress_shows_each_step_and_keeps_the_last_words(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(set_up, "BEAT", 0.0)
    lines = ["Collecting torch\n", "  Downloading torch.whl (900 MB)\n", "Looking\n", "ERROR: no space left\n"]
    assert set_up.progress(lines)[-1] == "ERROR: no space left"
    assert capsys.readouterr().out.splitlines() == [
        *("  1 packages: Collecting torch", "  1 packages: Downloading torch.whl (900 MB)")
    ]


@pytest.mark.slow
def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
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
def test_uv_is_used_where_it_is_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"requirements.txt": "", "bin/uv": f'#!/bin/sh\necho "$@" >> said.txt\nexit {status}\n'})
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
