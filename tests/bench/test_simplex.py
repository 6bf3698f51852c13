"""The arms of the chapter 3 benchmark compute the same, its record holds, and what it cannot measure is refused."""

import copy
import io
import json
import re

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.bench import simplex as bench
from mobius_lib.bench.base import BenchError
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid, simplices

CPU = torch.device("cpu")
TINY = DavidConfig(**bench.QUICK)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path, said = tmp_path_factory.mktemp("bench") / "simplex.json", []
    record = bench.bench_simplex("cpu", quick=True, threads=1, rounds=2, output=path, say=said.append)
    return path, record, said


@pytest.mark.parametrize("cdist", [False, True])
def test_the_transcription_computes_the_same(cdist):
    model = GeoFractalDavid(TINY).double()
    f = F.normalize(torch.randn(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1)
    y, parameters = torch.arange(5), list(model.parameters())
    found = []
    for arm in (model, bench.Transcription(model, cdist)):
        total, _ = BasinLoss()(arm.geometry(f), y)
        found.append((arm(f), total, *torch.autograd.grad(total, parameters)))
    for one, other in zip(*found, strict=True):
        # float64; cdist takes roots of differences of squares, which loses half of a few digits
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_steps_train_all_forms_alike():
    steps = {form: bench.make_step(TINY, form, 6, CPU) for form in bench.FORMS}
    losses = [{form: step()[0].item() for form, step in steps.items()} for _ in range(8)]
    assert losses[-1]["ours"] < losses[0]["ours"]
    for row in losses:
        # AdamW divides by small gradients, which enlarges rounding
        assert row["transcription"] == pytest.approx(row["ours"], rel=1e-3) == row["cdist"]


def test_the_published_way_makes_what_ours_makes():
    for scale, made in zip(TINY.scales, bench.published_build(TINY), strict=True):
        ours = simplices(TINY.num_classes, TINY.k, scale, kind="published")
        # the same shape in other orientations: equal products within each simplex
        torch.testing.assert_close(made @ made.mT, ours @ ours.mT, rtol=0, atol=1e-5)


def test_the_record(recorded):
    path, record, said = recorded
    assert json.loads(path.read_text()) == json.loads(json.dumps(record))
    assert record["command"] == "mobius bench --what simplex --device cpu --quick --threads 1 --rounds 2"
    assert record["configuration"]["threads"] == 1 and record["configuration"]["parameters"] > 0
    assert {"commit", "versions", "created", "device"} <= set(record)
    assert list(record["steps"]["small"]["forms"]) == list(bench.FORMS)
    assert list(record["steps"]["large"]["forms"]) == ["ours", "cdist"]
    for found in record["steps"].values():
        for form in found["forms"].values():
            assert len(form["rounds"]) == 2 and min(form["rounds"]) > 0 and form["peak_bytes"] > 0
        assert "ours" not in found["speed_up"] and all(each["median"] > 0 for each in found["speed_up"].values())
    assert 0 < record["profile"]["products"] < 1
    assert sum(record["profile"]["largest"].values()) <= 1
    assert record["memory"]["batches"] == [16, 32, 64]
    rows = record["memory"]["bytes_per_row"]
    assert len(record["memory"]["peak_bytes"]) == 3 and record["memory"]["growth"] == rows[1] / rows[0]
    assert len(said) == 5


def test_the_transcription_takes_the_memory_of_its_differences(recorded):
    forms = recorded[1]["steps"]["small"]["forms"]
    differences = 4 * 8 * 20 * 4 * sum(TINY.scales)  # bytes, rows, classes, vertices
    assert forms["transcription"]["peak_bytes"] > differences > forms["ours"]["peak_bytes"]


def test_memory_is_linear_in_the_batch():
    # where the batch's own tensors are the largest: at tiny ones the peak lies at another moment
    found = bench._memory(TINY, 128, CPU)
    assert found["batches"] == [128, 256, 512] and found["growth"] == pytest.approx(1, rel=0.02)


def test_aims_are_computed(recorded):
    record = copy.deepcopy(recorded[1])
    quick, whole = (Console(file=io.StringIO(), width=200) for _ in range(2))
    bench.print_simplex(quick, record)
    assert "aim" not in quick.file.getvalue(), "quick sizes decide nothing"
    record["configuration"]["quick"] = False
    record["build"]["ours"]["seconds"]["median"] = 0.4
    record["steps"]["small"]["speed_up"]["transcription"]["median"] = 1.5
    record["profile"]["products"] = 0.7
    bench.print_simplex(whole, record)
    lines = [line for line in whole.file.getvalue().splitlines() if "aim" in line]
    assert lines[0] == "seconds to make the model: 0.4 (aim: at most 1): reached"
    assert lines[1].endswith("1.5 (aim: at least 2): missed")
    assert lines[2].endswith("0.7 (aim: at least 0.7): reached")
    assert len(lines) == len(bench.AIMS)


def test_the_command(tmp_path):
    path = tmp_path / "x.json"
    words = ["bench", "--what", "simplex", "--device", "cpu", "--quick", "--rounds", "1", "--json", str(path)]
    found = CliRunner().invoke(cli.app, words)
    assert found.exit_code == 0 and json.loads(path.read_text())["what"] == "simplex"
    for wrong in (["--what", "simplices"], ["--what", "simplex", "--form", "ours"]):
        error = CliRunner().invoke(cli.app, ["bench", *wrong]).exception
        assert isinstance(error, BenchError) and re.search("no benchmark|leave them out", str(error))
