"""The claims file: ours is complete, and a damaged one is answered with the file, the claim and the field."""

import re
from pathlib import Path

import pytest
import yaml

from mobius_lib.errors import MobiusError
from mobius_lib.ledger import Claim, LedgerError, load_claims
from mobius_lib.ledger.base import CHECKS
from mobius_lib.runs import RUNS

GOOD = """
claims:
  - id: grid
    seed: "001"
    chapter: 1
    statement: A vector of 768 numbers is laid out 24 x 32.
    reported: 768
    kind: shape
    check: feature_grid
    tolerance_reason: A shape is right or wrong.
    needs: nothing
"""
PLANNED: dict[str, str] = {}
"""Runs that claims name before there is a file for them, and their chapter."""


def load(tmp_path: Path, text: str) -> list[Claim]:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    return load_claims(path)


def test_the_smallest_claim_loads_with_its_defaults(tmp_path: Path) -> None:
    (claim,) = load(tmp_path, GOOD)
    assert (claim.reported, claim.needs, claim.arguments, claim.tolerance) == (768, [], {}, None)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("feature_grid", "feature_gird", "`check`.*feature_gird"),
        ("    check: feature_grid\n", "", "`check`.*required"),
        ("    statement: A vector of 768 numbers is laid out 24 x 32.\n", "", "`statement`.*required"),
        ("    tolerance_reason: A shape is right or wrong.\n", "", "`tolerance_reason`.*required"),
        ('"001"', "001", "`seed`.*string"),  # YAML reads 001 as the number 1
        ("chapter: 1", "chapter: 6", "`chapter`.*5"),
        ("kind: shape", "kind: shapes", "`kind`.*accuracy"),
        ("needs: nothing", "needs: luck", "`needs.0`.*gpu"),
        ("needs: nothing", "needs: gpu", "`command`.*gpu"),
        ("needs: nothing", "needs: nothing\n    command: rm -rf", "`command`.*mobius"),
        ("needs: nothing", "needs: nothing\n    verdict: reproduced", "`verdict`.*not permitted"),
        ("needs: nothing", "needs: nothing\n    tolerance: -1", "`tolerance`.*greater than 0"),
        ("needs: nothing", "needs: nothing\n    arguments: {size: 3}", "`arguments`.*size"),
        ("check: feature_grid", "check: parameters", "`arguments`.*classes.*preset"),
    ],
)
def test_a_damaged_claim_names_file_claim_and_field(tmp_path: Path, old: str, new: str, names: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(LedgerError, match=rf"claims\.yaml: claim 'grid', field {names}"):
        load(tmp_path, GOOD.replace(old, new))


def test_a_claim_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="claim 'number 1', field `id`"):
        load(tmp_path, GOOD.replace("- id: grid\n    seed", "- seed"))
    with pytest.raises(LedgerError, match="claim 'number 2'"):
        load(tmp_path, GOOD + "  - just words\n")


def test_an_id_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"claim 'grid', field `id`: 2 claims"):
        load(tmp_path, GOOD + GOOD.split("claims:\n")[1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("claims: [", "not valid YAML"),
        (GOOD + "    needs: gpu\n", "'needs' stands twice"),
        ("claims: []", "no list"),
        ("- 1", "no list"),
        ("", "no list"),
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


def test_ours_hold_the_numbers_that_seed_002_reports(claims: dict[str, Claim]) -> None:
    mine = [c for c in claims.values() if c.seed == "002"]
    assert len(mine) >= 25 and {c.chapter for c in mine} == {2, 3}
    assert {c.reported for c in mine if isinstance(c.reported, int | float)} >= {0.714, 0.7, 13_000, -0.4055, 1125}
    assert claims["alpha-change"].arguments == {"initial": 0.3290, "final": -0.0764}
    table = claims["weights-sum"].reported
    assert [row["scale"] for row in table] == [384, 512, 768, 1024, 1280]
    # each column's sum, added up by hand from the seed
    sums = {"accuracy": 2.8883, "mean": 0.1132, "std": 0.392, "low": -0.6877, "high": 0.948}
    sums |= {"feature": 4.173, "cantor": 0.052, "crystal": 0.776}
    assert {name: round(sum(row[name] for row in table), 4) for name in sums} == sums
    assert claims["david-scales"].reported == table == claims["rows-independent"].arguments["table"]


def test_ours_hold_every_number_that_seeds_000_and_001_report(claims: dict[str, Claim]) -> None:
    numbers = {c.reported for c in claims.values() if isinstance(c.reported, int | float)}
    sizes = {500_000, 11_000_000, 8_000_000, 33_700_000, 1_740_000, 2_690_000_000}
    assert numbers >= sizes | {0.808, 768, 0.036, 0.99, 0.02}
    assert {c.seed for c in claims.values()} >= {"000", "001"}
    table = claims["alpha-rises"].reported
    assert [row["alpha"] for row in table] == [0.64, 0.22, 2.00, 0.50, 2.09, 5.22]
    assert len(table) == 6 and all(len(row) == 7 for row in table)


def test_every_check_is_used_and_every_number_with_a_tolerance_says_why(claims: dict[str, Claim]) -> None:
    assert {claim.check for claim in claims.values()} == set(CHECKS)
    assert all(len(claim.tolerance_reason) > 20 for claim in claims.values())


def test_no_verdict_is_typed(claims: dict[str, Claim]) -> None:
    assert not {"verdict", "word", "measured"} & set(Claim.model_fields)


def test_commands_name_runs_that_exist(claims: dict[str, Claim]) -> None:
    waiting = [claim for claim in claims.values() if claim.command]
    for claim in waiting:
        name, scale = re.fullmatch(r"mobius run (\S+) --scale (\S+)(?: --seeds \d+)?", claim.command).groups()
        assert name in PLANNED or scale in RUNS[name].scales, claim.command
        assert claim.arguments["run"] == name  # it would make the file that its check reads
        assert claim.arguments.get("scale", scale) == scale
    # a planned run that has come to be must leave the list
    assert {claim.arguments["run"] for claim in waiting} - set(RUNS) == set(PLANNED)


def test_commands_name_arms_that_exist(claims: dict[str, Claim]) -> None:
    for claim in claims.values():
        if claim.command is None or claim.arguments["run"] in PLANNED:
            continue
        run, scale = RUNS[claim.arguments["run"]], re.search(r"--scale (\S+)", claim.command)[1]
        run = run.at_scale(scale) if run.at_scale else run
        asked = {claim.arguments[key] for key in ("arm", "better", "than") if key in claim.arguments}
        assert asked <= set(run.arms), claim.id


def test_the_file_reads_the_same_without_our_loader(claims: dict[str, Claim]) -> None:
    from mobius_lib.ledger.claims import claims_path

    plain = yaml.safe_load(claims_path().read_text(encoding="utf-8"))["claims"]
    assert [entry["id"] for entry in plain] == list(claims)
