"""What a result was made by, as a digest of functions, with all that they reach in this library, tensors and settings.

Code counts as syntax trees. Of a function, a class or a constant of the library the tree is taken, and of every other
one that it names, wherever that stands; C++ sources that are named count too. Comments, docstrings, formatting, the
annotations of functions, the words of errors and the names and places of files do not. What a function was made with
(the values of its closure and its defaults) counts by value, and a function that is none of the library's (a test's, a
notebook's) with the values of the globals that it names.

More may be counted than is run: a class is taken as a whole, and so is a module that is handed around. Less is not, as
long as code is named by names: what is found by a computed name is not seen.
"""

import ast
import copy
import dataclasses
import dis
import functools
import hashlib
import linecache
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PACKAGE = Path(__file__).parent
FOREIGN = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
PURE = {"dataclass", "cache", "lru_cache", "contextmanager", "no_grad", "inference_mode", "runtime_checkable", "jit"}
"""Decorators that do nothing but change the function or class that they stand above."""
LOOKED_UP = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")

Key = tuple[str, str]
"""A module and a name in it; "!" is what happens when the module is imported, "*" all of it, "" a file by its path."""
Part = str | Key


def fingerprint(*values: Any) -> str:
    """The SHA-256 of values, as far as they decide what is computed.

    Args:
        values: numbers, text, None, tensors, arrays; functions, methods, partials, classes, modules; objects of the
            library's and of a user's classes by their attributes, of others as they are printed; and tuples, lists,
            sets and dictionaries (in whatever order) of these.
    Returns:
        64 hexadecimal digits, the same in every process and on every machine.
    """
    digest = hashlib.sha256()
    met: list[Key] = []
    numbers: dict[Key, int] = {}

    def put(parts: Iterable[Part]) -> None:
        for part in parts:
            if not isinstance(part, str):
                # a definition is called by the place at which it was first met: its file has no part in it
                if part not in numbers:
                    numbers[part] = len(met)
                    met.append(part)
                part = f"#{numbers[part]}"
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")

    put(_Values().of(values))
    for key in met:  # it grows
        put(["definition", *_definition(key)])
    return digest.hexdigest()


class _Values:
    """Turns values into parts."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.functions: dict[int, tuple[int, types.FunctionType]] = {}

    def of(self, value: Any) -> list[Part]:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | range | slice):
            return [type(value).__name__, repr(value)]
        if isinstance(value, np.generic):
            return self.of(value.item())
        if isinstance(value, Tensor | np.ndarray):
            return _bytes_of(value)
        if isinstance(value, torch.dtype | torch.device | Enum | re.Pattern):
            return [str(value)]
        if isinstance(value, types.ModuleType):
            return [(value.__name__, "*")] if _ours(value.__name__) else [value.__name__]
        if id(value) in self.open:
            return [f"^{len(self.open) - self.open.index(id(value))}"]
        self.open.append(id(value))
        try:
            return self._deep(value)
        finally:
            self.open.pop()

    def _deep(self, value: Any) -> list[Part]:
        if isinstance(value, Mapping):
            entries = [(str(key), [*self.of(key), *self.of(item)]) for key, item in value.items()]
            return ["{", *(part for _, entry in sorted(entries, key=lambda pair: pair[0]) for part in entry), "}"]
        if isinstance(value, list | tuple):
            return ["[", *self._all(value), "]"]
        if isinstance(value, set | frozenset):
            return ["{", *sorted(fingerprint(each) for each in value), "}"]
        if isinstance(value, functools.partial):
            return ["partial", *self._all((value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return ["method", *self._all((value.__func__, value.__self__))]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if callable(value) and (wrapped := getattr(value, "__wrapped__", None)):  # of `functools.cache`
            return self.of(wrapped)
        if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            return [f"{value.__module__ if hasattr(value, '__module__') else ''}.{value.__qualname__}"]
        return self._object(value)

    def _all(self, values: Any) -> Iterator[Part]:
        for value in values:
            yield from self.of(value)

    def _object(self, value: Any) -> list[Part]:
        parts = [*self._class(type(value))]
        if dataclasses.is_dataclass(value):
            named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif isinstance(value, nn.Module):
            named = {name: own for name, own in vars(value).items() if name not in vars(nn.Module())}
            named |= {"parameters": dict(value.named_parameters(recurse=False))}
            named |= {"buffers": dict(value.named_buffers(recurse=False)), "modules": dict(value.named_children())}
        elif isinstance(value, PurePath):
            named = {}  # what lies there counts as data
        elif isinstance(value, types.SimpleNamespace):
            named = vars(value)
        elif _foreign(type(value)):
            return [*parts, re.sub(r"\b0x[0-9a-f]+|\bid='\d+'", "", repr(value))]
        else:
            slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
            named = {**getattr(value, "__dict__", {}), **{n: getattr(value, n) for n in slots if hasattr(value, n)}}
        return parts + self.of(named)

    def _class(self, value: type) -> list[Part]:
        if _ours(value.__module__) and "." not in value.__qualname__:
            return [(value.__module__, value.__qualname__)]
        if _foreign(value):
            return [f"{value.__module__}.{value.__qualname__}"]
        own = {
            name: getattr(each, "__func__", each)  # of static and class methods
            for name, each in vars(value).items()
            if name not in ("__doc__", "__module__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__")
        }
        return ["class", value.__qualname__, *self._all(value.__bases__), *self.of(own)]

    def _function(self, value: types.FunctionType) -> list[Part]:
        code, module = value.__code__, value.__module__
        if _elsewhere(code.co_filename):
            wrapped = getattr(value, "__wrapped__", None)  # a library's decorator
            return [f"{module}.{value.__qualname__}"] if wrapped is None else self.of(wrapped)
        if id(value) in self.functions:
            return [f"function {self.functions[id(value)][0]}"]
        self.functions[id(value)] = len(self.functions), value
        made_with = {
            "closure": [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)],
            "defaults": value.__defaults__,
            "keywords": value.__kwdefaults__,
        }
        if _ours(module) and value.__qualname__ in _module(module).bound:
            return [(module, value.__qualname__), *self.of(made_with)]
        tree, top = _node(code)
        if tree is None or top is None:  # typed at a prompt: what it was compiled to
            consts = [each for each in code.co_consts[1:] if not isinstance(each, types.CodeType)]
            return ["bytes", code.co_code.hex(), *self.of(consts), *self.of(code.co_names), *self.of(made_with)]

        def meaning(name: str) -> list[Part]:
            found = value.__globals__.get(name)
            if name not in value.__globals__ or _ours(module):
                return _meaning(module, name) if _ours(module) else [name]
            if isinstance(found, types.ModuleType):
                return [(found.__name__, "") if _ours(found.__name__) else found.__name__]
            return self.of(found)

        file = _file(module) if _ours(module) else None
        beside = None if file is None else file.parent
        return [*_Tree(meaning, top, _globals(code), beside).of(tree), *self.of(made_with)]


class _Tree:
    """Turns a syntax tree into parts: its nodes in order, and for each name what that stands for.

    Args:
        meaning: from a name of the module to its parts; ("module", "") stands for a module of the library itself.
        top: the statement of the module in which the tree stands; what is imported in it is known in all of it.
        used: the names of the module that are read in it; other names are local.
        beside: the folder in which files that are named may lie.
    """

    def __init__(
        self, meaning: Callable[[str], list[Part]], top: ast.AST, used: frozenset[str], beside: Path | None
    ) -> None:
        self.meaning, self.used, self.beside = meaning, used, beside
        self.raising, self.inside = 0, False
        self.imported: dict[str, list[Key]] = {}
        for node in ast.walk(top):
            if isinstance(node, ast.Import | ast.ImportFrom) and not isinstance(top, ast.Import | ast.ImportFrom):
                for name, target in _imports(node, ""):
                    self.imported.setdefault(name, []).append(target)

    def of(self, node: Any) -> list[Part]:
        if isinstance(node, list):
            return [part for each in node for part in self.of(each)]
        if not isinstance(node, ast.AST):
            return [repr(node)]
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
            return []
        if isinstance(node, ast.Name | ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Constant):
            return self._constant(node.value)
        parts: list[Part] = [type(node).__name__]
        function, inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef), self.inside
        bare = function and not getattr(node, "decorator_list", ())  # a decorator may read annotations
        self.raising += isinstance(node, ast.Raise | ast.Assert)
        self.inside = function or (inside and not isinstance(node, ast.ClassDef))
        for field, value in ast.iter_fields(node):
            if value is None or value == [] or field in ("kind", "simple", "type_comment", "type_params"):
                continue
            if (field == "returns" and bare) or (field == "annotation" and self.inside):
                continue
            parts += [field, *self.of(_without_annotations(value) if field == "args" and bare else value)]
        self.inside = inside
        self.raising -= isinstance(node, ast.Raise | ast.Assert)
        return [*parts, ")"]

    def _means(self, name: str) -> list[Part]:
        imported = [part for target in self.imported.get(name, ()) for part in _target(target)]
        return imported or (self.meaning(name) if name in self.used else [name])

    def _attribute(self, node: ast.expr) -> list[Part]:
        """A name, and what is taken from it: `simplex.math.vertices` is that function."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        found = self._means(node.id) if isinstance(node, ast.Name) else self.of(node)
        while names and len(found) == 1 and found[0][1:] == ("",) and (inner := _target((found[0][0], names[-1]))):
            found = inner
            names.pop()
        whole = [(part[0], "*") if part[1:] == ("",) and _ours(part[0]) else part for part in found]
        return [*whole, *(f".{name}" for name in reversed(names))]

    def _constant(self, value: Any) -> list[Part]:
        if not isinstance(value, str):
            return [type(value).__name__, repr(value)]
        if self.raising:
            return []
        if re.fullmatch(rf"{PACKAGE.name}(\.\w+)+", value) and _ours(value):
            return [(value, "*")]
        if self.beside is not None and re.fullmatch(r"[\w.-]+\.\w+", value) and not value.endswith(".py"):
            path = self.beside / value
            if path.is_file():
                return [(str(path), "")]
        return ["str", value]


class _Module:
    """A module of the library: the statements that bind each of its names, and what else happens at its import."""

    def __init__(self, name: str) -> None:
        self.bound: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, Key] = {}
        self.effects: list[ast.stmt] = []
        path = _path(name)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for statement in ast.parse(path.read_bytes()).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports |= dict(_imports(statement, package))
            elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.bound.setdefault(statement.name, []).append(statement)
                if not {_last(decorator) for decorator in statement.decorator_list} <= PURE:
                    self.effects.append(statement)  # it may be entered into a table
            elif not _is_text(statement) and not _never_run(statement):
                simple = isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
                names = []
                for each in ast.walk(statement):
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                        names.append(each.id)
                    elif isinstance(each, ast.FunctionDef | ast.ClassDef):
                        names.append(each.name)
                    elif isinstance(each, ast.Import | ast.ImportFrom):
                        self.imports |= dict(_imports(each, package))
                for bound in dict.fromkeys(names):
                    self.bound.setdefault(bound, []).append(statement)
                if not simple or not names:
                    self.effects.append(statement)


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


@functools.cache
def _definition(key: Key) -> tuple[Part, ...]:
    """What a definition says."""
    module, name = key
    if name == "":
        return tuple(_file_parts(Path(module)))
    source = _module(module)
    if name == "*":
        return ((module, "!"), *((module, each) for each in source.bound))
    statements = source.effects if name == "!" else source.bound[name]
    parts: list[Part] = [(module, "!")] if name != "!" and source.effects else []
    for statement in statements:
        used = _globals(compile(ast.Module([statement], []), module, "exec"))
        parts += _Tree(functools.partial(_meaning, module), statement, used, _path(module).parent).of(statement)
    return tuple(parts)


def _meaning(module: str, name: str) -> list[Part]:
    """What a name means in a module of the library."""
    source = _module(module)
    if name in source.bound:
        return [(module, name)]
    if name in source.imports:
        return _target(source.imports[name])
    return [name]


def _target(target: Key) -> list[Part]:
    """What a name of a module is: ("module", "") for a module of the library, a word for what is none of ours.

    Empty where the module does not have it.
    """
    module, name = target
    if not _ours(module):
        return [f"{module}.{name}" if name else module]
    if name == "":
        return [(module, "")]
    if _file(module) is None:
        return []
    source = _module(module)
    if name in source.bound:
        return [(module, name)]
    if name in source.imports and source.imports[name] != target:
        return _target(source.imports[name])
    if _file(f"{module}.{name}"):
        return [(f"{module}.{name}", "")]
    for statement in (each for every in source.bound.values() for each in every):  # a table for `lazy_names`
        for node in ast.walk(statement):
            if isinstance(node, ast.Dict):
                for key, home in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == name and isinstance(home, ast.Constant):
                        lives = str(home.value)
                        return [(lives, "")] if lives == f"{module}.{name}" else _target((lives, name))
    return []


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Key]]:
    """The names that an import binds, and what each is."""
    above = package.split(".")
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            inside = above[: len(above) - node.level + 1] if node.level else []
            yield alias.asname or alias.name, (".".join([*inside, *filter(None, [node.module])]), alias.name)
        elif alias.asname:
            yield alias.asname, (alias.name, "")
        else:
            yield alias.name.split(".")[0], (alias.name.split(".")[0], "")


def _globals(code: types.CodeType) -> frozenset[str]:
    """The names that a code and those within it look up in their module."""
    own = {each.argval for each in dis.get_instructions(code) if each.opname in LOOKED_UP}
    return frozenset(own.union(*(_globals(each) for each in code.co_consts if isinstance(each, types.CodeType))))


def _file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    found = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((each for each in found if each.is_file()), None)


def _path(module: str) -> Path:
    path = _file(module)
    assert path is not None, module
    return path


def _ours(module: str | None) -> bool:
    # this module decides no number
    return (
        module is not None and module.split(".")[0] == PACKAGE.name and module != __name__ and _file(module) is not None
    )


def _foreign(value: Any) -> bool:
    """Whether a class is of Python's library or of an installed package that is not this one."""
    module = getattr(value, "__module__", None) or "builtins"
    if _ours(module):
        return False
    if module.split(".")[0] in sys.stdlib_module_names and module != "__main__":
        return True
    return _elsewhere(str(getattr(sys.modules.get(module), "__file__", "")))


def _elsewhere(file: str) -> bool:
    return file.startswith(FOREIGN) and not Path(file).is_relative_to(PACKAGE)


@functools.cache
def _parsed(file: str, lines: tuple[str, ...]) -> ast.Module | None:
    try:
        return ast.parse("".join(lines))
    except SyntaxError:
        return None


def _node(code: types.CodeType) -> tuple[ast.AST | None, ast.AST | None]:
    """The function or lambda of a code object, and the statement in which it stands; None and None without source."""
    tree = _parsed(code.co_filename, tuple(linecache.getlines(code.co_filename)))
    if tree is None:
        return None, None
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column is not None]
    inside = [place for place in places if place[0] > code.co_firstlineno or place[1] > 0]
    for top in tree.body:
        best = None
        for node in ast.walk(top):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
            start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            if first == code.co_firstlineno and getattr(node, "name", "<lambda>") == code.co_name:
                if isinstance(node, ast.Lambda) and any(not start <= place <= end for place in inside):
                    continue
                best = node  # the innermost comes last
        if best is not None:
            return best, top
    return None, None


def known_by(tensor: Tensor, name: "str | Tensor") -> Tensor:
    """The tensor, which from now on counts by a name in place of its numbers: what was read from files whose hashes are
    known, and is never changed, need not be read again to tell what it is.

    Args:
        tensor: the numbers.
        name: theirs; or another tensor, whose name this one takes if it has any: the same numbers in another place or
            shape.
    """
    found = getattr(name, "_known_by", None) if isinstance(name, Tensor) else name
    if found is not None:
        tensor._known_by = found  # type: ignore[attr-defined]
    return tensor


def _bytes_of(value: Tensor | np.ndarray) -> list[Part]:
    if isinstance(value, Tensor):
        tensor = value.detach()
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(value, value.dtype.newbyteorder("=")))
    parts: list[Part] = ["tensor", str(tensor.dtype), str(tuple(tensor.shape))]
    if tensor.is_meta:
        return parts
    if known := getattr(value, "_known_by", None):
        return [*parts, known]
    raw = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [*parts, hashlib.sha256(raw.data).hexdigest()]


def _file_parts(path: Path) -> list[Part]:
    """A file that code names: of C++ without comments and blanks, and with what it includes from beside it."""
    if path.suffix not in (".cpp", ".h", ".hpp", ".cu", ".cuh", ".c"):
        return [hashlib.sha256(path.read_bytes()).hexdigest()]
    text = re.sub(
        r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/',
        lambda found: found[0] if found[0].startswith('"') else " ",
        path.read_text("utf-8"),
        flags=re.DOTALL,
    )
    parts: list[Part] = []
    for line in text.splitlines():
        included = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if included and (path.parent / included[1]).is_file():
            parts.append((str(path.parent / included[1]), ""))
        elif words := line.split():
            parts.append(" ".join(words))
    return parts


def _without_annotations(arguments: ast.arguments) -> ast.arguments:
    bare = copy.deepcopy(arguments)
    for each in ast.walk(bare):
        if isinstance(each, ast.arg):
            each.annotation = None
    return bare


def _is_text(node: ast.AST) -> bool:
    """A docstring, or text under an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _never_run(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING` and `if __name__ == "__main__"`."""
    return (
        isinstance(statement, ast.If)
        and re.match(r"TYPE_CHECKING$|__name__ ==", ast.unparse(statement.test)) is not None
    )


def _last(decorator: ast.expr) -> str:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
