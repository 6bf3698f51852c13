"""How the library writes a file: whole or not at all, behind a symbolic link where there is one, and nothing special.

The bytes go into a file beside the target, are forced to disk, and take its name with one rename.
"""

import contextlib
import errno
import glob
import itertools
import json
import math
import numbers
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from mobius_lib.errors import MobiusError

_count = itertools.count()


class WriteError(MobiusError):
    """A file cannot be written."""


def write_whole(
    path: Path | str,
    data: bytes | memoryview | Callable[[IO[bytes]], object],
    *,
    error: type[MobiusError] = WriteError,
    advice: str = "make room or give another file",
) -> None:
    """Puts a file in place with one rename, after its bytes are on the disk.

    Args:
        path: of the file; its folder is made where it is missing. A symbolic link stays: its target is written.
        data: what the file is to hold, or what writes it into the open file: then it need not be in memory as a whole.
        error: what is raised, for whoever has an error of its own kind.
        advice: the end of its sentence.
    Raises:
        WriteError: when that fails, or the path is a folder, a device or a pipe; what was there is still whole, and no
            temporary file is left.
    """
    path, temporary = Path(path), None
    try:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(target)
        with temporary.open("xb") as file:
            data(file) if callable(data) else file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
        _sync_folder(target.parent)
        clear_left(target.parent, target.name)
    except BaseException as raised:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(raised, OSError):
            raise error(_sentence(path, raised, advice)) from raised
        raise


def write_json(path: Path | str, content: Any, **options: Any) -> None:
    """Writes JSON of the `plain` content; further options as in `write_whole`."""
    write_whole(path, (json.dumps(plain(content), indent=1, allow_nan=False) + "\n").encode(), **options)


def check_writable(
    path: Path | str, *, error: type[MobiusError] = WriteError, advice: str = "make room or give another file"
) -> None:
    """Tries what `write_whole` begins with, the folder included, for whoever wants to know before hours of work.

    Raises:
        WriteError: as `write_whole` would.
    """
    try:
        target = _target(Path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(target)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as raised:
        raise error(_sentence(Path(path), raised, advice)) from raised


def clear_left(folder: Path, name: str = "*") -> None:
    """Removes the temporary files of that name that killed processes left in a folder."""
    for left in folder.glob(f".{name if name == '*' else glob.escape(name)}.*.tmp"):
        found = re.search(r"\.(\d+)\.\d+\.tmp$", left.name)
        if found and not _running(int(found[1])):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The same in what JSON knows: None for each NaN and infinity, lists for tuples, numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)


def reason(error: OSError) -> str:
    """What the system said, to stand in brackets."""
    return (error.strerror or type(error).__name__).lower()


def _target(path: Path) -> Path:
    """The file that a path means, which is there as a regular file or not at all."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise OSError(errno.EISDIR, "it is a folder")
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return target


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{next(_count)}.tmp")


def _sentence(path: Path, error: OSError, advice: str) -> str:
    free = ""
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            free = f", {shutil.disk_usage(path.parent).free / 1e6:.0f} MB free"
    return f"{path} cannot be written ({reason(error)}{free}); {advice}."


def _running(process: int) -> bool:
    if os.name != "posix":  # elsewhere there is no question that does not end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Forces the rename itself to disk, where the system lets a folder be opened."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
