"""Runs that compute their records: what is finished of them is kept."""

import json
from functools import partial
from unittest.mock import Mock

import pytest
import torch

from mobius_lib.runs import Run, Scale, execute
from mobius_lib.runs.base import Data

ROWS = (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


def computed(compute, names=("one",), **changes) -> Run:
    """A run of arms that a function computes."""
    return Run(
        name="computed",
        chapter=4,
        summary="",
        arms=dict.fromkeys(names, torch.nn.Identity),
        scales={"quick": Scale(epochs=0, batch_size=0, lr=0.0, note="")},
        weight_decay=0.0,
        compute=compute,
        **{"data": lambda: Data(ROWS, ROWS, {})} | changes,
    )


def test_a_computed_run_that_was_stopped_goes_on_where_it_was(tmp_path, capsys):
    # a Mock: what it holds is no part of the code that makes the record
    spy = Mock(asked=[], broken=[1])

    def compute(data, seed):
        spy.asked.append(seed)
        if seed in spy.broken:
            raise KeyboardInterrupt
        return {"one": {"value": (seed, float("nan"))}}

    def run(size, digest="a"):
        return computed(compute, data=lambda: Data(ROWS, ROWS, {"rows": digest}), facts=lambda: {"sizes": (size,)})

    with pytest.raises(KeyboardInterrupt):
        execute(run(1), seeds=2, work=tmp_path)
    spy.broken.clear()
    record = execute(run(1), seeds=2, work=tmp_path)
    assert spy.asked == [0, 1, 1] and "seed 2 of 2 took" in capsys.readouterr().out
    assert [seed["value"] for seed in record["arms"]["one"]] == [[0, None], [1, None]]
    again = execute(run(1), seeds=2, work=tmp_path, progress=False)
    kept = [json.loads(next(tmp_path.glob(f"seed{seed}.*")).read_text())["seconds"] for seed in (0, 1)]
    assert again["arms"] == record["arms"] and len(spy.asked) == 3 and again["wall_seconds"] > sum(kept) > 0
    assert not capsys.readouterr().out
    execute(run(2), seeds=1, work=tmp_path)
    execute(run(2, "b"), seeds=1, work=tmp_path)
    execute(run(2, "b"), seeds=1)
    assert spy.asked[3:] == [0, 0, 0], "other sizes, other data, no folder"


def test_parts_of_a_stopped_seed_are_kept(tmp_path, capsys):
    spy = Mock(asked=[], broken=[(1, "second")])

    def compute(data, seed, keep):
        def made(name, place):
            spy.asked.append((seed, name))
            if (seed, name) in spy.broken:
                raise KeyboardInterrupt
            return {"value": seed, "bits": float("nan")}

        return {"one": {name: keep(name, 0 if name == "search" else seed, partial(made, name)) for name in names}}

    names = ("search", "first", "second")
    run = computed(compute, keeps_parts=True)
    with pytest.raises(KeyboardInterrupt):
        execute(run, seeds=2, work=tmp_path)
    spy.broken.clear()
    record = execute(run, seeds=2, work=tmp_path)
    assert spy.asked == [(0, "search"), (0, "first"), (0, "second"), (1, "first"), (1, "second"), (1, "second")]
    assert "seed 1, second took" in capsys.readouterr().out
    assert record["arms"]["one"][1] == {
        "seed": 1,
        "search": {"value": 0, "bits": None},
        "first": {"value": 1, "bits": None},
        "second": {"value": 1, "bits": None},
    }
    seconds = {file.name.split(".")[0]: json.loads(file.read_text())["seconds"] for file in tmp_path.glob("*.json")}
    # the part of before the stop counts for the seed, and the search, which was the first seed's work, does not again
    assert seconds["seed1-first"] < seconds["seed1"] and record["wall_seconds"] > seconds["seed0"] + seconds["seed1"]
    assert execute(run, seeds=2, work=tmp_path, progress=False)["arms"] == record["arms"] and len(spy.asked) == 6
    assert execute(run, seeds=2, progress=False)["arms"] == record["arms"]
    assert len(spy.asked) == 6 + 5, "with no folder, too, the search is done once"


def test_a_part_that_is_asked_for_twice_counts_once(tmp_path, monkeypatch):
    clock = Mock(now=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)

    def slow(place):
        clock.now += 7
        return {"value": 1}

    def compute(data, seed, keep):
        return {"one": keep("slow", seed, slow) | keep("slow", seed, slow)}

    run = computed(compute, keeps_parts=True)
    assert execute(run, work=tmp_path, progress=False)["wall_seconds"] == clock.now == 7
    next(tmp_path.glob("seed0.*")).unlink()  # as if it had been stopped after the part
    assert execute(run, work=tmp_path, progress=False)["wall_seconds"] == clock.now == 7


DAMAGES = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no text": lambda text: "\x00\xff",
    "a list": lambda text: "[]",
    "an entry missing": lambda text: json.dumps({"seconds": 1.0, "arms": {}}),
    "an arm missing": lambda text: json.dumps(json.loads(text) | {"arms": {}}),
    "another number": lambda text: text.replace('"value": 0.25', '"value": 0.75'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_seed_is_made_again(tmp_path, caplog, damage):
    run = computed(lambda data, seed: {"one": {"value": 0.25}})
    first = execute(run, work=tmp_path, progress=False)
    (file,) = tmp_path.iterdir()
    written = DAMAGES[damage](file.read_text())
    file.write_text(written)
    assert execute(run, work=tmp_path, progress=False)["arms"] == first["arms"] == {"one": [{"seed": 0, "value": 0.25}]}
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"{file} is damaged (") and said.endswith("; it is made again.")
    caplog.clear()
    assert execute(run, work=tmp_path, progress=False)["arms"] == first["arms"] and not caplog.records
    assert file.read_text() != written
