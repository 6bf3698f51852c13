"""The arms compute what they say, the record is whole, and bad numbers are named."""

import json

import pytest
import torch
from rich.console import Console

from mobius_lib.bench.twistor import AIMS, ARMS, PARTS, READING, bench_twistor, equal_lstm, make_step, print_twistor
from mobius_lib.twistor import TwistorHopeArchitecture, create_full_config


def test_plain_and_ours_are_the_same_training():
    """Losses of three steps: AdamW divides by small gradients, which enlarges rounding."""
    ours, plain = (make_step(arm, 2, 6, torch.device("cpu")) for arm in ("ours", "plain"))
    for _ in range(3):
        assert ours()[0].item() == pytest.approx(plain()[0].item(), rel=1e-4)


def test_the_lstm_has_as_many_parameters():
    ours = sum(p.numel() for p in TwistorHopeArchitecture(create_full_config("small")).parameters())
    theirs = sum(p.numel() for p in equal_lstm(ours, 1000, 256).parameters())
    assert theirs == pytest.approx(ours, rel=0.002)


def test_a_quick_record(tmp_path):
    path = tmp_path / "twistor.json"
    record = bench_twistor("cpu", quick=True, threads=1, output=path)
    assert json.loads(path.read_text()) == record
    assert tuple(record["steps"]["arms"]) == (*ARMS, *PARTS)
    parameters = {arm: row["parameters"] for arm, row in record["steps"]["arms"].items()}
    assert parameters["continuum"] - parameters["ours"] == 3 * (parameters["self-modifying"] - parameters["ours"]) > 0
    assert parameters["uncoupled"] < parameters["slots in 8 bits"] == parameters["ours"]
    assert set(record["steps"]["over_ours"]) == {*ARMS, *PARTS} - {"ours"}
    assert list(record["reading"]) == list(READING)
    assert {name for name, row in record["reading"].items() if row.get("over_ours", {}).get("median", 0) > 0} == {
        *READING
    } - {"ours"}
    for aim in AIMS:
        assert aim.of(record) > 0
    console = Console(record=True, width=200)
    print_twistor(console, record)
    text = console.export_text()
    assert "tokens a second" in text and "reading, continuum, frozen: " in text
    del record["reading"]  # as in older records
    print_twistor(console, record)
