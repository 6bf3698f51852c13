"""Chapter 3's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

import math
import statistics
from functools import partial

import pytest
import torch
from traitlets import TraitError

from mobius_lib.simplex import DavidConfig, GeoFractalDavid, regular_simplex, regular_volume
from mobius_lib.simplex import math as simplex
from mobius_lib.widgets import BasinExplorer
from mobius_lib.widgets.simplex import LEARNED_WEIGHTS

# Both sides compute in float64. The library takes a distance from one product, where a sum of about 10 cancels: down to
# sqrt(10 * 1e-16) = 3e-8 right at a vertex, far better elsewhere.
SAME = {"rtol": 0.0, "atol": 1e-7}
TO_REST = 300  # ms: several frames, also on a busy machine

# Seed 002's table of mixing weights, typed a second time.
SEED_TABLE = {
    384: (0.929, 0.020, 0.051),
    512: (0.885, 0.023, 0.092),
    768: (0.996, 0.001, 0.003),
    1024: (0.952, 0.005, 0.043),
    1280: (0.411, 0.003, 0.587),
}


def drawn(i: int, generator: torch.Generator) -> BasinExplorer:
    """A widget with random traits, wider than its sliders; every seventh with its triangles around zero."""
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    return BasinExplorer(
        vertices=(normal(3, 3, 2) if i % 7 else simplex.simplices(3, 2, 2, i, "published").double()).tolist(),
        geo_weights=(3 * normal(3)).tolist(),
        cantor_prototypes=normal(3).tolist(),
        alpha=normal(()).item(),
        tau=10 ** -(4 * torch.rand((), generator=generator).item()),
        direction=360 * torch.rand((), generator=generator).item(),
    )


# ---- the mathematics, in Node


def test_terms_and_logits_equal_the_library(in_node, parameters) -> None:
    generator = torch.Generator().manual_seed(3)
    explorers = [drawn(i, generator) for i in range(60)]
    q = torch.cat((torch.zeros(1, 2, dtype=torch.float64), 1.5 * torch.randn(80, 2, generator=generator).double()))
    script = f"const f = w.fit(c); return {q.tolist()}.map((p) => f(...p));"
    answers = in_node(BasinExplorer, script, [parameters(each) for each in explorers])
    for explorer, points in zip(explorers, answers, strict=True):
        expected = explorer.geometry(q)
        terms = torch.tensor([point["terms"] for point in points], dtype=torch.float64)
        # A centroid of 1e-8 is known to 1e-16 / 1e-8 of itself, and so is its direction.
        torch.testing.assert_close(terms[..., 0], expected.cosine, **SAME)
        torch.testing.assert_close(terms[..., 1], expected.gap.square(), **SAME)
        torch.testing.assert_close(terms[..., 2], expected.distance, **SAME)
        logits = torch.tensor([point["logits"] for point in points], dtype=torch.float64)
        torch.testing.assert_close(logits, expected.logits, **SAME)


def test_volume_equals_the_library_and_falls_to_zero(in_node) -> None:
    generator = torch.Generator().manual_seed(4)
    for k in range(1, 6):
        v = torch.randn(20, k + 1, k + 1, generator=generator, dtype=torch.float64)
        answers = torch.tensor(
            in_node(BasinExplorer, "return w.cayleyMengerVolume(c);", v.tolist()), dtype=torch.float64
        )
        torch.testing.assert_close(answers, simplex.gram_volume(v), rtol=1e-6, atol=1e-9)
    flat, half, regular = in_node(BasinExplorer, "return w.cayleyMengerVolume(w.tetrahedron(c));", [0, 0.5, 1])
    assert regular == pytest.approx(regular_volume(3), rel=1e-12)
    assert half == pytest.approx(regular / 2, rel=1e-12)
    assert flat < 1e-7  # the square root of a rounded 0


def test_the_body_is_the_librarys_and_turns_rigidly(in_node) -> None:
    expected = regular_simplex(3, dtype=torch.float64)
    script = "return w.tetrahedron(1).map((p) => w.turned(p, c));"
    turns = [[0.0, 0.0], [0.4, 1.2], [-2.0, -0.7], [3.1, 0.3]]
    for turn, answer in zip(turns, in_node(BasinExplorer, script, turns), strict=True):
        v = torch.tensor(answer, dtype=torch.float64)
        torch.testing.assert_close(simplex.edges(v), simplex.edges(expected), rtol=0, atol=1e-12)
        torch.testing.assert_close(v.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
        assert torch.linalg.det(v[1:] - v[0]).sign() == torch.linalg.det(expected[1:] - expected[0]).sign()
        if turn == [0.0, 0.0]:
            torch.testing.assert_close(v, expected, rtol=0, atol=1e-12)


def test_nearest_vertex_on_the_sphere(in_node) -> None:
    generator = torch.Generator().manual_seed(5)
    q = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator, dtype=torch.float64), dim=-1)
    for _ in range(5):
        v = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        got = in_node(BasinExplorer, f"return w.nearest({v.tolist()})(...c);", q.tolist())
        assert got == simplex.basin(q, v.unsqueeze(1)).tolist()  # each vertex a class of its own


# ---- the Python side


def test_the_widget_and_a_model_agree(parameters) -> None:
    """classes() and config() make a model; its head, at its own q on the circle, has the terms of the picture."""
    explorer = drawn(1, torch.Generator().manual_seed(8))
    model = GeoFractalDavid(explorer.config())
    assert model.config.num_classes == 3 and model.config.tau == explorer.tau
    assert model.cantor_stairs.alpha.item() == pytest.approx(explorer.alpha)  # float32
    head = model.heads["2"]
    with torch.no_grad():
        head.class_prototypes.copy_(explorer.classes())
        head.geo_weights.copy_(torch.tensor(explorer.geo_weights))
        q = head.project(torch.randn(50, 2, generator=torch.Generator().manual_seed(9)))
        model_terms = head(torch.zeros(50, 2), torch.zeros(50))
        shown = explorer.geometry(q)
    assert head.class_prototypes.shape == explorer.classes().shape
    torch.testing.assert_close(shown.weights, model_terms.weights)
    expected = simplex.centroid_cosine(q, head.class_prototypes), simplex.vertex_distance(q, head.class_prototypes)
    torch.testing.assert_close(shown.cosine, expected[0].detach(), rtol=0, atol=1e-6)  # float32
    torch.testing.assert_close(shown.distance, expected[1].detach(), rtol=0, atol=1e-3)  # sqrt of a cancelled float32
    assert explorer.config(feature_dim=7).feature_dim == 7


def test_from_david_takes_what_a_scale_has_learned(parameters) -> None:
    model = GeoFractalDavid(DavidConfig(feature_dim=5, num_classes=6, k=2, scales=(4, 8), tau=0.1))
    with torch.no_grad():
        model.heads["8"].geo_weights.copy_(torch.tensor([2.0, -1.0, 0.5]))
        model.heads["8"].cantor_prototypes.copy_(torch.linspace(-1, 1, 6))
        model.cantor_stairs.alpha.fill_(-0.25)
    explorer = BasinExplorer.from_david(model, 8, classes=(5, 0, 2), direction=90.0)
    learned = list(model.get_geometric_weights()[8].values())
    shares = torch.softmax(torch.tensor(explorer.geo_weights), 0).tolist()
    assert shares == pytest.approx(learned, abs=1e-6)  # float32
    assert explorer.cantor_prototypes == pytest.approx([1, -1, -0.2], abs=1e-6)
    assert (explorer.alpha, explorer.tau, explorer.direction) == (-0.25, 0.1, 90.0)
    untouched = BasinExplorer()
    assert explorer.vertices == untouched.vertices
    with pytest.raises(TypeError, match="takes a GeoFractalDavid, got a Linear"):
        BasinExplorer.from_david(torch.nn.Linear(2, 2), 8)
    with pytest.raises(ValueError, match="scale must be one of 4, 8, got 2"):
        BasinExplorer.from_david(model, 2)
    with pytest.raises(ValueError, match="classes must be 3 numbers from 0 to 5"):
        BasinExplorer.from_david(model, 4, classes=(0, 1, 6))


def test_the_buttons() -> None:
    presets = BasinExplorer().presets
    spread, published = (p["state"]["vertices"] for p in presets if p["group"] == "place")
    assert spread == BasinExplorer().vertices
    lengths = [torch.tensor(v, dtype=torch.float64).mean(1).norm(dim=-1) for v in (spread, published)]
    torch.testing.assert_close(
        lengths[0], torch.full((3,), simplex.CENTROID_NORM, dtype=torch.float64), rtol=0, atol=1e-6
    )
    assert (lengths[1] < 1e-7).all() and (lengths[1] > 0).all()  # a rounding error of float32, and so a direction
    assert LEARNED_WEIGHTS == SEED_TABLE
    mixes = {p["name"]: p["state"]["geo_weights"] for p in presets if p["group"] == "mix"}
    assert mixes.pop("start") == [0.0, 0.0, 0.0]
    for (scale, row), (name, raw) in zip(SEED_TABLE.items(), mixes.items(), strict=True):
        assert name == str(scale)
        # 512 sums to 1.000, 1280 to 1.001: rounded in print
        assert torch.softmax(torch.tensor(raw), 0).tolist() == pytest.approx(row, abs=1e-3)


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("vertices", [[[0.0, 1.0]] * 3] * 2, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("vertices", [[[0.0, 1.0, 2.0]] * 3] * 3, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("vertices", [[[0.0, 1.0]] * 2] * 3, "vertices takes 3 classes of 3 vertices of 2 coordinates each."),
        ("geo_weights", [0.0, 1.0], "geo_weights takes 3 numbers, got 2."),
        ("cantor_prototypes", [0.0, math.nan, 1.0], "cantor_prototypes takes finite numbers, got [0.0, nan, 1.0]."),
        ("turn", [0.0], "turn takes 2 numbers, got 1."),
        ("tau", -1.0, "tau is a temperature, so it must be positive; got -1.0."),
        ("pull", math.inf, "pull takes finite numbers, got inf."),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence_and_leaves_the_old_one(trait: str, value, message: str) -> None:
    explorer = BasinExplorer()
    before = getattr(explorer, trait)
    with pytest.raises(TraitError) as error:
        setattr(explorer, trait, value)
    assert str(error.value) == message
    assert getattr(explorer, trait) == before
    with pytest.raises(TraitError):
        BasinExplorer(**{trait: value})


def test_geometry_wants_points_of_the_plane() -> None:
    with pytest.raises(ValueError, match=r"q must be points of the plane, \(batch, 2\)"):
        BasinExplorer().geometry(torch.zeros(4, 3))


def test_the_page_stores_little_per_widget() -> None:
    stored = len(BasinExplorer._esm.encode()) + len(BasinExplorer._css.encode())
    assert stored <= 22 * 1024  # two pictures; a page stores both files once per instance


# ---- the picture, in a browser


@pytest.fixture(scope="module")
def explorer() -> BasinExplorer:
    return BasinExplorer()


PIN = "#one .mw-pin >> nth={}"  # four per class: three vertices, then the whole triangle


def middle(page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.browser
def test_a_vertex_is_dragged_with_the_mouse(opened, picture) -> None:
    page = opened(1000)
    before, other = picture(page), picture(page, "two")
    vertices = page.evaluate("one.get('vertices')")
    said = page.inner_text("#one .mw-say >> nth=0")
    x, y = middle(page, PIN.format(4))
    page.mouse.move(x, y)
    page.mouse.down()
    drawn = page.evaluate("frames_ms.length")
    for step in range(1, 26):
        page.mouse.move(x + 2 * step, y + 3 * step)
        page.wait_for_timeout(20)
    page.mouse.up()
    page.mouse.move(x, y, steps=3)  # let go: moves nothing more
    # The plane is 3.2 wide; 50 and 75 pixels.
    moved = page.evaluate("one.get('vertices')")
    width = page.locator("#one canvas").first.bounding_box()["width"]
    assert moved[1][0] == pytest.approx([vertices[1][0][0] + 160 / width, vertices[1][0][1] - 240 / width], abs=0.01)
    assert [moved[0], moved[1][1:], moved[2]] == [vertices[0], vertices[1][1:], vertices[2]]
    assert page.inner_text("#one .mw-say >> nth=0") != said
    assert picture(page) != before
    assert picture(page, "two") == other
    redraws = page.evaluate("frames_ms")[drawn:]
    assert len(redraws) >= 5
    print(f"\nredraw: median {statistics.median(redraws):.1f} ms, longest {max(redraws):.1f} ms of {len(redraws)}")


@pytest.mark.browser
def test_a_vertex_and_a_triangle_are_moved_with_the_arrow_keys(opened, picture) -> None:
    page = opened(1000)
    before = picture(page)
    a = page.evaluate("one.get('vertices')")[0]
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    moved = page.evaluate("one.get('vertices')")[0]
    # Positions are kept to four decimals.
    assert moved[0] == pytest.approx([a[0][0] + 0.02, a[0][1] - 0.1], abs=2e-4)
    assert moved[1:] == a[1:]
    page.focus(PIN.format(3))
    page.keyboard.press("ArrowUp")
    whole = page.evaluate("one.get('vertices')")[0]
    for old, new in zip(moved, whole, strict=True):
        assert new == pytest.approx([old[0], old[1] + 0.02], abs=2e-4)
    assert picture(page) != before
    assert page.get_attribute(PIN.format(0), "aria-label").startswith("Vertex 1 of A at ")
    assert page.get_attribute(PIN.format(3), "aria-label").startswith("Triangle A at ")
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("scrollY") == scrolled  # the arrow keys move the triangle, not the page


@pytest.mark.browser
def test_starts_and_mixing_weights(opened, picture) -> None:
    page = opened(1000)
    seen = {picture(page)}
    assert "Centroids of length 0.71, 0.71, 0.71." in page.inner_text("#one .mw-say >> nth=0")
    page.click("#one button:has-text('Published start')")
    seen.add(picture(page))
    assert "are 0 up to rounding" in page.inner_text("#one .mw-say >> nth=0")
    page.click("#one button:has-text('1280')")
    seen.add(picture(page))
    shown = page.eval_on_selector_all("#one input[data-trait=geo_weights]", "all => all.map((i) => i.ariaValueText)")
    # .411 + .003 + .587 is 1.001 in print
    assert [text.split("→")[1] for text in shown] == ["0.411", "0.003", "0.586"]
    assert page.locator("#one button[aria-pressed=true]").count() == 2
    page.click("#one button:has-text('Spread')")
    seen.add(picture(page))
    assert len(seen) == 4
    page.wait_for_timeout(600)  # the summary for screen readers follows half a second after the last change
    assert "of the picture" in page.inner_text("#one [role=status]")
    assert "of the circle" in page.get_attribute("#one canvas[role=img] >> nth=0", "aria-label")


@pytest.mark.browser
def test_a_point_is_read_with_its_terms(opened) -> None:
    page = opened(1000)
    explorer = BasinExplorer()
    box = page.locator("#one canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
    page.wait_for_timeout(TO_REST)
    read = page.inner_text("#one .mw-read")
    q = torch.tensor([[1.28, 0.0]])
    logits = explorer.geometry(q).logits[0]
    assert read.startswith("q (1.28, 0.00), c ")
    assert read.endswith(f"Class {'ABC'[int(logits.argmax())]}.")
    for value in logits.tolist():
        assert f"→ {value:.2f}".replace("-", "−") in read


@pytest.mark.browser
def test_the_body_turns_and_its_volume_falls(opened) -> None:
    page = opened(1000)
    ball = "document.querySelectorAll('#one canvas')[1].toDataURL()"
    page.wait_for_timeout(TO_REST)
    first = page.evaluate(ball)
    page.locator("#one canvas").nth(1).scroll_into_view_if_needed()
    x, y = middle(page, "#one canvas >> nth=1")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y - 30, steps=5)
    page.mouse.up()
    assert page.evaluate("one.get('turn')") == pytest.approx([0.9, 0.9])  # 100 pixels are a radian
    page.wait_for_timeout(TO_REST)
    assert page.evaluate(ball) != first
    assert page.inner_text("#one .mw-say >> nth=1").startswith("Volume 0.3333 ")
    page.focus("#one input[data-trait=pull]")
    page.keyboard.press("Home")
    page.wait_for_timeout(TO_REST)
    assert page.inner_text("#one .mw-say >> nth=1").startswith("Volume 0.0000 ")


@pytest.mark.browser
def test_keyboard_and_names(opened, picture) -> None:
    page = opened(1000)
    before = picture(page)
    page.focus("#one input[data-trait=cantor_prototypes] >> nth=1")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("one.get('cantor_prototypes')") == [0, 0.49, 1]
    assert picture(page) != before
    names = page.eval_on_selector_all("#one :is(input, .mw-pin)", "all => all.map((i) => i.ariaLabel)")
    assert len(names) == len(set(names)) == 12 + 12 and all(names)


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
@pytest.mark.parametrize("width", [320, 360, 390])
def test_fits_a_phone_and_a_thumb(opened, fits, width: int) -> None:
    page = opened(width, phone=True)
    page.evaluate("document.querySelectorAll('#one details').forEach((d) => { d.open = true; })")
    page.evaluate("one.set('geo_weights', [-2.25, -6.75, -1.25])")  # the widest read-outs
    page.evaluate("one.set('vertices', one.get('vertices').map((v) => v.map(() => [1.45, -1.45])))")  # at the rim
    heights = fits(page, width)
    assert len(heights) == 12 + 12 + 8 + 1
    assert min(heights) >= 44  # CSS pixels: the least size of a touch target
    page.tap("#one button:has-text('Spread')")
    page.locator("#one canvas").first.scroll_into_view_if_needed()
    page.wait_for_timeout(TO_REST)
    # A finger drags a vertex, and the page does not scroll meanwhile: real touches, through DevTools.
    x, y = middle(page, PIN.format(8))
    before, scrolled = page.evaluate("[one.get('vertices')[2][0], scrollY]")
    devtools = page.context.new_cdp_session(page)
    touch = partial(devtools.send, "Input.dispatchTouchEvent")
    touch({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):
        touch({"type": "touchMove", "touchPoints": [{"x": x - 2 * step, "y": y - 3 * step}]})
    touch({"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(TO_REST)
    after = page.evaluate("one.get('vertices')[2][0]")
    size = page.locator("#one canvas").first.bounding_box()["width"]
    assert after == pytest.approx([before[0] - 64 / size, before[1] + 96 / size], abs=0.02)
    assert page.evaluate("scrollY") == scrolled
