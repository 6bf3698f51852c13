"""The stopwatch and the scales, on a clock that is not real and on tensors of known size."""

import gc
import statistics

import pytest
import torch

from mobius_lib.bench import measure
from mobius_lib.bench.measure import machine, paired_seconds, peak_bytes, ratio, summary

CPU = torch.device("cpu")


class Clock:
    """Work that moves the clock by hand."""

    def __init__(self, monkeypatch):
        self.now, self.pace, self.calls = 0.0, 1.0, []
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)

    def work(self, name, cost, slow_start=0.0):
        def step():
            self.now += self.pace * cost + (slow_start if name not in self.calls else 0)
            self.calls.append(name)

        return step


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_forms_take_turns_and_each_comes_first_in_turn(clock):
    steps = {name: clock.work(name, cost) for name, cost in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    taken = paired_seconds(steps, 4, CPU, warmup=1)
    assert "".join(clock.calls) == "aabbcc" + "abc" + "bca" + "cab" + "abc", "once warm, once for the repeats"
    assert taken == {"a": [1.0] * 4, "b": [2.0] * 4, "c": [3.0] * 4}


def test_compiling_is_not_counted(clock):
    taken = paired_seconds({"a": clock.work("a", 1.0, slow_start=1000.0)}, 3, CPU)
    assert taken == {"a": [1.0] * 3}


def test_what_is_over_quickly_is_repeated(clock):
    steps = {"short": clock.work("short", measure.SHORTEST / 8), "long": clock.work("long", 1.0)}
    taken = paired_seconds(steps, 2, CPU, warmup=0)
    assert clock.calls.count("short") == 1 + 2 * 8 and clock.calls.count("long") == 1 + 2
    assert taken["short"] == pytest.approx([measure.SHORTEST / 8] * 2)
    assert paired_seconds({"none": lambda: None}, 1, CPU)["none"] == [0.0], "and not for ever"


def test_a_machine_that_slows_down_does_not_change_a_ratio(clock):
    class Slowing:
        def __init__(self, cost):
            self.cost = cost

        def __call__(self):
            clock.now += clock.pace * self.cost
            clock.pace *= 1.01

    taken = paired_seconds({"ours": Slowing(3.0), "gelu": Slowing(2.0)}, 40, CPU)
    found = ratio(taken["ours"], taken["gelu"])
    assert found["median"] == pytest.approx(1.5, rel=0.02)
    apart = statistics.median(taken["ours"][20:]) / statistics.median(taken["gelu"][:20])
    assert apart > 2, "one after the other it would"


def test_summary():
    assert summary([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "quartiles": [2.0, 4.0], "range": [1.0, 5.0]}
    assert summary([2.0]) == {"median": 2.0, "quartiles": [2.0, 2.0], "range": [2.0, 2.0]}
    assert ratio([2.0, 6.0], [1.0, 2.0])["range"] == [2.0, 3.0]


def test_the_collector_is_as_it_was():
    seen = []
    paired_seconds({"a": lambda: seen.append(gc.isenabled())}, 2, CPU, warmup=0)
    assert not any(seen[1:]) and gc.isenabled()
    calls = iter([None, None])
    with pytest.raises(StopIteration):  # in the middle of it
        paired_seconds({"a": lambda: next(calls)}, 2, CPU, warmup=0)
    assert gc.isenabled()


@pytest.mark.parametrize("size", [1000, 250_000])
def test_peak_memory_is_what_tensors_took_at_once(size):
    held = torch.zeros(size)

    def step():
        first = held + 1  # one
        second = first * 2  # two
        del first
        third = second.double()  # one and a double: three
        del second
        return third.sum()

    least = 4 * size * 3
    # torch rounds an allocation up to 64 bytes, and a sum has a buffer of a few numbers
    assert least <= peak_bytes(step, CPU) <= least + 4096


def test_peak_memory_of_a_training_step_counts_what_backward_keeps():
    """Sigmoid keeps its result, so n of them in a row keep n; without gradients two are there at once."""
    x = torch.randn(100_000, requires_grad=True)

    def forward():
        y = x
        for _ in range(8):
            y = torch.sigmoid(y)
        return y.sum()

    def without():
        with torch.no_grad():
            forward()

    one = 4 * x.numel()
    assert 8 * one <= peak_bytes(lambda: torch.autograd.grad(forward(), x), CPU) <= 11 * one
    assert 2 * one <= peak_bytes(without, CPU) < 2 * one + 4096


def test_the_machine_has_ceilings():
    found = machine(CPU, torch.float32, quick=True)
    assert set(found) == {"copy_bytes_per_second", "matmul_flops_per_second", "sines_per_second"}
    # anything that runs torch does a million of each in a second, and nothing does 10^17
    assert all(1e6 < rate < 1e17 for rate in found.values())
