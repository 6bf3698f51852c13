"""Chapter 5's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import cmath
import math

import pytest
import torch

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.cell import TwistorTitansCell
from mobius_lib.widgets import MobiusExplorer
from mobius_lib.widgets.twistor import CLASSES, FARTHEST

# Both sides compute in float64 with a few products of numbers up to about 10; dividing by a root of a determinant of at
# least 0.05, and flowing for up to four steps, multiplies the rounding by less than 1e6.
SAME = {"rtol": 1e-9, "atol": 1e-9}


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


ARCS = """
    const m = w.normalised(c.matrix), z = [0.7, -1.3], at = (t) => w.affine(w.move(w.power(m, t), [z, [1, 0]]));
    const found = [];
    for (let k = 0; k < 24; k++) {
        const [p, q, r] = [0, 0.125, 0.25].map((t) => at(0.25 * k + t)), arc = w.arc(p, q, r);
        if (!arc) continue;
        const size = Math.max(...[p, q, r].map((v) => Math.hypot(v[0] - p[0], v[1] - p[1])));
        const off = [0.05, 0.125, 0.2].map((t) => at(0.25 * k + t))
            .map((v) => Math.abs(Math.hypot(v[0] - arc[0], v[1] - arc[1]) - arc[2]) / size);
        const turn = ((arc[4] - arc[3]) * (arc[5] ? -1 : 1) + 4 * Math.PI) % (2 * Math.PI);
        const middle = Math.atan2(q[1] - arc[1], q[0] - arc[0]);
        const way = ((middle - arc[3]) * (arc[5] ? -1 : 1) + 4 * Math.PI) % (2 * Math.PI);
        found.push([Math.max(...off), way <= turn + 1e-9]);
    }
    return { kind: w.classify(m), found };"""


def test_an_orbit_is_drawn_as_arcs_that_lie_on_it(in_node, parameters) -> None:
    """Of all but the loxodromic it is a part of a circle; of those an arc misses it by less than two in a hundred of
    its own length, where a chord would have corners."""
    explorers = drawn(80, 12)
    answers = in_node(MobiusExplorer, ARCS, [parameters(each) for each in explorers])
    assert sum(len(answer["found"]) for answer in answers) > 400
    for answer in answers:
        for off, forward in answer["found"]:
            assert forward
            if answer["kind"] != "loxodromic":
                assert off < 1e-4  # a circle through three points that are near to one another loses digits
    mild = in_node(MobiusExplorer, ARCS, [preset["state"] for preset in MobiusExplorer().presets])
    assert all(off < 0.02 for answer in mild for off, _ in answer["found"])


def test_a_circle_of_the_sphere_is_seen_as_an_ellipse(in_node) -> None:
    """Its points, seen one by one, lie where the ellipse has them, and on the side that it says."""
    circles = [[[0.3, -1.2], 0.8], [[0, 0], 1], [[2.5, 2.5], 0.1], [[-1, 0.4], 2.0]]
    turns = [[0.0, 0.1], [0.7, -0.4], [-2.9, 1.6], [1.2, 1.1]]  # none of which sees one from its edge
    script = """const [n, h] = w.cut(w.circle(...c[0])), e = w.ellipse(w.turned([n[0], n[2], -n[1]], c[1]), h);
        return Array.from({ length: 16 }, (_, k) => {
            const [[x, y], r] = c[0], t = (k * Math.PI) / 8;
            const [a, b, up] = w.sphere([[x + r * Math.cos(t), y + r * Math.sin(t)], [1, 0]]);
            const v = w.turned([a, up, -b], c[1]), [left, top, wide, high, turn] = e.at;
            const dx = v[0] - left, dy = -v[1] - top, cos = Math.cos(turn), sin = Math.sin(turn);
            const own = [(cos * dx + sin * dy) / wide, (cos * dy - sin * dx) / high];
            const angle = Math.atan2(own[1], own[0]);
            return [Math.hypot(...own) - 1, v[2], Math.sin(e.way * angle) - e.rise];
        });"""
    answers = in_node(MobiusExplorer, script, [[circle, turn] for circle in circles for turn in turns])
    for points in answers:
        for off, depth, risen in points:
            assert abs(off) < 1e-7
            assert abs(depth) < 1e-7 or abs(risen) < 1e-7 or (depth > 0) == (risen > 0)


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


# ---- the picture, in a browser


PIN = "#one .mw-pin >> nth={}"  # a, b, c, d and the centre of the circle
LINE = "In the beginning God created the heaven and the earth."
WITH_TEXT = f"""one.set('trajectory', [...{LINE!r}].map((c, i) =>
    [c, 1.5 * Math.cos(i / 3), 1.5 * Math.sin(i / 2)]))"""


def test_a_coefficient_is_dragged_with_the_mouse(opened) -> None:
    page = opened()
    matrix, said = page.get("matrix"), page.inner_text("#one .mw-say")
    with page.redrawn():
        page.drag(*page.middle(PIN.format(1)), -50, -75, wait=20)
    moved = page.get("matrix")
    # The plane is 6 wide.
    unit = page.locator("#one canvas").first.bounding_box()["width"] / 6
    assert moved[1] == pytest.approx([matrix[1][0] - 50 / unit, matrix[1][1] + 75 / unit], abs=0.01)
    assert [moved[0], *moved[2:]] == [matrix[0], *matrix[2:]]
    shown = MobiusExplorer(matrix=moved)
    assert page.inner_text("#one .mw-say") != said
    assert page.inner_text("#one .mw-say").lower().startswith(f"{shown.kind()} map: trace ")


def test_the_circle_and_the_coefficients_are_moved_with_the_arrow_keys(opened) -> None:
    page = opened()
    before = page.picture()
    circle, matrix = page.evaluate("[one.get('circle'), one.get('matrix')]")
    page.focus(PIN.format(4))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    # Positions are kept to four decimals.
    assert page.get("circle") == pytest.approx([circle[0] + 0.02, circle[1] - 0.1, circle[2]], abs=2e-4)
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowUp")
    assert page.get("matrix")[0] == pytest.approx([matrix[0][0], matrix[0][1] + 0.02], abs=2e-4)
    assert page.picture() != before
    assert page.get_attribute(PIN.format(0), "aria-label").startswith("Coefficient a at ")
    assert page.get_attribute(PIN.format(4), "aria-label").startswith("Centre of the circle at ")


FACES = """() => [...document.querySelectorAll('#one .mw-pin span')].map((e) => e.getBoundingClientRect())
    .map(({ left, right, top, bottom }) => [left, right, top, bottom])"""


@pytest.mark.parametrize("width", [360, 390, 760])
def test_no_handle_lies_on_another(opened, width: int) -> None:
    """In none of the buttons' maps, nor where all four numbers are in one place."""
    page = opened(width)
    together = [[1, 0], [1, 0], [1.001, 0], [1, 0]]
    for matrix in [*(preset["state"]["matrix"] for preset in MobiusExplorer().presets), together]:
        page.evaluate(f"one.set('matrix', {matrix})")
        page.rest()
        faces = page.evaluate(FACES)
        assert len(faces) == 5
        for i, (left, right, top, bottom) in enumerate(faces):
            for low, high, upper, lower in faces[:i]:
                beside = min(right, high) - max(left, low) < 0.5
                assert beside or min(bottom, lower) - max(top, upper) < 0.5, (width, matrix)


def test_a_matrix_without_inverse_cannot_be_reached(opened) -> None:
    page = opened()
    page.evaluate("one.set('matrix', [[0.02, 0], [0, 0], [0, 0], [1, 0]])")
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowLeft")
    assert page.get("matrix")[0] == [0.02, 0]
    page.keyboard.press("ArrowRight")
    assert page.get("matrix")[0] == [0.04, 0]


def test_classes_say_what_they_do(opened) -> None:
    page = opened()
    seen = set()
    for name, words in [
        ("Elliptic", "stretches by 1.00 and turns by"),
        ("Parabolic", "One fixed point, 1.00,"),
        ("Hyperbolic", "and turns by 0° around"),
        ("Loxodromic", "Fixed points 1.00 and −1.00"),
    ]:
        page.click(f"#one button:has-text('{name}')")
        seen.add(page.picture())
        assert page.inner_text("#one .mw-say strong") == name
        assert words in page.inner_text("#one .mw-say")
        assert page.locator("#one button[aria-pressed=true]").count() == 1
    assert len(seen) == 4
    page.evaluate("one.set('matrix', [[3, 0], [0, 0], [0, 0], [3, 0]])")
    page.rest()
    assert page.inner_text("#one .mw-say").startswith("Identity map")
    page.evaluate("one.set('matrix', [[1, 0], [1, 0], [0, 0], [1, 0]])")  # z + 1
    page.hear("One fixed point, ∞")
    assert "Parabolic" in page.get_attribute("#one canvas[role=img] >> nth=0", "aria-label")


def test_a_point_is_read_with_its_image(opened) -> None:
    page = opened()
    page.evaluate("one.set('matrix', [[0, 0], [1, 0], [1, 0], [0, 0]])")  # 1 / z
    box = page.locator("#one canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5 / 6, box["y"] + box["height"] / 2)
    page.rest()
    assert page.inner_text("#one .mw-read") == "z = 2.00 goes to 0.50, and comes from 0.50."
    page.mouse.move(0, 0)
    page.rest()
    assert page.inner_text("#one .mw-read").startswith("det −1.00, made 1 by dividing by its root.")


def test_it_plays_to_the_end_and_stops(opened) -> None:
    page = opened()
    still = page.picture()
    page.evaluate("one.set('time', 3.5)")
    page.click("#one button:has-text('Play')")
    page.rest()
    assert 3.5 < page.get("time") <= 4
    page.wait_for_function("one.get('time') === 4")
    page.rest()
    assert page.locator("#one button:has-text('Play')").count() == 1
    drawn = page.evaluate("frames_ms.length")
    page.rest()
    assert page.evaluate("frames_ms.length") == drawn  # at rest it draws no more
    assert page.picture() != still
    page.click("#one button:has-text('Play')")
    page.rest()
    page.click("#one button:has-text('Stop')")
    page.rest()
    stopped = page.get("time")
    page.rest()
    assert page.get("time") == stopped < 4


def test_the_sphere_says_which_points_stay(opened) -> None:
    page = opened()
    page.rest()
    assert "1.00 and −1.00 stay" in page.get_attribute("#one canvas >> nth=1", "aria-label")


def test_a_trajectory_shows_its_text_and_slider(opened) -> None:
    page = opened()
    before = page.picture()
    assert not page.locator("#one input[data-trait=at]").is_visible()
    page.evaluate(WITH_TEXT)
    with_path = page.picture()
    assert with_path != before
    page.focus("#one input[data-trait=at]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.get("at") == 3
    assert page.picture() != with_path
    assert page.inner_text("#one .mw-text mark") == LINE[3]
    assert page.text_content("#one .mw-text") == LINE[:34]  # thirty characters on either side
    page.keyboard.press("End")
    assert page.get("at") == len(LINE) - 1
    page.rest()
    assert page.inner_text("#one .mw-text mark") == "."
    page.evaluate("one.set('trajectory', [])")
    page.rest()
    assert not page.locator("#one .mw-text").is_visible()


@pytest.mark.parametrize("width", [360, 390])
def test_the_circle_is_dragged_by_finger(opened, width: int) -> None:
    page = opened(width, phone=True)
    page.tap("#one button:has-text('Hyperbolic')")
    page.evaluate("one.set('circle', [-1, 1.5, 0.5])")
    page.locator("#one canvas").first.scroll_into_view_if_needed()
    page.rest()
    scrolled = page.evaluate("scrollY")
    page.drag_by_finger(*page.middle(PIN.format(4)), -20, -30)
    unit = page.locator("#one canvas").first.bounding_box()["width"] / 6
    assert page.get("circle")[:2] == pytest.approx([-1 - 20 / unit, 1.5 + 30 / unit], abs=0.03)
    assert page.evaluate("scrollY") == scrolled  # the page stays
