"""The made mixture: its distribution against the von Mises-Fisher law, and its best rule against all others."""

import hashlib
import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import ive

from mobius_lib.datasets.made import _ROWS, SphereMixture, _along
from mobius_lib.errors import DataError

CASES = [SphereMixture(7, 3, 1, 4.0), SphereMixture(5, 24, 3, 30.0, seed=2), SphereMixture(40, 64, 2, 50.0, seed=1)]


@pytest.mark.parametrize("mixture", CASES, ids=lambda m: f"{m.classes}x{m.modes} in {m.dim}")
def test_rows(mixture):
    x, y = mixture.draw(1003, "train")
    assert x.shape == (1003, mixture.dim) and x.dtype == torch.float32 and y.dtype == torch.int64
    # each coordinate is rounded to 6e-8 of itself, so the length to about as much
    torch.testing.assert_close(x.double().norm(dim=1), torch.ones(1003).double(), rtol=0, atol=3e-7)
    counts = y.bincount(minlength=mixture.classes)
    assert counts.max() - counts.min() <= 1 and torch.equal(y, torch.arange(1003) % mixture.classes)
    means = mixture.means
    assert means.shape == (mixture.classes, mixture.modes, mixture.dim)
    torch.testing.assert_close(means.norm(dim=-1), torch.ones(means.shape[:2]), rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    ("dim", "kappa"), [(2, 0.0), (2, 3.0), (3, 0.1), (3, 50.0), (24, 10.0), (512, 110.0), (512, 5e3)]
)
def test_length_along_the_mean_is_von_mises_fishers(dim, kappa):
    """E[w] = A = I_{d/2}(kappa) / I_{d/2-1}(kappa), Var[w] = 1 - A^2 - A (d-1) / kappa; Bessel functions by scipy."""
    n = 40_000
    w = _along(dim, kappa, n, np.random.default_rng(0))
    mean = float(ive(dim / 2, kappa) / ive(dim / 2 - 1, kappa))
    variance = 1 / dim if kappa == 0 else 1 - mean**2 - mean * (dim - 1) / kappa
    assert abs(w).max() <= 1 and len(w) == n
    # 4.5 standard errors of a mean; that of the variance from the fourth moment of the sample itself
    assert w.mean() == pytest.approx(mean, abs=4.5 * math.sqrt(variance / n))
    squares = (w - mean) ** 2
    assert squares.mean() == pytest.approx(variance, abs=4.5 * squares.std() / math.sqrt(n))


@pytest.mark.parametrize("mixture", CASES[1:], ids=lambda m: f"{m.classes}x{m.modes} in {m.dim}")
def test_around_its_mean_a_row_points_anywhere(mixture):
    """x minus its part along the mean has expectation 0 and the same spread in all directions."""
    one = SphereMixture(2, mixture.dim, 1, mixture.concentration, seed=9)
    n = 40_000
    x, y = one.draw(n)
    mean = one.means[y, 0]
    along = (x * mean).sum(1, keepdim=True)
    aside = (x - along * mean)[y == 0].double()
    basis = torch.linalg.svd(one.means[0])[2][1:].double()  # of the tangent space
    coordinates = aside @ basis.T
    variance = (1 - along[y == 0].double().square()).mean() / (mixture.dim - 1)
    count = len(coordinates)
    # the largest of d - 1 means, each of deviation sqrt(variance / n): 5 of those hold 64 coordinates
    assert coordinates.mean(0).abs().max() < 5 * math.sqrt(variance / count)
    spread = coordinates.T @ coordinates / count / variance
    # entries deviate by 1 / sqrt(n), the diagonal by sqrt(2 / n); there are up to 4,000 of them
    assert (spread - torch.eye(mixture.dim - 1)).abs().max() < 6 * math.sqrt(2 / count)


def test_modes_have_equal_shares():
    mixture = SphereMixture(2, 8, 4, 200.0, seed=3)
    x, y = mixture.draw(8000)
    for c in range(2):
        shares = (x[y == c] @ mixture.means[c].T).argmax(1).bincount(minlength=4) / 4000
        assert (shares - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 4000)


def _vmf_log_density(x: torch.Tensor, mean: torch.Tensor, kappa: float) -> torch.Tensor:
    """With its normaliser, by scipy: an independent reference for the rule, which leaves it out."""
    d = len(mean)
    log_bessel = math.log(float(ive(d / 2 - 1, kappa))) + kappa
    return (
        kappa * x.double() @ mean.double() + (d / 2 - 1) * math.log(kappa) - d / 2 * math.log(2 * math.pi) - log_bessel
    )


@pytest.mark.parametrize("mixture", CASES, ids=lambda m: f"{m.classes}x{m.modes} in {m.dim}")
def test_the_rule_is_that_of_bayes(mixture):
    x, _ = mixture.draw(300, "test")
    logs = torch.zeros(300, mixture.classes, mixture.modes).double()
    for c, m in product(range(mixture.classes), range(mixture.modes)):
        logs[:, c, m] = _vmf_log_density(x, mixture.means[c, m], mixture.concentration)
    posterior = logs.exp().mean(2)
    posterior /= posterior.sum(1, keepdim=True)
    assert torch.equal(mixture.bayes_predict(x), posterior.argmax(1))
    # float32 scores of size kappa: 1e-6 of 50, and as much of each probability
    torch.testing.assert_close(mixture.scores(x).softmax(1).double(), posterior, rtol=0, atol=3e-5)


@pytest.mark.parametrize("mixture", CASES, ids=lambda m: f"{m.classes}x{m.modes} in {m.dim}")
def test_known_accuracy_is_what_the_rule_reaches(mixture):
    n = 20_000
    accuracy, error = mixture.bayes_accuracy(n)
    x, y = mixture.draw(n, "test")
    hits = (mixture.bayes_predict(x) == y).double().mean().item()
    counted = math.sqrt(accuracy * (1 - accuracy) / n)
    assert abs(hits - accuracy) < 4 * math.hypot(error, counted)
    assert 0 < error < counted, "it spreads less than counting does"


@pytest.mark.parametrize("mixture", CASES, ids=lambda m: f"{m.classes}x{m.modes} in {m.dim}")
def test_no_other_rule_is_better(mixture):
    """Nearest mean of each class, nearest component, means learned from many rows, and rules bent at random."""
    n = 20_000
    x, y = mixture.draw(n, "test")
    best = mixture.bayes_predict(x) == y
    learned_x, learned_y = mixture.draw(n, "train")
    learned = torch.zeros(mixture.classes, mixture.dim).index_add_(0, learned_y, learned_x)
    generator = torch.Generator().manual_seed(0)
    others = {
        "class means": x @ mixture.means.sum(1).T,
        "components": (x @ mixture.means.flatten(0, 1).T).unflatten(1, (mixture.classes, -1)).amax(-1),
        "learned means": x @ learned.T,
        **{
            f"bent {i}": mixture.scores(x) + strength * torch.randn(mixture.classes, generator=generator)
            for i, strength in enumerate((0.1, 0.3, 1.0))
        },
    }
    for name, scores in others.items():
        gain = (scores.argmax(1) == y).double() - best.double()
        # 4 standard errors of the paired difference; where the rules agree on all rows there is none
        assert gain.mean() <= 4 * gain.std() / math.sqrt(n), name
    assert best.double().mean() > 1.2 / mixture.classes, "it is better than chance"


def test_several_modes_are_not_linear():
    """The nearest class mean is Bayes' rule for one mode, and far from it for four."""
    for modes, equal in ((1, True), (4, False)):
        mixture = SphereMixture(20, 32, modes, 40.0)
        x, y = mixture.draw(4000, "test")
        nearest = (x @ mixture.means.sum(1).T).argmax(1)
        assert torch.equal(nearest, mixture.bayes_predict(x)) == equal
        lost = ((mixture.bayes_predict(x) == y).float() - (nearest == y).float()).mean()
        assert (lost > 0.1) != equal


def test_splits_are_disjoint_and_a_small_set_begins_a_large_one():
    mixture = SphereMixture(3, 4, 2, 5.0)
    whole, labels = mixture.draw(_ROWS + 40)  # more than one part
    for n in (1, 2, 50, _ROWS - 1, _ROWS, _ROWS + 7):
        x, y = mixture.draw(n)
        assert torch.equal(x, whole[:n]) and torch.equal(y, labels[:n])
    rows = {
        split: {row.numpy().tobytes() for row in mixture.draw(2000, split)[0]} for split in ("train", "test", "bayes")
    }
    assert all(len(each) == 2000 for each in rows.values())
    assert not rows["train"] & rows["test"] and not rows["bayes"] & (rows["train"] | rows["test"])
    second = {row.numpy().tobytes() for row in whole[_ROWS:]}
    assert not second & rows["train"], "a part does not repeat the one before"


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(5), np.random.seed(5)
    state = torch.get_rng_state()
    first = SphereMixture(5, 6, 2, 9.0, 4).draw(50, "test")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3), np.random.rand(3)
    again = SphereMixture(5, 6, 2, 9.0, 4).draw(50, "test")
    assert all(map(torch.equal, first, again))
    other = SphereMixture(5, 6, 2, 9.0, 5).draw(50, "test")
    assert not torch.equal(other[0], first[0])
    code = (
        "import hashlib; from mobius_lib.datasets.made import SphereMixture\n"
        "x, _ = SphereMixture(5, 6, 2, 9.0, 4).draw(50, 'test')\n"
        "print(hashlib.sha256(x.numpy().tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hashlib.sha256(first[0].numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"classes": 1}, "classes must be a whole number from 2 on, not 1"),
        ({"dim": 1}, "dim must be a whole number from 2 on"),
        ({"modes": 0}, "modes must be a whole number from 1 on"),
        ({"modes": 1.5}, r"modes must be .*, not 1\.5"),
        ({"seed": -1}, "seed must be"),
        ({"concentration": -1.0}, "concentration must be a number from 0 on"),
        ({"concentration": math.nan}, "concentration must be"),
        ({"concentration": math.inf}, "concentration must be"),
        ({"split": "val"}, "the splits 'train', 'test', 'bayes', not 'val'"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
    ],
    ids=str,
)
def test_one_sentence(arguments, words):
    with pytest.raises(DataError, match=words):
        drawn = {"samples": 5} | {name: arguments.pop(name) for name in ("samples", "split") if name in arguments}
        SphereMixture(**{"classes": 3, "dim": 4, "concentration": 3.0, **arguments}).draw(**drawn)


def test_numbers_of_numpy_make_the_same_mixture():
    numbers = {"classes": np.int64(3), "dim": np.uint8(4), "modes": np.int32(1), "seed": np.int16(0)}
    found = SphereMixture(**numbers, concentration=np.float32(3))
    assert found == SphereMixture(3, 4, 1, 3.0) and repr(found) == repr(SphereMixture(3, 4, 1, 3.0))
    assert torch.equal(found.draw(np.int64(5))[0], SphereMixture(3, 4, 1, 3.0).draw(5)[0])


def test_too_few_draws():
    with pytest.raises(DataError, match="draws must be at least 2, not 1"):
        CASES[0].bayes_accuracy(1)
