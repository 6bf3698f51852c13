"""What a benchmark found: as a table, and beside what it was to reach."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobius_lib.bench.base import BenchError, instructions_of, machine_of
from mobius_lib.bench.measure import ratio
from mobius_lib.bench.waves.arms import FORMS

if TYPE_CHECKING:
    from rich.console import Console

KEYS = ("command", "configuration", "device", "versions", "commit", "created", "machine", "networks", "cases")


@dataclass(frozen=True)
class Aim:
    """One figure that the lens has to reach.

    Where several cases have the subject (lenses of several widths), the worst of them counts.
    """

    device: str
    """cpu or cuda."""
    statement: str
    subject: str
    quantity: str
    """seconds or peak_bytes (of `form` over `base`), bandwidth_share or samples_per_second (of `form`), or
    batches_alone (how many times as fast they come as training with `form` takes them)."""
    bound: float
    form: str = "ours"
    base: str = ""
    needs: dict[str, Any] = field(default_factory=dict)
    """What the configuration must be, for the figure to be about this aim."""
    elsewhere: dict[str, float] = field(default_factory=dict)
    """The bound on processors with other instructions, where it is another."""

    @property
    def at_most(self) -> bool:
        """Whether less is better."""
        return bool(self.base)


CPU = {"batch": 32, "threads": 2, "quick": False, "precision": "no"}
GPU = {"quick": False}
AIMS = (
    Aim("cpu", "lens, forward and backward: time over the printed form's", "lens", "seconds", 1 / 8, base="printed",
        needs=CPU, elsewhere={"AVX2": 1 / 6}),
    Aim("cpu", "training step: time over the GELU twin's", "step", "seconds", 1.25, base="gelu", needs=CPU),
    Aim("cpu", "training step: peak memory over the GELU twin's", "step", "peak_bytes", 1.3, base="gelu", needs=CPU),
    Aim("cpu", "inference, folded: time over the unfolded GELU twin's", "inference", "seconds", 1.15, "folded", "gelu",
        needs=CPU),
    Aim("cuda", "gate, forward: share of the memory bandwidth", "gate", "bandwidth_share", 0.8, needs=GPU),
    Aim("cuda", "lens, forward and backward: time over the printed form's", "lens", "seconds", 1 / 5, base="printed",
        needs=GPU),
    Aim("cuda", "lens, forward and backward: time over the printed form's under torch.compile", "lens", "seconds", 1.0,
        base="printed compiled", needs=GPU),
    Aim("cuda", "training step: time over the GELU twin's", "step", "seconds", 1.15, base="gelu", needs=GPU),
    Aim("cuda", "the distillation card's recipe on 1,281,167 x 768 made features: samples a second", "",
        "samples_per_second", 30_000, needs=GPU),
    Aim("cuda", "its batches alone: how many times as fast as training takes them", "", "batches_alone", 5, needs=GPU),
)  # fmt: skip
"""What issues 3, 12 and 16 ask for."""


@dataclass(frozen=True)
class Verdict:
    """An aim beside what was measured."""

    aim: Aim
    measured: float | None
    """None: not measured."""
    case: str = ""
    """Where: the worst of the cases."""

    @property
    def reached(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.aim.bound if self.aim.at_most else self.measured >= self.aim.bound

    @property
    def words(self) -> str:
        """reached, or by what factor it was missed."""
        if self.measured is None:
            return "not measured"
        if self.reached:
            return "reached"
        factor = self.measured / self.aim.bound
        return f"missed by a factor of {factor if self.aim.at_most else 1 / factor:.2f}"


def judge_aim(aim: Aim, record: dict[str, Any] | None) -> Verdict:
    """An aim beside a record; without one, or with one of other sizes or another device, it is not measured."""
    if record is None or record["configuration"]["device"] != aim.device:
        return Verdict(aim, None)
    if any(record["configuration"].get(name) != value for name, value in aim.needs.items()):
        return Verdict(aim, None)
    aim = replace(aim, bound=aim.elsewhere.get(instructions_of(record), aim.bound))
    if aim.quantity in ("samples_per_second", "batches_alone"):
        told = record.get("throughput") or {}
        found, alone = (told.get(name, {}).get("samples_per_second") for name in (aim.form, "batches alone"))
        if aim.quantity == "batches_alone":
            found = found and alone and alone / found
        return Verdict(aim, found)
    values = {}
    for case in record["cases"]:
        forms = case["forms"]
        if case["subject"] == aim.subject and aim.form in forms and (not aim.base or aim.base in forms):
            values[case["label"]] = _value(forms, aim)
    if not values:
        return Verdict(aim, None)
    worst = (max if aim.at_most else min)(values, key=values.__getitem__)
    return Verdict(aim, values[worst], worst)


def _value(forms: dict[str, Any], aim: Aim) -> float:
    if aim.quantity == "bandwidth_share":
        return forms[aim.form]["bandwidth_share"]
    if aim.quantity == "peak_bytes":
        return forms[aim.form]["peak_bytes"] / forms[aim.base]["peak_bytes"]
    return ratio(forms[aim.form]["rounds"], forms[aim.base]["rounds"])["median"]


def load_bench(path: Path) -> dict[str, Any]:
    """A record as `bench` wrote it.

    Raises:
        BenchError: when there is none, or it is something else.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        missing = [key for key in KEYS if key not in record]
        if record["bench"] != 1 or missing:
            raise KeyError(*missing)
        for case in record["cases"]:
            for form, found in case["forms"].items():
                numbers = [found["peak_bytes"], *found["rounds"]]
                if form not in FORMS or not all(math.isfinite(number) and number >= 0 for number in numbers):
                    raise ValueError(f"{case['label']}, {form}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(
            f"{path} is no benchmark ({type(error).__name__}: {error}); make it with `mobius bench --json {path}`."
        ) from error
    return record


def print_bench(console: "Console", record: dict[str, Any]) -> None:
    """The record as a table: each form's time, its ratios with their quartiles, its memory."""
    from rich import box
    from rich.table import Table

    setting, machine = record["configuration"], record["machine"]
    precision = "" if setting["precision"] == "no" else f", {setting['precision']}"
    title = f"{machine_of(record)}, batch {setting['batch']}{precision}: median of {setting['rounds']} rounds"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "time", "× gelu (quartiles)", "× printed", "peak memory", "bandwidth"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for case in record["cases"]:
        forms = case["forms"]
        table.add_row(f"[bold]{case['label']}[/]")
        for form in FORMS:
            if form in forms:
                found = forms[form]
                table.add_row(
                    f"  {form}",
                    _time(found["seconds"]["median"]),
                    _ratio_words(forms, form, "gelu"),
                    _ratio_words(forms, form, "printed").split(" ")[0],
                    f"{found['peak_bytes'] / 2**20:.1f} MiB",
                    f"{found['bandwidth_share']:.0%}" if "bandwidth_share" in found else "",
                )
            elif form in case["left_out"]:
                table.add_row(f"  {form}", "left out")
    console.print(table)
    say = partial(console.print, highlight=False)
    say("Ratios are medians of the rounds' own ratios, with their quartiles.")
    say(
        f"The machine: copies {machine['copy_bytes_per_second'] / 1e9:.1f} GB/s, multiplies matrices at "
        f"{machine['matmul_flops_per_second'] / 1e9:.0f} Gflop/s. Ours: backend {setting['backend']}."
    )
    for name, network in record["networks"].items():
        say(f"{name}: {network['multiply_adds']:,} multiply-adds a sample, {network['parameters']:,} parameters")
    if record.get("throughput"):
        for form in ("ours", "gelu"):
            rate = record["throughput"][form]["samples_per_second"]
            say(f"training on features, {form}: {rate:,.0f} samples a second")
        if alone := record["throughput"].get("batches alone"):  # older records have none
            say(f"their batches alone: {alone['samples_per_second']:,.0f} samples a second")
    for case in record["cases"]:
        for form, reason in case["left_out"].items():
            say(f"left out: {case['label']}, {form}: {reason}", markup=False)
    for aim in AIMS:
        if (verdict := judge_aim(aim, record)).measured is not None:
            words = f"{measured_words(verdict)} (aim: {bound_words(verdict.aim)}): {verdict.words}"
            say(f"{aim.statement}: {words}")


def judged(records: Iterable[dict[str, Any]]) -> list[tuple[Verdict, dict[str, Any] | None]]:
    """Every aim beside each record of its device; None where there is no record."""
    records = list(records)
    found = []
    for aim in AIMS:
        own = [record for record in records if record["configuration"]["device"] == aim.device]
        found += [(judge_aim(aim, record), record) for record in own or [None]]
    return found


def aims_table(records: Iterable[dict[str, Any]]) -> str:
    """Every aim beside what was measured, as Markdown.

    Args:
        records: of either device, and of processors with various instructions.
    """
    lines = ["| where | what | aim | measured | |", "|---|---|---|---|---|"]
    for verdict, record in judged(records):
        aim = verdict.aim
        where = "GPU" if aim.device == "cuda" else "CPU"
        if record is not None and aim.device == "cpu":
            where += f", instructions: {instructions_of(record)}"
        words = "" if verdict.measured is None else f"**{verdict.words}**"
        lines.append(f"| {where} | {aim.statement} | {bound_words(aim)} | {measured_words(verdict)} | {words} |")
    return "\n".join(lines)


def forms_table(record: dict[str, Any], subject: str) -> str:
    """All forms of a subject, as Markdown: time, its ratio to the twin's with quartiles, peak memory."""
    lines = ["| | form | time | × GELU (quartiles) | × printed | peak memory |", "|---|---|--:|--:|--:|--:|"]
    for case in (each for each in record["cases"] if each["subject"] == subject):
        forms, label = case["forms"], case["label"]
        for form in (each for each in FORMS if each in forms):
            against = _ratio_words(forms, form, "gelu"), _ratio_words(forms, form, "printed").split(" ")[0]
            memory = f"{forms[form]['peak_bytes'] / 2**20:.1f} MiB"
            time = _time(forms[form]["seconds"]["median"])
            lines.append(f"| {label} | {form} | {time} | {against[0]} | {against[1]} | {memory} |")
            label = ""
    return "\n".join(lines)


def bound_words(aim: Aim) -> str:
    """The bound as it is read: at most 1.25, at least 80 %."""
    return f"at {'most' if aim.at_most else 'least'} {_number(aim, aim.bound)}"


def measured_words(verdict: Verdict) -> str:
    """The figure in the aim's unit, and where several cases have it, in which it is worst."""
    if verdict.measured is None:
        return "not measured"
    number = _number(verdict.aim, verdict.measured)
    return f"{number} ({verdict.case})" if verdict.case not in ("", verdict.aim.subject) else number


def _number(aim: Aim, value: float) -> str:
    if aim.quantity == "bandwidth_share":
        return f"{value:.0%}"
    return f"{value:,.0f}" if aim.quantity == "samples_per_second" else f"{value:.3g}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def _ratio_words(forms: dict[str, Any], form: str, base: str) -> str:
    if base not in forms:
        return ""
    found = ratio(forms[form]["rounds"], forms[base]["rounds"])
    low, high = found["quartiles"]
    return f"{found['median']:.2f} ({low:.2f}–{high:.2f})"
