"""What a saved David has learned, read off its weights wherever they lie."""

import json
import re
import shutil
from unittest.mock import patch

import pytest
import torch
from matplotlib import image
from rich.console import Console
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.datasets.own import own_features
from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.runs.simplex.probe import load_david, probe
from mobius_lib.runs.simplex.trainer import train_david
from mobius_lib.simplex import DavidConfig, GeoFractalDavid

SIZES = DavidConfig(feature_dim=6, num_classes=3, k=2, scales=(5, 3), position="batch", tau=0.1)
NAMES = {f"cantor_prototypes_{name}" for name in ("distribution", "sorted", "cross_scale")}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    path = tmp_path_factory.mktemp("data") / "f.safetensors"
    save_file({"x": torch.eye(3, 6)[y] + 0.1 * torch.randn(60, 6, generator=generator), "y": y}, path)
    return path


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory):
    """A run of `train_david`: its model, the folder of its weights and that of its checkpoints."""
    root, data = tmp_path_factory.mktemp("run"), own_features(features)
    model, _ = train_david(
        data.train, data.test, SIZES, epochs=3, lr=0.03, batch_size=16, warmup_epochs=0, output_dir=root,
        model_name="david", run_id="one", device="cpu", progress=False,
    )  # fmt: skip
    return model, root / "weights" / "david" / "one", root / "checkpoints" / "david" / "one"


def test_the_table_is_what_the_model_says(trained, tmp_path):
    model, weights, _ = trained
    (file,) = weights.glob("*.safetensors")
    found = probe(file, tmp_path)
    assert list(found.scales) == [5, 3] and found.alpha == model.cantor_stairs.alpha.item() and found.accuracy is None
    for head in model.heads.values():
        row, prototypes = found.scales[head.scale], head.cantor_prototypes.detach()
        assert row["fusion"] == model.get_fusion_weights()[head.scale]
        assert {name: row[name] for name in ("feature", "cantor", "crystal")} == (
            model.get_geometric_weights()[head.scale]
        )
        spread = [prototypes.mean(), prototypes.std(), prototypes.min(), prototypes.max()]
        assert [row[name] for name in ("mean", "std", "min", "max")] == [value.item() for value in spread]
    assert {path.stem for path in found.pictures} == NAMES and all(path.parent == tmp_path for path in found.pictures)
    assert all(image.imread(path).std() > 0 for path in found.pictures)


def test_scales_are_judged_on_held_out_rows(trained, features, tmp_path):
    """By the model's own configuration, which stands beside its weights: position and tau leave no trace in them."""
    model, weights, folder = trained
    (file,) = weights.glob("*.safetensors")
    data = own_features(features)
    x, y = data.test
    for path in (file, folder, folder / "checkpoints" / "best_model.safetensors"):
        beside = path != folder / "checkpoints" / "best_model.safetensors"
        assert load_david(path).config.position == ("batch" if beside else "features")
        found = probe(path, tmp_path, data=data)
        whole = model if beside else load_david(path)
        assert found.accuracy == (whole(x).argmax(1) == y).float().mean().item()
        for scale, logits in whole.get_scale_logits(x).items():
            assert found.scales[scale]["accuracy"] == pytest.approx((logits.argmax(1) == y).float().mean().item())
    assert load_david(file).config == model.config
    bare = tmp_path / "bare.safetensors"
    shutil.copy(file, bare)
    assert load_david(bare).config.position == "features" and load_david(bare, "batch").config.position == "batch"


def test_checkpoints_and_pictures_of_either_kind(trained, tmp_path):
    _, _, folder = trained
    (tmp_path / "best.pt").write_bytes((folder / "checkpoints" / "best_model.pt").read_bytes())
    found = probe(tmp_path / "best.pt", form="svg")
    assert {path.name for path in tmp_path.glob("*.svg")} == {f"{name}.svg" for name in NAMES}
    first = [path.read_text() for path in found.pictures]
    assert all("<svg" in text and not re.search(r"<dc:date>", text) for text in first)


def test_published_weights_need_nothing_beside_them(tmp_path):
    path = tmp_path / "best_model_acc71.40.safetensors"
    model = GeoFractalDavid(feature_dim=6, num_classes=4, k=2, scales=(4, 7))
    save_file(model.state_dict(), path)
    (tmp_path / "best_model_acc71.40_metadata.json").write_text('{"best_acc": 71.4, "model": ["of another kind"]}')
    found = probe(path)
    assert list(found.scales) == [4, 7] and found.scales[4]["fusion"] == 0.5
    assert found.scales[7]["mean"] == pytest.approx(0.5), "the prototypes are spread over [0, 1]"


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (None, "There are no weights"),
        (b"nothing", "cannot be read"),
        ({"weight": torch.zeros(2)}, "These are no weights of a GeoFractalDavid"),
        ("infinite", r"fusion_weights in .* holds a NaN or an infinity"),
    ],
)
def test_what_is_no_david(tmp_path, state, sentence):
    path = tmp_path / "w.safetensors"
    if state == "infinite":
        state = GeoFractalDavid(feature_dim=6, num_classes=4, k=2, scales=(4,)).state_dict()
        state["fusion_weights"] = torch.tensor([torch.nan])
    if isinstance(state, bytes):
        path.write_bytes(state)
    elif state is not None:
        save_file(state, path)
    with pytest.raises(CheckpointError, match=sentence):
        probe(path)
    assert not list(tmp_path.glob("*.png"))


def test_what_else_is_refused(trained, features, tmp_path):
    _, weights, _ = trained
    (file,) = weights.glob("*.safetensors")
    with pytest.raises(CheckpointError, match="png or svg, not as 'jpg'"):
        probe(file, tmp_path, form="jpg")
    with pytest.raises(CheckpointError, match="position must be one of"):
        probe(file, tmp_path, position="nowhere")
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written .*; give another --output"):
        probe(file, tmp_path / "taken")
    other = load_file(features)
    save_file({"x": other["x"][:, :5].contiguous(), "y": other["y"]}, tmp_path / "narrow.safetensors")
    with pytest.raises(DataError, match=r"narrow has rows of 5 numbers and 3 classes, .* takes 6 and has 3"):
        probe(file, tmp_path, data=own_features(tmp_path / "narrow.safetensors"))


def test_the_command(trained, features, tmp_path):
    _, weights, _ = trained
    (file,) = weights.glob("*.safetensors")
    line = ["probe", str(file), "--output", str(tmp_path / "new"), "--format", "svg", "--data", str(features)]
    with patch.object(cli, "console", Console(width=300)):
        result = CliRunner().invoke(cli.app, line)
    assert result.exit_code == 0, result.output
    assert "fusion" in result.stdout and "alpha" in result.stdout and "of 12 held-out rows" in result.stdout
    assert {path.stem for path in (tmp_path / "new").iterdir()} == NAMES
    refused = CliRunner().invoke(cli.app, ["probe", str(tmp_path / "nothing")])
    assert isinstance(refused.exception, MobiusError)
    assert json.loads(next(weights.glob("*_metadata.json")).read_bytes())["model"]["position"] == "batch"
