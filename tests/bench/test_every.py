"""What every benchmark refuses at once: before it has measured or said anything."""

import pytest

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
    "simplex": [({"small_batch": 0}, "number of small_batch must be at least 1")],
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
