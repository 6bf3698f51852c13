"""What is kept of every test row, and what can be made of it."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mobius_lib.runs import Arm, RunError, Scale, execute, registry
from mobius_lib.runs.predictions import load_predictions, pack, paired_row_error
from mobius_lib.runs.schema import read_record


@pytest.fixture
def kept(tiny, monkeypatch, tmp_path):
    """The tiny run at the scale "long", which keeps its predictions and looks at a part of its test rows."""
    scales = {"long": Scale(epochs=2, batch_size=15, lr=0.01)}
    changes = {"keep_predictions": True, "watched": 20, "search_epochs": 0.5, "further_rates": 2}
    arms = {"lens": tiny.arms["lens"], "gelu": Arm(tiny.arms["gelu"], rates=(0.003, 0.01))}
    run = replace(tiny, scales=scales, arms=arms, extra=None, **changes)
    monkeypatch.setitem(registry.RUNS, "tiny", run)
    monkeypatch.setattr(registry, "described", lambda name: run)

    def go(**options: Any) -> dict[str, Any]:
        return execute(run, "long", device="cpu", progress=False, work=tmp_path / "work", **options)

    return go


def test_predictions_lie_beside_the_record(kept, tiny, tmp_path):
    path = tmp_path / "tiny.long.json"
    result = kept(seeds=2, output=path)
    labels, found = load_predictions(path)
    assert labels.tolist() == tiny.data().test[1].tolist() and list(found) == ["lens", "gelu"]
    for name, rows in result["arms"].items():
        assert found[name].shape == (2, 60)
        for row, classes in zip(rows, found[name], strict=True):
            assert row["final_accuracy"] == pytest.approx((classes == labels).mean())
            # what was watched is the first 20 of these rows
            assert row["history"][-1]["val_accuracy"] == pytest.approx((classes == labels)[:20].mean())
    assert result["watched"] == 20
    assert read_record(path)[0].predictions == result["predictions"]
    again = tmp_path / "again" / path.name
    assert kept(seeds=2, output=again)["predictions"] == result["predictions"], "from the work that is kept"


def test_without_a_history_the_best_may_be_of_other_rows_than_the_final_one(kept, tmp_path, monkeypatch):
    """The best is of the rows that are watched, and may be below the accuracy on all."""
    path = tmp_path / "tiny.long.json"
    monkeypatch.setitem(registry.RUNS, "tiny", replace(registry.RUNS["tiny"], keep_history=False))
    kept(output=path)
    content = json.loads(path.read_text())
    for rows in content["arms"].values():
        rows[0]["history"], rows[0]["best_accuracy"] = [], rows[0]["final_accuracy"] - 0.01
    path.write_text(json.dumps(content))
    assert read_record(path)[0].arms["lens"][0].history == []


def test_other_predictions_are_noticed(kept, tmp_path):
    path = tmp_path / "tiny.long.json"
    kept(output=path)
    content, beside = json.loads(path.read_text()), path.with_suffix(".npz")
    labels, found = load_predictions(path)
    found["gelu"] = (found["gelu"] + 1) % 3
    packed = pack(torch.tensor(labels), {name: [torch.tensor(row) for row in rows] for name, rows in found.items()})
    whole = beside.read_bytes()
    beside.write_bytes(packed)
    with pytest.raises(RunError, match=r"its predictions, tiny.long.npz, are other ones"):
        read_record(path)
    beside.unlink()
    with pytest.raises(RunError, match=r"tiny.long.npz, are not there"):
        read_record(path)
    beside.write_bytes(whole)
    content["arms"]["lens"][0]["final_accuracy"] -= 1 / 60
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="arm 'lens' has other accuracies than its predictions"):
        read_record(path)


def test_where_predictions_cannot_be_written_is_told_before_training(kept, tmp_path):
    (tmp_path / "tiny.long.npz").mkdir()
    with pytest.raises(RunError, match=r"tiny\.long\.npz cannot be written \(it is a folder\); give another --output"):
        kept(output=tmp_path / "tiny.long.json")
    with pytest.raises(RunError, match=r"the predictions of this run would replace its record; end it in \.json"):
        kept(output=tmp_path / "record.npz")
    assert not (tmp_path / "work").exists()


def test_two_processes_share_a_run(kept, tmp_path, lasting):
    """Each with its own arms, which the whole run takes up."""
    path = tmp_path / "tiny.long.json"
    part = kept(seeds=2, output=path, only=["gelu"])
    assert list(part["arms"]) == ["gelu"] and not path.exists()
    names = sorted(each.name.rsplit(".", 1)[0] for each in (tmp_path / "work").iterdir())
    assert names[:2] == ["gelu-rate0.003", "gelu-rate0.01"] and names[-2:] == ["gelu-seed0", "gelu-seed1"]
    kept(seeds=2, only=["lens"])
    folders = set((tmp_path / "work").iterdir())
    result = kept(seeds=2, output=path)
    assert set((tmp_path / "work").iterdir()) == folders, "nothing was trained again"
    assert lasting(result)["arms"]["gelu"] == lasting(result | {"arms": part["arms"]})["arms"]["gelu"]
    with pytest.raises(RunError, match="has no arm 'relu' at this scale; it has lens, gelu"):
        kept(only=["relu"])


def test_a_search_goes_on_past_its_edge(kept):
    result = kept()
    tried = result["tuning"]["gelu"]["held_out"]
    best = result["tuning"]["gelu"]["lr"]
    assert tried[f"{best:g}"] == max(tried.values())
    assert list(tried) == sorted(tried, key=float) and 2 < len(tried) <= 4


def test_bytes_are_those_of_the_classes():
    labels, rows = torch.arange(300) % 300, [torch.arange(300).flip(0)]
    assert pack(labels, {"a": rows}) == pack(labels.clone(), {"a": rows})
    assert pack(labels, {"a": rows}) != pack(labels, {"a": [rows[0].roll(1)]})


def test_a_missing_file_has_a_cure(tmp_path):
    with pytest.raises(RunError, match="restore them, or make the run again"):
        load_predictions(tmp_path / "tiny.long.json")


def test_the_error_of_finitely_many_rows():
    """As the spread of the difference over test sets drawn anew: 4,000 of them, so known to some 1 %."""
    generator = np.random.default_rng(0)
    labels = np.zeros(500, dtype=int)

    def answers(share: float, size: tuple[int, ...]) -> np.ndarray:
        return (generator.random(size) > share).astype(int)  # 0 is right

    one, other = answers(0.8, (4000, 1, 500)), answers(0.7, (4000, 1, 500))
    other = np.where(generator.random(other.shape) < 0.6, one, other)  # they agree on many
    gaps = (one == 0).mean((1, 2)) - (other == 0).mean((1, 2))
    errors = [paired_row_error(labels, a, b) for a, b in zip(one[:200], other[:200], strict=True)]
    assert np.mean(errors) == pytest.approx(gaps.std(), rel=0.05)
    assert paired_row_error(labels, one[0], one[0]) == 0
