"""Run folders to and from the Hugging Face hub, which may be slow, absent, or hand out damaged files."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mobius_lib.errors import CheckpointError, MobiusError
from mobius_lib.training.checkpoint import DamagedCheckpoint, RunFolder, read

ATTEMPTS = 3
PAUSE = 2.0
"""Seconds before the second attempt; doubled before each further one."""
UPLOAD_SECONDS = 1800.0
"""After this an upload is given up: the hub's client itself would wait for an answer for ever."""
ASK_SECONDS = 30.0
"""For the list of a repository's files."""
log = logging.getLogger(__name__)


class HubError(MobiusError):
    """The hub could not be reached, refused, or does not hold what was asked for."""


class Uploader:
    """Copies a run's folder to the hub now and then. A failure is one line of warning: the run goes on.

    Args:
        folder: the run's folder.
        repo: "owner/name", created if it does not exist.
        path: where the folder goes in the repository.
    """

    def __init__(self, folder: Path, repo: str, path: str) -> None:
        self.folder, self.repo, self.path = folder, repo, path
        self._pending: threading.Thread | None = None

    def upload(self, message: str) -> bool:
        """Whether the upload succeeded."""
        if self._pending is not None and self._pending.is_alive():
            log.warning("The upload to %s is left out: the one before has not ended.", self.repo)
            return False
        try:
            _attempt(lambda: self._once(message), f"The upload of {self.folder} to {self.repo} failed")
        except HubError as error:
            log.warning("%s The run goes on; its files are safe in %s.", error, self.folder)
            return False
        return True

    def _once(self, message: str) -> None:
        import huggingface_hub

        def send() -> None:
            api = huggingface_hub.HfApi()
            api.create_repo(repo_id=self.repo, exist_ok=True)
            api.upload_folder(
                repo_id=self.repo,
                folder_path=str(self.folder),
                path_in_repo=self.path,
                commit_message=message,
                ignore_patterns=["**/.*.tmp", ".*.tmp"],
            )

        failures: list[Exception] = []

        def watched() -> None:
            try:
                send()
            except Exception as error:  # handed to the waiting thread, which judges it
                failures.append(error)

        self._pending = threading.Thread(target=watched, daemon=True)
        self._pending.start()
        self._pending.join(UPLOAD_SECONDS)
        if self._pending.is_alive():
            raise _Final(f"no answer for {UPLOAD_SECONDS:.0f} seconds")
        if failures:
            raise failures[0]


def download(repo: str, path: str, into: Path | str) -> Path:
    """Fetches a run's folder, opens every checkpoint in it, and only then puts it in place.

    Args:
        repo: "owner/name".
        path: of the folder in the repository.
        into: the folder below which it goes, at the same path.
    Returns:
        `into / path`.
    Raises:
        HubError: when the hub cannot be reached, has no such folder, or keeps sending damaged files.
        CheckpointError: when the files are whole, but not a run of this library.
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or PurePosixPath(path).is_absolute():
        raise HubError(f"{path!r} is no path inside a repository; give one such as checkpoints/<name>/<timestamp>.")
    inside = "/".join(parts)
    target = Path(into, *parts)
    partial = target.parent / f".{target.name}.download"  # kept when a transfer breaks off, so the next one resumes

    def once() -> None:
        import huggingface_hub

        # Asked first: when the hub is away, `snapshot_download` is content with what an earlier attempt left.
        found = huggingface_hub.HfApi().repo_info(repo_id=repo, timeout=ASK_SECONDS)
        there = getattr(found, "siblings", None) or []
        wanted = [file.rfilename for file in there if file.rfilename.startswith(f"{inside}/")]
        if not wanted:
            raise _Final(f"there is no folder {inside} in it")
        huggingface_hub.snapshot_download(repo_id=repo, allow_patterns=[f"{inside}/*"], local_dir=str(partial))
        try:
            for name in wanted:
                if not (partial / name).is_file():
                    raise DamagedCheckpoint(f"The file {name} did not arrive.")
            _verify(RunFolder(partial.joinpath(*parts)))
        except DamagedCheckpoint:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _attempt(once, f"The download of {inside} from {repo} failed")
        os.replace(partial.joinpath(*parts), target)
    except OSError as error:
        raise HubError(f"{target} cannot be written ({error.strerror}); make room or choose another folder.") from error
    except CheckpointError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(partial, ignore_errors=True)
    return target


def _verify(run: RunFolder) -> None:
    from safetensors import SafetensorError, safe_open

    for file in sorted(run.checkpoints.glob("[!.]*.pt")):
        read(file)
    for file in sorted(run.checkpoints.glob("[!.]*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise DamagedCheckpoint(f"The file {file.name} is truncated or damaged.") from error
    if run.newest() is None and run.final() is None:
        raise CheckpointError(f"{run.path.name} on the hub holds no checkpoint to continue from.")


class _Final(Exception):
    """A failure that trying again would not mend."""


def _attempt(call: Callable[[], Any], what: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            call()
            return
        except Exception as error:  # whatever the client and its transport raise
            if isinstance(error, CheckpointError) and not isinstance(error, DamagedCheckpoint):
                raise
            last = attempt + 1 == ATTEMPTS or not _worth_retrying(error)
            if last:
                raise HubError(f"{what}: {_sentence(error)}.") from error
            log.info("%s (%s); trying again.", what, _sentence(error))
            time.sleep(PAUSE * 2**attempt)


def _worth_retrying(error: Exception) -> bool:
    from huggingface_hub import errors

    hopeless = (_Final, errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError)
    if isinstance(error, (*hopeless, errors.LocalTokenNotFoundError)):
        return False
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None) not in (400, 401, 403, 404)


def _sentence(error: Exception) -> str:
    """The first line of what a library says, with its kind, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".") if lines else ""
    return text if isinstance(error, _Final | MobiusError) else f"{type(error).__name__}: {text}".rstrip(": ")
