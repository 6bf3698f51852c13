"""The laws of `simplex/math.py`, over seeds and both precisions; proof that each can fail; and the initialisations."""

import hashlib
import math
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from mobius_lib.simplex import laws
from mobius_lib.simplex import math as simplex
from tests import lawful

test_law = lawful.hold(laws, 12)


def shrunk_last(k, dim=None, edge=1.0, dtype=None, exact=simplex.regular_simplex):
    v = exact(k, dim, edge, dtype)
    v[-1] *= 1.01
    return v


def published_everywhere(classes, k, dim, seed=0, kind="spread", exact=simplex.simplices):
    return exact(classes, k, dim, seed, "published")


def uncentred(classes, k, dim, seed=0, kind="spread", exact=simplex.simplices):
    return exact(classes, k, dim, seed, kind) + 0.1


def one_simplex(classes, k, dim, seed=0, kind="spread", exact=simplex.simplices):
    return exact(1, k, dim, seed, kind).expand(classes, -1, -1)


# One fault per line, and a law that has to notice it.
FAULTS = [
    ("regular_simplex", shrunk_last, "regular_simplex_has_equal_edges"),
    ("circumradius", lambda k, edge=1.0: edge / math.sqrt(2), "regular_simplex_has_equal_edges"),
    ("regular_volume", lambda k, edge=1.0: edge**k / math.factorial(k), "volume_has_its_closed_form"),
    ("cayley_menger_volume", lambda v: v.norm(dim=-1).prod(-1), "volume_has_its_closed_form"),
    ("cayley_menger_volume", lambda v: v.norm(dim=-1).prod(-1), "volume_follows_from_the_edges"),
    ("cayley_menger_volume", lambda v: simplex.gram_volume(v) + 0.01, "flat_simplex_has_no_volume"),
    ("gram_volume", lambda v: v.square().sum((-1, -2)), "volume_follows_from_the_edges"),
    ("barycentric", lambda p, v: torch.softmax(p @ v.mT, -1), "barycentric_weights_find_the_point"),
    ("barycentric", lambda p, v: torch.softmax(p @ v.mT, -1), "barycentric_weights_of_a_point_outside_are_its_foot"),
    ("vertex_distance", lambda q, v: torch.cdist(q, v.mean(1)), "nearest_vertex_is_the_nearest"),
    ("vertex_distance", lambda q, v: torch.cdist(q, v.mean(1)), "distance_vanishes_at_a_vertex"),
    ("vertex_distance", lambda q, v: torch.cdist(q, v.mean(1)).square(), "distance_is_1_lipschitz"),
    ("safe_sqrt", torch.sqrt, "distance_vanishes_at_a_vertex"),
    ("basin", lambda q, v: (q @ v.mean(1).mT).argmax(-1), "basins_are_voronoi_cells"),
    ("centroid_cosine", lambda q, v: q @ v.mean(1).mT, "centroid_cosine_turns_along"),
    ("centroid", lambda v: v[..., 0, :], "regular_simplex_has_equal_edges"),
    ("simplices", uncentred, "published_simplices_stand_around_zero"),
    ("simplices", one_simplex, "published_simplices_stand_around_zero"),
    ("simplices", published_everywhere, "spread_simplices_stand_apart"),
    ("simplices", one_simplex, "spread_simplices_stand_apart"),
    ("spread_directions", lambda c, d, s=0: F.normalize(torch.randn(c, d), dim=-1), "spread_simplices_stand_apart"),
]
test_a_fault_is_noticed, test_every_law_can_fail = lawful.fail(laws, simplex, FAULTS, 12)


def test_simplices_that_everyone_knows():
    segment, triangle = simplex.regular_simplex(1, edge=2.0), simplex.regular_simplex(2, 3, edge=1.0)
    assert segment.flatten().tolist() == pytest.approx([1.0, -1.0])
    assert triangle[:, 2].eq(0).all() and triangle.shape == (3, 3)
    tetrahedron = simplex.regular_simplex(3, edge=1.0, dtype=torch.float64)
    assert simplex.cayley_menger_volume(tetrahedron).item() == pytest.approx(math.sqrt(2) / 12, rel=1e-12)
    # 12 dimensions, as published: no overflow in 12!^2 and none in the determinant
    assert simplex.cayley_menger_volume(simplex.regular_simplex(12, 40)).item() == pytest.approx(
        math.sqrt(13) / math.factorial(12), rel=1e-5
    )


def test_volumes_in_batches():
    v = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    volumes = simplex.cayley_menger_volume(v)
    assert volumes.shape == (2, 3) and simplex.edges(v).shape == (2, 3, 10)
    assert volumes[1, 2] == simplex.cayley_menger_volume(v[1, 2])


def test_barycentric_weights_tell_inside_from_outside():
    v = simplex.regular_simplex(2)
    inside = simplex.barycentric(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), v)
    assert (inside[0] > 0).all() and (inside[1] < 0).any()


def test_a_flat_simplex_has_no_barycentric_weights():
    line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    with pytest.raises(ValueError, match="v is a flat simplex"):
        simplex.barycentric(torch.zeros(1, 2), line)
    with pytest.raises(ValueError, match="v is a flat simplex"):
        simplex.barycentric(torch.zeros(1, 2), torch.randn(4, 2))


def test_gradient_of_the_root_at_zero():
    x = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    y = simplex.safe_sqrt(x)
    y.sum().backward()
    assert y.tolist() == [0, 0, 2] and x.grad.tolist() == [0, 0, 0.25]


def test_the_gradient_of_distance_points_away_from_the_nearest_vertex():
    d = laws.Draw(5, torch.float64)
    q = d.q.clone().requires_grad_()
    simplex.vertex_distance(q, d.v)[:, 2].sum().backward()
    nearest = d.v[2][torch.cdist(d.q, d.v[2]).argmin(-1)]
    torch.testing.assert_close(q.grad, F.normalize(d.q - nearest, dim=-1))


def test_no_tensor_of_differences_is_made(largest):
    b, c, k, d = 11, 5, 3, 40
    q = F.normalize(torch.randn(b, d), dim=-1).requires_grad_()
    v = simplex.simplices(c, k, d).requires_grad_()
    with largest() as made:
        simplex.vertex_distance(q, v).sum().backward()
    assert made.size <= max(b * c * (k + 1), c * (k + 1) * d)
    with largest() as made:
        (q[:, None, None] - v).norm(dim=-1).amin(-1)
    assert made.size == b * c * (k + 1) * d, "and it would be seen"


# Initialisations.

SIZES = [(5, 1, 1), (5, 1, 4), (4, 3, 3), (9, 3, 4), (40, 12, 13), (40, 2, 64), (30, 12, 384)]


@pytest.mark.parametrize("kind", simplex.KINDS)
@pytest.mark.parametrize(("classes", "k", "dim"), SIZES)
def test_simplices_are_regular_in_any_dimension(classes, k, dim, kind):
    v = simplex.simplices(classes, k, dim, 3, kind)
    assert v.shape == (classes, k + 1, dim) and v.dtype == torch.float32 and v.is_contiguous()
    lengths = simplex.edges(v)
    edge = math.sqrt(2) if kind == "published" else math.sqrt((k + 1) / k)
    # a dozen rounded products; Cholesky adds the condition number of a few Gaussian rows, below 4 squared
    torch.testing.assert_close(lengths, torch.full_like(lengths, edge), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", simplex.KINDS)
@pytest.mark.parametrize(("k", "dim"), [(3, 3), (3, 7), (5, 65)])
def test_a_class_is_the_same_however_many_there_are(kind, k, dim):
    many = simplex.simplices(4 * dim, k, dim, 7, kind)
    for few in (1, 2, dim, 3 * dim):
        # other sizes of a batched product may be summed in another order
        torch.testing.assert_close(simplex.simplices(few, k, dim, 7, kind), many[:few], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", simplex.KINDS)
def test_seeds_and_dimensions_have_streams_of_their_own(kind):
    one, other = simplex.simplices(3, 2, 8, 0, kind), simplex.simplices(3, 2, 8, 1, kind)
    assert (one - other).norm(dim=(1, 2)).min() > 0.1
    wider = simplex.simplices(3, 2, 9, 0, kind)
    assert (one.flatten(1)[:, :8] - wider.flatten(1)[:, :8]).norm(dim=-1).min() > 0.1
    assert torch.equal(one, simplex.simplices(3, 2, 8, 0, kind))


PRINT_HASH = """
import hashlib, torch
from mobius_lib.simplex import simplices
torch.manual_seed(7); torch.randn(3)
for kind in ("spread", "published"):
    print(hashlib.sha256(simplices(20, 4, 50, 5, kind).numpy().tobytes()).hexdigest())
"""


def test_simplices_are_the_same_in_every_process():
    """The published seeds come from hash(str), which PYTHONHASHSEED moves; and the global generator has no part."""
    hashes = [
        hashlib.sha256(simplex.simplices(20, 4, 50, 5, kind).numpy().tobytes()).hexdigest()
        for kind in ("spread", "published")
    ]
    other = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    environment = {"PYTHONHASHSEED": other, "PATH": "", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    found = subprocess.run([sys.executable, "-c", PRINT_HASH], capture_output=True, text=True, env=environment)
    assert found.stdout.split() == hashes, found.stderr


def test_published_is_gaussian_qr_centred():
    """The same by its law: centred orthonormal rows, so V V^T = 1 - 11^T / (k+1); and spread over all directions."""
    v = simplex.simplices(400, 3, 5, 0, "published").double()
    expected = (torch.eye(4) - 0.25).double().expand(400, 4, 4)
    torch.testing.assert_close(v @ v.mT, expected, rtol=0, atol=1e-5)
    # of a uniformly turned plane of 3 in 5 dimensions the mean projector is 3/5; 400 draws, entries spread by 0.5 / 20
    torch.testing.assert_close((v.mT @ v).mean(0), 0.6 * torch.eye(5).double(), rtol=0, atol=0.1)


def test_spread_centroids_beside_published_ones():
    published, spread = (simplex.centroid(simplex.simplices(100, 12, 384, 0, kind)) for kind in simplex.KINDS[::-1])
    assert published.norm(dim=-1).max() < 1e-6
    angles = F.normalize(spread, dim=-1) @ F.normalize(spread, dim=-1).mT
    torch.testing.assert_close(angles, torch.eye(100), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("classes", "k", "dim"), [(4, 1, 3), (6, 3, 4), (16, 12, 384)])
def test_vertices_of_perpendicular_classes_are_sqrt_2_apart_on_average(classes, k, dim):
    """Not pair by pair: in 384 dimensions each pair nearly, in few dimensions none has to."""
    v = simplex.simplices(classes, k, dim).double()
    u = v.mean(1)
    pairs = [(a, b) for a in range(classes) for b in range(a) if abs(u[a] @ u[b]) < 1e-6]
    distances = torch.stack([torch.cdist(v[a], v[b]) for a, b in pairs])
    expected = torch.full((len(pairs),), math.sqrt(2), dtype=torch.float64)
    torch.testing.assert_close(distances.square().mean((1, 2)).sqrt(), expected, rtol=0, atol=1e-5)  # float32
    off = (distances - math.sqrt(2)).abs().max()
    assert off < 6 / math.sqrt(dim) if dim > 100 else off > 0.1  # of thousands of pairs none beyond six deviations


def test_in_the_plane_vertices_of_two_classes_can_coincide():
    v = simplex.simplices(4, 1, 2)
    least = min(torch.cdist(v[a], v[b]).min() for a in range(4) for b in range(a))
    assert least < 1e-3  # cdist takes the root of a rounded 0


def test_spread_vertices_of_a_class_lie_together():
    """Every vertex has its nearest neighbour in its own class."""
    v = simplex.simplices(60, 12, 384)
    flat = v.flatten(0, 1)
    apart = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    assert (apart.argmin(-1) // 13 == torch.arange(len(flat)) // 13).all()
    assert (simplex.basin(F.normalize(simplex.centroid(v), dim=-1), v) == torch.arange(60)).all()


@pytest.mark.parametrize("dim", [2, 8, simplex.LARGEST_TURNED, simplex.LARGEST_TURNED + 1, 200])
def test_directions_beyond_two_bases_are_others(dim):
    u = simplex.spread_directions(7 * dim, dim)
    angles = (u @ u.mT).fill_diagonal_(0)
    assert angles[: 2 * dim, : 2 * dim].max() < 1e-6 < 0.1 < angles.max() < 0.999
    torch.testing.assert_close(u.norm(dim=-1), torch.ones(7 * dim))
    # of random bases: the spread of a cosine between them is that of a random direction's coordinate
    between = angles[:dim, 2 * dim : 3 * dim]
    assert between.square().mean().item() == pytest.approx(1 / dim, rel=1e-3)


def test_the_published_size_at_once():
    v = simplex.simplices(1000, 12, 1280)
    assert v.shape == (1000, 13, 1280)
    # cancellation over 1,280 rounded terms
    torch.testing.assert_close(simplex.edges(v), torch.full((1000, 78), math.sqrt(13 / 12)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": 9, "dim": 8}, "k=9 is larger than dim=8"),
        ({"classes": 0}, "classes must be at least 1, not 0"),
        ({"kind": "random"}, "There is no kind 'random' of simplices; the kinds are spread, published"),
    ],
)
def test_what_is_no_simplex(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        simplex.simplices(**{"classes": 2, "k": 3, "dim": 8} | arguments)


def test_no_regular_simplex_without_room():
    for k, dim in ((0, None), (3, 2)):
        with pytest.raises(ValueError, match=r"^k"):
            simplex.regular_simplex(k, dim)
