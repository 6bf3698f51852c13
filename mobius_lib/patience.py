"""Calls over a network that may fail for a while: tried again as long as that may help, after the pause asked for."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from mobius_lib.errors import MobiusError

LONGEST = 300.0
"""Seconds; a hub that wants a longer pause is taken at its word, and the command ends."""
_Found = TypeVar("_Found")


def persistent(
    call: Callable[[], _Found],
    sentence: Callable[[Exception, int | None, float], MobiusError],
    *,
    attempts: int,
    pause: float,
    again: tuple[type[MobiusError], ...] = (),
    reached: Callable[[], int] = lambda: 0,
) -> _Found:
    """What it returns.

    Args:
        call: it. Its own `MobiusError`s are final, and so is an error of the disk.
        sentence: what is raised in the end, from the failure, its HTTP status and the pause that would be next.
        attempts: in a row that come no further.
        pause: seconds before the second, unless the hub says for how long; doubled before each further one.
        again: `MobiusError`s that may pass all the same.
        reached: how far it has come.
    Raises:
        MobiusError: of `sentence`.
    """
    failures, furthest = 0, reached()
    while True:
        try:
            return call()
        except Exception as error:  # whatever the client and its transport raise
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            if isinstance(error, MobiusError) and not isinstance(error, again):
                raise
            # one of the disk has a number; so have some of the network, which are of two kinds
            if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError | TimeoutError):
                raise
            failures = 1 if reached() > furthest else failures + 1
            furthest = max(furthest, reached())
            wait = _asked(response) or pause * 2 ** (failures - 1)
            if not _may_pass(error, status) or failures >= attempts or wait > LONGEST:
                raise sentence(error, status, wait) from error
            time.sleep(wait)


def words(error: Exception) -> str:
    """The first line of what a library says, with its kind, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".") if lines else ""
    return text if isinstance(error, MobiusError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _may_pass(error: Exception, status: int | None) -> bool:
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    if status is not None:
        return status in (408, 429) or status >= 500
    return not isinstance(error, HFValidationError | LocalTokenNotFoundError | OfflineModeIsEnabled)


def _asked(response: Any) -> float | None:
    """The pause that a hub asks for, in seconds."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    said = getattr(response, "headers", {}).get("Retry-After")
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
