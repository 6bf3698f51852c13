"""Run folders to and from the Hugging Face hub, which may be slow, absent, or hand out damaged files."""

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mobius_lib.errors import CheckpointError, MobiusError
from mobius_lib.patience import persistent, words
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


class HubAway(HubError):
    """The hub could not be asked."""


def check_access(repo: str, *, needed: bool = True) -> None:
    """That this machine's token may write to a repository of that name, before there is anything to write.

    Args:
        repo: "owner/name"; it need not exist.
        needed: False makes a warning of a hub that cannot be asked: it may be there when it is needed.
    Raises:
        HubError: what is wrong with the name or the token, and the cure.
        HubAway: the hub cannot be asked.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        owner, name = repo.split("/")
    except (HFValidationError, ValueError) as error:
        raise HubError(
            f"{repo!r} names no repository of the hub; give OWNER/NAME, each of letters, digits, '-', '_' and '.'."
        ) from error

    def sentence(error: Exception, status: int | None, _: float) -> HubError:
        if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
            return HubError(
                f"The hub does not take the token of this machine for {repo} ({words(error)}); log in with "
                "`hf auth login`, or set HF_TOKEN, with a token that may write."
            )
        return HubAway(f"The hub could not be asked whether {repo} may be written to ({words(error)}).")

    try:
        who = persistent(
            lambda: huggingface_hub.HfApi().whoami(), sentence, attempts=ATTEMPTS if needed else 1, pause=PAUSE
        )
    except HubAway as error:
        if needed:
            raise
        log.warning("%s The run begins all the same.", error)
        return
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    owners = [who["name"], *(each["name"] for each in who.get("orgs", ()))]
    if role == "read":
        raise HubError(
            f"The token of this machine may read from the hub and not write to {repo}; make one that may write at "
            "https://huggingface.co/settings/tokens, and log in with `hf auth login`."
        )
    if owner not in owners:
        raise HubError(
            f"The token of this machine is {who['name']}'s, who has no place {owner}; name {owners[0]}/{name}."
        )


class Uploader:
    """Copies a run's folder to the hub now and then. A failure is one line of warning: the run goes on.

    Args:
        folder: the run's folder.
        repo: "owner/name", created if it does not exist.
        path: where the folder goes in the repository; empty: at its top.
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
            self.send(message)
        except HubError as error:
            log.warning("%s The run goes on; its files are safe in %s.", error, self.folder)
            return False
        return True

    def send(self, message: str) -> None:
        """As `upload`, for whoever cannot go on without it.

        Raises:
            HubError: it failed.
        """
        what = f"The upload of {self.folder} to {self.repo} failed"
        try:
            _attempt(lambda: self._once(message, what), what)
        except OSError as error:
            raise HubError(f"{what}: {words(error)}.") from error

    def _once(self, message: str, what: str) -> None:
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
            raise HubError(f"{what}: no answer for {UPLOAD_SECONDS:.0f} seconds.")
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
    what = f"The download of {inside} from {repo} failed"
    partial = target.parent / f".{target.name}.download"  # kept when a transfer breaks off, so the next one resumes

    def once() -> None:
        import huggingface_hub

        # Asked first: when the hub is away, `snapshot_download` is content with what an earlier attempt left.
        found = huggingface_hub.HfApi().repo_info(repo_id=repo, timeout=ASK_SECONDS)
        there = getattr(found, "siblings", None) or []
        wanted = [file.rfilename for file in there if file.rfilename.startswith(f"{inside}/")]
        if not wanted:
            raise HubError(f"{what}: there is no folder {inside} in it.")
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
        _attempt(once, what)
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


def _attempt(call: Callable[[], Any], what: str) -> None:
    """Calls it a few times; `what` begins the sentence, should it fail."""

    def sentence(error: Exception, *_: Any) -> HubError:
        return HubError(f"{what}: {words(error)}.")

    persistent(call, sentence, attempts=ATTEMPTS, pause=PAUSE, again=(DamagedCheckpoint,))
