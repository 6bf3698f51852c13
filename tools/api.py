"""For Sphinx: docstrings as the library writes them, on the pages of the API.

The library writes for who reads the source: |x| is a size, x * y a product, and what is indented under a colon stands
as it was typed. reStructuredText has marks of its own for all of these.
"""

import re
from typing import Any

ITEM = re.compile(r"(\d+\.|-) ")
SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|Shape|Source|Yields):$")


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring, in reStructuredText and what napoleon reads."""
    found: list[str] = []
    literal: int | None = None  # the indentation below which a block that stands as it was typed has ended
    section: int | None = None  # that of the section's head
    for at, line in enumerate(lines):
        depth, text = len(line) - len(line.lstrip()), line.strip()
        if not text:
            found.append("")
            continue
        before = next((one for one in reversed(lines[:at]) if one.strip()), "")
        above = len(before) - len(before.lstrip()) if before else depth
        if literal is not None and depth <= literal:
            literal = None
            found.append("")
        if section is not None and depth <= section:
            section = None
        hangs = ITEM.match(before.strip() if depth > above else text)
        if section is literal is None and before and depth != above and not hangs and not SECTION.match(before.strip()):
            if depth > above and before.endswith(":"):
                literal = above
                place = max(i for i, one in enumerate(found) if one.strip())
                found[place] += ":"
            found.append("")
        if SECTION.match(text):
            section = depth
        parts = re.split(r"(`+[^`]*`+)", line)
        plain = "".join(part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part) for part in parts)
        found.append(line if literal is not None else plain)
    return found


def setup(app: Any) -> dict[str, bool]:
    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = restructured(lines)

    app.connect("autodoc-process-docstring", process, priority=300)  # before napoleon, whose own marks are to stay
    return {"parallel_read_safe": True}
