"""The run twistor-maps: its arms are of one size and what they are said to be, and how it searches for a rate."""

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from mobius_lib.runs import RunError, execute, get_run
from mobius_lib.runs.twistor import maps as twistor_maps
from mobius_lib.runs.twistor import text as twistor_text
from mobius_lib.runs.twistor.models import RecurrentModel
from tests.runs.twistor.small import TINY, V, tokens


@pytest.mark.parametrize("scale", ["short", "full"])
def test_arms_of_the_maps_have_equal_parameters(scale):
    sizes = twistor_text.SIZES[scale]
    models = {name: make() for name, make in twistor_maps.make_models(sizes, 66).items()}
    assert tuple(models) == twistor_maps.ARMS
    whole = twistor_text.count(twistor_text.make_models(sizes, 66)["twistor"]())
    for name, model in models.items():
        assert twistor_text.count(model) == pytest.approx(whole, rel=twistor_maps.EQUAL), name
    for name in ("bare", "bare + maps", "bare + mixing"):
        config = models[name].config
        assert config.dim > sizes.dim and abs(config.dim - config.hidden_dim) <= 2


def test_all_parts_are_taken_away_at_equal_parameters():
    sizes = twistor_text.SIZES["short"]
    models = {name: make() for name, make in twistor_maps.make_all(sizes, 66).items()}
    assert set(models) == set(twistor_maps.LONG_ARMS) and len(models) == len(twistor_maps.LONG_ARMS)
    whole = twistor_text.count(models["twistor"])
    for name, model in models.items():
        assert twistor_text.count(model) == pytest.approx(whole, rel=twistor_maps.EQUAL), name
    left = {name: models[f"{name}, wider"].config for name in ("no memory", "no nested", "no scales", "scan", "no J")}
    assert not left["no memory"].use_memory and not left["no nested"].use_nested_learning
    assert left["no scales"].scales == () and left["scan"].form == "scan" and not left["no J"].coupled
    for name, make in twistor_maps.make_couplings(sizes, 66).items():
        assert make().config == models[name].config, "one arm, in whichever run"
    plain = models["plain vectors"]
    assert plain.memory is not None and plain.memory.compression is None and plain.config.constraint is None
    assert not [name for name, part in plain.named_modules() if hasattr(part, "matrix")], "no map anywhere"


def test_arms_of_the_maps_by_two_processes(monkeypatch, tmp_path, lasting):
    """Each computes arms of its own, one of them trained longer; the whole run takes them up."""
    monkeypatch.setattr(twistor_maps, "FURTHER", 0)
    monkeypatch.setattr(twistor_maps, "CLOSE", -1.0)
    monkeypatch.setattr(twistor_maps.AllMaps, "arms", ("bare", "transformer", "transformer, longer"))
    sizes = replace(TINY, rates=(5e-3, 1e-2))
    made = dict.fromkeys(twistor_maps.AllMaps.arms, twistor_maps.make_all)
    run = replace(
        get_run("twistor-maps"), at_scale=None, arms=made, data=lambda: twistor_text.load(sizes),
        compute=twistor_maps.AllMaps(sizes),
    )  # fmt: skip

    def go(**options) -> dict:
        fresh = replace(run, compute=twistor_maps.AllMaps(sizes))
        return execute(fresh, "quick", seeds=2, work=tmp_path, progress=False, **options)

    assert list(go(only=["bare"])["arms"]) == ["bare"]
    parts = set(tmp_path.glob("*.json"))
    assert len(parts) == 3, "two rates, the better of them with another seed"
    go(only=["transformer, longer"])
    trained = []
    monkeypatch.setattr(twistor_maps, "told", lambda *given: trained.append(given) or {"steps": 0, "lr": given[2]})
    record = go()
    assert parts < set(tmp_path.glob("*.json")) and len(trained) == 1, "the transformer with the second seed"
    rows = {name: rows[0] for name, rows in record["arms"].items()}
    assert rows["transformer, longer"]["lr"] == rows["transformer"]["lr"]
    assert rows["transformer, longer"]["steps"] == 8 * rows["bare"]["steps"]
    with pytest.raises(RunError, match="has no --arm"):
        execute(get_run("twistor-length"), "quick", only=["twistor"], progress=False)


def test_bare_is_an_lstm_with_the_twistors_head():
    model = twistor_maps.make_models(twistor_text.SIZES["short"], V)["bare"]().eval()
    cells = model.self_modifying.recurrent.forwards
    width = 2 * model.config.dim
    lstm = RecurrentModel("lstm", V, width, 2 * model.config.hidden_dim, len(cells), head="twistor").eval()
    assert 2 * model.config.hidden_dim == width, "so the head halves the same width"
    with torch.no_grad():
        lstm.embedding.weight.copy_(model.embedding.weight)
        for number, cell in enumerate(cells):
            for name, ours in (("ih", cell.input.weight), ("hh", cell.recur.weight)):
                i, f, o, g = ours.chunk(4)
                getattr(lstm.cells, f"weight_{name}_l{number}").copy_(torch.cat([i, f, g, o]))  # torch's order
            i, f, o, g = cell.input.bias.chunk(4)
            getattr(lstm.cells, f"bias_ih_l{number}").copy_(torch.cat([i, f, g, o]))
            getattr(lstm.cells, f"bias_hh_l{number}").zero_()
        for theirs, ours in zip(lstm.head, (model.out, model.norm, model.head), strict=True):
            theirs.load_state_dict(ours.state_dict())
        given = tokens(40).view(2, 20)
        assert torch.allclose(model(given), lstm(given), atol=1e-5)  # float32, 20 steps


def test_a_mixing_stands_where_the_maps_stand():
    torch.manual_seed(0)
    models = twistor_maps.make_models(twistor_text.SIZES["short"], V)
    maps, mixing = models["bare + maps"](), models["bare + mixing"]()

    def matrices(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: part.matrix().detach() for name, part in model.named_modules() if hasattr(part, "matrix")}

    ours, free = matrices(maps), matrices(mixing)
    assert ours.keys() == free.keys() and len(free) == 4, "two cells, between them, and after them"
    for name, matrix in free.items():
        assert matrix.shape[:2] == (4, 4) == ours[name].shape[:2]
        from_one = [
            (each - torch.eye(4)[..., None]).square().sum((0, 1)).mean().sqrt() for each in (ours[name], matrix)
        ]
        assert from_one[1] == pytest.approx(from_one[0], rel=0.25), "as far from the identity at first"
    z = torch.randn(3, 5, mixing.self_modifying.mobius.dim)
    adaptive = mixing.self_modifying.mobius
    moved = adaptive(z)
    pairs = [each.unflatten(-1, (4, -1)) for each in (z, moved)]
    assert torch.allclose(*(each.norm(dim=-2) for each in pairs), atol=1e-5), "lengths stay, as the maps' do"
    text = tokens(60).view(2, 30)
    changed = text.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % V
    assert torch.allclose(mixing(text)[:, :20], mixing(changed)[:, :20], atol=1e-5), "causal"


@pytest.mark.parametrize("close", [0.0, 100.0], ids=["by the first seed", "over three seeds"])
def test_record_of_the_maps(monkeypatch, close):
    trainings = Mock(side_effect=twistor_text.train)
    monkeypatch.setattr(twistor_text, "train", trainings)
    monkeypatch.setattr(twistor_maps, "FURTHER", 1)
    monkeypatch.setattr(twistor_maps, "CLOSE", close)
    sizes = replace(TINY, rates=(5e-3, 1e-2))
    run = replace(
        get_run("twistor-maps"),
        at_scale=None,
        data=lambda: twistor_text.load(sizes),
        compute=twistor_maps.Maps(sizes),
    )
    record = execute(run, "quick", seeds=2, progress=False)
    json.dumps(record, allow_nan=False)
    assert tuple(record["arms"]) == twistor_maps.ARMS
    for name, rows in record["arms"].items():
        for row in rows:
            assert len(row["held_out"]) == 3
            means = {rate: np.mean(bits) for rate, bits in row["compared"].items()} or row["held_out"]
            assert f"{row['lr']:.3g}" == min(means, key=means.get)
            assert set(row["compared"]) == (set(row["held_out"]) if close else set())
            for rate, bits in row["compared"].items():
                assert bits[0] == row["held_out"][rate] and len(set(bits)) == twistor_maps.JUDGES
            assert row["bits_per_character"] == pytest.approx(np.mean(row["bits_by_piece"]), abs=1e-4), name
            assert row["history"][-1]["characters"] == row["characters"]
        assert rows[0]["held_out"][f"{rows[0]['lr']:.3g}"] == rows[0]["history"][-1]["validation_bits"]
    trained = len(twistor_maps.ARMS) * (3 * twistor_maps.JUDGES if close else 3 + 1)
    assert trainings.call_count == trained, "what was trained for the search is not trained again"


def test_a_search_goes_on_where_the_mean_of_the_seeds_lies_at_its_edge(monkeypatch):
    """The first seed prefers the rate in the middle by a hair, the others the smaller one, the more the smaller."""
    maps = twistor_maps.Maps(replace(TINY, rates=(0.005, 0.01, 0.02)))
    bits = {0.0025: (1.515, 1.3), 0.005: (1.51, 1.2), 0.01: (1.5, 1.4), 0.02: (1.9, 1.9)}
    tried = []

    def validated(name, keep, seed, rate):
        tried.append((seed, rate))
        return bits[rate][min(seed, 1)]

    monkeypatch.setattr(maps, "_validated", validated)
    best, found = maps._searched("bare", None)
    assert best == 0.005 and sorted(found["held_out"]) == ["0.0025", "0.005", "0.01", "0.02"]
    assert found["compared"] == {
        "0.0025": [1.515, 1.3, 1.3],
        "0.005": [1.51, 1.2, 1.2],
        "0.01": [1.5, 1.4, 1.4],
    }
    assert (1, 0.02) not in tried
