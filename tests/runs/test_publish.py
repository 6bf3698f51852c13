"""`mobius publish`: a run's weights and its card in a folder, and on a hub of this machine."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.datasets.made import SphereMixture
from mobius_lib.errors import MobiusError
from mobius_lib.runs import ABOUT, RUNS, RunError, execute, load_result
from mobius_lib.runs.base import Data
from mobius_lib.runs.publish import publish
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.simplex.probe import load_david
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid
from mobius_lib.training import hub
from mobius_lib.training.hub import HubAway, HubError, check_access
from tests.hub.stand_in import StandIn, stand_in


@pytest.fixture(scope="module")
def done(tiny_module, tmp_path_factory) -> SimpleNamespace:
    """The tiny run with two seeds: its record and its work."""
    folder = tmp_path_factory.mktemp("done")
    record, work = folder / "tiny.quick.json", folder / "outputs"
    where = work / "tiny" / "quick"
    execute(tiny_module.RUN, seeds=2, device="cpu", output=record, work=where, progress=False)
    return SimpleNamespace(record=record, work=work)


@pytest.fixture(autouse=True)
def known(tiny, monkeypatch):
    monkeypatch.setitem(ABOUT, "tiny", tiny)
    monkeypatch.setitem(RUNS, "tiny", tiny)
    monkeypatch.setattr(hub, "PAUSE", 0.0)


@pytest.fixture
def there(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    with stand_in(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # whose protocol the stand-in does not speak
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        yield server


def test_the_folder_is_laid_out_as_the_sources(done, tmp_path):
    into = publish(done.record, done.work, tmp_path / "out", seed=1)
    (stamp,) = (into / "checkpoints" / "tiny_lens-seed1").iterdir()
    assert re.fullmatch(r"\d{8}_\d{6}", stamp.name) and len(list((into / "checkpoints").iterdir())) == 2
    names = ["best_accuracy.json", "checkpoints", "config.json", "final_accuracy.json", "tensorboard"]
    assert sorted(path.name for path in stamp.iterdir()) == names
    weights = sorted(path.name for path in (stamp / "checkpoints").iterdir())
    assert weights == ["best_model.safetensors", "final_model.safetensors"], "no pickles"
    row = load_result(done.record)["arms"]["lens"][1]
    assert json.loads((stamp / "best_accuracy.json").read_text())["accuracy"] == row["best_accuracy"]
    assert load_result(into / "record.json") == load_result(done.record)
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_the_card_loads_what_it_speaks_of(done, tmp_path, monkeypatch, tiny):
    """Its code is run as it stands, in the folder; the weights are those that were judged."""
    into = publish(done.record, done.work, tmp_path / "out", arms=["gelu"])
    assert len(list((into / "checkpoints").iterdir())) == 1
    text = (into / "README.md").read_text()
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    about = yaml.safe_load(head)
    record = load_result(done.record)
    accuracies = [row["final_accuracy"] for row in record["arms"]["gelu"]]
    (found,) = about["model-index"][0]["results"]
    assert found["metrics"][0]["value"] == pytest.approx(sum(accuracies) / 2) and about["license"] == "apache-2.0"
    for told in (record["command"], record["commit"], "1" * 64, "| lens | 2 |", "| gelu | 2 |"):
        assert told in body
    code = re.search(r"```python\n(.*?)```", body, re.S)[1]
    monkeypatch.chdir(into)
    scope: dict = {}
    exec(code, scope)
    x, y = tiny.data().test
    final = load_file(next(into.rglob("final_model.safetensors")))
    scope["model"].load_state_dict(final)
    with torch.no_grad():
        right = (scope["model"](x).argmax(1) == y).double().mean().item()
    assert right == pytest.approx(accuracies[0])


def test_a_david_goes_where_seed_002_has_it(tmp_path, monkeypatch, tiny):
    """And is read by the loader of published weights, and by the card's snippet with the numbers of its own files."""
    config = DavidConfig(feature_dim=8, num_classes=4, k=2, scales=(6, 10), tau=0.5, position="batch")
    made = SphereMixture(4, 8, concentration=20.0)
    x, y = made.draw(40, "test")
    run = replace(
        tiny,
        arms={"my david": david_arms.david(config), "linear": lambda: torch.nn.Linear(8, 4)},
        data=lambda: Data(made.draw(96), (x, y), {"made": "1" * 64}),
        state=david_arms.state, measure=david_arms.measure, readings=None, extra=None, baseline="linear",
    )  # fmt: skip
    monkeypatch.setitem(RUNS, "tiny", run)
    record = tmp_path / "tiny.quick.json"
    row = execute(
        run, device="cpu", output=record, work=tmp_path / "outputs" / "tiny" / "quick", progress=False
    )["arms"]["my david"][0]  # fmt: skip
    into = publish(record, tmp_path / "outputs", tmp_path / "out")
    (folder,) = (into / "weights" / "GeoFractalDavid-Basin-k2").iterdir()
    best = f"best_model_acc{100 * row['best_accuracy']:.2f}"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{best}.safetensors", f"{best}_metadata.json", "train_config.json", "training_history.json"),
        *(f"cantor_prototypes_{name}.png" for name in ("distribution", "sorted", "cross_scale")),
    }
    assert re.fullmatch(r"\d{8}_\d{6}_my-david-seed0", folder.name)
    (events,) = (into / "runs" / folder.parent.name / folder.name).iterdir()
    assert events.name.startswith("events.out.tfevents.")
    assert [path.name for path in (into / "checkpoints").iterdir()] == ["tiny_linear-seed0"], "the other as in its card"
    told = json.loads((folder / "train_config.json").read_text())
    assert told["loss"]["coherence"] == BasinLoss().coherence and told["recipe"]["epochs"] == 3
    history = json.loads((folder / "training_history.json").read_text())
    assert max(epoch["val_accuracy"] for epoch in history) == row["best_accuracy"]

    snippet = {name: told["model"][name] for name in ("feature_dim", "num_classes", "k", "scales", "alpha_init", "tau")}
    by_hand = GeoFractalDavid(**snippet, position=told["model"]["position"])
    by_hand.load_state_dict(load_file(folder / f"{best}.safetensors"))
    read = load_david(folder / f"{best}.safetensors")
    assert (read.config.tau, read.config.position) == (0.5, "batch"), "of which weights alone say nothing"
    for model in (by_hand.eval(), read):
        with torch.no_grad():
            assert (model(x).argmax(1) == y).double().mean().item() == pytest.approx(row["best_accuracy"])
    assert f'load_file("weights/GeoFractalDavid-Basin-k2/{folder.name}/{best}' in (into / "README.md").read_text()


def test_made_again_it_replaces_what_it_made_and_nothing_else(done, tmp_path):
    into = publish(done.record, done.work, tmp_path / "out")
    (into / "old.txt").write_text("of an earlier call")
    publish(done.record, done.work, into)
    assert not (into / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(RunError, match=r"mine holds something else; give another --output"):
        publish(done.record, done.work, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": ["swan"]}, "no arm 'swan' with the seed 0; it has lens, gelu, with the seeds 0 to 1"),
        ({"seed": 2}, "no arm 'lens' with the seed 2"),
        ({"work": "elsewhere"}, "are not below elsewhere/tiny; name their folder by --work, or make them with `mobius"),
    ],
    ids=str,
)
def test_weights_that_are_not_there(done, tmp_path, change, words):
    options = {"arms": (), **change}
    work = Path(options.pop("work", done.work))
    with pytest.raises(RunError, match=re.escape(words)):
        publish(done.record, work, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_training_are_not_taken(done, tmp_path):
    """The same run with the same settings, whose accuracy the record does not tell."""
    record = json.loads(done.record.read_text())
    for rows in record["arms"].values():
        for row in rows:
            row["best_accuracy"] = row["final_accuracy"] = row["history"][-1]["val_accuracy"] = 1.0
    (tmp_path / "tiny.quick.json").write_text(json.dumps(record))
    with pytest.raises(MobiusError, match="are not below"):
        publish(tmp_path / "tiny.quick.json", done.work, tmp_path / "out")


def test_uploaded(done, tmp_path, there: StandIn, monkeypatch):
    """By the hub's own client, through the command."""
    monkeypatch.chdir(tmp_path)
    line = ["publish", str(done.record), "--work", str(done.work), "--output", "out", "--upload", "house/tiny"]
    found = CliRunner().invoke(cli.app, line, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    uploaded = tmp_path / "hub" / "models" / "house" / "tiny"
    files = {path.relative_to(uploaded): path.read_bytes() for path in uploaded.rglob("*") if path.is_file()}
    local = {path.relative_to("out"): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert files == local and len(files) > 8
    assert 'hf_hub_download("house/tiny", "checkpoints/tiny_lens-seed0/' in (uploaded / "README.md").read_text()


def test_without_being_asked_nothing_is_uploaded(done, tmp_path, there: StandIn):
    publish(done.record, done.work, tmp_path / "out")
    assert there.requests == []


@pytest.mark.parametrize(
    ("repo", "token", "words"),
    [
        ("tiny", "hf_writer", "'tiny' names no repository of the hub; give OWNER/NAME"),
        ("me/a b", "hf_writer", "'me/a b' names no repository of the hub"),
        ("a/b/c", "hf_writer", "'a/b/c' names no repository of the hub"),
        ("you/tiny", "hf_writer", "is me's, who has no place you; name me/tiny"),
        ("me/tiny", "hf_reader", "may read from the hub and not write to me/tiny"),
        ("me/tiny", "hf_wrong", "does not take the token of this machine for me/tiny .*hf auth login"),
    ],
)
def test_a_token_or_name_that_will_not_do_is_told_first(done, tmp_path, there, monkeypatch, repo, token, words):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=words) as error:
        publish(tmp_path / "no record is looked at", done.work, tmp_path / "out", upload=repo)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_hub_that_is_away(there, caplog):
    """Whoever uploads now needs it; a training that uploads later begins all the same."""
    there.always = ("status", 503)
    with pytest.raises(HubAway, match=r"could not be asked whether me/tiny may be written to"):
        check_access("me/tiny")
    check_access("me/tiny", needed=False)
    assert "The run begins all the same" in caplog.text
