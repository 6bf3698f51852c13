"""A line of the command `mobius`, taken apart as the command does it, and not carried out."""

import shlex
from typing import Any

from typer.main import get_command

from mobius_lib.cli import app
from mobius_lib.runs import ABOUT


def parsed(line: str) -> dict[str, Any]:
    """What each option and argument of the line is given.

    Raises:
        an exception for a command, an option, a run or a scale that there is not.
    """
    mobius, name, *words = shlex.split(line)
    assert mobius == "mobius", line
    commands: Any = get_command(app)
    given = commands.commands[name].make_context(name, words).params
    if name == "run" and given["name"] is not None:
        scales = ABOUT[given["name"]].scales
        assert given["data"] is not None or given["scale"] in scales, f"{line}: the scales are {', '.join(scales)}"
    return given
