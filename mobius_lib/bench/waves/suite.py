"""The benchmark as a whole: every case in every form, and the record of it."""

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from mobius_lib.bench.base import BenchError, Recorder, check, on_threads
from mobius_lib.bench.measure import machine, paired_seconds, peak_bytes, summary, wait
from mobius_lib.bench.waves.arms import (
    FORMS,
    PRECISIONS,
    SUBJECTS,
    WHOLE_COMPILED,
    Case,
    Setting,
    cases,
    network,
)
from mobius_lib.runs.devices import pick_device
from mobius_lib.waves import fast
from mobius_lib.waves.cost import multiply_adds, parameter_count
from mobius_lib.waves.fast.fold import fold
from mobius_lib.waves.lens import BACKENDS

QUICK = {"batch": 4, "size": (8, 8), "channels": (8, 12), "depths": (1, 1), "classes": 10, "gate_elements": 2**14}
GPU_WIDTHS = tuple((channels, 64 * 768 // channels) for channels in (64, 128, 256, 512, 1024))
GPU_GATE = 2**26
IMAGENET_ROWS = 1_281_167
FEATURES_BATCH = 256  # of the distillation card's recipe, as is its learning rate of 1e-3


def bench(
    device: str = "auto",
    *,
    batch: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    subjects: tuple[str, ...] = (),
    forms: tuple[str, ...] = (),
    backend: str | None = None,
    precision: str = "no",
    rounds: int | None = None,
    rows: int | None = None,
    output: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure, and return (and write) the record described in data/README.md.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1".
        batch: samples; 32, or 4 when quick.
        threads: of torch on a CPU; None leaves them.
        quick: tiny sizes and few rounds, to see that everything runs. Its figures say nothing.
        subjects, forms: only these; empty means all that belong to the device.
        backend: of "ours"; None tries all and takes the fastest.
        precision: "no" or "bf16" (autocast).
        rounds: how often each form is timed.
        rows: of made features on which whole training is timed. None: as many as ImageNet has on CUDA, else none.
        output: where the record is written; None writes none.
        say: told what is being measured.
    Raises:
        BenchError: for a name that does not exist, a number below 1, more threads than processors, or a file that
            cannot be written.
    """
    place = pick_device(device)
    numbers = {"batch": batch, "threads": threads, "rounds": rounds}
    check(numbers, output)
    if precision not in PRECISIONS:
        raise BenchError(f"There is no precision {precision!r}; use {' or '.join(PRECISIONS)}.")
    if backend is not None and (backend not in BACKENDS or backend == "printed"):
        known = ", ".join(name for name in BACKENDS if name != "printed")
        raise BenchError(f"There is no backend {backend!r} to measure as ours; use {known}.")
    for kind, asked, known in (("subject", subjects, SUBJECTS), ("form", forms, FORMS)):
        for name in asked:
            if name not in known:
                raise BenchError(f"There is no {kind} {name!r}; there are {', '.join(known)}.")
    more = [] if backend is None else ["--backend", backend]
    more += [] if precision == "no" else ["--precision", precision]
    more += [word for each in subjects for word in ("--only", each)]
    more += [word for each in forms for word in ("--form", each)]
    recorder = Recorder("", place, device, quick, numbers | {"rows": rows}, more)
    setting = _setting(place, batch, quick, precision, rows)
    rounds = rounds or (3 if quick else 15)
    # whole modules compiled: on a GPU, where launches cost, or when asked for by name
    whole = place.type == "cuda" or any(form in WHOLE_COMPILED for form in forms)
    with ExitStack() as stack:
        stack.enter_context(on_threads(threads))
        stack.enter_context(warnings.catch_warnings())
        # torch's compiler imports what torch itself has deprecated
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        # several networks share one code: each compiled form needs an entry of its own
        stack.enter_context(torch._dynamo.config.patch(recompile_limit=64))
        say("the machine")
        ceilings = machine(place, PRECISIONS[precision] or torch.float32, quick)
        backends = {}
        if backend is None:
            say("the backends")
            backend, backends = _fastest_backend(setting)
        setting = replace(setting, backend=backend)
        measured = []
        for case in cases(setting, subjects or tuple(SUBJECTS), whole):
            say(case.label)
            measured.append(_measure(case, setting, forms, rounds, ceilings["copy_bytes_per_second"]))
        throughput = None
        if setting.rows:
            say(f"training on {setting.rows:,} rows of features")
            throughput = _throughput(setting)
        return recorder.finish(
            asdict(replace(setting, device=None)) | {"rounds": rounds, "quick": quick},
            output,
            machine=ceilings,
            backends=backends,
            networks=_networks(setting),
            cases=measured,
            throughput=throughput,
        )


def _setting(place: torch.device, batch: int | None, quick: bool, precision: str, rows: int | None) -> Setting:
    setting = Setting(place, precision=precision)
    if place.type == "cuda":
        setting = replace(setting, widths=GPU_WIDTHS, gate_elements=GPU_GATE, rows=IMAGENET_ROWS)
    if quick:
        widths = tuple((channels, 16) for channels, _ in setting.widths[:1])
        setting = replace(setting, **QUICK, widths=widths, rows=0)
    if rows is not None:
        setting = replace(setting, rows=rows)
    return setting if batch is None else replace(setting, batch=batch)


def _measure(case: Case, setting: Setting, forms: tuple[str, ...], rounds: int, bandwidth: float) -> dict[str, Any]:
    """One case: each form that can run here is timed in turn with the others, then its memory is taken."""
    steps, left_out = {}, {}
    for form in case.forms:
        if forms and form not in forms:
            continue
        try:
            step = case.make(form).step
            step()  # compiled forms are compiled here
            steps[form] = step
        except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
            left_out[form] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:200]
    taken = paired_seconds(steps, rounds, setting.device) if steps else {}
    found = {}
    for form, seconds in taken.items():
        found[form] = {
            "seconds": summary(seconds),
            "rounds": seconds,
            "peak_bytes": peak_bytes(steps[form], setting.device),
        }
        if case.subject == "gate":
            size = torch.finfo(PRECISIONS[setting.precision] or torch.float32).bits // 8
            # what any form has to move: each number read once and written once
            reached = 2 * size * case.elements / found[form]["seconds"]["median"]
            found[form]["bandwidth_share"] = reached / bandwidth
    steps.clear()
    torch.compiler.reset()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return {
        "subject": case.subject,
        "label": case.label,
        "channels": case.channels,
        "elements": case.elements,
        "forms": found,
        "left_out": left_out,
    }


def _fastest_backend(setting: Setting) -> tuple[str, dict[str, float]]:
    """The backend whose lens takes the least time forward and backward, and what each took."""
    steps = {}
    elsewhere = ("native",) if setting.device.type == "cuda" else ("triton",)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The lens's .* backend does not work here", RuntimeWarning)
        for name in BACKENDS:
            if name in ("printed", "auto", *elsewhere):  # auto is one of the others
                continue
            case = next(cases(replace(setting, backend=name), ("lens",), False))
            step = case.make("ours").step
            step()
            if fast.available(name):  # else another has taken its place
                steps[name] = step
    taken = {name: summary(each)["median"] for name, each in paired_seconds(steps, 5, setting.device).items()}
    return min(taken, key=taken.__getitem__), taken


def _networks(setting: Setting) -> dict[str, dict[str, int]]:
    """Multiply-adds of one sample and trained numbers, of both networks, as they are and folded."""
    place = replace(setting, device=torch.device("cpu"), backend="eager")
    shape, found = (1, 1, *setting.size), {}
    for name in ("ours", "gelu"):
        model = network(place, name).eval()
        for form, each in {name: model, "folded" if name == "ours" else "gelu folded": fold(model)}.items():
            found[form] = {"multiply_adds": multiply_adds(each, shape), "parameters": parameter_count(each)}
    return found


def _throughput(setting: Setting) -> dict[str, Any]:
    """Samples a second of the distillation card's recipe, in the loop that trains every model of the book: one epoch;
    and of the batches alone, of which training must not have to wait.

    The rows are made and lie on the device from the start, as the features of a data set do.
    """
    from mobius_lib.training import Recipe, ResidentBatches, fit

    generator = torch.Generator(setting.device).manual_seed(0)

    def batches(rows: int) -> ResidentBatches:
        x = torch.randn(rows, 1, *setting.size, device=setting.device, generator=generator)
        x /= x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        y = torch.randint(setting.classes, (rows,), device=setting.device, generator=generator)
        return ResidentBatches(x, y, FEATURES_BATCH, shuffle=True, seed=0)

    recipe = Recipe(epochs=1, lr=1e-3, batch_size=FEATURES_BATCH, precision=setting.precision)
    few, many = batches(min(setting.rows, 4 * FEATURES_BATCH)), batches(setting.rows)
    found: dict[str, Any] = {"rows": setting.rows, "batch": FEATURES_BATCH, "precision": setting.precision}
    for form in ("ours", "gelu"):
        model = network(setting, form)
        fit(model, few, few, recipe, device=str(setting.device), progress=False)  # kernels are compiled here
        outcome = fit(model, many, few, recipe, device=str(setting.device), progress=False)
        found[form] = {"samples_per_second": outcome.samples_per_second}
    wait(setting.device)
    began = time.perf_counter()
    for _ in many.epoch(0):
        pass
    wait(setting.device)
    found["batches alone"] = {"samples_per_second": many.samples / (time.perf_counter() - began)}
    return found
