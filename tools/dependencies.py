"""What a notebook's outputs depend on, read from its imports.

Jupyter's cache compares a notebook's own cells only. Here a notebook's fingerprint also covers every module of
`mobius_lib` that it can reach by import statements (those inside functions too) and by the names that packages import
when they are asked for, the files beside these modules (a widget's JavaScript), the embedded data where it can reach
their loaders, and the pinned requirements.
"""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path

from tools.house import ROOT

LIBRARY = "mobius_lib"
DATA_DOORS = (f"{LIBRARY}.datasets",)  # reaching one of these packages means that data/ may be read


def code_of(notebook: Path) -> str:
    """The notebook's code as one Python text: magics and shell lines are replaced by `pass`."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    lines: list[str] = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%%"):
            continue
        for line in source.splitlines():
            bare = line.lstrip()
            lines.append(line[: len(line) - len(bare)] + "pass" if bare[:1] in {"%", "!"} else line)
    return "\n".join(lines)


@cache  # every notebook reaches the same modules
def imports(code: str, module: str = "", is_package: bool = False) -> frozenset[str]:
    """Every name that an import statement in `code` could load as a module.

    `from a import b` gives a and a.b, since b may be either. `module` is the name of the module the code is in, for
    relative imports. `mobius_lib.b` anywhere counts as an import of b. What only a type checker imports does not count.
    """
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(code)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *filter(None, [base])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == LIBRARY:
            found.add(f"{LIBRARY}.{node.attr}")
    return frozenset(found)


@cache
def homes(code: str) -> dict[str, str]:
    """The table HOMES of a package: names that it imports when they are asked for, to the modules that have them.

    A name that is asked for in another way than `from mobius_lib import name` or `mobius_lib.name` is not seen.
    """
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "HOMES":
            return ast.literal_eval(node.value)
    return {}


def module_file(name: str, root: Path) -> Path | None:
    """The file of a module of the library, or None where there is no such module."""
    path = root.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def reached(code: str, root: Path = ROOT) -> dict[str, Path]:
    """All modules of the library that running `code` may load, by name: direct imports, theirs, and all parents."""

    @cache
    def modules_of(name: str) -> set[str]:
        package, _, last = name.rpartition(".")
        if not name.startswith(LIBRARY):
            return set()
        if not module_file(name, root) and (file := module_file(package, root)):
            name = homes(file.read_text("utf-8")).get(last, name)
        parts = name.split(".")
        found = {".".join(parts[: i + 1]) for i in range(len(parts))}
        return {name for name in found if module_file(name, root)}

    modules: dict[str, Path] = {}
    waiting = set().union(*map(modules_of, imports(code)))
    while waiting:
        name = waiting.pop()
        file = module_file(name, root)
        assert file is not None
        modules[name] = file
        inner = imports(file.read_text("utf-8"), name, is_package=file.name == "__init__.py")
        waiting |= set().union(*map(modules_of, inner)) - set(modules)
    return modules


def dependencies(notebook: Path, root: Path = ROOT) -> list[Path]:
    """Every file that the notebook's outputs depend on, the notebook itself aside."""
    modules = reached(code_of(notebook), root)
    files = set(modules.values())
    for package in {file.parent for file in modules.values()}:
        files |= {path for path in package.iterdir() if path.is_file() and path.suffix not in {".py", ".pyc"}}
    if any(name == door or name.startswith(f"{door}.") for name in modules for door in DATA_DOORS):
        files |= {path for path in (root / "data").rglob("*") if path.is_file()}
    files |= {root / name for name in ("requirements.txt", "constraints.txt") if (root / name).is_file()}
    return sorted(path for path in files if "__pycache__" not in path.parts)


def digest(files: list[Path], root: Path, *extra: str) -> str:
    """SHA-256 of names and contents, and of further strings."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    total.update("\0".join(extra).encode())
    return total.hexdigest()


def fingerprint(notebook: Path, root: Path = ROOT) -> str:
    """Changes when the notebook's outputs may: with its code, with what it imports, with the data, with the scale."""
    return digest(dependencies(notebook, root), root, code_of(notebook), os.environ.get("MOBIUS_SCALE", ""))
