"""The search for a learning rate: one for every run that has any."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial


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


def judged(
    rates: Sequence[float],
    attempt: Callable[[int, float], float],
    further: int,
    close: Callable[[float], float],
    judges: int,
) -> tuple[float, Mapping[str, float], Mapping[str, list[float]]]:
    """As `search` with the first seed; but rates that chance may have put into their order are judged by several seeds.

    Where the best of those is the first or the last that was tried, the search goes on past it.

    Args:
        rates, further: as of `search`.
        attempt: from a seed and a rate to what is to be small.
        close: from the least that any rate left to how much more may be due to chance.
        judges: seeds; 1 judges nothing again.
    Returns:
        the rate; what each left with the first seed; and what those that were close left with every seed.
    """
    tried_first, attempt = len(rates), cache(attempt)
    while True:
        best, tried = search(rates, partial(attempt, 0), further)
        least, compared = tried[f"{best:.3g}"], {}
        near = [rate for rate in tried if tried[rate] <= least + close(least)]
        if judges > 1 and len(near) > 1:
            compared = {rate: [attempt(seed, float(rate)) for seed in range(judges)] for rate in near}
            best = float(min(compared, key=lambda rate: sum(compared[rate])))
        rates = tuple(map(float, tried))
        if rates[0] < best < rates[-1] or len(rates) >= tried_first + further:
            return best, tried, compared
        beyond = best * best / (rates[1] if best == rates[0] else rates[-2])
        rates = tuple(sorted((*rates, float(f"{beyond:.3g}"))))
