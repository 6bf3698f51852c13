"""The runs of chapter 3: fair arms, honest data, and records that hold what the chapter and the ledger read."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mobius_lib.datasets import features
from mobius_lib.datasets.store import Stored
from mobius_lib.runs import RUNS, execute, get_run
from mobius_lib.runs.base import Data
from mobius_lib.runs.registry import run_at
from mobius_lib.runs.replay import carried, replay
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.simplex import features as simplex_features
from mobius_lib.runs.simplex import imagenet as simplex_imagenet
from mobius_lib.runs.simplex import mixture as simplex_mixture
from mobius_lib.runs.simplex import robustness as simplex_robustness
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid

SMALL = DavidConfig(feature_dim=6, num_classes=4, k=2, scales=(5, 7))


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def rows(n: int = 12, dim: int = 6) -> torch.Tensor:
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(0)))


def tiny(name: str, scale: str = "quick", **changes) -> dict:
    options = {"epochs": 1, "train_samples": 80, "test_samples": 40, "batch_size": 40, "lr": 0.003, **changes}
    return execute(get_run(name), scale, device="cpu", progress=False, **options)


# What David's arms share.


@pytest.mark.parametrize("changes", [{}, {"k": 1}, {"scales": (3,)}, {"num_classes": 2, "feature_dim": 9}], ids=str)
def test_size_without_building(changes):
    config = replace(SMALL, **{"k": 2, **changes})
    assert david_arms.size_of(config) == parameters(GeoFractalDavid(config))
    assert david_arms.size_of(DavidConfig()) == 63_053_342  # published


def test_objectives():
    model, x, y = GeoFractalDavid(SMALL), rows(), torch.arange(12) % 4
    loss, logits = david_arms.BasinObjective()(model, x, y)
    torch.testing.assert_close(logits, model(x).detach())
    torch.testing.assert_close(loss, BasinLoss()(model.geometry(x), y)[0])
    loss, logits = david_arms.cross_entropy(model, x, y)
    torch.testing.assert_close(loss, cross_entropy(model(x) / 0.1, y))


def test_groups_have_the_seeds_rates():
    model = GeoFractalDavid(SMALL)
    groups = david_arms.groups(model)
    assert [group["rate"] for group in groups] == [1.0, 0.5, 0.1]
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in model.parameters()}


def test_state_is_nothing_for_other_models():
    assert david_arms.state(torch.nn.Linear(2, 2)) == {} == david_arms.measure(torch.nn.Linear(2, 2), None, [])
    found = david_arms.state(GeoFractalDavid(SMALL))
    assert found["cantor/alpha"] == 0.5 and found["scale5/feature"] == pytest.approx(1 / 3)
    assert found["scale7/fusion"] == pytest.approx(1 / 2)


def test_accuracies_by_counting():
    model, x = GeoFractalDavid(SMALL).eval(), rows(40)
    with torch.no_grad():
        y = model.get_scale_logits(x)[5].argmax(1)  # so that one scale is always right
        other = (model.get_scale_logits(x)[7].argmax(1) == y).float().mean().item()
    found = david_arms.measure(model, Data((x, y), (x, y)), [])
    assert found["scale_accuracy"] == {"5": 1.0, "7": pytest.approx(other)}


# Fairness.


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        (name, scale)
        for name in ("simplex-features", "simplex-mixture", "simplex-mixture-modes", "simplex-robustness")
        for scale in ("quick", "short", "long", "full")
        if scale in RUNS[name].scales
    ],
)
def test_rivals_have_davids_size_and_its_chances(name, scale):
    arms = RUNS[name].at(scale).arms
    with torch.device("meta"):
        mlp = parameters(arms["mlp"].make())
    config = {
        "simplex-features": lambda: simplex_features.config(scale),
        "simplex-robustness": lambda: DavidConfig(
            feature_dim=512, num_classes=10, k=simplex_robustness.K[scale], scales=simplex_robustness.SCALES[scale]
        ),
    }
    if name not in config:
        sizes = simplex_mixture.SIZES[scale]
        config[name] = lambda: DavidConfig(
            feature_dim=sizes.dim, num_classes=sizes.classes, k=sizes.k, scales=sizes.scales
        )
    size = david_arms.size_of(config[name]())
    # one hidden unit more or less: dim + 3 + classes parameters
    assert abs(mlp - size) <= (515 + 1000) / 2
    tries = {each: len(arms[each].rates) for each in ("david", "linear", "cosine", "mlp")}
    assert set(tries.values()) == {{"quick": 1, "long": 5}.get(scale, 3)}, "nobody is tuned more than the others"
    assert arms["ncm"].solve is not None
    for each in arms.values():
        assert each.rate_of is None or (each.rate_of in arms and arms[each.rate_of].rates)


def test_at_long_scale_every_arm_has_a_rate_of_its_own():
    """But one that is another's longer training, and settings in which nothing could be held out."""
    for name in ("simplex-features", "cantor-alpha", "cantor-mask", "simplex-robustness"):
        run = run_at(name, "long")
        trained = {arm: made for arm, made in run.arms.items() if made.solve is None}
        own = {arm for arm, made in trained.items() if len(made.rates) == (3 if name == "cantor-mask" else 5)}
        others = {arm for arm in trained if arm != "mlp longer" and ", " not in arm}
        assert own == others and run.further_rates > 0
        assert all(made.rate_of in own for arm, made in trained.items() if arm not in own)
        data = run.data()
        assert len(data.train[1]) == run.scales["long"].train_samples == len(data.test[1])


def test_ablations_take_away_one_thing_each():
    run = get_run("simplex-features")
    assert {"david", "linear", "cosine", "ncm", "mlp", "mlp longer", "cross-entropy", "published"} <= run.arms.keys()
    x, y = rows(8, 512), torch.arange(8)
    with torch.no_grad():
        full = run.arms["david"]()
        whole, terms = run.arms["david"].objective.loss(full.geometry(x), y)
        for i, term in enumerate(("feature", "cantor", "crystal")):
            weights = torch.tensor(
                [list(w.values()) for w in run.arms[f"no {term}"]().get_geometric_weights().values()]
            )
            assert (weights[:, i] == 0).all()
            torch.testing.assert_close(weights.sum(1), torch.ones(3))
        for part in ("separation", "discretisation", "consistency"):
            arm = run.arms[f"no {part}"]
            less, _ = arm.objective.loss(arm().geometry(x), y)
            weight = getattr(BasinLoss(), part)
            # the same start, so that the totals differ by that term alone (float32)
            assert (whole - less).item() == pytest.approx(weight * terms[part].item(), abs=1e-5)
        only, rest = run.arms["contrastive only"].objective.loss(full.geometry(x), y)
        assert set(rest) == {"contrastive"} and only.item() == pytest.approx(terms["contrastive"].item(), rel=1e-6)
    published = run.arms["published"]()
    assert published.config.position == "batch" and published.config.init == "published"


def test_only_what_starts_as_published_starts_by_rounding():
    """Its centroids are zero but for rounding, which their cosine divides by their length: so even its first loss is
    another one on another processor, and what a rounding makes of it says so."""
    run = run_at("simplex-features", "quick")
    data = run.data()
    part = replace(data, train=(data.train[0][:128], data.train[1][:128]))
    for name in ("published", "david"):
        plain, shaken = (
            replay(run, "quick", run.scales["quick"], part, {name: {}}, torch.device("cpu"), shaken=seed)[name]
            for seed in (None, 0)
        )
        assert (name == "published") == (carried(plain, [shaken])[0] > 1e-4)


def test_scales_keep_the_proportions_of_the_published_ones():
    assert [4 * scale for scale in simplex_features.SCALES["short"]] == list(simplex_features.SCALES["full"])
    assert simplex_features.SCALES["full"] == tuple(DavidConfig().scales)


# Records.


def test_record_of_the_features():
    record = tiny("simplex-features")
    json.dumps(record, allow_nan=False)
    assert len(record["data"]) == 2 and record["cost"].keys() == {"david", "linear", "cosine", "mlp"}
    row = record["arms"]["david"][0]
    assert {
        "alpha",
        "alpha_history",
        "geo_weights",
        "fusion_weights",
        "cantor_prototypes",
        "scale_accuracy",
    } <= row.keys()
    assert "alpha" not in record["arms"]["mlp"][0]
    longer, short = (record["arms"][name][0] for name in ("mlp longer", "mlp"))
    assert len(longer["history"]) == 4 * len(short["history"]) == 4


@pytest.mark.parametrize("modes", [1, 4])
def test_record_of_the_mixture(modes):
    record = tiny(simplex_mixture.MIXTURES[modes], train_samples=300, test_samples=150)
    json.dumps(record, allow_nan=False)
    bayes = record["bayes"]
    assert bayes["modes"] == modes and 0.85 < bayes["accuracy"] < 0.95 and bayes["standard_error"] < 0.005
    x, _ = simplex_mixture.mixture("quick", modes).draw(simplex_mixture.SIZES["quick"].train)
    assert hashlib.sha256(x.numpy().tobytes()).hexdigest() in record["data"].values()
    best = max(rows[0]["final_accuracy"] for rows in record["arms"].values())
    assert best < bayes["accuracy"] + 4 * (0.25 / 150) ** 0.5, "nobody beats Bayes' rule"
    weights = record["arms"]["vertices only"][0]["geo_weights"]
    assert all(each == [0, 0, 1] for each in weights.values())


def test_four_modes_need_more_than_a_nearest_mean():
    """With all the rows there are: what makes the second mixture a question of geometry."""
    gaps = {}
    for modes in (1, 4):
        made = simplex_mixture.mixture("quick", modes)
        x, y = made.draw(20_000, "test")
        nearest = (x @ made.means.sum(1).T).argmax(1)
        gaps[modes] = ((made.bayes_predict(x) == y).float().mean() - (nearest == y).float().mean()).item()
    assert gaps[1] == 0 and gaps[4] > 0.2


def test_record_of_robustness():
    record = tiny("simplex-robustness", train_samples=200, test_samples=100)
    json.dumps(record, allow_nan=False)
    models, settings = simplex_robustness.MODELS, simplex_robustness.QUICK_SETTINGS
    assert set(record["arms"]) == {simplex_robustness.arm_name(m, s) for m in models for s in settings}
    for name, entries in record["arms"].items():
        row = entries[0]
        assert row["history"] == [] and 0 <= row["ece"] <= 1 and 0 <= row["ece_scaled"] <= 1 and row["nll_scaled"] > 0
        assert ("auroc_probability" in row) == name.endswith("7 classes")
    assert set(record["cost"]) == {"david", "linear", "cosine", "mlp"}
    short = RUNS["simplex-robustness"].at("short").arms
    assert len(short) == 5 * 8
    assert all(arm.rate_of in simplex_robustness.MODELS or arm.rates or arm.solve for arm in short.values())


# What is done to the data of robustness.


@pytest.fixture(scope="module")
def embedded() -> Data:
    return Data(features("train", 512), features("test", 512))


@pytest.mark.parametrize("shots", simplex_robustness.SHOTS)
def test_few_rows(embedded, shots):
    x, y = simplex_robustness.few(embedded, 3, shots).train
    distinct, times = x.unique(dim=0, return_counts=True)
    assert len(distinct) == 10 * shots and times.min() == times.max() and len(x) >= 1000
    assert (y.bincount() == len(y) // 10).all()
    known = {row.numpy().tobytes(): int(label) for row, label in zip(*embedded.train, strict=True)}
    assert all(known[row.numpy().tobytes()] == int(label) for row, label in zip(x[:100], y[:100], strict=True))
    again, other = (simplex_robustness.few(embedded, seed, shots).train[0] for seed in (3, 4))
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize("percent", simplex_robustness.NOISE)
def test_noisy_labels(embedded, percent):
    found = simplex_robustness.noisy(embedded, 0, percent)
    before, after = embedded.train[1], found.train[1]
    changed = (before != after).double().mean().item()
    # 10,000 coins: deviation 0.5 % at most
    assert changed == pytest.approx(percent / 100, abs=0.02) and set(after.tolist()) == set(range(10))
    steps = ((after - before) % 10)[before != after].bincount(minlength=10)
    assert steps[0] == 0 and steps[1:].min() > 0.8 * changed * 10_000 / 9, "to all the other classes alike"
    assert torch.equal(found.train[0], embedded.train[0]) and found.test is embedded.test


def test_seven_classes(embedded):
    seen = set()
    for seed in range(3):
        found = simplex_robustness.known_classes(embedded, seed)
        x, y = found.train
        assert len(x) == 7000 and set(y.tolist()) == set(range(7)) and len(found.outside) == 600
        assert len(found.test[0]) == 1400 and set(found.test[1].tolist()) == set(range(7))
        labels = {row.numpy().tobytes(): int(label) for row, label in zip(*embedded.train, strict=True)}
        pairs = {(labels[row.numpy().tobytes()], int(label)) for row, label in zip(x, y, strict=True)}
        assert len(pairs) == 7 and sorted(pairs) == sorted(pairs, key=lambda pair: pair[1]), "one to one, in order"
        test = {row.numpy().tobytes() for row in found.test[0]}
        assert not test & {row.numpy().tobytes() for row in found.outside}
        seen.add(frozenset(old for old, _ in pairs))
    assert len(seen) > 1, "the seed draws them"


def test_what_robustness_measures():
    """Strangers that look like nothing known, and logits whose calibration is known."""
    model = torch.nn.Identity()
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(4000, 5, generator=generator)
    y = torch.multinomial(z.softmax(1), 1, generator=generator).squeeze(1)
    found = simplex_robustness.measure(model, Data((z, y), (2 * z, y), outside=torch.zeros(50, 5)), [])
    assert found["temperature"] == pytest.approx(2, abs=0.15)  # 2,000 rows
    assert found["ece_scaled"] < 0.03 < found["ece"] and found["nll_scaled"] < found["nll"]
    assert found["auroc_probability"] == 1 and found["auroc_score"] > 0.9


# ImageNet.


def test_imagenet_is_the_seeds_recipe(monkeypatch):
    run, full = get_run("simplex-imagenet"), get_run("simplex-imagenet").scales["full"]
    assert (full.epochs, full.batch_size, full.lr, run.weight_decay, run.warmup_epochs) == (10, 1024, 0.01, 1e-5, 3)
    assert david_arms.size_of(simplex_imagenet.PUBLISHED) == 63_053_342
    data = {
        split: Stored(
            rows(n, 512).to(torch.float16 if split == "train" else torch.float32),
            torch.randint(1000, (n,), generator=torch.Generator().manual_seed(n)),
            {},
        )
        for split, n in {"train": 12, "validation": 6}.items()
    }
    asked = []

    def fetch(split, configuration):
        asked.append(configuration)
        return data[split]

    monkeypatch.setattr(simplex_imagenet, "published_features", fetch)
    small = DavidConfig(k=2, scales=(4, 6))
    arms = {name: david_arms.david(small) for name in ("published", "david")} | {"linear": run.arms["linear"]}
    record = execute(replace(run, arms=arms), "full", epochs=1, device="cpu", progress=False)
    assert set(asked) == {"clip_vit_b16"}
    assert record["arms"]["published"][0]["scale_accuracy"].keys() == {"4", "6"}
    assert record["arms"]["linear"][0]["parameters"] == 513_000
