"""What GeoFractalDavid costs (`mobius bench --what simplex`): its making, its training step, its memory.

The step is taken in three forms that start from the same weights, meet the same batch, have the same loss and the same
fused AdamW, and differ in how they compute cosine and distance:

    ours           `mobius_lib.simplex.fast.products`
    transcription  the formulas as they are written: all differences q - v, B x C x (k+1) x D, their norms, the least
    cdist          the same through `torch.cdist`, as one who knows torch would write it

The transcription needs so much memory that it is compared at a small batch (on the published size it makes about 0.2 GB
of differences a row, and keeps twice as much); at the large one there are ours and cdist.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.bench.base import Aim, Asked, bench_chapter, machine_of, print_chapter
from mobius_lib.bench.measure import Step, paired_seconds, peak_bytes, ratio, summary, training
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid, Geometry, ScaleGeometry, parameter_groups

FORMS = ("ours", "transcription", "cdist")
SMALL_BATCH, LARGE_BATCH = 8, 1024
"""Rows: as many as the transcription has room for, and as many as the recipe trains on."""
QUICK = {"feature_dim": 16, "num_classes": 20, "k": 3, "scales": (24, 32)}
PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm", "aten::baddbmm_"}
"""What counts as a matrix product in a profile."""

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
        the GeoFractalDavid card's model; the code is ours.
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
    return training(lambda: criterion(arm.geometry(features), y)[0], optimizer)


def measured(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration, and what was found; `asked.batch` is the large one."""
    config = DavidConfig(**QUICK) if asked.quick else DavidConfig()
    sizes = {"small": SMALL_BATCH, "large": asked.batch or (16 if asked.quick else LARGE_BATCH)}
    rounds, place = asked.rounds or (3 if asked.quick else 5), asked.place
    asked.say("the making of the model")
    found = {"build": _build(config, rounds), "steps": {}}
    for size, forms in (("small", FORMS), ("large", ("ours", "cdist"))):
        asked.say(f"a training step of {sizes[size]} rows")
        found["steps"][size] = _steps(config, forms, sizes[size], rounds, place)
    asked.say("the profile of a step")
    found["profile"] = _profile(make_step(config, "ours", sizes["large"], place), place)
    asked.say("memory")
    found["memory"] = _memory(config, sizes["large"], place)
    parameters = sum(parameter.numel() for parameter in GeoFractalDavid(config).parameters())
    return asdict(config) | {"rounds": rounds, "parameters": parameters}, found


def lines(record: dict[str, Any]) -> Iterator[str]:
    """The record as sentences."""
    yield f"{machine_of(record)}, {record['configuration']['parameters']:,} parameters, {record['command']}"
    for form, found in record["build"].items():
        yield f"making, {form}: {found['seconds']['median']:.3f} s"
    for found in record["steps"].values():
        for form, row in found["forms"].items():
            faster = found["speed_up"].get(form)
            words = f", {faster['median']:.2f} times ours" if faster else ""
            memory = f"{row['peak_bytes'] / 2**20:,.0f} MiB"
            yield f"step of {found['batch']}, {form}: {row['seconds']['median'] * 1e3:,.1f} ms{words}, {memory}"
    yield f"share of the matrix products in a step of ours: {record['profile']['products']:.0%}"
    for name, share in record["profile"]["largest"].items():
        yield f"    {name}: {share:.1%}"
    for rows, size in zip(record["memory"]["batches"], record["memory"]["peak_bytes"], strict=True):
        yield f"memory of a forward and backward of {rows} rows: {size / 2**20:,.0f} MiB"


bench_simplex = partial(bench_chapter, "simplex", measured)
print_simplex = partial(print_chapter, lines=lines, aims=AIMS)


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
