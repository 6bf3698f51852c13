"""How a widget's JavaScript and style sheet are served: a page stores both once per widget, so every byte counts."""

import re
from pathlib import Path

_JS_ONLY_FOR_AUTHORS = re.compile(r"(?m)^\s+|(^|\s+)// .*$")
"""Indentation, and comments to the end of the line (the files have neither a multi-line string nor "// " in one)."""


def served(name: str) -> str:
    """A file of this folder as the page stores it: without what only its authors need.

    Args:
        name: such as "waves.js" or "waves.css".
    Returns:
        the text; equal in effect to the file (the widgets' tests run this form).
    """
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    if name.endswith(".js"):
        return re.sub(r"\n+", "\n", _JS_ONLY_FOR_AUTHORS.sub("", text)).lstrip()
    return re.sub(r"\s*([{};])\s*", r"\1", text).replace(": ", ":")
