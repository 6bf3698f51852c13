"""Formulas of arithmetic claims: evaluated without giving the YAML file any power over the machine, and written out.

Numbers, + - * / // % **, comparisons, and/or/not, `a if b else c`, lists, indices, the functions below, the names that
the claim gives, and columns of a table: `progression.alpha` is the list of that entry in every row. A list takes part
element by element; a comparison of lists holds where it holds for all elements, and `!=` where `==` does not. All else
is as in Python: whole numbers are exact.
"""

import ast
import math
import operator
import statistics
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from mobius_lib.ledger.base import LedgerError

LARGEST = 2**12
"""Bits of a power: beyond it a formula holds a slip that would take the machine's time and memory."""
LONGEST = 1000
"""Letters of a formula."""


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > LARGEST:
        raise ValueError("a power in it is too large")
    return base**exponent


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OF_EACH: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tanh", "floor")},
    **{"ceil": math.ceil, "abs": abs, "round": round},
}
_OF_LISTS: dict[str, Callable[..., Any]] = {
    "sum": lambda of: sum(_flat(of)),
    "mean": lambda of: statistics.fmean(_flat(of)),
    "std": lambda of: statistics.pstdev(_flat(of)),
    "min": lambda *of: min(_flat([*of])),
    "max": lambda *of: max(_flat([*of])),
    "sort": lambda of: sorted(_flat(of)),
    "diff": lambda of: [b - a for a, b in pairwise(_flat(of))],
    "len": len,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
TAKEN = frozenset({*_OF_EACH, *_OF_LISTS, *_CONSTANTS})
"""What a name of a claim's own would stand for already."""


def worked_out(formula: str, names: Mapping[str, Any]) -> tuple[Any, str]:
    """The value of a formula, and how it comes to it: "3 * 8 = 24 (scales 3, Gaussians 8)".

    Args:
        formula: as the module says.
        names: name to number, list, or table (a list of mappings).
    Returns:
        the value as plain numbers, bools and lists; and the words.
    Raises:
        LedgerError: naming the formula, when it holds something else or has no finite value.
    """
    try:
        tree = _parsed(formula)
        value = _value(tree, names)
        if not all(map(_is_number, _flat(value))):
            raise ValueError(f"it comes to {value}, which is no finite number")
        return value, _words(formula, tree, value, names)
    except (SyntaxError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        said = formula if len(formula) <= LONGEST else f"{formula[:50]}…"
        raise LedgerError(f"the formula {said!r} has no value: {error}.") from error


def written(formula: str, names: Mapping[str, Any]) -> str:
    """The formula with its numbers put in: "sum([0.8, 0.92, 0.71])" for "sum(table.left)"."""

    class Filled(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:  # the function's own name stays
            node.args = [self.visit(argument) for argument in node.args]
            return node

        def visit_Name(self, node: ast.Name) -> ast.AST:
            value = names.get(node.id)
            return _literal(value) if _is_number(value) or (isinstance(value, list) and not _is_table(value)) else node

        def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # an entry of a column, not all of the column
            whole = isinstance(node.value, ast.Attribute | ast.Name)
            return _literal(_value(node, names)) if whole else self.generic_visit(node)

        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            return _literal(_value(node, names))

    return ast.unparse(Filled().visit(_parsed(formula)))


def _words(formula: str, tree: ast.expr, value: Any, names: Mapping[str, Any]) -> str:
    is_so = isinstance(value, bool)
    shown = ("true" if value else "false") if is_so else f"{value + 0:.6g}" if _is_number(value) else f"{value}"
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    what = {name: f"{name.replace('_', ' ')} {names[name]:g}" for name in used if _is_number(names.get(name))}
    if formula.strip() in what:
        return f"{formula.strip().replace('_', ' ')}: {shown}"
    said = f" ({', '.join(what.values())})" if what else ""
    return f"{written(formula, names)}{':' if is_so else ' ='} {shown}{said}"


def _parsed(formula: str) -> ast.expr:
    if len(formula) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} letters")
    tree = ast.parse(formula.strip(), mode="eval").body
    for node in ast.walk(tree):
        if isinstance(node, ast.operator | ast.unaryop | ast.cmpop) and type(node) not in _OPERATORS:
            raise ValueError(f"it may not hold the operator {type(node).__name__}")
    return tree


def _literal(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _flat(value: Any) -> list[Any]:
    return [number for each in value for number in _flat(each)] if isinstance(value, list) else [value]


def _each(function: Callable[..., Any], *values: Any) -> Any:
    """A function of numbers, of lists element by element; a number goes with all elements of a list."""
    lengths = {len(value) for value in values if isinstance(value, list)}
    if len(lengths) > 1:
        raise ValueError(f"lists of {' and '.join(map(str, sorted(lengths)))} elements meet")
    if lengths:
        places = range(lengths.pop())
        return [_each(function, *(value[i] if isinstance(value, list) else value for value in values)) for i in places]
    for value in values:
        if not _is_number(value):
            raise TypeError(f"{value!r} is no finite number")
    return function(*values)


def _compare(sign: ast.cmpop, a: Any, b: Any) -> bool:
    found = _flat(_each(_OPERATORS[type(sign)], a, b))
    return any(found) if isinstance(sign, ast.NotEq) else all(found)


def _holds(value: Any) -> bool:
    if not _is_number(value):
        raise TypeError(f"{value!r} is neither true nor false")
    return bool(value)


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Attribute(value=ast.Name(id=name), attr=column) if _is_table(names.get(name)):
            return [row[column] for row in names[name]]
        case ast.List(elts=elements):
            return [_value(element, names) for element in elements]
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, names)[_value(index, names)]
        case ast.UnaryOp(op=sign, operand=inner):
            return _each(_OPERATORS[type(sign)], _value(inner, names))
        case ast.BinOp(left=left, op=sign, right=right):
            return _each(_OPERATORS[type(sign)], _value(left, names), _value(right, names))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_holds(_value(part, names)) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_holds(_value(part, names)) for part in parts)
        case ast.Compare(left=left, ops=signs, comparators=others):
            values = [_value(each, names) for each in (left, *others)]
            return all(_compare(sign, a, b) for sign, (a, b) in zip(signs, pairwise(values), strict=True))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _holds(_value(test, names)) else other, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _OF_EACH:
            return _each(_OF_EACH[name], *(_value(argument, names) for argument in arguments))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _OF_LISTS:
            return _OF_LISTS[name](*(_value(argument, names) for argument in arguments))
    raise ValueError(f"it may not hold {ast.unparse(node)!r}")
