"""Twistors and Möbius maps as pure functions.

A twistor is a pair (omega, pi) of complex vectors of n components each; Penrose's has n = 2, a token of chapter 5 has
as many as its model is wide. It is stored as one row of 4n real numbers, [Re omega | Im omega | Re pi | Im pi], so that
half precision, matrix products and compilers need know nothing of complex numbers; `to_complex` and `from_complex` go
between this form and torch.complex64.

Each component pair (omega_k, pi_k) is also a point of the Riemann sphere, z_k = omega_k / pi_k, in homogeneous
coordinates. A Möbius map z -> (az + b)/(cz + d) is then the matrix [[a, b], [c, d]] on that pair: nothing is divided,
and the pole, where pi_k becomes 0, is a point like any other.

Shapes: `...` is any number of leading axes; maps are complex (..., 2, 2) with determinant 1.

Source: Penrose's twistors and the classical theory of Möbius maps; J and the coupling z + cJz are those of the public
code of the MT-HOPE README, the map (az + b)/(cz + d) is the README's. `hold_pairing` and `turn` are ours.
"""

import math

import torch
from torch import Tensor

KINDS = ("identity", "elliptic", "parabolic", "hyperbolic", "loxodromic")
"""Classes of Möbius maps, in the order of `classify`'s numbers."""


# --- twistors --------------------------------------------------------------------------------------------------------


def to_complex(z: Tensor) -> tuple[Tensor, Tensor]:
    """The complex form of a twistor: (..., 4n) real to omega and pi, (..., n) complex each."""
    a, b, c, d = z.chunk(4, dim=-1)
    return torch.complex(a, b), torch.complex(c, d)


def from_complex(omega: Tensor, pi: Tensor) -> Tensor:
    """The real form of a twistor: omega and pi, (..., n) complex, to (..., 4n) real."""
    return torch.cat([omega.real, omega.imag, pi.real, pi.imag], dim=-1)


def conjugate(z: Tensor) -> Tensor:
    """J(omega, pi) = (conj pi, -conj omega), the antilinear map of the quaternions.

    Laws: J J z = -z; J(iz) = -i Jz; |Jz| = |z|; z and Jz are orthogonal as real vectors.

    Args:
        z: (..., 4n).
    Returns:
        (..., 4n).
    """
    a, b, c, d = z.chunk(4, dim=-1)
    return torch.cat([c, -d, -a, b], dim=-1)


def couple(z: Tensor, strength: Tensor | float) -> Tensor:
    """z + c Jz: the flip of chirality, mixed in.

    Laws: |z + c Jz|^2 = (1 + c^2) |z|^2, because z and Jz are orthogonal; undone by couple(., -c) / (1 + c^2).

    Args:
        z: (..., 4n); strength: c, real, a number or what broadcasts with z.
    Returns:
        (..., 4n).
    """
    return z + strength * conjugate(z)


def pairing(z: Tensor) -> tuple[Tensor, Tensor]:
    """omega . pi, the sum of omega_k pi_k: what the MT-HOPE README wants held at a constant modulus.

    Laws: unchanged by (omega, pi) -> (w omega, pi / w) for complex w; its modulus is unchanged by J; at most |z|^2 / 2.

    Args:
        z: (..., 4n).
    Returns:
        real and imaginary part, (...) each.
    """
    a, b, c, d = z.chunk(4, dim=-1)
    return (a * c - b * d).sum(-1), (a * d + b * c).sum(-1)


def hold_pairing(z: Tensor, modulus: float) -> Tensor:
    """The twistor moved along the gradient of |omega . pi| until that is the modulus: to first order the shortest way.

    With s = omega . pi and N = |z|^2, moving by lambda (conj pi, conj omega) with lambda = mu s/|s| takes |s| to
    |s| + mu N + mu^2 |s|. As N >= 2|s|, mu = 2 (modulus - |s|) / (N + sqrt(N^2 + 4 |s| (modulus - |s|))) is real for
    every modulus >= 0, so that one step ends exactly there.

    Laws: |pairing| is the modulus; a twistor that has it already stays; the phase of the pairing stays; applied twice
    is applied once. Only a z of length below 1e-6 or so is left short of it: at z = 0 there is nothing to move along.

    Args:
        z: (..., 4n).
        modulus: not negative.
    Returns:
        (..., 4n).
    """
    size, cos, sin = _polar(*pairing(z))
    norm = z.square().sum(-1)
    gap = modulus - size
    root = (norm.square() + 4 * size * gap).clamp_min(1e-24).sqrt()
    mu = 2 * gap / (norm + root).clamp_min(1e-12)  # a root of size mu^2 + norm mu - gap
    u, v = (mu * cos).unsqueeze(-1), (mu * sin).unsqueeze(-1)
    a, b, c, d = z.chunk(4, dim=-1)
    return torch.cat([a + u * c + v * d, b + v * c - u * d, c + u * a + v * b, d + v * a - u * b], dim=-1)


def _polar(real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Modulus, and cosine and sine of the phase, with finite gradients at 0."""
    tiny = torch.finfo(real.dtype).tiny
    square = real.square() + imag.square()
    flat = square <= tiny  # no phase there: 1 is as good as any
    size = torch.where(flat, torch.zeros_like(square), torch.where(flat, torch.ones_like(square), square).sqrt())
    safe = torch.where(flat, torch.ones_like(size), size)
    cos, sin = (
        torch.where(flat, torch.ones_like(real), real / safe),
        torch.where(flat, torch.zeros_like(imag), imag / safe),
    )
    return size, cos, sin


def hermitian(z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """<z, w> = conj(omega_z) . pi_w + conj(pi_z) . omega_w: 0 where two null twistors, as light rays, meet.

    Laws: <w, z> = conj <z, w>; <z, z> is real, twice the helicity; <z, w> = 0 if both are incident with one real point;
    <Jz, Jw> = -<w, z>.

    Args:
        z, w: (..., 4n), broadcasting.
    Returns:
        real and imaginary part, (...) each.
    """
    (a, b, c, d), (e, f, g, h) = z.chunk(4, dim=-1), w.chunk(4, dim=-1)
    return (a * g + b * h + c * e + d * f).sum(-1), (a * h - b * g + c * f - d * e).sum(-1)


def point_matrix(point: Tensor) -> Tensor:
    """A point (t, x, y, z) of space-time as the Hermitian matrix [[t+z, x+iy], [x-iy, t-z]] / sqrt 2.

    Laws: Hermitian; its determinant is (t^2 - x^2 - y^2 - z^2) / 2.

    Args:
        point: (..., 4) real.
    Returns:
        (..., 2, 2) complex.
    """
    t, x, y, z = point.unbind(-1)
    zero = torch.zeros_like(t)
    rows = [torch.complex(t + z, zero), torch.complex(x, y), torch.complex(x, -y), torch.complex(t - z, zero)]
    return torch.stack(rows, dim=-1).unflatten(-1, (2, 2)) / math.sqrt(2)


def incident(point: Tensor, pi: Tensor) -> Tensor:
    """The incidence relation omega = i X pi: the twistor of the ray through a point in the direction of pi.

    Laws: null, <z, z> = 0; any two rays through the same point have <z, w> = 0; scaling pi scales the twistor.

    Args:
        point: (..., 4) real; pi: (..., 2) complex.
    Returns:
        (..., 8) real: the twistor (omega, pi) with n = 2.
    """
    omega = 1j * (point_matrix(point) @ pi.unsqueeze(-1)).squeeze(-1)
    return from_complex(omega, pi)


# --- Möbius maps ----------------------------------------------------------------------------------------------------


def special_linear(generator: Tensor) -> Tensor:
    """exp [[x, y], [w, -x]]: a Möbius map with ad - bc = 1, whatever the three numbers are.

    It is cosh(q) + sinh(q)/q [[x, y], [w, -x]] with q^2 = x^2 + yw; both are even in q, so entire in q^2, and no root's
    branch matters.

    Laws: determinant 1; generator 0 is the identity; the negative generator is the inverse; trace 2 cosh(q).

    Args:
        generator: (..., 3) complex, x, y, w.
    Returns:
        (..., 2, 2) complex.
    """
    x, y, w = generator.unbind(-1)
    cosh, ratio = _cosh_and_ratio(x * x + y * w)
    entries = [cosh + ratio * x, ratio * y, ratio * w, cosh - ratio * x]
    return torch.stack(entries, dim=-1).unflatten(-1, (2, 2))


def _cosh_and_ratio(square: Tensor) -> tuple[Tensor, Tensor]:
    """cosh(q) and sinh(q)/q of q^2; near 0 by their series, where the root has no gradient."""
    near = square.abs() < 0.1
    inner = torch.where(near, square, torch.zeros_like(square))
    outer = torch.where(near, torch.ones_like(square), square).sqrt()
    # five terms: the next, q^10 / 10!, is below 3e-12 where |q^2| < 0.1; six for double precision
    cosh, ratio = torch.ones_like(square), torch.ones_like(square)
    term_c, term_r = torch.ones_like(square), torch.ones_like(square)
    for k in range(1, 8):
        term_c = term_c * inner / ((2 * k - 1) * (2 * k))
        term_r = term_r * inner / ((2 * k) * (2 * k + 1))
        cosh, ratio = cosh + term_c, ratio + term_r
    return torch.where(near, cosh, torch.cosh(outer)), torch.where(near, ratio, torch.sinh(outer) / outer)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map z -> outer(inner(z)): the product of the matrices.

    Args:
        outer, inner: (..., 2, 2) complex.
    Returns:
        (..., 2, 2).
    """
    return outer @ inner


def inverse(m: Tensor) -> Tensor:
    """[[d, -b], [-c, a]], which is the inverse where ad - bc = 1: (..., 2, 2) to (..., 2, 2)."""
    a, b, c, d = m.flatten(-2).unbind(-1)
    return torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2))


def move(m: Tensor, point: Tensor) -> Tensor:
    """The map on a point in homogeneous coordinates (omega, pi), z = omega / pi; defined everywhere, infinity included.

    Laws: move(AB, p) = move(A, move(B, p)); never (0, 0) unless the point is; move(inverse(m), .) undoes it.

    Args:
        m: (..., 2, 2) complex; point: (..., 2) complex.
    Returns:
        (..., 2) complex.
    """
    return (m @ point.unsqueeze(-1)).squeeze(-1)


def homogeneous(z: Tensor) -> Tensor:
    """A number as a point: (z, 1), and (1, 0) for infinity. (...) complex to (..., 2)."""
    infinite = torch.isinf(z.real) | torch.isinf(z.imag)
    omega = torch.where(infinite, torch.ones_like(z), z)
    return torch.stack([omega, (~infinite).to(z.dtype)], dim=-1)


def affine(point: Tensor) -> Tensor:
    """A point as a number: omega / pi, and infinity where pi = 0. (..., 2) complex to (...)."""
    omega, pi = point.unbind(-1)
    pole = pi == 0
    z = omega / torch.where(pole, torch.ones_like(pi), pi)
    return torch.where(pole, torch.full_like(z, complex(math.inf, 0)), z)


def mobius(m: Tensor, z: Tensor) -> Tensor:
    """(az + b) / (cz + d), for numbers; `move` does it for points, with no pole.

    Laws: as of `move`; keeps cross-ratios, and so takes circles and lines to circles and lines.

    Args:
        m: (..., 2, 2) complex; z: (...) complex, finite.
    Returns:
        (...) complex.
    Raises:
        ValueError: where z is exactly the pole -d/c.
    """
    top, bottom = m[..., 0, 0] * z + m[..., 0, 1], m[..., 1, 0] * z + m[..., 1, 1]
    if (bottom == 0).any():
        where = (bottom == 0).nonzero()[0].tolist()
        raise ValueError(
            f"z holds the pole of the map m exactly, where cz + d = 0 (first at index {where}); its image is infinity. "
            "Use move(m, homogeneous(z)), which has no pole."
        )
    return top / bottom


def fixed_points(m: Tensor) -> Tensor:
    """The two points that a map leaves where they are, in homogeneous coordinates: the eigenvectors of its matrix.

    The first belongs to the eigenvalue of larger modulus, so that it is the one to which orbits flow. A parabolic map
    gives its one fixed point twice, the identity (0, 0), for all are fixed.

    Laws: move(m, p) = lambda p.

    Args:
        m: (..., 2, 2) complex.
    Returns:
        (..., 2 points, 2) complex, each of norm 1.
    """
    a, b, c, d = m.flatten(-2).unbind(-1)
    points = []
    for value in eigenvalues(m).unbind(-1):
        # two rows of m - lambda give the same direction; the larger one is the accurate one
        one, other = torch.stack([b, value - a], dim=-1), torch.stack([value - d, c], dim=-1)
        larger = one.abs().square().sum(-1, keepdim=True) >= other.abs().square().sum(-1, keepdim=True)
        vector = torch.where(larger, one, other)
        size = vector.abs().square().sum(-1, keepdim=True).sqrt()
        points.append(vector / torch.where(size == 0, torch.ones_like(size), size))
    return torch.stack(points, dim=-2)


def eigenvalues(m: Tensor) -> Tensor:
    """lambda and 1 / lambda, |lambda| >= 1: (..., 2, 2) complex to (..., 2).

    The larger is t + sqrt(t^2 - 1), t = trace / 2, with the sign of the root that avoids cancellation.
    """
    half = (m[..., 0, 0] + m[..., 1, 1]) / 2
    # (a - d)^2/4 + bc is t^2 - 1 where ad - bc = 1, and does not cancel near the identity
    root = (((m[..., 0, 0] - m[..., 1, 1]) / 2).square() + m[..., 0, 1] * m[..., 1, 0]).sqrt()
    root = torch.where((half.conj() * root).real < 0, -root, root)
    large = half + root
    return torch.stack([large, 1 / large], dim=-1)


def multiplier(m: Tensor) -> Tensor:
    """How a map stretches and turns around its second fixed point: lambda^2, of modulus 1 or more. (...) complex.

    Laws: of modulus 1 where elliptic, real above 1 where hyperbolic; unchanged by conjugation m -> g m g^-1.
    """
    return eigenvalues(m)[..., 0].square()


def classify(m: Tensor, tolerance: float = 1e-5) -> Tensor:
    """The class of a map by its trace: tr^2 in [0, 4) elliptic, 4 parabolic, above 4 hyperbolic, else loxodromic.

    Laws: unchanged by conjugation and by m -> -m; an elliptic map turns around two points, a parabolic one has one
    fixed point, a hyperbolic one flows from one to the other, a loxodromic one spirals.

    Args:
        m: (..., 2, 2) complex.
        tolerance: what counts as equal, in tr^2 and in the entries of the identity.
    Returns:
        (...) int64, an index of `KINDS`.
    """
    square = (m[..., 0, 0] + m[..., 1, 1]).square()
    real = square.imag.abs() <= tolerance
    kind = torch.full(square.shape, KINDS.index("loxodromic"), dtype=torch.int64, device=m.device)
    kind[real & (square.real > 4 + tolerance)] = KINDS.index("hyperbolic")
    kind[real & (square.real < 4 - tolerance) & (square.real >= -tolerance)] = KINDS.index("elliptic")
    kind[real & ((square.real - 4).abs() <= tolerance)] = KINDS.index("parabolic")
    one = torch.eye(2, dtype=m.dtype, device=m.device)
    same = torch.minimum((m - one).abs().amax((-2, -1)), (m + one).abs().amax((-2, -1))) <= tolerance
    kind[same] = KINDS.index("identity")
    return kind


def cross_ratio(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> Tensor:
    """(p, q; r, s) = [pr][qs] / [ps][qr], [uv] the determinant of two points: for numbers (p-r)(q-s) / (p-s)(q-r).

    Laws: kept by every Möbius map; real exactly where the four lie on one circle or line; 1 - (p,q;r,s) = (p,r;q,s).

    Args:
        p, q, r, s: (..., 2) complex, homogeneous.
    Returns:
        (...) complex.
    Raises:
        ValueError: where p = s or q = r, so that it is infinite.
    """

    def det(u: Tensor, v: Tensor) -> Tensor:
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    bottom = det(p, s) * det(q, r)
    if (bottom == 0).any():
        raise ValueError("The cross-ratio is infinite where p = s or q = r; give points with p != s and q != r.")
    return det(p, r) * det(q, s) / bottom


def sphere(point: Tensor) -> Tensor:
    """A point as it lies on the unit sphere: 0 is the south pole, infinity the north, |z| = 1 the equator.

    Args:
        point: (..., 2) complex, homogeneous, not (0, 0).
    Returns:
        (..., 3) real, of norm 1.
    """
    omega, pi = point.unbind(-1)
    cross = 2 * omega * pi.conj()
    up, down = omega.abs().square(), pi.abs().square()
    return torch.stack([cross.real, cross.imag, up - down], dim=-1) / (up + down).unsqueeze(-1)


# --- Möbius maps on twistors ----------------------------------------------------------------------------------------


def real_form(m: Tensor) -> Tensor:
    """A complex 2 x 2 matrix as the real 4 x 4 matrix that does the same to [Re omega, Im omega, Re pi, Im pi].

    Laws: of a product the product; of the identity the identity.

    Args:
        m: (..., 2, 2) complex.
    Returns:
        (..., 4, 4) real.
    """
    p, q = m.real, m.imag
    rows = torch.stack([torch.stack([p, -q], dim=-1), torch.stack([q, p], dim=-1)], dim=-2)  # (..., 2, 2, 2, 2)
    return rows.transpose(-2, -3).reshape(*m.shape[:-2], 4, 4)


def conjugation_matrix(like: Tensor) -> Tensor:
    """J on one component pair as a real 4 x 4 matrix, in the type and place of another tensor."""
    rows = [[0, 0, 1, 0], [0, 0, 0, -1], [-1, 0, 0, 0], [0, 1, 0, 0]]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def cycle_matrix(generators: Tensor, couplings: Tensor) -> Tensor:
    """Some cycles in a row, each a Möbius map and then (z + c Jz) / sqrt(1 + c^2), as one real matrix per pair.

    Without J between them, cycles of Möbius maps would be one Möbius map, for composition is the matrix product.

    Laws: equal to doing the cycles one by one; determinant 1.

    Args:
        generators: (..., cycles, n, 6) real, the real parts x, y, w and then the imaginary parts, for `special_linear`.
        couplings: (..., cycles), c of each.
    Returns:
        (..., 4, 4, n) real: entry [i, j, k] takes part j of pair k to part i.
    """
    maps = real_form(special_linear(torch.complex(generators[..., :3], generators[..., 3:])))
    one = torch.eye(4, dtype=generators.dtype, device=generators.device)
    c = couplings[..., None, None]
    mixes = (one + c * conjugation_matrix(generators)) / (1 + c**2).sqrt()
    total, *steps = (mixes.unsqueeze(-3) @ maps).unbind(-4)
    for step in steps:
        total = step @ total
    return total.movedim(-3, -1)


def turn(z: Tensor, matrix: Tensor, eps: float = 1e-12) -> Tensor:
    """Each component pair by its matrix, then scaled back to the length that it had.

    What moves is the point omega_k / pi_k of the sphere; the length |(omega_k, pi_k)|, which the point does not depend
    on, stays, so that no map can make a state grow or vanish.

    Laws: keeps the length of every pair; for a Möbius matrix, omega_k / pi_k moves by (az + b)/(cz + d); real scaling
    of z scales the result.

    Args:
        z: (..., 4n).
        matrix: (4, 4, n), or (..., 4, 4, n), invertible.
        eps: added to squared lengths before the root, for the gradient at 0.
    Returns:
        (..., 4n).
    """
    parts = z.unflatten(-1, (4, -1))
    turned = (matrix * parts.unsqueeze(-3)).sum(-2)
    before, after = parts.square().sum(-2, keepdim=True) + eps, turned.square().sum(-2, keepdim=True) + eps
    return (turned * (before / after).sqrt()).flatten(-2)


def shear(z: Tensor, controls: Tensor, eps: float = 1e-12) -> Tensor:
    """Each component pair by [[1, d], [0, 1]] [[1, 0], [c, 1]] [[1, b], [0, 1]], then scaled back to its length.

    Laws: as of `turn`; the map has determinant 1 whatever b, c and d are.

    Args:
        z: (..., 4n).
        controls: (..., 6, n), the real and imaginary parts of b, c and d by turns.
        eps: as in `turn`.
    Returns:
        (..., 4n).
    """
    (p, q), (r, s), (u, v) = (part.unbind(-2) for part in controls.split(2, dim=-2))
    a, b, c, d = z.chunk(4, dim=-1)
    before = a * a + b * b + c * c + d * d
    a, b = a + p * c - q * d, b + p * d + q * c  # omega + b pi
    c, d = c + r * a - s * b, d + r * b + s * a  # pi + c omega
    a, b = a + u * c - v * d, b + u * d + v * c  # omega + d pi
    stretch = ((before + eps) / (a * a + b * b + c * c + d * d + eps)).sqrt()
    return torch.cat([a * stretch, b * stretch, c * stretch, d * stretch], dim=-1)
