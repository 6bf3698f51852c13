"""What the benchmarks of single chapters share: an aim, the checks before, and the record's beginning and end."""

import json
import math
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mobius_lib.datasets.paths import data_dir
from mobius_lib.errors import MobiusError
from mobius_lib.files import check_writable, plain, write_json
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.provenance import describe_device, provenance

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
NOT_RECORDED = "not recorded"


class BenchError(MobiusError):
    """A benchmark that does not exist, cannot be run here, or a file that is none."""


@dataclass(frozen=True)
class Aim:
    """A figure that an issue asks for, and where it stands in a record."""

    statement: str
    bound: float
    at_most: bool
    of: Callable[[dict[str, Any]], float]

    @property
    def bound_words(self) -> str:
        """For instance "at most 1.05"."""
        return f"at {'most' if self.at_most else 'least'} {self.bound:g}"

    def judge(self, record: dict[str, Any]) -> tuple[float, str]:
        """The figure, and "reached", "missed" or, for NaN, "not measured"."""
        value = self.of(record)
        if math.isnan(value):
            return value, "not measured"
        return value, "reached" if (value <= self.bound if self.at_most else value >= self.bound) else "missed"

    def words(self, record: dict[str, Any]) -> str:
        """One line: figure, bound, and which of these it is."""
        value, word = self.judge(record)
        return f"{self.statement}: {value:.3g} (aim: {self.bound_words}): {word}"


LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables by which a wider processor shows what one with AVX2 alone would do, in torch and kernels, oneDNN, MKL."""


def instructions() -> str:
    """The instructions that torch uses on this CPU, as it names them: AVX512, AVX2."""
    return torch.backends.cpu.get_cpu_capability()


def instructions_of(record: Mapping[str, Any]) -> str:
    """Those of the machine of a record; "not recorded" for one that was made before they were."""
    return record.get("instructions", NOT_RECORDED)


def machine_of(record: Mapping[str, Any]) -> str:
    """For instance "cpu: AMD EPYC, 2 threads, AVX512"; of a GPU's record its name alone."""
    if record["configuration"]["device"] != "cpu":
        return record["device"]
    known = instructions_of(record)
    known = known if known != NOT_RECORDED else f"instructions {known}"
    return f"{record['device']}, {known}" + (", wider ones switched off" if LIMITS[0] in record["command"] else "")


def recorded(stem: str, load: Callable[[Path], dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """The records of a benchmark, one for each kind of processor: `stem`.json and `stem`-*.json of `data/bench`."""
    folder = data_dir() / "bench"
    found = [*folder.glob(f"{stem}.json"), *sorted(folder.glob(f"{stem}-*.json"))]
    return {path.stem: load(path) if load else json.loads(path.read_text("utf-8")) for path in found}


def aims_table(aims: Sequence[Aim], *records: dict[str, Any] | None) -> str:
    """The aims beside records of one benchmark, as Markdown; without any, or with quick ones, nothing is measured."""
    lines = ["| what | aim | measured | | instructions |", "|---|---|---|---|---|"]
    full = [record for record in records if record is not None and not record["configuration"]["quick"]]
    for aim in aims:
        for record in full:
            value, word = aim.judge(record)
            lines.append(
                f"| {aim.statement} | {aim.bound_words} | {value:.3g} | **{word}** | {instructions_of(record)} |"
            )
        if not full:
            lines.append(f"| {aim.statement} | {aim.bound_words} | not measured | | |")
    return "\n".join(lines)


def check(numbers: Mapping[str, int | None], output: Path | None) -> None:
    """Refuse what cannot be measured or written, before anything is measured.

    Raises:
        BenchError: for a number below 1, more threads than processors, or a file that cannot be written.
    """
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise BenchError(f"The number of {name} must be at least 1, not {value}.")
    # OpenMP believes any number: thousands bring a machine to its knees, and more end the process
    if (threads := numbers.get("threads")) is not None and threads > (processors := os.cpu_count() or 1):
        raise BenchError(f"This machine has {processors} processors; --threads {threads} is more than that.")
    if output is not None:
        check_writable(output, error=BenchError)


@contextmanager
def on_threads(threads: int | None) -> Iterator[None]:
    """Within the `with`, torch computes on so many threads; None leaves them."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Recorder:
    """A record begun before the measuring, so that commit and clock are those of its start.

    Args:
        what: the benchmark, as `--what` names it; "" is the lens's, which is measured where nothing is named.
        place: where it runs.
        device: what was asked for.
        quick: whether sizes are tiny.
        numbers: what was asked for, by the name of its option; None was not asked for.
        more: further words of the command.
    """

    def __init__(
        self,
        what: str,
        place: torch.device,
        device: str,
        quick: bool,
        numbers: Mapping[str, int | None],
        more: Sequence[str] = (),
    ) -> None:
        limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
        words = [*limits, "mobius", "bench", *(["--what", what] if what else []), "--device", device]
        words += ["--quick"] if quick else []
        for name, value in numbers.items():
            words += [] if value is None else [f"--{name}", str(value)]
        self.what, self.place, self.command = what, place, shlex.join([*words, *more])
        self.origin, self.started = provenance(), time.perf_counter()

    def finish(self, configuration: dict[str, Any], output: Path | None, **found: Any) -> dict[str, Any]:
        """The record, written into a file where one is given. Call it while the threads are those that measured.

        Raises:
            BenchError: when the file cannot be written.
        """
        record = plain(
            {
                "bench": SCHEMA,
                **({"what": self.what} if self.what else {}),
                "command": self.command,
                "configuration": configuration | {"device": self.place.type, "threads": torch.get_num_threads()},
                "device": describe_device(self.place),
                "instructions": instructions(),
                **self.origin,
                "wall_seconds": time.perf_counter() - self.started,
                **found,
            }
        )
        if output is not None:
            write_json(output, record, error=BenchError)
        return record


@dataclass(frozen=True)
class Asked:
    """How a chapter's benchmark is to be done."""

    place: torch.device
    quick: bool
    """Tiny sizes, to see that everything runs."""
    batch: int | None
    """None: the chapter's own."""
    rounds: int | None
    """How often each form is timed; None: the chapter's own."""
    say: Callable[[str], None]
    """Told what is being measured."""


def bench_chapter(
    what: str,
    measure: Callable[[Asked], tuple[dict[str, Any], dict[str, Any]]],
    device: str = "auto",
    *,
    batch: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    rounds: int | None = None,
    output: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure, and return (and write) the record of a chapter's benchmark.

    Args:
        what: as `--what` names it.
        measure: from what was asked to the configuration and to what was found.
        device: "auto", "cpu", "cuda", "cuda:1".
        batch: how many the chapter's work is done on at once; None takes its own number.
        threads: of torch on a CPU; None leaves them.
        quick: tiny sizes, to see that everything runs. Its figures say nothing.
        rounds: how often each form is timed.
        output: where the record is written; None writes none.
        say: told what is being measured.
    Raises:
        BenchError: for a number below 1, or a file that cannot be written.
    """
    place = pick_device(device)
    asked = {"batch": batch, "threads": threads, "rounds": rounds}
    check(asked, output)
    recorder = Recorder(what, place, device, quick, asked)
    with on_threads(threads):
        configuration, found = measure(Asked(place, quick, batch, rounds, say))
        return recorder.finish(configuration | {"quick": quick}, output, **found)


def print_chapter(
    console: "Console",
    record: dict[str, Any],
    *,
    lines: Callable[[dict[str, Any]], Iterator[str]],
    aims: Sequence[Aim],
) -> None:
    """A record as sentences, and beside the aims."""
    for line in lines(record):
        console.print(line, highlight=False)
    if not record["configuration"]["quick"]:
        for aim in aims:
            console.print(aim.words(record), highlight=False)
