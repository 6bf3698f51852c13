"""The search for a learning rate."""

import math

from mobius_lib.runs.search import search


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
