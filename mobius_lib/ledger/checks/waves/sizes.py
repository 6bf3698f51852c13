"""Chapter 1: sizes, shapes and costs, from the code alone."""

import math
from typing import Any

import torch
from torch import nn

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.waves import PRESETS, GELUTwin, MobiusNet
from mobius_lib.waves.cost import multiply_adds, parameter_count

CLIP = "mobius_tiny_s_clip"
FEATURE_GRID = (24, 32)


@register
def parameters(claim: Claim, results: Results, *, preset: str, classes: int) -> Measurement:
    """Parameters of a preset, with the integrator (as both seeds' snippets build it) and without."""
    full = _meta(preset, classes)
    with_it = parameter_count(full)
    without = with_it - parameter_count(full.integrator)
    reported, tolerance = reported_number(claim), claim.tolerance or 0.0
    if abs(with_it - reported) <= tolerance:
        value, verdict, how = with_it, REPRODUCED, "with the integrator, as the seed builds it"
    elif abs(without - reported) <= tolerance:
        value, verdict, how = without, PARTLY, "only without the integrator, which the seed's own snippets switch on"
    else:
        value, verdict = min((with_it, without), key=lambda n: abs(n - reported)), REFUTED
        how = "the nearer of the two, and still off"
    return Measurement(
        value,
        "parameters",
        verdict,
        f"{with_it:,} parameters with the integrator and {without:,} without; shown: {how} "
        f"({value / reported - 1:+.1%} from the reported count).",
        ("mobius_lib.waves.cost.parameter_count",),
    )


@register
def network_multiply_adds(claim: Claim, results: Results, *, preset: str, classes: int, size: list[int]) -> Measurement:
    """Multiply-adds of one forward pass of a preset."""
    count = multiply_adds(_meta(preset, classes), (1, PRESETS[preset].in_chans, *size))
    return Measurement(
        count,
        "multiply-adds",
        _close(count, claim),
        f"Convolutions and matrix products of one {size[0]}×{size[1]} input take {count / 1e9:.3f} G multiply-adds "
        f"({count / reported_number(claim) - 1:+.1%}); counted as two operations each, {2 * count / 1e9:.2f} G.",
        ("mobius_lib.waves.cost.multiply_adds",),
    )


@register
def stage_shapes(claim: Claim, results: Results) -> Measurement:
    """Shapes behind each stage for the 24 x 32 input, seen by hooks."""
    model, shapes = _meta(CLIP, 1000), []
    for stage in model.stages:
        stage[-1].register_forward_hook(lambda _m, _i, out: shapes.append(list(out.shape[1:])))
    with torch.no_grad():
        model.eval()(torch.empty(1, 1, *FEATURE_GRID, device="meta"))
    return Measurement(
        shapes,
        "channels × height × width",
        REPRODUCED if shapes == claim.reported else REFUTED,
        f"Hooks on the last block of each stage see {_shapes(shapes)} for one 1×24×32 input.",
        ("mobius_lib.waves.MobiusNet",),
    )


@register
def feature_grid(claim: Claim, results: Results) -> Measurement:
    """A vector of the reported length, laid out 24 x 32, goes through the network."""
    length = int(reported_number(claim))
    try:
        grid = torch.empty(1, length, device="meta").view(1, 1, *FEATURE_GRID)
    except RuntimeError:  # that many numbers do not fill the grid
        fits, logits = False, ()
    else:
        with torch.no_grad():
            logits = tuple(_meta(CLIP, 1000).eval()(grid).shape)
        fits = logits == (1, 1000)
    return Measurement(
        math.prod(FEATURE_GRID),
        "dimensions",
        REPRODUCED if fits else REFUTED,
        f"24 × 32 = {math.prod(FEATURE_GRID)}; one vector of {length} numbers "
        + (f"becomes 1×1×24×32 and logits {logits[0]}×{logits[1]}." if fits else "does not fill that grid."),
        ("mobius_lib.waves.MobiusNet",),
    )


@register
def feature_sigma(claim: Claim, results: Results) -> Measurement:
    """Standard deviation of the entries of an L2-normalised feature vector: by arithmetic, and of our features."""
    dim = math.prod(FEATURE_GRID)
    by_law = dim**-0.5
    found, sources = _embedded_sigma(dim)
    values = [by_law] if found is None else [by_law, found]
    ours = "our embedded features are not there to compare" if found is None else f"our features measure {found:.5f}"
    near = all(abs(value - reported_number(claim)) <= (claim.tolerance or 0.0) for value in values)
    return Measurement(
        round(values[-1], 4),
        "standard deviation",
        REPRODUCED if near else REFUTED,
        f"A row of length 1 with {dim} entries of mean near 0 has 1/√{dim} = {by_law:.5f}; {ours}. "
        "So the reported sigma is the mark of L2-normalised rows.",
        sources,
    )


@register
def cost_against_alternatives(claim: Claim, results: Results, *, considerably: float) -> Measurement:
    """Multiply-adds of the network over those of three plainer ones, for the 24 x 32 input."""
    shape, sizes = (1, 1, *FEATURE_GRID), dict(PRESETS[CLIP])
    with torch.device("meta"):
        twin, light, plain = GELUTwin(**sizes), MobiusNet(lens=_GELU, **sizes), MobiusNet(lens=_GELU, **sizes)
        for block in plain.blocks:
            width = block.thirds_mask.shape[1]
            block.conv = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
    lens = multiply_adds(_meta(CLIP, 1000), shape)
    ratios = {
        "GELU twin": lens / multiply_adds(twin, shape),
        "depthwise, GELU, no twists": lens / multiply_adds(light, shape),
        "full 3×3 convolutions, GELU": lens / multiply_adds(plain, shape),
    }
    higher = sum(ratio >= considerably for ratio in ratios.values())
    return Measurement(
        {name: round(ratio, 3) for name, ratio in ratios.items()},
        "times the multiply-adds",
        REPRODUCED if higher == len(ratios) else PARTLY if higher else REFUTED,
        "The network's multiply-adds over those of "
        + "; ".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items())
        + f". The twist matrices are the whole difference to the second; {higher} of {len(ratios)} ratios reach "
        f"{considerably:g}.",
        ("mobius_lib.waves.cost.multiply_adds",),
    )


class _GELU(nn.GELU):
    """A bare GELU that accepts a lens's arguments, so that it fits a block."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


def _meta(preset: str, classes: int) -> MobiusNet:
    """A preset without memory: enough to count and to see shapes."""
    with torch.device("meta"):
        return MobiusNet(num_classes=classes, **dict(PRESETS[preset]))


def _embedded_sigma(dim: int) -> tuple[float | None, tuple[str, ...]]:
    """Standard deviation of the entries of our embedded test features, when they are there."""
    from mobius_lib.datasets.paths import data_dir, fetch

    name = "features_test.safetensors"
    if not (data_dir() / name).is_file():
        return None, ("arithmetic",)
    from safetensors.torch import load_file

    rows = nn.functional.normalize(load_file(fetch(name))["features"][:, :dim].double())
    return rows.std().item(), (f"data/{name}",)


def _close(value: float, claim: Claim) -> Word:
    return REPRODUCED if abs(value - reported_number(claim)) <= (claim.tolerance or 0.0) else REFUTED


def _shapes(shapes: list[list[int]]) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in shapes)
