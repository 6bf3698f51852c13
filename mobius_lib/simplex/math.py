"""Simplices, their basins, and how well a feature fits a class: pure functions.

Each function is one equation of chapter 3. They import only torch and hold no state. `mobius_lib.simplex.david` binds
them to parameters, and `mobius_lib.simplex.fast.products` computes the two costly ones together.

Shapes: `B` the batch, `C` the classes, `k` the dimension of a simplex (it has k+1 vertices), `D` the dimension of the
space it lies in, `...` any number of leading axes. Lengths have no unit: features lie on the unit sphere.

Source: the GeoFractalDavid card's definitions, unless a docstring says "ours" or names a textbook fact.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = ("spread", "published")
"""Initialisations of class simplices; `simplices` says what each is."""

CENTROID_NORM = math.sqrt(0.5)
"""Of a "spread" simplex whose vertices have norm 1: centroid and circumradius are then equally long."""

SMALLEST_NORM = 1e-12
"""A shorter centroid has no direction, and its cosine is 0 (the bound of `torch.nn.functional.normalize`)."""


LARGEST_TURNED = 64
"""Up to this dimension a random basis is a Gaussian matrix through QR, beyond it a fixed one with random signs."""


def regular_simplex(
    k: int, dim: int | None = None, edge: float = math.sqrt(2), dtype: torch.dtype | None = None
) -> Tensor:
    """The k+1 vertices of a regular k-simplex around the origin, in closed form.

    Coordinate i = 1..k of vertex j = 0..k is 1 / sqrt(i (i+1)) for j < i, -i / sqrt(i (i+1)) for j = i, 0 after it,
    times edge / sqrt(2): the columns of Helmert's matrix H, for which H H^T = 1 and H^T H = 1 - 11^T / (k+1).

    Laws: every edge is `edge`; the centroid is 0; every vertex is `circumradius(k, edge)` from it; only the first k
    coordinates are used.

    Args:
        k: at least 1.
        dim: D >= k; None means k.
        edge: length of the edges.
        dtype: None means torch's default.
    Returns:
        (k+1, D).
    Raises:
        ValueError: when k < 1 or dim < k.
    Source:
        Helmert's matrix, a textbook fact.
    """
    _check_k(k, k if dim is None else dim)
    i = torch.arange(1, k + 1, dtype=torch.float64)
    j = torch.arange(k + 1, dtype=torch.float64).unsqueeze(-1)
    vertices = torch.where(j < i, 1.0, torch.where(j == i, -i, 0.0)) / (i * (i + 1)).sqrt()
    vertices = F.pad(vertices * (edge / math.sqrt(2)), (0, (dim or k) - k))
    return vertices.to(dtype or torch.get_default_dtype())


def circumradius(k: int, edge: float = math.sqrt(2)) -> float:
    """Distance from centroid to vertex in a regular k-simplex: edge sqrt(k / (2 (k+1)))."""
    return edge * math.sqrt(k / (2 * (k + 1)))


def regular_volume(k: int, edge: float = math.sqrt(2)) -> float:
    """Volume of a regular k-simplex: sqrt(k+1) / (k! sqrt(2^k)) edge^k."""
    return math.sqrt(k + 1) / (math.factorial(k) * math.sqrt(2.0**k)) * edge**k


def edges(v: Tensor) -> Tensor:
    """The lengths of all edges of a simplex.

    Args:
        v: (..., k+1, D), its vertices.
    Returns:
        (..., k (k+1) / 2), in the order 01, 02, ..., 12, ...
    """
    first, second = torch.triu_indices(v.shape[-2], v.shape[-2], offset=1, device=v.device)
    return (v[..., first, :] - v[..., second, :]).norm(dim=-1)


def cayley_menger_volume(v: Tensor) -> Tensor:
    """Volume from the edges alone: V^2 = (-1)^(k+1) / (2^k (k!)^2) det [[0, 1^T], [1, |v_i - v_j|^2]].

    Laws: unchanged by any motion; edge^k in the size; 0 where the vertices lie in a (k-1)-plane, up to the square root
    of rounding; equal to `gram_volume`.

    Args:
        v: (..., k+1, D).
    Returns:
        (...), computed in float64 and given in the precision of v: the determinant cancels many digits.
    """
    exact = v.double()
    k = v.shape[-2] - 1
    squares = (exact.unsqueeze(-2) - exact.unsqueeze(-3)).square().sum(-1)
    border = torch.ones(*squares.shape[:-2], 1, k + 1, dtype=torch.float64, device=v.device)
    corner = torch.zeros(*squares.shape[:-2], 1, 1, dtype=torch.float64, device=v.device)
    matrix = torch.cat([torch.cat([corner, border], -1), torch.cat([border.mT, squares], -1)], -2)
    sign, log_size = torch.linalg.slogdet(matrix)
    log_volume = (log_size - k * math.log(2)) / 2 - math.lgamma(k + 1)
    # the other sign is rounding around 0
    return torch.where(sign * (-1) ** (k + 1) > 0, log_volume.exp(), 0.0).to(v.dtype)


def gram_volume(v: Tensor) -> Tensor:
    """Volume from the vectors e_i = v_i - v_0: sqrt(det(E E^T)) / k!. The reference for `cayley_menger_volume`.

    Args:
        v: (..., k+1, D).
    Returns:
        (...).
    """
    e = (v[..., 1:, :] - v[..., :1, :]).double()
    determinant = torch.linalg.det(e @ e.mT).clamp_min(0)
    return (determinant.sqrt() / math.factorial(v.shape[-2] - 1)).to(v.dtype)


def barycentric(p: Tensor, v: Tensor) -> Tensor:
    """The weights w with sum 1 for which sum_j w_j v_j is p, or where p lies outside their plane, its foot there.

    Laws: vertex j has weight 1 at j and 0 elsewhere; the centroid has 1 / (k+1) everywhere; all weights are positive
    exactly inside; affine in p.

    Args:
        p: (B, D), points.
        v: (k+1, D), the vertices of one simplex.
    Returns:
        (B, k+1).
    Raises:
        ValueError: when the vertices lie in a (k-1)-plane, for then the weights are not unique.
    """
    origin = v[:1]
    q, r = torch.linalg.qr((v[1:] - origin).mT)
    diagonal = r.diagonal().abs()
    if v.shape[0] - 1 > v.shape[1] or diagonal.min() <= 8 * v.shape[0] * torch.finfo(v.dtype).eps * diagonal.max():
        raise ValueError(
            "v is a flat simplex: its vertices lie in a plane of lower dimension, so weights are not unique."
        )
    rest = torch.linalg.solve_triangular(r, q.mT @ (p - origin).mT, upper=True).mT
    return torch.cat([1 - rest.sum(-1, keepdim=True), rest], dim=-1)


def unit(x: Tensor) -> Tensor:
    """x / |x|, row by row: features on the unit sphere.

    The row is divided by its largest entry first, so that no square leaves the range of the type.

    Laws: of length 1 (a row of zeros stays zero, and its derivative is finite); unchanged by c x for every c > 0.

    Args:
        x: (..., D).
    Returns:
        (..., D).
    """
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    x = x / torch.where(largest > 0, largest, 1.0)
    # the largest entry is 1 or -1 now, so the bound acts on rows of zeros alone
    return x / x.square().sum(dim=-1, keepdim=True).clamp_min(1).sqrt()


def centroid(v: Tensor) -> Tensor:
    """The mean of the vertices: (..., k+1, D) to (..., D)."""
    return v.mean(dim=-2)


def centroid_cosine(q: Tensor, v: Tensor) -> Tensor:
    """The feature term: the cosine between a feature and the centroid of each class.

    Laws: in [-1, 1] for q on the unit sphere; unchanged when q and v turn together, and when v grows. Where a centroid
    is zero the value is 0 if it is exactly so, and otherwise the direction of a rounding error.

    Args:
        q: (B, D), of norm 1.
        v: (C, k+1, D).
    Returns:
        (B, C).
    """
    return q @ F.normalize(centroid(v), dim=-1, eps=SMALLEST_NORM).mT


def vertex_distance(q: Tensor, v: Tensor) -> Tensor:
    """The crystal term: the distance from a feature to the nearest vertex of each class, by one matrix product.

    min_j |q - v_j| = sqrt(|q|^2 + 2 min_j (|v_j|^2 / 2 - q.v_j)): the square root stands outside the minimum, so the
    largest tensor is B x C (k+1), and D appears in the product alone.

    Laws: not negative; 0 at a vertex; 1-Lipschitz in q; unchanged when q and v move together. The sum cancels, so a
    distance below sqrt(eps) |q| (3e-4 in float32) is rounding. At 0 the gradient is 0, not NaN.

    Args:
        q: (B, D).
        v: (C, k+1, D).
    Returns:
        (B, C).
    """
    return safe_sqrt(q.square().sum(-1, keepdim=True) + 2 * least_product(q, v))


def least_product(q: Tensor, v: Tensor) -> Tensor:
    """min_j (|v_j|^2 / 2 - q.v_j), what of the distance to the nearest vertex depends on the vertex.

    Args:
        q: (B, D).
        v: (C, k+1, D).
    Returns:
        (B, C).
    """
    half_squares = v.square().sum(-1) / 2
    products = (q @ v.flatten(0, 1).mT).unflatten(-1, v.shape[:2])
    return (half_squares - products).amin(dim=-1)


def basin(q: Tensor, v: Tensor) -> Tensor:
    """The class in whose basin a feature lies: the one that owns the nearest vertex.

    A basin is the union of the Voronoi cells of the k+1 vertices of a class, among the vertices of all classes.

    Args:
        q: (B, D).
        v: (C, k+1, D).
    Returns:
        (B,) int64.
    """
    return vertex_distance(q, v).argmin(dim=-1)


def safe_sqrt(x: Tensor) -> Tensor:
    """sqrt(max(x, 0)), whose gradient is 0 where x <= 0: a feature on a vertex has nowhere nearer to go."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def logits(cosine: Tensor, gap: Tensor, distance: Tensor, weights: Tensor) -> Tensor:
    """How well each class fits: w_feature cos(q, centroid) - w_cantor (c - prototype)^2 - w_crystal min_j |q - v_j|.

    Laws: linear in each of the three weights; larger is better; at most w_feature.

    Args:
        cosine, gap, distance: (B, C); the gap is c - prototype.
        weights: (3,), not negative, sum 1: feature, Cantor, crystal.
    Returns:
        (B, C).
    """
    feature, cantor, crystal = weights
    return feature * cosine - cantor * gap.square() - crystal * distance


def simplices(classes: int, k: int, dim: int, seed: int = 0, kind: str = "spread") -> Tensor:
    """One regular k-simplex per class, each in an orientation of its own, all made in one batch.

    "published": edge sqrt(2), and each simplex stands around the origin. The published code takes a Gaussian matrix
    through QR and subtracts the mean of the rows; the distribution here is the same, the draws are not (its seeds come
    from `hash(str)`, which no two processes share). **Degenerate**: all centroids are zero, so the cosine to a centroid
    is the direction of a rounding error, and all classes share one circumsphere around one point.

    "spread" (ours): class c has a direction u_c of its own, and its simplex stands around CENTROID_NORM u_c in a plane
    perpendicular to u_c, so large that every vertex has norm 1, as the features have (in D = k no such plane exists,
    and only the centroid is kept). The directions are an orthonormal basis, then its negatives, then the next random
    basis: with at most 2 D classes no two centroids are less than 90 degrees apart. The norm sqrt(1/2) makes centroid
    and circumradius equal: the vertices of a class are then nearer to each other (edge sqrt((k+1)/k)) than, on average,
    to those of another class at 90 degrees, so its k+1 cells lie together, and still they are k+1 and not one. The
    root mean square over all pairs of vertices of two such classes is sqrt(2) in any dimension, single pairs are off
    by about 1/sqrt(D), and in few dimensions they may coincide (C = 4, k = 1, D = 2 has pairs at distance 0).

    Class c has the same simplex in every process, and however many classes there are (up to rounding).

    Args:
        classes: C.
        k: dimension of a simplex.
        dim: D >= k.
        seed: of the draws; every `dim` has its own stream.
        kind: one of `KINDS`.
    Returns:
        (C, k+1, D) float32.
    Raises:
        ValueError: when a number is out of range, or there is no such kind.
    Source:
        "published": the GeoFractalDavid card's family of models; "spread": ours.
    """
    _check_k(k, dim)
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}.")
    if kind not in KINDS:
        raise ValueError(f"There is no kind {kind!r} of simplices; the kinds are {', '.join(KINDS)}.")
    device = torch.get_default_device()
    if device.type == "meta":
        return torch.empty(classes, k + 1, dim, dtype=torch.float32)
    with torch.device("cpu"):  # the same draws for every device
        return _simplices(classes, k, dim, seed, kind).to(device)


def _simplices(classes: int, k: int, dim: int, seed: int, kind: str) -> Tensor:
    shape = regular_simplex(k, dtype=torch.float32)
    frames = _gaussian(seed, 2 * dim, classes, k if dim == k or kind == "published" else k + 1, dim)
    if kind == "published":
        return _turned(shape.expand(classes, -1, -1), frames)
    shape = shape * (math.sqrt(1 - CENTROID_NORM**2) / circumradius(k))
    directions = spread_directions(classes, dim, seed)
    if dim == k:
        return _turned(shape.expand(classes, -1, -1), frames) + CENTROID_NORM * directions.unsqueeze(1)
    # With u_c as the first row, Gram and Schmidt leave it and make the k others perpendicular to it.
    frames[:, 0] = directions
    shape = torch.cat([torch.full((k + 1, 1), CENTROID_NORM), shape], dim=1)
    return _turned(shape.expand(classes, -1, -1), frames)


def spread_directions(classes: int, dim: int, seed: int = 0) -> Tensor:
    """Unit vectors far from each other: an orthonormal basis, its negatives, then those of the next random basis.

    Basis b is Hartley's matrix with random signs s_b, h_ij = s_bj (cos + sin)(2 pi i j / D) / sqrt(D): orthogonal for
    every D, and made without factoring a matrix of D x D. In few dimensions there are too few signs for all bases to
    differ, and there each is the Q of a Gaussian matrix.

    Laws: with C <= D orthogonal; with C <= 2 D no cosine above 0, and beyond D + 1 classes no arrangement has a smaller
    largest one; direction c does not depend on C.

    Args:
        classes: C >= 1.
        dim: D >= 1.
        seed: of the signs.
    Returns:
        (C, D) float32.
    Source:
        ours; Hartley's matrix is a textbook fact.
    """
    index = torch.arange(classes)
    block, place = index // (2 * dim), index % (2 * dim)
    blocks, row = int(block[-1]) + 1, place % dim
    if dim <= LARGEST_TURNED:
        rows = torch.linalg.qr(_gaussian(seed, 2 * dim + 1, blocks, dim, dim)).Q[block, row]
    else:
        angle = torch.arange(dim, dtype=torch.float64) * (2 * math.pi / dim)
        table = ((angle.cos() + angle.sin()) / math.sqrt(dim)).float()
        signs = torch.where(_gaussian(seed, 2 * dim + 1, blocks, dim) < 0, -1.0, 1.0)
        rows = table[row.unsqueeze(-1) * torch.arange(dim) % dim] * signs[block]
    return rows * torch.where(place < dim, 1.0, -1.0).unsqueeze(-1)


def _turned(shape: Tensor, frames: Tensor) -> Tensor:
    """`shape` in the coordinates of orthonormal frames: (C, n, r) and (C, r, D), any r rows, to (C, n, D).

    Rows that are nearly orthogonal already, as a few Gaussian rows of a large dimension are, are made so by Cholesky's
    factor of their Gram matrix, G = L L^T, F = L^-1 X: two batched products. It loses the square of the condition
    number, so where there are nearly as many rows as columns, Householder's QR does it.
    """
    rows, dim = frames.shape[1:]
    if dim < 8 * rows:
        q, r = torch.linalg.qr(frames.mT)
        upright = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)  # QR may turn the first row round
        return shape @ (q * upright.unsqueeze(-2)).mT
    lower = torch.linalg.cholesky(torch.bmm(frames, frames.mT))
    # shape L^-1 is small: only one product has D in it
    return torch.bmm(torch.linalg.solve_triangular(lower, shape, upper=False, left=False), frames)


def _gaussian(seed: int, stream: int, *shape: int) -> Tensor:
    """Normal numbers, whose beginning does not depend on how many there are."""
    generator = torch.Generator("cpu").manual_seed(seed * 1_000_003 + stream)
    size = math.prod(shape)
    # torch draws in blocks of 16 and begins the last one anew where it is not whole
    return torch.randn(-(-size // 16) * 16, generator=generator)[:size].view(shape)


def _check_k(k: int, dim: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}: a simplex of dimension 0 is a point.")
    if k > dim:
        raise ValueError(f"k={k} is larger than dim={dim}: a k-simplex needs k dimensions. Lower k, or raise dim.")
