"""Chapter 4: seed 003's own arithmetic, worked out from the formulas that it prints.

No source of the ladder is public, so these counts are the seed's: N terms per scale, windows 5, 15 and 50 as three
scales, and connections with one hidden layer. What our rungs really store is measured in gauge_rungs.
"""

import math
from itertools import pairwise

from mobius_lib.ledger.base import PARTLY, REFUTED, REPRODUCED, Measurement, Word, register
from mobius_lib.ledger.checks.runs import reported_number
from mobius_lib.ledger.claims import Claim
from mobius_lib.ledger.results import Results

SOURCE = ("data/claims.yaml",)


def connections(terms: int, hidden: int, scales: int) -> int:
    """Numbers of the connections: per scale a layer terms -> hidden and one back, each with its biases."""
    return scales * (terms * hidden + hidden + hidden * terms + terms)


def attention(terms: int, scales: int) -> int:
    """Numbers of the scale attention: one embedding per scale, and a square query matrix."""
    return scales * terms + terms * terms


def bridge(vocabulary: int, terms: int) -> int:
    """Numbers of one scale as the count of L5 has it: two per output and term, and one more per term."""
    return vocabulary * terms * 2 + terms


def bridge_short(vocabulary: int, terms: int) -> int:
    """Numbers of one scale as the section on L4 has it: one per output and term, and one more per term."""
    return vocabulary * terms + terms


def level5(vocabulary: int, terms: int, hidden: int, scales: int) -> int:
    """All numbers of L5."""
    return scales * bridge(vocabulary, terms) + connections(terms, hidden, scales) + attention(terms, scales)


@register
def connection_count(claim: Claim, results: Results, *, terms: int, hidden: int, scales: int) -> Measurement:
    """The sum that the seed prints for its connections."""
    count = connections(terms, hidden, scales)
    return Measurement(
        count,
        "numbers",
        _same(count, claim),
        f"{scales} × ({terms}·{hidden} + {hidden} + {hidden}·{terms} + {terms}) is {scales} × {count // scales} = "
        f"{count:,}, {count - reported_number(claim):+,} from the printed result.",
        SOURCE,
    )


@register
def attention_count(claim: Claim, results: Results, *, terms: int, scales: int) -> Measurement:
    """The sum that the seed prints for its scale attention."""
    count = attention(terms, scales)
    return Measurement(
        count,
        "numbers",
        _same(count, claim),
        f"{scales}·{terms} + {terms}·{terms} is {count}.",
        SOURCE,
    )


@register
def level5_constant(claim: Claim, results: Results, *, terms: int, hidden: int, scales: int) -> Measurement:
    """What L5 stores besides its scales."""
    parts = connections(terms, hidden, scales), attention(terms, scales)
    return Measurement(
        sum(parts),
        "numbers",
        _same(sum(parts), claim),
        f"By the formulas printed beside it, connections and attention are {parts[0]:,} + {parts[1]:,} = "
        f"{sum(parts):,}, {sum(parts) - reported_number(claim):+,} from the printed constant.",
        SOURCE,
    )


@register
def level5_stored(
    claim: Claim, results: Results, *, vocabulary: int, terms: int, hidden: int, scales: int
) -> Measurement:
    """How many numbers L5 stores, against the number by which the seed divides."""
    count = level5(vocabulary, terms, hidden, scales)
    constant = count - scales * bridge(vocabulary, terms)
    return Measurement(
        count,
        "numbers",
        _same(count, claim),
        f"At V = {vocabulary:,} and N = {terms} the printed count is {scales} × {bridge(vocabulary, terms):,} + "
        f"{constant:,} = {count:,}. The seed divides by {reported_number(claim):g}, which "
        "no count of it gives.",
        SOURCE,
    )


@register
def level5_ratio(
    claim: Claim, results: Results, *, vocabulary: int, terms: int, hidden: int, scales: int
) -> Measurement:
    """V² over the numbers of L5."""
    count = level5(vocabulary, terms, hidden, scales)
    ratio, reported = vocabulary**2 / count, reported_number(claim)
    return Measurement(
        round(ratio, 1),
        "times",
        _near(ratio, claim),
        f"{vocabulary:,}² / {count:,} is {ratio:.1f}; the printed ratio is {vocabulary:,}² divided by "
        f"{vocabulary**2 / reported:.2f}.",
        SOURCE,
    )


@register
def level5_threshold(
    claim: Claim, results: Results, *, target: float, terms: int, hidden: int, scales: int
) -> Measurement:
    """The smallest vocabulary at which the printed count reaches the target ratio."""
    slope = 2 * terms * scales
    constant = level5(0, terms, hidden, scales)
    # V² >= target (slope V + constant): the larger root, and then whole words
    needed = target * slope / 2 + math.sqrt((target * slope / 2) ** 2 + target * constant)
    words = math.ceil(needed)
    return Measurement(
        words,
        "words",
        REPRODUCED if words <= reported_number(claim) + (claim.tolerance or 0.0) else REFUTED,
        f"V² / ({slope} V + {constant:,}) reaches {target:,.0f} from V = {words:,} on; for a large vocabulary it is "
        f"V / {slope}, and at V = {reported_number(claim):,} it is "
        f"{reported_number(claim) ** 2 / (slope * reported_number(claim) + constant):.1f}.",
        SOURCE,
    )


@register
def level4_ratio(claim: Claim, results: Results, *, vocabularies: list[int], terms: int) -> Measurement:
    """V² over the numbers of L4, by the shorter of its two printed counts."""
    ratios = {v: v * v / bridge_short(v, terms) for v in vocabularies}
    reported, needed = reported_number(claim), reported_number(claim) * terms
    best = max(ratios.values())
    return Measurement(
        {f"V = {v:,}:": round(ratio, 1) for v, ratio in ratios.items()},
        "times",
        REPRODUCED if best >= reported - (claim.tolerance or 0.0) else REFUTED,
        f"V² / (V·{terms} + {terms}) is "
        + ", ".join(f"{ratio:,.1f} (V = {v:,})" for v, ratio in ratios.items())
        + f"; it grows like V / {terms}, so {reported:,.0f} takes a vocabulary of about {needed:,.0f}.",
        SOURCE,
    )


@register
def level4_counts_agree(claim: Claim, results: Results, *, vocabularies: list[int], terms: int) -> Measurement:
    """The seed's two counts of one and the same scale, one over the other."""
    ratios = [bridge(v, terms) / bridge_short(v, terms) for v in vocabularies]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    return Measurement(
        round(worst, 3),
        "times the first count",
        REPRODUCED if abs(worst - 1) <= (claim.tolerance or 0.0) else REFUTED,
        f"One scale is out·N + N numbers where L4 is described and out·N·2 + N where L5 is counted: at N = {terms} and "
        f"V = {', '.join(f'{v:,}' for v in vocabularies)} the second is {min(ratios):.3f} to {max(ratios):.3f} times "
        "the first. (If mu and sigma are shared by the rows, as in the level below, it is out·N + 2N.)",
        SOURCE,
    )


@register
def level5_over_level4(
    claim: Claim, results: Results, *, vocabularies: list[int], terms: int, hidden: int, scales: int
) -> Measurement:
    """The ratio of L5 over the ratio of L4 for the same matrix: both by the seed's counts."""
    gains = {v: bridge_short(v, terms) / level5(v, terms, hidden, scales) for v in vocabularies}
    best = max(gains.values())
    return Measurement(
        round(best, 3),
        "times the ratio of L4",
        REPRODUCED if best >= reported_number(claim) - (claim.tolerance or 0.0) else REFUTED,
        f"L5 holds {scales} scales of L4 and their connections, so it stores more than L4 does: its ratio is "
        + ", ".join(f"{gain:.3f} (V = {v:,})" for v, gain in gains.items())
        + f" times that of L4, and {scales * best:.3f} times at most if one dense matrix for each scale is counted.",
        SOURCE,
    )


@register
def stored_equivalent(claim: Claim, results: Results, *, parameters: float, ratio: float) -> Measurement:
    """A product, to the digits that the seed prints."""
    product, reported = parameters * ratio, reported_number(claim)
    return Measurement(
        product,
        "numbers",
        _near(product, claim),
        f"{parameters:.3g} × {ratio:,.0f} is {product:.3g}, which is {reported / product:,.0f} times less than the "
        f"printed {reported:.0e}.",
        SOURCE,
    )


@register
def query_fits(claim: Claim, results: Results, *, terms: int, width: int) -> Measurement:
    """Whether a query matrix of the counted size can be applied to the layer's input."""
    rows, columns = terms, terms  # as counted: N × N
    fits = columns == width
    needed = terms * width
    return Measurement(
        f"{rows}×{columns}",
        "",
        REPRODUCED if fits else REFUTED,
        f"q = W_q x needs a matrix with as many columns as x has numbers: {terms}×{width:,} for the seed's own layer, "
        f"{needed:,} numbers. The count has {rows}×{columns}, {rows * columns} numbers"
        + ("." if fits else ", and that product does not exist."),
        SOURCE,
    )


@register
def fibre_size(claim: Claim, results: Results, *, terms: int, hidden: int, scales: int) -> Measurement:
    """The dimension with which the connections are counted, against the fibre's."""
    fibre = int(reported_number(claim))
    return Measurement(
        terms,
        "coordinates",
        REPRODUCED if fibre == terms else REFUTED,
        f"The fibre is said to be R^(3N), {fibre} coordinates at N = {terms}; the connections are counted as if it had "
        f"{terms} ({connections(terms, hidden, scales):,} numbers). With {fibre} they are "
        f"{connections(fibre, hidden, scales):,}.",
        SOURCE,
    )


@register
def product_bundle(claim: Claim, results: Results, *, terms: int, scales: int) -> Measurement:
    """The dimension of a tensor product of the fibres, against what the connection acts on."""
    fibre = 3 * terms
    product, stacked = fibre**scales, fibre * scales
    return Measurement(
        product,
        "coordinates",
        REPRODUCED if product == reported_number(claim) else REFUTED,
        f"A tensor product of {scales} fibres R^{fibre} has {fibre}^{scales} = {product:,} coordinates, and gl(3N) "
        f"acts on {fibre}. What the layer adds up, α_s τ_s(y_s), is at most a direct sum: {stacked} coordinates.",
        SOURCE,
    )


@register
def exponents_agree(claim: Claim, results: Results, *, windows: list[int]) -> Measurement:
    """The exponents of the first and the last window under the seed's two laws for them."""
    first, last = windows[0], windows[-1]
    by_kpz, by_root = 1.0, math.sqrt(last / first)
    return Measurement(
        round(by_root, 3),
        f"exponent at {first} over exponent at {last}",
        REPRODUCED if abs(by_root - by_kpz) <= (claim.tolerance or 0.0) else REFUTED,
        f"If σ grows like k^(1/3) at every scale, the exponents at windows {first} and {last} have the ratio "
        f"{by_kpz:g}; if they fall like 1/√s, it is √({last}/{first}) = {by_root:.2f}. At most one of the two holds.",
        SOURCE,
    )


@register
def short_is_sharper(claim: Claim, results: Results, *, windows: list[int], terms: int) -> Measurement:
    """Widths of the last Gaussian at each window when the exponent falls like 1/√s, from equal first widths."""
    exponents = [math.sqrt(windows[0] / s) / 3 for s in windows]  # 1/3 at the shortest window
    widths = [terms**exponent for exponent in exponents]
    rises = all(a < b for a, b in pairwise(widths))
    falls = all(a > b for a, b in pairwise(widths))
    return Measurement(
        {f"s = {s}:": round(width, 2) for s, width in zip(windows, widths, strict=True)},
        "times the first width",
        REPRODUCED if rises else REFUTED if falls else PARTLY,
        f"With β_s = β_0/√s and the exponent 1/3 at s = {windows[0]}, the {terms}th Gaussian is "
        + ", ".join(f"{width:.2f} (s = {s})" for s, width in zip(windows, widths, strict=True))
        + " times as wide as the first: by the printed law the longer context has the narrower Gaussians.",
        SOURCE,
    )


@register
def learned_numbers(
    claim: Claim, results: Results, *, vocabulary: int, terms: int, hidden: int, scales: int
) -> Measurement:
    """How many of L5's numbers the seed itself calls learned."""
    learned = connections(terms, hidden, scales) + attention(terms, scales)
    share = learned / level5(vocabulary, terms, hidden, scales)
    verdict: Word = REPRODUCED if learned == reported_number(claim) else REFUTED if share > 0.5 else PARTLY
    return Measurement(
        learned,
        "learned numbers",
        verdict,
        f"The connection is a network that learns and the scale embeddings are learned, in the seed's own words: "
        f"{learned:,} numbers, {share:.1%} of what L5 counts at V = {vocabulary:,}. The rest is derived from the text.",
        SOURCE,
    )


def _same(count: int, claim: Claim) -> Word:
    return REPRODUCED if count == reported_number(claim) else REFUTED


def _near(value: float, claim: Claim) -> Word:
    return REPRODUCED if abs(value - reported_number(claim)) <= (claim.tolerance or 0.0) else REFUTED
