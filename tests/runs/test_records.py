"""How a result file is laid out: whatever it says comes back, and what belongs together stands in one line."""

import json
import random
from pathlib import Path
from typing import Any

from mobius_lib.runs.records import write_record

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
