"""What every benchmark refuses at once: before it has measured or said anything."""

import json

import pytest
import torch

from mobius_lib.bench import base
from mobius_lib.bench.base import BenchError
from mobius_lib.bench.gauge.rungs import bench_gauge
from mobius_lib.bench.simplex import bench_simplex
from mobius_lib.bench.twistor import bench_twistor
from mobius_lib.bench.waves import bench as bench_waves
from mobius_lib.errors import MobiusError

BENCHES = {"waves": bench_waves, "simplex": bench_simplex, "gauge": bench_gauge, "twistor": bench_twistor}
COMMON = [
    ({"batch": 0}, "batch must be at least 1, not 0"),
    ({"threads": 0}, "threads must be at least 1, not 0"),
    ({"threads": 100_000}, "processors; --threads 100000 is more"),
    ({"rounds": -1}, "rounds must be at least 1"),
    ({"rounds": 0}, "rounds must be at least 1"),
    ({"device": "tpu"}, "no device 'tpu'"),
]
OWN = {
    "waves": [
        ({"subjects": ("lense",)}, "There is no subject 'lense'; there are gate, lens"),
        ({"forms": ("fast",)}, "There is no form 'fast'; there are printed"),
        ({"backend": "magic"}, "no backend 'magic'"),
        ({"backend": "printed"}, "no backend 'printed' to measure as ours"),
        ({"precision": "fp8"}, "no precision 'fp8'; use no or bf16"),
    ],
}


@pytest.mark.parametrize(
    ("chapter", "arguments", "sentence"),
    [(chapter, *each) for chapter in BENCHES for each in COMMON + OWN.get(chapter, [])],
)
def test_what_cannot_be_measured_is_refused_at_once(chapter, arguments, sentence):
    said = []
    with pytest.raises(MobiusError, match=sentence):
        BENCHES[chapter](**{"device": "cpu", **arguments}, say=said.append)
    assert not said


@pytest.mark.parametrize("chapter", BENCHES)
def test_a_file_that_cannot_be_written_is_refused_at_once(chapter, tmp_path):
    said = []
    with pytest.raises(BenchError, match=r"cannot be written \(it is a folder\)"):
        BENCHES[chapter]("cpu", output=tmp_path, say=said.append)
    assert not said


def test_records_of_every_kind_of_processor_are_found_and_say_which(tmp_path, monkeypatch):
    """A record that was made before instructions were noted says so."""
    monkeypatch.setattr(base, "data_dir", lambda: tmp_path)
    (tmp_path / "bench").mkdir()
    own = {
        "device": "cpu: AMD EPYC, 2 threads",
        "command": "mobius bench",
        "configuration": {"device": "cpu", "quick": False},
        "value": 3.0,
    }
    for stem, more in (("x-cpu-avx2", {"instructions": "AVX2"}), ("x-cpu", {}), ("xy-cpu", {})):
        (tmp_path / "bench" / f"{stem}.json").write_text(json.dumps(own | more))
    found = base.recorded("x-cpu")
    assert [*found] == ["x-cpu", "x-cpu-avx2"] and base.recorded("z") == {}
    assert [base.machine_of(record) for record in found.values()] == [
        "cpu: AMD EPYC, 2 threads, instructions not recorded",
        "cpu: AMD EPYC, 2 threads, AVX2",
    ]
    assert base.machine_of({"device": "cuda: H100", "configuration": {"device": "cuda"}}) == "cuda: H100"
    aims = (base.Aim("speed", 2.0, False, lambda record: record["value"]),)
    rows = base.aims_table(aims, *found.values()).splitlines()[2:]
    assert rows == [f"| speed | at least 2 | 3 | **reached** | {known} |" for known in ("not recorded", "AVX2")]
    assert base.aims_table(aims, None).splitlines()[2:] == ["| speed | at least 2 | not measured | | |"]


def test_a_new_record_names_the_instructions(monkeypatch):
    for name in base.LIMITS:
        monkeypatch.delenv(name, raising=False)
    recorder = base.Recorder("x", torch.device("cpu"), "cpu", True, {})
    record = recorder.finish({}, None)
    assert record["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert record["command"] == "mobius bench --what x --device cpu --quick"


def test_a_record_says_which_instructions_were_switched_off(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    record = base.Recorder("x", torch.device("cpu"), "cpu", True, {}).finish({}, None)
    assert record["command"].startswith("ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 mobius bench --what x")
    assert base.machine_of(record).endswith(f"{record['instructions']}, wider ones switched off")
