"""The benchmark as a whole, on sizes at which its figures say nothing."""

import copy
import io
import json
import os

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.bench import waves as benches
from mobius_lib.bench.base import instructions
from mobius_lib.bench.measure import ratio
from mobius_lib.bench.waves import (
    AIMS,
    FORMS,
    SUBJECTS,
    BenchError,
    aims_table,
    bench,
    forms_table,
    judge_aim,
    judged,
    load_bench,
    print_bench,
    suite,
)
from mobius_lib.bench.waves.report import bound_words, measured_words
from mobius_lib.datasets import data_dir


def test_the_record_names_where_it_comes_from(recorded):
    path, record, said = recorded
    assert load_bench(path) == record == json.loads(path.read_text())
    assert {"python", "torch", "mobius_lib"} <= record["versions"].keys()
    assert record["device"].startswith("cpu: ") and record["device"].endswith(", 1 threads")
    assert record["configuration"]["device"] == "cpu" and record["configuration"]["threads"] == 1
    assert record["configuration"]["backend"] == "eager" and record["configuration"]["quick"] is True
    assert record["commit"] and record["created"].startswith("20")
    assert record["command"] == (
        "mobius bench --device cpu --quick --threads 1 --rounds 4 --rows 300 --backend eager --form printed "
        "--form ours --form folded --form gelu --form 'gelu folded'"
    )
    assert said[0] == "the machine" and "step" in said


def test_the_page_says_what_each_form_is():
    """That a record of the repository has."""
    page = (data_dir().parent / "book" / "performance.ipynb").read_text("utf-8")
    records = [json.loads(path.read_text("utf-8")) for path in (data_dir() / "bench").glob("c*.json")]
    forms = {form for record in records for case in record["cases"] for form in case["forms"]}
    assert "gelu folded" in forms and not [form for form in sorted(forms) if f"- **{form}**: " not in page]


def test_every_subject_and_form_is_in_it(recorded):
    _, record, _ = recorded
    assert list(dict.fromkeys(case["subject"] for case in record["cases"])) == list(SUBJECTS)
    for case in record["cases"]:
        assert not case["left_out"]
        folded = {"folded", "gelu folded"} if case["subject"] == "inference" else set()
        assert case["forms"].keys() == {"printed", "ours", "gelu"} | folded
        for form, found in case["forms"].items():
            low, high = found["seconds"]["quartiles"]
            least, most = found["seconds"]["range"]
            assert 0 < least <= low <= found["seconds"]["median"] <= high <= most
            assert [least, most] == [min(found["rounds"]), max(found["rounds"])] and len(found["rounds"]) == 4
            assert found["peak_bytes"] > 0
            assert ("bandwidth_share" in found) == (case["subject"] == "gate")
            if case["subject"] == "gate":
                rate = 8 * case["elements"] / found["seconds"]["median"]
                assert found["bandwidth_share"] == pytest.approx(rate / record["machine"]["copy_bytes_per_second"])
            assert ratio(found["rounds"], found["rounds"])["range"] == [1, 1], form


def test_memory_says_what_the_algebra_says(recorded):
    """The printed lens keeps its intermediate waves; these are counts of bytes, so no machine changes them."""
    _, record, _ = recorded
    lens = next(case for case in record["cases"] if case["subject"] == "lens")["forms"]
    assert lens["printed"]["peak_bytes"] > lens["gelu"]["peak_bytes"] >= 4 * 4 * 16 * 64


def test_networks_and_throughput(recorded):
    _, record, _ = recorded
    networks = record["networks"]
    assert networks["ours"]["multiply_adds"] == networks["gelu"]["multiply_adds"]
    assert networks["folded"]["multiply_adds"] == networks["gelu folded"]["multiply_adds"]
    # one block of 8 channels at 8 x 8, one of 12 at 4 x 4: a matrix less for each
    saved = networks["ours"]["multiply_adds"] - networks["folded"]["multiply_adds"]
    assert saved == 64 * 8**2 + 16 * 12**2
    assert record["throughput"]["rows"] == 300
    assert all(record["throughput"][form]["samples_per_second"] > 0 for form in ("ours", "gelu", "batches alone"))


def test_threads_and_the_compilers_limits_are_left_as_they_were(monkeypatch):
    """The setting alone: a second thread on a busy machine would make this test wait for it."""
    threads, most, calls = torch.get_num_threads(), os.cpu_count(), []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    limit = torch._dynamo.config.recompile_limit
    bench("cpu", quick=True, threads=most, subjects=("gate",), forms=("gelu",), backend="eager", rounds=1)
    assert calls == [most, threads] and torch._dynamo.config.recompile_limit == limit


def test_a_form_that_fails_is_left_out_with_its_reason(monkeypatch):
    def no_compiler(*args, **options):
        raise RuntimeError("Failed to find C++ compiler.\nPlease install one.")

    monkeypatch.setattr(torch, "compile", no_compiler)
    record = bench("cpu", quick=True, subjects=("lens",), backend="eager", rounds=1)
    (case,) = record["cases"]
    assert case["left_out"] == {"printed compiled": "RuntimeError: Failed to find C++ compiler."}
    assert case["forms"].keys() == {"printed", "ours", "gelu", "gelu tuned"}
    console = Console(width=200, file=io.StringIO())
    print_bench(console, record)
    assert "left out: lens, 64 channels, printed compiled: RuntimeError: Failed to find C++" in console.file.getvalue()


def test_without_a_backend_the_fastest_is_taken(monkeypatch):
    monkeypatch.setattr(suite, "BACKENDS", ("printed", "eager"))
    record = bench("cpu", quick=True, subjects=("gate",), forms=("ours",), rounds=1)
    assert list(record["backends"]) == ["eager"] and record["configuration"]["backend"] == "eager"
    assert "--backend" not in record["command"]


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"run": "waves-features", "arms": {}}'])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BenchError, match=r"x\.json is no benchmark .*make it with `mobius bench --json"):
        load_bench(path)


@pytest.mark.parametrize("value", [None, "1", -1.0, float("inf")])
def test_a_damaged_number_is_refused(recorded, tmp_path, value):
    record = copy.deepcopy(recorded[1])
    record["cases"][2]["forms"]["ours"]["rounds"][1] = value
    (tmp_path / "x.json").write_text(json.dumps(record))
    with pytest.raises(BenchError, match="is no benchmark"):
        load_bench(tmp_path / "x.json")


# Aims.


def as_if(recorded, device, **configuration):
    record = copy.deepcopy(recorded[1])
    record["configuration"] |= {"device": device, "batch": 32, "threads": 2, "quick": False} | configuration
    return record


def forms_of(record, subject):
    return [case["forms"] for case in record["cases"] if case["subject"] == subject]


@pytest.mark.parametrize("aim", AIMS, ids=lambda aim: f"{aim.device}: {aim.statement[:30]}")
def test_an_aim_is_judged_where_it_belongs_alone(recorded, aim):
    assert judge_aim(aim, None).words == "not measured" and judge_aim(aim, None).reached is None
    assert judge_aim(aim, recorded[1]).measured is None, "quick sizes decide nothing"
    other = {"cpu": "cuda", "cuda": "cpu"}[aim.device]
    assert judge_aim(aim, as_if(recorded, other)).measured is None
    assert judge_aim(aim, as_if(recorded, aim.device, quick=True)).measured is None
    record = as_if(recorded, aim.device)
    verdict = judge_aim(aim, record)
    if aim.base != "printed compiled":  # which this record has not
        assert verdict.measured > 0 and verdict.reached is not None
        assert bound_words(aim).split()[-1].strip("%") and measured_words(verdict) != "not measured"
    if aim.device == "cpu":
        assert judge_aim(aim, as_if(recorded, "cpu", batch=8)).measured is None
        assert judge_aim(aim, as_if(recorded, "cpu", threads=1)).measured is None


def test_reached_and_missed_are_computed(recorded):
    record = as_if(recorded, "cpu")
    time, memory = (next(a for a in AIMS if a.device == "cpu" and a.subject == "step" and a.quantity == quantity)
                    for quantity in ("seconds", "peak_bytes"))  # fmt: skip
    (step,) = forms_of(record, "step")
    step["gelu"]["rounds"], step["ours"]["rounds"] = [1.0, 2.0, 4.0], [1.2, 2.4, 4.8]
    step["gelu"]["peak_bytes"], step["ours"]["peak_bytes"] = 100, 130
    assert judge_aim(time, record).measured == pytest.approx(1.2) and judge_aim(time, record).words == "reached"
    assert judge_aim(memory, record).reached is True, "at most includes the bound"
    step["ours"]["rounds"], step["ours"]["peak_bytes"] = [2.5, 5.0, 10.0], 131
    assert judge_aim(time, record).words == "missed by a factor of 2.00"
    assert judge_aim(memory, record).reached is False


def test_the_worst_of_several_widths_counts(recorded):
    record = as_if(recorded, "cuda")
    share = next(aim for aim in AIMS if aim.quantity == "bandwidth_share")
    (case,) = (case for case in record["cases"] if case["subject"] == "gate")
    wide = copy.deepcopy(case) | {"label": "gate, 1024 channels"}
    record["cases"].append(wide)
    case["forms"]["ours"]["bandwidth_share"], wide["forms"]["ours"]["bandwidth_share"] = 0.9, 0.4
    verdict = judge_aim(share, record)
    assert verdict.words == "missed by a factor of 2.00"
    assert measured_words(verdict) == "40% (gate, 1024 channels)" and bound_words(share) == "at least 80%"
    wide["forms"]["ours"]["bandwidth_share"] = 0.8
    assert judge_aim(share, record).words == "reached"


def test_each_kind_of_processor_has_its_row_and_its_bound(recorded):
    """A lens 7 times as fast as the printed form: enough on AVX2, and too little elsewhere or on who knows what."""
    kinds = [as_if(recorded, "cpu") for _ in range(3)]
    for record, known in zip(kinds, ("AVX512", "AVX2", None), strict=True):
        del record["instructions"]
        record |= {"instructions": known} if known else {}
        for case in record["cases"]:
            if case["subject"] == "lens":
                case["forms"]["printed"]["rounds"] = [7 * each for each in case["forms"]["ours"]["rounds"]]
    lens = AIMS[0]
    assert [judge_aim(lens, record).reached for record in kinds] == [False, True, False]
    rows = [line for line in aims_table(kinds).splitlines() if line.startswith("| CPU") and lens.statement in line]
    assert [row.split("|")[1].strip() for row in rows] == [
        f"CPU, instructions: {each}" for each in ("AVX512", "AVX2", "not recorded")
    ]
    assert ["at most 0.167" in row for row in rows] == [False, True, False]
    assert len(judged(kinds)) == sum(3 if aim.device == "cpu" else 1 for aim in AIMS)


def test_the_tables_of_the_page(recorded):
    record = as_if(recorded, "cpu")
    lines = aims_table([record]).splitlines()
    assert len(lines) == 2 + len(AIMS)
    for aim, line in zip(AIMS, lines[2:], strict=True):
        verdict = judge_aim(aim, record)
        assert f"| {aim.statement} | {bound_words(aim)} | {measured_words(verdict)} |" in line
        assert ("**" in line) == (verdict.measured is not None) == (aim.device == "cpu")
        assert line.startswith(f"| CPU, instructions: {instructions()} |" if aim.device == "cpu" else "| GPU |")
    assert aims_table([]).count("not measured") == len(AIMS)
    (inference,) = forms_of(record, "inference")
    lines = forms_table(record, "inference").splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == [form for form in FORMS if form in inference]
    found = ratio(inference["folded"]["rounds"], inference["gelu"]["rounds"])["median"]
    median = inference["folded"]["seconds"]["median"]
    shown = f"{median * 1e3:.2f} ms" if median >= 1e-3 else f"{median * 1e6:.1f} µs"  # a quick machine takes less
    assert f"| folded | {shown} | {found:.2f} (" in lines[4]
    assert len({line.count("|") for line in lines}) == 1


# The command.


def test_the_command(monkeypatch, recorded, tmp_path):
    calls = []

    def measured(*arguments, **options):
        calls.append((arguments, options))
        return as_if(recorded, "cpu")

    monkeypatch.setattr(benches, "bench", measured)
    runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})
    line = "bench --device cpu --quick --only lens --only step --form ours --batch 8 --threads 2 --rounds 3 --rows 0"
    result = runner.invoke(cli.app, [*line.split(), "--form", "gelu folded", "--json", str(tmp_path / "x [1].json")])
    assert result.exit_code == 0, result.output
    ((arguments, options),) = calls
    assert arguments == ("cpu",)
    assert options.pop("say") and options == {
        "batch": 8, "threads": 2, "quick": True, "subjects": ("lens", "step"), "forms": ("ours", "gelu folded"),
        "backend": None, "precision": "no", "rounds": 3, "rows": 0, "output": tmp_path / "x [1].json",
    }  # fmt: skip
    words = " ".join(result.stdout.split())
    for subject in ("gate, ", "lens, ", "block, ", "net ", "step ", "inference "):
        assert f" {subject}" in f" {words}"
    assert "gelu folded" in words and "MiB" in words and "× gelu (quartiles)" in words
    assert "multiply-adds a sample" in words and "samples a second" in words
    assert "(aim: at most 1.25): " in words
    assert "Written to" in words and "x [1].json" in "".join(result.stdout.split("\n"))


def test_the_table_shows_the_recorded_numbers(recorded):
    console = Console(width=100, file=io.StringIO())
    print_bench(console, recorded[1])
    text = console.file.getvalue()
    (step,) = forms_of(recorded[1], "step")
    found = ratio(step["ours"]["rounds"], step["gelu"]["rounds"])
    assert f"{found['median']:.2f} ({found['quartiles'][0]:.2f}–{found['quartiles'][1]:.2f})" in text
    assert f"{step['ours']['seconds']['median'] * 1e3:.2f} ms" in text
    assert all(len(line) <= 100 for line in text.splitlines() if "ms" in line or "µs" in line)
    assert "aim" not in text, "quick figures are no verdict"


def test_stopped_by_hand(monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(benches, "bench", stopped)
    result = CliRunner().invoke(cli.app, ["bench", "--device", "cpu"])
    assert result.exit_code == 130 and "Stopped; nothing was written." in result.stderr
