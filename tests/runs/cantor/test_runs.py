"""The runs of chapter 2: their arms are what they say, and the record has what the chapter and the ledger read."""

import json
from dataclasses import replace

import pytest
import torch

from mobius_lib.cantor import drop_third, with_mask
from mobius_lib.datasets import fashion_mnist
from mobius_lib.runs import execute, get_run
from mobius_lib.runs.cantor import alpha as cantor_alpha
from mobius_lib.runs.cantor import mask as cantor_mask
from mobius_lib.simplex import GeoFractalDavid
from mobius_lib.training import ResidentBatches, evaluate
from mobius_lib.waves import MobiusNet
from mobius_lib.waves.fast import fastest


@pytest.fixture(scope="module")
def alpha_record() -> dict:
    return execute(
        get_run("cantor-alpha"), epochs=2, train_samples=120, test_samples=60, device="cpu", progress=False, seeds=2
    )


def test_arms_of_alpha():
    arms = get_run("cantor-alpha").arms
    assert list(arms) == ["learned", "learned fast", "frozen 0", "frozen 1/2", "frozen 1", "no cantor"]
    models = {name: arm() for name, arm in arms.items()}
    learns = {name: model.cantor_stairs.alpha.requires_grad for name, model in models.items()}
    assert learns == {name: not name.startswith("frozen") for name in arms}
    for name, height in cantor_alpha.FROZEN.items():
        assert models[name].cantor_stairs.alpha.item() == height
    assert models["learned"].cantor_stairs.alpha.item() == 0.5
    x = torch.nn.functional.normalize(torch.randn(5, 512))
    with torch.no_grad():
        logits = {name: model.eval()(x) for name, model in models.items()}
        torch.testing.assert_close(logits["learned"], logits["frozen 1/2"])
        assert (logits["learned"] - logits["frozen 1"]).abs().max() > 1e-3
        models["no cantor"].cantor_stairs.alpha += 5
        assert torch.equal(models["no cantor"](x), logits["no cantor"]), "it has no say"


def test_weights_start_from_the_runs_seed():
    make = get_run("cantor-alpha").arms["learned"]
    starts = []
    for seed in (0, 1, 1):
        torch.manual_seed(seed)
        starts.append(make().heads["64"].class_prototypes)
    assert not torch.equal(starts[0], starts[1]) and torch.equal(starts[1], starts[2])


def test_record_of_alpha(alpha_record):
    json.dumps(alpha_record, allow_nan=False)
    for name, rows in alpha_record["arms"].items():
        for row in rows:
            assert len(row["alpha_history"]) == 2 and row["alpha_history"][-1] == row["alpha"]
            assert row["geo_weights"].keys() == row["cantor_prototypes"].keys() == {"64", "128"}
            assert all(sum(weights) == pytest.approx(1, abs=1e-6) for weights in row["geo_weights"].values())
            assert sum(row["fusion_weights"]) == pytest.approx(1, abs=1e-6) and len(row["fusion_weights"]) == 2
            assert 0 <= row["score_accuracy"] <= 1
            if name.startswith("frozen"):
                assert set(row["alpha_history"]) == {cantor_alpha.FROZEN[name]}
            if name == "no cantor":
                assert all(weights[1] == 0 for weights in row["geo_weights"].values())
    moved = {name: abs(alpha_record["arms"][name][0]["alpha"] - 0.5) for name in ("learned", "learned fast")}
    # four AdamW steps of at most 0.003, and of a tenth of it
    assert 0 < moved["learned"] <= 4 * 0.0003 * 1.01 < moved["learned fast"] <= 4 * 0.003 * 1.01
    assert alpha_record["cost"]["learned"]["ratio_to_no cantor"] > 0


def test_prototype_statistics(alpha_record):
    model = get_run("cantor-alpha").arms["learned"]()
    found = cantor_alpha.david_arms.measure(
        model.eval(), replace(cantor_alpha.load(), test=(torch.rand(3, 512), torch.arange(3))), []
    )
    # untrained: linspace(0, 1) over ten classes
    line = torch.linspace(0, 1, 10)
    expected = {"mean": 0.5, "std": line.std().item(), "min": 0.0, "max": 1.0}
    assert found["cantor_prototypes"] == {"64": pytest.approx(expected), "128": pytest.approx(expected)}
    assert found["alpha_history"] == [] and isinstance(model, GeoFractalDavid)


def test_pictures_are_halved():
    data = cantor_mask.load()
    raw, labels = fashion_mnist("test")
    assert data.train[0].shape == (10_000, 1, 14, 14) and torch.equal(data.test[1], labels)
    halves = raw[:50].float().view(50, 1, 14, 2, 14, 2).mean((3, 5))
    small = data.test[0][:50]
    # one affine map, found from two grey levels: the rest follows (to float32's rounding of 255)
    low, high = halves.argmin(), halves.argmax()
    slope = (small.flatten()[high] - small.flatten()[low]) / (halves.max() - halves.min())
    torch.testing.assert_close(small, small.flatten()[low] + slope * (halves - halves.min()), rtol=0, atol=1e-4)
    assert data.augment is not None and len(data.hashes) == 4


def test_arms_of_the_mask():
    run = get_run("cantor-mask")
    assert list(run.arms) == ["thirds", "unmasked", "dropout", "fixed"]
    models = {name: arm() for name, arm in run.arms.items()}
    masks = {name: [b.thirds_mask.flatten() for b in model.blocks] for name, model in models.items()}
    assert all((mask == 1).all() for mask in masks["unmasked"])
    turned = [int((mask < 1).nonzero()[0]) for mask in masks["thirds"]]
    assert turned == [0, 8, 16, 0, 16, 32], "each third of each stage has its turn"
    assert [int((mask < 1).nonzero()[0]) for mask in masks["fixed"]] == [0] * 6
    x = torch.randn(4, 1, 14, 14)
    for name, model in models.items():
        model.train()
        with torch.no_grad():
            assert torch.equal(model(x), model(x)) == (name != "dropout"), "chance in training only where it belongs"


def test_what_is_measured_without_a_third():
    torch.manual_seed(0)
    model = with_mask(MobiusNet(**cantor_mask.SIZES), "thirds").eval()
    data = cantor_mask.load()
    data = replace(data, train=(data.train[0][:40], data.train[1][:40]), test=(data.test[0][:40], data.test[1][:40]))
    found = cantor_mask.measure(model, data, [])
    with torch.no_grad():
        x, y = data.test
        expected = []
        for group in range(3):
            with drop_third(model, group):
                expected.append(torch.nn.functional.cross_entropy(model(x), y).item())
    assert found["loss_without"] == pytest.approx(expected, rel=1e-5)  # float32 sums
    assert found["loss_without_a_third"] == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert found["coadaptation"] == pytest.approx(found["loss_without_a_third"] - found["test_loss"], rel=1e-6)
    assert found["accuracy_without_a_third"] == pytest.approx(sum(found["accuracy_without"]) / 3)
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
        rise = torch.zeros(40)
        for group in range(3):
            with drop_third(model, group):
                rise += (torch.nn.functional.cross_entropy(model(x), y, reduction="none") - each) / 3
    assert rise.mean().item() == pytest.approx(found["coadaptation"], abs=1e-5)  # float32 sums
    assert found["coadaptation_error"] == pytest.approx(rise.std().item() / 40**0.5, rel=1e-3)
    p, q = found["train_accuracy"], found["train_accuracy"] - found["train_test_gap"]
    assert found["train_test_gap_error"] == pytest.approx(((p * (1 - p) + q * (1 - q)) / 40) ** 0.5)
    loss, accuracy = evaluate(model, ResidentBatches(*data.test, 40, shuffle=False, seed=0))
    assert found["test_loss"] == loss and found["train_test_gap"] == found["train_accuracy"] - accuracy


def test_record_of_the_mask():
    record = execute(
        get_run("cantor-mask"), epochs=1, train_samples=40, test_samples=20, batch_size=20, device="cpu", progress=False
    )
    json.dumps(record, allow_nan=False)
    keys = {"accuracy_without_a_third", "accuracy_without", "loss_without", "coadaptation", "train_test_gap"}
    for rows in record["arms"].values():
        assert keys <= rows[0].keys() and len(rows[0]["accuracy_without"]) == 3
    assert record["cost"]["thirds"]["ratio_to_unmasked"] > 0 and record["configuration"]["backend"] == fastest("cpu")
