"""Spaces that only a reader of JavaScript needs, taken out."""

import re
from collections.abc import Iterator

_AROUND = re.compile(r"[ \t]*(=>|[{}()\[\];,<>=?:&|*/%!])[ \t]*")
_SIGN = re.compile(r"(?<![+-])[ \t]+([+-]) (?![+-])")  # of "a - -b" the spaces stay
_JOINED = re.compile(r"(?<=[{(\[,;=?:&|*<>])\n|(?<=[^+]\+)\n|\n(?=[)\].?:&|}])")  # a line that goes on in the next


def compact(js: str) -> str:
    """The same program with fewer spaces and line ends; strings and templates stay as they are.

    Args:
        js: without comments and indentation, as `served` gives it, and without regular expression literals.
    Returns:
        the shorter text.
    """
    return "".join(part if literal else _squeezed(part) for literal, part in _parts(js))


def _squeezed(code: str) -> str:
    return _JOINED.sub("", _AROUND.sub(r"\1", _SIGN.sub(r"\1", code)))


def _parts(js: str) -> Iterator[tuple[bool, str]]:
    """Literals and the code between them, in their order, each with whether it is a literal."""
    at = start = 0
    while at < len(js):
        if js[at] in "\"'`":
            end = _after_literal(js, at)
            yield False, js[start:at]
            yield True, js[at:end]
            at = start = end
        else:
            at += 1
    yield False, js[start:]


def _after_literal(js: str, at: int) -> int:
    """The place after the string or template that begins at a place."""
    quote, at = js[at], at + 1
    while js[at] != quote:
        if js[at] == "\\":
            at += 2
        elif quote == "`" and js.startswith("${", at):
            at = _after_braces(js, at + 2)
        else:
            at += 1
    return at + 1


def _after_braces(js: str, at: int) -> int:
    """The place after the brace that closes what is open at a place."""
    depth = 1
    while depth:
        if js[at] in "\"'`":
            at = _after_literal(js, at)
            continue
        depth += {"{": 1, "}": -1}.get(js[at], 0)
        at += 1
    return at
