"""What the lens costs: time and memory of its forms beside a GELU, taken in turn on one machine (`mobius bench`)."""

from mobius_lib.bench.base import BenchError
from mobius_lib.bench.waves.arms import FORMS, SUBJECTS, Setting
from mobius_lib.bench.waves.report import (
    AIMS,
    Verdict,
    aims_table,
    forms_table,
    judge_aim,
    judged,
    load_bench,
    print_bench,
)
from mobius_lib.bench.waves.suite import bench

__all__ = [
    "AIMS",
    "FORMS",
    "SUBJECTS",
    "BenchError",
    "Setting",
    "Verdict",
    "aims_table",
    "bench",
    "forms_table",
    "judge_aim",
    "judged",
    "load_bench",
    "print_bench",
]
