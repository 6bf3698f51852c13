"""More seeds for a record: the same as if all had been made at once, and nothing is lost where that is stopped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobius_lib.ledger.results import read
from mobius_lib.runs import RunError, evidence, execute, executor, get_run, trainer
from mobius_lib.runs.predictions import load_predictions
from mobius_lib.runs.schema import read_record
from mobius_lib.runs.twistor import recall

NAME = "cantor-alpha.long.json"
SMALL = {"epochs": 2, "train_samples": 200, "test_samples": 100}


def make(path: Path, seeds: int, run: str = "cantor-alpha", **options: Any) -> dict[str, Any]:
    options = {"scale": "long", **SMALL, **options}
    return execute(get_run(run), seeds=seeds, output=path, device="cpu", progress=False, replayed=True, **options)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with one seed."""
    path = tmp_path_factory.mktemp("one") / NAME
    make(path, 1)
    evidence.enter_made(path)
    return path


@pytest.fixture
def path(one: Path, tmp_path: Path) -> Path:
    return shutil.copytree(one.parent, tmp_path / "results") / NAME


def test_extended_is_as_if_made_at_once(path: Path, tmp_path: Path, lasting, monkeypatch) -> None:
    def searches(*_: object) -> None:
        raise AssertionError("it searches again")

    begun = json.loads(path.read_text())
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "_held_out", searches)
        make(path, 2, extend=True)
        evidence.enter_made(path)
        grown = make(path, 4, extend=True)
    assert grown == json.loads(path.read_text())
    parts = grown.pop("extended")
    assert [part["seeds"] for part in parts] == [[1], [2, 3]]
    assert all(part.keys() >= {"device", "versions", "commit", "created"} for part in parts)
    assert grown["wall_seconds"] == pytest.approx(begun["wall_seconds"] + sum(part["wall_seconds"] for part in parts))
    for name in ("created", "cost", "replay", "tuning", "device"):
        assert grown[name] == begun[name], "of the first seeds"
    whole = make(tmp_path / NAME, 4)
    for record in (grown, whole):
        record["cost"] = {}  # times
    assert lasting(grown) == lasting(whole)
    assert path.with_suffix(".npz").read_bytes() == (tmp_path / NAME).with_suffix(".npz").read_bytes()
    assert not list(path.parent.glob("*.before"))
    evidence.enter_made(path)
    assert evidence.verify(path).fault is None


def test_one_that_computes_is_extended_too(tmp_path: Path, monkeypatch) -> None:
    """Without predictions, and with all arms of a seed at once; not where its search finds another rate."""
    path, whole = tmp_path / "twistor-recall.quick.json", tmp_path / "whole" / "twistor-recall.quick.json"
    same = {"run": "twistor-recall", "scale": "quick"} | dict.fromkeys(SMALL)
    make(path, 1, **same)
    evidence.enter_made(path)
    begun = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(recall, "search", lambda rates, attempt: (7e-4, {}))
        with pytest.raises(RunError, match=r"learning rate 0.0007 for .*leave --extend out to train all seeds"):
            make(path, 2, extend=True, **same)
    assert path.read_bytes() == begun
    assert make(path, 2, extend=True, **same)["arms"] == make(whole, 2, **same)["arms"]


def edited(path: Path) -> None:
    content = json.loads(path.read_text())
    content["tuning"].clear()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("before", "options", "said"),
    [
        (Path.unlink, {}, "There is no .*that could be extended; leave --extend out"),
        (None, {"epochs": 3}, r"was made by another command, `mobius run cantor-alpha .*`; extend it with that"),
        (None, {"run": "simplex-features"}, "was made by another command"),
        (None, {"seeds": 1}, "has 1 seeds, and 1 would add none; give more with --seeds"),
        (edited, {}, "cannot be extended, it is edited since it was verified"),
        (lambda path: path.with_suffix(".npz").unlink(), {}, "its predictions, .*, are not there"),
    ],
    ids=["missing", "settings", "another", "no more", "stale", "predictions"],
)
def test_what_cannot_be_extended(before, options: dict[str, Any], said: str, path: Path) -> None:
    if before:
        before(path)
    there = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(RunError, match=said):
        make(path, **{"seeds": 2, "extend": True, **options})
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == there


class Killed(BaseException):
    """What no clean-up sees, as far as it is simulated."""


@pytest.mark.parametrize("file", ["predictions", "record"])
@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
def test_stopped_while_it_writes(file: str, kill: bool, path: Path, monkeypatch) -> None:
    """The old pair is there, at the latest when the same command is given again; and then nothing was lost."""
    there = path.read_bytes(), path.with_suffix(".npz").read_bytes()

    def stop(*_: Any, **__: Any) -> None:
        raise Killed if kill else RunError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(executor, "write_record" if file == "record" else "write_whole", stop)
        if kill:  # nobody puts anything back
            patched.setattr(Path, "replace", stop)
        with pytest.raises((Killed, RunError)):
            make(path, 2, extend=True)
    assert path.read_bytes() == there[0]
    assert kill or path.with_suffix(".npz").read_bytes() == there[1]
    make(path, 2, extend=True)
    record, _ = read_record(path)
    assert record.configuration.seeds == 2 and len(load_predictions(path)[1]["learned"]) == 2
    assert not list(path.parent.glob("*.before"))


@pytest.mark.parametrize("seeds", [[0], [1, 1], [2]])
def test_a_record_says_which_seeds_were_added_and_on_what_machine(path: Path, seeds: list[int]) -> None:
    make(path, 2, extend=True)
    content = json.loads(path.read_text())
    content["extended"][0]["device"] = "cpu: another, 1 threads"
    path.write_text(json.dumps(content))
    assert read(path).device == f"{content['device']} and cpu: another, 1 threads"
    content["extended"][0]["seeds"] = seeds
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="are said to have been added, which are not its last ones"):
        read_record(path)
