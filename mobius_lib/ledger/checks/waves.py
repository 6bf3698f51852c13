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

from mobius_lib.ledger.base import Found, Sample, register
from mobius_lib.ledger.checks.runs import reachable, spoken
from mobius_lib.ledger.results import Results
from mobius_lib.runs.waves.readings import lens_state
from mobius_lib.waves import PRESETS, GELUTwin, MobiusConvBlock, MobiusLens, MobiusNet, use_backend
from mobius_lib.waves import laws as library
from mobius_lib.waves import math as waves
from mobius_lib.waves.cost import multiply_adds, parameter_count
from mobius_lib.waves.lens import twist_matrix

CLIP, GRID = "mobius_tiny_s_clip", (1, 1, 24, 32)
NETWORK, LENS = "mobius_lib.waves.MobiusNet", "mobius_lib.waves.MobiusLens"
COST, LAWS = "mobius_lib.waves.cost", "mobius_lib.waves.laws"


@register
def count(*, preset: str, classes: int, shape: list[int] | None = None) -> Found:
    """Parameters of a preset with its integrator, as both cards build it, or its multiply-adds for that input."""
    network = _meta(preset, classes)
    number, integrator = parameter_count(network), parameter_count(network.integrator)
    words = f"{number:,} parameters as the snippets build it, with the integrator; {number - integrator:,} without."
    if shape is not None:
        number = multiply_adds(network, tuple(shape))
        words = f"Convolutions and matrix products: {number / 1e9:.3f} G multiply-adds, of two operations each."
    return Found(number, words, (COST,))


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
    return Found(ratios, f"{mine:,} multiply-adds; over those of the others, {_listed(ratios)}.", (COST,))


@register
def output_shapes(*, preset: str, classes: int, shape: list[int], stages: bool) -> Found:
    """Behind each stage, and of the logits."""
    network, shapes = _meta(preset, classes).eval(), []
    for stage in network.stages if stages else ():
        stage[-1].register_forward_hook(lambda _m, _i, out: shapes.append(list(out.shape[1:])))
    shapes.append(list(network(torch.empty(shape, device="meta")).shape[1:]))
    return Found(shapes, f"An input of shape {shape} leaves {shapes}.", (NETWORK,))


@register
def activation_modules(*, inside: str) -> Found:
    """ReLU, GELU and their like in the blocks of a network, or in its integrator."""
    network, kind = _meta(CLIP, 1000), nn.GELU.__module__
    part = nn.ModuleList(network.blocks) if inside == "blocks" else network.integrator
    names = [type(each).__name__ for each in part.modules() if type(each).__module__ == kind]
    words = f"Activation modules there: {', '.join(names) or 'none'}. A lens has a tanh and a sigmoid of its own."
    return Found(len(names), words, (NETWORK,))


@register
def off_the_depth_formulas(*, names: list[str]) -> Found:
    """How far what a lens takes from its depth is from the card's formulas, over the lenses of the deepest preset."""
    sizes, gaps = PRESETS["mobius_tiny_m"], []
    for index in range(total := sum(sizes.depths)):
        (first, last), t = sizes.scale_range, index / (total - 1)
        formula = {"t": t, "angle in": t * math.pi, "angle out": -t * math.pi}
        formula |= dict.fromkeys(("scale", "second scale"), first + t * (last - first))
        taken = _taken(MobiusConvBlock(3, index, total, sizes.scale_range))
        gaps.append({name: abs(taken[name].item() - formula[name]) for name in names})
    return _largest(gaps, f"Over {total} lenses")


@register
def finer_sampling(*, lenses: list[int]) -> Found:
    """How far blocks of deeper networks are from those of the shallowest where their t agree."""
    grids, gaps = [[_taken(MobiusConvBlock(6, i, n)) for i in range(n)] for n in lenses], []
    for fine in grids[1:]:
        for one, other in zip(grids[0], fine[:: (len(fine) - 1) // (len(grids[0]) - 1)], strict=True):
            gaps.append({name: (one[name] - other[name]).abs().max().item() for name in one})
    return _largest(gaps, f"In networks of {', '.join(map(str, lenses))} lenses, where t agrees,")


@register
def twist_stretch() -> Found:
    """How much the twists between the ends stretch a vector, as initialised: a rotation has 1 and 1."""
    lenses = [block.lens for block in MobiusNet(**dict(PRESETS[CLIP])).blocks][1:-1]
    turns = [twist_matrix(lens.twist_in_proj.weight, lens.twist_in_angle).detach() for lens in lenses]
    values = torch.cat([torch.linalg.svdvals(turn) for turn in turns])
    ends = {"least stretch": values.min().item(), "largest stretch": values.max().item()}
    words = f"Singular values of cos(a) I + sin(a) W in the {len(lenses)} lenses between the ends: {_listed(ends)}."
    return Found(ends, words, ("mobius_lib.waves.lens.twist_matrix",))


@register
def paths_at_the_start(*, names: list[str]) -> Found:
    """Drifts and shares of the three paths before training, and how much the pattern answers to each."""
    lens, x = MobiusLens(256, 2, 6).double(), torch.randn(256, 256, dtype=torch.float64)
    paths = torch.stack(lens.paths(x)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(waves.interference(*paths, lens.accum_weights, lens.xor_weight).sum(), paths)
    pair = lens.accum_weights.softmax(0), slope.abs().mean((1, 2))
    share, slopes = (dict(zip("LMR", each.tolist(), strict=True)) for each in pair)
    found = {f"drift of {path}": getattr(lens, f"drift_{path.lower()}").mean().item() for path in "LMR"} | {
        "M is present": share["M"] > 0,
        "M weighs less than L and R": share["M"] < min(share["L"], share["R"]),
        "more flows through L": slopes["L"] > slopes["M"],
        "more flows through R": slopes["R"] > slopes["M"],
    }
    words = f"Shares of the mix: {_listed(share)}; mean slopes of the pattern, for normal inputs: {_listed(slopes)}."
    words = "As initialised." if "drift of L" in names else words
    return Found({name: found[name] for name in names}, words, (LENS,))


@register
def off_the_printed_formula(*, of: str) -> Found:
    """Largest difference of the class, in float64, from a formula as the cards print it: of a wave, or of the gate."""
    lens, x = use_backend(MobiusLens(16, 2, 6).double(), "printed"), torch.randn(256, 16, dtype=torch.float64)
    t, drifts = waves.drift_coordinate(x), torch.tensor([1, 0, -1])[:, None, None]
    left, middle, right = own = torch.stack(lens.paths(x))
    w, v = lens.accum_weights.softmax(0), lens.xor_weight.sigmoid()
    blend = 0.5 + 0.5 * (v * (left + right - 2 * left * right).abs() + (1 - v) * left * right)
    mixed = (w[0] * left + w[1] * middle + w[2] * right) * blend
    pairs = {
        "wave": (own, torch.exp(-lens.alpha * torch.sin(lens.omega * lens.scales[0] * (x + drifts * t)) ** 2)),
        "gate": (lens.gated(x), x * torch.sigmoid(lens.gate_norm(mixed))),
    }
    off = (pairs[of][0] - pairs[of][1]).abs().max().item()
    return Found(off, f"The class and the formula differ by up to {off:.2g} for normal inputs.", (LENS,))


@register
def least_carried(*, channels: int) -> Found:
    """The smallest share of the channels that can carry a gate while its layer norm is as initialised."""
    least, far = library.least_participation(channels), _to_winners(0.1)
    words = (
        f"At least {least:.2f} of {channels} channels carry the gate, whichever are high; fewer only from d = {far:.1f}"
    )
    return Found(least, f"{words} on, for a norm weight of 1 + d and a bias of -d.", (LAWS,))


@register
def left_by_a_run(*, parts: Mapping[str, list[str]], resumed: str | None = None) -> Found:
    """Whether a run of eleven epochs leaves files and curves that begin so, and goes on after a stop at ten."""
    names, same = _small_run()
    found = {
        part: all(any(name.startswith(each) for name in names) for each in all_of) for part, all_of in parts.items()
    }
    words = f"A run of eleven epochs leaves {len(names)} files, folders, curves and histograms."
    return Found(found | ({resumed: same} if resumed else {}), words, ("mobius_lib.training.fit",))


@register
def published_weights(results: Results, *, of: str) -> Found:
    """Accuracy, learned values and gates of the weights that the author published: nothing in them is random."""
    file = results.find("waves-clip-weights", "lens", scale="full")
    names = {"omega": "omega", "alpha": "alpha", "xor": "xor_weight", "gate": "gate_participation"}
    curves = {key: list(map(abs, file.lens_curve("lens", file.seeds("lens")[0], name))) for key, name in names.items()}
    gates, found = curves.pop("gate"), {"accuracy": file.numbers("lens", "final_accuracy")[0], "table": curves}
    found |= {"last gate": gates[-1], "mean gate": sum(gates) / len(gates)}
    return Found(found[of], f"{of.capitalize()} of the published weights.", (file.source,))


@register
def learned(results: Results, *, run: str, of: str, to: float = 0.5, scale: str = "short") -> Sample:
    """What the lenses of a run have learned, seed by seed; closed while AdamW could not have gone as far as `to`."""
    file, start = results.find(run, "lens", scale=scale), MobiusLens(3, 0, 1).requires_grad_(False)
    curves = [file.lens_curve("lens", seed, of) for seed in file.seeds("lens")]
    values, which = [curve[-1] for curve in curves], "in the last lens"
    if of == "alpha":  # each goes half of the way, as the first may fall while the last one rises
        values, which = [abs(curve[-1]) - abs(curve[0]) for curve in curves], "of the last lens minus that of the first"
        far = to / 2
    elif of == "weight_m":  # half of the way each: the logit of M may rise while those of the edges fall
        values, which = [max(curve) for curve in curves], "in the lens where it is largest"
        far = (start.accum_weights[0] - start.accum_weights[1]).item() / 2
    else:
        far = _to_winners(to) if of == "gate_participation" else math.log(to / (1 - to)) - start.xor_weight.item()
    return file.sample(values, f"{spoken(of)} {which}.", [reachable(file, "lens", far)])


@cache
def _to_winners(share: float) -> float:
    """How far weight and bias of a norm of 128 or 256 channels must move before that share of them can carry a gate."""
    return next(d / 20 for d in range(1000) if library.least_participation(256, 1 + d / 20, -d / 20) <= share)


@cache
def _small_run() -> tuple[list[str], bool]:
    """Files and TensorBoard tags, and whether a stopped run goes on to the weights of one never stopped."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mobius_lib.training import Recipe, ResidentBatches, fit

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 10:
            raise InterruptedError

    def train(folder: Path, **options: Any) -> Tensor:
        torch.manual_seed(0)
        network, x, y = MobiusNet(1, 2, (4,), (1,)), torch.randn(16, 1, 4, 4), torch.arange(16) % 2
        batches = [ResidentBatches(x, y, 16, shuffle=shuffle, seed=0) for shuffle in (True, False)]
        how = {"device": "cpu", "scalars": lens_state, "progress": False} | options
        fit(use_backend(network, "printed"), *batches, Recipe(11, 1e-3, batch_size=16), folder, **how)
        return nn.utils.parameters_to_vector(network.parameters())

    with tempfile.TemporaryDirectory() as place:
        whole, halved = Path(place, "whole"), Path(place, "halved")
        with contextlib.suppress(InterruptedError):
            train(halved, on_epoch=stop)
        same = torch.equal(train(whole), train(halved, continue_from=halved))
        tags = EventAccumulator(str(whole / "tensorboard")).Reload().Tags()
        files = [path.relative_to(whole).as_posix() for path in whole.rglob("*")]
    return [*files, *tags["scalars"], *tags["histograms"]], same


def _meta(preset: str, classes: int) -> MobiusNet:
    """A preset without memory: enough to count and to see shapes."""
    with torch.device("meta"):
        return MobiusNet(num_classes=classes, **dict(PRESETS[preset]))


def _taken(block: MobiusConvBlock) -> dict[str, Tensor]:
    """What the lens of a block takes from its depth before training."""
    lens = block.lens
    taken = {"t": torch.tensor(lens.t), "angle in": lens.twist_in_angle, "angle out": lens.twist_out_angle}
    return taken | {"scale": lens.scales[0], "second scale": lens.scales[1]}


def _largest(gaps: list[dict[str, float]], where: str) -> Found:
    worst = {name: max(gap[name] for gap in gaps) for name in gaps[0]}
    return Found(worst, f"{where} the largest differences are {_listed(worst)}.", (LENS,))


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:.3g}" for name, number in numbers.items())
