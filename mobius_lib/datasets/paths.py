"""Where the embedded data lies, and how a file of it is fetched when an installation came without it."""

import contextlib
import gzip
import hashlib
import os
import re
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path

from mobius_lib.errors import DataError
from mobius_lib.files import reason

PACKAGE = Path(__file__).resolve().parent.parent
CACHE_ADVICE = "make room there, or name another folder in the environment variable MOBIUS_CACHE"


def data_dir() -> Path:
    """The folder of the embedded data: $MOBIUS_DATA, else `data/` of a checkout, else the installed copy."""
    if chosen := os.environ.get("MOBIUS_DATA"):
        return Path(chosen).expanduser().absolute()
    checkout = PACKAGE.parent / "data"
    return checkout if (checkout / "SHA256SUMS").is_file() else PACKAGE / "_data"


def cache_dir() -> Path:
    """Where what is fetched and converted is kept: $MOBIUS_CACHE, else the system's folder for that."""
    if chosen := os.environ.get("MOBIUS_CACHE"):
        return Path(chosen).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("mobius"))


def no_room(folder: Path, error: OSError) -> DataError:
    """The sentence for a cache that cannot be written."""
    free = ""
    with contextlib.suppress(OSError):
        free = f", {shutil.disk_usage(folder.parent).free / 1e9:.1f} GB free"
    return DataError(
        f"{error.filename or folder} cannot be written ({reason(error)}{free}); {CACHE_ADVICE}: the same command goes "
        "on where it was."
    )


def available_memory() -> int | None:
    """Bytes that can be had without swapping: of the machine, or of the container where that allows less.

    None where the system does not say it in the way of Linux.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(told["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text())
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines()).get("inactive_file", "0")
        found.append(int((group / "memory.max").read_text()) - used + int(kept))
    return min(found, default=None)


def check_memory(needed: int, what: str) -> None:
    """That so many bytes can be had.

    Raises:
        DataError: naming both numbers.
    """
    free = available_memory()
    if free is not None and free < needed:
        raise DataError(
            f"{what} take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; end other programs, or "
            "take a machine with more."
        )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def registry(folder: Path | None = None) -> dict[str, str]:
    """Name to SHA-256 of every embedded file, from SHA256SUMS.

    Raises:
        DataError: when the list itself is missing or damaged.
    """
    path = (folder or data_dir()) / "SHA256SUMS"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        lines = []
    found = [re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line) for line in lines]
    if not found or not all(found):
        raise DataError(
            f"The list of data files {path} is missing or damaged; check out the repository again, "
            "or point MOBIUS_DATA at its data folder."
        )
    return {match[2]: match[1] for match in found if match}


def fetch(name: str) -> Path:
    """The path of an embedded file whose content has been checked; downloaded when it is not there.

    Args:
        name: as in SHA256SUMS, for instance "features_train.safetensors".
    Raises:
        DataError: unknown name, wrong content, or no network when one is needed.
    """
    return _verified(name, data_dir())


def content(name: str) -> bytes:
    """What an embedded file holds, unpacked where it is kept gzipped (.gz).

    Raises:
        DataError: as `fetch`.
    """
    packed = fetch(name).read_bytes()
    return gzip.decompress(packed) if name.endswith(".gz") else packed


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """The files below a folder, at any depth, sorted, without hidden ones (those in or below a name with a dot first).

    Hidden are the copies that JupyterLab, caches and a Mac's Finder lay beside a user's own files.
    """
    files = (path for path in folder.rglob(pattern) if path.is_file())
    return sorted(file for file in files if not any(part[0] == "." for part in file.relative_to(folder).parts))


@cache
def _verified(name: str, folder: Path) -> Path:
    known = registry(folder)
    if name not in known:
        raise DataError(f"There is no embedded file {name!r}; there are {', '.join(known)}.")
    path = folder / name
    if not path.is_file():
        return _download(name, known[name])
    found = sha256(path)
    if found != known[name]:
        raise DataError(
            f"{path} is damaged (SHA-256 {found[:12]}…, expected {known[name][:12]}…, {path.stat().st_size:,} bytes); "
            f"{_cure(name, path)}"
        )
    return path


def _cure(name: str, path: Path) -> str:
    """What to do about a damaged file: git has the checkout's own; any other is fetched once it is gone."""
    checkout = PACKAGE.parent
    if path.resolve() == (checkout / "data" / name).resolve() and (checkout / ".git").exists():
        return f"restore it with: git checkout -- data/{name}"
    return "restore it from a copy, or delete it, and it is fetched from the book's repository"


def _download(name: str, digest: str) -> Path:
    import pooch

    address = f"{raw_address()}/data/"
    store = pooch.create(cache_dir(), address, registry={name: f"sha256:{digest}"})
    try:
        return Path(store.fetch(name))
    except Exception as error:  # pooch lets through whatever its transport raised
        # what the disk says has a number; pooch says it again in words of its own
        system = error if getattr(error, "errno", None) else error.__cause__
        if isinstance(system, OSError) and system.errno and not isinstance(system, ConnectionError | TimeoutError):
            raise no_room(cache_dir(), system) from error
        raise DataError(
            f"{name} is not in {data_dir()} and could not be fetched from {address} ({' '.join(str(error).split())}); "
            "connect to the network, or point MOBIUS_DATA at the data folder of a checkout."
        ) from error


def raw_address() -> str:
    """Where the files of the repository's main branch are served, from the address in the package's metadata.

    Raises:
        DataError: when the package was not installed, so that it has none.
    """
    try:
        urls = dict(entry.split(", ", 1) for entry in metadata.metadata("mobius_lib").get_all("Project-URL") or [])
        repository = urls["Repository"]
    except (metadata.PackageNotFoundError, KeyError) as error:
        raise DataError(
            "A data file is missing, and mobius_lib is not installed, so it does not know where to fetch it; "
            "run pip install -e . in the checkout, or point MOBIUS_DATA at its data folder."
        ) from error
    return repository.rstrip("/").replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main"
