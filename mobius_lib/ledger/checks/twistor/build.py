"""Chapter 5: what our build of seed 004's architecture is and does, on small models and by counting.

Recurrences are computed step by step ("loop"), the form that the equations have. Random draws are repeatable: a check
is called with its own random state.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results
from mobius_lib.products import by_torch
from mobius_lib.twistor import (
    PRESETS,
    IncidenceAttention,
    MobiusLayer,
    OmegaNestedOptimizer,
    PiNestedOptimizer,
    TwistorHopeArchitecture,
    TwistorNestedLearning,
    create_full_config,
    laws,
)

MODEL = "mobius_lib.twistor.TwistorHopeArchitecture"
TOKENS = 30
"""Of the small models here."""


@register
def build_is_causal(claim: Claim, results: Results, *, length: int) -> Measurement:
    """How far earlier logits move when a token changes, at each place of a sequence."""
    model, tokens = _small(), torch.randint(TOKENS, (2, length))
    with torch.no_grad():
        before, worst, moved = model(tokens), 0.0, math.inf
        for place in range(1, length):
            after = model(_changed(tokens, place))
            worst = max(worst, (after - before)[:, :place].abs().max().item())
            moved = min(moved, (after - before)[:, place].abs().max().item())
    return Measurement(
        float(f"{worst:.1e}"),
        "largest change",
        REPRODUCED if worst <= (claim.tolerance or 0.0) else REFUTED,
        f"With another token at any place but the first of {length}, the logits before it move by at most {worst:.0e}, "
        f"and those at it by at least {moved:.0e}.",
        (MODEL,),
    )


@register
def build_is_mobius(claim: Claim, results: Results, *, dim: int, rows: int) -> Measurement:
    """Whether our layer, with the couplings that it starts with, moves points by maps of points; and without them."""
    layer = MobiusLayer(dim)
    z = torch.randn(rows, dim)
    phase = torch.polar(torch.ones(rows, 1), torch.rand(rows, 1) * 2 * math.pi)
    apart = laws.images_apart(layer, z, phase)
    couplings = ", ".join(f"{c:.3f}" for c in layer.cycles.couplings.tolist())
    with torch.no_grad():
        layer.cycles.couplings.zero_()
    alone, slack = laws.images_apart(layer, z, phase), claim.tolerance or 0.0
    return Measurement(
        float(f"{apart:.3g}"),
        "largest distance of two images of one point",
        REPRODUCED if apart <= slack else REFUTED,
        f"Twistors of one point, apart by a phase, get images up to {apart:.2f} apart on the unit sphere by our layer "
        f"with its initial couplings c = {couplings}: its cycles are Möbius maps with z + c J z after each, and J "
        f"conjugates. With c = 0 the images are {alone:.0e} apart: one Möbius map.",
        ("mobius_lib.twistor.MobiusLayer",),
    )


@register
def build_reads_both_ways(claim: Claim, results: Results, *, length: int) -> Measurement:
    """Whether the first output of a model of both directions hears the last token, and the last the first."""
    model, tokens = _small(bidirectional=True), torch.randint(TOKENS, (2, length))
    slack = claim.tolerance or 0.0
    with torch.no_grad():
        before = model(tokens)
        back = (model(_changed(tokens, length - 1)) - before)[:, 0].abs().max().item()
        forth = (model(_changed(tokens, 0)) - before)[:, -1].abs().max().item()
    heard = [back > slack, forth > slack]
    verdict: Word = REPRODUCED if all(heard) else PARTLY if any(heard) else REFUTED
    return Measurement(
        f"{sum(heard)} of 2 directions",
        "",
        verdict,
        f"In a model of both directions another last token moves the first of {length} outputs by {back:.0e}, and "
        f"another first token the last output by {forth:.0e}. Such a model has read what it would have to predict: it "
        "is no language model.",
        (MODEL,),
    )


@register
def attention_modules(claim: Claim, results: Results) -> Measurement:
    """Modules of attention in the whole architecture, at every preset."""
    found = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = TwistorHopeArchitecture(create_full_config(name))
        found[name] = sum(_attends(module) for module in model.modules())
    return Measurement(
        max(found.values()),
        "attention modules",
        REPRODUCED if max(found.values()) == reported_number(claim) else REFUTED,
        f"Of the modules of {', '.join(found)}, {max(found.values())} are attention over the sequence. (Reading K "
        "memory slots weighs them by a softmax, but over slots and not over the tokens before.)",
        (MODEL,),
    )


@register
def cost_grows(claim: Claim, results: Results, *, lengths: list[int]) -> Measurement:
    """The power of the length with which the multiply-adds of the model grow, and those of attention by incidence."""
    ours = _power(_small(), lengths, lambda n: torch.zeros(1, n, dtype=torch.int64))
    longer = [lengths[-1], 8 * lengths[-1]]
    theirs = _power(IncidenceAttention(32), longer, lambda n: torch.zeros(1, n, 32))
    linear = ours <= reported_number(claim) + (claim.tolerance or 0.0)
    return Measurement(
        round(ours, 3),
        "power of the length",
        REPRODUCED if linear else REFUTED,
        f"From {lengths[0]} to {lengths[-1]} tokens the multiply-adds of a small model grow like n^{ours:.2f}; those "
        f"of the attention that the seed lists, at a width of 32 and from {longer[0]} to {longer[1]} tokens, like "
        f"n^{theirs:.2f}.",
        (MODEL, "mobius_lib.twistor.IncidenceAttention"),
    )


@register
def level_rates(claim: Claim, results: Results, *, levels: int, factor: float) -> Measurement:
    """The length of the steps that our optimisers take, level by level, for gradients of one size."""
    nested = TwistorNestedLearning(16, levels, level_factor=factor)
    stepped, set_to = 0.0, 0.0
    for optimizer, nets in (
        (OmegaNestedOptimizer(nested, lr=0.01, weight_decay=0.0), nested.omega_nets),
        (PiNestedOptimizer(nested, lr=0.01, weight_decay=0.0), nested.pi_nets),
    ):
        for p in nets.parameters():
            p.data.zero_()
            p.grad = torch.ones_like(p)
        optimizer.step()
        lengths = [max(p.detach().abs().max().item() for p in net.parameters()) for net in nets]
        stepped = max([stepped, *_off(lengths, factor)])
        set_to = max([set_to, *_off(optimizer.rates(), factor)])
    slack = claim.tolerance or 0.0
    return Measurement(
        float(f"{stepped:.1e}"),
        "largest relative difference",
        REPRODUCED if stepped <= slack else PARTLY if set_to <= slack else REFUTED,
        f"For equal gradients the first steps of {levels} levels, for ω and for π, are as {factor:g}^level (to "
        f"{stepped:.0e}); their settings are (to {set_to:.0e}). In the public code the optimisers have such settings "
        "and are never stepped.",
        ("mobius_lib.twistor.OmegaNestedOptimizer", "mobius_lib.twistor.PiNestedOptimizer"),
    )


@register
def accumulation_equals(claim: Claim, results: Results, *, length: int, parts: int) -> Measurement:
    """Gradients of a batch in parts, added up, against those of the batch as a whole."""
    tokens = torch.randint(TOKENS, (2 * parts, length + 1))
    gap = {}
    for period in (1, 2):  # 2: levels that are updated at slower times, as in nested learning
        model = _small(nested_period=period).train()
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        sums = []
        for pieces in (1, parts):
            model.load_state_dict(start)
            model.zero_grad()
            for piece in tokens.chunk(pieces):
                (model.loss(piece[:, :-1], piece[:, 1:])[0] / pieces).backward()
            sums.append(torch.cat([_gradient(p) for p in model.parameters()]))
        gap[period] = ((sums[0] - sums[1]).norm() / sums[0].norm()).item()
    slack = claim.tolerance or 0.0
    verdict: Word = REPRODUCED if max(gap.values()) <= slack else PARTLY if min(gap.values()) <= slack else REFUTED
    return Measurement(
        float(f"{gap[1]:.1e}"),
        "relative difference",
        verdict,
        f"The gradients of {parts} parts add up to those of the whole batch to {gap[1]:.0e} where all levels learn at "
        f"every step, and to {gap[2]:.0e} where deeper levels are updated at slower times: what comes before an update "
        "is one step, in however many parts.",
        (MODEL,),
    )


def _small(**settings: Any) -> TwistorHopeArchitecture:
    """A small model in evaluation mode, without dropout, in which every part takes part."""
    model = TwistorHopeArchitecture(
        vocab_size=TOKENS, dim=16, num_nested_levels=3, dropout=0.0, backend="loop", **settings
    ).eval()
    with torch.no_grad():
        for p in model.parameters():  # what starts at zero would hide what it carries
            p.add_(0.05 * torch.randn_like(p))
    return model


def _changed(tokens: Tensor, place: int) -> Tensor:
    other = tokens.clone()
    other[:, place] = (other[:, place] + 1) % TOKENS
    return other


def _attends(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) or "Attention" in type(module).__name__


def _power(model: nn.Module, lengths: list[int], make: Any) -> float:
    """Slope of log multiply-adds against log length, from the first length to the last."""
    counts = []
    for length in (lengths[0], lengths[-1]):
        with by_torch(), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(make(length))
        counts.append(counter.get_total_flops())
    return math.log(counts[1] / counts[0]) / math.log(lengths[-1] / lengths[0])


def _off(lengths: list[float], factor: float) -> Iterator[float]:
    """Relative differences of some lengths from the first times factor^level."""
    return (abs(length / (lengths[0] * factor**level) - 1) for level, length in enumerate(lengths))


def _gradient(p: nn.Parameter) -> Tensor:
    return (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
