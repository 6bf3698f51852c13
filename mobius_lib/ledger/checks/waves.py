"""Chapter 1: what the printed class is and does by construction, and what its runs and published weights show."""

import contextlib
import math
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mobius_lib.ledger.base import Finding, Found, Gate, Sample, register
from mobius_lib.ledger.checks.runs import missing, size
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.waves import PRESETS, GELUTwin, MobiusConvBlock, MobiusLens, MobiusNet, lens_state, use_backend
from mobius_lib.waves import laws as library
from mobius_lib.waves import math as waves
from mobius_lib.waves.cost import multiply_adds, parameter_count
from mobius_lib.waves.lens import twist_matrix

CLIP, GRID = "mobius_tiny_s_clip", (1, 1, 24, 32)
ACTIVATIONS = {
    f"aten::{name}" for name in ("relu", "gelu", "silu", "elu", "leaky_relu", "hardswish", "mish", "softplus")
}


@register
def waves_laws(*, laws: Mapping[str, str]) -> Found:
    """Which of the library's laws hold, over three draws in both precisions; the claim names them by its parts."""

    def holds(law: library.Law) -> bool:
        try:
            for seed in range(3):
                for dtype in (torch.float32, torch.float64):
                    law(seed, dtype)
        except AssertionError:
            return False
        return True

    named = {part: getattr(library, law) for part, law in laws.items()}
    words = " ".join(str(law.__doc__).splitlines()[0] for law in named.values())
    return Found({part: holds(law) for part, law in named.items()}, words, tuple(map(_dotted, named.values())))


@register
def count_parameters(*, preset: str, classes: int) -> Found:
    """Of a preset with its integrator, as the snippets of both cards build it."""
    network = _meta(preset, classes)
    count, without = parameter_count(network), parameter_count(network) - parameter_count(network.integrator)
    words = f"{count:,} parameters as the snippets build it, with the integrator; {without:,} without."
    return Found(count, words, (_dotted(parameter_count),))


@register
def count_multiply_adds(*, preset: str, classes: int, shape: list[int]) -> Found:
    """Of one forward pass."""
    count = multiply_adds(_meta(preset, classes), tuple(shape))
    words = f"Convolutions and matrix products take {count / 1e9:.3f} G multiply-adds: twice as many operations."
    return Found(count, words, (_dotted(multiply_adds),))


@register
def cost_over_alternatives(*, names: list[str]) -> Found:
    """Multiply-adds of the network for CLIP features over those of plainer ones."""
    with torch.device("meta"):
        sizes, bare = dict(PRESETS[CLIP]), lambda *_: nn.GELU()
        others = {
            "its GELU twin": GELUTwin(**sizes),
            "no twists, a GELU": MobiusNet(**sizes, lens=bare),
            "full convolutions, a GELU": MobiusNet(**sizes, lens=bare),
            "one linear layer": nn.Sequential(nn.Flatten(), nn.Linear(math.prod(GRID), 1000)),
        }
        for block in others["full convolutions, a GELU"].blocks:
            block.conv = nn.Conv2d(*[block.thirds_mask.shape[1]] * 2, 3, padding=1, bias=False)
    mine = multiply_adds(_meta(CLIP, 1000), GRID)
    ratios = {name: mine / multiply_adds(others[name], GRID) for name in names}
    words = f"{mine:,} multiply-adds; over those of the alternatives, {_listed(ratios)}."
    return Found(ratios, words, (_dotted(multiply_adds),))


@register
def output_shapes(*, preset: str, classes: int, shape: list[int], stages: bool) -> Found:
    """Behind each stage, and of the logits."""
    network, shapes = _meta(preset, classes).eval(), []
    for stage in network.stages if stages else ():
        stage[-1].register_forward_hook(lambda _m, _i, out: shapes.append(list(out.shape[1:])))
    with torch.no_grad():
        shapes.append(list(network(torch.empty(shape, device="meta")).shape[1:]))
    return Found(shapes, f"An input of shape {shape} leaves {shapes}.", (_dotted(MobiusNet),))


@register
def activation_calls() -> Found:
    """Of ReLU, GELU and their like in one forward pass, wherever they are called from."""
    calls = {"in the blocks": 0, "in the integrator": 0}

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls[place] += func._schema.name in ACTIVATIONS
            return func(*args, **(kwargs or {}))

    network = _meta(CLIP, 1000).eval()
    widths = [(block, "in the blocks", block.thirds_mask.shape[1]) for block in network.blocks]
    for part, place, width in (*widths, (network.integrator, "in the integrator", network.head.in_features)):
        with torch.no_grad(), Counted():
            part(torch.empty(1, width, 4, 4, device="meta"))
    words = f"One pass calls ReLU, GELU, SiLU or the like: {_listed(calls)}. A lens has its own tanh and sigmoid."
    return Found(calls, words, (_dotted(MobiusNet),))


@register
def off_the_depth_formulas(*, names: list[str]) -> Found:
    """How far what a lens takes from its depth is from the card's formulas, over the lenses of the largest preset."""
    (first, last), total, gaps = PRESETS["mobius_tiny_m"].scale_range, sum(PRESETS["mobius_tiny_m"].depths), []
    for index in range(total):
        t = index / (total - 1)
        formula = {"t": t, "angle in": t * math.pi, "angle out": -t * math.pi}
        formula |= dict.fromkeys(("scale", "second scale"), first + t * (last - first))
        taken = _taken(MobiusConvBlock(3, index, total, (first, last)))
        gaps.append({name: abs(taken[name].item() - formula[name]) for name in names})
    return _largest(gaps, f"Over {total} lenses")


@register
def finer_sampling(*, lenses: list[int]) -> Found:
    """How far blocks of deeper networks are from those of the shallowest where their t agree."""
    grids, gaps = [[_taken(MobiusConvBlock(6, i, n)) for i in range(n)] for n in lenses], []
    for fine in grids[1:]:
        for one, other in zip(grids[0], fine[:: (len(fine) - 1) // (len(grids[0]) - 1)], strict=True):
            gaps.append({name: (one[name] - other[name]).abs().max().item() for name in one})
    return _largest(gaps, f"In networks of {', '.join(map(str, lenses))} lenses, where t agrees")


@register
def twist_stretch() -> Found:
    """How much the twists between the ends stretch a vector, as initialised: a rotation has 1 and 1."""
    lenses = [block.lens for block in MobiusNet(**dict(PRESETS[CLIP])).blocks][1:-1]
    with torch.no_grad():
        both = [torch.linalg.svdvals(twist_matrix(lens.twist_in_proj.weight, lens.twist_in_angle)) for lens in lenses]
    ends = {"least stretch": torch.cat(both).min().item(), "largest stretch": torch.cat(both).max().item()}
    words = f"Singular values of cos(a) I + sin(a) W in the {len(lenses)} lenses between the ends: {_listed(ends)}."
    return Found(ends, words, (_dotted(twist_matrix),))


@register
def paths_at_the_start(*, names: list[str]) -> Found:
    """Drifts and shares of the three paths before training, and how much the pattern answers to each."""
    lens, x = MobiusLens(256, 2, 6).double(), torch.randn(256, 256, dtype=torch.float64)
    paths = torch.stack(lens.paths(x)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(waves.interference(*paths, lens.accum_weights, lens.xor_weight).sum(), paths)
    share, slopes = lens.accum_weights.softmax(0).tolist(), slope.abs().mean((1, 2)).tolist()
    found = {f"drift of {path}": getattr(lens, f"drift_{path.lower()}").mean().item() for path in "LMR"} | {
        "M is present": share[1] > 0,
        "M weighs less than L and R": share[1] < min(share[0], share[2]),
        "more flows through L": slopes[0] > slopes[1],
        "more flows through R": slopes[2] > slopes[1],
    }
    by_path = [_listed(dict(zip("LMR", numbers, strict=True))) for numbers in (share, slopes)]
    words = f"Shares of the mix: {by_path[0]}; mean slopes of the pattern for normal inputs: {by_path[1]}."
    return Found({name: found[name] for name in names}, words, (_dotted(MobiusLens),))


@register
def off_the_printed_formula(*, of: str) -> Found:
    """Largest difference of the class, in float64, from a formula as the cards print it: of a wave, or of the gate."""
    lens, x = use_backend(MobiusLens(16, 2, 6).double(), "printed"), torch.randn(256, 16, dtype=torch.float64)
    t, scales = waves.drift_coordinate(x), lens.scales[:, None, None]
    with torch.no_grad():
        left, middle, right = own = torch.stack(lens.paths(x))
        if of == "wave":
            at = [torch.sin(lens.omega * lens.scales[0] * (x + d * t)) for d in (1, 0, -1)]
            full = [torch.sin(lens.omega * scales * (x.tanh() + d * t)) for d in (1, 0, -1)]
            off = (own - torch.exp(-lens.alpha * torch.stack(at) ** 2)).abs().max()
            mended = (own - torch.exp(-(lens.alpha + 0.1) * torch.stack(full) ** 2).prod(1)).abs().max()
            words = f"With tanh x for x, |α| + 0.1 for α and the product over two scales by {mended:.0e}."
        else:
            w, v = lens.accum_weights.softmax(0), lens.xor_weight.sigmoid()
            blend = 0.5 + 0.5 * (v * (left + right - 2 * left * right).abs() + (1 - v) * left * right)
            mixed = (w[0] * left + w[1] * middle + w[2] * right) * blend
            off, words = (lens.gated(x) - x * torch.sigmoid(lens.gate_norm(mixed))).abs().max(), "It is that formula."
    return Found(off.item(), f"The two differ by up to {off:.2g}. {words}", (_dotted(MobiusLens),))


@register
def thirds_of(*, what: str) -> Found:
    """Which thirds are masked, by what factor, and in what share of the presets' stages every channel has its turn."""
    turns = [int((waves.thirds_mask(300, layer) < 1).nonzero()[0]) // 100 for layer in range(4)]
    factor, covered = waves.thirds_mask(300, 0).min().item(), []
    for channels, depths in {(sizes.channels, sizes.depths) for sizes in PRESETS.values()}:
        for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            masks = [waves.thirds_mask(width, sum(depths[:stage]) + i) for i in range(depth)]
            covered.append(bool((torch.stack(masks).amin(0) < 1).all()))
    factors, share = {"turned down": factor < 1, "set to zero": factor == 0}, sum(covered) / len(covered)
    words = (
        f"Thirds {turns} are multiplied by {factor:g}; all have their turn in {sum(covered)} of {len(covered)} stages."
    )
    return Found({"turns": turns, "factor": factors, "coverage": share}[what], words, (_dotted(waves.thirds_mask),))


@register
def least_carried(*, channels: int) -> Found:
    """The smallest share of the channels that can carry a gate while its layer norm is as initialised."""
    least = library.least_participation(channels)
    words = (
        f"Of {channels} channels at least {least:.2f} carry the gate, whichever are high. A norm weight of 1 + d and a"
    )
    return Found(least, f"{words} bias of -d change that from d = {_to_winners(0.1):.1f} on.", (_dotted(waves.gate),))


@register
def files_of_a_run(*, curves: Mapping[str, str] | None = None) -> Found:
    """What our trainer writes in ten epochs and whether it goes on after a stop, or which curves it draws."""
    names, tags, same = _small_run()
    words = f"A run of ten epochs leaves {len(names)} files and folders, and {len(tags)} curves and histograms."
    drawn = {name: any(tag.startswith(start) for tag in tags) for name, start in (curves or {}).items()}
    return Found(drawn or {"files": names, "resume": same}, words)


@register
def published_weights(results: Results, *, of: str) -> Finding:
    """Accuracy, learned values and gates of the weights that the author published: nothing in them is random."""
    file = results.find("waves-clip-weights", "lens", scale="full", seeds=1)
    if file is None:
        return missing("waves-clip-weights", ("lens",), "full", of)
    seed, names = file.seeds("lens")[0], {"omega": "omega", "alpha": "alpha", "xor": "xor_weight"}
    gates, found = (
        file.lens_curve("lens", seed, "gate_participation"),
        {"accuracy": file.number("lens", seed, "final_accuracy")},
    )
    found |= {"last gate": gates[-1], "mean gate": sum(gates) / len(gates)}
    found["table"] = {key: [abs(v) for v in file.lens_curve("lens", seed, name)] for key, name in names.items()}
    return Found(found[of], f"{of.capitalize()} of the published weights.", (file.source,))


@register
def learned(results: Results, *, run: str, of: str, to: float, scale: str = "short") -> Finding:
    """What the lenses of a run have learned, seed by seed; closed while AdamW could not have gone as far as `to`."""
    names = {"rise of alpha": "alpha", "last xor": "xor_weight", "last gate": "gate_participation", "ghost": "weight_m"}
    file, start = results.find(run, "lens", scale=scale, seeds=1), MobiusLens(3, 0, 1)
    curves = [] if file is None else [file.lens_curve("lens", seed, names[of]) for seed in file.seeds("lens")]
    if file is None or not all(curves):
        return missing(run, ("lens",), scale, of)
    values, far = [curve[-1] for curve in curves], to / 2
    if of == "rise of alpha":  # half of it each, as the first may fall while the last one rises
        values = [abs(curve[-1]) - abs(curve[0]) for curve in curves]
    elif of == "ghost":  # by how much M weighs less than either edge, in the lens where that is least
        edges = [[file.lens_curve("lens", s, f"weight_{edge}") for edge in "lr"] for s in file.seeds("lens")]
        values = [
            min(min(edge) - m for m, *edge in zip(c, *e, strict=True)) for c, e in zip(curves, edges, strict=True)
        ]
    else:
        far = _to_winners(to) if of == "last gate" else math.log(to / (1 - to)) - start.xor_weight.item()
    gates = (reachable(file, "lens", far),)
    return Sample(tuple(values), f"{of.capitalize()} of the lenses.", "", gates, 0.0, (file.source,), size(file))


def reachable(file: RunFile, arm: str, far: float) -> Gate:
    """AdamW at rate r moves a parameter by about r per step at most, weight decay aside: is that enough to go so far?"""
    used, rows = file.configuration, next(iter(file.arms[arm].values())).get("history", [])
    most = math.ceil(used.get("train_samples", 0) / used.get("batch_size", 1)) * sum(row["lr"] for row in rows)
    return Gate(f"a parameter would move by {far:.2f}, and the rates of all steps sum to {most:.2f}", far < most)


@cache
def _to_winners(share: float) -> float:
    """How far weight and bias of a norm of 256 channels must move before that share of them can carry a gate."""
    return next(d / 20 for d in range(1000) if library.least_participation(256, 1 + d / 20, -d / 20) <= share)


@cache
def _small_run() -> tuple[list[str], list[str], bool]:
    """Files, TensorBoard tags, and whether a stopped run goes on to the weights of one never stopped."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mobius_lib.training import Recipe, ResidentBatches, fit

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 4:
            raise InterruptedError

    def train(folder: Path, **options: Any) -> Tensor:
        torch.manual_seed(0)
        network, x, recipe = MobiusNet(1, 2, (4,), (2,)), torch.randn(16, 1, 4, 4), Recipe(10, 1e-3, batch_size=8)
        batches = [ResidentBatches(x, torch.arange(16) % 2, 8, shuffle=shuffle, seed=0) for shuffle in (True, False)]
        options |= {"device": "cpu", "scalars": lens_state, "progress": False}
        fit(use_backend(network, "printed"), *batches, recipe, folder, **options)
        return nn.utils.parameters_to_vector(network.parameters())

    with tempfile.TemporaryDirectory() as place:
        whole, halved = Path(place, "whole"), Path(place, "halved")
        with contextlib.suppress(InterruptedError):
            train(halved, on_epoch=stop)
        same = torch.equal(train(whole), train(halved, continue_from=halved))
        tags = EventAccumulator(str(whole / "tensorboard")).Reload().Tags()
        names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.parent.name != "tensorboard")
    return names, [*tags["scalars"], *tags["histograms"]], same


def _meta(preset: str, classes: int) -> MobiusNet:
    """A preset without memory: enough to count and to see shapes."""
    with torch.device("meta"):
        return MobiusNet(num_classes=classes, **dict(PRESETS[preset]))


def _taken(block: MobiusConvBlock) -> dict[str, Tensor]:
    """What a block takes from its depth before training."""
    lens, taken = block.lens, {"t": torch.tensor(block.lens.t), "mask": block.thirds_mask}
    taken |= {"angle in": lens.twist_in_angle, "angle out": lens.twist_out_angle}
    return taken | {"scale": lens.scales[0], "second scale": lens.scales[1]}


def _largest(gaps: list[dict[str, float]], where: str) -> Found:
    worst = {name: max(gap[name] for gap in gaps) for name in gaps[0]}
    return Found(worst, f"{where} the largest differences are {_listed(worst)}.", (_dotted(MobiusConvBlock),))


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:.3g}" for name, number in numbers.items())


def _dotted(function: Any) -> str:
    return f"{function.__module__}.{function.__name__}"
