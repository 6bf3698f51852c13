"""Chapter 4's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import math

import pytest
import torch

from mobius_lib.errors import DataError
from mobius_lib.gauge import RUNGS, WINDOWS, Compression, MetaMobiusLinear, MobiusHarmonicBridge, seed_count
from mobius_lib.gauge import math as gauge
from mobius_lib.widgets import GaugeExplorer
from mobius_lib.widgets.gauge import LIMITS, ORDERS, PATHS

# Both sides compute in float64. Directions of the Gaussians down to 1e-4 of the strongest are used, and rounding grows
# by its inverse square in the amplitudes, 1e-16 * 1e8, and by its inverse in their sum.
SAME = {"rtol": 0.0, "atol": 1e-7}


def drawn(i: int, generator: torch.Generator) -> GaugeExplorer:
    """A widget with random traits: rows of several lengths and signs, Gaussians from narrow to wider than the row."""
    size = (2, 9, 40, 128)[i % 4]
    row = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    uniform = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
    return GaugeExplorer(
        row=(row.abs() if i % 3 else row).tolist(),
        words=[],
        places=torch.randperm(size, generator=generator).tolist(),
        order=ORDERS[i % 3],
        terms=1 + int(16 * uniform[0]),
        sigma_0=10 ** (2.3 * uniform[1] - 0.5),
        exponent=2 * uniform[2] - 0.5,
        path=PATHS[i % 2],
        strength=3 * uniform[3],
        pieces=1 + int(12 * uniform[4]),
        gauge=360 * uniform[5],
    )


# ---- the mathematics, in Node


def test_the_cascade_equals_the_library(in_node, parameters) -> None:
    generator = torch.Generator().manual_seed(4)
    explorers = [drawn(i, generator) for i in range(48)]
    shown = [explorer.cascade() for explorer in explorers]
    cases = []
    for explorer, each in zip(explorers, shown, strict=True):
        placed = torch.empty_like(each.fitted)
        placed[each.places] = torch.tensor(explorer.row, dtype=torch.float64)
        cases.append(parameters(explorer) | {"placed": placed.tolist(), "mu": each.mu.tolist()})
    answers = in_node(
        GaugeExplorer,
        """const sigma = w.kpzWidths(c.sigma_0, c.mu.length, c.exponent), mu = w.pursue(c.placed, sigma);
           return { sigma, mu, own: w.fit(c.placed, mu, sigma).error, ...w.fit(c.placed, c.mu, sigma) };""",
        cases,
    )
    same = 0
    for each, answer in zip(shown, answers, strict=True):
        torch.testing.assert_close(torch.tensor(answer["sigma"], dtype=torch.float64), each.sigma, rtol=1e-12, atol=0)
        fitted = torch.tensor(answer["sum"], dtype=torch.float64)[each.places]
        torch.testing.assert_close(fitted, each.fitted, **SAME)
        assert answer["error"] == pytest.approx(each.error, abs=1e-7)
        assert 0 <= each.error <= 1 + 1e-12
        # Once nothing is left of a short row, the last Gaussians are placed by rounding.
        if each.error > 1e-6:
            assert answer["mu"] == each.mu.tolist()
            same += 1
        assert answer["own"] == pytest.approx(each.error, abs=1e-6)
    assert same >= 30
    assert sum(each.error > 0.3 for each in shown) > 5 and sum(1e-6 < each.error < 0.3 for each in shown) > 5


def test_least_squares_is_what_it_says(in_node) -> None:
    """What is left is orthogonal to every Gaussian, also to those that nearly depend on each other."""
    generator = torch.Generator().manual_seed(5)
    for sigma_0, mu in [(2.0, [3, 9, 20]), (15.0, [10, 10, 11]), (60.0, [0, 15, 29])]:
        row = torch.rand(30, generator=generator, dtype=torch.float64)
        sigma = gauge.kpz_widths(torch.tensor(sigma_0, dtype=torch.float64), 3)
        [answer] = in_node(GaugeExplorer, "return w.fit(...c);", [[row.tolist(), mu, sigma.tolist()]])
        g = gauge.gaussians(torch.tensor(mu, dtype=torch.float64), sigma, torch.arange(30).double())
        amplitudes = gauge.amplitudes(row.unsqueeze(0), g)[0]
        torch.testing.assert_close(torch.tensor(answer["amplitudes"], dtype=torch.float64), amplitudes, **SAME)
        left = row - torch.tensor(answer["sum"], dtype=torch.float64)
        # a direction left out is below 1e-4 of the strongest, which is below sqrt(3 * 30)
        assert (g @ left).abs().max() < 1e-3 * row.norm()


def test_the_error_of_the_largest_cosine_terms(in_node) -> None:
    generator = torch.Generator().manual_seed(6)
    row = torch.randn(37, generator=generator, dtype=torch.float64)
    k, j = torch.arange(37).double().unsqueeze(1), torch.arange(37).double()
    basis = torch.cos(math.pi * k * (j + 0.5) / 37) * torch.where(k == 0, 1 / 37**0.5, (2 / 37) ** 0.5)
    torch.testing.assert_close(basis @ basis.mT, torch.eye(37, dtype=torch.float64))
    coefficients = basis @ row
    for terms in (0, 1, 8, 36, 37):
        [answer] = in_node(GaugeExplorer, f"return w.dctErrors(c)[{terms}];", [row.tolist()])
        kept = coefficients.abs().argsort(descending=True)[:terms]
        error = (row - coefficients[kept] @ basis[kept]).norm() / row.norm()
        assert answer == pytest.approx(error.item(), abs=1e-7)  # sqrt of a rounded 0


def test_sizes_equal_the_library(in_node) -> None:
    cases = [(level, v, n) for level in RUNGS for v, n in [(20, 1), (100, 8), (300, 5), (64, 16)]]
    script = "return [w.STORED[c[0]](c[1], c[2]), w.SEED.L5(c[1], c[2]), w.SEED.L4(c[1], c[2])];"
    for (level, v, n), (stored, level5, level4) in zip(cases, in_node(GaugeExplorer, script, cases), strict=True):
        counted = RUNGS[level](v, v, n).compression_ratio()
        assert counted == Compression(v * v / stored, v * v, stored), level
        assert level5 == seed_count(v, n)
        assert level4 == v * n + n  # out x N + N, as the MetaMobius note prints it
    assert in_node(GaugeExplorer, "return Object.keys(w.STORED);", [0]) == [list(RUNGS)]


def test_transport_equals_the_library(in_node, parameters) -> None:
    generator = torch.Generator().manual_seed(7)
    explorers = [drawn(i, generator) for i in range(40)]
    script = """const { exact, first } = w.carry(c).at(-1);
                return { exact, first, angle: w.turnOf(exact), trace: w.trace(exact) };"""
    answers = in_node(GaugeExplorer, script, [parameters(each) for each in explorers])
    for explorer, answer in zip(explorers, answers, strict=True):
        exact, first = explorer.holonomies()
        torch.testing.assert_close(torch.tensor(answer["exact"], dtype=torch.float64), exact, **SAME)
        torch.testing.assert_close(torch.tensor(answer["first"], dtype=torch.float64), first, **SAME)
        cos = (exact.trace().item() - 1) / 2
        assert math.cos(math.radians(answer["angle"])) == pytest.approx(cos, abs=1e-9)
        if explorer.path == "line":
            assert answer["angle"] < 1e-5  # degrees: rounding of products of up to 48 rotations


def test_every_place_of_the_loop_is_conjugated_by_the_gauge(in_node, parameters) -> None:
    script = "return w.carry(c).map(({ place, exact, first }) => ({ place, exact, first, g: w.gaugeAt(c, place) }));"
    for path in PATHS:
        cases = [parameters(GaugeExplorer(path=path, gauge=angle, pieces=3)) for angle in (0.0, 70.0, 251.0)]
        plain, *changed = in_node(GaugeExplorer, script, cases)
        for moved in changed:
            for before, after in zip(plain, moved, strict=True):
                g, start = (torch.tensor(each, dtype=torch.float64) for each in (after["g"], moved[0]["g"]))
                torch.testing.assert_close(g @ g.mT, torch.eye(3, dtype=torch.float64), **SAME)
                for name in ("exact", "first"):
                    expected = g @ torch.tensor(before[name], dtype=torch.float64) @ start.mT
                    torch.testing.assert_close(torch.tensor(after[name], dtype=torch.float64), expected, **SAME)
            assert moved[-1]["place"] == 3 and moved[0]["place"] == 0


def test_the_angle_of_the_holonomy_is_the_same_in_every_gauge_and_the_first_order_comes_nearer(in_node) -> None:
    explorers = [GaugeExplorer(strength=1.1, gauge=angle) for angle in (0.0, 60.0, 180.0, 300.0)]
    traces = [explorer.holonomies()[0].trace().item() for explorer in explorers]
    assert traces == pytest.approx([traces[0]] * 4, abs=1e-9) and abs(traces[0] - 3) > 0.5
    entries = torch.stack([explorer.holonomies()[0] for explorer in explorers])
    assert (entries - entries[0]).abs().amax((1, 2))[1:].min() > 0.05  # the matrix itself is another
    gaps = []
    for pieces in (6, 12, 24):
        exact, first = GaugeExplorer(strength=0.5, pieces=pieces).holonomies()
        gaps.append((exact - first).norm().item())
    # m steps of error (1/m)^2 each: half for twice the steps, but for terms of the next order
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.2) and gaps[1] / gaps[2] == pytest.approx(2, abs=0.2)


# ---- the Python side


def test_the_first_row_is_the_texts() -> None:
    text = pytest.importorskip("mobius_lib.datasets.text")
    try:
        bible = text.king_james()
    except DataError as error:
        pytest.skip(str(error))
    tokens, words = text.words(bible, 128)
    made, first = GaugeExplorer.from_tokens(tokens, words, "king"), GaugeExplorer()
    assert made.words == first.words
    assert made.row == pytest.approx(first.row, abs=1e-4)  # rounded to four decimals
    assert made.places == first.places


def test_a_row_of_ones_own_text() -> None:
    tokens = torch.randint(0, 12, (500,), generator=torch.Generator().manual_seed(1))
    words = [f"word{i}" for i in range(12)]
    explorer = GaugeExplorer.from_tokens(tokens, words, "word3", window=2, terms=4)
    expected = [sum(
        1 for i, a in enumerate(tokens.tolist()) for b in tokens[max(0, i - 2) : i].tolist() if {a, b} == {3, other}
        and (a != b or other == 3)
    ) * (1 + (other == 3)) for other in range(12)]  # fmt: skip
    assert explorer.row == pytest.approx([math.log1p(count) for count in expected], abs=1e-4)
    assert sorted(explorer.places) == list(range(12)) and explorer.terms == 4
    with pytest.raises(ValueError, match="word='other' is not one of the 12 words"):
        GaugeExplorer.from_tokens(tokens, words, "other")
    with pytest.raises(ValueError, match="words holds 513 words, and the picture 512"):
        GaugeExplorer.from_tokens(tokens, [str(i) for i in range(513)], "1")


def test_the_picture_is_a_layer() -> None:
    explorer = GaugeExplorer(terms=6, sigma_0=5.0)
    bridge = explorer.bridge()
    assert isinstance(bridge, MobiusHarmonicBridge) and bridge.compression_ratio().stored == 6 + 6 + 1 + 128
    shown = explorer.cascade()
    dense = bridge.to_dense().detach().double()[0]
    # amplitudes of about 1e3 that cancel, in float32
    torch.testing.assert_close(dense, shown.fitted, rtol=0, atol=1e-6 * shown.amplitudes.abs().sum().item())
    for wrong in ({"exponent": 0.5}, {"order": "own"}):
        with pytest.raises(ValueError, match="An L4 has the exponent 1/3 and one order for all rows"):
            GaugeExplorer(**wrong).bridge()


def test_sorting_helps_this_row_and_no_order_is_as_counted() -> None:
    errors = {order: GaugeExplorer(order=order).cascade().error for order in ORDERS}
    assert errors["own"] < errors["common"] and errors["own"] < errors["frequency"]
    places = GaugeExplorer(order="own").column_places()
    row = torch.tensor(GaugeExplorer().row, dtype=torch.float64)
    placed = torch.empty_like(row)
    placed[places] = row
    assert (placed.diff() <= 0).all()
    assert GaugeExplorer(order="frequency").column_places().tolist() == list(range(128))
    # places of another row are no order of this one
    assert GaugeExplorer(row=[1.0, 2.0]).column_places().tolist() == [0, 1]


def test_the_loop_is_the_seeds() -> None:
    assert WINDOWS == MetaMobiusLinear(8, 8).windows == (5, 15, 50)
    assert [len(leg) for leg in GaugeExplorer(path="line", pieces=3).legs()] == [3, 3, 6]


# ---- the picture, in a browser


SAID = "#one .mw-say"


def show(page, part: str) -> None:
    page.click(f"#one button:has-text('{part}')")
    page.rest()


def test_the_cascade_says_the_librarys_error_and_reads_a_column(opened) -> None:
    page = opened()
    page.rest()
    for order, name in [("own", "Sorted"), ("frequency", "Counted"), ("common", "L4’s")]:
        show(page, name)
        assert page.get("order") == order
        error = GaugeExplorer(order=order).cascade().error
        page.wait_for_function("document.querySelector('#one .mw-say').innerText.includes('At β')")  # seven frames
        assert page.inner_text(SAID).startswith(f"Error {100 * error:.1f}\u202f%")
        at_third = f"At β = ⅓: {100 * error:.1f}\u202f%"
        assert at_third in page.inner_text(SAID)
    box = page.locator("#one canvas").bounding_box()
    width = (box["width"] - 42) / 128  # the margins of the plot
    page.mouse.move(box["x"] + 34 + 0.5 * width, box["y"] + 100)
    page.rest()
    assert page.inner_text("#one .mw-read").startswith("Column 1, “the”: D = 7.97, cascade ")
    page.mouse.move(box["x"] + 5, box["y"] + 100)
    page.rest()
    assert page.inner_text("#one .mw-read") == "Point at a column, or use the arrow keys on the picture, to read it."
    page.locator("#one canvas").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.rest()
    assert page.inner_text("#one .mw-read").startswith("Column 3, “")
    page.keyboard.press("Escape")


def test_every_exponent_of_the_slider_is_on_the_chart_of_errors(opened) -> None:
    page = opened()
    low, high = (float(page.get_attribute("#one input[data-trait=exponent]", end)) for end in ("min", "max"))
    for exponent in (low, 0.9, 1.3, high):
        page.evaluate(f"one.set('exponent', {exponent})")
        page.rest()
        marked = page.evaluate(
            """b => { // the dot's colour, in the column of the chart that belongs to b
                const canvas = document.querySelector("#one canvas"), scale = canvas.width / canvas.clientWidth;
                const { width, height } = canvas;
                const copy = Object.assign(document.createElement("canvas"), { width, height });
                const g = copy.getContext("2d", { willReadFrequently: true });
                g.drawImage(canvas, 0, 0);
                const x = 46 + (canvas.clientWidth - 66) * (b + 0.5) / 2, high = 90;
                const top = (canvas.clientHeight - 22 - high) * scale;
                const { data } = g.getImageData(x * scale, top, 1, high * scale);
                let seen = 0;
                for (let i = 0; i < data.length; i += 4) seen += data[i] < 20 && data[i + 1] > 100 && data[i + 2] > 160;
                return seen;
            }""",
            exponent,
        )
        assert marked >= 5, exponent


def test_the_ladder_says_reported_beside_counted(opened) -> None:
    page = opened()
    show(page, "Ladder")
    seen = {page.picture()}
    for level, text in [
        # 25,000,000 over 3 (40,000 + 8 + 1 + 5,000) + 1,656 + 88, and over the note's own 3 x 80,008 + 1,744
        ("L5", "L5: 183\u202f× counted, 290,000\u202f× reported."),
        ("L4", "L4: 555\u202f× counted, 29,000\u202f× reported."),
        ("L1", "L1: 312\u202f× counted, 27.0\u202f× reported."),
    ]:
        page.click(f"#one button:has-text('{level}') >> visible=true")
        seen.add(page.picture())
        assert page.inner_text(SAID).startswith(text)
        if level == "L5":
            assert "The note’s own formula gives 241,768, 103\u202f×." in page.inner_text(SAID)
    page.evaluate("one.set('vocabulary', 1000)")
    seen.add(page.picture())
    assert len(seen) == 4
    # 10^6 over 2 x 1,000 x 8 + 8
    assert page.inner_text(SAID).startswith("L1: 62.5\u202f× counted")


def test_the_holonomy_stays_when_the_gauge_is_turned(opened) -> None:
    page = opened()
    show(page, "Transport")
    seen, angles, axes = set(), set(), set()
    for gauge_angle in (0, 40, 200):
        page.evaluate(f"one.set('gauge', {gauge_angle})")
        seen.add(page.picture())
        said = page.inner_text(SAID)
        angles.add(said.split(", whatever")[0])
        axes.add(said.split("gauge: ")[1].split(". First")[0])
        assert "times as long, |H₁ − H| = " in said
    assert (len(seen), len(angles), len(axes)) == (3, 1, 3)
    page.click("#one button:has-text('One line')")
    page.rest()
    assert page.inner_text(SAID).startswith("Holonomy 0.0°, trace 3.000")
    x, y = (page.locator("#one canvas").bounding_box()[k] for k in ("x", "y"))
    page.drag(x + 200, y + 100, 50, -30)
    assert page.get("turn") == pytest.approx([0.0, 0.1])  # 100 pixels are a radian
    page.hear("Holonomy 0.0°")
    assert "Holonomy" in page.get_attribute("#one canvas[role=img]", "aria-label")


def test_a_part_is_chosen_by_keyboard(opened) -> None:
    page = opened()
    page.focus("#one button:has-text('Ladder')")
    page.keyboard.press("Enter")
    page.rest()
    assert page.get("part") == "ladder"
    assert page.locator("#one button[aria-pressed=true] >> visible=true").count() == 2
    assert page.locator("#one input >> visible=true").count() == 2


def test_what_the_sliders_reach_is_allowed() -> None:
    """The ends of the sliders of gauge.js, typed a second time."""
    for name, ends in {
        "terms": (1, 16), "sigma_0": (10**-0.5, 10**1.8), "vocabulary": (100, 10**5.3), "strength": (0, 3),
        "pieces": (1, 24), "gauge": (0, 360),
    }.items():  # fmt: skip
        low, high = LIMITS[name]
        assert low <= ends[0] and ends[1] <= high
