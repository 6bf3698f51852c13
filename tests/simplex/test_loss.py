"""Each term beside the same computed number by number, its derivatives, its extremes, and a model that learns by it."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid, Geometry, ScaleGeometry, loss, parameter_groups

NAMES = {
    "contrastive", "coherence", "scale_contrastive", "scale_coherence", "separation", "discretisation", "consistency",
}  # fmt: skip


def draw(rows=4, classes=5, scales=3, seed=0, dtype=torch.float64):
    """A geometry of random numbers in their ranges, and labels."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=dtype)

    cantor = uniform(rows)
    found = {}
    for scale in range(scales):
        prototypes = uniform(classes)
        found[scale] = ScaleGeometry(
            cosine=2 * uniform(rows, classes) - 1,
            gap=cantor[:, None] - prototypes,
            distance=1.5 * uniform(rows, classes),
            weights=torch.softmax(2 * uniform(3), 0),
            prototypes=prototypes,
        )
    y = torch.randint(classes, (rows,), generator=generator)
    return Geometry(cantor, found, torch.softmax(2 * uniform(scales), 0)), y


def scores_by_hand(scale):
    """Products of powers, with no logarithm."""
    rows, classes = scale.cosine.shape
    w = scale.weights.tolist()
    return [
        [
            ((scale.cosine[i, c].item() + 1) / 2) ** w[0]
            * math.exp(-(scale.gap[i, c].item() ** 2) / 0.1) ** w[1]
            * math.exp(-scale.distance[i, c].item()) ** w[2]
            for c in range(classes)
        ]
        for i in range(rows)
    ]


def terms_by_hand(geometry, y, temperature=0.1, margin=0.1):
    """Every term, from the formulas, in plain Python."""
    y = y.tolist()
    each = [scores_by_hand(scale) for scale in geometry.scales.values()]
    fusion = geometry.fusion.tolist()
    rows, classes = range(len(y)), range(len(each[0][0]))
    fused = [[sum(w * s[i][c] for w, s in zip(fusion, each, strict=True)) for c in classes] for i in rows]

    def contrast(s):
        shares = [s[i][y[i]] ** (1 / temperature) / sum(s[i][c] ** (1 / temperature) for c in classes) for i in rows]
        return -sum(map(math.log, shares)) / len(shares)

    def coherence(s):
        return sum(1 - s[i][y[i]] for i in rows) / len(y)

    pairs = list(itertools.combinations(each, 2))
    differences = [(a[i][c] - b[i][c]) ** 2 for a, b in pairs for i in rows for c in classes]
    return {
        "contrastive": contrast(fused),
        "coherence": coherence(fused),
        "scale_contrastive": sum(map(contrast, each)) / len(each),
        "scale_coherence": sum(map(coherence, each)) / len(each),
        "separation": sum(
            max(0.0, margin + max(fused[i][c] for c in classes if c != y[i]) - fused[i][y[i]]) for i in rows
        )
        / len(y),
        "discretisation": sum(
            (geometry.cantor[i].item() - scale.prototypes[y[i]].item()) ** 2
            for scale in geometry.scales.values()
            for i in rows
        )
        / (len(y) * len(each)),
        "consistency": sum(differences) / len(differences) if differences else 0.0,
    }


@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_every_term_by_hand(seed, rows, scales):
    geometry, y = draw(rows, 5, scales, seed)
    total, terms = BasinLoss()(geometry, y)
    expected = terms_by_hand(geometry, y)
    assert set(terms) == NAMES == set(expected)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-10, abs=1e-14), name
    weights = {
        "contrastive": 1, "coherence": 0.3, "scale_contrastive": 1, "scale_coherence": 0.3, "separation": 0.1,
        "discretisation": 0.5, "consistency": 0.3,
    }  # fmt: skip
    assert total.item() == pytest.approx(sum(weights[name] * value for name, value in expected.items()), rel=1e-10)


def test_temperature_and_margin_count():
    geometry, y = draw()
    _, terms = BasinLoss(temperature=0.5, margin=0.4)(geometry, y)
    expected = terms_by_hand(geometry, y, 0.5, 0.4)
    for name in ("contrastive", "scale_contrastive", "separation"):
        assert terms[name].item() == pytest.approx(expected[name])


OFF = {
    "contrastive": {"contrastive", "scale_contrastive"},
    "coherence": {"coherence", "scale_coherence"},
    "scales": {"scale_contrastive", "scale_coherence"},
    **{name: {name} for name in ("separation", "discretisation", "consistency")},
}


@pytest.mark.parametrize("name", OFF)
def test_a_weight_of_zero_leaves_its_term_out(name):
    geometry, y = draw()
    whole, terms = BasinLoss()(geometry, y)
    total, left = BasinLoss(**{name: 0.0})(geometry, y)
    assert set(left) == NAMES - OFF[name] and total < whole
    for other, value in left.items():
        assert torch.equal(value, terms[other])


def test_without_any_term_the_loss_is_zero():
    total, terms = BasinLoss(**dict.fromkeys(OFF, 0.0))(*draw())
    assert total.item() == 0 and not terms


def test_gradients_by_differences():
    """Of the total, with respect to everything that a model learns."""
    geometry, y = draw(3, 4, 2, seed=1)
    first, second = geometry.scales.values()

    def total(cantor, cos1, dist1, raw1, proto1, cos2, fusion):
        scales = {
            1: ScaleGeometry(cos1, cantor[:, None] - proto1, dist1, torch.softmax(raw1, 0), proto1),
            2: ScaleGeometry(cos2, second.gap, second.distance, second.weights, second.prototypes),
        }
        return BasinLoss()(Geometry(cantor, scales, torch.softmax(fusion, 0)), y)[0]

    free = (geometry.cantor, first.cosine, first.distance, first.weights, first.prototypes, second.cosine,
            geometry.fusion)  # fmt: skip
    assert torch.autograd.gradcheck(total, [each.clone().requires_grad_() for each in free])


def extreme(cosine, gap, distance, dtype=torch.float32):
    leaves = [torch.full((2, 3), float(value), dtype=dtype, requires_grad=True) for value in (cosine, gap, distance)]
    weights, prototypes = torch.full((3,), 1 / 3), torch.zeros(3)
    scale = ScaleGeometry(*leaves, weights, prototypes)
    return leaves, Geometry(torch.zeros(2), {1: scale}, torch.ones(1))


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 1.0, 1.0000001])
@pytest.mark.parametrize("gap", [0.0, 50.0])
@pytest.mark.parametrize("distance", [0.0, 500.0])
def test_extremes_are_finite(cosine, gap, distance):
    """A score of exp(-8000) is 0 in every precision; its logarithm is not, and CE over equal scores is log 3."""
    leaves, geometry = extreme(cosine, gap, distance)
    total, terms = BasinLoss()(geometry, torch.tensor([0, 2]))
    assert torch.isfinite(total) and terms["contrastive"].item() == pytest.approx(math.log(3), rel=1e-4)
    total.backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_a_perfect_fit_costs_nothing():
    cosine, gap, distance = torch.full((2, 3), -1.0), torch.full((2, 3), 3.0), torch.full((2, 3), 9.0)
    y = torch.tensor([0, 2])
    for part, value in ((cosine, 1.0), (gap, 0.0), (distance, 0.0)):
        part[torch.arange(2), y] = value
    scale = ScaleGeometry(cosine, gap, distance, torch.full((3,), 1 / 3), torch.zeros(3))
    geometry = Geometry(torch.zeros(2), {1: scale, 2: scale}, torch.full((2,), 0.5))
    assert BasinLoss()(geometry, y)[0].item() < 1e-6
    worse = BasinLoss()(geometry, torch.tensor([1, 1]))[0].item()
    assert worse > 10


def test_compatibilities_at_their_ends():
    ends = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    expected = torch.tensor([0.0, math.log(0.5), math.log(loss.LEAST)], dtype=torch.float64)
    torch.testing.assert_close(loss.log_feature_compatibility(ends), expected)
    assert loss.log_cantor_compatibility(torch.tensor([0.0, -math.sqrt(0.1)])).tolist() == pytest.approx([0, -1])
    assert loss.log_basin_compatibility(torch.tensor([0.0, 2.0])).tolist() == [0, -2]
    # near the centroid (1 + cos) / 2 rounds, and its logarithm here does not
    near = torch.tensor(1 - 2.0**-24)
    assert loss.log_feature_compatibility(near).item() == pytest.approx(-(2.0**-25), rel=1e-6)


def test_the_crystal_term_is_that_of_the_logits():
    geometry, _ = draw()
    for scale in geometry.scales.values():
        further = ScaleGeometry(scale.cosine, scale.gap, scale.distance + 0.3, scale.weights, scale.prototypes)
        torch.testing.assert_close(loss.log_score(further) - loss.log_score(scale), further.logits - scale.logits)


def test_consistency_is_over_pairs():
    geometry, _ = draw(scales=4)
    each = [loss.log_score(scale) for scale in geometry.scales.values()]
    pairs = [F.mse_loss(a.exp(), b.exp()) for a, b in itertools.combinations(each, 2)]
    torch.testing.assert_close(loss.scale_consistency(each), torch.stack(pairs).mean())
    assert loss.scale_consistency(each[:1]) == 0 and loss.scale_consistency([each[0]] * 3) < 1e-30


def test_separation_is_zero_beyond_the_margin():
    scores = torch.tensor([[0.9, 0.5, 0.2], [0.4, 0.35, 0.1]]).log()
    y = torch.tensor([0, 0])
    assert loss.separation(scores, y, 0.1).item() == pytest.approx(0.05 / 2)
    assert loss.separation(scores, y, 0.0).item() == 0


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (torch.tensor([0, 5]), "y must lie in 0 to 4, the classes of the model, but reaches from 0 to 5"),
        (torch.tensor([-1, 2]), "y must lie in 0 to 4, .*from -1 to 2"),
        (torch.tensor([0, 1, 2]), r"y must be one int64 label for each of 2 rows, not torch.int64 of shape \(3,\)"),
        (torch.tensor([0.0, 1.0]), "y must be one int64 label .*torch.float32"),
        (torch.tensor([[0], [1]]), "y must be one int64 label"),
        (torch.tensor([0, 1]).numpy(), "y must be one int64 label .*not a ndarray"),
    ],
)
def test_labels_that_are_none(y, sentence):
    with pytest.raises(ValueError, match=sentence):
        BasinLoss()(draw(rows=2)[0], y)


def test_no_rows_have_no_loss():
    with pytest.raises(ValueError, match="An empty batch has no loss; leave it out"):
        BasinLoss()(*draw(rows=0))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"temperature": 0}, "temperature must be a positive number, not 0"),
        ({"temperature": float("nan")}, "temperature must be a positive number, not nan"),
        ({"coherence": -0.3}, r"coherence must be a number that is not negative, not -0\.3"),
        ({"margin": float("inf")}, "margin must be a number that is not negative, not inf"),
    ],
)
def test_settings_that_are_none(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        BasinLoss(**setting)


@pytest.mark.parametrize("init", ["spread", "published"])
@pytest.mark.parametrize("position", ["features", "batch"])
def test_a_model_learns_by_it(init, position):
    """Ten classes of noisy directions, one of which (class 7) no batch holds: seen ones are told apart."""
    generator = torch.Generator().manual_seed(0)
    means = F.normalize(torch.randn(10, 16, generator=generator), dim=-1)
    y = torch.tensor([c for c in range(10) if c != 7]).repeat(20)[torch.randperm(180, generator=generator)]
    f = F.normalize(means[y] + 0.1 * torch.randn(180, 16, generator=generator), dim=-1)
    config = DavidConfig(feature_dim=16, num_classes=10, k=3, scales=(12, 20), init=init, position=position)
    model, criterion = GeoFractalDavid(config), BasinLoss()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01))
    first = criterion(model.geometry(f), y)[0].item()
    for _ in range(40):
        total, _ = criterion(model.geometry(f), y)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    assert total.item() < first / 3
    # well separated: directions 0.1 x 4 around means that are about 90 degrees apart; chance is 1/9
    assert (model(f).argmax(-1) == y).float().mean() > 0.9
