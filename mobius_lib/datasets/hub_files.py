"""Files of a data set on the hub: listed with their hashes, fetched by parts, checked before they are used.

The hub's own client fetches into a new part each time, keeps none of a process that was killed, and compares sizes
alone; of shards of 600 MB each on a session that ends, that is too little.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mobius_lib.errors import DataError
from mobius_lib.patience import LONGEST, persistent, words

ATTEMPTS = 6
"""In a row without a byte that is new."""
PAUSE = 1.0
"""Seconds before the second attempt, unless the hub says for how long; doubled before each further one."""
SILENCE = 30.0
"""Seconds without a byte after which a connection is given up."""
_CHUNK = 2**20
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it."""

    path: str
    size: int
    digest: str
    """SHA-256, or of a small file git's SHA-1; empty where the hub tells none."""


@dataclass(frozen=True)
class Listing:
    """The files of a data set at a revision."""

    repo: str
    revision: str
    files: tuple[HubFile, ...]


def listing(repo: str) -> Listing:
    """What the hub holds of a data set now.

    Raises:
        DataError: no network, no such data set, or no permission, with the cure.
    """

    def ask() -> Listing:
        from huggingface_hub import HfApi

        found = HfApi().dataset_info(repo, files_metadata=True, timeout=SILENCE)
        files = [
            HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else file.blob_id or "")
            for file in found.siblings or ()
        ]
        return Listing(repo, found.sha or "main", tuple(sorted(files, key=lambda file: file.path)))

    return patiently(ask, f"The list of files of {repo}", _page(repo))


def fetch(there: Listing, file: HubFile, into: Path, told: Callable[[int], None] = lambda _: None) -> Path:
    """A file whose content is what the hub's hash says.

    Args:
        there: where it is listed.
        file: which.
        into: the folder it goes to; what an earlier process fetched of it is there, and goes on.
        told: called with the number of bytes that came.
    Raises:
        DataError: the hub refuses, falls silent, or keeps sending other bytes; or there is no room.
        OSError: the folder cannot be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    whole = into / f"{file.digest[:12]}-{Path(file.path).name}"
    if whole.is_file() and _is(whole, file):
        return whole
    part = whole.with_name(f"{whole.name}.part")
    for _ in range(3):
        what, page = f"{file.path} of {there.repo}", _page(there.repo)
        patiently(lambda: _stream(there, file, part, told), what, page, lambda: _size(part))
        if _is(part, file):
            os.replace(part, whole)
            return whole
        told(-_size(part))
        part.unlink()
    raise DataError(
        f"{there.repo} sent {file.path} three times with other bytes than its hash {file.digest[:12]}… tells; a proxy "
        "on the way may change them: try another network."
    )


def _stream(there: Listing, file: HubFile, part: Path, told: Callable[[int], None]) -> None:
    """Brings the part to the file's size, from where it is."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    if _size(part) > file.size:
        part.unlink()
    if (have := _size(part)) == file.size and part.exists():
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={have}-"}
    address = hf_hub_url(there.repo, file.path, repo_type="dataset", revision=there.revision)
    with get_session().stream("GET", address, headers=headers, timeout=SILENCE, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if response.status_code != 206 and have:  # all of it comes, whatever was asked for
            told(-have)
            have = 0
        with part.open("r+b" if have else "wb") as content:
            content.seek(have)
            for chunk in response.iter_bytes(_CHUNK):
                content.write(chunk)
                content.flush()  # to where it outlives this process
                told(len(chunk))
    if _size(part) < file.size:
        raise ConnectionResetError(f"it ended after {_size(part):,} of {file.size:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is(path: Path, file: HubFile) -> bool:
    if path.stat().st_size != file.size or not file.digest:
        return path.stat().st_size == file.size
    with path.open("rb") as content:
        if len(file.digest) == 64:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.digest
        blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)  # as git names it
        while chunk := content.read(_CHUNK):
            blob.update(chunk)
        return blob.hexdigest() == file.digest


def patiently(call: Callable[[], _Found], what: str, page: str, reached: Callable[[], int] = lambda: 0) -> _Found:
    """What it returns, tried again as long as that may help.

    Args:
        call: of the hub.
        what: begins the sentence, should it fail.
        page: where a person sees what it asks for.
        reached: how many bytes have come.
    Raises:
        DataError: with the cure.
    """

    def sentence(error: Exception, status: int | None, pause: float) -> DataError:
        return DataError(f"{what} could not be fetched ({words(error)}); {_cure(status, page, pause)}.")

    return persistent(call, sentence, attempts=ATTEMPTS, pause=PAUSE, reached=reached)


def _page(repo: str) -> str:
    return f"https://huggingface.co/datasets/{repo}"


def _cure(status: int | None, page: str, pause: float) -> str:
    if status in (401, 403):
        return f"log in with `hf auth login`, or set HF_TOKEN, with an account that has accepted the licence at {page}"
    if status == 404:
        return f"{page} shows what is there"
    if pause > LONGEST:
        return f"the hub asks for a pause of {pause / 60:.0f} minutes: after that the same command goes on"
    return "connect to the network, and the same command goes on where it was"
