"""For Sphinx: docstrings as the library writes them, on the pages of the API (`book/api_*.md`).

The library writes for who reads the source: |x| is a size, x * y a product, and what is indented under a colon stands
as it was typed. reStructuredText has marks of its own for all of these. And a name that is plain in the source, where
the next line has it, leads on a page to its entry, or where it has none to its file.
"""

import ast
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import cache, partial
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.ext.autodoc import ModuleDocumenter
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import split_explicit_title

from tools.house import ROOT, repository

ITEM = re.compile(r"(\d+\.|-) ")
KINDS = ("Classes", "Functions", "Errors", "Constants and types", "Modules")
"""In the order of a page: what somebody came for stands before what it needs."""
SECTION = re.compile(r"(Args|Attributes|Example|Examples|Note|Raises|Returns|Shape|Source|Yields):$")


STRONG = re.compile(r"(?<![\w*])\*\*(?=[^\s*])([^*]+?)(?<=\S)\*\*(?![\w*])")
"""What is said with weight, over the ends of lines too; ** between numbers is a power."""
WEIGHT = "\0"


@cache
def library() -> dict[str, list[str]]:
    """The names that the library's modules define: each with the modules that do; and its files, as `math.py`."""
    found = defaultdict(list)
    for path in sorted((ROOT / "mobius_lib").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[path.name].append(module)
        for each in ast.parse(path.read_text("utf-8")).body:
            names = getattr(each, "targets", [getattr(each, "target", each)])
            for name in (getattr(one, "id", getattr(one, "name", None)) for one in names):
                found[name].append(module)
    return found


def place(name: str, home: str, own: Collection[str] = ()) -> str | None:
    """Where a name leads that stands in backticks in a docstring.

    Args:
        name: as it stands there: `FORMS`, `math.FORMS`, `Rung.storage`, `gauge.bits`, `gauge/bits.py`.
        home: the module of the docstring; of several that define the name the nearest is meant.
        own: what is meant otherwise there: the parameters of a function, the attributes of a class.
    Returns:
        the full name of its entry; or the path of its file, where it has no entry; None, where it is none of the
        library's.
    """
    file = name.endswith(".py")
    *before, last = name.split("/") if file else name.split(".")
    if before and before[-1][:1].isupper():  # a class, and what it has
        last = before.pop()
    if not before and not file and last in own:
        return None
    tail, package = "".join(f".{each}" for each in before), home.split(".")[:2]
    fit = [module for module in library()[last] if f".{module.rpartition('.')[0] if file else module}".endswith(tail)]
    near = [each for each in fit if each == home] or [each for each in fit if each.split(".")[:2] == package]
    if before and fit and not near:  # of several the one that stands in no inner folder
        near = [each for each in fit if each.count(".") == min(other.count(".") for other in fit)]
        near = near if len(near) == 1 else []
    if not near and (len(fit) != 1 or (last.islower() and not before)):
        # of nobody, of several, or a word that has its plain meaning here; or a module
        return place(f"{name.replace('.', '/')}.py", home) if before and not file else None
    module = min(near or fit, key=len)
    public = import_module(".".join(module.split(".")[:2]))
    if not file and last in public.__all__ and getattr(import_module(module), last, None) is getattr(public, last):
        return ".".join([public.__name__, last, *name.split(".")[len(before) + 1 :]])
    return f"{module.replace('.', '/')}{'/__init__' * (ROOT / module.replace('.', '/')).is_dir()}.py"


def restructured(lines: list[str], lead: Callable[[str], str | None] = lambda name: None) -> list[str]:
    """The lines of a docstring, in reStructuredText and what napoleon reads; `lead` is `place` for the names in it."""
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
        read = partial(_plain, lead=lead)
        found.append(line.replace(WEIGHT, "") if literal is not None else "".join(map(read, parts)))
    return [line.replace(WEIGHT, "**") for line in found]


def _plain(part: str, lead: Callable[[str], str | None]) -> str:
    """Marks that are none, escaped; what begins with a dot belongs to anybody, and leads nowhere."""
    if part.startswith("`."):
        return f"`{part}`"
    if not part.startswith("`"):
        return re.sub(r"([|*])", r"\\\1", part)
    where = lead(part.strip("`")) if re.fullmatch(r"`[A-Za-z_][\w./]*`", part) else None
    return part if where is None else f"{':source:' * where.endswith('.py')}`{part[1:-1]} <{where}>`"


def source(name: str, rawtext: str, text: str, *others: Any, **more: Any) -> Any:
    """A role: a name, and the file of the repository to which it leads."""
    _, shown, path = split_explicit_title(text)
    known = repository()
    address = f"{known.url}/blob/{known.branch}/{path}"
    return [nodes.reference(rawtext, "", nodes.literal(rawtext, shown), refuri=address)], []


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


def home(name: str, obj: Any) -> str:
    """The module in which an entry is written."""
    module = getattr(obj, "__module__", None) or getattr(getattr(obj, "fget", None), "__module__", None)
    if isinstance(module, str) and module.startswith("mobius_lib"):
        return module
    parts = name.split(".")
    owner = getattr(import_module(".".join(parts[:2])), parts[2], None) if len(parts) > 3 else None
    return getattr(owner, "__module__", None) or ".".join(parts[:2])


def own(name: str, obj: Any) -> set[str]:
    """The parameters of what is called, and the attributes of a class, or of that whose member it is."""
    parts = name.split(".")
    owner = getattr(import_module(".".join(parts[:2])), parts[2], None) if len(parts) > 2 else None
    found = set(dir(owner)) if inspect.isclass(owner) else set()
    try:
        return found | {*inspect.signature(obj).parameters}
    except (TypeError, ValueError):  # nothing that is called
        return found


def setup(app: Any) -> dict[str, bool]:
    whole: dict[str, list[str]] = {}

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = restructured(lines, partial(place, home=home(name, obj), own=own(name, obj)))
        lines += contents(name) if hasattr(obj, "__all__") else []
        if what in ("attribute", "data", "property") and not any(SECTION.match(line.strip()) for line in lines):
            whole[name] = lines.copy()

    def restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = whole.pop(name, lines)  # napoleon takes what stands before its first colon for a type

    def begin(app: Any, env: Any, pages: list[str]) -> None:
        for page in pages:
            if page.startswith("book/api_"):
                share_comments(page.replace("book/api_", "mobius_lib."))

    app.add_autodocumenter(Package, override=True)
    app.add_role("source", source)
    app.connect("env-before-read-docs", begin)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", process, priority=300)  # before napoleon, whose own marks are to stay
    app.connect("autodoc-process-docstring", restore, priority=700)
    return {"parallel_read_safe": True}
