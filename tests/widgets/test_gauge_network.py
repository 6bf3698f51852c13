"""Chapter 4's network in the page: what is kept of its matrices, its sums in Node, and in a browser what one does."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mobius_lib.datasets.paths import fetch
from mobius_lib.gauge.baselines import at_bits
from mobius_lib.runs.gauge import squeezed
from mobius_lib.runs.gauge.lens import replaceable
from mobius_lib.runs.waves import network
from mobius_lib.widgets import GaugeNetwork
from mobius_lib.widgets.gauge_network import FORMS, kept, rebuilt
from mobius_lib.widgets.source import served

COUNTED = "#one progress.done"
READ = "#one .mw-read:has-text('It sees')"
PATIENCE = 300_000  # ms: a quiet machine counts 500 pictures in seconds, a busy one in minutes


class Engine:
    """What the workers run."""

    _esm = served(*GaugeNetwork.engine)


@pytest.fixture
def shown() -> GaugeNetwork:
    return squeezed.explorer()


# ---- what is kept


def test_all_weights_of_the_chapter_are_few(shown: GaugeNetwork) -> None:
    files = shown.files()
    assert len(files["weights"]) + len(files["matrices"]) <= 1.5e6
    assert fetch(squeezed.FILE).stat().st_size <= 1.3e6


@pytest.mark.parametrize(("form", "bits"), [("L2", 2), ("L3", 8), ("L5", 4), ("svd", 4), ("dct", 2), ("magnitude", 8)])
def test_the_file_keeps_what_the_library_makes(shown: GaugeNetwork, form: str, bits: int) -> None:
    """One matrix of each kind, fitted anew."""
    shown.form, shown.bits = form, bits
    found, model = shown.matrices(), network.network()
    assert found.keys() == shown._sizes[form][str(bits)].keys()
    names = {name for name in found if name in ("downsamples.0.0", "stages.2.1.lens.twist_in_proj")}
    assert names or form == "L5"
    whole = {name: layer for name, layer in replaceable(model).items() if name in names}
    for name, layer in whole.items():
        w = layer.weight.detach().flatten(1)
        if form.startswith("L"):
            from mobius_lib.gauge.compress import compress

            linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
            linear.weight.data.copy_(w)
            told = compress(torch.nn.Sequential(linear), form, bits=bits)
            expected, size = told.model.get_submodule("0").to_dense(), told.layers["0"].bits
        else:
            expected, size = at_bits(form, w, bits * w.numel())
        assert shown._sizes[form][str(bits)][name] == size <= bits * w.numel()
        # a byte a number is right to 1 / 254 of a row's largest
        assert (found[name] - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (5, 7)])
def test_what_is_kept_gives_the_matrix_again(form: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    w = torch.randn(shape)
    matrix = torch.randn(shape[0], 3) @ torch.randn(3, shape[1])
    if not form.startswith("L"):
        matrix = at_bits(form, w, 14 * w.numel()).matrix
    found = rebuilt(form, w, kept(form, matrix), 14)
    assert (found - matrix).norm() < 0.02 * matrix.norm() or form == "quantised"


# ---- the sums, in Node

SAMPLES = [
    {"form": "dense", "bits": 0, "where": ""},
    *({"form": form, "bits": 4, "where": "all"} for form in FORMS[1:]),
    {"form": "L1", "bits": 2, "where": "twists"},
    {"form": "dct", "bits": 8, "where": "3 x 3"},
    {"form": "quantised", "bits": 2, "where": "pointwise"},
]


def test_the_page_computes_the_logits_of_the_library(in_node: Any, shown: GaugeNetwork) -> None:
    files = {name: base64.b64encode(content).decode() for name, content in shown.files().items()}
    script = """const bytes = (text) => Uint8Array.from(atob(text), (v) => v.charCodeAt(0)).buffer;
        if (c.files) w.answer({ files: Object.fromEntries(Object.entries(c.files).map(([k, v]) => [k, bytes(v)])) });
        return c.rows.map((row) => w.answer({ settings: c.settings, rows: [row], read: true }).logits);"""
    rows = [3, 77, 250, 404]
    cases = [{"settings": settings, "rows": rows} for settings in SAMPLES]
    cases[0]["files"] = files
    for settings, found in zip(SAMPLES, in_node(Engine, script, cases), strict=True):
        shown.form = settings["form"]
        if settings["bits"]:
            shown.bits, shown.where = settings["bits"], settings["where"]
        expected = shown.logits(rows)
        # float32's roundings through the layers, in torch; the page computes in double precision
        assert (torch.tensor(found) - expected).abs().max() <= 1e-4 * expected.abs().max(), settings


# ---- in a browser


def told(page: Any) -> float:
    """The accuracy, as the widget says it once everything is counted."""
    page.wait_for_timeout(100)
    page.wait_for_selector(COUNTED, timeout=PATIENCE)
    page.wait_for_selector(READ, timeout=PATIENCE)
    page.rest()
    return float(page.inner_text("#one .mw-say strong").split("\u202f")[0]) / 100


@pytest.mark.parametrize("way", ["served", "file"])
def test_it_counts_as_python_does(opened: Any, folder: Path, site: str, shown: GaugeNetwork, way: str) -> None:
    page = opened(address="book.html", root=site if way == "served" else folder.as_uri())
    page.click("#one button:has-text('Load')")
    assert told(page) == pytest.approx(shown.accuracy(), abs=6e-4)  # one decimal of a per cent is shown
    for form, name, part, words in (("svd", "SVD", "all", "All"), ("L5", "L5", "twists", "Twists")):
        page.click(f"#one .mw-five button:has-text('{name}')")
        page.click(f"#one .mw-quarter button:has-text('{words}')")
        assert (page.get("form"), page.get("where")) == (form, part)
        shown.form, shown.where = form, part
        assert told(page) == pytest.approx(shown.accuracy(), abs=6e-4)
        for row in range(450, -50, -50):
            page.evaluate(f"one.set('picture', {row})")
            shares = torch.softmax(shown.logits([row])[0], 0)
            best = int(shares.argmax())
            words = f"It sees: {shown.names[best]}, {round(100 * shares[best].item())}\u202f%"
            begins = "w => document.querySelector('#one .mw-read').textContent.startsWith(w)"
            page.wait_for_function(begins, arg=words, timeout=PATIENCE)
        size, weights, layers = shown.sizes[form]["8"][part]
        said = page.inner_text("#one .mw-say")
        assert f"{layers} of the " in said and f"{size / weights:.1f} bits a weight" in said


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_loaded_it_fits_every_width_and_a_thumb(opened: Any, width: int) -> None:
    phone = width < 500
    page = opened(width, phone, "book.html")
    page.click("#one button:has-text('Load')")
    page.wait_for_selector(READ, timeout=PATIENCE)
    page.click("#one button:has-text('Magnitude')")
    heights = page.fits(width)
    # forms, bits, layers, pictures, a wrong one, and what one takes along
    assert len(heights) == 10 + 3 + 4 + 20 + 1 + 4
    assert min(heights) >= 44 or not phone


def test_its_numbers_are_json(shown: GaugeNetwork) -> None:
    assert json.loads(json.dumps(shown.sizes)) == shown.sizes
