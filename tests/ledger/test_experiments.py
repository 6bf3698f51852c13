"""The page of experiments: no record and no run is missing, and a record's claims stand in its row."""

import html
import json
import re
from pathlib import Path

import pytest

from mobius_lib.datasets.paths import data_dir
from mobius_lib.ledger import experiments as of_runs
from mobius_lib.ledger import judge
from mobius_lib.ledger import results as records
from mobius_lib.ledger.experiments import OPEN, experiments, steps
from mobius_lib.ledger.results import read
from mobius_lib.runs import ABOUT

RESULTS = data_dir() / "results"


@pytest.fixture(scope="module")
def verdicts():
    return judge()


@pytest.fixture(scope="module")
def rows(verdicts) -> dict[str, str]:
    return by_id(experiments(verdicts))


def by_id(page: str) -> dict[str, str]:
    parts = re.split(r'<tbody role="rowgroup" id="([^"]+)">', html.unescape(page))[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_each_record_has_a_row_and_each_run_without_one(rows):
    records = {json.loads(path.read_text())["run"]: path for path in RESULTS.glob("*.*.json")}
    expected = {path.name.removesuffix(".json").replace(".", "") for path in RESULTS.glob("*.*.json")}
    assert rows.keys() >= expected
    waiting = rows.keys() - expected
    assert waiting >= ABOUT.keys() - records.keys()
    assert all(any(name.startswith(run) for run in ABOUT) for name in waiting)


def test_what_it_says_of_one_is_what_the_record_says(rows):
    record = json.loads((RESULTS / "waves-features.long.json").read_text())
    row, seeds = rows["waves-featureslong"], len(record["arms"]["lens"])
    assert "6,000 rows, 30 epochs, 2,820 steps, " in row  # 30 times the 94 batches of 64 rows
    assert f"{len(record['arms'])} arms, {seeds} seeds; " in row
    assert f"{record['wall_seconds'] / 3600:.1f} hours in all, on {record['device']}" in row  # 4.0
    assert "180 K samples (the source's own run 64.06 M); " in row


def test_the_steps_of_a_run_that_computes_its_records(rows):
    assert steps(read(RESULTS / "twistor-text.short.json")) == 1_000
    assert steps(read(RESULTS / "gauge-cooccurrence.short.json")) == 0  # nothing is trained
    assert "steps" not in rows["gauge-cooccurrenceshort"].split("data-label")[1]


def test_a_claim_stands_in_the_row_of_each_record_on_which_it_rests(rows, verdicts):
    for v in verdicts:
        files = [source for source in v.sources if source.startswith("results/")]
        for name in files:
            row = rows[name.removeprefix("results/").removesuffix(".json").replace(".", "")]
            decides, leaves = row.split('data-label="leaves open"')
            assert (f'"ledger.html#{v.claim.id}"' in leaves) == (v.outcome in OPEN)
            assert (f'"ledger.html#{v.claim.id}"' in decides) == (v.outcome not in OPEN)


def test_of_made_data_it_says_how_near_to_the_best_each_arm_came(tmp_path, without_results, write_run, monkeypatch):
    accuracies = {"lens": [0.5, 0.75], "gelu": [0.7104, 0.7104]}
    arms = {arm: [{"final_accuracy": each} for each in found] for arm, found in accuracies.items()}
    write_run("waves-made", {"extra": {"Bayes' rule": {"accuracy": 0.8066}}}, **arms)
    write_run("waves-clip", {"extra": {}}, scale="full", **arms)
    monkeypatch.setattr(of_runs, "read", records.read)
    rows = by_id(experiments(without_results, tmp_path))
    told = "no claim; of the 80.7 % that Bayes' rule gets right: lens 62.5 %, gelu 71.0 %"
    assert told in rows["waves-madeshort"] and "Bayes" not in rows["waves-clipfull"]


def test_a_claim_that_awaits_a_run_stands_in_one_row(rows, verdicts):
    """Also where that run has a record at another scale."""
    awaited = [v for v in verdicts if v.outcome == "awaits" and "mobius run" in v.command]
    assert [v for v in awaited if "--scale full" in v.command and v.command.split()[2] + "short" in rows]
    for v in awaited:
        holding = [name for name, row in rows.items() if f'"ledger.html#{v.claim.id}"' in row]
        assert len(holding) == 1 and holding[0].startswith(v.command.split()[2]), v.claim.id


def test_where_nothing_was_run_everything_waits(tmp_path: Path, without_results):
    page = experiments(without_results, tmp_path)
    assert by_id(page).keys() == ABOUT.keys()
    assert "seen here" not in page and 'href="ledger.html#waves-clip' not in page.split("Not run yet")[0]
    assert "pages of the book read it" not in page
