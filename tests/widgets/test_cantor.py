"""Chapter 2's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import itertools

import pytest
import torch
from traitlets import TraitError

from mobius_lib.cantor import CantorStaircase, error_against
from mobius_lib.cantor import math as cantor
from mobius_lib.widgets import CantorExplorer
from mobius_lib.widgets.cantor import MAX_LEVELS, MAX_ZOOM

# Both sides compute in float64. An exponential of a number z differs by |z| roundings, and z = 6 d / tau with tau at
# least 1e-4, so by less than 60,000 * 1e-16 where it is not 0; a position loses a factor 3 per level, 3^8 in all.
SAME = {"rtol": 0.0, "atol": 1e-9}


def settings() -> list[dict]:
    """Every form at every depth and at temperatures over the slider's range, with alpha in and outside of [0, 1]."""
    taus, alphas = (1e-4, 1e-3, 0.02, 0.25, 1.0), (-0.0764, 0.0, 0.329, 0.5, 1.0, 1.3)
    return [
        {"form": form, "levels": levels, "tau": tau, "alpha": alphas[i % len(alphas)]}
        for i, (form, levels, tau) in enumerate(itertools.product(cantor.FORMS, range(1, MAX_LEVELS + 1), taus))
    ]


def python(s: dict, x: torch.Tensor) -> torch.Tensor:
    return cantor.FORMS[s["form"]](x, s["alpha"], s["tau"], s["levels"])


# ---- the mathematics, in Node


def test_the_exact_function_equals_the_library(in_node) -> None:
    generator = torch.Generator().manual_seed(5)
    ends = [0.0, 1.0, 1 / 3, 2 / 3, 1 / 9, 0.25, 0.75, 0.5]
    x = torch.cat((torch.tensor(ends, dtype=torch.float64), torch.rand(500, generator=generator, dtype=torch.float64)))
    for alpha in (0.5, 0.3, 0.0, 1.0):
        answers = in_node(CantorExplorer, f"return w.cantorFunction(c, {alpha});", x.tolist())
        # The library reads the digits of a float exactly, the page with roundings of 1e-16; alpha 0.3 loses to them
        # the factor 0.7 per level, 1e-16 ** (log 0.7 / log(1/3)) = 6e-6; Cantor's own alpha 1e-10; 0 and 1 jump.
        if alpha in (0.5, 0.3):
            tolerance = 1e-9 if alpha == 0.5 else 1e-5
            torch.testing.assert_close(
                torch.tensor(answers, dtype=torch.float64),
                cantor.cantor_function(x, alpha=alpha),
                rtol=0,
                atol=tolerance,
            )
        assert all(0 <= answer <= 1 for answer in answers)


def test_every_form_equals_the_library_on_a_grid(in_node) -> None:
    cases = settings()
    # The grid has no boundary of a third (331 is prime), where a rounding decides which digit it is; the ends are in.
    x = torch.arange(332, dtype=torch.float64) / 331
    answers = in_node(CantorExplorer, f"return {x.tolist()}.map(w.staircase(c));", cases)
    for s, answer in zip(cases, answers, strict=True):
        expected = python(s, x)
        torch.testing.assert_close(torch.tensor(answer, dtype=torch.float64), expected, **SAME, msg=str(s))
    assert in_node(CantorExplorer, "return Object.keys(w.FORMS);", [0]) == [list(cantor.FORMS)]


def test_soft_and_hard_digits(in_node) -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(100, generator=generator, dtype=torch.float64)
    for tau in (1e-4, 0.05, 1.0):
        soft = in_node(CantorExplorer, f"return w.triadic(c, {tau});", x.tolist())
        torch.testing.assert_close(torch.tensor(soft, dtype=torch.float64), cantor.triadic(x, tau), **SAME)
    digits = torch.tensor(in_node(CantorExplorer, "return w.digitsOf(c, 12);", x.tolist()), dtype=torch.float64)
    read = (digits * 3.0 ** -torch.arange(1, 13, dtype=torch.float64)).sum(-1)
    assert (read <= x + 1e-12).all() and (x - read < 3.0**-12 + 1e-12).all()
    assert in_node(CantorExplorer, "return w.digitsOf(c, 4);", [0, 1, 0.5]) == [[0] * 4, [2] * 4, [1] * 4]


def test_the_numbers_of_the_box(in_node) -> None:
    """Arc length, range, mean and largest error, from the library's staircase at the library's points."""
    cases = [s for i, s in enumerate(settings()) if i % 7 == 0]
    answers = in_node(CantorExplorer, "return w.figures(c, [0.5, 0.4]);", cases)
    assert {s["form"] for s in cases} == set(cantor.FORMS)
    for s, answer in zip(cases, answers, strict=True):
        m, depth = max(7, s["levels"] + 1), max(6, s["levels"])
        x = (torch.arange(3**m, dtype=torch.float64) + 0.5) / 3**m
        before, after = (python(s, side) for side in cantor.beside_boundaries(depth))
        points = torch.cat((x, cantor.error_points(depth)))
        y = python(s, points)
        # In each 3^-depth: from its left end over the middles to its right end, then straight to the next left end.
        line = torch.cat((after[:-1, None], y[: 3**m].view(3**depth, -1), before[1:, None]), dim=1)
        steps = torch.tensor([0.5] + [1.0] * (line.shape[1] - 3) + [0.5], dtype=torch.float64) / 3**m
        length = torch.hypot(line.diff(dim=1), steps).sum() + (after - before)[1:-1].abs().sum()
        # 3^9 steps add up their roundings in a length of up to 40; the sides here are 1e-15 from the boundary itself,
        # which the thirds of eight levels and tau = 1e-4 make 1e-7 of
        assert answer["length"] == pytest.approx(length.item(), abs=1e-5), s
        assert answer["low"] == pytest.approx(y.min().item(), abs=1e-7)
        assert answer["high"] == pytest.approx(y.max().item(), abs=1e-7)
        for alpha, distance in zip((0.5, 0.4), answer["distances"], strict=True):
            error = (y - cantor.cantor_function(points, alpha=alpha)).abs()
            # 1e-15 in x is (1e-15)^0.46 = 1e-7 in the exact staircase at alpha = 0.4
            assert distance["mean"] == pytest.approx(error[: 3**m].mean().item(), abs=1e-7)
            assert distance["worst"] == pytest.approx(error.max().item(), abs=3e-7), s
            assert (error >= error.max() - 3e-7)[(points - distance["at"]).abs() <= 2e-15].any()


def test_the_largest_error_is_that_of_the_jumps(in_node) -> None:
    """Beside 1/3 the halting form stays a quarter away; an even grid of 3^7 points showed 0.059, and 0.000 below."""
    cases = [
        {"form": "halting", "alpha": 0.5, "tau": 1e-4, "levels": 4},
        {"form": "convergent", "alpha": 0.5, "tau": 1e-4, "levels": 8},
    ]
    halting, convergent = in_node(CantorExplorer, "return w.figures(c).distances[0];", cases)
    assert halting["worst"] == pytest.approx(0.25, abs=1e-6) and halting["at"] == pytest.approx(1 / 3)
    assert convergent["worst"] == pytest.approx(error_against("convergent", [1e-4], 8).largest[0], abs=1e-9)


def test_the_points_beside_plateaus_are_the_librarys(in_node) -> None:
    for depth, found in zip((6, 8), in_node(CantorExplorer, "return [...w.nearPoints(c)];", [6, 8]), strict=True):
        rest = cantor.error_points(depth)[2 * (3**depth + 1) :]
        torch.testing.assert_close(
            torch.tensor(sorted(found), dtype=torch.float64), rest.sort().values, rtol=0, atol=1e-15
        )


def test_the_error_falls_where_the_form_converges_and_not_where_it_does_not(in_node) -> None:
    def mean_error(form: str) -> list[float]:
        cases = [{"form": form, "alpha": 0.5, "levels": 8, "tau": tau} for tau in (0.25, 0.01, 0.001)]
        return in_node(CantorExplorer, "return w.figures(c).distances[0].mean;", cases)

    # At great depth the halting form comes to 0.037, 0.0017, 0.00017, the published many levels stay at 0.050; eight
    # levels leave 2^-9 more.
    halting, multilevel, convergent = map(mean_error, ("halting", "multilevel", "convergent"))
    assert halting == pytest.approx([0.037, 0.0017, 0.00017], abs=2.0**-9)
    assert multilevel[-1] == pytest.approx(0.050, abs=2.0**-9)
    assert convergent[0] > 2 * convergent[1] > 2 * convergent[2]


def test_a_window_is_where_the_exact_function_is_itself_again(in_node) -> None:
    zooms = ["", "0", "2", "02", "2202", "1", "01", "10", "0212"]
    for zoom, (x, w, y, h) in zip(zooms, in_node(CantorExplorer, "return w.zoomWindow(c);", zooms), strict=True):
        assert (w, h) == (pytest.approx(3.0 ** -len(zoom)), 2.0 ** -len(zoom))
        u = torch.tensor([0.05, 0.3, 0.5, 0.8], dtype=torch.float64)
        inside = cantor.cantor_function(x + w * u)
        again = torch.full_like(u, y + h / 2) if "1" in zoom else y + h * cantor.cantor_function(u)
        # x + w u is rounded to 1e-16, which c turns into at most 1e-10.
        torch.testing.assert_close(inside, again, rtol=0, atol=1e-9)


# ---- the Python side


def test_a_staircase_survives_the_round_trip() -> None:
    for form, levels, alpha in [("published", 1, 0.5), ("halting", 3, -0.0764), ("convergent", 8, 0.25)]:
        first = CantorStaircase(6, alpha=alpha, tau=0.1, levels=levels, form=form)
        explorer = CantorExplorer.from_staircase(first, zoom="02")
        back = explorer.staircase(features=6, position="mean")
        assert explorer.zoom == "02" and back.position == "mean"
        assert (back.form, back.levels, back.tau) == (form, levels, 0.1)
        torch.testing.assert_close(back.alpha, first.alpha, rtol=0, atol=0)
        given = explorer.presets[-1]  # the button that brings it back
        assert {name: getattr(explorer, name) for name in given["state"]} == given["state"]
        assert explorer.presets[:-1] == CantorExplorer().presets


def test_the_first_picture_is_the_published_layer_before_training() -> None:
    layer, published = CantorExplorer().staircase(4), CantorStaircase(4)
    assert (layer.form, layer.tau) == (published.form, published.tau)
    torch.testing.assert_close(layer.alpha, published.alpha, rtol=0, atol=0)


def test_the_presets_can_be_set_and_two_are_the_published_ones() -> None:
    explorer = CantorExplorer()
    for preset in explorer.presets:
        CantorExplorer(**preset["state"])
    assert [p["state"]["alpha"] for p in explorer.presets if p["name"].startswith("Published, ")] == [0.3290, -0.0764]
    assert explorer.presets[0]["state"] == {name: getattr(explorer, name) for name in explorer.presets[0]["state"]}


def test_from_staircase_wants_a_staircase() -> None:
    with pytest.raises(TypeError, match="takes a CantorStaircase, got a Linear"):
        CantorExplorer.from_staircase(torch.nn.Linear(2, 2))
    with pytest.raises(TraitError, match="levels must be from 1 to 8"):
        CantorExplorer.from_staircase(CantorStaircase(2, levels=20, form="halting"))


# ---- the picture, in a browser


def test_zoom_into_a_third_and_back(opened) -> None:
    page = opened()
    page.evaluate("one.set('form', 'convergent'); one.set('tau', 0.0001); one.set('levels', 8); one.set('x', 0.25)")
    whole = page.picture()
    page.click("#one button:has-text('Left')")
    page.rest()
    assert page.get("zoom") == "0"
    # The marker keeps its place in the window, so a digit 0 now stands before its digits.
    assert page.get("x") == pytest.approx(0.25 / 3)
    assert page.inner_text("#one .mw-window span").startswith(
        "x = 0.0… in base 3 (x × 3, c × 2)".replace("× ", "×\u202f")
    )
    assert float(page.get_attribute("#one input[data-trait=x]", "max")) == pytest.approx(1 / 3)
    page.focus("#one button:has-text('Right')")
    page.keyboard.press("Enter")
    page.rest()
    assert page.get("zoom") == "02"
    assert page.picture() != whole
    for _ in range(2):
        page.click("#one button:has-text('Back')")
        page.rest()
    assert page.evaluate("[one.get('zoom'), one.get('x')]") == ["", pytest.approx(0.25)]
    assert page.locator("#one button:has-text('Back')").is_disabled()
    page.evaluate("one.set('x', 0.25)")
    assert page.picture() == whole
    page.evaluate(f"one.set('zoom', '{'0' * MAX_ZOOM}')")
    page.rest()
    assert page.locator("#one button:has-text('Left')").is_disabled()


def test_the_marker_is_dragged_and_read(opened) -> None:
    page = opened()
    box = page.locator("#one canvas").first.bounding_box()
    left, span, height = box["x"] + 52, box["width"] - 60, box["y"] + 80  # the margins of the plot
    page.mouse.move(left + 0.1 * span, height)
    page.mouse.down()
    page.mouse.move(left + 0.75 * span, height, steps=6)
    page.mouse.up()
    page.mouse.move(left, height)
    x = page.get("x")
    assert x == pytest.approx(0.75, abs=2 / span)  # two pixels
    page.evaluate("one.set('x', 0.75)")
    page.rest()
    read = page.inner_text("#one .mw-read")
    assert "0.202020202020…" in read and "0.101010101010…" in read and "= 0.6667" in read
    assert page.inner_text("#one .mw-read b") == "202020202020"
    page.evaluate("one.set('x', 0.4)")  # 0.1012... in base 3: after the first 1 nothing counts
    page.rest()
    assert page.inner_text("#one .mw-read b") == "1" and "0.1 in base 2 = 0.5000" in page.inner_text("#one .mw-read")
    page.mouse.dblclick(left + 0.9 * span, height)
    assert page.get("zoom") == "2"


def test_forms_presets_and_what_they_say(opened) -> None:
    page = opened()
    seen = set()
    for name, form in [("Many levels", "multilevel"), ("Halting", "halting"), ("Convergent", "convergent")]:
        page.click(f"#one button:has-text('{name}')")
        seen.add(page.picture())
        assert page.get("form") == form
        assert page.inner_text("#one .mw-say strong") == name
    page.evaluate("one.set('zoom', '20')")  # where what the button names is not to be seen
    page.click("#one button:has-text('Published, end')")
    assert page.get("zoom") == ""
    seen.add(page.picture())
    assert len(seen) == 4
    assert page.evaluate("[one.get('alpha'), one.get('form')]") == [-0.0764, "published"]
    assert "values −0.0" in page.inner_text("#one .mw-say")  # a negative alpha takes c below 0
    assert page.get_attribute("#one button:has-text('Published, end')", "aria-pressed") == "true"
    assert page.locator("#one button[aria-pressed=true]").count() == 2
    page.hear("One level: arc length")
    assert "arc length" in page.get_attribute("#one canvas[role=img]", "aria-label")


def test_the_levels_by_keyboard_and_a_slider_that_widens(opened) -> None:
    page = opened()
    assert page.is_disabled("#one input[data-trait=levels]")  # one level, as published, has no use for it
    page.click("#one button:has-text('Halting')")
    page.rest()
    page.focus("#one input[data-trait=levels]")
    page.keyboard.press("ArrowRight")
    assert page.get("levels") == 5
    page.evaluate("one.set('alpha', 3.2)")  # from Python: the slider widens
    page.rest()
    assert page.get_attribute("#one input[data-trait=alpha]", "max") == "4"


@pytest.mark.parametrize("width", [320, 360, 390])
def test_zoomed_and_read_by_thumb(opened, width: int) -> None:
    page = opened(width, phone=True)
    page.tap("#one button:has-text('Right')")
    assert page.get("zoom") == "2"
    page.rest()
    page.locator("#one canvas").first.scroll_into_view_if_needed()
    box = page.locator("#one canvas").first.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 30, box["y"] + 60)
    assert page.get("x") > 0.9
