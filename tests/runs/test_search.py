"""The search for a learning rate."""

import math

from mobius_lib.runs.search import judged, search


def test_search_goes_past_an_end():
    for lowest, tried in ((0.1, 3), (0.3, 4), (9.0, 5), (0.001, 5)):
        best, found = search((0.03, 0.1, 0.3), lambda rate, lowest=lowest: abs(math.log(rate / lowest)))
        assert len(found) == tried
        assert f"{best:.3g}" == min(found, key=found.get)
    assert search((1.0, 2.0), lambda rate: rate, further=5)[0] == 0.0312
    assert search((1.0, 2.0, 4.0), lambda rate: math.nan if rate > 2 else 1 / rate)[0] == 2.0


def test_the_end_of_a_search_is_told_as_the_rate_it_was():
    """1e-3 squared over 3e-3 has no end; "0.000333" beside it read as if the best lay inside of the search."""
    best, tried = search((1e-3, 3e-3), lambda rate: rate, further=1)
    assert best == min(map(float, tried)) == 3.33e-4


def test_close_rates_are_judged_by_several_seeds():
    """The first seed prefers 0.01 by a hair, the others 0.03; 0.001 is too far behind to be asked again."""
    left = {0.001: (0.9, 0.0), 0.003: (0.52, 0.6), 0.01: (0.5, 0.55), 0.03: (0.51, 0.4), 0.09: (0.7, 0.1)}
    asked = []

    def attempt(seed, rate):
        asked.append((seed, rate))
        return left[rate][min(seed, 1)]

    best, tried, compared = judged((0.003, 0.01, 0.03), attempt, 2, lambda least: 0.1 * least, 3)
    # 0.03 was the last that was tried: the search goes on, and what is tried there is behind with the first seed
    assert best == 0.03 and sorted(map(float, tried)) == [0.003, 0.01, 0.03, 0.09]
    assert compared == {"0.003": [0.52, 0.6, 0.6], "0.01": [0.5, 0.55, 0.55], "0.03": [0.51, 0.4, 0.4]}
    assert len(asked) == len(set(asked)) == 4 + 2 * 3, "nothing is tried twice"
    asked.clear()
    best, tried, compared = judged((0.001, 0.003, 0.01, 0.03), attempt, 0, lambda least: 0.1 * least, 1)
    assert (best, compared) == (0.01, {}) and asked == [(0, rate) for rate in (0.001, 0.003, 0.01, 0.03)]


def test_nothing_is_judged_where_one_rate_is_ahead():
    best, _, compared = judged((1.0, 2.0, 4.0), lambda _, rate: abs(rate - 2), 2, lambda least: 0.5, 3)
    assert best == 2.0 and compared == {}
    assert judged((1.0, 2.0, 4.0), lambda _, rate: math.nan if rate > 2 else 1 / rate, 0, lambda _: 0.1, 3)[0] == 2.0
