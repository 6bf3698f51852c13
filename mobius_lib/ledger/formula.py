"""Formulas of arithmetic claims: evaluated without giving the YAML file any power over the machine, and written out.

Numbers, + - * / // % **, comparisons, and/or/not, `a if b else c`, lists, indices, the functions below, the names that
the claim gives, and columns of a table: `progression.alpha` is the list of that entry in every row. A list takes part
element by element.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mobius_lib.ledger.base import LedgerError

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
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
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tanh", "floor")},
    **{name: getattr(np, name) for name in ("ceil", "abs", "sum", "mean", "std", "diff", "all", "any", "prod", "sort")},
    "round": np.round,
    "min": lambda *a: np.min(a[0] if len(a) == 1 else a),
    "max": lambda *a: np.max(a[0] if len(a) == 1 else a),
    "len": len,
    "factorial": math.factorial,
    "comb": math.comb,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
LARGEST_EXPONENT = 4096
"""A power beyond it is a slip, and would take the machine's memory."""


def evaluate(formula: str, names: Mapping[str, Any]) -> Any:
    """The value of a formula, as plain numbers, bools and lists.

    Args:
        formula: as the module says.
        names: name to number, list, or table (a list of mappings).
    Raises:
        LedgerError: naming the formula, when it holds something else or has no finite value.
    """
    try:
        value = _value(ast.parse(formula, mode="eval").body, names)
    except (SyntaxError, TypeError, ValueError, ArithmeticError, KeyError, IndexError, AttributeError) as error:
        raise LedgerError(f"the formula {formula!r} has no value: {error}.") from error
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if not np.all(np.isfinite(plain)):
        raise LedgerError(f"the formula {formula!r} comes to {plain}, which is no finite number.")
    return plain


def worked_out(formula: str, names: Mapping[str, Any]) -> tuple[Any, str]:
    """The value of a formula, and how it comes to it: "3 * 8 = 24 (scales 3, Gaussians 8)"."""
    value = evaluate(formula, names)
    is_so = isinstance(value, bool)
    shown = ("true" if value else "false") if is_so else f"{value:.6g}" if _is_number(value) else f"{value}"
    used = [node.id for node in ast.walk(ast.parse(formula, mode="eval")) if isinstance(node, ast.Name)]
    what = {name: f"{name.replace('_', ' ')} {names[name]:g}" for name in used if _is_number(names.get(name))}
    if formula.strip() in what:
        return value, f"{formula.strip().replace('_', ' ')}: {shown}"
    return value, f"{written(formula, names)}{':' if is_so else ' ='} {shown}" + (
        f" ({', '.join(what.values())})" if what else ""
    )


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
            return _literal(_value(node, names).tolist()) if whole else self.generic_visit(node)

        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            return _literal(_value(node, names).tolist())

    return ast.unparse(Filled().visit(ast.parse(formula, mode="eval")))


def _literal(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id=name) if name in names:
            value = names[name]
            return np.asarray(value) if isinstance(value, list) and not _is_table(value) else value
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Attribute(value=ast.Name(id=name), attr=column) if _is_table(names.get(name)):
            return np.asarray([row[column] for row in names[name]])
        case ast.List(elts=elements):
            return np.asarray([_value(element, names) for element in elements])
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, names)[_value(index, names)]
        case ast.UnaryOp(op=sign, operand=inner):
            return _OPERATORS[type(sign)](_value(inner, names))
        case ast.BinOp(left=left, op=sign, right=right):
            a, b = _value(left, names), _value(right, names)
            if isinstance(sign, ast.Pow) and np.max(np.abs(b)) > LARGEST_EXPONENT:
                raise ValueError(f"the exponent {b} is above {LARGEST_EXPONENT}")
            return _OPERATORS[type(sign)](a, b)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, names) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, names) for part in parts)
        case ast.Compare(left=left, ops=signs, comparators=others):
            values = [_value(each, names) for each in (left, *others)]
            pairs = zip(signs, values[:-1], values[1:], strict=True)
            return bool(np.all([np.all(_OPERATORS[type(sign)](a, b)) for sign, a, b in pairs]))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(argument, names) for argument in arguments))
    raise ValueError(f"it may not hold {ast.unparse(node)!r}")
