"""The card's trainer on a handful of made rows: its files, stopping and going on, and what cannot be trained on."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mobius_lib.datasets.made import SphereMixture
from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.runs.simplex import trainer as david
from mobius_lib.runs.simplex.trainer import plot_prototypes, train_david
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid

CLASSES, DIM = 4, 8
CONFIG = DavidConfig(feature_dim=DIM, num_classes=CLASSES, k=2, scales=(6, 10))
NAME = "GeoFractalDavid-Basin-k2"


def rows(split: str, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return SphereMixture(CLASSES, DIM, concentration=20.0).draw(samples, split)


@pytest.fixture
def train(tmp_path: Path):
    def call(**changes: Any) -> SimpleNamespace:
        arguments = {"train": rows("train", 160), "validation": rows("test", 80), "config": CONFIG}
        arguments |= {"epochs": 4, "batch_size": 32, "warmup_epochs": 1, "output_dir": tmp_path, "run_id": "one"}
        model, accuracy = train_david(**{**arguments, "device": "cpu", "progress": False, **changes})
        return SimpleNamespace(model=model, accuracy=accuracy)

    return call


def test_schedulers_by_name(train, tmp_path):
    """As the card's configuration has one."""
    train(scheduler_type="cosine_restarts", epochs=2, warmup_epochs=0)
    config = json.loads((tmp_path / "weights" / NAME / "one" / "train_config.json").read_text())
    assert config["recipe"]["schedule"] == "cosine_restarts"
    with pytest.raises(MobiusError, match=r"schedule must be one of cosine, cosine_restarts, .*, not 'step'"):
        train(scheduler_type="step")


class Stop(Exception):
    pass


@pytest.fixture
def interrupted(train, monkeypatch):
    """Stopped after the third of four epochs, before its files are exported."""
    original, calls = david.Place.export, []

    def export(self, config) -> None:
        calls.append(None)
        if len(calls) == 3:
            raise Stop
        original(self, config)

    monkeypatch.setattr(david.Place, "export", export)
    with pytest.raises(Stop):
        train()
    monkeypatch.setattr(david.Place, "export", original)


def test_files_of_the_card(train, tmp_path):
    done = train()
    (weights,) = (tmp_path / "weights" / NAME).iterdir()
    best = f"best_model_acc{100 * done.accuracy:.2f}"
    assert {path.name for path in weights.iterdir()} == {
        *(f"{best}.safetensors", f"{best}_metadata.json", "train_config.json", "training_history.json"),
        *(f"cantor_prototypes_{name}.png" for name in ("distribution", "sorted", "cross_scale")),
    }
    (events,) = (tmp_path / "runs" / NAME / "one").iterdir()
    assert events.name.startswith("events.out.tfevents.")
    assert not (tmp_path / "checkpoints" / NAME / "one" / "tensorboard").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"weights", "runs", "checkpoints"}
    for path in weights.glob("*.png"):
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) > 200 and picture.std() > 5, "something is drawn"


def test_the_weights_are_the_models(train, tmp_path):
    done = train()
    (path,) = (tmp_path / "weights" / NAME / "one").glob("*.safetensors")
    stored = load_file(path)
    again = GeoFractalDavid(CONFIG)
    again.load_state_dict(stored)
    x, y = rows("test", 80)
    with torch.no_grad():
        logits = again.eval()(x)
        assert torch.equal(logits, done.model(x))
    assert (logits.argmax(1) == y).float().mean().item() == pytest.approx(done.accuracy)
    assert done.accuracy > 0.5  # four classes: chance is 0.25, Bayes' rule has 0.94


def test_what_is_said_of_the_run(train, tmp_path):
    done = train(loss=BasinLoss(separation=0.0))
    folder = tmp_path / "weights" / NAME / "one"
    history = json.loads((folder / "training_history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert max(epoch["val_accuracy"] for epoch in history) == done.accuracy
    # warm-up of one epoch to half the rate, then the cosine: 1, 3/4, 1/4 of it
    assert [epoch["lr"] for epoch in history] == pytest.approx([0.005, 0.01, 0.0075, 0.0025])
    assert history[0]["scalars"].keys() >= {"cantor/alpha", "scale6/feature", "scale10/fusion"}
    config = json.loads((folder / "train_config.json").read_text())
    assert config["loss"]["separation"] == 0 and config["model"]["scales"] == [6, 10]
    assert config["recipe"]["weight_decay"] == 1e-5 and config["recipe"]["grad_clip"] == 1.0
    (path,) = folder.glob("*_metadata.json")
    metadata = json.loads(path.read_text())
    assert metadata["best_accuracy"] == done.accuracy and metadata["alpha"] == done.model.cantor_stairs.alpha.item()
    assert metadata["geo_weights"].keys() == metadata["scale_accuracy"].keys() == {"6", "10"}


def test_groups_learn_at_their_rates(train, tmp_path):
    """The card: heads x 1, fusion x 0.5, staircase x 0.1. AdamW's first step moves each number by its rate."""
    start = GeoFractalDavid(CONFIG).state_dict()
    x, y = rows("train", 160)
    end = train(train=(x, y), epochs=1, warmup_epochs=0, batch_size=160, weight_decay=0.0).model.state_dict()
    for name, rate in {"heads.6.class_prototypes": 1.0, "fusion_weights": 0.5, "cantor_stairs.alpha": 0.1}.items():
        # to float32's rounding of the numbers moved, and Adam's epsilon beside small gradients
        assert (end[name] - start[name]).abs().max().item() == pytest.approx(0.01 * rate, rel=1e-3), name


def test_stopped_and_continued_is_as_if_never_stopped(interrupted, train, tmp_path):
    parts, whole = train(), train(run_id="whole")
    assert parts.accuracy == whole.accuracy
    first, second = (tmp_path / "weights" / NAME / run for run in ("one", "whole"))
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}
    for path in first.glob("*.safetensors"):
        assert path.read_bytes() == (second / path.name).read_bytes()
    histories = [json.loads((folder / "training_history.json").read_text()) for folder in (first, second)]
    for epoch in histories[0] + histories[1]:
        assert epoch.pop("seconds") > 0
    assert histories[0] == histories[1]


def test_continuing_needs_the_same_arguments(interrupted, train):
    with pytest.raises(CheckpointError, match="begun with another config or loss"):
        train(loss=BasinLoss(coherence=0.0))
    with pytest.raises(CheckpointError, match="begun with another config or loss"):
        train(config=DavidConfig(feature_dim=DIM, num_classes=CLASSES, k=2, scales=(6, 9)))
    with pytest.raises(CheckpointError, match=r"begun with lr=0\.01"):
        train(lr=0.02)


@pytest.mark.parametrize("content", ["", "[]", "null", "{"])
def test_damaged_files_are_made_again(train, tmp_path, content):
    """Every small file that is read back; and one sentence where nothing is left of the best."""
    first = train()
    weights, run = (tmp_path / kind / NAME / "one" for kind in ("weights", "checkpoints"))
    (metadata,) = weights.glob("*_metadata.json")
    damaged = [weights / "train_config.json", metadata, run / "best_accuracy.json"]
    whole = [json.loads(path.read_text()) for path in damaged[:2]]
    for path in damaged:
        path.write_text(content)
    (run / "checkpoints" / "best_model.safetensors").write_bytes(b"cut")
    again = train()
    assert again.accuracy == first.accuracy and [json.loads(path.read_text()) for path in damaged[:2]] == whole
    (exported,) = weights.glob("*.safetensors")
    assert load_file(exported).keys() == first.model.state_dict().keys()
    (run / "checkpoints" / "best_model.pt").write_bytes(b"cut")
    metadata.unlink()
    with pytest.raises(CheckpointError, match=r"best.*can be read"):
        train()


def test_the_seed_decides(train, tmp_path):
    torch.manual_seed(1)
    first = train().model.state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = train(run_id="two").model.state_dict()
    assert torch.equal(torch.get_rng_state(), state), "the caller's draws go on"
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = train(run_id="three", seed=1).model.state_dict()
    assert not torch.equal(first["heads.6.class_prototypes"], other["heads.6.class_prototypes"])


def test_numpy_arrays_are_rows(train):
    arrays = {name: tuple(part.numpy() for part in rows(*of)) for name, of in
              {"train": ("train", 160), "validation": ("test", 80)}.items()}  # fmt: skip
    assert torch.equal(train(**arrays, run_id="two").model.fusion_weights, train().model.fusion_weights)


def test_sizes_come_from_the_data_and_names_from_the_clock(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(david, "GeoFractalDavid", lambda config: seen.append(config) or GeoFractalDavid(CONFIG))
    train(config=None, run_id=None, epochs=1, warmup_epochs=0)
    train(config=None, run_id=None, epochs=1, warmup_epochs=0)
    assert (seen[0].feature_dim, seen[0].num_classes, seen[0].k) == (DIM, CLASSES, 12)
    assert seen[0].scales == (384, 512, 768, 1024, 1280)
    assert len(list((tmp_path / "weights" / "GeoFractalDavid-Basin-k12").iterdir())) == 2


def test_rows_of_any_length_are_brought_to_one(train):
    x, y = rows("train", 160)
    lengths = torch.linspace(0.5, 20, 160).unsqueeze(1)
    plain, scaled = train(), train(run_id="scaled", train=(x * lengths, y))
    assert plain.accuracy == pytest.approx(scaled.accuracy, abs=0.05)  # rounding of rows, then 20 steps: a few of 80


def test_plots_of_one_scale(tmp_path):
    files = plot_prototypes(GeoFractalDavid(feature_dim=4, num_classes=2, k=1, scales=(3,)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files) and len(files) == 3


def poisoned() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = rows("train", 40)
    x[7, 2], x[9, 0] = torch.nan, torch.inf
    return x, y


def labelled(change: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = rows("train", 40)
    return x, change(y)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": poisoned()}, r"features of train hold a value that is not finite in 2 row\(s\).*row 7"),
        ({"validation": poisoned()}, "features of validation hold a value that is not finite"),
        ({"train": (torch.rand(40, 5), torch.arange(40) % 4)}, "train have 5 dimensions, but config.feature_dim is 8"),
        ({"validation": (torch.rand(9, 5), torch.arange(9) % 4)}, "validation have 5 dimensions"),
        ({"train": labelled(lambda y: y + 1)}, "labels of train must lie in 0 to 3, but row 3 has 4"),
        ({"validation": labelled(lambda y: y - 1)}, "labels of validation must lie in 0 to 3, but row 0 has -1"),
        ({"train": labelled(lambda y: y.clamp(max=2))}, r"train has no row of 1 of the 4 classes \(3\)"),
        ({"train": labelled(lambda y: y * 0)}, r"train has no row of 3 of the 4 classes \(1, 2, 3\)"),
        ({"train": labelled(lambda y: y * 0), "config": None}, "train holds one class only"),
        ({"train": labelled(lambda y: y[:-1])}, "labels of train must be one integer for each of its 40 rows"),
        ({"train": labelled(lambda y: y.float())}, "one integer for each"),
        ({"train": labelled(lambda y: y > 1)}, "one integer for each"),
        ({"train": (torch.rand(40), torch.arange(40))}, r"features of train must be floating-point rows"),
        ({"train": (torch.ones(40, 8).long(), torch.arange(40))}, r"features of train must be floating-point rows"),
        ({"train": (torch.rand(0, 8), torch.arange(0))}, "N >= 1"),
        ({"train": torch.rand(40, 8)}, "train must be a pair of tensors"),
        ({"validation": None}, "validation must be a pair of tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_cannot_be_used(train, tmp_path, changes, words):
    with pytest.raises(DataError, match=words) as error:
        train(**changes)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [], "nothing has begun"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 0.0}, "lr must be"),
        ({"warmup_epochs": 4}, "warmup_epochs must be .* from 0 to 3"),
        ({"hub_upload_interval": -1}, "hub_upload_interval must be 0 or more"),
        ({"run_id": "../up"}, "run_id must be the name of a folder"),
        ({"model_name": "a/b"}, "model_name must be the name of a folder"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(train, tmp_path, changes, words):
    with pytest.raises(MobiusError, match=words):
        train(**changes)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(train, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"weights.* cannot be made .*choose an output_dir"):
        train(output_dir=tmp_path / "file")


def test_uploads(train, monkeypatch):
    sent = []
    monkeypatch.setattr(david, "check_access", lambda repo, needed: sent.append(repo))
    monkeypatch.setattr(david.Uploader, "upload", lambda self, message: sent.append((self.repo, self.path)) or True)
    train(hf_repo="me/david", hub_upload_interval=3)
    both = [("me/david", f"{kind}/{NAME}/one") for kind in ("weights", "runs")]
    assert sent == ["me/david", *both * 2], "asked first, then after epoch 3 and at the end"
    sent.clear()
    train(run_id="two", hf_repo="me/david")
    assert len(sent) == 3
