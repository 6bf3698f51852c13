"""Result files: the command that makes one again, and one read back."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobius_lib.files import plain, write_whole
from mobius_lib.runs.about import RunError
from mobius_lib.runs.base import Run

DIGITS = 9
"""Of a number in the records of this repository: they tell any two float32 apart, and with all 17 the files were a
sixth larger. Whoever makes a record has all of them."""


def command(run: Run, scale: str, seeds: int, changes: Mapping[str, Any], backend: str = "auto") -> str:
    """The line that makes this result again, on whatever device there is."""
    options = {**changes, "backend": None if backend == "auto" else backend}
    options |= getattr(run.data, "keywords", {})  # of `with_columns`
    quoted = {key: shlex.quote(str(value)) for key, value in options.items() if value is not None}
    given = "".join(f" --{key.replace('_', '-')} {value}" for key, value in quoted.items())
    return f"mobius run {run.name} --scale {scale} --seeds {seeds}{given}"


def file_name(run: str, scale: str, changes: Mapping[str, Any]) -> str:
    """Under which a result is kept. One whose settings are not the scale's has a name of its own, and replaces none."""
    kind = "-".join(f"{key}{value}".replace(".", "_") for key, value in changes.items() if value is not None)
    return ".".join(filter(None, (run, scale, kind, "json")))


def shortened(content: Any) -> Any:
    """Plain content, each float in it of `DIGITS` digits."""
    if isinstance(content, dict):
        return {name: shortened(value) for name, value in content.items()}
    if isinstance(content, list):
        return [shortened(value) for value in content]
    return float(f"{content:.{DIGITS}g}") if isinstance(content, float) else content


def write_record(path: Path, content: Mapping[str, Any], advice: str) -> None:
    """Writes a result file with one line for each innermost list or table, which makes it a sixth smaller.

    Args:
        advice: what else could be done where it cannot be written.
    Raises:
        RunError: when it cannot be written.
    """
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    # no line ends inside a string, so all that is taken out stands between numbers, words and brackets
    text = re.sub(r"(?<=[\[{])\n\s+([^\[\]{}]+?)\n\s+(?=[\]}])", lambda part: re.sub(r"\n\s+", " ", part[1]), text)
    write_whole(path, (text + "\n").encode(), error=RunError, advice=advice)


def load_result(path: Path) -> dict[str, Any]:
    """A result file as `execute` wrote it.

    Raises:
        RunError: when it is missing or not a result.
    """
    try:
        result = json.loads(path.read_text())
        result["arms"]  # the one part that every reader needs
        return result
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not a result file ({error}); make it with: mobius run NAME") from error
