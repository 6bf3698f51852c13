"""What must be true of the functions in `math.py`, as laws (see `mobius_lib.lawful`).

Source: the laws are stated in the docstrings of `math.py`; the checks are ours.
"""

import math

import torch
from torch import Tensor

from mobius_lib.lawful import close, laws_in
from mobius_lib.simplex import math as simplex


class Draw:
    """Sizes, points and simplices of one seed: k from 1 up, in just k dimensions or in more."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        self.seed, self.k = seed, 1 + seed
        self.dim = self.k + (0, 1, 5)[seed % 3]
        self.edge = 0.5 + torch.rand((), generator=generator).item()
        self.regular = simplex.regular_simplex(self.k, self.dim, self.edge, dtype)
        self.v = 0.5 * normal(6, self.k + 1, self.dim)  # of any shape
        self.q = torch.nn.functional.normalize(normal(40, self.dim), dim=-1)
        self.turn = torch.linalg.qr(normal(self.dim, self.dim)).Q
        self.shift = normal(self.dim)
        self.weights = torch.softmax(normal(9, self.k + 1), dim=-1)


def rounding(dtype: torch.dtype, units: float = 64) -> float:
    """So many rounding units: 64 covers sums of a few dozen terms of size 1."""
    return units * torch.finfo(dtype).eps


def regular_simplex_has_equal_edges(seed: int, dtype: torch.dtype) -> None:
    """All k (k+1) / 2 of them are the edge that was asked for; the vertices stand at the circumradius around 0."""
    d = Draw(seed, dtype)
    assert d.regular.shape == (d.k + 1, d.dim)
    found = simplex.edges(d.regular)
    assert found.shape == (d.k * (d.k + 1) // 2,)
    close(found, d.edge, rounding(dtype))
    close(d.regular.norm(dim=-1), simplex.circumradius(d.k, d.edge), rounding(dtype))
    close(simplex.centroid(d.regular), 0.0, rounding(dtype))


def volume_has_its_closed_form(seed: int, dtype: torch.dtype) -> None:
    """Regular: sqrt(k+1) / (k! sqrt(2^k)) edge^k. A segment of length 1; an equilateral triangle, sqrt(3) / 4."""
    d = Draw(seed, dtype)
    # edges to a power of k each lose a rounding, and the determinant multiplies them by its condition, about k
    tolerance = rounding(dtype) * (d.k + 1) ** 2
    expected = simplex.regular_volume(d.k, d.edge)
    close(simplex.cayley_menger_volume(d.regular) / expected, 1.0, tolerance)
    close(simplex.cayley_menger_volume(simplex.regular_simplex(1, dtype=dtype, edge=1)), 1.0, rounding(dtype))
    close(
        simplex.cayley_menger_volume(simplex.regular_simplex(2, dtype=dtype, edge=1)), math.sqrt(3) / 4, rounding(dtype)
    )


def volume_follows_from_the_edges(seed: int, dtype: torch.dtype) -> None:
    """Edges alone give the volume that the vectors give; motion leaves it, and size counts to the power k."""
    d = Draw(seed, dtype)
    volume = simplex.cayley_menger_volume(d.v)
    reference = simplex.gram_volume(d.v)
    largest = simplex.edges(d.v).amax(-1) ** d.k / math.factorial(d.k)  # no simplex of these edges is larger
    # a flat one has its digits lost in the square root: sqrt of float64's rounding of the determinant
    tolerance = rounding(dtype) * (d.k + 1) ** 2 + 1e-6
    close((volume - reference) / largest, 0.0, tolerance)
    close((simplex.cayley_menger_volume(d.v @ d.turn + d.shift) - volume) / largest, 0.0, tolerance)
    close((simplex.cayley_menger_volume(1.5 * d.v) - volume * 1.5**d.k) / largest / 1.5**d.k, 0.0, tolerance)


def flat_simplex_has_no_volume(seed: int, dtype: torch.dtype) -> None:
    """A vertex in the plane of the others: 0, up to the square root of rounding, and never NaN."""
    d = Draw(seed, dtype)
    flat = d.v.clone()
    flat[:, -1] = flat[:, :-1].mean(dim=1)
    largest = simplex.edges(d.v).amax(-1) ** d.k / math.factorial(d.k)
    # coordinates are rounded in dtype, which lifts the vertex out of the plane by as much
    close(simplex.cayley_menger_volume(flat) / largest, 0.0, 1e-6 + rounding(dtype))


def barycentric_weights_find_the_point(seed: int, dtype: torch.dtype) -> None:
    """Vertex j has weight 1 at j; any mixture gives its weights back; they sum to 1."""
    d = Draw(seed, dtype)
    # the edges' matrix of a regular simplex has condition sqrt(k+1)
    tolerance = rounding(dtype) * (d.k + 1)
    close(simplex.barycentric(d.regular, d.regular), torch.eye(d.k + 1, dtype=dtype), tolerance)
    close(simplex.barycentric(simplex.centroid(d.regular)[None], d.regular), 1 / (d.k + 1), tolerance)
    moved = d.regular @ d.turn + d.shift
    found = simplex.barycentric(d.weights @ moved, moved)
    close(found, d.weights, tolerance * (1 + d.shift.norm().item()))
    close(found.sum(-1), 1.0, tolerance)


def barycentric_weights_of_a_point_outside_are_its_foot(seed: int, dtype: torch.dtype) -> None:
    """What is left of p after its foot is taken away is perpendicular to every edge."""
    d = Draw(seed, dtype)
    rest = d.q - simplex.barycentric(d.q, d.regular) @ d.regular
    close(rest @ (d.regular[1:] - d.regular[:1]).mT, 0.0, rounding(dtype) * (d.k + 1))


def nearest_vertex_is_the_nearest(seed: int, dtype: torch.dtype) -> None:
    """The one product gives the least of all distances, taken one by one."""
    d = Draw(seed, dtype)
    found = simplex.vertex_distance(d.q, d.v)
    assert found.shape == (40, 6)
    one_by_one = torch.stack([torch.stack([(q - v).norm(dim=-1).min() for v in d.v]) for q in d.q])
    # distance^2 is a sum of numbers of size |q|^2 + |v|^2
    size = 1 + d.v.square().sum(-1).max().item()
    close(found.square(), one_by_one.square(), rounding(dtype) * size)


def distance_vanishes_at_a_vertex(seed: int, dtype: torch.dtype) -> None:
    """It is 0 there up to the square root of rounding, its gradient is a number, and it is nowhere negative."""
    d = Draw(seed, dtype)
    q = d.v[:, 0].clone().requires_grad_()
    own = simplex.vertex_distance(q, d.v).diagonal()
    size = 1 + d.v.square().sum(-1).max().item()
    close(own.detach(), 0.0, math.sqrt(rounding(dtype) * size))
    own.sum().backward()
    assert q.grad is not None and torch.isfinite(q.grad).all()
    assert (simplex.vertex_distance(d.q, d.v) >= 0).all()


def distance_is_1_lipschitz(seed: int, dtype: torch.dtype) -> None:
    """Whoever walks a step gets nearer to a vertex by a step at most; and straight towards it, by just that."""
    d = Draw(seed, dtype)
    before, after = simplex.vertex_distance(d.q[:20], d.v), simplex.vertex_distance(d.q[20:], d.v)
    step = (d.q[:20] - d.q[20:]).norm(dim=-1, keepdim=True)
    size = math.sqrt(rounding(dtype) * (1 + d.v.square().sum(-1).max().item()))
    assert ((before - after).abs() <= step + size).all()
    gradient = torch.func.jacrev(lambda q: simplex.vertex_distance(q[None], d.v)[0])(d.q[0])
    close(gradient.norm(dim=-1), 1.0, rounding(dtype) * 1000)  # divided by distances down to about 1/10


def basins_are_voronoi_cells(seed: int, dtype: torch.dtype) -> None:
    """A feature beside a vertex lies in that class's basin, and the whole picture turns and moves as one."""
    d = Draw(seed, dtype)
    first, second = d.v.flatten(0, 1)[:, None], d.v.flatten(0, 1)[None]
    apart = (first - second).norm(dim=-1)
    nearest = apart.masked_fill(torch.eye(len(apart), dtype=torch.bool), torch.inf).amin(-1)
    # a step of less than half the way to the next vertex
    beside = d.v.flatten(0, 1) + 0.4 * nearest[:, None] * d.q[: len(nearest)].repeat(len(nearest), 1)[: len(nearest)]
    owner = torch.arange(len(d.v)).repeat_interleave(d.k + 1)
    assert (simplex.basin(beside, d.v) == owner).all()
    assert (simplex.basin(d.q @ d.turn + d.shift, d.v @ d.turn + d.shift) == simplex.basin(d.q, d.v)).all()


def centroid_cosine_turns_along(seed: int, dtype: torch.dtype) -> None:
    """In [-1, 1]; the same when q and v turn together or v grows; 1 in the centroid's direction."""
    d = Draw(seed, dtype)
    found = simplex.centroid_cosine(d.q, d.v)
    assert (found.abs() <= 1 + rounding(dtype)).all()
    # a centroid may be short, and its rounding is divided by its length
    tolerance = rounding(dtype) / simplex.centroid(d.v).norm(dim=-1).min().clamp(max=1).item()
    close(simplex.centroid_cosine(d.q @ d.turn, d.v @ d.turn), found, tolerance)
    close(simplex.centroid_cosine(d.q, 3 * d.v), found, tolerance)
    towards = torch.nn.functional.normalize(simplex.centroid(d.v), dim=-1)
    close(simplex.centroid_cosine(towards, d.v).diagonal(), 1.0, tolerance)


def published_simplices_stand_around_zero(seed: int, dtype: torch.dtype) -> None:
    """Regular with edge sqrt(2), no two alike; and every centroid is zero: its direction is a rounding error."""
    d = Draw(seed, dtype)
    v = simplex.simplices(7, d.k, d.dim + 3, seed, "published")
    close(simplex.edges(v), math.sqrt(2), rounding(torch.float32))
    close(simplex.centroid(v), 0.0, rounding(torch.float32))
    assert (v[1:] - v[:1]).norm(dim=(1, 2)).min() > 1e-2


def spread_simplices_stand_apart(seed: int, dtype: torch.dtype) -> None:
    """Regular; centroids of norm sqrt(1/2), 90 degrees apart or more; vertices of norm 1 where there is room."""
    d = Draw(seed, dtype)
    dim = d.dim + seed % 2
    v = simplex.simplices(2 * dim, d.k, dim, seed, "spread")
    radius = math.sqrt(1 - simplex.CENTROID_NORM**2)
    close(simplex.edges(v), radius * math.sqrt(2 * (d.k + 1) / d.k), rounding(torch.float32))
    centroids = simplex.centroid(v)
    close(centroids.norm(dim=-1), simplex.CENTROID_NORM, rounding(torch.float32))
    products = centroids @ centroids.mT
    assert products.fill_diagonal_(0).max() <= rounding(torch.float32)
    if dim > d.k:
        close(v.norm(dim=-1), 1.0, rounding(torch.float32))


LAWS = laws_in(globals())
