"""What a run keeps of a training: it goes on where it was killed, and the weights write."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from mobius_lib.cli import app
from mobius_lib.runs import RunError, execute
from mobius_lib.runs.base import Place
from mobius_lib.runs.publish import publish
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor import continual, maps, text, weights
from mobius_lib.twistor import TwistorHopeArchitecture
from tests.runs.computed import at_sizes
from tests.training.conftest import differences

ROOT = Path(__file__).parents[3]
SIZES = replace(text.SIZES["quick"], steps=10, intervals=5, validation=600, training=20_000, test=1_500)
ARMS, MOMENTS = ("twistor", "lstm"), (4, 6, 8)
ABOUT = {"run": "twistor-text", "made_by": {"code": "1"}}


@cache
def comparison() -> text.Comparison:
    """Of models that carry a state, hold gradients from step to step, and draw random numbers (dropout)."""
    made = text.Comparison(replace(SIZES, dropout=0.1))
    made.prepare(text.load(SIZES))
    return made


def trained(arm: str, folder: Path | None) -> tuple:
    place = None if folder is None else Place(folder, ABOUT)
    model, outcome = comparison().trained(arm, 1, 1e-2, 10, 5, place=place)
    return model.state_dict(), outcome.history


def killed(arm: str, folder: Path, moment: int) -> int:
    """The exit status of a process that trains, with a real SIGKILL before the so many-th file is put in its place."""
    pid, replaced, left = os.fork(), os.replace, [moment]
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def counted(*given) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replaced(*given)

    os.replace = counted
    try:
        trained(arm, folder)
    finally:
        os._exit(1)


@pytest.fixture(scope="module")
def victims(tmp_path_factory) -> Path:
    """A folder ARM/MOMENT of each training that was killed, by a process that has no threads to fork."""
    folder = tmp_path_factory.mktemp("victims")
    line = "from tests.runs.twistor.test_weights import kill_all; kill_all()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", line], cwd=folder, env=environment, check=True)
    return folder


def kill_all() -> None:
    torch.set_num_threads(1)
    comparison()  # read once, before the forks
    found = {killed(arm, Path(arm, str(moment)), moment) for arm in ARMS for moment in MOMENTS}
    assert found == {-signal.SIGKILL}, found


@pytest.mark.parametrize("arm", ARMS)
def test_a_killed_training_goes_on_to_the_bit(arm, victims):
    folder = victims / arm / "whole"
    whole = trained(arm, folder)
    assert differences(trained(arm, None), whole) == [], "keeping it changes nothing"
    again, letters = weights.restore(folder)
    assert differences(dict(again.state_dict()), dict(whole[0])) == [] and letters == book.alphabet()
    ended = {key: whole[1][-1][key] for key in ("characters", "validation_bits")}
    assert weights.made_by(folder / weights.FILE) == {**ABOUT, "arm": arm, **ended}
    for moment in MOMENTS:
        stopped = victims / arm / str(moment)
        assert not (stopped / weights.FILE).exists()
        assert bool(list(stopped.glob("checkpoints/checkpoint_epoch_*.pt"))) == (moment > MOMENTS[0]), "at the start"
        assert differences(trained(arm, stopped), whole) == [], moment
        files = [each / weights.FILE for each in (stopped, folder)]
        assert differences(*map(load_file, files)) == [] and len({str(weights.made_by(file)) for file in files}) == 1
        curves = EventAccumulator(str(stopped / "tensorboard")).Reload()
        assert [each.step for each in curves.Scalars("gradient_norm")] == [1, 2, 3, 4, 5]
        assert arm != "twistor" or len(curves.Scalars("level_weights/1/0")) == 5


def test_a_run_keeps_what_writes_on(tmp_path):
    """Of one arm alone, with its provenance; the whole run takes it up."""
    sizes = replace(SIZES, steps=4, intervals=2)
    run = at_sizes("twistor-text", text.fields(sizes))
    run.compute.rates = dict.fromkeys(("gru", "transformer"), (1e-2, {}))  # as if searched for
    execute(run, "quick", only=["gru", "transformer", "n-gram"], work=tmp_path, progress=False)
    kept = {path.name.split(".")[0]: path for path in tmp_path.iterdir() if path.is_dir()}
    assert set(kept) == {"seed0-gru", "seed0-transformer"}
    for name, folder in kept.items():
        made = weights.made_by(folder / weights.FILE)
        assert {
            "run": "twistor-text",
            "scale": "quick",
            "seed": 0,
            "arm": name.removeprefix("seed0-"),
        }.items() <= made.items()
        assert (
            made["commit"]
            and made["versions"]["torch"] == torch.__version__
            and set(made["made_by"]) >= {"code", "data"}
        )
        config = json.loads((folder / "config.json").read_text())
        assert config["config"]["arm"] == made["arm"] and config["config"]["made_by"] == made["made_by"]
        given = ["generate", str(folder), "In the", "--length", "20", "--device", "cpu"]
        wrote = CliRunner().invoke(app, given, catch_exceptions=False)
        assert wrote.exit_code == 0 and wrote.stdout.startswith("In the") and len(wrote.stdout) == 6 + 20 + 1
        file = CliRunner().invoke(
            app, ["generate", str(folder / weights.FILE), "--length", "3"], catch_exceptions=False
        )
        assert file.stdout.startswith("In the beginning") and len(file.stdout) == 16 + 3 + 1
    many = CliRunner().invoke(app, ["generate", "one.safetensors", "In", "the"])
    assert "in quotation marks, not 3 words" in str(many.exception)


def test_weights_are_published_with_their_record(tmp_path):
    """Those that ended as the record says; the card's command writes from the folder as it stands."""
    sizes = replace(SIZES, steps=4, intervals=2)

    def go(seeds: int) -> dict:
        run = at_sizes("twistor-text", text.fields(sizes), cell=None, facts=None)
        run.compute.rates = {"gru": (1e-2, {})}
        work = tmp_path / "outputs" / "twistor-text" / "quick"
        return execute(run, "quick", seeds=seeds, output=record, work=work, progress=False)

    record = tmp_path / "twistor-text.quick.json"
    with patch.object(text, "ARMS", ("gru",)):
        made = go(2)
    into = publish(record, tmp_path / "outputs", tmp_path / "out", seed=1)
    (file,) = into.glob("checkpoints/twistor-text_gru-seed1/*/model.safetensors")
    card = (into / "README.md").read_text()
    bits = [row["bits_per_character"] for row in made["arms"]["gru"]]
    assert f"| gru | 2 | {sum(bits) / 2:.3f} ± " in card and "text-generation" in card
    (line,) = [line for line in card.splitlines() if line.startswith("mobius generate")]
    with contextlib.chdir(into):
        wrote = CliRunner().invoke(app, [*shlex.split(line)[1:], "--length", "5"], catch_exceptions=False)
    assert wrote.stdout.startswith("In the beginning") and file.is_file()
    content = json.loads(record.read_text())
    content["arms"]["gru"][1]["history"][-1]["validation_bits"] += 1e-6
    record.write_text(json.dumps(content))
    with pytest.raises(RunError, match="weights of gru with the seed 1, of which the record speaks, are not below"):
        publish(record, tmp_path / "outputs", tmp_path / "out", seed=1)


def test_every_kind_of_model_is_built_again_from_its_file(tmp_path):
    models = maps.make_all(SIZES, len(book.alphabet()))
    for name in ("twistor", "bare + mixing", "no J, wider", "gru + head", "transformer"):
        model = models[name]().eval()
        weights.save(model, book.alphabet(), tmp_path / "m.safetensors")
        again, _ = weights.restore(tmp_path / "m.safetensors")
        given = torch.arange(40).view(2, 20)
        assert type(again) is type(model) and torch.equal(again(given), model(given)), name


def test_a_transformer_streams_what_it_reads_at_once():
    """Every window of a text that comes character by character has half a window before it, as when it is judged."""
    torch.manual_seed(0)
    model = comparison().fresh("transformer").eval()
    given, state, found = torch.arange(50).remainder(7).unsqueeze(0), None, []
    with torch.no_grad():
        for token in given[0]:
            logits, state = model.stream(token.view(1, 1), state)
            found.append(logits[0, -1])
        assert state.shape == (1, model.window)
        inside = model.within(given[:, : model.window])[0]
        torch.testing.assert_close(torch.stack(found[: model.window]), inside, rtol=0, atol=1e-5)  # float32
        half = model.window // 2
        seen = torch.cat([given[:, -half - 1 :]], dim=1)
        torch.testing.assert_close(found[-1], model.within(seen)[0, -1], rtol=0, atol=1e-5)


def test_stages_of_a_course_go_on(tmp_path, monkeypatch):
    """Stopped in its second stage, the first is not trained again, and the record is that of one never stopped."""
    sizes = replace(continual.SIZES["quick"].model, training=8_000, validation=600, test=1_000)

    def go(work: Path | None) -> dict:
        run = at_sizes("twistor-continual", continual.fields(continual.Course(sizes, steps=4, intervals=2)))
        run.compute.rates = {"twistor": (1e-2, {})}  # as if searched for
        row = execute(run, "quick", only=["twistor"], work=work, progress=False)["arms"]["twistor"][0]
        return {key: value for key, value in row.items() if key != "seconds"}

    expected, calls, train = go(None), [], continual.train

    def stopped(*given, **options):
        calls.append(options["place"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*given, **options)

    monkeypatch.setattr(continual, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path)
    monkeypatch.undo()
    steps = []
    watched = TwistorHopeArchitecture.loss
    monkeypatch.setattr(TwistorHopeArchitecture, "loss", lambda *given: steps.append(1) or watched(*given))
    assert go(tmp_path) == expected and len(steps) == 2 * 4, "two stages of four steps"
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    model, _ = weights.restore(folder)
    assert model.config.dim == sizes.dim and {"stage1", "stage3"} <= {path.name for path in folder.iterdir()}
