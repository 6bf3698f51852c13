"""How a run is carried out: its record, its arms in turn, stopping and going on."""

import hashlib
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mobius_lib.errors import MobiusError
from mobius_lib.files import write_json
from mobius_lib.fingerprint import fingerprint
from mobius_lib.runs import RunError, Scale, execute, get_run, load_result, pick_device, provenance, trainer
from mobius_lib.runs.base import Data, seeded_subset, with_columns
from mobius_lib.runs.made_by import configuration_of
from mobius_lib.training import loop
from mobius_lib.waves.fast import fastest

ROOT = Path(__file__).parents[2]


class Stop(Exception):
    """What stops a run in the middle."""


@pytest.fixture
def run(tiny):
    def call(**options: Any) -> dict[str, Any]:
        chosen = options.pop("of", tiny)
        return execute(chosen, options.pop("scale", "quick"), device="cpu", progress=False, **options)

    return call


@pytest.fixture(scope="module")
def once(tiny_module, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    """Two seeds that nobody disturbs, and the file they wrote."""
    path = tmp_path_factory.mktemp("once") / "new folder" / "tiny.quick.json"
    return execute(tiny_module.RUN, seeds=2, device="cpu", output=path, progress=False), path


def test_a_result_holds_what_the_readme_of_the_data_says(run):
    result = run(epochs=1, replayed=True)
    section = (ROOT / "data" / "README.md").read_text(encoding="utf-8").split("## A result file")[1].split("\n## ")[0]
    row = result["arms"]["lens"][0]
    assert set(re.findall(r"`(\w+)`", section)) == (result.keys() | row.keys()) - {"seed"}


def test_a_result_says_what_was_run(once):
    result, _ = once
    assert result["run"] == "tiny" and result["scale"] == "quick"
    assert result["command"] == "mobius run tiny --scale quick --seeds 2"
    settings = {"epochs": 3, "batch_size": 15, "lr": 0.01, "train_samples": None, "test_samples": None}
    settings |= {"precision": "no", "accumulate": 1}
    more = {"weight_decay": 0.05, "backend": fastest("cpu"), "seeds": 2, "note": "a second"}
    assert result["configuration"] == settings | more
    assert result["device"].startswith("cpu: ") and result["device"].endswith("1 threads")
    assert result["versions"]["torch"] == torch.__version__
    assert result["data"] == {"made": "1" * 64}
    assert result["extra"] == {"majority": {"accuracy": 1 / 3, "parameters": 0}}
    assert list(result["arms"]) == ["lens", "gelu"]
    assert set(result["cost"]) == {"lens", "lens (printed)", "gelu"}


def test_data_without_hashes_are_told_by_what_was_read(run, tiny):
    """A folder of pictures, say: the record of another one, or of other labels, is not mistaken for it."""

    def data(change=lambda part: part):
        return lambda: replace(tiny.data(), hashes={}, test=change(tiny.data().test))

    def told(change=lambda part: part):
        return run(of=replace(tiny, data=data(change), arms={"gelu": tiny.arms["gelu"]}, timed=()), epochs=1)["data"]

    plain = told()
    assert plain.keys() == {"train x", "train y", "test x", "test y"} and told() == plain
    x, _ = tiny.data().test
    assert plain["test x"] == hashlib.sha256(x.numpy().tobytes()).hexdigest()
    flipped, other = told(lambda part: (part[0].flip(-1), part[1])), told(lambda part: (part[0], part[1].roll(1)))
    assert {name for name in plain if flipped[name] != plain[name]} == {"test x"}
    assert {name for name in plain if other[name] != plain[name]} == {"test y"}


def test_what_arms_learned(once, tiny):
    result, _ = once
    for name, rows in result["arms"].items():
        assert [row["seed"] for row in rows] == [0, 1]
        for row in rows:
            accuracies = [epoch["val_accuracy"] for epoch in row["history"]]
            assert [epoch["epoch"] for epoch in row["history"]] == [1, 2, 3]
            assert row["final_accuracy"] == accuracies[-1] and row["best_accuracy"] == max(accuracies)
            assert row["parameters"] == sum(p.numel() for p in tiny.arms[name]().parameters())
            assert row["skipped_batches"] == 0
            assert 0 < row["seconds"] < result["wall_seconds"]
            # 60 test rows of three classes: by chance 0.33 with a deviation of 0.06
            assert row["best_accuracy"] > 0.6
        assert rows[0]["history"][0]["train_loss"] != rows[1]["history"][0]["train_loss"]
    assert {"block0/omega", "block1/mean_gate"} <= result["arms"]["lens"][0]["lens_state"].keys()
    assert result["arms"]["lens"][0]["lens_state"]["block0/omega"] != pytest.approx(math.pi, abs=1e-6), "it has moved"


def test_the_file_is_the_result(once):
    result, path = once
    assert json.loads(path.read_text()) == result == load_result(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_again_gives_the_same(once, run, lasting):
    result, _ = once
    torch.rand(5)  # what was drawn before must not matter
    assert lasting(run(seeds=2)) == lasting(result)


def test_arms_take_turns(tiny, run):
    made = []
    arms = {name: (lambda name=name, make=make: made.append(name) or make()) for name, make in tiny.arms.items()}
    run(of=replace(tiny, arms=arms), seeds=3, epochs=1, train_samples=30)
    assert made[:6] == ["lens", "gelu"] * 3


def test_changes_reach_the_training(run, monkeypatch):
    seen = []
    original = loop._Run.__init__

    def spy(self, model, train, validation, recipe, *others) -> None:
        seen.append((train.samples, validation.samples, recipe))
        original(self, model, train, validation, recipe, *others)

    monkeypatch.setattr(loop._Run, "__init__", spy)
    result = run(scale="full", epochs=2, batch_size=10, lr=0.003, train_samples=40, test_samples=20, backend="printed")
    train, validation, recipe = seen[0]
    assert (train, validation) == (40, 20)
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (2, 10, 0.003, 0.05)
    changed = "--epochs 2 --batch-size 10 --lr 0.003 --train-samples 40 --test-samples 20 --backend printed"
    assert result["command"] == f"mobius run tiny --scale full --seeds 1 {changed}"
    assert result["configuration"]["lr"] == 0.003 and result["configuration"]["backend"] == "printed"
    run(scale="full", epochs=1)
    assert seen[-1][:2] == (60, 30), "the scale's own"


def test_mixed_precision_and_accumulation_reach_the_loop(run, monkeypatch):
    """And the record says so, in settings and command; what a step costs is timed in float32 alone."""
    seen = []
    original = loop._Run.__init__
    monkeypatch.setattr(
        loop._Run, "__init__", lambda self, *given, **more: seen.append(given[3]) or original(self, *given, **more)
    )
    result = run(epochs=1, precision="bf16", accumulate=2)
    assert {(recipe.precision, recipe.accumulate) for recipe in seen} == {("bf16", 2)}
    assert result["command"] == "mobius run tiny --scale quick --seeds 1 --epochs 1 --precision bf16 --accumulate 2"
    assert (result["configuration"]["precision"], result["configuration"]["accumulate"]) == ("bf16", 2)
    assert result["cost"] == {}


def test_settings_that_came_later_leave_earlier_fingerprints_as_they_were(tiny):
    """Of work and records that were made before there was a choice; and another choice has another one."""
    settings = tiny.scales["quick"]
    asked = [{}, {"precision": "bf16"}, {"accumulate": 2}]
    found = [configuration_of(tiny, "quick", replace(settings, **more), backend=None) for more in asked]
    before = {"epochs": 3, "batch_size": 15, "lr": 0.01, "train_samples": None, "test_samples": None, "note": ""}
    before |= {"weight_decay": tiny.weight_decay, "warmup_epochs": tiny.warmup_epochs}
    assert found[0] == fingerprint("quick", before, {"backend": None}) and len(set(found)) == 3


def test_compiled_trains_the_whole_model_under_torch_compile(run, monkeypatch):
    """Same weights, by the compiled module; what it is and how to make it again stand in the record."""
    seen = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: seen.append((model, options)) or model)
    plain, compiled = run(epochs=1), run(epochs=1, compiled=True)
    assert len(seen) == sum(map(len, compiled["arms"].values())) and seen[0][1] == {"mode": None}
    assert compiled["arms"]["lens"][0]["final_accuracy"] == plain["arms"]["lens"][0]["final_accuracy"]
    assert compiled["configuration"]["compiled"] is True and "compiled" not in plain["configuration"]
    assert compiled["command"] == plain["command"] + " --compiled"


def test_printed_and_fast_lenses_learn_the_same(run):
    fast, printed = (run(backend=backend, epochs=1)["arms"]["lens"][0] for backend in ("eager", "printed"))
    # six steps of AdamW at 0.01, whose first ones have the size of the rate whatever the rounding: 1e-3 of the loss
    assert fast["history"][0]["train_loss"] == pytest.approx(printed["history"][0]["train_loss"], rel=1e-3)


# Stopping and going on.


def test_finished_work_is_not_done_again(once, run, tmp_path, monkeypatch, lasting):
    expected, work = once[0], tmp_path / "work"
    alone = lasting(run(seeds=1, work=work))
    assert alone["arms"] == {name: rows[:1] for name, rows in lasting(expected)["arms"].items()}
    first = run(seeds=2, work=work)
    assert lasting(first) == lasting(expected), "a seed was added to the one that was there"
    names = sorted(path.name.split(".")[0] for path in work.iterdir())
    assert names == ["gelu-seed0", "gelu-seed1", "lens-seed0", "lens-seed1"]
    seconds = sum(row["seconds"] for rows in first["arms"].values() for row in rows)
    assert first["wall_seconds"] > seconds, "what an earlier call has trained counts"

    def no(*_: object) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr(loop._Run, "_train_epoch", no)
    again = run(seeds=2, work=work)
    assert again["arms"] == first["arms"], "times included: they are those of the training"
    assert lasting(again) == lasting(first) and again["wall_seconds"] > seconds
    with pytest.raises(AssertionError, match="it trains again"):
        run(seeds=3, work=work)


def test_stopped_and_continued_is_as_if_never_stopped(once, run, tmp_path, lasting, monkeypatch):
    """In the second epoch of the second arm; tests/test_cli.py kills it at other moments."""
    expected, _ = once
    epochs, original = [], loop._Run._one_epoch

    def one_epoch(self, bar):
        record = original(self, bar)
        epochs.append(record["epoch"])
        if len(epochs) == 5:
            raise Stop
        return record

    monkeypatch.setattr(loop._Run, "_one_epoch", one_epoch)
    output = tmp_path / "result.json"
    with pytest.raises(Stop):
        run(seeds=2, work=tmp_path / "work", output=output)
    assert not output.exists()
    result = run(seeds=2, work=tmp_path / "work", output=output)
    assert lasting(result) == lasting(expected) and load_result(output) == result
    assert epochs == [1, 2, 3, 1, 2, 2, 3] + [1, 2, 3] * 2, "it went on after the first epoch of the second arm"
    assert result["wall_seconds"] > sum(row["seconds"] for rows in result["arms"].values() for row in rows)


def other_state(model):
    return {"one": 1.0}


@pytest.mark.parametrize("what", ["configuration", "data", "code"])
def test_work_of_other_code_data_or_configuration_is_not_taken(once, tiny, run, tmp_path, lasting, caplog, what):
    """It is trained anew, which is said once; the old work stays, and is taken by whoever comes back to it."""
    work = tmp_path / "work"
    data = tiny.data()
    (x, y), test = data.train, data.test
    pixel = x.clone()
    pixel[3, 0, 2, 1] += 0.5
    options = {
        "configuration": {"lr": 0.02},
        "data": {"of": replace(tiny, data=lambda: replace(data, train=(pixel, y), test=test))},
        "code": {"of": replace(tiny, state=other_state)},
    }[what]
    first = run(work=work, epochs=1)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    assert not caplog.records
    other = run(work=work, epochs=1, **options)
    (said,) = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(
        rf"The work of other {what} stays in .*lens-seed0\.\w+ and is not taken: lens-seed0 is made anew\.", said
    )
    options = {key: value for key, value in options.items()}
    assert lasting(other) == lasting(run(epochs=1, **options)), "as in a fresh folder"
    assert other["arms"]["lens"][0]["history"] != first["arms"]["lens"][0]["history"] or what == "code"
    changed = {part for part in first["fingerprint"] if first["fingerprint"][part] != other["fingerprint"][part]}
    assert changed == {what} | ({"loading"} if what == "data" else set())
    assert {path: path.read_bytes() for path in before} == before, "what was there is left as it was"
    assert run(work=work, epochs=1)["arms"] == first["arms"], "times included"
    newest = max(work.glob("lens-seed0.*"), key=lambda folder: folder.stat().st_mtime)
    assert newest in {path.parent for path in before}, "of two folders that in use is the newest"


def test_where_no_fingerprint_stands_nothing_is_taken(run, tmp_path, caplog):
    """Of an older version."""
    (tmp_path / "gelu-seed0").mkdir()
    run(epochs=1, work=tmp_path)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("The work of other or unknown code stays in ") and (tmp_path / "gelu-seed0").is_dir()


# The result file.


@pytest.fixture
def settled(tmp_path) -> Path:
    """A result of yesterday."""
    path = tmp_path / "results" / "tiny.quick.json"
    write_json(path, {"arms": {"yesterday": []}})
    return path


def test_a_full_disk_leaves_the_old_result(run, settled, monkeypatch, tmp_path):
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target == settled:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match=r"cannot be written \(no space left.*free\); .*without training again"):
            run(epochs=1, output=settled, work=tmp_path / "work")
    assert load_result(settled)["arms"] == {"yesterday": []}
    assert list(settled.parent.iterdir()) == [settled], "no half a file is left beside it"
    result = run(epochs=1, output=settled, work=tmp_path / "work")
    assert load_result(settled) == result


def test_an_output_that_cannot_be_is_refused_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.Trainer, "_train", None)  # training would be a TypeError
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RunError, match=r"result\.json cannot be written \(.*\); give another --output"):
        run(output=tmp_path / "file" / "result.json")
    with pytest.raises(RunError, match=r"folder\.json cannot be written \(it is a folder\); give"):
        run(output=tmp_path / "folder.json")


def test_numbers_that_json_lacks_become_null(tmp_path, tiny, run):
    state = {"block0/omega": float("nan"), "block0/alpha": float("inf"), "block0/xor_weight": 0.25}
    path = tmp_path / "result.json"
    result = run(of=replace(tiny, state=lambda model: dict(state), readings=None), epochs=1, output=path)
    assert result["arms"]["gelu"][0]["lens_state"] == dict.fromkeys(state) | {"block0/xor_weight": 0.25}
    assert load_result(path) == result


@pytest.mark.parametrize("content", [None, "", "{", "[]", "null", '{"run": "tiny"}', b"\xff\xfe"], ids=repr)
def test_no_result_file(tmp_path, content):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=r"result\.json is not a result file .*mobius run NAME"):
        load_result(path)


# What cannot be run.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "huge"}, "The run tiny has no scale 'huge'; it has quick, full."),
        ({"seeds": 0}, "at least one seed, not 0"),
        ({"backend": "magic"}, "no backend 'magic'; use printed, eager, compiled"),
        ({"epoch": 3}, "no setting 'epoch'; it has epochs, batch_size, lr, train_samples, test_samples"),
        ({"note": "mine"}, "no setting 'note'"),
        ({"train_samples": 0}, "train_samples must be at least 1, not 0"),
        ({"test_samples": -5}, "test_samples must be at least 1, not -5"),
        ({"lr": -1.0}, r"lr must be a number above 0, not -1\.0"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"precision": "bf8"}, "precision must be one of no, bf16, fp16, not 'bf8'"),
        ({"precision": "fp16"}, 'precision="fp16" needs a GPU; use precision="bf16"'),
        ({"accumulate": 0}, "accumulate must be a whole number from 1 on, not 0"),
        ({"epochs": -1}, "epochs must be a whole number"),
    ],
    ids=str,
)
def test_one_sentence_before_any_training(run, tmp_path, options, words):
    with pytest.raises(MobiusError, match=words) as error:
        run(output=tmp_path / "result.json", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cpu:0", "meta", "mps:0", "cuda:0 ", "cuda:\u0663"])
def test_unknown_device(name, tiny):
    with pytest.raises(RunError, match=re.escape(f"There is no device {name!r}; use auto, cpu, cuda")):
        execute(tiny, device=name)


def test_devices(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RunError, match="The device 'mps' was asked for, but torch sees none here; use --device cpu"):
        pick_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps") == torch.device("mps") and pick_device("auto") == torch.device("cpu")
    with pytest.raises(RunError, match=r"'cuda' was asked for, but torch sees 0 GPUs here; use --device cpu"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda") and pick_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:1"), "of a launcher's second process"
    for name in ("cuda:2", "cuda:256", "cuda:99999999999", f"cuda:{'9' * 5000}"):
        with pytest.raises(RunError, match=f"'{name}' was asked for, but torch sees 2 GPUs"):
            pick_device(name)


# Models that are judged as they come.


def test_no_epochs_is_a_judgement_without_training(tiny, run):
    scales = {"quick": Scale(epochs=0, batch_size=30, lr=0.0)}
    result = run(of=replace(tiny, scales=scales, arms={"lens": tiny.arms["lens"]}))
    (row,) = result["arms"]["lens"]
    torch.manual_seed(0)
    model = tiny.arms["lens"]().eval()
    x, y = tiny.data().test
    with torch.no_grad():
        expected = (model(x).argmax(1) == y).float().mean().item()
    assert row["final_accuracy"] == row["best_accuracy"] == pytest.approx(expected)
    assert row["history"] == [] and row["skipped_batches"] == 0 and result["cost"] == {}
    assert row["lens_state"]["block0/omega"] == pytest.approx(math.pi), "as it was made"


# The rows of a smaller run.


@pytest.mark.parametrize("n", [1, 7, 99, 100])
def test_a_subset_is_the_beginning_of_a_larger_one(n):
    x, y = torch.arange(300.0).view(100, 3), torch.arange(100)
    torch.manual_seed(n)  # it has a generator of its own
    part, labels = seeded_subset(x, y, n)
    _, order = seeded_subset(x, y, 99)
    assert len(part) == len(labels) == n and torch.equal(part, x[labels]), "rows keep their labels"
    if n < 100:
        assert torch.equal(labels, order[:n])
        assert len(set(labels.tolist())) == n
    assert order.tolist() != list(range(99)), "shuffled: the first rows of a sorted set would be of one class"


def test_no_subset():
    x, y = torch.rand(5, 2), torch.arange(5)
    for samples in (None, 5, 6, 1000):
        assert all(map(torch.equal, seeded_subset(x, y, samples), (x, y)))


def test_the_commit_is_that_of_the_beginning(tiny, run, monkeypatch):
    """Whoever edits the library during a run of hours has not run the edited one."""
    monkeypatch.setattr(provenance, "_commit", lambda: "before")

    def data():
        monkeypatch.setattr(provenance, "_commit", lambda: "after")
        return tiny.data()

    assert run(of=replace(tiny, data=data), epochs=1)["commit"] == "before"


def test_columns_of_the_data_are_passed_on_and_stand_in_the_command(tiny, run):
    asked = []

    def read(**columns: str | None) -> Data:
        asked.append(columns)
        return tiny.data()

    given = {"feature_column": "z", "label_column": "its kind"}
    result = run(of=with_columns(replace(tiny, data=read), given))
    assert asked == [given] and result["command"].endswith("--feature-column z --label-column 'its kind'")
    with pytest.raises(RunError, match=r"--label-column is of --data.*leave it out, for the run .* reads its own"):
        with_columns(tiny, {"label_column": "kind"})
    for name in ("waves-clip", "waves-clip-weights", "simplex-imagenet"):
        with_columns(get_run(name), given)
