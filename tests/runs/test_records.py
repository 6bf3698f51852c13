"""How a result file is laid out: whatever it says comes back, and what belongs together stands in one line."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from mobius_lib.runs.evidence import record_names
from mobius_lib.runs.records import shortened, write_record

RESULTS = Path("data/results")

WORDS = ("", "a b", "[1,\n 2]", '{"a": 1}', "\\n ]", '"', "é−", "x,\n  y")


def drawn(draw: random.Random, depth: int) -> Any:
    kind = draw.choice(("word", "number", "none", "list", "table")) if depth else draw.choice(("word", "number"))
    if kind in ("list", "table"):
        values = [drawn(draw, depth - 1) for _ in range(draw.randrange(4))]
        return values if kind == "list" else {f"{draw.choice(WORDS)}{i}": value for i, value in enumerate(values)}
    return {"word": draw.choice(WORDS), "number": draw.choice((0, -1.5e-7, 3)), "none": None}[kind]


def test_a_record_says_the_same_in_fewer_lines(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(200):
        content = {"a": drawn(draw, 4), "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]}
        write_record(tmp_path / "r.json", content, "")
        text = (tmp_path / "r.json").read_text("utf-8")
        assert json.loads(text) == content
        assert '{"epoch": 1, "loss": 0.5}' in text
        assert len(text.splitlines()) <= len(json.dumps(content, indent=1).splitlines())


def test_numbers_have_the_digits_that_tell_two_float32_apart() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    drawn = bits.view(np.float32)
    drawn = drawn[np.isfinite(drawn)]
    kept = shortened({"a": [float(x) for x in drawn], "b": [[1 / 3, 10**12 + 1, "0.1", None, True]]})
    assert np.array_equal(np.float32(kept["a"]), drawn)
    assert kept["b"] == [[0.333333333, 10**12 + 1, "0.1", None, True]] and kept["b"][0][4] is True
    assert shortened(kept) == kept


def test_our_records_are_kept_so() -> None:
    for path in record_names(RESULTS):
        content = json.loads(path.read_text())
        assert shortened(content) == content, f"write_record(path, shortened(load_result(path)), '') of {path}"
