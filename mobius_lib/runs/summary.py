"""A result file in words and tables: what notebooks and the command print of it."""

import statistics
from collections.abc import Collection
from typing import Any

from mobius_lib.ledger.stats import Interval, interval


def accuracies(result: dict[str, Any], arm: str) -> list[float]:
    """Final test accuracy of each seed, as fractions."""
    return [row["final_accuracy"] for row in result["arms"][arm]]


def mean_and_spread(values: list[float]) -> str:
    """For instance "87.31 % ± 0.22" (standard deviation over seeds), or "87.31 %" for a single value."""
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f} %{spread}"


def difference(result: dict[str, Any], first: str, second: str) -> Interval:
    """Accuracy of the first arm minus the second, seed by seed, with its 95 % interval."""
    pairs = zip(accuracies(result, first), accuracies(result, second), strict=True)
    return interval([a - b for a, b in pairs])


def edge_of_search(result: dict[str, Any], arm: str) -> str | None:
    """Whether the best of the learning rates that were tried for an arm is an end of them: a better one may lie beyond.

    Returns:
        "smallest" or "largest"; None where the best lies inside, or none was searched for this arm.
    """
    held_out = result.get("tuning", {}).get(arm, {}).get("held_out", {})
    rates = sorted(map(float, held_out))
    best = result["tuning"][arm]["lr"] if rates else None
    return None if best is None or rates[0] < best < rates[-1] else "smallest" if best == rates[0] else "largest"


def _untried(result: dict[str, Any], arm: str) -> bool:
    """Whether others searched for their learning rates, and this one took one that was given to it."""
    return "tuning" in result and arm not in result["tuning"] and "lr" in result["arms"][arm][0]


def difference_in_words(result: dict[str, Any], first: str, second: str) -> str:
    """One sentence: the difference in points, its interval, and what these seeds can say.

    That is *undecided* where the arm that is not ahead found its best learning rate at the edge of its search, or did
    not search as others did: searched further, it might be.
    """
    found = difference(result, first, second)
    points = f"{100 * found.mean:+.2f} points".replace("-", "−")
    if found.n == 1:
        return f"{first} minus {second}: {points} in one seed, which says nothing of the spread."
    if found.low > 0:
        verdict = f"so {first} is better than {second} here"
    elif found.high < 0:
        verdict = f"so {first} is worse than {second} here"
    else:
        verdict = "so these seeds do not tell them apart"
    behind = (first,) * (found.low <= 0) + (second,) * (found.high >= 0)
    edges = [f"{arm}'s best rate was the {edge} tried" for arm in behind if (edge := edge_of_search(result, arm))]
    edges += [f"no other rate of {arm} was tried" for arm in behind if _untried(result, arm)]
    if edges:
        verdict += f" at these rates; undecided, because {' and '.join(edges)}"
    bounds = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}".replace("-", "−")
    return f"{first} minus {second}: {points} (95 % interval {bounds}, {found.n} seeds), {verdict}."


def step_ratio(cost: dict[str, Any]) -> tuple[str, float] | None:
    """Of an entry of a result's `cost`: the baseline's name, and its step time in that of the baseline."""
    return next(((key.removeprefix("ratio_to_"), cost[key]) for key in cost if key.startswith("ratio_to_")), None)


def table(result: dict[str, Any], marked: Collection[str] = ()) -> str:
    """Arms against accuracy, parameters and cost of a training step, as a Markdown table; marked arms have a †.

    So narrow that it fits a phone: the last column, "× GELU" say, is the time of a step over that of the GELU twin, as
    the text around the table says, and the number of seeds stands in `setting`.
    """
    ratios = {arm: ratio for arm, cost in result["cost"].items() if (ratio := step_ratio(cost))}
    baseline = next((name for name, _ in ratios.values()), "gelu")
    named = "GELU" if baseline == "gelu" else baseline
    rows = [f"| arm | test accuracy | parameters | × {named} |", "|---|---|---|---|"]
    for arm, runs in result["arms"].items():
        cost = ratios[arm][1] if arm in ratios else None
        mark = " †" if arm in marked else ""
        rows.append(
            f"| {arm}{mark} | {mean_and_spread(accuracies(result, arm))} | {runs[0]['parameters']:,} "
            f"| {'' if cost is None else f'{cost:.2f}'} |"
        )
    for arm, found in result.get("extra", {}).items():
        rows.append(f"| {arm} | {mean_and_spread([found['accuracy']])} | {found['parameters']:,} | |")
    return "\n".join(rows)


def setting(result: dict[str, Any]) -> str:
    """One line: how much was trained, how often, where, and by which command."""
    used = result["configuration"]
    rows = f"{used['train_samples']:,}" if used["train_samples"] else "all"
    seeds = f"{used['seeds']} seed{'s' if used['seeds'] > 1 else ''}"
    rate = "rates chosen on held-out rows" if "tuning" in result else f"{used['lr']:g}"
    lenses = "" if used["backend"] is None else f"lenses by the {used['backend']} code, "
    return (
        f"{used['epochs']} epochs over {rows} training rows, {seeds}, batch {used['batch_size']}, AdamW at {rate}, "
        f"{lenses}{result['device'].replace(', 1 threads', ', 1 thread')}; `{result['command']}`"
    )
