"""Records of chapter 4 in tables and words: what its pages print of them."""

import math
from collections.abc import Callable, Collection
from statistics import mean
from typing import Any

from mobius_lib.gauge.bits import FLOAT_BITS
from mobius_lib.ledger.stats import Interval, interval

LADDER, PLAIN = ("L1", "L2", "L3", "L4", "L5"), ("SVD", "DCT", "magnitude")
PICTURES = 2_000  # in the test set of a record that does not say
CLASSES = 10


def per_seed(record: dict[str, Any], arm: str, key: str, **where: Any) -> list[float]:
    """A number of the row of an arm that is asked for, of every seed."""
    found = []
    for run in record["arms"][arm]:
        (row,) = [row for row in run["rows"] if all(row.get(name) == value for name, value in where.items())]
        found.append(row[key])
    return found


def points(record: dict[str, Any], arm: str, **where: Any) -> list[dict[str, Any]]:
    """The rows of an arm, each averaged over the seeds, from few bits to many."""
    found = []
    for rows in zip(*(run["rows"] for run in record["arms"][arm]), strict=True):
        if all(rows[0].get(name) == value for name, value in where.items()):
            numbers = {k for k, v in rows[0].items() if isinstance(v, int | float)}
            found.append(rows[0] | {key: mean(row[key] for row in rows) for key in numbers})
    return sorted(found, key=lambda row: row.get("bits", 0))


def setting(record: dict[str, Any]) -> str:
    """One line: how often, on what, by which command."""
    seeds = record["configuration"]["seeds"]
    return f"{seeds} seed{'s' if seeds > 1 else ''}, {record['device']}; `{record['command']}`"


def entries_of(record: dict[str, Any]) -> int:
    """V x V: the entries that bits are shared among."""
    whole = points(record, "dense", target="mean")[0]
    return round(whole["ratio_in_bits"] * whole["bits"] / 32)


def text_table(record: dict[str, Any]) -> str:
    """Every arm on the mean of the windows, at N = 8 and the bits that go with it, as a Markdown table."""
    entries = entries_of(record)
    lines = [
        "| | numbers kept | bits an entry | relative error | neighbours kept | perplexity |",
        "|---|---|---|---|---|---|",
    ]
    rows: list[tuple[str, str, dict[str, Any]]] = [(arm, arm, {"terms": 8}) for arm in (*LADDER, "L5 bridges")]
    rows += [(f"{arm}, bits of {rung}", arm, {"terms": 8, "beside": rung}) for rung in ("L3", "L5") for arm in PLAIN]
    rows += [("4 bits", "4 bits", {}), ("the matrix itself", "dense", {})]
    for name, arm, where in rows:
        for row in points(record, arm, target="mean", **where):
            stored = f"{row['stored']:,.0f}" if "stored" in row else ""
            lines.append(
                f"| {name} | {stored} | {row['bits'] / entries:.4f} | {row['relative_error']:.3f} "
                f"| {100 * row['neighbours_kept']:.1f} % | {row['perplexity']:.1f} |"
            )
    alone = points(record, "frequencies")[0]["perplexity"]
    return "\n".join([*lines, f"| frequencies of words alone | | | | | {alone:.1f} |"])


def gap(
    record: dict[str, Any],
    first: tuple[str, dict[str, Any]],
    second: tuple[str, dict[str, Any]],
    key: str,
    **where: Any,
) -> Interval:
    """Interval of first minus second, seed by seed; each is an arm and what its row is."""
    pairs = (per_seed(record, arm, key, **where, **own) for arm, own in (first, second))
    return interval([a - b for a, b in zip(*pairs, strict=True)])


def in_words(found: Interval, digits: int, better: tuple[str, str], lower: bool = True) -> str:
    """The difference, its interval, and who is ahead: the first of `better` where less is better and it is below 0."""
    ahead = found.low > 0 or found.high < 0
    winner = better[int((found.mean > 0) == lower)] if ahead else "no difference beyond chance"
    bounds = f"{found.low:+.{digits}f} to {found.high:+.{digits}f}"
    return f"{found.mean:+.{digits}f} (95 % interval {bounds}): **{winner}**"


def lead(record: dict[str, Any], first: str, second: str, n: int, measure: str = "final_accuracy") -> Interval:
    """Interval of the difference of two arms' accuracies at the bits of N = n, in points."""
    pairs = [
        per_seed(record, arm, measure, **({"terms": n} if arm not in ("dense", "4 bits") else {}))
        for arm in (first, second)
    ]
    return interval([100 * (a - b) for a, b in zip(*pairs, strict=True)])


def leads(record: dict[str, Any], sizes: Collection[int]) -> str:
    """Of a network whose layers are replaced: who is ahead at each N, and what is lost, as a Markdown list."""
    lines = []
    for n in sizes:
        found = lead(record, "L5", "SVD", n)
        lines.append(f"- N = {n}: L5 minus SVD {in_words(found, 1, ('L5 is better', 'SVD is better'), lower=False)}")
    lost, coded = lead(record, "L5", "dense", 8), lead(record, "4 bits", "dense", 8)
    lines.append(f"- N = 8: L5 minus the network itself {lost.mean:+.1f} points ({lost.low:+.1f} to {lost.high:+.1f})")
    lines.append(f"- 4 bits minus the network itself {coded.mean:+.2f} points ({coded.low:+.2f} to {coded.high:+.2f})")
    return "\n".join(lines)


def guesses(record: dict[str, Any], arm: str, measure: str, **where: Any) -> bool:
    """Whether an accuracy cannot be told from naming one of the ten classes blindly: within 3 standard errors."""
    pictures, blind = record["sizes"].get("test") or PICTURES, 1 / CLASSES
    return mean(per_seed(record, arm, measure, **where)) < blind + 3 * math.sqrt(blind * (1 - blind) / pictures)


def network_table(record: dict[str, Any], n: int, **columns: str) -> str:
    """Accuracy of every arm at N = n and the bits that go with it, as a Markdown table.

    An arm that only guesses has no row; its name stands below.

    Args:
        record: of a run that replaces layers of a network.
        n: number of Gaussians.
        columns: further measures, and what they are called.
    """
    columns = {"final_accuracy": "test accuracy", **columns}
    blind = []
    dense = points(record, "dense")[0]
    lines = ["| | " + " | ".join([*columns.values(), "bits a weight", "ratio in bits", "relative error"]) + " |"]
    lines.append("|---" * (4 + len(columns)) + "|")
    for arm in record["arms"]:
        own = [row for row in points(record, arm) if row.get("terms", n) == n]
        for row in own[:1]:
            key = {"terms": n} if "terms" in row else {}
            if all(guesses(record, arm, measure, **key) for measure in columns):
                blind.append(arm)
                continue
            cells = []
            for measure in columns:
                found = interval([100 * value for value in per_seed(record, arm, measure, **key)])
                cells.append(f"{found.mean:.1f} %" + (f" ± {(found.high - found.low) / 2:.1f}" if found.n > 1 else ""))
            lines.append(
                f"| {arm} | {' | '.join(cells)} | {32 * row['bits'] / dense['bits']:.3f} | {row['ratio_in_bits']:,.1f} "
                f"| {row['relative_error']:.3f} |"
            )
    return "\n".join(lines) + (f"\n\nAt chance, 10 %, and so without a row: {', '.join(blind)}." if blind else "")


def inside_table(record: dict[str, Any]) -> str:
    """Every arm of gauge-inside: its size, its accuracy, and how far it is from the matrices, paired by seed."""
    return _beside_dense(record, "parameters", lambda runs: f"{runs[0]['parameters']:,}")


def retrained_table(record: dict[str, Any]) -> str:
    """Every arm of gauge-retrained: bits a weight, accuracy before it was trained on and after, beside the matrices."""
    weights = record["arms"]["dense"][0]["bits"] / FLOAT_BITS

    def bits(runs: list[dict[str, Any]]) -> str:
        return f"{runs[0]['bits'] / weights:.2f}".removesuffix(".00")

    return _beside_dense(record, "bits a weight", bits, "replaced_accuracy")


def _beside_dense(
    record: dict[str, Any], name: str, column: Callable[[list[dict[str, Any]]], str], before: str | None = None
) -> str:
    """Arms with a column of their own, and their accuracy beside that of the arm dense, paired by seed.

    Args:
        name, column: of the arm's own column, its head and what stands there of its seeds.
        before: where the accuracy was another one first, its name in the record.
    """
    right = {arm: [100 * run["final_accuracy"] for run in runs] for arm, runs in record["arms"].items()}
    lines = [f"| in the place of the layers | {name} | accuracy, % | against *dense*, points |", "|---|--:|--:|--:|"]
    for arm, runs in record["arms"].items():
        apart = interval([one - other for one, other in zip(right[arm], right["dense"], strict=True)])
        beside = "" if arm == "dense" else f"{apart.mean:+.1f} ({apart.low:+.1f} to {apart.high:+.1f})"
        first = "" if before is None else f"{100 * mean(run[before] for run in runs):.1f} → "
        lines.append(f"| {arm} | {column(runs)} | {first}{mean(right[arm]):.1f} | {beside} |")
    return "\n".join([*lines, "", "(95 % intervals over the seeds, each by itself.)"])
