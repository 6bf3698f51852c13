"""What GeoFractalDavid costs (`mobius bench --what simplex`): its making, its training step, its memory.

The step is taken in three forms that start from the same weights, meet the same batch, have the same loss and the same
fused AdamW, and differ in how they compute cosine and distance:

    ours           `mobius_lib.simplex.fast.products`
    transcription  the formulas as they are written: all differences q - v, B x C x (k+1) x D, their norms, the least
    cdist          the same through `torch.cdist`, as one who knows torch would write it

The transcription needs so much memory that it is compared at a small batch; at the large one there are ours and cdist.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.bench.base import Aim, Recorder, check, machine_of, on_threads
from mobius_lib.bench.measure import paired_seconds, peak_bytes, ratio, summary
from mobius_lib.runs.devices import pick_device
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid, Geometry, ScaleGeometry, parameter_groups

if TYPE_CHECKING:
    from rich.console import Console

FORMS = ("ours", "transcription", "cdist")
SMALL_BATCH, LARGE_BATCH = 8, 1024
"""Rows: as many as the transcription has room for, and as many as the recipe trains on."""
QUICK = {"feature_dim": 16, "num_classes": 20, "k": 3, "scales": (24, 32)}
PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm", "aten::baddbmm_"}
"""What counts as a matrix product in a profile."""

Step = Callable[[], tuple[Tensor, ...]]


AIMS = (
    Aim("seconds to make the model", 1.0, True, lambda record: record["build"]["ours"]["seconds"]["median"]),
    Aim(
        "training step: time of the transcription over ours",
        2.0,
        False,
        lambda record: record["steps"]["small"]["speed_up"]["transcription"]["median"],
    ),
    Aim("training step: share of the matrix products", 0.7, False, lambda record: record["profile"]["products"]),
    Aim(
        "memory per further row: from twice to four times the batch, over that before (1 is linear)",
        1.05,
        True,
        lambda record: record["memory"]["growth"],
    ),
)


class Transcription(nn.Module):
    """The published formulas, written down as they are, on the weights of a model; the reference of every speed.

    Args:
        model: whose modules and parameters are used, not copied.
        cdist: distances by `torch.cdist` in place of all differences.
    Shape:
        as `GeoFractalDavid`.
    Source:
        seed 002's model; the code is ours.
    """

    def __init__(self, model: GeoFractalDavid, cdist: bool = False) -> None:
        super().__init__()
        self.model, self.cdist = model, cdist

    def geometry(self, features: Tensor) -> Geometry:
        cantor = self.model.cantor_stairs(features)
        scales = {}
        for head in self.model.heads.values():
            v = head.class_prototypes
            q = F.normalize(head.projection(features), dim=-1)
            cosine = F.normalize(q, dim=-1) @ F.normalize(v.mean(dim=1), dim=-1).T
            if self.cdist:
                distance = torch.cdist(q, v.flatten(0, 1)).unflatten(1, v.shape[:2]).min(dim=-1).values
            else:
                distance = (q[:, None, None] - v[None]).norm(dim=-1).min(dim=-1).values
            gap = cantor[:, None] - head.cantor_prototypes[None]
            weights = torch.softmax(head.geo_weights, dim=0)
            scales[head.scale] = ScaleGeometry(cosine, gap, distance, weights, head.cantor_prototypes)
        return Geometry(cantor, scales, torch.softmax(self.model.fusion_weights, dim=0))

    def forward(self, features: Tensor) -> Tensor:
        return self.geometry(features).logits


def published_build(config: DavidConfig) -> list[Tensor]:
    """The class simplices as the published code makes them: one Gaussian, one QR, one mean for every class."""
    made = []
    for scale in config.scales:
        simplices = []
        for number in range(config.num_classes):
            gaussian = torch.randn(scale, config.k + 1, generator=torch.Generator().manual_seed(number))
            rows = torch.linalg.qr(gaussian).Q.T
            simplices.append(rows - rows.mean(dim=0, keepdim=True))
        made.append(torch.stack(simplices))
    return made


def make_step(config: DavidConfig, form: str, batch: int, device: torch.device) -> Step:
    """A training step of one form; it returns the loss, which all forms share."""
    model = GeoFractalDavid(config).to(device).train()
    arm = model if form == "ours" else Transcription(model, cdist=form == "cdist")
    generator = torch.Generator().manual_seed(1)
    features = F.normalize(torch.randn(batch, config.feature_dim, generator=generator), dim=-1).to(device)
    y = torch.randint(config.num_classes, (batch,), generator=generator).to(device)
    criterion = BasinLoss()
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-3), weight_decay=1e-5, fused=True)

    def step() -> tuple[Tensor, ...]:
        total, _ = criterion(arm.geometry(features), y)
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # last, so that a step leaves nothing that the next one gives back
        return (total.detach(),)

    return step


def bench_simplex(
    device: str = "auto",
    *,
    batch: int | None = None,
    small_batch: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    rounds: int | None = None,
    output: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure, and return (and write) the record.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1".
        batch: rows of the large batch; 1024.
        small_batch: rows of the batch at which the transcription is timed; 8. On that of the published size it makes
            about 0.2 GB of differences a row, and keeps twice as much.
        threads: of torch on a CPU; None leaves them.
        quick: a tiny model, to see that everything runs. Its figures say nothing.
        rounds: how often each form is timed.
        output: where the record is written; None writes none.
        say: told what is being measured.
    Raises:
        BenchError: for a number below 1, or a file that cannot be written.
    """
    place = pick_device(device)
    asked = {"batch": batch, "threads": threads, "rounds": rounds}
    check(asked | {"small_batch": small_batch}, output)
    config = DavidConfig(**QUICK) if quick else DavidConfig()
    sizes = {"small": small_batch or SMALL_BATCH, "large": batch or (16 if quick else LARGE_BATCH)}
    rounds = rounds or (3 if quick else 5)
    recorder = Recorder("simplex", place, device, quick, asked)
    with on_threads(threads):
        say("the making of the model")
        build = _build(config, rounds)
        steps = {}
        for size, forms in (("small", FORMS), ("large", ("ours", "cdist"))):
            say(f"a training step of {sizes[size]} rows")
            steps[size] = _steps(config, forms, sizes[size], rounds, place)
        say("the profile of a step")
        profile = _profile(make_step(config, "ours", sizes["large"], place), place)
        say("memory")
        memory = _memory(config, sizes["large"], place)
        parameters = sum(parameter.numel() for parameter in GeoFractalDavid(config).parameters())
        return recorder.finish(
            asdict(config) | {"rounds": rounds, "quick": quick, "parameters": parameters},
            output,
            build=build,
            steps=steps,
            profile=profile,
            memory=memory,
        )


def print_simplex(console: "Console", record: dict[str, Any]) -> None:
    """The record as sentences, and beside the aims."""

    def say(text: str) -> None:
        console.print(text, highlight=False)

    say(f"{machine_of(record)}, {record['configuration']['parameters']:,} parameters, {record['command']}")
    for form, found in record["build"].items():
        say(f"making, {form}: {found['seconds']['median']:.3f} s")
    for found in record["steps"].values():
        for form, row in found["forms"].items():
            faster = found["speed_up"].get(form)
            words = f", {faster['median']:.2f} times ours" if faster else ""
            memory = f"{row['peak_bytes'] / 2**20:,.0f} MiB"
            say(f"step of {found['batch']}, {form}: {row['seconds']['median'] * 1e3:,.1f} ms{words}, {memory}")
    say(f"share of the matrix products in a step of ours: {record['profile']['products']:.0%}")
    for name, share in record["profile"]["largest"].items():
        say(f"    {name}: {share:.1%}")
    for rows, size in zip(record["memory"]["batches"], record["memory"]["peak_bytes"], strict=True):
        say(f"memory of a forward and backward of {rows} rows: {size / 2**20:,.0f} MiB")
    if not record["configuration"]["quick"]:
        for aim in AIMS:
            say(aim.words(record))


def _build(config: DavidConfig, rounds: int) -> dict[str, Any]:
    makers = {
        "ours": lambda: GeoFractalDavid(config),
        "published simplices alone, class by class": lambda: published_build(config),
    }
    taken = paired_seconds(makers, rounds, torch.device("cpu"), warmup=1)
    return {name: {"seconds": summary(seconds), "rounds": seconds} for name, seconds in taken.items()}


def _steps(
    config: DavidConfig, forms: tuple[str, ...], batch: int, rounds: int, device: torch.device
) -> dict[str, Any]:
    steps = {form: make_step(config, form, batch, device) for form in forms}
    taken = paired_seconds(steps, rounds, device, warmup=1)
    return {
        "batch": batch,
        "forms": {
            form: {"seconds": summary(taken[form]), "rounds": taken[form], "peak_bytes": peak_bytes(step, device)}
            for form, step in steps.items()
        },
        "speed_up": {form: ratio(taken[form], taken["ours"]) for form in forms if form != "ours"},
    }


def _profile(step: Step, device: torch.device) -> dict[str, Any]:
    """Which share of a step's own time each operation takes; the optimiser's is in it."""
    from torch.profiler import ProfilerActivity, profile

    step()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities, acc_events=True) as profiler:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    on_gpu = device.type == "cuda"
    own = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profiler.key_averages()
        if not on_gpu or event.key.startswith("aten::")  # there kernels are listed once more by their own names
    }
    total = sum(own.values()) or 1
    largest = sorted(own, key=own.__getitem__, reverse=True)[:8]
    return {
        "products": sum(time for name, time in own.items() if name in PRODUCTS) / total,
        "largest": {name: own[name] / total for name in largest},
    }


def _memory(config: DavidConfig, batch: int, device: torch.device) -> dict[str, Any]:
    """Peak memory of forward and backward at a batch, twice and four times it, and how what a row adds grows.

    The gradients of the weights are as large at every batch, and while a batch is small the peak is theirs; so rows are
    compared by differences, and beyond that.
    """
    model, criterion = GeoFractalDavid(config).to(device), BasinLoss()
    parameters = list(model.parameters())
    batches = [batch, 2 * batch, 4 * batch]
    peaks = []
    for rows in batches:
        features = F.normalize(torch.randn(rows, config.feature_dim), dim=-1).to(device)
        y = (torch.arange(rows) % config.num_classes).to(device)

        def step(features: Tensor = features, y: Tensor = y) -> None:
            torch.autograd.grad(criterion(model.geometry(features), y)[0], parameters)

        step()
        peaks.append(peak_bytes(step, device))
    first, second = ((b - a) / (n - m) for a, b, m, n in zip(peaks, peaks[1:], batches, batches[1:], strict=False))
    return {"batches": batches, "peak_bytes": peaks, "bytes_per_row": [first, second], "growth": second / first}
