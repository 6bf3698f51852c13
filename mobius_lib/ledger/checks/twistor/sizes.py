"""Chapter 5: seed 004's sizes, by its own table and its author's public code, and the arithmetic of its words."""

import torch
from torch.nn import functional as F

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, LedgerError, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results

SOURCE = ("data/claims.yaml",)
MEBI = 2**20
BYTES = 4
"""Of a float32."""


def _linear(inputs: int, outputs: int) -> int:
    """Parameters of an affine layer."""
    return inputs * outputs + outputs


def public_parameters(dim: int, layers: int, levels: int, memories: int, both: bool, vocabulary: int) -> int:
    """Parameters of the author's public code for one row of the seed's table, added up layer by layer.

    Its twistors and its hidden states have 2 dim numbers each; two directions double the cells and what they feed.

    Source: the author's public repository, read module by module; the sums agree with counts of the built modules
    (4.71, 10.47, 14.24, 25.13, 48.35 and 254.7 million for the six models that were counted).
    """
    d, ways = 2 * dim, 2 if both else 1
    half = d // 2
    embedding = 2 * vocabulary * dim
    rate = _linear(2 * d, d) + _linear(d, half) + _linear(half, 1)
    evolution = _linear(d, d) + 2 * (_linear(d, 2 * d) + _linear(2 * d, d)) + _linear(2 * d, 2 * d) + 3
    inputs = [d] + [ways * d] * (layers - 1)
    cells = ways * sum(8 * _linear(width + d, half) + evolution + rate for width in inputs)
    joined = _linear(2 * d, d) if both else 0
    factor = _linear(d, half) + _linear(half, half // 2) + _linear(half // 2, 1)
    adaptive = _linear(d, d) + 2 * factor + 1
    feed = _linear(d, 4 * d) + _linear(4 * d, d) + 2 * 2 * d + 1
    gate = _linear(d, half) + _linear(half, 1)
    memory = memories + _linear(d, half) + _linear(half, d) + memories * gate
    nested = levels * (4 * _linear(half, half) + 6 + gate)  # two nets of two layers, six weights, one constraint
    output = _linear(d, dim) + 2 * dim
    return embedding + cells + joined + adaptive + feed + memory + nested + output


@register
def twistor_parameters(
    claim: Claim, results: Results, *, dim: int, layers: int, levels: int, memories: int, both: bool, vocabulary: int
) -> Measurement:
    """Parameters of the author's public code at one row of the table; with one direction too, where the row has two."""
    count = public_parameters(dim, layers, levels, memories, both, vocabulary)
    reported, tolerance = reported_number(claim), claim.tolerance or 0.0
    single = public_parameters(dim, layers, levels, memories, False, vocabulary)
    verdict: Word = REFUTED
    if abs(count - reported) <= tolerance:
        verdict = REPRODUCED
    elif abs(single - reported) <= tolerance:
        verdict = PARTLY
    return Measurement(
        count,
        "parameters",
        verdict,
        f"Dimension {dim}, {layers} layers, {levels} levels, {memories} memories, "
        f"{'two directions' if both else 'one direction'} and {vocabulary:,} tokens give the public code {count:,} "
        f"parameters ({count / reported - 1:+.1%})"
        + (f"; with one direction {single:,} ({single / reported - 1:+.1%})." if both else "."),
        ("mobius_lib.ledger.checks.twistor.sizes.public_parameters",),
    )


@register
def training_memory_bound(claim: Claim, results: Results, *, parameters: dict[str, float]) -> Measurement:
    """The least that float32 training can hold, weights and gradients, over the memory that the table gives."""
    if not isinstance(claim.reported, dict) or set(claim.reported) != set(parameters):
        raise LedgerError(f"claim {claim.id!r}, field `reported`: {claim.check} reads one number for each preset.")
    least = {name: 2 * BYTES * count / MEBI for name, count in parameters.items()}
    slack = claim.tolerance or 0.0
    fits = [name for name in parameters if least[name] <= claim.reported[name] + slack]
    adam = sum(2 * least[name] > claim.reported[name] + slack for name in parameters)
    return Measurement(
        {name: round(value, 1) for name, value in least.items()},
        "MiB at least",
        REPRODUCED if len(fits) == len(parameters) else PARTLY if fits else REFUTED,
        "Weights and gradients alone, at the table's own parameter counts, take "
        + ", ".join(f"{least[name]:.1f} MiB of {claim.reported[name]:g} ({name})" for name in parameters)
        + f". {len(fits)} of {len(parameters)} leave room for that; with the two averages that Adam keeps, "
        f"{len(parameters) - adam} do. Activations are not counted here.",
        SOURCE,
    )


@register
def projective_dimension(claim: Claim, results: Results, *, components: int) -> Measurement:
    """The complex projective space of so many complex components."""
    found = components - 1
    return Measurement(
        found,
        "complex dimensions",
        REPRODUCED if found == reported_number(claim) else REFUTED,
        f"The lines through the origin of C^{components} form CP^{found}. For CP^{reported_number(claim):g} it takes "
        f"{reported_number(claim) + 1:g} complex components: both ω and π with two each, where the seed writes "
        f"[ω, π] ∈ C^{components}.",
        SOURCE,
    )


@register
def compression_saves(claim: Claim, results: Results, *, dim: int, memories: int) -> Measurement:
    """What storing each memory at half its size saves, and what the two layers that do it take."""
    width = 2 * dim
    saved = memories * (width - width // 2)
    spent = _linear(width, width // 2) + _linear(width // 2, width)
    return Measurement(
        saved - spent,
        "numbers saved",
        REPRODUCED if saved > spent else REFUTED,
        f"{memories} memories of {width} numbers at half the size save {saved:,} numbers; the layer that halves them "
        f"and the one that restores them have {spent:,} parameters, so it pays from "
        f"{spent // (width - width // 2) + 1:,} memories on.",
        SOURCE,
    )


@register
def random_token_loss(
    claim: Claim, results: Results, *, vocabulary: int, dim: int, rows: int, length: int
) -> Measurement:
    """The loss of a predictor that never looks at its input, on tokens and targets drawn at random.

    As in the published training: the target is the vector of a random token, drawn from N(0, 1), and the loss is the
    mean square. The constant per position is fitted to some rows and judged on as many new ones.
    """
    table = torch.randn(vocabulary, dim)
    fitted, new = (F.embedding(torch.randint(vocabulary, (rows, length)), table) for _ in range(2))
    constant = fitted.mean(0)
    floor = (new - constant).square().mean().item()
    seen = (fitted - constant).square().mean().item()
    reported, slack = reported_number(claim), claim.tolerance or 0.0
    return Measurement(
        round(floor, 3),
        "loss without any input",
        REPRODUCED if reported < floor - slack else PARTLY if reported <= floor + slack else REFUTED,
        f"Targets drawn at random cannot be predicted from the tokens. One constant for each position has a loss of "
        f"{seen:.3f} on the rows that it was fitted to and {floor:.3f} on new ones; the training ended at "
        f"{reported:g}, " + ("and the constant does better." if reported > floor + slack else "no worse than it."),
        SOURCE,
    )
