"""The claims file: ours is complete, and a damaged one is answered with the file, the claim and the field."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from mobius_lib.errors import MobiusError
from mobius_lib.ledger import Claim, LedgerError, judge, load_claims
from mobius_lib.ledger.base import CHECKS
from mobius_lib.ledger.claims import claims_dir
from mobius_lib.runs import RUNS

GOOD = """
claims:
  - id: grid
    chapter: 1
    source: "001:12"
    quote: 24 by 32
    whose: source
    statement: A vector of 768 numbers is laid out 24 x 32.
    basis: arithmetic
    reported: 768
    formula: 24 * 32
    why: A shape is right or wrong.
"""
CHECKED = GOOD.replace("arithmetic", "measured small").replace(
    "formula: 24 * 32", "check: run_growth\n    arguments: {run: r, arm: a, measure: m}"
)


def load(tmp_path: Path, text: str) -> list[Claim]:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    return load_claims(path)


def test_the_smallest_claim_loads_with_its_defaults(tmp_path: Path) -> None:
    (claim,) = load(tmp_path, GOOD)
    assert (claim.reported, claim.source, claim.bound, claim.tolerance) == (768, ["001:12"], "equal", None)


def test_tables_are_names_of_formulas(tmp_path: Path) -> None:
    (claim,) = load(
        tmp_path,
        "tables:\n  rows: [{n: 24}, {n: 32}]\n" + GOOD.replace("24 * 32", "rows.n[0] * x\n    numbers: {x: 32}"),
    )
    assert judge([claim])[0].outcome == "reproduced"


@pytest.mark.parametrize(
    ("text", "old", "new", "names"),
    [
        (CHECKED, "run_growth", "run_groth", "`check`.*run_groth"),
        (CHECKED, "arm: a, ", "", "`arguments`.*arm"),
        (CHECKED, "arm: a", "arm: a, size: 3", "`arguments`.*size"),
        (CHECKED, "arm: a", "arm: a, results: 3", "`arguments`.*results"),
        (GOOD, "    formula: 24 * 32\n", "", "exactly one of `formula` and `check`"),
        (GOOD, "    formula: 24 * 32\n", "    formula: 24 * 32\n    check: run_growth\n", "exactly one of"),
        (GOOD, "    statement: A vector of 768 numbers is laid out 24 x 32.\n", "", "`statement`.*required"),
        (GOOD, "    why: A shape is right or wrong.\n", "", "`why`.*required"),
        (GOOD, '"001:12"', '"1:12"', "`source.0`.*pattern"),
        (GOOD, "    quote: 24 by 32\n", "", "`quote`"),
        (GOOD, "24 by 32", "one two three four five six seven eight nine ten eleven twelve thirteen", "more than 12"),
        (GOOD, "whose: source", "whose: ours", "no quote"),
        (GOOD, "whose: source", "whose: theirs", "`whose`.*ours"),
        (GOOD, "chapter: 1", "chapter: 6", "`chapter`.*5"),
        (GOOD, "basis: arithmetic", "basis: luck", "`basis`.*construction"),
        (CHECKED, "basis: measured small", "basis: arithmetic", "arithmetic needs a `formula`"),
        (GOOD, "basis: arithmetic", "basis: arithmetic\n    smallest: 1", "`smallest` belongs to"),
        (CHECKED, "basis: measured small", "basis: measured small\n    smallest: 0", "`smallest`.*greater than 0"),
        (GOOD, "basis: arithmetic", "basis: arithmetic\n    bound: above", "`bound`.*at least"),
        (GOOD, "basis: arithmetic", "basis: arithmetic\n    command: rm -rf", "`command`.*mobius"),
        (GOOD, "basis: arithmetic", "basis: arithmetic\n    outcome: reproduced", "`outcome`.*not permitted"),
        (GOOD, "basis: arithmetic", "basis: arithmetic\n    tolerance: -1", "`tolerance.*greater than or equal to 0"),
    ],
)
def test_a_damaged_claim_names_file_claim_and_field(tmp_path: Path, text: str, old: str, new: str, names: str) -> None:
    assert text.count(old) == 1
    with pytest.raises(LedgerError, match=rf"claims\.yaml: claim 'grid', field .*{names}"):
        load(tmp_path, text.replace(old, new))


PARTS = GOOD.replace("768\n", "{a: 768}\n").replace("24 * 32", "{a: 24 * 32}")


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        (": 768\n", ":\n", "`reported`: Give a number, true or false"),
        (": 768\n", ": {1: 768}\n", "`reported`: Give a number, true or false"),
        (": 768\n", ": 2020-01-01\n", "`reported`: Give a number, true or false"),
        (": 768\n", ": .nan\n", "`reported` has nan"),
        (": 768\n", ": [1, .inf]\n", "`reported` has inf"),
        (": 768\n", ": []\n", "`reported` has nothing in it"),
        (": 768\n", ": {}\n", "`reported` has nothing in it"),
        (": 768\n", ": {a: 768}\n", "the same parts"),
        ("formula: 24 * 32", "formula: {a: 24 * 32}", "the same parts"),
        (": 768\n", ": 768\n    tolerance: .inf\n", "`tolerance`.*finite"),
        (": 768\n", ": 768\n    tolerance: true\n", "`tolerance`.*number"),
        (": 768\n", ": 768\n    tolerance: {a: 1}\n", r"`tolerance` has parts .*\['a'\]"),
        (": 768\n", ": true\n    bound: at least\n", "`bound` belong to numbers"),
        (": 768\n", ": text\n    tolerance: 3\n", "`bound` belong to numbers"),
        ("24 * 32", "24 * 32\n    numbers: [1]", "`numbers`.*dictionary"),
        ("24 * 32", "24 * 32\n    numbers: {pi: 3}", "`numbers` has 'pi'"),
        ("24 * 32", "24 * 32\n    numbers: {a b: 3}", "`numbers` has 'a b'"),
        ("24 * 32", "24 * 32\n    numbers: {x: .inf}", "`numbers` has inf"),
        ("24 * 32", "24 * 32\n    numbers: {x: &x [*x]}", "`numbers` has more than 10,000 entries"),
        ("24 * 32", "24 * 32\n    arguments: {x: 3}", "`arguments` to a check"),
        ("basis: arithmetic", "basis: measured small\n    smallest: .inf", "`smallest`.*finite"),
        ("basis: arithmetic", "basis: measured small\n    smallest: 1\n    against: .nan", "`against`.*finite"),
        ("24 by 32", "'  '", "`quote`"),
        ("24 by 32", "24 × 32 维", "`in_english`.* in Chinese"),
        ("24 by 32", "24 by 32\n    in_english: 24 by 32", "`in_english`.* in Chinese"),
        ("001:12", "001:0", "`source.0`"),
    ],
)
def test_a_claim_that_could_be_misread_is_refused(tmp_path: Path, old: str, new: str, names: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(LedgerError, match=rf"claims\.yaml: claim 'grid', field .*{names}"):
        load(tmp_path, GOOD.replace(old, new))


def test_parts_that_are_not_there_have_no_tolerance(tmp_path: Path) -> None:
    assert judge(load(tmp_path, PARTS))[0].outcome == "reproduced"
    with pytest.raises(LedgerError, match="`tolerance` has parts"):
        load(tmp_path, PARTS.replace("{a: 768}", "{a: 768}\n    tolerance: {b: 1}"))


def test_an_effect_needs_a_smallest_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="needs a `smallest`"):
        load(tmp_path, CHECKED.replace(": 768", ": more"))


@pytest.mark.parametrize("other", ["'768'", "yes", "[768]"])
def test_a_report_of_another_kind_is_an_error_and_not_refuted(tmp_path: Path, other: str) -> None:
    claims = load(tmp_path, GOOD.replace(": 768", f": {other}"))
    with pytest.raises(LedgerError, match="claim 'grid', field `reported`: it is"):
        judge(claims)


def test_numbers_do_not_hide_a_table(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"claim 'grid', field `numbers`: \['x'\] are tables"):
        load(tmp_path, "tables: {x: [{a: 1}]}\n" + GOOD.replace("24 * 32", "24 * 32\n    numbers: {x: 3}"))


def test_anchors_in_anchors_end(tmp_path: Path) -> None:
    rows = "".join(f"  {b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))
    with pytest.raises(LedgerError, match="`numbers` has more than 10,000 entries"):
        load(tmp_path, f"tables:\n  a: &a [1]\n{rows}" + GOOD)


def test_a_claim_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="claim 'number 1', field `id`"):
        load(tmp_path, GOOD.replace("- id: grid\n    chapter", "- chapter"))
    with pytest.raises(LedgerError, match="claim 'number 2'"):
        load(tmp_path, GOOD + "  - just words\n")


def test_an_id_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"claim 'grid', field `id`: 2 claims"):
        load(tmp_path, GOOD + GOOD.split("claims:\n")[1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("claims: [", "not valid YAML"),
        (GOOD + "    why: Twice.\n", "'why' stands twice"),
        ("claims: []", "no list"),
        ("- 1", "no list"),
        ("", "no list"),
        ("tables: [1]\n" + GOOD, "`tables` is no mapping"),
        ("tabels: {}\n" + GOOD, "tabels"),
        ("? [1]\n: 2\n" + GOOD, "not valid YAML"),
        (GOOD.replace("768", "9" * 5000), "not valid YAML"),
        (GOOD.replace("768\n", "[" * 2000 + "]" * 2000), "not valid YAML"),
    ],
)
def test_a_file_that_is_no_list_of_claims_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says) as caught:
        load(tmp_path, text)
    assert isinstance(caught.value, MobiusError) and "claims.yaml" in str(caught.value)


def test_a_missing_file_and_foreign_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"none\.yaml cannot be read"):
        load_claims(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00claims")
    with pytest.raises(LedgerError, match=r"bytes\.yaml is not valid YAML"):
        load_claims(tmp_path / "bytes.yaml")


def test_ours_hold_the_numbers_that_the_sources_report(claims: dict[str, Claim]) -> None:
    numbers = {claim.reported for claim in claims.values() if isinstance(claim.reported, int | float)}
    assert numbers >= {500_000, 11_000_000, 8_000_000, 33_700_000, 1_740_000, 2_690_000_000, 0.808, 768, 0.036}
    assert numbers >= {0.714, 13_000, 1125}
    assert {claim.chapter for claim in claims.values()} == {1, 2, 3, 4, 5}
    said = {place.split(":")[0] for claim in claims.values() for place in claim.source}
    assert said == {"000", "001", "002", "003", "004"}


def test_every_check_is_used(claims: dict[str, Claim]) -> None:
    assert {claim.check for claim in claims.values() if claim.check} == set(CHECKS)


def test_every_claim_says_why_in_words(claims: dict[str, Claim]) -> None:
    assert [claim.id for claim in claims.values() if len(claim.why) <= 20] == []


def test_no_outcome_is_typed() -> None:
    assert not {"verdict", "outcome", "measured"} & set(Claim.model_fields)


def test_commands_name_runs_scales_and_arms_that_exist(claims: dict[str, Claim]) -> None:
    for claim in claims.values():
        if claim.command and claim.command.startswith("mobius run"):
            name, scale = re.match(r"mobius run (\S+) --scale (\S+)", claim.command).groups()
            assert scale in RUNS[name].scales, claim.id
            assert claim.arguments.get("run", name) == name, claim.id  # it would make the file that its check reads
            assert claim.arguments.get("scale", scale) == scale, claim.id
            run = RUNS[name].at(scale)
            asked = {claim.arguments[key] for key in ("arm", "better", "than") if key in claim.arguments}
            asked = asked or set(claim.arguments.get("measures", ()))
            assert asked <= set(run.arms), claim.id


def test_what_a_run_would_show_names_the_command(claims: dict[str, Claim]) -> None:
    assert [claim.id for claim in claims.values() if "run" in claim.arguments and not claim.command] == []


def test_the_files_read_the_same_without_our_loader(claims: dict[str, Claim]) -> None:
    others = ("sources.yaml", "components.yaml")
    files = [path for path in sorted(claims_dir().glob("*.yaml")) if path.name not in others]
    plain = [entry["id"] for path in files for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]]
    assert sorted(plain) == sorted(claims)
