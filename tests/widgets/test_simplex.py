"""Chapter 3's widget: its mathematics in Node, its Python side, and its picture in a real browser."""

from functools import partial

import pytest
import torch

from mobius_lib.simplex import DavidConfig, GeoFractalDavid, regular_simplex, regular_volume
from mobius_lib.simplex import math as simplex
from mobius_lib.widgets import BasinExplorer
from mobius_lib.widgets.simplex import LEARNED_WEIGHTS

# Both sides compute in float64. The library takes a distance from one product, where a sum of about 10 cancels: down to
# sqrt(10 * 1e-16) = 3e-8 right at a vertex, far better elsewhere.
SAME = {"rtol": 0.0, "atol": 1e-7}

# The GeoFractalDavid card's table of mixing weights, typed a second time.
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
    script = f"const f = w.fit(c); return {q.tolist()}.map((p) => structuredClone(f(...p)));"
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


def test_geometry_wants_points_of_the_plane() -> None:
    with pytest.raises(ValueError, match=r"q must be points of the plane, \(batch, 2\)"):
        BasinExplorer().geometry(torch.zeros(4, 3))


# ---- the picture, in a browser


PIN = "#one .mw-pin >> nth={}"  # four per class: three vertices, then the whole triangle


def test_a_vertex_is_dragged_with_the_mouse(opened) -> None:
    page = opened()
    vertices, said = page.get("vertices"), page.inner_text("#one .mw-say >> nth=0")
    with page.redrawn():
        page.drag(*page.middle(PIN.format(4)), 50, 75, wait=20)
    # The plane is 3.2 wide.
    moved = page.get("vertices")
    width = page.locator("#one canvas").first.bounding_box()["width"]
    assert moved[1][0] == pytest.approx([vertices[1][0][0] + 160 / width, vertices[1][0][1] - 240 / width], abs=0.01)
    assert [moved[0], moved[1][1:], moved[2]] == [vertices[0], vertices[1][1:], vertices[2]]
    assert page.inner_text("#one .mw-say >> nth=0") != said


def test_a_vertex_and_a_triangle_are_moved_with_the_arrow_keys(opened) -> None:
    page = opened()
    before = page.picture()
    a = page.get("vertices")[0]
    page.focus(PIN.format(0))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    moved = page.get("vertices")[0]
    # Positions are kept to four decimals.
    assert moved[0] == pytest.approx([a[0][0] + 0.02, a[0][1] - 0.1], abs=2e-4)
    assert moved[1:] == a[1:]
    page.focus(PIN.format(3))
    page.keyboard.press("ArrowUp")
    whole = page.get("vertices")[0]
    for old, new in zip(moved, whole, strict=True):
        assert new == pytest.approx([old[0], old[1] + 0.02], abs=2e-4)
    assert page.picture() != before
    assert page.get_attribute(PIN.format(0), "aria-label").startswith("Corner 1 of A at ")
    assert page.get_attribute(PIN.format(3), "aria-label").startswith("Triangle A at ")


def test_starts_and_mixing_weights(opened) -> None:
    page = opened()
    seen = {page.picture()}
    assert "Centroids of length 0.71, 0.71, 0.71." in page.inner_text("#one .mw-say >> nth=0")
    page.click("#one button:has-text('Published start')")
    seen.add(page.picture())
    assert "are 0 up to rounding" in page.inner_text("#one .mw-say >> nth=0")
    page.click("#one button:has-text('1280')")
    seen.add(page.picture())
    shown = page.eval_on_selector_all("#one input[data-trait=geo_weights]", "all => all.map((i) => i.ariaValueText)")
    # .411 + .003 + .587 is 1.001 in print
    assert [text.split("→")[1] for text in shown] == ["0.411", "0.003", "0.586"]
    assert page.locator("#one button[aria-pressed=true]").count() == 2
    page.click("#one button:has-text('Spread')")
    seen.add(page.picture())
    assert len(seen) == 4
    page.hear("of the picture")
    assert "of the circle" in page.get_attribute("#one canvas[role=img] >> nth=0", "aria-label")


def test_a_point_is_read_with_its_terms(opened) -> None:
    page = opened()
    explorer = BasinExplorer()
    box = page.locator("#one canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
    page.rest()
    read = page.inner_text("#one .mw-read")
    q = torch.tensor([[1.28, 0.0]])
    logits = explorer.geometry(q).logits[0]
    assert read.startswith("q (1.28, 0.00), c ")
    assert read.endswith(f"Class {'ABC'[int(logits.argmax())]}.")
    for value in logits.tolist():
        assert f"→ {value:.2f}".replace("-", "−") in read


def test_the_volume_of_the_body_falls(opened) -> None:
    page = opened()
    page.rest()
    assert page.inner_text("#one .mw-say >> nth=1").startswith("Volume 0.3333 ")
    page.focus("#one input[data-trait=pull]")
    page.keyboard.press("Home")
    page.rest()
    assert page.inner_text("#one .mw-say >> nth=1").startswith("Volume 0.0000 ")


@pytest.mark.parametrize("width", [320, 360, 390])
def test_a_vertex_is_dragged_by_finger(opened, width: int) -> None:
    page = opened(width, phone=True)
    page.tap("#one button:has-text('Spread')")
    page.locator("#one canvas").first.scroll_into_view_if_needed()
    page.rest()
    before, scrolled = page.evaluate("[one.get('vertices')[2][0], scrollY]")
    page.drag_by_finger(*page.middle(PIN.format(8)), -20, -30)
    after = page.evaluate("one.get('vertices')[2][0]")
    size = page.locator("#one canvas").first.bounding_box()["width"]
    assert after == pytest.approx([before[0] - 64 / size, before[1] + 96 / size], abs=0.02)
    assert page.evaluate("scrollY") == scrolled  # the page stays
