"""Formulas: Python's own value of them, what they may not hold, and how they are written out."""

import math
import random
from typing import Any

import numpy as np
import pytest

from mobius_lib.ledger import LedgerError
from mobius_lib.ledger.formula import worked_out, written

TABLE = [{"a": 0.5, "b": 2}, {"a": 1.5, "b": 4}]


def evaluate(formula: str, names: dict[str, Any]) -> Any:
    return worked_out(formula, names)[0]


@pytest.mark.parametrize("seed", range(50))
def test_a_formula_has_pythons_value(seed: int) -> None:
    draw = random.Random(seed)
    names = {"x": draw.uniform(0.1, 3), "n": draw.randrange(1, 9)}

    def term(depth: int) -> str:
        if depth == 0:
            return draw.choice(["x", "n", "2", "0.25", "pi"])
        a, b = term(depth - 1), term(depth - 1)
        kinds = [f"({a} + {b})", f"({a} - {b})", f"{a} * ({b})", f"exp(-abs({a}))", f"sqrt(abs({b}))", f"min({a}, {b})"]
        return draw.choice([*kinds, f"({a} if {b} > 1 else {b})", f"-({a})", f"({a}) // 1", f"(1 + abs({a})) ** 0.5"])

    formula = term(4)
    expected = eval(formula, {"__builtins__": {}, "abs": abs, "min": min} | vars(math) | names)
    assert evaluate(formula, names) == pytest.approx(expected, rel=1e-12)  # some dozen roundings
    assert evaluate(written(formula, names), {}) == pytest.approx(expected, rel=1e-12)


def test_tables_and_lists() -> None:
    names = {"t": TABLE, "row": [1, 2, 3]}
    assert evaluate("sum(t.a) / len(t)", names) == 1.0
    assert evaluate("t.a * t.b", names) == [1.0, 6.0]
    assert evaluate("mean(row) + row[2]", names) == 5.0
    assert evaluate("t.b[1] > t.b[0] and not 1 == 2", names) is True
    assert evaluate("[1, 2] == [1, 3]", names) is False
    assert evaluate("sort([3, 1, 2]) + diff([1, 4, 9, 16])", names) == [4, 7, 10]
    assert evaluate("std(row)", names) == pytest.approx(np.std([1, 2, 3]))
    assert written("sum(t.a) - row[0]", names) == "sum([0.5, 1.5]) - 1"


@pytest.mark.parametrize("seed", range(30))
def test_whole_numbers_are_exact_in_lists_too(seed: int) -> None:
    draw = random.Random(seed)
    a, b = ([draw.randrange(1, 10**12) for _ in range(4)] for _ in range(2))
    for sign in ("+", "-", "*", "//", "%"):
        python = [eval(f"x {sign} y * y", {"x": x, "y": y}) for x, y in zip(a, b, strict=True)]
        assert evaluate(f"a {sign} b * b", {"a": a, "b": b}) == python
        assert evaluate(f"t.x {sign} b * b", {"t": [{"x": x} for x in a], "b": b}) == python
    assert evaluate("sum(a * b) % 97", {"a": a, "b": b}) == sum(x * y for x, y in zip(a, b, strict=True)) % 97
    assert evaluate("a ** 3", {"a": a}) == [x**3 for x in a]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("[1, 2] != [1, 3]", True),
        ("[1, 2] != [1, 2]", False),
        ("1 < [2, 3] < 4", True),
        ("[1, 5] < 4", False),
        ("not 0", True),
        ("2 and 3", True),
        ("sum([1 < 2, 2 < 3, 3 < 2])", 2),
        ("-(1 < 2)", -1),
        ("-7 // 2 + -7 % 3 * 10", 16),
        ("round(2.675, 2)", 2.67),
        ("2 ** -1", 0.5),
        ("1 / 3 + 1 / 3", 2 / 3),
        ("10 ** 20 + 1 - 10 ** 20", 1),
        ("-0.0 + 1 > 0 or 1 / 0", True),
    ],
)
def test_all_is_as_in_python(formula: str, value: Any) -> None:
    found = evaluate(formula, {})
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "formula",
    [
        *("9 ** 9 ** 9", "10 ** 4000 * 1.0", "10 ** 400", "2 ** 2 ** 4096", "0.0 ** -1", "(-8) ** (1 / 3)"),
        *("-" * 990 + "1", "(" * 400 + "1" + ")" * 400, "[" * 150 + "1", "+".join("1" * 900), "1" * 999),
        *("big * 0", "nan > 0", "huge > 0", "text * 3", "ragged + 1", "[1, 2] + [1, 2, 3]", "[1, 2] == [1, 2, 3]"),
        *(
            "t[0]",
            "t * 2",
            "t.word * 2",
            "t.word",
            "not t",
            "1 if [1, 2] else 0",
            "[1, 2] and 1",
            "mean([])",
            "min([])",
        ),
        *("1 if 1 else t.a[9]", "1 in [1]", "1 is 1", "~1", "1 << 9", "1 @ 1", "1j", "t.a.b", "len(3)", "sum()", "max"),
        *("factorial(1000000000)", "comb(9, 3)", "log(0)", "sqrt(1, 2)", "x\n", "", " ", "*x", "x; x", "x = 1"),
    ],
)
def test_nothing_in_a_formula_breaks_more_than_itself(formula: str) -> None:
    names = {"t": [{"a": 1, "word": "b"}, {"a": 2, "word": "c"}], "text": "a" * 9, "ragged": [[1], "b"]}
    with pytest.raises(LedgerError, match="formula") as caught:
        worked_out(formula, names | {"big": 10**5000, "nan": math.nan, "huge": math.inf})
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "formula",
    [
        *("__import__('os')", "x.__class__", "().__class__", "open('a')", "[y for y in x]", "lambda: 1", "x := 1"),
        *(
            "'text'",
            "unknown",
            "t.c",
            "t.a[9]",
            "1 / 0",
            "2 ** 99999",
            "sqrt(-1)",
            "sum(x=1)",
            "(",
            "x[0]",
            "factorial(0.5)",
        ),
    ],
)
def test_what_is_no_formula_is_named(formula: str) -> None:
    with pytest.raises(LedgerError, match="formula"):
        evaluate(formula, {"x": 2, "t": TABLE})


def test_a_formula_is_worked_out_in_words() -> None:
    names = {"t": TABLE, "calls_in_training": 0, "scales": 3}
    assert worked_out("calls_in_training", names) == (0, "calls in training: 0")
    assert worked_out("calls_in_training > 0", names) == (False, "0 > 0: false (calls in training 0)")
    assert worked_out("scales * 8 - scales", names) == (21, "3 * 8 - 3 = 21 (scales 3)")
    assert worked_out("24 * 32", names) == (768, "24 * 32 = 768")
    assert worked_out("t.b", names) == ([2, 4], "[2, 4] = [2, 4]")
    assert worked_out("sum(t.a)", names) == (2.0, "sum([0.5, 1.5]) = 2")
