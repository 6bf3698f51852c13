"""The runs of chapter 4: what is measured is what is said, and records hold what the chapter and the ledger read."""

import json
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from mobius_lib import cli
from mobius_lib.gauge import MetaMobiusLinear, at_bits, kpz_widths, log_cooccurrence, relative_error
from mobius_lib.gauge.bits import symmetric_part
from mobius_lib.runs import RunError, execute, get_run
from mobius_lib.runs.base import Data
from mobius_lib.runs.gauge import cooccurrence as gauge_cooccurrence
from mobius_lib.runs.gauge import network as gauge_network
from mobius_lib.runs.gauge.measures import BLOCK, MIXTURES, Bigrams, Neighbours, held_out_places
from tests.runs.computed import two_seeds

SIZES = gauge_cooccurrence.Sizes(30, (2, 8), widths=5)


def made(seed: int = 0, words: int = 12_000, vocabulary: int = 30) -> torch.Tensor:
    """A text in which a word likes its neighbours in number, so that D is not noise; a fiftieth outside."""
    draw = random.Random(seed)
    tokens, at = [], 0
    for _ in range(words):
        at = (
            min(max(at + draw.randint(-3, 3), 0), vocabulary - 1) if draw.random() < 0.8 else draw.randrange(vocabulary)
        )
        tokens.append(-1 if draw.random() < 0.02 else at)
    return torch.tensor(tokens)


def data_of(tokens: torch.Tensor) -> Data:
    return Data((tokens[:-1], tokens[1:]), (tokens[:0], tokens[:0]), {"made": "0" * 64})


@pytest.fixture(scope="module")
def record() -> dict:
    return two_seeds("gauge-cooccurrence", gauge_cooccurrence.fields(SIZES), data=lambda: data_of(made()))


# What is measured.


def test_held_out_blocks():
    for words in (7, BLOCK, 20 * BLOCK + 17):
        for seed in range(5):
            held = held_out_places(words, seed)
            assert len(held) == words and torch.equal(held, held_out_places(words, seed))
            whole = [part for part in held.split(BLOCK)]
            assert all(part.all() or not part.any() for part in whole)
            assert sum(bool(part.any()) for part in whole) == max(1, round(len(whole) / 10))
    assert any(not torch.equal(held_out_places(9_000, 0), held_out_places(9_000, seed)) for seed in range(1, 5))


def test_neighbours_by_counting():
    torch.manual_seed(0)
    for _ in range(10):
        d, other = torch.rand(2, 40, 40).double()
        d[7] = 0  # a word without neighbours
        found = Neighbours.of(d, words=100, k=4)
        assert found.words.tolist() == [word for word in range(40) if word != 7]

        def named(w: torch.Tensor, word: int) -> set[int]:
            cosine = {j: torch.nn.functional.cosine_similarity(w[word], w[j], dim=0).item() for j in range(40)}
            return set(sorted(set(cosine) - {word}, key=lambda j: -cosine[j])[:4])

        shares = [len(named(d, word) & named(other, word)) / 4 for word in found.words.tolist()]
        assert found.kept(other) == pytest.approx(sum(shares) / len(shares), abs=1e-12)
        assert found.kept(d) == 1 == found.kept(d * torch.rand(40, 1).double().add(0.1)), "lengths do not matter"


def test_perplexity_by_counting():
    torch.manual_seed(1)
    tokens = made(words=6_000)
    held = held_out_places(len(tokens), 0)
    bigrams = Bigrams.of(tokens, held, 30)
    words, places = tokens.tolist(), held.tolist()
    pairs = [
        (words[t], words[t + 1])
        for t in range(len(words) - 1)
        if places[t] and places[t + 1] and words[t] >= 0 and words[t + 1] >= 0
    ]
    assert list(zip(bigrams.first.tolist(), bigrams.second.tolist(), strict=True)) == pairs
    counts = Counter(word for word, out in zip(words, places, strict=True) if not out and word >= 0)
    total = sum(counts.values()) + 30
    frequency = [(counts[word] + 1) / total for word in range(30)]
    w = torch.randn(30, 30)
    w[3] = -1.0  # predicts nothing
    c = [[math.expm1(max(0.0, value)) for value in row] for row in w.tolist()]

    def q(i: int, j: int, m: float) -> float:
        return m * (c[i][j] / sum(c[i]) if sum(c[i]) else frequency[j]) + (1 - m) * frequency[j]

    def surprise(part: list, m: float) -> float:
        return -sum(math.log(q(i, j, m)) for i, j in part) / len(part)

    best = min(MIXTURES, key=lambda m: surprise(pairs[::2], m))
    # float32 matrices and frequencies
    assert bigrams.perplexity(w) == pytest.approx(math.exp(surprise(pairs[1::2], best)), rel=1e-5)
    assert bigrams.perplexity(None) == pytest.approx(math.exp(surprise(pairs[1::2], 0)), rel=1e-5)
    # every word after i as likely as its frequency: nothing is left to win
    assert bigrams.perplexity(bigrams.frequency.log1p().expand(30, 30)) == pytest.approx(
        bigrams.perplexity(None), rel=1e-5
    )


def test_exponents_of_known_widths():
    # 1/3 / sqrt(s) exactly, so p = -1/2; float32 widths
    widths = {s: kpz_widths(2.0, 12, 1 / 3 / s**0.5) for s in (5, 15, 50)}
    mixed = {s: sigma[torch.randperm(12)] for s, sigma in widths.items()}
    for found in (gauge_cooccurrence.exponents(widths), gauge_cooccurrence.exponents(mixed)):
        for s in widths:
            low, high = found["sigma_exponent_interval"][str(s)]
            assert low - 1e-6 <= found["sigma_exponent"][str(s)] <= high + 1e-6
            assert found["sigma_exponent"][str(s)] == pytest.approx(1 / 3 / s**0.5, abs=1e-5)
            assert found["sigma_mean"][str(s)] == pytest.approx(widths[s].mean().item(), rel=1e-5)
        assert found["window_exponent"] == pytest.approx(-0.5, abs=1e-4)
    falling = gauge_cooccurrence.exponents({s: sigma.flip(0) for s, sigma in widths.items()})
    assert all(b < 0 for b in falling["sigma_exponent_in_order"].values())
    flat = gauge_cooccurrence.exponents({s: torch.ones(5) for s in widths})
    assert set(flat["sigma_exponent"].values()) == {0.0} and "window_exponent" not in flat


# The record.


def test_record_has_what_the_ledger_reads(record):
    json.dumps(record, allow_nan=False)
    assert record["command"] == "mobius run gauge-cooccurrence --scale quick --seeds 2" and record["cost"] == {}
    assert set(record["arms"]) == set(gauge_cooccurrence.ARMS)
    for name, rows in record["arms"].items():
        assert [row["seed"] for row in rows] == [0, 1]
        assert rows[0]["perplexity"] != rows[1]["perplexity"], "another part of the text is held out"
        if name != "frequencies":
            assert all(0 <= row["neighbours_kept"] <= 1 for row in rows)
            assert {row["target"] for row in rows[0]["rows"]} <= {"5", "15", "50", "mean"}
    for row in record["arms"]["L3"]:
        assert row["sigma_exponent"].keys() == row["sigma_mean"].keys() == {"5", "15", "50"}
    arms = {name: rows[0] for name, rows in record["arms"].items()}
    assert {name: row["target"] for name, row in arms.items() if name.startswith("L")} == {
        "L1": "5", "L2": "5", "L3": "5", "L4": "5", "L5": "mean", "L5 bridges": "mean"
    }  # fmt: skip
    assert arms["dense"]["relative_error"] == 0 and arms["dense"]["neighbours_kept"] == 1
    assert arms["dense"]["perplexity"] < arms["frequencies"]["perplexity"], "D knows something of the held-out text"
    assert 0 <= arms["L4"]["printed_product_error"] <= 1


def test_baselines_take_no_more_bits_than_their_rung(record):
    for name in gauge_cooccurrence.BASELINES:
        for row in record["arms"][name][0]["rows"]:
            rung = [
                other
                for other in record["arms"][row["beside"]][0]["rows"]
                if (other["target"], other["terms"]) == (row["target"], row["terms"])
            ]
            assert len(rung) == 1 and row["bits"] <= rung[0]["bits"]


def test_numbers_are_those_of_the_matrix_without_what_is_held_out(record):
    tokens = made()
    tokens[held_out_places(len(tokens), 0)] = -1
    mean = sum(log_cooccurrence(tokens, 30, window) for window in (5, 15, 50)) / 3
    rung = MetaMobiusLinear.from_dense(mean, 8)
    row = record["arms"]["L5"][0]
    assert row["bits"] == rung.stored_bits() and row["stored"] == rung.compression_ratio().stored
    # the mean is summed in another order: float32
    forms = (rung.to_dense().detach(), symmetric_part(rung.to_dense().detach()))
    assert row["relative_error"] == pytest.approx(relative_error(mean, forms[1]), rel=1e-3)
    kept = [Neighbours.of(mean).kept(form) for form in forms]
    assert row["neighbours_kept"] == pytest.approx(max(kept)) and kept[0] != kept[1]
    whole, four = record["arms"]["dense"][0], record["arms"]["4 bits"][0]
    assert whole["bits"] == 32 * 30 * 31 // 2 and whole["ratio_in_bits"] == 32 * 30**2 / whole["bits"]
    assert four["bits"] == 4 * 465 + 2 * 32 * 8, "465 entries on and above the diagonal, in 8 groups"
    svd = record["arms"]["SVD"][0]
    assert svd["relative_error"] == pytest.approx(
        relative_error(mean, at_bits("svd", mean, rung.stored_bits()).matrix), rel=1e-3, abs=1e-5
    )


def test_text_of_the_run():
    data = gauge_cooccurrence.load(1_000)
    first, second = data.train
    assert torch.equal(first[1:], second[:-1]) and len(first) > 700_000
    assert int(first.max()) == 999 and int(first.min()) == -1 and len(data.hashes["King James Bible"]) == 64


def test_scales_differ_in_their_words(monkeypatch):
    asked = []

    def words(content: str, size: int | None) -> tuple[torch.Tensor, list[str]]:
        asked.append(size)
        return made(words=9), []

    monkeypatch.setattr(gauge_cooccurrence.text, "words", words)
    for scale in ("quick", "short", "full"):
        gauge_cooccurrence.RUN.at(scale).data()
    assert asked == [1_000, 5_000, None]


# The network.


@pytest.fixture(scope="module")
def network_record() -> dict:
    """Five blobs in 16 dimensions, far enough apart that a trained network knows them all but for a few."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2_200) % 5
    x = 4 * torch.eye(5, 16)[y] + torch.randn(2_200, 16, generator=generator)
    sizes = gauge_network.Sizes(epochs=50, rows=None, terms=(8, 16))
    data = Data((x[:2_000], y[:2_000]), (x[2_000:], y[2_000:]))
    return two_seeds("gauge-network", gauge_network.fields(sizes), data=lambda: data)


def test_what_is_replaced_in_the_network():
    model = gauge_network.network()
    layers = gauge_network.square(model)
    assert [tuple(layer.weight.shape) for layer in layers.values()] == [(768, 768)] * 3
    assert model[-1] not in layers.values() and model(torch.randn(2, 768)).shape == (2, 10)
    x = gauge_network.load().train[0]
    assert x.shape == (10_000, 768)


def test_record_of_the_network(network_record):
    json.dumps(network_record, allow_nan=False)
    assert set(network_record["arms"]) == set(gauge_network.ARMS)
    arms = {name: rows[0] for name, rows in network_record["arms"].items()}
    assert arms["dense"]["final_accuracy"] > 0.9 and arms["dense"]["relative_error"] == 0  # chance is 0.2
    assert arms["dense"]["bits"] == 3 * 16 * 16 * 32
    for name, row in arms.items():
        assert 0 <= row["final_accuracy"] <= 1 and row["relative_error"] <= 1 + 1e-6, name
        if name in ("L1", "L2", "L3", "L4", "L5"):
            assert [each["terms"] for each in row["rows"]] == [8, 16] and row["terms"] == 8
            # more Gaussians leave less; both fits are greedy, so with some room
            assert row["rows"][1]["relative_error"] < row["relative_error"] + 0.05
    l5 = {row["terms"]: row["bits"] for row in arms["L5"]["rows"]}
    assert all(row["bits"] <= l5[row["terms"]] for name in ("SVD", "DCT", "magnitude") for row in arms[name]["rows"])
    # at 16 terms L5 would use more bits than the matrices have: it keeps them, and so does everybody beside it
    assert l5[16] == arms["dense"]["bits"] and arms["L5"]["rows"][-1]["layers_kept"] == 3
    for name in ("L5", "SVD", "DCT", "magnitude"):
        assert arms[name]["rows"][-1]["final_accuracy"] == arms["dense"]["final_accuracy"]


def test_networks_differ_by_seed(network_record):
    first, second = (row["relative_error"] for row in network_record["arms"]["L3"])
    assert first != second


# A run that computes its records.


def constant(data, seed):
    return {"a": {"value": seed}, "b": {"value": math.nan}}


def computed(compute=constant):
    parts = {"arms": {"a": len, "b": len}, "data": lambda: data_of(made(words=9)), "compute": compute}
    return replace(get_run("gauge-cooccurrence"), at_scale=None, facts=None, **parts)


def test_computed_once_a_seed_and_written(tmp_path):
    calls = []

    def compute(data, seed):
        calls.append(seed)
        return constant(data, seed)

    out = tmp_path / "result.json"
    result = execute(computed(compute=compute), "quick", seeds=3, output=out, progress=False)
    assert calls == [0, 1, 2] and json.loads(out.read_text()) == result
    assert result["arms"]["a"] == [{"seed": n, "value": n} for n in range(3)]
    assert result["arms"]["b"][0]["value"] is None and result["device"].startswith("cpu")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 3}, "no --epochs"),
        ({"train_samples": 3}, "no --train-samples"),
        ({"backend": "printed"}, "no --backend"),
        ({"compiled": True}, "no --compiled"),
        ({"device": "cuda"}, "on the CPU, not on 'cuda'"),
    ],
)
def test_settings_of_training_are_refused(options, says):
    with pytest.raises(RunError, match=says):
        execute(computed(), "quick", progress=False, **options)


def test_command_prints_the_means_of_what_was_measured(record, capsys, monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=200))
    cli._print_result(record)
    out = capsys.readouterr().out
    assert record["command"] in out and "relative error" in out and "seed " not in out
    for name, rows in record["arms"].items():
        assert f"{sum(row['perplexity'] for row in rows) / 2:,.5g}" in next(
            line for line in out.splitlines() if line.strip("│ ").startswith(f"{name} ")
        )
