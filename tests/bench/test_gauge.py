"""The benchmark of chapter 4's rungs, on a size at which its figures say nothing."""

import copy
import io
import json
import subprocess
import sys

import pytest
import torch
from rich.console import Console

from mobius_lib.bench.base import BenchError, aims_table
from mobius_lib.bench.gauge import ladder
from mobius_lib.bench.gauge import rungs as bench


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path, said = tmp_path_factory.mktemp("bench") / "gauge.json", []
    record = bench.bench_gauge("cpu", quick=True, threads=1, rounds=2, batch=3, output=path, say=said.append)
    return path, record, said


def test_the_record(recorded):
    path, record, said = recorded
    assert json.loads(path.read_text()) == json.loads(json.dumps(record))
    assert record["command"] == "mobius bench --what gauge --device cpu --quick --batch 3 --threads 1 --rounds 2"
    assert record["configuration"]["threads"] == 1 and record["configuration"]["batch"] == 3
    assert {"commit", "versions", "created", "device"} <= set(record)
    assert list(record["forms"]) == ["dense", *bench.LEVELS, *bench.PARTS]
    stored = {name: row["stored"] for name, row in record["forms"].items() if name != "dense"}
    assert stored["L5 by path"] == stored["L5"] == stored["L5 free exponents"] - 3 and stored["L6"] < stored["L5"]
    assert [name for name, row in record["forms"].items() if "fit_seconds" in row] == list(bench.LEVELS)
    for name, row in record["forms"].items():
        assert len(row["rounds"]) == 2 and min(row["rounds"]) > 0 and row["peak_bytes"] > 0
        assert ("speed_up" in row) == (name != "dense")
    ladders = [f"the ladder on {words} words" for words in bench.QUICK_VOCABULARIES]
    assert said == [*(f"the fit of {level}" for level in bench.LEVELS), "forwards", *ladders]
    assert [found["vocabulary"] for found in record["ladders"]] == list(bench.QUICK_VOCABULARIES)
    for found in record["ladders"]:
        assert list(found["fit_seconds"]) == list(bench.LEVELS) and min(found["fit_seconds"].values()) > 0
        assert list(found["counting_seconds"]) == ["5", "15", "50"] and found["tokens"] == ladder.QUICK_COUNTED
        # the words of the text alone take 6 MB, and torch a few hundred
        assert 2**24 < found["peak_bytes"] < 2**33


def test_a_ladder_that_fails_says_why(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BenchError, match="in a process of its own: exit status 1"):
        ladder.measure_apart(5)
    monkeypatch.undo()
    with pytest.raises(BenchError, match="at least 1 word"):
        ladder.measure_apart(-1)


def test_a_speed_up_is_dense_over_rung_round_by_round(recorded):
    forms = recorded[1]["forms"]
    ratios = [dense / own for dense, own in zip(forms["dense"]["rounds"], forms["L5"]["rounds"], strict=True)]
    assert forms["L5"]["speed_up"]["range"] == pytest.approx([min(ratios), max(ratios)])


def test_the_matrix_is_the_same_each_time_and_partly_smooth():
    w = bench.make_matrix(100)
    torch.manual_seed(7)
    assert torch.equal(w, bench.make_matrix(100))
    beside = (w[:, 1:] * w[:, :-1]).sum() / w.square().sum()
    assert 0.2 < beside < 0.9, "neighbours alike, but for the noise"


def test_the_aims_are_computed(recorded):
    record = copy.deepcopy(recorded[1])
    assert all("not measured" in row for row in aims_table(bench.AIMS, record).splitlines()[2:]), "it was a quick one"
    record["configuration"]["quick"] = False
    for times, gib, words in (
        (12.0, 3.0, ["reached", "reached"]),
        (9.9, 8.5, ["missed", "missed"]),
        (10.0, None, ["reached", "not measured"]),
    ):
        record["forms"]["L5"]["speed_up"]["median"] = times
        record["ladders"][1]["peak_bytes"] = gib and gib * 2**30
        console = Console(file=io.StringIO(), width=200)
        bench.print_gauge(console, record)
        for aim, word in zip((bench.AIMS[0], bench.AIMS[-1]), words, strict=True):
            line = next(line for line in console.file.getvalue().splitlines() if line.startswith(aim.statement))
            assert line.endswith(f": {word}")
            row = next(row for row in aims_table(bench.AIMS, record).splitlines() if aim.statement in row)
            assert f"| **{word}** |" in row


def test_the_peak_of_a_process_is_its_own():
    """And not that of the one that started it."""
    held = b"x" * 2**31
    code = "from mobius_lib.bench.gauge.ladder import _peak_bytes; print(_peak_bytes())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) < len(held)
