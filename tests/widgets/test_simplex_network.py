"""Chapters 2 and 3's David in the page: its sums in Node, its Python side, and in a real browser what a reader does."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from mobius_lib.datasets.paths import fetch
from mobius_lib.runs.simplex import features, network
from mobius_lib.runs.waves import network as waves
from mobius_lib.simplex import DavidConfig, GeoFractalDavid
from mobius_lib.simplex import math as simplex
from mobius_lib.widgets import SimplexNetwork
from mobius_lib.widgets.simplex_network import TURNED, VIEWS, learned
from mobius_lib.widgets.source import served

DONE = "#one .mw-read:not(:empty)"
"""There once all held-out pictures are read."""
ROWS = list(range(0, 500, 50))
"""Ten pictures, one of each class or so."""
CONTROLS = 20 + 1 + 3 + 5 + 3
"""Pictures, a wrong one, sliders, settings, and what every widget has."""
SETTINGS = [
    {},
    {"mix": [0.3, 0.6, 0.2], "alpha": -0.4, "tau": 0.03},
    {"mix": [0.0, 1.0, 0.0], "alpha": 0.8, "tau": 1.0},  # the staircase alone
    {"mix": [0.0, 0.0, 1.0]},  # the corners alone
    {"mix": [0.0, 0.0, 0.0]},  # all alike
]
"""Beside what was learned."""


class Engine:
    """What the workers run."""

    _esm = served(*SimplexNetwork.engine)


@pytest.fixture
def shown() -> SimplexNetwork:
    return network.explorer()


@pytest.fixture(scope="module")
def small() -> SimplexNetwork:
    """Of odd sizes, its numbers all random and none of them exact in half precision."""
    torch.manual_seed(3)
    david = GeoFractalDavid(DavidConfig(feature_dim=13, num_classes=5, k=2, scales=(7,)))
    with torch.no_grad():
        for parameter in david.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    pictures = torch.randint(0, 256, (9, 5, 5), dtype=torch.uint8)
    return SimplexNetwork(david, pictures, torch.randn(9, 13), torch.arange(9) % 5, [*"abcde"])


def turn(widget: SimplexNetwork, settings: dict[str, Any]) -> dict[str, Any]:
    """Set the sliders; gives what they say."""
    for name, value in (widget.trained | settings).items():
        setattr(widget, name, value)
    return {name: getattr(widget, name) for name in TURNED}


def seen(in_node: Any, widget: SimplexNetwork) -> dict[str, Any]:
    """What the workers' program says of all held-out rows and of the classes, in Node."""
    script = """w.answer({ files: { weights: Uint8Array.from(atob(c.weights), (v) => v.charCodeAt(0)).buffer } });
        const plain = (of) => Object.fromEntries(Object.entries(of).map(([k, v]) => [k, v.length ? [...v] : v]));
        return { own: plain(w.answer({})), seen: plain(w.answer({ from: 0, to: c.rows })) };"""
    weights = base64.b64encode(widget.files()["weights"]).decode()
    (answer,) = in_node(Engine, script, [{"weights": weights, "rows": widget.rows}])
    return answer


# ---- the sums, in Node


@pytest.mark.parametrize("which", ["shown", "small"])
def test_the_page_computes_the_logits_of_the_library(in_node, which: str, request: pytest.FixtureRequest) -> None:
    """As trained and at any place of the sliders; and all answers, and with them the accuracy."""
    widget = request.getfixturevalue(which)
    read, rows = seen(in_node, widget), ROWS if which == "shown" else [*range(9)]
    cases = [read | {"rows": rows, "s": turn(widget, settings)} for settings in SETTINGS]
    script = """const weights = w.shares(c.s.mix);
        const logits = c.rows.map((row) =>
            w.terms(c.own, c.seen, row * c.own.C, w.climb(c.seen.x[row], c.s), weights)
                .map((three) => three.reduce((a, b) => a + b)));
        return { logits, classes: w.judge(c.own, c.seen, c.s) };"""
    for case, found in zip(cases, in_node(SimplexNetwork, script, cases), strict=True):
        turn(widget, case["s"])
        logits = torch.tensor(found["logits"], dtype=torch.float64)
        # GELU's error function is good to 1.5e-7 in the page; float32 rounds the sums of 512 products
        torch.testing.assert_close(logits, widget.logits(rows), rtol=0, atol=1e-6)
        torch.testing.assert_close(logits.float(), widget.network()(widget._inputs[rows].float()), rtol=0, atol=1e-4)
        assert found["classes"] == widget.logits().argmax(1).tolist()
    turn(widget, {})


@pytest.mark.parametrize("which", ["shown", "small"])
def test_the_slice_is_what_david_says_there(in_node, which: str, request: pytest.FixtureRequest) -> None:
    """Every point of the plane, brought to length 1, has the model's terms, and the middle is the picture's."""
    widget = request.getfixturevalue(which)
    read, cells, three = seen(in_node, widget), 11, [3, 0, 4]
    (head,) = widget.network().double().heads.values()
    q = torch.tensor(read["seen"]["q"], dtype=torch.float64).view(widget.rows, -1)[1]
    script = """const floats = (v) => Float64Array.from(v);
        const own = { ...c.own, vertices: floats(c.own.vertices), directions: floats(c.own.directions) };
        const s = w.slice(own, floats(c.q), c.three, c.cells);
        return { ...s, cosine: [...s.cosine], distance: [...s.distance], axes: s.axes.map((a) => [...a]) };"""
    (found,) = in_node(SimplexNetwork, script, [read | {"q": q.tolist(), "three": three, "cells": cells}])
    axes = torch.tensor(found["axes"], dtype=torch.float64)
    torch.testing.assert_close(axes[1:] @ axes[1:].T, torch.eye(2, dtype=torch.float64))  # a plane's own axes
    steps = found["span"] * ((2 * torch.arange(cells) + 1) / cells - 1).double()
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    points = simplex.unit(axes[0] + x.reshape(-1, 1) * axes[1] + y.reshape(-1, 1) * axes[2])
    middle = cells * cells // 2
    torch.testing.assert_close(points[middle], q)
    v = head.class_prototypes.detach()
    expected = simplex.centroid_cosine(points, v), simplex.vertex_distance(points, v)
    for name, value in zip(("cosine", "distance"), expected, strict=True):
        numbers = torch.tensor(found[name], dtype=torch.float64).view(cells * cells, -1)
        torch.testing.assert_close(numbers, value, rtol=0, atol=1e-6)  # the map is kept in float32
    directions = torch.nn.functional.normalize(simplex.centroid(v), dim=1)[three]
    torch.testing.assert_close(torch.tensor(found["heads"], dtype=torch.float64), (directions - q) @ axes[1:].T)
    corners = (v[three] - q) @ axes[1:].T
    torch.testing.assert_close(torch.tensor(found["ends"], dtype=torch.float64), corners)


# ---- the Python side


def test_the_weights_are_as_their_file_says(shown: SimplexNetwork) -> None:
    path = fetch(network.FILE)
    with safe_open(path, "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  # no dictionary
    assert facts["seed"] == network.SEED and facts["training"]["epochs"] == network.TRAINING.epochs
    found = network.judged(network.network())
    assert facts["test_pictures"] == found["test_pictures"] == 2000
    # another processor's roundings may turn a picture or two
    assert found["test_accuracy"] == pytest.approx(facts["test_accuracy"], abs=2 / 2000)
    assert facts["test_accuracy"] > 0.85


def test_what_is_held_out() -> None:
    """The pictures of chapter 1, and the features of these very pictures."""
    pictures, rows, labels = network.held_out()
    assert torch.equal(pictures, waves.held_out()[0]) and torch.equal(labels, waves.held_out()[1])
    test, y = features.load().test
    near = [int((test - row).norm(dim=1).argmin()) for row in rows[:20]]
    assert torch.equal(y[near], labels[:20]) and near == list(range(20))  # the first 50 of each class: at first all
    assert torch.equal(rows.half().float(), rows)


def test_the_sliders_make_a_david(shown: SimplexNetwork) -> None:
    before = shown.logits()
    turn(shown, {"mix": [0.0, 1.0, 3.0], "alpha": -0.25, "tau": 0.5})
    david = shown.network()
    assert learned(david) == {"mix": pytest.approx([0, 0.25, 0.75]), "alpha": -0.25, "tau": 0.5}
    assert david.config.tau == 0.5
    assert not torch.allclose(shown.logits(), before)
    turn(shown, {})
    assert torch.equal(shown.logits(), before)
    assert shown.accuracy() == (before.argmax(1) == shown._labels).double().mean()


def test_what_loses_nothing_travels_in_half_precision(shown: SimplexNetwork, small: SimplexNetwork) -> None:
    from safetensors.torch import load

    assert {tensor.dtype for tensor in load(shown.files()["weights"]).values()} == {torch.float16}
    sent = load(small.files()["weights"])
    assert sent["features"].dtype == torch.float32 and torch.equal(sent["features"].double(), small._inputs)


def test_the_buttons_set_what_they_say(shown: SimplexNetwork) -> None:
    assert shown.presets.keys() == set(VIEWS)
    for buttons in shown.presets.values():
        for button in buttons:
            assert set(button["state"]) <= set(TURNED)
            turn(shown, button["state"])
            assert button["note"] != "alone" or sorted(shown.mix) == [0, 0, 1]
    turn(shown, {})


def fitting(**given: Any) -> dict[str, Any]:
    config = DavidConfig(feature_dim=6, num_classes=3, k=2, scales=(4,), **given.pop("config", {}))
    return {
        "network": GeoFractalDavid(config),
        "pictures": torch.zeros(4, 5, 5, dtype=torch.uint8),
        "features": torch.randn(4, 6),
        "labels": torch.arange(4) % 3,
        "names": [*"abc"],
    } | given


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"network": torch.nn.Linear(2, 2)}, TypeError, "takes a GeoFractalDavid, got a Linear"),
        ({"network": GeoFractalDavid(k=2, num_classes=3, scales=(4, 5))}, ValueError, r"has scales \(4, 5\), terms"),
        ({"config": {"terms": ("feature",)}}, ValueError, "terms \\('feature',\\), form"),
        ({"config": {"form": "convergent"}}, ValueError, "form 'convergent', position"),
        ({"config": {"position": "batch"}}, ValueError, "position 'batch'"),
        ({"pictures": torch.zeros(4, 5, 5)}, ValueError, "uint8 with side up to 64, not torch.float32 of"),
        ({"features": torch.zeros(4, 5)}, ValueError, r"of \(4, 6\) and as many labels, .* of \(4, 5\)"),
        ({"labels": torch.arange(3)}, ValueError, "there are features of .*, 3 labels and 3 names"),
        ({"names": ["a"]}, ValueError, "4 labels and 1 names"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    SimplexNetwork(**fitting())
    with pytest.raises(error, match=message):
        SimplexNetwork(**fitting(**given))


# ---- in a browser


@pytest.fixture
def loaded(asked: Any) -> Iterator[Any]:
    """Opens the page as the book has it, loads the network and waits until all is read."""

    def load(width: int = 1000, phone: bool = False) -> Any:
        page = asked(width, phone)
        page.wait_for_selector(DONE)
        return page

    return load


def told(page: Any) -> tuple[float, int]:
    """Accuracy, and how many answers have changed, as the widget says them."""
    page.rest()
    says = page.inner_text("#one .mw-say")
    changed = says.split()[-3]
    return float(says.split("\u202f")[0]) / 100, 0 if changed == "No" else int(changed)


def agrees(page: Any, widget: SimplexNetwork, trained: Tensor) -> None:
    """Asserts that the page counts what Python counts with the sliders where they are."""
    answers = widget.logits().argmax(1)
    assert told(page) == (pytest.approx(widget.accuracy(), abs=1e-9), int((answers != trained).sum()))


def test_it_counts_and_names_as_python_does(loaded, shown: SimplexNetwork) -> None:
    page, trained = loaded(), shown.logits().argmax(1)
    for settings in SETTINGS:
        for name, value in turn(shown, settings).items():
            page.evaluate(f"one.set('{name}', {json.dumps(value)})")
        agrees(page, shown, trained)
        for row in ROWS:
            page.evaluate(f"one.set('picture', {row})")
            page.wait_for_timeout(100)
            answer = int(shown.logits([row]).argmax())
            right = answer == shown._labels[row]
            words = f"It says: {shown.names[answer]}" + (", and that is right." if right else "; it is: ")
            assert page.inner_text("#one .mw-read").startswith(words)


@pytest.mark.parametrize("view", VIEWS)
def test_sliders_and_buttons_move_the_answers(loaded, shown: SimplexNetwork, view: str) -> None:
    page, trained = loaded(), shown.logits().argmax(1)
    page.evaluate(f"one.set('view', '{view}')")
    page.rest()
    for trait in TURNED:
        assert page.locator(f"#one input[data-trait={trait}]:visible").count() == {
            "basins": {"mix": 3}, "staircase": {"mix": 1, "alpha": 1, "tau": 1},
        }[view].get(trait, 0)  # fmt: skip
    for button in shown.presets[view]:
        before = page.picture()
        page.click(f"#one button:visible:has-text('{button['name']}')")
        for name, value in button["state"].items():
            setattr(shown, name, value)
        assert button["note"] == "reset" or page.picture() != before
        agrees(page, shown, trained)
        assert page.get_attribute(f"#one button:visible:has-text('{button['name']}')", "aria-pressed") == "true"
    before, other = page.picture(), page.picture("two")
    page.locator("#one input:visible").first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.picture() != before and page.picture("two") == other
    for name in TURNED:
        setattr(shown, name, page.get(name))
    agrees(page, shown, trained)


def test_a_picture_is_chosen_and_a_wrong_one_found(loaded, shown: SimplexNetwork) -> None:
    page = loaded()
    before = page.picture()
    page.click("#one .mw-thumbs button >> nth=5")
    assert page.picture() != before and page.get("picture") > 0
    page.click("#one button:has-text('gets wrong')")
    page.rest()
    row = page.get("picture")
    assert f" Picture {row + 1} of 500." in page.inner_text("#one .mw-read")
    assert shown.logits([row]).argmax() != shown._labels[row]
    assert f"it is: {shown.names[shown._labels[row]]}." in page.inner_text("#one .mw-read")


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("view", VIEWS)
def test_loaded_it_fits_every_width_and_a_thumb(loaded, view: str, width: int) -> None:
    phone = width < 500
    page = loaded(width, phone)
    page.evaluate(f"one.set('view', '{view}'); one.set('mix', [1, 0, 0]); one.set('alpha', -0.4444)")
    heights = [height for height in page.fits(width) if height]
    assert len(heights) == CONTROLS
    assert min(heights) >= 44 or not phone
    # a picture that stays in view would take half of the screen from the pictures that one chooses
    position = page.evaluate("getComputedStyle(document.querySelector('#one .mw-plot')).position")
    assert position == ("static" if phone else "sticky")


def test_every_control_has_a_name_of_its_own(loaded) -> None:
    page = loaded()
    for view in VIEWS:
        page.evaluate(f"one.set('view', '{view}')")
        page.rest()
        names = page.eval_on_selector_all("#one :is(input, button)", """all => all.filter((e) => e.offsetWidth)
            .map((e) => e.ariaLabel || e.textContent)""")  # fmt: skip
        assert len(names) == len(set(names)) == CONTROLS and all(names)
        page.wait_for_selector("#one canvas[aria-label*='held-out pictures classified correctly']")


@pytest.mark.parametrize("width", [390, 792, 1000])
def test_the_map_has_the_picture_beside_it_or_stands_in_the_middle(loaded, width: int) -> None:
    page = loaded(width)
    page.evaluate("""() => {
        const draw = CanvasRenderingContext2D.prototype.drawImage;
        CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
            if (this.canvas.clientWidth > 200) (window.placed ??= []).push([...place, this.canvas.clientWidth]);
            return draw.call(this, image, ...place);
        };
    }""")
    page.evaluate("one.set('mix', [1, 1, 1])")
    page.rest()
    (left, _, side, *_, whole), (face, _, small, *_) = page.evaluate("placed.slice(-2)")
    assert face + small <= left or left == (whole - side) / 2
    assert left >= 0 and left + side <= whole
