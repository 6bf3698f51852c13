"""Chapter 1's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import math
from functools import partial

import pytest
import torch

from mobius_lib.waves import MobiusLens
from mobius_lib.waves import math as waves
from mobius_lib.widgets import WaveLensExplorer
from mobius_lib.widgets.waves import PRESETS_TABLE

# JavaScript and torch both compute in float64 and differ only in the rounding of sin, exp and of sums: about 1e-14,
# times at most 1 / sqrt(eps) = 316 in the layer norm.
SAME = {"rtol": 0.0, "atol": 1e-9}

# The distillation card's table, typed a second time: block, omega, alpha, xor weight after the sigmoid.
SEED_TABLE = [
    ("S0B0", 1.55, 0.64, 0.40),
    ("S0B1", 3.01, 0.22, 0.69),
    ("S1B0", 0.93, 2.00, 0.79),
    ("S1B1", 1.63, 0.50, 0.41),
    ("S2B0", 1.64, 2.09, 0.58),
    ("S2B1", 2.68, 5.22, 0.99),
]


# ---- the mathematics, in Node


def draw(generator: torch.Generator, i: int) -> dict[str, torch.Tensor]:
    """Random arguments for every function, wider than the sliders; every fifth t is 0, alpha of either sign."""
    channels = int(torch.randint(1, 65, (), generator=generator))
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    return {
        "u": torch.tanh(2 * normal(channels)),
        "t": torch.rand(1, generator=generator, dtype=torch.float64) * (i % 5 > 0),
        "phase": 3 * normal(2),
        "drift": 2 * normal(2),
        "omega": 4 * normal(()),
        "alpha": 3 * normal(()) * (i % 7 > 0),
        "scales": 3 * torch.rand(2, generator=generator, dtype=torch.float64),
        "path_weights": 2 * normal(3),
        "xor_weight": 3 * normal(()),
        "left": torch.rand(channels, generator=generator, dtype=torch.float64),
        "middle": torch.rand(channels, generator=generator, dtype=torch.float64),
        "right": torch.rand(channels, generator=generator, dtype=torch.float64),
    }


def test_javascript_equals_the_library_function_by_function(in_node) -> None:
    generator = torch.Generator().manual_seed(7)
    draws = [draw(generator, i) for i in range(300)]
    assert sum(bool(d["alpha"] < 0) for d in draws) > 50
    answers = in_node(
        WaveLensExplorer,
        """const pattern = w.interference(c.left, c.middle, c.right, c.path_weights, c.xor_weight);
           return { sharpness: w.sharpness(c.alpha), pattern, gate: w.gate(pattern),
                    wave: w.wave(c.u, c.t[0], c.phase, c.drift, c.omega, c.alpha, c.scales),
                    xor: c.left.map((l, i) => w.softXor(l, c.right[i])),
                    and: c.left.map((l, i) => w.softAnd(l, c.right[i])),
                    share: w.effectiveShare(pattern) };""",
        [{name: value.tolist() for name, value in d.items()} for d in draws],
    )
    for d, answer in zip(draws, answers, strict=True):
        wave = [d[k] for k in ("u", "t", "phase", "drift", "omega", "alpha", "scales")]
        pattern = waves.interference(*(d[k] for k in ("left", "middle", "right", "path_weights", "xor_weight")))
        expected = {
            "sharpness": waves.sharpness(d["alpha"]),
            "wave": waves.wave(*wave),
            "xor": waves.soft_xor(d["left"], d["right"]),
            "and": waves.soft_and(d["left"], d["right"]),
            "pattern": pattern,
            "gate": waves.gate(pattern),
            "share": pattern.sum().square() / (len(pattern) * pattern.square().sum()),
        }
        assert answer.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(torch.tensor(answer[name], dtype=torch.float64), value, **SAME)


def test_the_drawn_gate_is_the_gate_of_the_lens(in_node, parameters) -> None:
    """From a lens through the traits to the picture: the state of the widget, evaluated, is `MobiusLens.gate`."""
    generator = torch.Generator().manual_seed(11)
    cases, expected = [], []
    for i in range(40):
        channels = 2 + 3 * i
        lens = MobiusLens(channels, i % 6, 6).double()
        with torch.no_grad():
            for name, parameter in lens.named_parameters():
                if "." not in name:
                    parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        x = torch.randn(channels, generator=generator, dtype=torch.float64)
        t = waves.drift_coordinate(x).item()
        explorer = WaveLensExplorer.from_lens(lens, t=t)
        cases.append({"state": parameters(explorer), "u": torch.tanh(x).tolist(), "t": t})
        expected.append((lens.paths(x), lens.gate(x)))
    answers = in_node(WaveLensExplorer, "return w.lens(c.state, c.u, c.t);", cases)
    for answer, (paths, gate) in zip(answers, expected, strict=True):
        for name, value in zip(("L", "M", "R", "gate"), (*paths, gate), strict=True):
            torch.testing.assert_close(torch.tensor(answer[name], dtype=torch.float64), value, **SAME)


# ---- the Python side


def shown(lens: MobiusLens) -> dict[str, torch.Tensor]:
    """The part of a lens that the widget shows."""
    hidden = ("gate_norm.", "twist_")
    return {name: value for name, value in lens.state_dict().items() if not name.startswith(hidden)}


def test_the_first_picture_is_an_untrained_lens() -> None:
    made, initial = shown(WaveLensExplorer().lens(dim=8)), shown(MobiusLens(8, 0, 6))
    assert made.keys() == initial.keys()
    for name, value in initial.items():
        torch.testing.assert_close(made[name], value, rtol=0, atol=0)


def test_a_lens_survives_the_round_trip_exactly() -> None:
    torch.manual_seed(3)
    for position in range(6):
        lens = MobiusLens(5, position, 6, scale_range=(0.25, 2.75))
        with torch.no_grad():
            for parameter in lens.parameters():
                parameter.add_(torch.randn_like(parameter))
        explorer = WaveLensExplorer.from_lens(lens, t=0.25)
        back = explorer.lens(dim=5, layer_idx=position, total_layers=6)
        assert explorer.t == 0.25 and back.t == lens.t
        for name, value in shown(lens).items():
            torch.testing.assert_close(shown(back)[name], value, rtol=0, atol=0)


def test_the_presets_are_the_published_table() -> None:
    initial, *blocks = WaveLensExplorer().presets
    assert [(b.name, b.omega, b.alpha, b.xor_share) for b in PRESETS_TABLE] == SEED_TABLE
    assert initial["name"] == "initial"
    for position, (row, block) in enumerate(zip(SEED_TABLE, blocks, strict=True)):
        explorer = WaveLensExplorer(**initial["state"] | block["state"])
        share = 1 / (1 + math.exp(-explorer.xor_weight))
        # The share goes through logit and sigmoid: a few roundings of float64.
        assert (block["name"], explorer.omega, explorer.alpha, pytest.approx(share, abs=1e-12)) == row
        untrained = MobiusLens(4, position, 6)
        made = shown(explorer.lens(dim=4))
        for name, value in shown(untrained).items():
            if name not in ("omega", "alpha", "xor_weight"):
                torch.testing.assert_close(made[name], value, rtol=0, atol=0)


def test_from_lens_wants_a_lens() -> None:
    with pytest.raises(TypeError, match="takes a MobiusLens, got a Linear"):
        WaveLensExplorer.from_lens(torch.nn.Linear(2, 2))


def test_two_widgets_share_nothing() -> None:
    one, two = WaveLensExplorer(), WaveLensExplorer()
    one.scales = [2.0, 2.5]
    assert two.scales == WaveLensExplorer().scales != one.scales


# ---- the picture, in a browser


@pytest.mark.parametrize("width", [390, 1000])
def test_presets_are_equally_wide(opened, width: int) -> None:
    page = opened(width)
    widths = "all => all.map((e) => Math.round(e.getBoundingClientRect().width))"
    assert len(set(page.eval_on_selector_all("#one .mw-presets button", widths))) == 1


def test_presets_say_broad_and_winner_take_all(opened) -> None:
    page = opened()
    seen = set()
    for name, word in [("S0B1", "Broad"), ("S2B1", "Winner-take-all"), ("initial", "Selective")]:
        page.click(f"#one button:has-text('{name}')")
        seen.add(page.picture())
        assert page.inner_text("#one .mw-say strong") == f"{word} pattern"
        assert page.locator("#one button[aria-pressed=true]").inner_text().startswith(name)
    assert len(seen) == 3
    page.hear("Selective")
    assert "Selective" in page.get_attribute("#one canvas[role=img]", "aria-label")


def test_a_trait_set_from_python_redraws_and_widens_its_slider(opened) -> None:
    page = opened()
    before = page.picture()
    page.evaluate("one.set('omega', 9.4321)")
    assert page.picture() != before
    assert page.get("omega") == 9.4321  # the slider's steps of 0.01 do not write back
    assert page.get_attribute("#one input[data-trait=omega]", "aria-valuetext") == "9.43"
    assert page.input_value("#one input[data-trait=omega]") == "9.43"
    # A slider once widened stays so: else the thumb would jump while it is dragged back.
    page.evaluate("one.set('omega', 2)")
    page.rest()
    assert page.get_attribute("#one input[data-trait=omega]", "max") == "10"


def test_the_map_is_read_and_sets_t(opened) -> None:
    page = opened()
    box = page.locator("#one canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.rest()
    read = page.inner_text("#one .mw-read")
    assert read.startswith("x ") and "gate 0." in read
    before = page.picture()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 60)  # near the foot of the map
    t = page.get("t")
    assert 0 < t < 0.4
    page.mouse.move(0, 0)
    assert page.picture() != before


def test_a_closed_view_draws_no_more(opened) -> None:
    page = opened()
    page.evaluate("close_one()")
    page.rest()
    drawn = page.evaluate("window.frames_ms.length")
    page.evaluate("one.set('omega', 1); document.documentElement.dataset.theme = 'dark'")
    page.rest()
    assert page.evaluate("window.frames_ms.length") == drawn + 1  # the other widget's


@pytest.mark.parametrize("width", [320, 360, 390])
def test_the_map_is_tapped(opened, width: int) -> None:
    page = opened(width, phone=True)
    page.locator("#one canvas").scroll_into_view_if_needed()
    box = page.locator("#one canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] - 60)
    page.rest()
    assert 0 < page.get("t") < 0.45
    assert "gate 0." in page.inner_text("#one .mw-read")


def test_two_columns_where_there_is_room(opened) -> None:
    page = opened()
    canvas, slider = page.locator("#one canvas").bounding_box(), page.locator("#one input").first.bounding_box()
    assert slider["x"] > canvas["x"] + canvas["width"]
    page.set_viewport_size({"width": 500, "height": 800})
    page.rest()
    canvas, slider = page.locator("#one canvas").bounding_box(), page.locator("#one input").first.bounding_box()
    assert slider["y"] > canvas["y"] + canvas["height"]


def test_a_given_lens_comes_back_by_its_own_button() -> None:
    lens = MobiusLens(8, 2, 6)
    explorer = WaveLensExplorer.from_lens(lens)
    assert len(explorer.presets) == len(WaveLensExplorer().presets) + 1
    state = explorer.presets[-1]["state"]
    explorer.omega, explorer.alpha = 1.0, 5.0
    for name, value in state.items():
        setattr(explorer, name, value)
    torch.testing.assert_close(explorer.lens(8).omega, lens.omega.detach().float())
    assert explorer.scales == lens.scales.tolist() and explorer.alpha == lens.alpha.item()
