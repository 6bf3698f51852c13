"""The search for a learning rate: one for every run that has any."""

import math
from collections.abc import Callable, Mapping, Sequence


def search(
    rates: Sequence[float], attempt: Callable[[float], float], further: int = 2
) -> tuple[float, Mapping[str, float]]:
    """The rate that leaves the least, and what each that was tried left.

    Where the best is the first or the last it goes on past it, by the same step, until there is a worse one on either
    side, but only so many times. A rate that leads to no number is worse than any.

    Args:
        rates: at least two, rising.
        attempt: from a rate to what is to be small: bits per character, or errors on held-out rows.
        further: how many are tried at most beyond those that are given.
    """
    found = {rate: attempt(rate) for rate in rates}
    for _ in range(further):
        tried = sorted(found)
        best = min(tried, key=lambda rate: found[rate] if math.isfinite(found[rate]) else math.inf)
        if best not in (tried[0], tried[-1]):
            break
        beyond = best * best / (tried[1] if best == tried[0] else tried[-2])
        beyond = float(f"{beyond:.3g}")  # as it is told below: else the end of a search reads as inside of it
        found[beyond] = attempt(beyond)
    best = min(found, key=lambda rate: found[rate] if math.isfinite(found[rate]) else math.inf)  # the first of equals
    return best, {f"{rate:.3g}": found[rate] for rate in sorted(found)}
