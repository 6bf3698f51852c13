"""Formulas: Python's own value of them, what they may not hold, and how they are written out."""

import math
import random

import numpy as np
import pytest

from mobius_lib.ledger import LedgerError
from mobius_lib.ledger.formula import evaluate, worked_out, written

TABLE = [{"a": 0.5, "b": 2}, {"a": 1.5, "b": 4}]


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
    assert evaluate("comb(5, 2) + factorial(3)", names) == 16
    assert evaluate("std(row)", names) == pytest.approx(np.std([1, 2, 3]))
    assert written("sum(t.a) - row[0]", names) == "sum([0.5, 1.5]) - 1"


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
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the root of -1
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
