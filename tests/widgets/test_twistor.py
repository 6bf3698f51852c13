"""Chapter 5's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import cmath
import math
import statistics
from functools import partial

import pytest
import torch
from traitlets import TraitError

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.cell import TwistorTitansCell
from mobius_lib.widgets import MobiusExplorer
from mobius_lib.widgets.twistor import CLASSES, FARTHEST

# Both sides compute in float64 with a few products of numbers up to about 10; dividing by a root of a determinant of at
# least 0.05, and flowing for up to four steps, multiplies the rounding by less than 1e6.
SAME = {"rtol": 1e-9, "atol": 1e-9}
TO_REST = 300  # ms: several frames, also on a busy machine


def complex_tensor(pairs) -> torch.Tensor:
    """[..., 2] of real and imaginary parts, as JavaScript has it, to complex."""
    return torch.view_as_complex(torch.tensor(pairs, dtype=torch.float64))


def drawn(count: int, seed: int) -> list[MobiusExplorer]:
    """Widgets with random maps of every class; every second class example is conjugated by one."""
    generator = torch.Generator().manual_seed(seed)
    examples = list(CLASSES.values())
    explorers = []
    while len(explorers) < count:
        matrix = torch.randn(4, 2, generator=generator, dtype=torch.float64)
        a, b, c, d = (complex(*z) for z in matrix.tolist())
        if abs(a * d - b * c) < 0.05:
            continue
        if len(explorers) % 2:
            g = torch.tensor([[a, b], [c, d]], dtype=torch.complex128)
            example = complex_tensor(examples[len(explorers) // 2 % 4][1]).view(2, 2)
            matrix = torch.view_as_real((g @ example @ torch.linalg.inv(g)).flatten())
        explorers.append(MobiusExplorer(matrix=matrix.tolist()))
    return explorers


# ---- the mathematics, in Node


def test_map_trace_multiplier_and_class_equal_the_library(in_node, parameters) -> None:
    explorers = [*drawn(120, 3), MobiusExplorer(matrix=[[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [2.0, 0.0]])]
    script = """const m = w.normalised(c.matrix);
                return { m, det: w.det(m), trace: w.trace(m), eigen: w.eigenvalues(m), k: w.multiplier(m),
                         kind: w.classify(m), fixed: w.fixedPoints(m).map(w.sphere) };"""
    answers = in_node(MobiusExplorer, script, [parameters(each) for each in explorers])
    kinds = set()
    for explorer, answer in zip(explorers, answers, strict=True):
        m = explorer.map()
        torch.testing.assert_close(complex_tensor(answer["m"]).view(2, 2), m, **SAME)
        torch.testing.assert_close(complex_tensor(answer["det"]), torch.tensor(1 + 0j, dtype=torch.complex128), **SAME)
        assert answer["trace"][0] >= 0 and answer["kind"] == explorer.kind()
        kinds.add(answer["kind"])
        # Near a parabolic map the two eigenvalues differ by the root of a rounding.
        loose = {"rtol": 0.0, "atol": 1e-6} if answer["kind"] in ("parabolic", "identity") else SAME
        one, other = complex_tensor(answer["eigen"])
        assert abs(one) >= abs(other) - 1e-9
        if answer["kind"] != "elliptic":  # there both have modulus 1, and a rounding says which is the first
            torch.testing.assert_close(complex_tensor(answer["eigen"]), twistor.eigenvalues(m), **loose)
            torch.testing.assert_close(complex_tensor(answer["k"]), twistor.multiplier(m), **loose)
        if answer["kind"] == "identity":
            continue
        for p in torch.tensor(answer["fixed"], dtype=torch.float64):
            expected = twistor.sphere(twistor.fixed_points(m))
            assert (expected - p).norm(dim=-1).min() < 1e-5  # of a parabolic map, the root of a rounding
    assert kinds == set(twistor.KINDS)


def test_points_move_as_in_the_library(in_node, parameters) -> None:
    explorers = drawn(40, 4)
    points = torch.randn(12, 2, generator=torch.Generator().manual_seed(5), dtype=torch.complex128)
    points[0], points[1] = torch.tensor([1, 0]), torch.tensor([0, 1])  # infinity and zero
    raw = torch.view_as_real(points).tolist()
    script = f"""const m = w.normalised(c.matrix), points = {raw}.map((p) => w.move(m, p));
                 return {{ points, sphere: points.map(w.sphere), back: points.map((p) => w.move(w.inverse(m), p)),
                          twice: w.compose(m, m) }};"""
    for explorer, answer in zip(
        explorers, in_node(MobiusExplorer, script, list(map(parameters, explorers))), strict=True
    ):
        m = explorer.map()
        moved = twistor.move(m, points)
        torch.testing.assert_close(complex_tensor(answer["points"]), moved, **SAME)
        torch.testing.assert_close(torch.tensor(answer["sphere"], dtype=torch.float64), twistor.sphere(moved), **SAME)
        torch.testing.assert_close(complex_tensor(answer["back"]), points, **SAME)
        torch.testing.assert_close(complex_tensor(answer["twice"]).view(2, 2), twistor.compose(m, m), **SAME)


def test_whole_steps_of_the_flow_are_powers_and_steps_add_up(in_node, parameters) -> None:
    explorers = drawn(40, 6)
    times = [0.0, 1.0, 2.0, 3.0, 0.3, 0.7, 1.7]
    script = f"const m = w.normalised(c.matrix); return {times}.map((t) => w.power(m, t));"
    for explorer, answer in zip(
        explorers, in_node(MobiusExplorer, script, list(map(parameters, explorers))), strict=True
    ):
        zero, one, two, three, third, rest, both = complex_tensor(answer).view(-1, 2, 2)
        m = explorer.map()
        # near a parabolic map cosh and sinh cancel: the root of a rounding
        loose = {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(zero, torch.eye(2, dtype=torch.complex128), **loose)
        for made, expected in ((one, m), (two, m @ m), (three, m @ m @ m), (third @ rest, m), (rest @ m, both)):
            torch.testing.assert_close(made, expected, **loose)


def test_circles_go_to_circles(in_node, parameters) -> None:
    """Points of a circle, moved by the library, lie on the image that is drawn; and so of its image again."""
    explorers = drawn(40, 7)
    centre, radius = 0.4 - 1.1j, 0.8
    points = centre + radius * torch.exp(2j * math.pi * torch.arange(9, dtype=torch.float64) / 9)
    script = f"""const m = w.normalised(c.matrix);
                 const first = w.image(m, w.circle([{centre.real}, {centre.imag}], {radius}));
                 return [first, w.image(m, first)];"""
    for explorer, answer in zip(
        explorers, in_node(MobiusExplorer, script, list(map(parameters, explorers))), strict=True
    ):
        moved = twistor.homogeneous(points)
        for big, b, last in answer:
            moved = twistor.move(explorer.map(), moved)
            omega, pi = moved.unbind(-1)
            # A |z|^2 + 2 Re(conj(B) z) + D, times |pi|^2, so that the pole is no exception
            off = big * omega.abs() ** 2 + 2 * (complex(*b).conjugate() * omega * pi.conj()).real + last * pi.abs() ** 2
            size = moved.abs().square().sum(-1) * (abs(big) + abs(complex(*b)) + abs(last))
            assert (off / size).abs().max() < 1e-9
    # The map of infinity to 0: the unit circle stays, a circle through 0 becomes a line.
    turn = [[0, 0], [0, 1], [0, 1], [0, 0]]  # i / (i z)
    stays, line = in_node(MobiusExplorer, f"return w.image({turn}, w.circle(...c));", [[[0, 0], 1], [[1, 0], 1]])
    assert stays[0] == pytest.approx(-stays[2]) and stays[1] == pytest.approx([0, 0])
    assert line[0] == pytest.approx(0, abs=1e-12) and abs(complex(*line[1])) == pytest.approx(1)


# ---- the Python side


def test_the_buttons_are_of_the_classes_that_they_name() -> None:
    presets = MobiusExplorer().presets
    assert [preset["name"].lower() for preset in presets] == [kind for kind in twistor.KINDS if kind != "identity"]
    for preset in presets:
        explorer = MobiusExplorer(**preset["state"])
        assert explorer.kind() == preset["name"].lower()
        a, b, c, d = (complex(*z) for z in explorer.matrix)
        assert cmath.isclose(a * d - b * c, 1, abs_tol=1e-12)
    assert presets[3]["state"]["matrix"] == MobiusExplorer().matrix


def test_the_map_is_normalised_and_scaling_changes_nothing() -> None:
    for explorer in drawn(20, 8):
        m = explorer.map()
        torch.testing.assert_close(torch.linalg.det(m), torch.tensor(1 + 0j, dtype=torch.complex128), **SAME)
        scaled = [complex(*z) * (0.3 - 1.4j) for z in explorer.matrix]
        again = MobiusExplorer(matrix=[[z.real, z.imag] for z in scaled]).map()
        torch.testing.assert_close(again, m, **SAME)


def test_from_cell_takes_a_learned_map() -> None:
    torch.manual_seed(2)
    cell = TwistorTitansCell(8, 16)
    for cycle, pair in ((0, 0), (2, 3)):
        explorer = MobiusExplorer.from_cell(cell, pair=pair, cycle=cycle, at=0)
        m = cell.mobius.maps()[cycle, pair].to(torch.complex128)
        sign = 1 if m.diagonal().sum().real >= 0 else -1
        torch.testing.assert_close(explorer.map(), sign * m, rtol=0, atol=1e-5)  # float32
        learned = explorer.presets[0]  # the button that brings it back
        assert learned["name"] == "Learned" and learned["state"] == {"matrix": explorer.matrix}
        assert explorer.presets[1:] == MobiusExplorer().presets
    with pytest.raises(TypeError, match="takes a TwistorTitansCell, got a Linear"):
        MobiusExplorer.from_cell(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="cell has no Möbius maps"):
        MobiusExplorer.from_cell(TwistorTitansCell(8, 16, use_mobius=False))
    with pytest.raises(ValueError, match="pair must be from 0 to 3, got 4"):
        MobiusExplorer.from_cell(cell, pair=4)
    with pytest.raises(ValueError, match="cycle must be from 0 to 2, got -1"):
        MobiusExplorer.from_cell(cell, cycle=-1)


def test_the_pair_to_follow_stays_in_the_picture_and_moves_little() -> None:
    t = torch.arange(40, dtype=torch.float64)
    still = torch.polar(torch.full_like(t, 5.0), 0.01 * t)  # moves least, outside
    slow, fast = torch.polar(torch.full_like(t, 2.0), 0.2 * t), torch.polar(torch.full_like(t, 2.0), 1.5 * t)
    z = torch.stack([fast, still, slow], dim=1)
    states = twistor.from_complex(z, torch.ones_like(z))
    assert MobiusExplorer.pair_to_follow(states) == 2
    assert MobiusExplorer.pair_to_follow(states.view(40, 4, 3)[:, :, 1:2].reshape(40, 4)) == 0  # none is inside


def test_show_takes_the_states_of_a_cell() -> None:
    torch.manual_seed(3)
    cell, text = TwistorTitansCell(8, 16), "In the beginning"
    state, states = None, []
    with torch.no_grad():
        for x in torch.randn(len(text), 1, 8):
            _, state = cell(x, state)
            states.append(state.twistor[0])
    explorer = MobiusExplorer(at=7)
    explorer.show(text, torch.stack(states), pair=2)
    assert explorer.at == 0 and "".join(each[0] for each in explorer.trajectory) == text
    for row, (_, x, y) in zip(states, explorer.trajectory, strict=True):
        a, b, c, d = row.unflatten(0, (4, 4))[:, 2].tolist()
        assert cmath.isclose(complex(x, y), complex(a, b) / complex(c, d), rel_tol=1e-9)
    # where pi is 0, the point is infinity: shown as far away as the page is told
    pole = torch.tensor([[1.0, 0, 0, 0], [3.0, 4.0, 1e-9, 0], [1.0, 2.0, 2.0, 0]])
    explorer.show("abc", pole)
    points = [complex(x, y) for _, x, y in explorer.trajectory]
    assert points == [FARTHEST, pytest.approx(FARTHEST * (0.6 + 0.8j)), 0.5 + 1j]
    for text_, states_, pair, message in [
        ("ab", pole, 0, r"one twistor for each of the 2 characters, \(characters, 4n\), but has the shape \(3, 4\)"),
        ("", pole[:0], 0, "one twistor for each of the 0 characters"),
        ("abc", pole[:, :3], 0, "has the shape"),
        ("abc", pole, 1, "pair must be from 0 to 0, got 1"),
        ("abc", pole / 0, 0, "states holds a number that is not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            explorer.show(text_, states_, pair)


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("matrix", [[1.0, 0.0]] * 3, "matrix takes a, b, c and d, each as its real and its imaginary part."),
        ("matrix", [[1.0]] * 4, "matrix takes a, b, c and d, each as its real and its imaginary part."),
        (
            "matrix",
            [[1.0, 1.0]] * 4,
            "matrix must have a determinant ad - bc other than 0; else all points go to one.",
        ),
        ("matrix", [[math.nan, 0.0]] * 4, "matrix takes finite numbers, got nan."),
        ("circle", [0.0, 0.0], "circle takes 3 numbers, got 2."),
        ("circle", [0.0, 0.0, 0.0], "circle takes a positive radius, got 0.0."),
        ("time", math.inf, "time takes finite numbers, got inf."),
        ("turn", [0.0], "turn takes 2 numbers, got 1."),
        ("at", -1, "at is a place in the text, from 0 on; got -1."),
        ("trajectory", [("ab", 0.0, 0.0)], "trajectory takes one character for each point."),
        ("trajectory", [("a", 0.0, math.inf)], "trajectory takes finite numbers, got inf."),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence_and_leaves_the_old_one(trait: str, value, message: str) -> None:
    explorer = MobiusExplorer()
    before = getattr(explorer, trait)
    with pytest.raises(TraitError) as error:
        setattr(explorer, trait, value)
    assert str(error.value) == message
    assert getattr(explorer, trait) == before
    with pytest.raises(TraitError):
        MobiusExplorer(**{trait: value})


def test_the_page_stores_little_per_widget() -> None:
    stored = len(MobiusExplorer._esm.encode()) + len(MobiusExplorer._css.encode())
    assert stored <= 23 * 1024  # two pictures; a page stores both files once per instance


# ---- the picture, in a browser


@pytest.fixture(scope="module")
def explorer() -> MobiusExplorer:
    return MobiusExplorer()


PIN = "#one .mw-pin >> nth={}"  # a, b, c, d and the centre of the circle
LINE = "In the beginning God created the heaven and the earth."
WITH_TEXT = f"""one.set('trajectory', [...{LINE!r}].map((c, i) =>
    [c, 1.5 * Math.cos(i / 3), 1.5 * Math.sin(i / 2)]))"""


def middle(page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.browser
def test_a_coefficient_is_dragged_with_the_mouse(opened, picture) -> None:
    page = opened(1000)
    before, other = picture(page), picture(page, "two")
    matrix, said = page.evaluate("one.get('matrix')"), page.inner_text("#one .mw-say")
    x, y = middle(page, PIN.format(1))
    page.mouse.move(x, y)
    page.mouse.down()
    drawn = page.evaluate("frames_ms.length")
    for step in range(1, 26):
        page.mouse.move(x - 2 * step, y - 3 * step)
        page.wait_for_timeout(20)
    page.mouse.up()
    page.mouse.move(x, y, steps=3)  # let go: moves nothing more
    moved = page.evaluate("one.get('matrix')")
    # The plane is 6 wide; 50 and 75 pixels.
    unit = page.locator("#one canvas").first.bounding_box()["width"] / 6
    assert moved[1] == pytest.approx([matrix[1][0] - 50 / unit, matrix[1][1] + 75 / unit], abs=0.01)
    assert [moved[0], *moved[2:]] == [matrix[0], *matrix[2:]]
    shown = MobiusExplorer(matrix=moved)
    assert page.inner_text("#one .mw-say") != said
    assert page.inner_text("#one .mw-say").lower().startswith(f"{shown.kind()} map: trace ")
    assert picture(page) != before
    assert picture(page, "two") == other
    redraws = page.evaluate("frames_ms")[drawn:]
    assert len(redraws) >= 5
    print(f"\nredraw: median {statistics.median(redraws):.1f} ms, longest {max(redraws):.1f} ms of {len(redraws)}")


@pytest.mark.browser
def test_the_circle_and_the_coefficients_are_moved_with_the_arrow_keys(opened, picture) -> None:
    page = opened(1000)
    before = picture(page)
    circle, matrix = page.evaluate("[one.get('circle'), one.get('matrix')]")
    page.focus(PIN.format(4))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    # Positions are kept to four decimals.
    assert page.evaluate("one.get('circle')") == pytest.approx([circle[0] + 0.02, circle[1] - 0.1, circle[2]], abs=2e-4)
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowUp")
    assert page.evaluate("one.get('matrix')")[0] == pytest.approx([matrix[0][0], matrix[0][1] + 0.02], abs=2e-4)
    assert picture(page) != before
    assert page.get_attribute(PIN.format(0), "aria-label").startswith("Coefficient a at ")
    assert page.get_attribute(PIN.format(4), "aria-label").startswith("Centre of the circle at ")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("scrollY") == scrolled  # the arrow keys move the point, not the page


@pytest.mark.browser
def test_a_matrix_without_inverse_cannot_be_reached(opened) -> None:
    page = opened(1000)
    page.evaluate("one.set('matrix', [[0.02, 0], [0, 0], [0, 0], [1, 0]])")
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("one.get('matrix')")[0] == [0.02, 0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate("one.get('matrix')")[0] == [0.04, 0]


@pytest.mark.browser
def test_classes_say_what_they_do(opened, picture) -> None:
    page = opened(1000)
    seen = set()
    for name, words in [
        ("Elliptic", "stretches by 1.00 and turns by"),
        ("Parabolic", "One fixed point, 1.00,"),
        ("Hyperbolic", "and turns by 0° around"),
        ("Loxodromic", "Fixed points 1.00 and −1.00"),
    ]:
        page.click(f"#one button:has-text('{name}')")
        seen.add(picture(page))
        assert page.inner_text("#one .mw-say strong") == name
        assert words in page.inner_text("#one .mw-say")
        assert page.locator("#one button[aria-pressed=true]").count() == 1
    assert len(seen) == 4
    page.evaluate("one.set('matrix', [[3, 0], [0, 0], [0, 0], [3, 0]])")
    page.wait_for_timeout(TO_REST)
    assert page.inner_text("#one .mw-say").startswith("Identity map")
    page.evaluate("one.set('matrix', [[1, 0], [1, 0], [0, 0], [1, 0]])")  # z + 1
    page.wait_for_timeout(600)  # the summary for screen readers follows half a second after the last change
    assert "One fixed point, ∞" in page.inner_text("#one [role=status]")
    assert "Parabolic" in page.get_attribute("#one canvas[role=img] >> nth=0", "aria-label")


@pytest.mark.browser
def test_a_point_is_read_with_its_image(opened) -> None:
    page = opened(1000)
    page.evaluate("one.set('matrix', [[0, 0], [1, 0], [1, 0], [0, 0]])")  # 1 / z
    box = page.locator("#one canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5 / 6, box["y"] + box["height"] / 2)
    page.wait_for_timeout(TO_REST)
    assert page.inner_text("#one .mw-read") == "z = 2.00 goes to 0.50, and comes from 0.50."
    page.mouse.move(0, 0)
    page.wait_for_timeout(TO_REST)
    assert page.inner_text("#one .mw-read").startswith("det −1.00, made 1 by dividing by its root.")


@pytest.mark.browser
def test_it_plays_to_the_end_and_stops(opened, picture) -> None:
    page = opened(1000)
    still = picture(page)
    page.evaluate("one.set('time', 3.5)")
    page.click("#one button:has-text('Play')")
    page.wait_for_timeout(TO_REST)
    assert 3.5 < page.evaluate("one.get('time')") <= 4
    page.wait_for_function("one.get('time') === 4")
    page.wait_for_timeout(TO_REST)
    assert page.locator("#one button:has-text('Play')").count() == 1
    drawn = page.evaluate("frames_ms.length")
    page.wait_for_timeout(TO_REST)
    assert page.evaluate("frames_ms.length") == drawn  # at rest it draws no more
    assert picture(page) != still
    page.click("#one button:has-text('Play')")
    page.wait_for_timeout(TO_REST)
    page.click("#one button:has-text('Stop')")
    page.wait_for_timeout(TO_REST)
    assert page.evaluate("one.get('time')") < 2


@pytest.mark.browser
def test_the_sphere_turns(opened) -> None:
    page = opened(1000)
    ball = "document.querySelectorAll('#one canvas')[1].toDataURL()"
    page.wait_for_timeout(TO_REST)
    first, turn = page.evaluate(ball), page.evaluate("one.get('turn')")
    page.locator("#one canvas").nth(1).scroll_into_view_if_needed()
    x, y = middle(page, "#one canvas >> nth=1")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y - 30, steps=5)
    page.mouse.up()
    assert page.evaluate("one.get('turn')") == pytest.approx([turn[0] + 0.5, turn[1] - 0.3])  # 100 pixels are a radian
    page.wait_for_timeout(TO_REST)
    assert page.evaluate(ball) != first
    assert "1.00 and −1.00 stay" in page.get_attribute("#one canvas >> nth=1", "aria-label")


@pytest.mark.browser
def test_a_trajectory_shows_its_text_and_slider(opened, picture) -> None:
    page = opened(1000)
    before = picture(page)
    assert not page.locator("#one input[data-trait=at]").is_visible()
    page.evaluate(WITH_TEXT)
    with_path = picture(page)
    assert with_path != before
    page.focus("#one input[data-trait=at]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("one.get('at')") == 3
    assert picture(page) != with_path
    assert page.inner_text("#one .mw-text mark") == LINE[3]
    assert page.text_content("#one .mw-text") == LINE[:34]  # thirty characters on either side
    page.keyboard.press("End")
    assert page.evaluate("one.get('at')") == len(LINE) - 1
    page.wait_for_timeout(TO_REST)
    assert page.inner_text("#one .mw-text mark") == "."
    page.evaluate("one.set('trajectory', [])")
    page.wait_for_timeout(TO_REST)
    assert not page.locator("#one .mw-text").is_visible()


@pytest.mark.browser
def test_keyboard_and_names(opened, picture) -> None:
    page = opened(1000)
    before = picture(page)
    page.focus("#one input[data-trait=time]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("one.get('time')") == 0.01
    assert picture(page) != before
    names = page.eval_on_selector_all("#one :is(input, .mw-pin)", "all => all.map((i) => i.ariaLabel)")
    assert len(names) == len(set(names)) == 5 + 5 and all(names)


@pytest.mark.browser
def test_follows_the_theme_and_closes(opened, picture) -> None:
    page = opened(1000)
    light = picture(page)
    page.emulate_media(color_scheme="dark")
    assert picture(page) != light
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert picture(page) == light
    page.evaluate("close_one()")
    assert page.evaluate("Object.values(one.listeners).flat().length") == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_fits_every_width_and_a_thumb(opened, fits, width: int) -> None:
    page = opened(width, phone=width < 500)
    page.evaluate("document.querySelectorAll('#one details').forEach((d) => { d.open = true; })")
    page.evaluate(WITH_TEXT)
    # The longest numbers, and points at the rim.
    page.evaluate(
        "one.set('matrix', [[-2.99, 2.99], [3, -3], [-3, -3], [2.87, -2.99]]); one.set('circle', [3, -3, 0.5])"
    )
    page.evaluate("one.set('turn', [-2.25, -1.25])")
    heights = fits(page, width)
    assert len(heights) == 5 + 5 + 5 + 1  # inputs, points, buttons, the summary
    if width >= 500:
        return
    assert min(heights) >= 44  # CSS pixels: the least size of a touch target
    page.tap("#one button:has-text('Hyperbolic')")
    page.evaluate("one.set('circle', [-1, 1.5, 0.5])")
    page.locator("#one canvas").first.scroll_into_view_if_needed()
    page.wait_for_timeout(TO_REST)
    # A finger drags the circle, and the page does not scroll meanwhile: real touches, through DevTools.
    x, y = middle(page, PIN.format(4))
    scrolled = page.evaluate("scrollY")
    touch = partial(page.context.new_cdp_session(page).send, "Input.dispatchTouchEvent")
    touch({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):
        touch({"type": "touchMove", "touchPoints": [{"x": x - 2 * step, "y": y - 3 * step}]})
    touch({"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(TO_REST)
    unit = page.locator("#one canvas").first.bounding_box()["width"] / 6
    assert page.evaluate("one.get('circle')")[:2] == pytest.approx([-1 - 20 / unit, 1.5 + 30 / unit], abs=0.03)
    assert page.evaluate("scrollY") == scrolled
