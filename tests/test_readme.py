"""The README says what the ledger computes, and shows what it points to."""

import re
from pathlib import Path

from mobius_lib.ledger.readme import BEGIN, END, stale

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_the_table_is_what_the_ledger_computes():
    assert not stale(README), "run `make readme`"


def test_the_table_would_be_noticed_if_it_were_edited(tmp_path):
    text = README.read_text("utf-8")
    block = text[text.index(BEGIN) : text.index(END)]
    assert "reproduced" in block
    edited = tmp_path / "README.md"
    edited.write_text(text.replace("reproduced", "refuted", 1), "utf-8")
    assert stale(edited)


def test_every_file_that_it_points_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []
