"""For Sphinx: docstrings as the library writes them, on the pages of the API (`book/api_*.md`).

The library writes for who reads the source: |x| is a size, x * y a product, and what is indented under a colon stands
as it was typed. reStructuredText has marks of its own for all of these.
"""

import inspect
import re
import sys
from importlib import import_module
from typing import Any

from sphinx.ext.autodoc import ModuleDocumenter
from sphinx.pycode import ModuleAnalyzer

ITEM = re.compile(r"(\d+\.|-) ")
KINDS = ("Classes", "Functions", "Errors", "Constants and types", "Modules")
"""In the order of a page: what somebody came for stands before what it needs."""
SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|Shape|Source|Yields):$")


STRONG = re.compile(r"(?<![\w*])\*\*(?=[^\s*])([^*]+?)(?<=\S)\*\*(?![\w*])")
"""What is said with weight, over the ends of lines too; ** between numbers is a power."""
WEIGHT = "\0"


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring, in reStructuredText and what napoleon reads."""
    # code, and another paragraph, cannot be within what is strong: there it loses its weight
    lines = STRONG.sub(
        lambda said: said[1] if "`" in said[1] or "\n\n" in said[1] else f"{WEIGHT}{said[1]}{WEIGHT}", "\n".join(lines)
    ).split("\n")
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
        found.append(line.replace(WEIGHT, "") if literal is not None else "".join(map(_plain, parts)))
    return [line.replace(WEIGHT, "**") for line in found]


def _plain(part: str) -> str:
    """Marks that are none, escaped; what begins with a dot belongs to anybody, and leads nowhere."""
    if part.startswith("`."):
        return f"`{part}`"
    return part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part)


def share_comments(package: str) -> None:
    """Let what is written under a constant, in the module that has it, be known of its name in the package as well."""
    module, known = import_module(package), ModuleAnalyzer.for_module(package)
    known.analyze()
    for name in module.__all__:
        value = getattr(module, name)  # which imports it, where it comes when it is asked for
        for inner, each in sorted(sys.modules.items()):
            if inner.startswith(f"{package}.") and getattr(each, name, None) is value:
                home = ModuleAnalyzer.for_module(inner)
                home.analyze()
                if comment := home.attr_docs.get(("", name)):
                    long = len(repr(value)) > 76
                    known.attr_docs["", name] = [*comment, ":meta hide-value:", ""] if long else comment


def kind(value: Any) -> str:
    """Under which of KINDS a public name stands."""
    if inspect.isclass(value):
        return KINDS[2] if issubclass(value, BaseException) else KINDS[0]
    return KINDS[1] if inspect.isroutine(value) else KINDS[4] if inspect.ismodule(value) else KINDS[3]


def contents(package: str) -> list[str]:
    """A package's public names by kind, a paragraph each, as lines of reStructuredText; each leads to its entry."""
    module, found = import_module(package), []
    for each in KINDS:
        names = [f"`~{package}.{name}`" for name in module.__all__ if kind(getattr(module, name)) == each]
        found += ["", f"**{each}**: {', '.join(names)}."] if names else []
    return found


class Package(ModuleDocumenter):
    """The members of a package, kind by kind."""

    def sort_members(self, documenters: list[tuple[Any, bool]], order: str) -> list[tuple[Any, bool]]:
        members = super().sort_members(documenters, order)
        return sorted(members, key=lambda each: KINDS.index(kind(getattr(self.object, each[0].name.split("::")[1]))))


def signature(app: Any, what: str, name: str, obj: Any, options: Any, written: str, result: str) -> Any:
    """Of pydantic's models the names of their fields: what each must be is written under it, in words."""
    if what == "class" and hasattr(obj, "model_fields"):
        return f"(*, {', '.join(obj.model_fields)})", result
    return written, result


def setup(app: Any) -> dict[str, bool]:
    whole: dict[str, list[str]] = {}

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = restructured(lines) + (contents(name) if hasattr(obj, "__all__") else [])
        if what in ("attribute", "data", "property") and not any(SECTION.match(line.strip()) for line in lines):
            whole[name] = lines.copy()

    def restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = whole.pop(name, lines)  # napoleon takes what stands before its first colon for a type

    def begin(app: Any, env: Any, pages: list[str]) -> None:
        for page in pages:
            if page.startswith("book/api_"):
                share_comments(page.replace("book/api_", "mobius_lib."))

    app.add_autodocumenter(Package, override=True)
    app.connect("env-before-read-docs", begin)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", process, priority=300)  # before napoleon, whose own marks are to stay
    app.connect("autodoc-process-docstring", restore, priority=700)
    return {"parallel_read_safe": True}
