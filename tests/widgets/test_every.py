"""What holds for the widget of every chapter: refusals and size, and in a browser sliders, names, theme and widths."""

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError

from mobius_lib import widgets
from mobius_lib.widgets.gauge_network import FORMS

BAD = {
    "waves": [
        ("scales", [1.0], "scales takes 2 numbers, got 1."),
        ("phase_m", [0.0, 0.0, 0.0], "phase_m takes 2 numbers, got 3."),
        ("accum_weights", [0.4, 0.6], "accum_weights takes 3 numbers, got 2."),
        ("omega", math.inf, "omega takes finite numbers, got inf."),
        ("drift_r", [math.nan, 0.0], "drift_r takes finite numbers, got [nan, 0.0]."),
        ("t", 1.0, "t is a mean of |tanh x|, so it lies in [0, 1); got 1.0."),
        ("t", -0.1, "t is a mean of |tanh x|, so it lies in [0, 1); got -0.1."),
    ],
    "cantor": [
        ("alpha", math.nan, "alpha takes a finite number, got nan."),
        ("tau", math.inf, "tau takes a finite number, got inf."),
        ("tau", 0.0, "tau is a temperature, so it must be positive; got 0.0."),
        ("levels", 9, "levels must be from 1 to 8 in the widget, got 9."),
        ("levels", 0, "levels must be from 1 to 8 in the widget, got 0."),
        ("form", "soft", "form must be one of published, multilevel, halting, convergent; got 'soft'."),
        ("zoom", "03", "zoom takes up to 9 ternary digits, such as '02'; got '03'."),
        ("zoom", "0" * 10, "zoom takes up to 9 ternary digits, such as '02'; got '0000000000'."),
        ("x", 1.5, "x is a position in [0, 1], got 1.5."),
    ],
    "simplex": [
        ("vertices", [[[0.0, 1.0]] * 3] * 2, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("vertices", [[[0.0, 1.0, 2.0]] * 3] * 3, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("vertices", [[[0.0, 1.0]] * 2] * 3, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("geo_weights", [0.0, 1.0], "geo_weights takes 3 numbers, got 2."),
        ("cantor_prototypes", [0.0, math.nan, 1.0], "cantor_prototypes takes finite numbers, got [0.0, nan, 1.0]."),
        ("turn", [0.0], "turn takes 2 numbers, got 1."),
        ("tau", -1.0, "tau is a temperature, so it must be positive; got -1.0."),
        ("pull", math.inf, "pull takes finite numbers, got inf."),
    ],
    "gauge": [
        ("part", "ladders", "part must be one of cascade, ladder, transport; got 'ladders'."),
        ("level", "L7", "level must be one of L1, L2, L3, L4, L5, L6; got 'L7'."),
        ("terms", 0, "terms must be from 1 to 16, got 0."),
        ("sigma_0", 0.0, "sigma_0 must be from 0.1 to 1000, got 0.0."),
        ("exponent", math.nan, "exponent takes finite numbers, got nan."),
        ("vocabulary", 2.0, "vocabulary must be from 100 to 1e+07, got 2.0."),
        ("turn", [0.0], "turn takes 2 numbers, got 1."),
        ("places", [0, 2, 2], "places must hold each number from 0 to 2 once: where each column goes."),
        ("row", [1.0, math.inf], "row takes finite numbers, got [1.0, inf]."),
    ],
    "twistor": [
        ("matrix", [[1.0, 0.0]] * 3, "matrix takes a, b, c and d, each as its real and its imaginary part."),
        ("matrix", [[1.0]] * 4, "matrix takes a, b, c and d, each as its real and its imaginary part."),
        ("matrix", [[1.0, 1.0]] * 4, "matrix must have a determinant ad - bc other than 0; else all points go to one."),
        ("matrix", [[math.nan, 0.0]] * 4, "matrix takes finite numbers, got nan."),
        ("circle", [0.0, 0.0], "circle takes 3 numbers, got 2."),
        ("circle", [0.0, 0.0, 0.0], "circle takes a positive radius, got 0.0."),
        ("time", math.inf, "time takes finite numbers, got inf."),
        ("turn", [0.0], "turn takes 2 numbers, got 1."),
        ("at", -1, "at is a place in the text, from 0 on; got -1."),
        ("trajectory", [("ab", 0.0, 0.0)], "trajectory takes one character for each point."),
        ("trajectory", [("a", 0.0, math.inf)], "trajectory takes finite numbers, got inf."),
    ],
    "waves_network": [
        ("omega", [1.0], "omega takes 6 numbers, one for each block, got 1."),
        ("alpha", [math.inf] * 6, "alpha takes finite numbers, got [inf, inf, inf, inf, inf, inf]."),
        ("xor_weight", [], "xor_weight takes 6 numbers, one for each block, got 0."),
        ("block", 6, "block is from 0 to 5, or -1 for all; got 6."),
        ("picture", 500, "picture is a row from 0 to 499, or -1 for the drawing; got 500."),
        ("drawn", [1], "drawn takes 784 bytes from 0 to 255, row by row, or none."),
        ("drawn", [256] * 784, "drawn takes 784 bytes from 0 to 255, row by row, or none."),
    ],
    "simplex_network": [
        ("mix", [1.0], "mix takes 3 numbers, got 1."),
        ("mix", [math.nan, 0.0, 1.0], "mix takes finite numbers, got [nan, 0.0, 1.0]."),
        ("mix", [1.0, -0.5, 1.0], "mix takes weights that are not negative, got [1.0, -0.5, 1.0]."),
        ("alpha", math.inf, "alpha takes finite numbers, got inf."),
        ("tau", 0.0, "tau is a temperature, so it must be positive; got 0.0."),
        ("picture", 500, "picture is a row from 0 to 499; got 500."),
        ("view", "corners", "view must be one of basins, staircase; got 'corners'."),
    ],
    "gauge_network": [
        ("form", "L6", f"form must be one of {', '.join(FORMS)}; got 'L6'."),
        ("bits", 3, "bits must be one of 2, 4, 8; got 3."),
        ("where", "stem", "where must be one of all, pointwise, twists, 3 x 3; got 'stem'."),
        ("picture", 500, "picture is a row from 0 to 499; got 500."),
    ],
    "twistor_reader": [
        ("text", "a" * 601, "text takes up to 600 characters, got 601."),
        ("at", -2, "at is a place in the text, from 0 on, or -1 for its end; got -2."),
        ("temperature", -0.1, "temperature is 0 (the likeliest character) or above, got -0.1."),
        ("temperature", math.nan, "temperature is 0 (the likeliest character) or above, got nan."),
        ("off", "memory twist", "off names parts among mobius, memory, nested, scales; got 'twist'."),
        ("turn", [0.0], "turn takes 2 finite numbers, got [0.0]."),
    ],
}
"""Of each chapter: a trait, a value that it cannot have, and the sentence."""


@pytest.mark.parametrize(
    ("chapter", "trait", "value", "message"), [(chapter, *row) for chapter, rows in BAD.items() for row in rows]
)
def test_a_bad_value_is_refused_in_one_sentence_and_leaves_the_old_one(
    explorers, chapter: str, trait: str, value: object, message: str
) -> None:
    explorer = explorers[chapter]()
    before = getattr(explorer, trait)
    with pytest.raises(TraitError) as error:
        setattr(explorer, trait, value)
    assert str(error.value) == message
    assert getattr(explorer, trait) == before
    with pytest.raises(TraitError) as error:
        explorers[chapter](**{trait: value})
    assert str(error.value) == message


NUMPY = {
    "waves": [("omega", np.float32(0.5), 0.5), ("scales", np.array([1.0, 2.0]), [1.0, 2.0])],
    "cantor": [("levels", np.int64(3), 3), ("alpha", np.int32(1), 1.0)],
    "simplex": [("vertices", np.ones((3, 3, 2)), [[[1.0] * 2] * 3] * 3), ("tau", np.float16(0.5), 0.5)],
    "gauge": [("terms", np.uint8(4), 4), ("places", np.array([2, 0, 1]), [2, 0, 1])],
    "twistor": [("circle", np.float32([1, 2, 0.5]), [1.0, 2.0, 0.5])],
    "waves_network": [("omega", np.arange(6), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), ("block", np.int64(2), 2)],
    "gauge_network": [("bits", np.int64(4), 4)],
    "simplex_network": [("mix", np.arange(3), [0.0, 1.0, 2.0]), ("picture", np.int64(2), 2)],
    "twistor_reader": [("temperature", np.float32(0.5), 0.5), ("at", np.int64(7), 7)],
}
"""Of each chapter: a trait, numbers of NumPy, and what they are in JSON."""


@pytest.mark.parametrize(
    ("chapter", "trait", "value", "plain"), [(chapter, *row) for chapter, rows in NUMPY.items() for row in rows]
)
def test_numbers_of_numpy_are_numbers(explorers, chapter: str, trait: str, value: object, plain: object) -> None:
    explorer = explorers[chapter]()
    setattr(explorer, trait, value)
    assert json.loads(json.dumps(getattr(explorer, trait))) == plain
    with pytest.raises(TraitError):
        setattr(explorer, trait, np.array("three"))


@pytest.mark.parametrize(
    ("chapter", "kilobytes"),
    [
        ("waves", 24),
        ("cantor", 28),
        ("simplex", 29),
        ("gauge", 33),
        ("twistor", 32),
        ("waves_network", 31),
        ("simplex_network", 32),
        ("gauge_network", 30),
        ("twistor_reader", 31),
    ],
)
def test_the_page_stores_little_per_widget(explorers, chapter: str, kilobytes: int) -> None:
    """A page stores both files once per instance; seven kilobytes of each are what a reader takes along."""
    stored = len(explorers[chapter]._esm.encode()) + len(explorers[chapter]._css.encode())
    assert stored <= kilobytes * 1024


# ---- in a browser


@pytest.mark.parametrize(
    ("chapter", "trait", "start", "way", "low", "high"),
    [
        ("waves", "alpha", 0.25, 0.48, 3, math.inf),
        ("cantor", "tau", 0.85, -0.72, 1e-4, 1e-2),  # logarithmic, as the next
        ("gauge", "sigma_0", 0.6, -0.48, 0.3, 2),
    ],
)
def test_a_dragged_slider_redraws_its_own_widget_alone(
    opened, chapter: str, trait: str, start: float, way: float, low: float, high: float
) -> None:
    page = opened()
    assert page.picture() == page.picture("two")
    if chapter == "cantor":
        page.evaluate("one.set('form', 'convergent'); one.set('levels', 8)")  # the costliest picture
    box = page.locator(f"#one input[data-trait={trait}]").bounding_box()
    with page.redrawn():
        page.drag(box["x"] + start * box["width"], box["y"] + box["height"] / 2, way * box["width"], 0, wait=20)
    assert low <= page.get(trait) < high


@pytest.mark.parametrize("chapter", ["waves", "cantor", "simplex", "gauge", "twistor"])
def test_a_frame_asks_for_no_layout(opened, chapter: str) -> None:
    """To ask for a width after something was written costs a layout more, which is most of what a frame would cost."""
    page = opened()
    page.picture()
    asked = page.evaluate("""async () => {
        let asked = 0;
        for (const name of ["clientWidth", "clientHeight"]) {
            const { get } = Object.getOwnPropertyDescriptor(Element.prototype, name);
            Object.defineProperty(Element.prototype, name, { get() { asked++; return get.call(this); } });
        }
        const slider = document.querySelector("#one input[type=range]:not([data-trait=at])"); // at is hidden
        const canvas = document.querySelector("#one canvas");
        const before = canvas.toDataURL();
        for (let step = 0; step < 5; step++) {
            slider.value = +slider.min + (step + 1) * 0.07 * (slider.max - slider.min);
            slider.dispatchEvent(new Event("input"));
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
        }
        return [asked, canvas.toDataURL() !== before];
    }""")
    assert asked == [0, True]


@pytest.mark.parametrize(
    ("chapter", "slider", "key", "value", "names"),
    [
        # From pi the input stands at 3.14, the nearest of its steps of 0.01.
        ("waves", "omega", "ArrowRight", 3.15, 21),
        ("cantor", "alpha", "ArrowRight", 0.51, 4),
        ("simplex", "cantor_prototypes] >> nth=1", "ArrowLeft", [0, 0.49, 1], 12 + 12),
        ("gauge", "terms] >> nth=0", "ArrowRight", 9, 10),
        ("twistor", "time", "ArrowRight", 0.01, 5 + 5),
    ],
)
def test_keyboard_and_names(opened, chapter: str, slider: str, key: str, value: object, names: int) -> None:
    page = opened()
    before = page.picture()
    trait, _, which = slider.partition("]")
    page.focus(f"#one input[data-trait={trait}]{which}")
    page.keyboard.press(key)
    assert page.get(trait) == value
    assert page.picture() != before
    said = page.eval_on_selector_all("#one :is(input, .mw-pin)", "all => all.map((i) => i.ariaLabel)")
    assert len(said) == len(set(said)) == names and all(said)


@pytest.mark.parametrize(("chapter", "pins"), [("simplex", (0, 3)), ("twistor", (0, 4))])
def test_the_arrow_keys_move_a_point_and_not_the_page(opened, chapter: str, pins: tuple[int, int]) -> None:
    page = opened()
    for pin in pins:
        before = page.picture()
        page.focus(f"#one .mw-pin >> nth={pin}")
        scrolled = page.evaluate("scrollY")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("scrollY") == scrolled
        assert page.picture() != before


@pytest.mark.parametrize("chapter", ["simplex", "twistor"])
def test_a_body_turns(opened, chapter: str) -> None:
    page = opened()
    before, turn = page.picture(canvas=1), page.get("turn")
    page.locator("#one canvas").nth(1).scroll_into_view_if_needed()
    page.drag(*page.middle("#one canvas >> nth=1"), 50, -30)
    assert page.get("turn") == pytest.approx([turn[0] + 0.5, turn[1] - 0.3])  # 100 pixels are a radian
    assert page.picture(canvas=1) != before


@pytest.mark.parametrize("chapter", BAD)
def test_follows_the_theme_of_the_page(opened, chapter: str) -> None:
    page = opened()
    light = page.picture()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = page.picture()
    assert dark != light
    page.evaluate("document.documentElement.removeAttribute('data-theme')")
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert page.picture() == dark
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    assert page.picture() == light
    page.evaluate("document.body.removeAttribute('data-jp-theme-light')")
    page.emulate_media(color_scheme="dark")
    assert page.picture() == dark
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.picture() == light


@pytest.mark.parametrize("chapter", BAD)
def test_a_closed_view_listens_no_more(opened, chapter: str) -> None:
    page = opened()
    assert page.evaluate("Object.values(one.listeners).flat().length") > 0
    page.evaluate("close_one()")
    assert page.evaluate("Object.values(one.listeners).flat().length") == 0


OFFERS = 3
"""Reset, Save picture, Copy Python; in the book's own pages also Copy link."""


@dataclass(frozen=True)
class Fit:
    """What a widget shows at its widest, and how many inputs, points, buttons and summaries that are."""

    controls: int
    script: str
    """Sets the longest sentences and numbers."""
    widths: tuple[int, ...] = (320, 360, 390)
    parts: tuple[tuple[str, int], ...] = ()
    """Of a widget in parts: the buttons that show them, and how many controls each has further."""


FITS = {
    "waves": Fit(21 + 7 + 2, "one.set('accum_weights', [-2.25, -2.75, -1.25])"),
    "cantor": Fit(
        4 + 4 + 4 + 3 + 1,
        "one.set('form', 'convergent'); one.set('alpha', 0.321); one.set('levels', 8); one.set('zoom', '020202020')",
    ),
    "simplex": Fit(
        12 + 12 + 8 + 1,
        """one.set('geo_weights', [-2.25, -6.75, -1.25]);
           one.set('vertices', one.get('vertices').map((v) => v.map(() => [1.45, -1.45])))""",  # at the rim
    ),
    "gauge": Fit(
        3,
        "one.set('vocabulary', 199526); one.set('turn', [-2.25, -1.25]); one.set('gauge', 359)",
        (360, 390, 768, 1280),
        (("Cascade", 3 + 3), ("Ladder", 6 + 2), ("Transport", 2 + 5)),
    ),
    "twistor": Fit(
        5 + 5 + 5 + 1,
        """one.set('trajectory', [..."In the beginning God created the heaven and the earth."].map((c, i) =>
               [c, 1.5 * Math.cos(i / 3), 1.5 * Math.sin(i / 2)]));
           one.set('matrix', [[-2.99, 2.99], [3, -3], [-3, -3], [2.87, -2.99]]); one.set('circle', [3, -3, 0.5]);
           one.set('turn', [-2.25, -1.25])""",
        (360, 390, 768, 1280),
    ),
    "waves_network": Fit(1, "one.set('alpha', Array(6).fill(-5.22))"),  # loaded: in its own test
    "simplex_network": Fit(1, "one.set('tau', 1e-9)"),
    "gauge_network": Fit(1, "one.set('form', 'quantised')"),
    "twistor_reader": Fit(1, "one.set('text', 'm'.repeat(600))"),  # likewise
}


@pytest.mark.parametrize(
    ("chapter", "width"), [(chapter, width) for chapter, fit in FITS.items() for width in fit.widths]
)
def test_fits_every_width_and_a_thumb(opened, chapter: str, width: int) -> None:
    fit, phone = FITS[chapter], width < 500
    page = opened(width, phone)
    page.evaluate("document.querySelectorAll('#one details').forEach((d) => { d.open = true; })")
    page.evaluate(fit.script)
    page.rest()
    for part, further in fit.parts or (("", 0),):
        if part:
            (page.tap if phone else page.click)(f"#one button:has-text('{part}')")
        heights = [height for height in page.fits(width) if height]  # what is hidden has none
        assert len(heights) == fit.controls + further + OFFERS
        assert min(heights) >= 44 or not phone  # CSS pixels: the least size of a touch target


@pytest.mark.parametrize("chapter", ["waves", "cantor", "simplex", "gauge"])  # twistor's has a slider of its own in it
def test_a_picture_that_stays_in_view_leaves_a_phone_half_of_its_screen(opened, chapter: str) -> None:
    """For the sliders that one drags while one looks at it."""
    page = opened(390, True)
    page.evaluate(FITS[chapter].script)
    for part, _ in FITS[chapter].parts or (("", 0),):
        if part:
            page.tap(f"#one button:has-text('{part}')")
        page.rest()
        assert page.locator("#one .mw-plot").bounding_box()["height"] < 844 / 2


# ---- what a reader takes along

SET = {
    "waves": {"omega": 2.25, "alpha": 4.0, "scales": [0.5, 1.25], "phase_m": [-3.15, 1e-7], "xor_weight": -6},
    "cantor": {"alpha": -0.4, "tau": 0.0123, "levels": 6, "form": "convergent", "zoom": "02", "x": 1 / 7},
    "simplex": {"vertices": [[[0.5, -1.25], [1, 0], [0, 1]]] * 3, "direction": 211, "turn": [-1.5, 0.25], "pull": 0.5},
    "gauge": {"part": "transport", "path": "line", "strength": 1.5, "pieces": 7, "gauge": 90, "turn": [1, -1]},
    "twistor": {"matrix": [[1.5, 0.25], [0, -1], [0.5, 0], [1, 1]], "circle": [-1, 0.5, 1.25], "time": 1.75},
    "waves_network": {"omega": [0, 1, 2, 3, 4, 5.5], "block": 2, "picture": -1, "drawn": [0, 255] * 392},
    "simplex_network": {"mix": [0.25, 0, 1], "alpha": -0.25, "tau": 0.0123, "picture": 499},
    "gauge_network": {"form": "svd", "bits": 4, "where": "3 x 3", "picture": 77},
    "twistor_reader": {
        "text": "And it’s + 1 = “two” & é;\n_a_",
        "at": 3,
        "temperature": 0.75,
        "off": "memory scales",
        "turn": [-1, 0.5],
    },
}
"""Of each chapter: values that its reader can bring about."""


def set_all(page: Any, values: dict[str, Any], which: str = "one") -> None:
    page.evaluate(f"(all) => {{ for (const [k, v] of Object.entries(all)) {which}.set(k, v); }}", values)
    page.rest()


def kept_text(page: Any, button: str) -> str:
    """What a button of the first widget puts on the clipboard."""
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click(f"#one .mw-keep button:has-text('{button}')")
    page.wait_for_selector("#one .mw-keep button:has-text('Copied')")
    return page.evaluate("copied")


def values_of(page: Any, chapter: str, which: str = "one") -> dict[str, Any]:
    return page.evaluate(f"(names) => Object.fromEntries(names.map((k) => [k, {which}.get(k)]))", [*SET[chapter]])


@pytest.mark.parametrize("way", ["served", "file"])
@pytest.mark.parametrize("chapter", SET)
def test_a_link_brings_values_and_pictures_back(opened, folder: Path, site: str, chapter: str, way: str) -> None:
    """Of both widgets of the page."""
    root = site if way == "served" else folder.as_uri()
    page = opened(address="book.html", root=root)
    start = values_of(page, chapter)
    trait, value = next(iter(SET[chapter].items()))
    set_all(page, SET[chapter])
    set_all(page, {trait: value}, "two")
    pictures = page.picture(), page.picture("two")
    link = kept_text(page, "Copy link")
    assert link.startswith(f"{root}/{chapter}/book.html?")
    other = opened(address=link.removeprefix(f"{root}/{chapter}/"), root=root)
    other.rest()
    assert values_of(other, chapter) == values_of(page, chapter) == SET[chapter]
    assert values_of(other, chapter, "two") == start | {trait: value}
    assert (other.picture(), other.picture("two")) == pictures
    other.click("#one .mw-keep button:has-text('Reset')")
    assert values_of(other, chapter) == start and values_of(other, chapter, "two") == start | {trait: value}
    other.click("#two .mw-keep button:has-text('Reset')")
    assert kept_text(other, "Copy link") == f"{root}/{chapter}/book.html"


def in_address(value: Any) -> str:
    return "_".join(map(in_address, value)) if isinstance(value, list | tuple) else str(value)


@pytest.mark.parametrize("chapter", BAD)
def test_bad_values_of_a_link_are_as_if_they_were_not_there(opened, chapter: str) -> None:
    free = {"text"}  # of which any is good
    bad = {trait: ["x", "1e99", "NaN", "3_", "1 2"] for trait in SET[chapter] if trait not in free}
    for trait, value, _ in BAD[chapter]:
        bad.setdefault(trait, []).append(in_address(value))
    state = "(names) => Object.fromEntries(names.map((k) => [k, one.get(k)]))"
    start = opened(address="book.html").evaluate(state, [*bad])
    for turn in range(max(map(len, bad.values()))):
        query = "&".join(f"{chapter}.{trait}={each[turn]}" for trait, each in bad.items() if turn < len(each))
        assert opened(address=f"book.html?{query}").evaluate(state, [*bad]) == start, query


@pytest.mark.parametrize("chapter", ["cantor"])
def test_a_good_value_counts_beside_bad_and_old_ones(opened) -> None:
    page = opened(address="book.html?cantor.alpha=99&cantor.levels=3&cantor.gone=3&other=1")
    assert (page.get("alpha"), page.get("levels")) == (0.5, 3)


@pytest.mark.parametrize("chapter", SET)
def test_the_python_that_is_copied_makes_the_same(opened, explorers, chapter: str) -> None:
    page = opened()
    set_all(page, SET[chapter])
    made: dict[str, Any] = {}
    exec(kept_text(page, "Copy Python"), made)
    explorer = made["explorer"]
    assert json.loads(json.dumps({name: getattr(explorer, name) for name in SET[chapter]})) == SET[chapter]
    assert {*explorer.given} == SET[chapter].keys()


@pytest.mark.parametrize("chapter", SET)
def test_the_picture_is_saved_with_its_words(opened, chapter: str) -> None:
    page = opened()
    set_all(page, SET[chapter])
    before = page.picture()
    with page.expect_download() as saved:
        page.click("#one .mw-keep button:has-text('Save picture')")
    assert saved.value.suggested_filename == f"{chapter}.svg"
    root = ET.fromstring(Path(saved.value.path()).read_text("utf-8"))
    svg = "{http://www.w3.org/2000/svg}"
    words = " ".join(" ".join(e.text for e in root.iter(f"{svg}text")).split())
    shown = "all => all.filter((e) => e.offsetParent).map((e) => e.textContent)"
    for paragraph in page.eval_on_selector_all("#one p", shown):
        assert " ".join(paragraph.split()) in words
    images = [e.attrib for e in root.iter(f"{svg}image")]
    assert images and all(each["href"].startswith("data:image/png;base64,") for each in images)
    assert page.picture() == before  # and the page's own picture is as it was
    drawn = page.evaluate(
        """([href]) => new Promise((done) => {
            const image = Object.assign(new Image(), { src: href });
            image.onload = () => done([image.naturalWidth, document.querySelector("#one canvas").clientWidth]);
        })""",
        [images[0]["href"]],
    )
    assert drawn[0] == 2 * drawn[1]  # sharp where the screen is not


@pytest.mark.parametrize("chapter", ["cantor"])
def test_outside_the_book_no_address_is_offered_or_read(opened) -> None:
    """That of a notebook is its server's."""
    page = opened(address="index.html?cantor.alpha=0.25")
    assert page.get("alpha") == 0.5
    assert page.locator("#one .mw-keep button").all_inner_texts() == ["Reset", "Save picture", "Copy Python"]


def test_what_python_sets_is_given(explorers) -> None:
    explorer = explorers["cantor"](tau=0.5)
    assert explorer.given == ["tau"]
    explorer.levels = 3
    assert {*explorer.given} == {"tau", "levels"}
    explorer.levels = 4
    assert explorer.given == ["tau"]


def test_no_chapter_is_forgotten(explorers) -> None:
    assert explorers.keys() == BAD.keys() == FITS.keys() == SET.keys()


def test_one_style_lays_out_what_a_class_names() -> None:
    """A page has several widgets, and the style of each reaches all: two columns of one became four by another's."""
    laid_out: dict[str, set[str]] = {}
    for path in Path(widgets.__file__).parent.glob("*.css"):
        for names, body in re.findall(r"([^{}]+)\{([^{}]*)\}", path.read_text("utf-8")):
            for name in (
                re.findall(r"\.(mw-[\w-]+)(?=[\s,)]|$)", names.strip()) if "grid-template-columns" in body else ()
            ):
                laid_out.setdefault(name, set()).add(path.name)
    assert len(laid_out) > 5
    assert {name: files for name, files in laid_out.items() if len(files) > 1} == {}
