"""How a widget's JavaScript and style sheet are served: a page stores both once per widget, so every byte counts."""

import re
from pathlib import Path

from mobius_lib.widgets.compact import compact

_JS_ONLY_FOR_AUTHORS = re.compile(r"(?m)^\s+|(^|\s+)// .*$")
"""Indentation, and comments to the end of the line. (The files have no multi-line string, no "// " in a string, and no
regular expression literal.)"""


def served(*names: str) -> str:
    """Files of this folder, joined, as the page stores them: without what only their authors need.

    Args:
        names: such as "shared.js" and "waves.js", or "shared.css" and "waves.css"; in this order they make one file.
    Returns:
        the text; equal in effect to the files (the widgets' tests run this form).
    """
    text = "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in names)
    if names[0].endswith(".js"):
        return compact(re.sub(r"\n+", "\n", _JS_ONLY_FOR_AUTHORS.sub("", text)).lstrip())
    return re.sub(r"\s*([{};])\s*", r"\1", text).replace(": ", ":")
