"""Chapter 5: twistors, Möbius maps and memory: the mathematics, the public code, our build, and its runs."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mobius_lib.ledger.base import Found, Gate, Sample, register
from mobius_lib.ledger.checks.runs import gates, run_difference
from mobius_lib.ledger.results import Results, RunFile
from mobius_lib.products import by_torch
from mobius_lib.twistor import (
    ContinuumMemory,
    IncidenceAttention,
    MobiusLayer,
    OmegaNestedOptimizer,
    PhaseCompression,
    PiNestedOptimizer,
    SelfModifyingMemory,
    TwistorHopeArchitecture,
    laws,
    public,
)
from mobius_lib.twistor import math as twistor

MODEL = ("mobius_lib.twistor.TwistorHopeArchitecture",)
PUBLIC = ("mobius_lib.twistor.public",)
TOKENS = 30
"""Of the small models here."""
SAME_SIZE = 0.02
"""By how much the parameters of two arms may differ: each of those that are made alike lies within half of that."""
LEAD = 0.01
"""Bits by which a learning rate must win."""
BITS = "bits_per_character"
DOUBLE = {"dtype": torch.float64}


@register
def twistor_parameters(*, dim: int, layers: int, levels: int, memories: int, both: bool) -> Found:
    """Parameters of the public code at one row of the table."""
    count, one_way = (public.parameters(dim, layers, levels, memories, ways) for ways in (both, False))
    beside = f"; with one direction it would be {one_way:,}" if both else ""
    return Found(count, f"Module by module {count:,} parameters{beside}.", PUBLIC)


@register
def tokens_are_rays(*, tokens: int, slack: float) -> Found:
    """The share of embedded tokens whose twistor is null, as that of a light ray is."""

    def helicity(z: Tensor) -> Tensor:
        return twistor.hermitian(z, z)[0].abs() / z.square().sum(-1)

    share = (helicity(torch.randn(tokens, 8, **DOUBLE)) <= slack).double().mean().item()  # n = 2
    rays = helicity(twistor.incident(torch.randn(tokens, 4, **DOUBLE), torch.randn(tokens, 2, dtype=torch.complex128)))
    words = f"Of {tokens:,} twistors drawn as an embedding draws them {share:.2%} are null, to {slack:g} of |z|²; of "
    return Found(share, f"{words}as many rays through points all, to {rays.max():.0e}.", ("mobius_lib.twistor.math",))


@register
def public_map_is_mobius() -> Found:
    """How far apart two images of one point come, by the public code's layers and by its cells."""
    apart = partial(laws.images_apart, z=torch.randn(500, 4, **DOUBLE), phase=_phases(500).to(torch.complex128))
    found = {"in the layers": apart(partial(public.layer, strengths=[0.1])), "in the cells": apart(public.cell)}
    words = f"Images of one point: {found['in the layers']:.3f} apart after a layer with c = 0.1, "
    words += f"{apart(public.layer):.3f} after three, {found['in the cells']:.0e} after a cell."
    return Found(found, words, (*PUBLIC, "mobius_lib.twistor.laws.images_apart"))


@register
def build_is_mobius(*, dim: int, rows: int, coupled: bool = True) -> Found:
    """The same of our layer, with the couplings that it starts with; and without them."""
    z, phase = torch.randn(rows, dim), _phases(rows)
    if not coupled:
        apart = laws.images_apart(MobiusLayer(dim, coupled=False), z, phase)
        words = f"Images of one point: {apart:.0e} apart where the layer is made without z + c J z."
        return Found(apart, words, ("mobius_lib.twistor.MobiusLayer", "mobius_lib.twistor.laws.images_apart"))
    layer = MobiusLayer(dim)
    apart, couplings = laws.images_apart(layer, z, phase), [round(c, 3) for c in layer.cycles.couplings.tolist()]
    layer.cycles.couplings.data.zero_()
    words = (
        f"Images of one point: {apart:.2f} apart with c = {couplings}, Möbius maps with z + c J z after each, and J "
    )
    words += f"conjugates; {laws.images_apart(layer, z, phase):.0e} with c = 0, one Möbius map."
    return Found(apart, words, ("mobius_lib.twistor.MobiusLayer", "mobius_lib.twistor.laws.images_apart"))


@register
def public_is_causal(*, dim: int, length: int) -> Found:
    """How far outputs of the public adaptive layer move when a later step changes."""
    whole, local = (nn.Sequential(nn.Linear(2 * dim, 1), nn.Sigmoid()).double() for _ in range(2))
    x, other = torch.randn(2, 8, length, 2 * dim, **DOUBLE)
    found = laws.moved(lambda z: twistor.couple(z, public.strength(z, whole, local)), x, other)
    worst = max(before for before, _ in found)
    words = f"With another step of {length}, outputs before it move by up to {worst:.0e}: the past sees the future."
    return Found(worst, words, PUBLIC)


@register
def cost_grows(*, lengths: list[int], longer: list[int]) -> Found:
    """The power of the length with which multiply-adds grow: of our recurrence, and of attention by incidence."""

    def power(model: nn.Module, between: list[int], make: Callable[[int], Tensor]) -> float:
        counts = []
        for length in between:
            with by_torch(), torch.no_grad(), FlopCounterMode(display=False) as counter:
                model(make(length))
            counts.append(counter.get_total_flops())
        return math.log(counts[1] / counts[0]) / math.log(between[1] / between[0])

    found = {"recurrence": power(_small(), lengths, lambda n: torch.zeros(1, n, dtype=torch.int64))}
    with torch.device("meta"):  # counted without being computed
        found["attention"] = power(IncidenceAttention(32), longer, lambda n: torch.empty(1, n, 32))
    return Found(found, f"Between {lengths} tokens, and of attention between {longer}.", MODEL)


@register
def public_slots_differ(*, slots: int, dim: int, steps: int) -> Found:
    """How many different memories the public update leaves, from its start at 0."""
    memory = torch.zeros(slots, 2 * dim, **DOUBLE)
    for _ in range(steps):
        memory = public.updated(memory, torch.randn(2 * dim, **DOUBLE))
    power, apart = torch.linalg.svdvals(memory).square(), (memory - memory[0]).abs().max().item()
    words = f"After {steps} updates, one for all, the {slots} slots differ by {apart:.0e}: one memory, {slots} times."
    return Found((power.sum().square() / power.square().sum()).item(), words, PUBLIC)


@register
def memory_rewrites_itself(*, dim: int, length: int) -> Found:
    """Whether reading changes what a self-modifying memory reads by, and what it will change that by next."""
    memory = SelfModifyingMemory(dim).double()
    with torch.no_grad():
        _, state = memory(torch.randn(1, length, dim, **DOUBLE))
    read, rule = state.learned.abs().split([memory.each, state.learned.shape[-2] - memory.each], dim=-2)
    moved = {"what it reads by": read.max().item(), "its key, value, rate and decay": rule.max().item()}
    words = " and ".join(f"{name} by up to {value:.2g}" for name, value in moved.items())
    return Found(
        {name: value > 0 for name, value in moved.items()},
        f"{length} tokens move {words}.",
        ("mobius_lib.twistor.SelfModifyingMemory",),
    )


@register
def memory_is_causal(*, dim: int, length: int, levels: int, piece: int) -> Found:
    """How far outputs of our continuum memory move when a later token changes, and when a text is read in pieces."""
    memory = ContinuumMemory(dim, levels).double()
    x, other = torch.randn(2, 2, length, dim, **DOUBLE)
    before = max(moved for moved, _ in laws.moved(lambda z: memory(z)[0], x, other))
    made: list[Tensor] = []
    state: Any = None
    with torch.no_grad():
        for part in x.split(piece, dim=1):
            y, state = memory(part, state)
            made.append(y)
        off = (torch.cat(made, dim=1) - memory(x)[0]).abs().max().item()
    words = f"{levels} levels over {length} tokens, in pieces of {piece}."
    return Found({"a later token": before, "in pieces": off}, words, ("mobius_lib.twistor.ContinuumMemory",))


@register
def memory_paces(*, dim: int, length: int, levels: int, period: int) -> Found:
    """How often each level of our continuum memory changes its weights over so many tokens."""
    memory, changes = ContinuumMemory(dim, levels, period), [0] * levels
    state: Any = None
    with torch.no_grad():
        for token in torch.randn(1, length, dim).split(1, dim=1):
            before = state
            _, state = memory(token, state)
            for level, now in enumerate(state):
                was = torch.zeros_like(now.learned) if before is None else before[level].learned
                changes[level] += not torch.equal(now.learned, was)
    return Found(changes, f"Changes over {length} tokens, level by level.", ("mobius_lib.twistor.ContinuumMemory",))


@register
def packed_bytes(*, dim: int, bits: int, slots: int) -> Found:
    """Bytes that slots take which are kept by their phases, over those of the same slots in float32."""
    kept = PhaseCompression(dim).pack(torch.randn(slots, dim), bits)
    share = kept.nbytes / (slots * dim * 4)
    words = f"{slots} slots of {dim} numbers take {kept.nbytes:,} bytes, of {slots * dim * 4:,}."
    return Found(share, words, ("mobius_lib.twistor.PhaseCompression.pack",))


@register
def compression_keeps(*, dim: int, states: int) -> Found:
    """What is lost at best when independent twistors are halved: by a linear map, and by keeping their phases."""
    z = torch.randn(states, 2 * dim, **DOUBLE)
    power = torch.linalg.eigvalsh(z.mT @ z)  # in rising order: no map of rank dim loses less than the first half
    linear, complexes = (power[:dim].sum() / power.sum()).item(), torch.complex(*z.chunk(2, -1))
    kept = torch.polar(complexes.abs().mean().expand_as(complexes.real), complexes.angle())
    phases = ((complexes - kept).abs().square().sum() / z.square().sum()).item()
    words = f"Of {2 * dim} numbers, the best linear map to half of them and back loses {linear:.1%} of the variance, "
    return Found(min(linear, phases), f"{words}keeping all phases and one size {phases:.1%}.")


@register
def constraint_pins(*, dim: int) -> Found:
    """How far |omega . pi| spreads where the public constraint loss, a tenth of a learned |net(z)|, has come to 0."""
    z, net = torch.randn(256, 2 * dim), nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, 1))
    before = net(z).abs().mean().item() / 10
    for weight in net[2].parameters():
        weight.data.zero_()
    modulus = torch.hypot(*twistor.pairing(z))
    words = f"With its last layer at 0 the loss is {net(z).abs().mean():g} and not {before:.3f}, and no twistor moves."
    return Found((modulus.std() / modulus.mean()).item(), words, ("mobius_lib.twistor.math.pairing",))


@register
def constraint_excludes_collapse(*, tokens: int, dim: int) -> Found:
    """Whether a representation that is the same for all tokens violates |omega . pi| = constant."""
    z = twistor.hold_pairing(torch.randn(1, 2 * dim, **DOUBLE), 1.0).expand(tokens, -1)
    off = (torch.hypot(*twistor.pairing(z)) - 1).abs().max().item()
    words = f"One twistor for all {tokens} tokens has |ω·π| = 1 to {off:.0e}, and tells none of them from another."
    return Found(off > 1e-9, words, ("mobius_lib.twistor.math.hold_pairing",))  # far above rounding in float64


@register
def accumulation_equals(*, length: int, parts: int) -> Found:
    """Gradients of a batch in parts, added up, against those of the batch as a whole."""
    tokens, found = torch.randint(TOKENS, (2 * parts, length + 1)), {}
    for name, period in (("all levels learn at every step", 1), ("deeper levels learn at slower times", 2)):
        model = _small(nested_period=period).train()
        whole, added = (laws.in_parts(deepcopy(model), tokens, n)[0] for n in (1, parts))
        found[name] = ((whole - added).norm() / whole.norm()).item()
    return Found(found, f"{parts} parts against the whole.", ("mobius_lib.twistor.laws.in_parts",))


@register
def accumulation_memory(*, length: int, parts: int) -> Found:
    """The most that is kept for backward passes at once: of all parts over what one part takes."""
    model, tokens = _small().train(), torch.randint(TOKENS, (2 * parts, length + 1))
    one, added, whole = (laws.in_parts(model, *given)[1] for given in ((tokens[:2], 1), (tokens, parts), (tokens, 1)))
    words = f"One part keeps {one:,} bytes, {parts} parts {added:,} at once, and as one batch {whole:,}."
    return Found(added / one, words, ("mobius_lib.twistor.laws.in_parts",))


@register
def optimisers_equal(*, length: int, steps: int, rates: Mapping[str, float]) -> Found:
    """Weights after steps of the optimisers of omega and pi, and one of the rest, against one AdamW's with groups."""
    tokens, lr, ends = torch.randint(TOKENS, (4, length + 1)), 1e-2, []
    start = _small(**{f"{part}_rate": rate for part, rate in rates.items()}).double().train()
    for apart in (True, False):
        model = deepcopy(start)
        inside = {id(p) for part in rates for group in model.nested.levels_of(part) for p in group["params"]}
        if apart:
            made = zip((OmegaNestedOptimizer, PiNestedOptimizer), rates.values(), strict=True)
            optimisers = [kind(model.nested, lr * rate) for kind, rate in made]
            optimisers.append(torch.optim.AdamW([p for p in model.parameters() if id(p) not in inside], lr))
        else:
            groups = [{"params": each["params"], "lr": lr * each["rate"]} for each in model.parameter_groups()]
            optimisers = [torch.optim.AdamW(groups, lr)]
        for _ in range(steps):
            model.loss(tokens[:, :-1], tokens[:, 1:])[0].backward()
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
        ends.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    moved = (ends[0] - nn.utils.parameters_to_vector(start.parameters())).abs().max().item()
    words = f"{steps} steps, which move a weight by up to {moved:.2g}."
    return Found((ends[0] - ends[1]).abs().max().item(), words, ("mobius_lib.twistor.OmegaNestedOptimizer",))


@register
def noise_floor(*, vocabulary: int, dim: int, rows: int, length: int) -> Found:
    """The loss of a predictor that never looks at its input, on tokens and targets drawn at random."""
    fitted, new = public.random_floor(vocabulary, dim, rows, length)
    return Found(new, f"A constant a position: {fitted:.3f} on rows it was fitted to, {new:.3f} on others.", PUBLIC)


@register
def mixed_saves(results: Results, *, measure: str, faster: bool) -> Sample:
    """How much less of a measure mixed precision takes, or how much faster it is; paired by seed."""
    arms = ("recommended, mixed", "recommended")
    file = results.find("twistor-length", *arms, scale="full")
    pairs = zip(*(file.numbers(arm, measure, *arms) for arm in arms), strict=True)
    shares = [b / a - 1 if faster else 1 - a / b for a, b in pairs]
    return file.sample(shares, f"Beside full precision, on {file.device}.")


@register
def bits_apart(
    results: Results, *, run: str, better: str, than: str, longer: str | None = None, measure: str = BITS
) -> Sample:
    """Bits of one arm minus another's, and what must hold before they say anything.

    Args:
        longer: an arm with the model of `better`, trained for more steps.
    """
    found = run_difference(results, run=run, better=better, than=than, measure=measure, factor=1.0)
    file = results.find(run, better, than)
    more = [] if longer is None else [_has_learned(file, better, longer, than)]
    return replace(found, gates=(*found.gates, *_fair(file, better, than), *more))


@register
def forgets_less(results: Results, *, run: str, better: str, than: str, mixed: str) -> Sample:
    """What one arm forgets of groups of books that came first minus what another does; `mixed` knows no order."""
    found = bits_apart(results, run=run, better=better, than=than, measure="forgetting")
    file = results.find(run, better, than, mixed)
    lost = max(fmean(file.numbers(arm, "forgetting")) for arm in (better, than))
    ascents, of_mixed = (len(next(iter(file.arms[arm].values()))["history"]) for arm in (than, mixed))
    nothing = Gate(f"no arm forgets anything: on average {lost:+.3f} bits at most", lost > 0)
    order = f"the order is confounded with {ascents} ascents of the learning rate against {of_mixed}"
    return replace(found, gates=(*found.gates, nothing, Gate(order, ascents == of_mixed)))


@register
def gradients_stand_out(results: Results, *, run: str, better: str, than: str) -> Sample:
    """By how many medians the largest gradient of a training run is larger in one arm than in another."""
    arms = (better, than)
    file = results.find(run, *arms)
    norms = [[[row["gradient_norm"] for row in file.arms[a][s]["history"]] for s in file.seeds(*arms)] for a in arms]
    first, second = ([max(curve) / median(curve) for curve in curves] for curves in norms)
    words = f"The largest gradient is {fmean(first):.2f} medians in {better} and {fmean(second):.2f} in {than}."
    away = [a - b for a, b in zip(first, second, strict=True)]
    return file.sample(away, words, [*gates(file, arms), *_fair(file, *arms)])


def _fair(file: RunFile, *arms: str) -> list[Gate]:
    """Whether trained arms are of one size, and each has a learning rate from a search of its own, by a lead."""
    trained = {arm: record for arm in arms if "lr" in (record := next(iter(file.arms[arm].values())))}
    if len(trained) < 2:
        return []
    sizes = [record.get("parameters", 1) for record in trained.values()]
    tried = [record.get("held_out") for record in trained.values()]
    alike, own = max(sizes) / min(sizes) - 1 <= SAME_SIZE, tried[0] != tried[1] or not tried[0]
    found = [Gate(f"the arms have {' and '.join(f'{n:,}' for n in sizes)} parameters", alike)]
    found.append(Gate(f"{' and '.join(trained)} share one search for a learning rate", own))
    for (arm, record), held_out in zip(trained.items(), tried, strict=True):
        bits = sorted(value for value in (held_out or {}).values() if isinstance(value, int | float))
        lead = bits[1] - bits[0] if len(bits) > 1 else math.inf
        found.append(
            Gate(f"the learning rate of {arm} was chosen by {lead:.3f} bits only", lead >= LEAD or "compared" in record)
        )
    return found


def _has_learned(file: RunFile, arm: str, longer: str, other: str, times: float = 5.0) -> Gate:
    """Closed where so many times the steps would bring an arm to another, at what a doubling gained it in `longer`."""
    before, after, aim = (fmean(file.numbers(each, BITS)) for each in (arm, longer, other))
    ratio = fmean(file.numbers(longer, "steps")) / fmean(file.numbers(arm, "steps"))
    ahead = before - (before - after) * math.log(times) / math.log(ratio)
    words = f"{arm} was still learning: {after:.3f} bits with {ratio:.1f} times the steps, {ahead:.3f} with {times:g}"
    return Gate(words, ahead > aim)


def _small(**settings: Any) -> TwistorHopeArchitecture:
    """A small model in evaluation mode, step by step, without dropout, in which every part takes part."""
    given = {"vocab_size": TOKENS, "dim": 16, "num_nested_levels": 3, "dropout": 0.0, "backend": "loop"} | settings
    model = TwistorHopeArchitecture(**given).eval()
    with torch.no_grad():
        for p in model.parameters():  # what starts at zero would hide what it carries
            p.add_(0.05 * torch.randn_like(p))
    return model


def _phases(rows: int) -> Tensor:
    return torch.polar(torch.ones(rows, 1), 2 * math.pi * torch.rand(rows, 1))
