"""Files are whole or not there, whatever goes wrong while they are written; nothing special is replaced by one."""

import errno
import json
import os
import stat
from unittest.mock import Mock

import numpy as np
import pytest

from mobius_lib.errors import DataError
from mobius_lib.files import WriteError, check_writable, clear_left, plain, write_json, write_whole

FAILURES = [("fsync", OSError(errno.ENOSPC, "No space left on device")), ("replace", OSError(errno.EIO, "I/O error"))]


@pytest.mark.parametrize(("name", "error"), FAILURES, ids=["disk full", "rename fails"])
def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch, name, error):
    path = tmp_path / "file.pt"
    write_whole(path, b"old")
    monkeypatch.setattr(os, name, Mock(side_effect=error))
    with pytest.raises(WriteError, match=f"cannot be written \\({error.strerror.lower()}.*\\)"):
        write_whole(path, b"new and longer")
    assert [p.name for p in tmp_path.iterdir()] == ["file.pt"] and path.read_bytes() == b"old"


def test_interrupted_write_leaves_no_temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", Mock(side_effect=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file.pt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_cleared(tmp_path, dead):
    """By the next writer of the same file, and only what is of a process that has ended."""
    path, own = tmp_path / "file[1].json", tmp_path / f".file[1].json.{os.getpid()}.999999.tmp"
    for left in (tmp_path / f".file[1].json.{dead}.0.tmp", tmp_path / f".other.json.{dead}.0.tmp", own):
        left.write_text("half")
    write_json(path, {})
    assert {each.name for each in tmp_path.iterdir()} == {path.name, own.name, f".other.json.{dead}.0.tmp"}
    clear_left(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {path.name, own.name}


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "target.json", tmp_path / "link.json", tmp_path / "second.json"
    target.write_text("old")
    link.symlink_to(target)
    second.symlink_to(link)
    for path in (link, second):
        write_whole(path, path.name.encode())
        assert path.is_symlink() and target.read_text() == path.name
    nowhere = tmp_path / "nowhere.json"
    nowhere.symlink_to("made.json")
    write_whole(nowhere, b"new")
    assert nowhere.is_symlink() and (tmp_path / "made.json").read_bytes() == b"new"
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    for tried in (check_writable, lambda path: write_whole(path, b"")):
        with pytest.raises(WriteError, match=r"loop\.json cannot be written \(too many levels of symbolic links\)"):
            tried(loop)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    pipe, device, link = tmp_path / "pipe", tmp_path / "null", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    refused = [(pipe, "it is no regular file"), (link, "it is no regular file"), (tmp_path, "it is a folder")]
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        refused.append((device, "it is no regular file"))
    except OSError:
        pass  # only the system's administrator may make one
    modes = {path: os.lstat(path).st_mode for path, _ in refused}
    for path, why in refused:
        for tried in (check_writable, lambda path: write_whole(path, b"new")):
            with pytest.raises(WriteError, match=f"{path} cannot be written \\({why}\\); make room or give another"):
                tried(path)
    assert {path: os.lstat(path).st_mode for path, _ in refused} == modes
    assert {each.name for each in tmp_path.iterdir()} == {path.name for path, _ in refused if path != tmp_path}


def test_where_nothing_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "x.json", "/proc/x.json", tmp_path / ("x" * 300)):
        with pytest.raises(DataError, match=r"cannot be written \(.+\); stop\."):
            check_writable(path, error=DataError, advice="stop")
    check_writable(tmp_path / "new" / "x.json")
    assert list((tmp_path / "new").iterdir()) == [] and (tmp_path / "file").read_text() == "in the way"
    (tmp_path / "file").chmod(0o640)
    check_writable(tmp_path / "file")
    write_whole(tmp_path / "file", b"new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640, "who may read it stays"


def test_json_has_no_nan_and_no_numpy(tmp_path):
    content = {"loss": float("nan"), "list": [float("inf"), 1.5, "x", None, True, (1,)], 3: {"n": np.int64(2)}}
    write_json(tmp_path / "a.json", content | {"x": np.float32(0.5)})
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=Mock(side_effect=AssertionError()))
    assert read == {"loss": None, "list": [None, 1.5, "x", None, True, [1]], "3": {"n": 2}, "x": 0.5}
    assert plain(read) == read
