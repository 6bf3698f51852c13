"""`make new-claim` in a copy of the claims: what it appends is a claim, and its outcome follows from what it says."""

import shutil
from pathlib import Path

import pytest

from mobius_lib.ledger import judge, load_claims
from tools.house import ROOT, BuildError
from tools.new import new_claim

CHAPTERS = ["waves", "cantor", "simplex", "gauge", "twistor"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("book", "data/claims"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("number", "of"), [*enumerate(CHAPTERS, start=1)])
def test_a_new_claim_of_every_chapter(copy: Path, number: int, of: str):
    folder = copy / "data" / "claims"
    before = load_claims(folder)
    (path,) = new_claim("edges-help", of, copy)
    assert path == folder / f"{of}.yaml"
    (claim,) = [each for each in load_claims(folder) if each.id == "edges-help"]
    assert claim.chapter == number and len(load_claims(folder)) == len(before) + 1
    assert judge([claim])[0].outcome == "reproduced"
    assert judge([claim.model_copy(update={"reported": 769})])[0].outcome == "refuted"


def test_the_first_claim_of_a_chapter(copy: Path):
    (copy / "data/claims/gauge.yaml").unlink()
    (path,) = new_claim("edges-help", "4", copy)
    assert [claim.id for claim in load_claims(path)] == ["edges-help"]


@pytest.mark.parametrize(
    ("name", "of", "end", "message"),
    [
        ("Edges", "gauge", "", "'Edges' is no name: give ID in small letters"),
        ("edges", "sonar", "", "There is no chapter 'sonar'"),
        ("{taken}", "gauge", "", r"There is a claim {taken} already, in data/claims/\w+.yaml: give another ID"),
        ("edges", "gauge", "\nlast: []\n", "gauge.yaml does not end with its claims"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(copy: Path, name: str, of: str, end: str, message: str):
    taken = load_claims(copy / "data" / "claims")[0].id
    path = copy / "data" / "claims" / "gauge.yaml"
    path.write_text(path.read_text("utf-8") + end, "utf-8")
    before = {each: each.read_bytes() for each in (copy / "data").rglob("*.yaml")}
    with pytest.raises(BuildError, match=message.format(taken=taken)):
        new_claim(name.format(taken=taken), of, copy)
    assert before == {each: each.read_bytes() for each in (copy / "data").rglob("*.yaml")}
