"""Chapter 4: what the note's formulas do whatever numbers go into them, and what runs show of a text."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mobius_lib import gauge as ladder
from mobius_lib.gauge import codes
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.harmonic import read_from_planted
from mobius_lib.ledger.base import Finding, Found, Gate, Missing, Sample, register
from mobius_lib.ledger.checks.runs import spoken
from mobius_lib.ledger.results import Results, RunFile

MATH = "mobius_lib.gauge.math"
RUN, SCALE = "gauge-cooccurrence", "short"
HELD_OUT = 0.1
"""The share of the text that is drawn anew with each seed."""
TARGETS = {
    "5": "window 5",
    "mean": "the mean of the windows",
    "lens": "layers of chapter 1's network",
    "encoder": "layers of EfficientNet-Lite0",
}


@register
def product_keeps(*, size: int) -> Found:
    """Of which share of D's numbers the printed product depends: the rank of the map from D to it."""
    k0 = torch.randn(size, dtype=torch.float64)
    units = torch.eye(size * size, dtype=torch.float64).unflatten(-1, (size, size))
    rank = int(torch.linalg.matrix_rank(torch.stack([gauge.fft_product(unit, k0).flatten() for unit in units])))
    words = f"For {size} words the product depends on {rank} combinations of the {size**2:,} numbers of D."
    return Found(rank / size**2, words, (f"{MATH}.fft_product",))


@register
def product_circles(*, size: int) -> Found:
    """Directions in which a moved D gives a moved product, and those of them along which the product changes."""
    d, k0 = torch.rand(size, size, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    made = gauge.fft_product(d, k0)
    slides = sum(torch.allclose(gauge.fft_product(d.roll(1, axis), k0), made.roll(1, axis)) for axis in (0, 1))
    left = slides - int(torch.allclose(made.roll((1, 1), (0, 1)), made))  # along its diagonals nothing changes
    words = (
        f"Moving D round by a row or a column moves the product likewise: {slides} circles. It changes along {left}."
    )
    return Found({"of the convolution": slides, "of its result": left}, words, (f"{MATH}.fft_product",))


@register
def transport_order(*, dimension: int, steps: Sequence[float]) -> Found:
    """With which power of the step the printed step misses the printed transport, and that of the other sign of A."""
    a = torch.randn(dimension, dimension, dtype=torch.float64) / math.sqrt(dimension)
    f = torch.randn(16, dimension, dtype=torch.float64)

    def order(sign: float) -> float:
        errors = [
            (gauge.transport_first_order(f, h * a) - f @ gauge.path_ordered(sign * h * a.unsqueeze(0)).mT).norm().item()
            for h in steps
        ]
        return math.log(errors[-1] / errors[0]) / math.log(steps[-1] / steps[0])

    found = {"with the printed signs": order(1), "with the other sign of A": order(-1)}
    first, second = found.values()
    words = (
        f"f + A f misses P exp(-∫A) f by the power {first:.2f} of the step, and P exp(+∫A) f by the power {second:.2f}."
    )
    return Found(found, words, (f"{MATH}.transport_first_order", f"{MATH}.path_ordered"))


@register
def departures_from_linear(*, width: int, terms: int, part: str) -> Found:
    """|A(2f) - 2 A(f)| / |2 A(f)| of an L5's connection, or of the whole layer, with random numbers in it."""
    found = {}
    for name, activation in (("no activation", "linear"), ("tanh", "tanh")):
        layer = _random(width, terms, activation)
        f = torch.randn(64, 3, terms) if part == "connection" else torch.randn(64, width)
        act = (lambda z, layer=layer: layer.transport(z) - z) if part == "connection" else layer
        with torch.no_grad():
            once, twice = act(f), act(2 * f)
        found[name] = ((twice - 2 * once).norm() / (2 * once).norm()).item()
    words = f"Doubling the input of the {part} misses doubling its output by {found['no activation']:.0%}, and with "
    words += f"tanh by {found['tanh']:.0%}."
    return Found(found, words, ("mobius_lib.gauge.MetaMobiusLinear",))


@register
def attention_differs(*, width: int, terms: int) -> Found:
    """Whether the weights of the scales differ from one input to another, and from one place of an input to another."""
    layer = _random(width, terms, "linear")
    x = torch.randn(2, width)
    with torch.no_grad():
        first, other, again = layer.attention(layer.coordinates(torch.stack((x[0], x[1], x[0]))))
    found = {"another input": not torch.equal(first, other), "the same input elsewhere": not torch.equal(first, again)}
    words = (
        f"The weights of the first scale are {first[0]:.4f}, {other[0]:.4f} for another input, {again[0]:.4f} again."
    )
    return Found(found, words, ("mobius_lib.gauge.MetaMobiusLinear.attention",))


@register
def rungs_counted(*, size: int, terms: int, levels: Sequence[str]) -> Found:
    """Numbers of a square matrix over those that our rungs store for it."""
    found = {level: ladder.RUNGS[level](size, size, terms).compression_ratio() for level in levels}
    words = "; ".join(f"{level} stores {each.stored:,} numbers for {each.dense:,}" for level, each in found.items())
    return Found({level: each.ratio for level, each in found.items()}, f"{words}.", ("mobius_lib.gauge.RUNGS",))


@register
def snippet_shapes(*, size: int, rows: int, windows: Sequence[int], vocabulary: int, words: int) -> Found:
    """The note's two snippets: a layer that is applied to rows, and one that is made of bridges and a made text."""
    layer = ladder.MetaMobiusLinear(size, size)
    tokens = torch.randint(vocabulary, (words,))
    bridges = [ladder.MobiusHarmonicBridge(window=window) for window in windows]
    k0s = [torch.eye(vocabulary)[0] for _ in windows]
    made = ladder.MetaMobiusLinear.from_l4_bridges(bridges, vocabulary, tokens, k0s)
    with torch.no_grad():
        found = {
            f"MetaMobiusLinear({size}, {size})": list(layer(torch.randn(rows, size)).shape),
            "from_l4_bridges": list(made.to_dense().shape),
        }
    ratio, dense, stored = layer.compression_ratio()
    said = f"Both run; the first layer says that it stores {stored:,} numbers for {dense:,}, {ratio:,.1f} times fewer."
    return Found(found, said, ("mobius_lib.gauge.MetaMobiusLinear",))


@register
def transport_adds(*, size: int, draws: int, tolerance: float) -> Found:
    """Whether a layer with connections is a matrix that no layer without them could be."""
    worst = 0.0
    for _ in range(draws):
        carried, plain = ladder.MetaMobiusLinear(size, size), ladder.MetaMobiusLinear(size, size)
        with torch.no_grad():
            carried.up.normal_(std=0.1)
            plain.hw.copy_(carried.hw @ carried.links())  # the connection goes into the amplitudes
            x = torch.randn(2 * size, size)
            worst = max(worst, ladder.relative_error(carried(x), plain(x)))
    spent = carried.storage()["connections"].numbers
    words = (
        f"{draws} layers with random connections, of {spent:,} numbers, differ by {worst:.0e} from layers without, "
        "whose amplitudes have been multiplied by them."
    )
    return Found(worst > tolerance, words, ("mobius_lib.gauge.MetaMobiusLinear",))


@register
def integer_normal_returns(*, size: int, bits: int) -> Found:
    """How far a matrix that is decoded from its integer normal lies from the one that was given; in units of the code
    where entries are rounded."""
    w, places = torch.randn(size, size, dtype=torch.float64), torch.randperm(size)
    plain, whole = (ladder.integer_normal(w, places, each) for each in (None, bits))
    unit = whole.unit or 1.0
    found = {
        "entries as they are": (plain.decode() - w).abs().max().item(),
        f"entries in {bits} bits": (whole.decode() - w).abs().max().item() / unit,
        "the code of what is decoded": (
            (ladder.integer_normal(whole.decode(), places, bits).columns - whole.columns).abs().max().item()
        ),
    }
    words = f"{size} columns in a drawn order, one number below {size}!; in {bits} bits the unit is {unit:.3g}."
    return Found(found, words, ("mobius_lib.gauge.integer_normal",))


@register
def cascades_numbered(*, sizes: Sequence[int]) -> Found:
    """How many different numbers the members of a family of cascades have, below their count."""
    family = [codes.number_of_cascade(choices, sizes) for choices in product(*map(range, sizes))]
    inside = len({number for number in family if 0 <= number < math.prod(sizes)})
    words = f"Choices among {', '.join(map(str, sizes))} make {len(family)} cascades, with {inside} numbers below that."
    return Found(inside / len(family), words, ("mobius_lib.gauge.codes.number_of_cascade",))


@register
def gauge_tensor_is_one(*, width: int, terms: int, draws: int) -> Found:
    """How far apart the gauge tensors of one layer come, whose parameters differ by order, scale, sign and mirror."""
    worst = 0.0
    for _ in range(draws):
        hw, sigma = torch.randn(6, terms, dtype=torch.float64), torch.rand(terms, dtype=torch.float64) + 0.5
        mu, places = torch.randperm(width)[:terms].double(), torch.randperm(width)
        order, gain = torch.randperm(terms), torch.randn(terms, dtype=torch.float64).exp()
        other = (hw / gain)[:, order], width - 1 - mu[order], -sigma[order], width - 1 - places
        first, second = ladder.gauge_tensor(hw, mu, sigma, places), ladder.gauge_tensor(*other, gain[order])
        worst = max(worst, *((a - b).abs().max().item() for a, b in zip(first, second, strict=True)))
    words = f"Of {draws} layers of {terms} Gaussians the two resolutions differ by {worst:.0e} at most."
    return Found(worst, words, ("mobius_lib.gauge.gauge_tensor",))


@register
def stack_counted() -> Found:
    """Numbers that our L6 trains, in both of its readings: one autoencoder, and three one above the other."""
    found = {
        name: sum(parameter.numel() for parameter in made().parameters())
        for name, made in {"one autoencoder": ladder.FibreVAE, "three in a stack": ladder.FractalVAEStack}.items()
    }
    words = " and ".join(f"{name} {count:,}" for name, count in found.items())
    return Found(found, f"With the widths 48, 32, 16 and 8: {words}.", ("mobius_lib.gauge.FractalVAEStack",))


def _random(width: int, terms: int, activation: str) -> ladder.MetaMobiusLinear:
    """An L5 in which nothing is zero."""
    layer = ladder.MetaMobiusLinear(width, width, terms, activation=activation)
    with torch.no_grad():
        for parameter in (layer.down, layer.down_bias, layer.up, layer.up_bias, layer.query):
            parameter.normal_(std=terms**-0.5)
    return layer


@register
def text_difference(
    results: Results, *, first: Mapping[str, Any], second: Mapping[str, Any], measure: str, run: str = RUN
) -> Sample:
    """A measure of one row of a run on a text (its arm, target and so on, 8 Gaussians) minus that of another.

    A perplexity is compared by its logarithm.
    """
    file, gaps, words = _row_difference(results, run, first, second, measure)
    return _of_one_text(file, gaps, words, held_out=measure == "perplexity")


@register
def layer_difference(
    results: Results, *, first: Mapping[str, Any], second: Mapping[str, Any], measure: str = "relative_error"
) -> Sample:
    """As `text_difference`, of the layers of a network in gauge-connection: each seed draws the pictures to fit on, and
    as many others to judge by, from the same ones."""
    file, gaps, words = _row_difference(results, "gauge-connection", first, second, measure)
    said = f"{words}. Seeds draw from the same pictures, which the interval allows for."
    return _apart(file.sample(gaps, said), lambda n: math.sqrt(1 + n))


def _row_difference(
    results: Results, run: str, first: Mapping[str, Any], second: Mapping[str, Any], measure: str
) -> tuple[RunFile, list[float], str]:
    """The record, a measure of one row less that of another seed by seed, and both in words."""
    arms = first["arm"], second["arm"]
    file = results.find(run, *arms, scale=SCALE)
    pairs = [[_of_row(file, seed, row, measure) for row in (first, second)] for seed in file.seeds(*arms)]
    log = math.log if measure == "perplexity" else float
    means = [statistics.mean(side) for side in zip(*pairs, strict=True)]
    of = [
        f"{row['arm']} fitted to {TARGETS[row['target']]} {mean:.4g}"
        for row, mean in zip((first, second), means, strict=True)
    ]
    return file, [log(a) - log(b) for a, b in pairs], f"{spoken(measure)}: {', '.join(of)}"


@register
def fitted_widths(results: Results, *, what: str, windows: Sequence[int], resolution: float | None = None) -> Finding:
    """The widths of L3's Gaussians at each window: their exponent, its power of the window, or their mean.

    Args:
        what: "exponent", of sigma_k = sigma_0 k^b; "power", p of b = b_0 s^p; "mean", log of the last over the first.
        resolution: how near to 1/3 the fit must read an exponent of 1/3 that is planted.
    """
    file = results.find(RUN, "L3", scale=SCALE)
    records = [file.arms["L3"][seed].get("sigma", {}) for seed in file.seeds("L3")]
    if not all(str(window) in sigma for sigma in records for window in windows):
        raise Missing(f"{file.path.name} does not tell the widths of L3's Gaussians at each of {list(windows)}.")
    widths = [[torch.tensor(sigma[str(window)]).sort().values for window in windows] for sigma in records]
    gates = [_ends([each for seed in widths for each in seed])]
    if resolution is not None:
        read = read_from_planted()
        near = max(abs(each - gauge.KPZ) for each in read) <= resolution
        gates.append(Gate(f"the fit reads {min(read):.2f} to {max(read):.2f} where 1/3 is planted", near))
    if what == "mean":
        means = [[each.mean().item() for each in seed] for seed in widths]
        ratios = [math.log(seed[-1] / seed[0]) for seed in means]
        said = " and ".join(f"{statistics.mean(side):.3g}" for side in zip(*means, strict=True))
        return _of_one_text(file, ratios, f"Mean widths of {said} columns", gates)
    exponents = [[_exponent(each) for each in seed] for seed in widths]
    if what == "power":
        if min(map(min, exponents)) <= 0:
            raise Missing(f"{file.path.name} has exponents of L3 that are not above 0.")
        powers = [gauge.power_law(torch.tensor(windows), torch.tensor(each))[0] for each in exponents]
        return _of_one_text(file, powers, "The exponent as a power of the window", gates)
    sides = zip(windows, zip(*exponents, strict=True), strict=True)
    parts = {f"window {s}": _of_one_text(file, side, f"Exponent at window {s}", gates) for s, side in sides}
    return Found(parts, "Slopes of log width against log k, sorted.", (file.source,), file.size, tuple(gates))


@register
def continuous_exponents(results: Results, *, windows: Sequence[int], resolution: float) -> Found:
    """The exponents of widths that are on no list, by the run gauge-kpz, window by window.

    Each reading has a standard error of its own, which all seeds share: of the slope, and of fits that are as good.

    Args:
        resolution: how near exponents that are planted must be read.
    """
    file = results.find("gauge-kpz", "continuous", "planted", scale=SCALE)
    missed = max(file.numbers("planted", "resolution", "continuous"))
    gates = (Gate(f"planted exponents are missed by up to {missed:.2f}", missed <= resolution),)
    parts = {}
    for window in windows:
        read, errors = (
            file.numbers("continuous", f"{measure}/{window}", "planted")
            for measure in ("sigma_exponent", "sigma_exponent_error")
        )
        found = _of_one_text(file, read, f"Exponent at window {window}", gates)
        parts[f"window {window}"] = replace(found, row_error=statistics.mean(errors))
    return Found(parts, "Slopes of log width against log k, sorted.", (file.source,), file.size, gates)


def _of_row(file: RunFile, seed: int, which: Mapping[str, Any], measure: str) -> float:
    wanted = {"terms": 8, **which}
    arm = wanted.pop("arm")
    rows = file.arms[arm][seed].get("rows", ())
    places = [i for i, row in enumerate(rows) if all(row.get(key) == value for key, value in wanted.items())]
    return file.number(arm, seed, f"rows/{places[0] if places else len(rows)}/{measure}")


def _of_one_text(
    file: RunFile, values: Sequence[float], words: str, gates: Sequence[Gate] = (), held_out: bool = False
) -> Sample:
    """One number per seed, spread out to what they say of one text of which each seed leaves out another tenth, f.

    What is counted on the rest has a standard error of s sqrt((1 - f) / f), the jackknife's, where s is the seeds'
    spread (Shao and Wu, 1989); what is judged on the tenth has s sqrt(1/n + f / (1 - f)) (Nadeau and Bengio, 2003).
    Values of their own would have s / sqrt(n), which is too little: so they are moved away from their mean.
    """
    shared = HELD_OUT / (1 - HELD_OUT)
    said = f"{words}. Each seed leaves out a tenth of one text, which the interval allows for."
    return _apart(file.sample(values, said, gates), lambda n: math.sqrt(1 + n * shared if held_out else n / shared))


def _apart(found: Sample, wider: Callable[[int], float]) -> Sample:
    """The same mean, so many times the spread."""
    mean, times = statistics.mean(found.values), wider(len(found.values))
    return replace(found, values=tuple(mean + times * (value - mean) for value in found.values), wider=wider)


def _ends(cascades: Sequence[Tensor]) -> Gate:
    """Open unless all cascades run from one width to one other: then an exponent is that of the list of widths."""
    tried, count = torch.cat(list(cascades)).unique(), len(cascades[0])
    slopes = sorted(_exponent(tried[torch.randint(len(tried), (count,))].sort().values) for _ in range(200))
    (first, last), *others = {(each[0].item(), each[-1].item()) for each in cascades}
    return Gate(
        f"all {len(cascades)} fits run from {first:.3g} to {last:,.0f} columns, the ends of the widths tried; {count} "
        f"drawn from these at random have an exponent of {slopes[5]:.1f} to {slopes[-6]:.1f}",
        bool(others),
    )


def _exponent(widths: Tensor) -> float:
    return gauge.power_law(torch.arange(1, len(widths) + 1), widths)[0]
