"""What must be true of the functions in `math.py`, as laws (see `mobius_lib.lawful`), and of modules.

`causal`, `moved`, `streams`, `alone`, `images_apart` and `in_parts` are laws of every module that says it is causal or
can stream.

Source: the laws are stated in the docstrings of `math.py`; the checks are ours.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mobius_lib.lawful import close, laws_in
from mobius_lib.twistor import math as twistor

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class Draw:
    """Random twistors, points and maps."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        self.normal = normal
        self.z, self.w = normal(40, 24), normal(40, 24)
        self.strength = normal()
        self.rays, self.point = torch.complex(normal(40, 2), normal(40, 2)), 3 * normal(4)
        self.generators = torch.complex(normal(40, 3), normal(40, 3))
        self.m, self.g = (twistor.special_linear(torch.complex(normal(40, 3), normal(40, 3))) for _ in range(2))
        self.points = torch.complex(normal(4, 40, 2), normal(4, 40, 2))
        self.numbers = torch.complex(normal(40), normal(40))

    @property
    def size(self) -> float:
        """The largest entry of the maps: what rounding is multiplied by when they are."""
        return max(1.0, self.m.abs().max().item(), self.g.abs().max().item())


def rounding(dtype: torch.dtype, size: float = 1.0, units: float = 256) -> float:
    """So many rounding units of numbers of a size: 256 covers sums over 24 components and products of a few maps."""
    return units * size * torch.finfo(dtype).eps


def real_form_is_the_complex_form(seed: int, dtype: torch.dtype) -> None:
    """J, coupling, pairing and <z, w> are what torch's complex numbers give."""
    d = Draw(seed, dtype)
    (omega, pi), (other_omega, other_pi) = twistor.to_complex(d.z), twistor.to_complex(d.w)
    close(twistor.from_complex(omega, pi), d.z)
    close(twistor.conjugate(d.z), twistor.from_complex(pi.conj().resolve_conj(), -omega.conj().resolve_conj()))
    coupled = twistor.from_complex(omega + d.strength * pi.conj(), pi - d.strength * omega.conj())
    close(twistor.couple(d.z, d.strength), coupled, rounding(dtype, 10))
    close(torch.complex(*twistor.pairing(d.z)), (omega * pi).sum(-1), rounding(dtype, 10))
    product = (omega.conj() * other_pi + pi.conj() * other_omega).sum(-1)
    close(torch.complex(*twistor.hermitian(d.z, d.w)), product, rounding(dtype, 10))


def conjugation_is_a_quaternion_unit(seed: int, dtype: torch.dtype) -> None:
    """J J = -1, J i = -i J, |Jz| = |z|."""
    d = Draw(seed, dtype)
    close(twistor.conjugate(twistor.conjugate(d.z)), -d.z)
    omega, pi = twistor.to_complex(d.z)
    times_i = twistor.from_complex(1j * omega, 1j * pi)
    after = twistor.to_complex(twistor.conjugate(d.z))
    close(twistor.conjugate(times_i), twistor.from_complex(-1j * after[0], -1j * after[1]), rounding(dtype))
    close(twistor.conjugate(d.z).square().sum(-1), d.z.square().sum(-1), rounding(dtype, 50))


def coupling_stretches_by_a_known_factor(seed: int, dtype: torch.dtype) -> None:
    """|z + c Jz|^2 = (1 + c^2) |z|^2, and coupling with -c takes it back."""
    d = Draw(seed, dtype)
    factor = 1 + d.strength**2
    squares = twistor.couple(d.z, d.strength).square().sum(-1)
    close(squares / d.z.square().sum(-1), factor.expand(40), rounding(dtype, factor.item()))
    back = twistor.couple(twistor.couple(d.z, d.strength), -d.strength) / factor
    close(back, d.z, rounding(dtype, 5))


def pairing_is_invariant(seed: int, dtype: torch.dtype) -> None:
    """Scaling omega by w and pi by 1/w leaves it; J leaves its modulus; it is at most |z|^2 / 2."""
    d = Draw(seed, dtype)
    omega, pi = twistor.to_complex(d.z)
    w = d.numbers.unsqueeze(-1)
    scaled = twistor.pairing(twistor.from_complex(omega * w, pi / w))
    close(torch.complex(*scaled), torch.complex(*twistor.pairing(d.z)), rounding(dtype, 30))
    modulus = torch.hypot(*twistor.pairing(d.z))
    close(torch.hypot(*twistor.pairing(twistor.conjugate(d.z))), modulus, rounding(dtype, 10))
    assert (modulus <= d.z.square().sum(-1) / 2 + rounding(dtype, 30)).all()


def constraint_is_met(seed: int, dtype: torch.dtype) -> None:
    """hold_pairing gives the modulus exactly, keeps the phase, moves nothing twice, and not what has it already."""
    d = Draw(seed, dtype)
    for modulus in (0.0, 0.3, 4.0, 60.0):
        held = twistor.hold_pairing(d.z, modulus)
        close(
            torch.hypot(*twistor.pairing(held)), torch.full((40,), modulus, dtype=dtype), rounding(dtype, 1 + modulus)
        )
        if modulus:
            # rounding of a phase is that of the parts, 24 of size 1, over the modulus
            turned = torch.complex(*twistor.pairing(held)) * torch.complex(*twistor.pairing(d.z)).conj()
            close(turned.imag / turned.abs(), torch.zeros(40, dtype=dtype), rounding(dtype, 100))
        again = twistor.hold_pairing(held, modulus)
        # near modulus 0 the phase is lost, but the way is as short
        close(again, held, rounding(dtype, 10))
    zero = torch.zeros(2, 8, dtype=dtype)
    close(twistor.hold_pairing(zero, 1.0), zero)


def constraint_moves_along_the_gradient(seed: int, dtype: torch.dtype) -> None:
    """The move is along the gradient of |pairing|, which is to first order the shortest way there."""
    d = Draw(seed, dtype)
    with torch.enable_grad():
        z = d.z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.hypot(*twistor.pairing(z)).sum(), z)
    move = twistor.hold_pairing(d.z, 2.0) - d.z
    along = (move * gradient).sum(-1, keepdim=True) / gradient.square().sum(-1, keepdim=True)
    close(move, along * gradient, rounding(dtype, 10))


def rays_through_a_point_meet(seed: int, dtype: torch.dtype) -> None:
    """omega = i X pi: null twistors, of which any two have <z, w> = 0; another point's have not."""
    d = Draw(seed, dtype)
    rays = twistor.incident(d.point.expand(40, 4), d.rays)
    real, imag = twistor.hermitian(rays.unsqueeze(0), rays.unsqueeze(1))
    size = rays.square().sum(-1).max().item()
    close(torch.hypot(real, imag), torch.zeros(40, 40, dtype=dtype), rounding(dtype, size))
    away = twistor.incident((d.point + 1).expand(40, 4), d.rays)
    assert torch.hypot(*twistor.hermitian(rays, away.roll(1, 0))).median() > 0.01
    matrix = twistor.point_matrix(d.point)
    t, x, y, z = d.point
    close(matrix.mH, matrix)
    close(torch.linalg.det(matrix).real, (t * t - x * x - y * y - z * z) / 2, rounding(dtype, 100))


def determinant_is_one(seed: int, dtype: torch.dtype) -> None:
    """Whatever the generator; 0 gives the identity and the negative the inverse; equal to torch's matrix_exp."""
    d = Draw(seed, dtype)
    for scale in (0.0, 1e-3, 0.1, 1.0):
        g = scale * d.generators
        m = twistor.special_linear(g)
        size = m.abs().max().item() ** 2
        close(m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0], torch.ones(40, dtype=m.dtype), rounding(dtype, size))
        x, y, w = g.unbind(-1)
        flow = torch.matrix_exp(torch.stack([x, y, w, -x], dim=-1).unflatten(-1, (2, 2)))
        close(m, flow, rounding(dtype, size))
        one = torch.eye(2, dtype=m.dtype).expand(40, 2, 2)
        close(twistor.compose(twistor.special_linear(-g), m), one, rounding(dtype, size))
        close(twistor.compose(twistor.inverse(m), m), one, rounding(dtype, size))


def composition_is_the_product(seed: int, dtype: torch.dtype) -> None:
    """Maps one after the other are the product of the matrices, for numbers and for points."""
    d = Draw(seed, dtype)
    both = twistor.compose(d.m, d.g)
    close(
        twistor.move(both, d.points[0]), twistor.move(d.m, twistor.move(d.g, d.points[0])), rounding(dtype, d.size**3)
    )
    # compared on the sphere, where no image is far away
    one = twistor.sphere(twistor.homogeneous(twistor.mobius(both, d.numbers)))
    other = twistor.sphere(twistor.homogeneous(twistor.mobius(d.m, twistor.mobius(d.g, d.numbers))))
    close(one, other, rounding(dtype, d.size**4))


def pole_is_a_point_like_any_other(seed: int, dtype: torch.dtype) -> None:
    """-d/c goes to infinity and infinity to a/c; near the pole the sphere's points stay near the north pole."""
    d = Draw(seed, dtype)
    a, _, c, e = d.m.flatten(-2).unbind(-1)
    pole = torch.stack([-e, c], dim=-1)
    moved = twistor.sphere(twistor.move(d.m, pole))
    close(moved[:, 2], torch.ones(40, dtype=dtype), rounding(dtype, d.size**4))
    close(twistor.affine(twistor.move(d.m, twistor.homogeneous(torch.full_like(a, math.inf)))), a / c)
    near = twistor.sphere(twistor.move(d.m, pole + 1e-6 * d.points[0]))
    assert near.isfinite().all() and (near[:, 2] > 1 - 1e-6 * d.size**4).all()
    exact = torch.tensor([[1.0, 2.0], [1.0, 3.0]], dtype=COMPLEX[dtype])
    try:
        twistor.mobius(exact, torch.tensor([-3.0 + 0j], dtype=COMPLEX[dtype]))
    except ValueError as error:
        assert "pole" in str(error)
    else:
        raise AssertionError("the pole was divided by")


def cross_ratio_is_kept(seed: int, dtype: torch.dtype) -> None:
    """By every map; real for four points of a circle, and for their images; (0, inf; z, 1) = z."""
    d = Draw(seed, dtype)
    before = twistor.cross_ratio(*d.points)
    after = twistor.cross_ratio(*(twistor.move(d.m, p) for p in d.points))
    # four determinants of entries up to size^2 each lose digits against the determinants of the points
    close(after / before, torch.ones_like(before), rounding(dtype, 100 * d.size**4))
    swapped = twistor.cross_ratio(d.points[0], d.points[2], d.points[1], d.points[3])
    close(before + swapped, torch.ones_like(before), rounding(dtype, 10 * before.abs().max().item()))
    angles = torch.linspace(0.3, 5.9, 4, dtype=dtype).unsqueeze(1) + 0.1 * d.normal(4, 40)
    circle = twistor.homogeneous(torch.polar(torch.ones_like(angles), angles))
    for quadruple in (circle, twistor.move(d.m, circle)):
        ratio = twistor.cross_ratio(*quadruple)
        close(ratio.imag / ratio.abs(), torch.zeros(40, dtype=dtype), rounding(dtype, 100 * d.size**4))
    fixed = [twistor.homogeneous(torch.full_like(d.numbers, value)) for value in (0.0, math.inf, 1.0)]
    ratio = twistor.cross_ratio(fixed[0], fixed[1], twistor.homogeneous(d.numbers), fixed[2])
    close(ratio, d.numbers, rounding(dtype, 10))


def angles_are_kept(seed: int, dtype: torch.dtype) -> None:
    """Two ways that leave a point at an angle leave its image at the same angle, with the same sense."""
    d = Draw(seed, dtype)
    m, z = d.m.to(torch.complex128), d.numbers.to(torch.complex128)  # differences leave single precision few digits
    m, z = (each[(m[:, 1, 0] * z + m[:, 1, 1]).abs() > 0.1] for each in (m, z))  # clear of the pole
    one, two = torch.polar(torch.ones(2, len(z), dtype=torch.float64), d.normal(2, 40)[:, : len(z)].double())
    first, second = (twistor.mobius(m, z + 1e-6 * u) - twistor.mobius(m, z - 1e-6 * u) for u in (one, two))
    turned = ((second / first) / (two / one)).angle()
    # of the difference 1e-6: its square, over that of the distance from the pole; and rounding, over it
    close(turned, torch.zeros_like(turned), 1e-8 * d.size**2)


def fixed_points_stay(seed: int, dtype: torch.dtype) -> None:
    """m p = lambda p, and orbits end at the first."""
    d = Draw(seed, dtype)
    points, values = twistor.fixed_points(d.m), twistor.eigenvalues(d.m)
    moved = twistor.move(d.m.unsqueeze(1), points)
    close(moved, values.unsqueeze(-1) * points, rounding(dtype, d.size**2))
    assert (values[:, 0].abs() >= 1 - rounding(dtype, d.size)).all()
    strong = twistor.multiplier(d.m).abs() > 1.5
    orbit = d.points[0]
    for _ in range(80):  # 1.5^-80 is below any rounding
        orbit = twistor.move(d.m, orbit)
        orbit = orbit / orbit.abs().max(-1, keepdim=True).values
    end, aim = twistor.sphere(orbit)[strong], twistor.sphere(points[:, 0])[strong]
    close(end, aim, rounding(dtype, d.size**4))


def class_belongs_to_the_map(seed: int, dtype: torch.dtype) -> None:
    """The four classes, told from conjugates of their normal forms; the same for m, -m and the inverse."""
    d = Draw(seed, dtype)
    t = 0.2 + d.normal(40).abs()
    i = torch.complex(torch.zeros_like(t), torch.ones_like(t))
    zero, one = torch.zeros_like(i), torch.ones_like(i)
    # the angle keeps clear of 0 and pi, where an elliptic map is the identity
    angle = 0.3 + torch.sigmoid(t) * 2.0
    half = {
        "elliptic": (torch.exp(i * angle), zero),
        "hyperbolic": (torch.exp(t.to(i.dtype)), zero),
        "loxodromic": (torch.exp(t + i * 0.7), zero),
        "parabolic": (one, one),
    }
    g = twistor.special_linear(0.3 * d.generators)
    # tr^2 of up to about 1e4 is known to so many units
    tolerance = rounding(dtype, 2 * max(1.0, math.exp(2 * t.max().item())), 1024)
    for name, (a, b) in half.items():
        m = torch.stack([a, b, zero, 1 / a], dim=-1).unflatten(-1, (2, 2))
        there = twistor.compose(twistor.compose(g, m), twistor.inverse(g))
        for each in (m, -m, there, twistor.inverse(there)):
            assert (twistor.classify(each, tolerance) == twistor.KINDS.index(name)).all(), name
    eye = torch.eye(2, dtype=i.dtype)
    assert twistor.classify(eye) == twistor.classify(-eye) == twistor.KINDS.index("identity")


def cycles_are_one_matrix(seed: int, dtype: torch.dtype) -> None:
    """Three cycles done one by one, on complex numbers, equal the one real matrix; without J they are one map."""
    d = Draw(seed, dtype)
    generators, couplings = 0.5 * d.normal(3, 6, 6), d.normal(3)
    matrix = twistor.cycle_matrix(generators, couplings)
    omega, pi = twistor.to_complex(d.z)
    maps = twistor.special_linear(torch.complex(generators[..., :3], generators[..., 3:]))
    for m, c in zip(maps, couplings, strict=True):
        omega, pi = m[:, 0, 0] * omega + m[:, 0, 1] * pi, m[:, 1, 0] * omega + m[:, 1, 1] * pi
        root = (1 + c * c).sqrt()
        omega, pi = (omega + c * pi.conj()) / root, (pi - c * omega.conj()) / root
    z = torch.einsum("ijk,bjk->bik", matrix, d.z.unflatten(-1, (4, -1))).flatten(-2)
    size = max(1.0, z.abs().max().item())
    close(z, twistor.from_complex(omega, pi), rounding(dtype, size))
    product = twistor.compose(maps[2], twistor.compose(maps[1], maps[0]))
    alone = twistor.cycle_matrix(generators, 0 * couplings)
    close(alone.permute(2, 0, 1), twistor.real_form(product), rounding(dtype, size))


def turning_keeps_lengths_and_moves_points(seed: int, dtype: torch.dtype) -> None:
    """Each pair keeps its length; omega / pi moves by the Möbius map."""
    d = Draw(seed, dtype)
    m = d.m[:6]
    turned = twistor.turn(d.z, twistor.real_form(m).permute(1, 2, 0))
    lengths = [z.unflatten(-1, (4, -1)).square().sum(-2) for z in (d.z, turned)]
    # what `turn` adds under the root, 1e-12, counts as often as the map changes a square
    close(lengths[1], lengths[0], rounding(dtype, 50) + 4e-12 * d.size**2)
    before, after = (torch.stack(twistor.to_complex(z), dim=-1) for z in (d.z, turned))
    close(twistor.sphere(after), twistor.sphere(twistor.move(m, before)), rounding(dtype, d.size**4))


LAWS = laws_in(globals())


# --- laws of modules -------------------------------------------------------------------------------------------------


@torch.no_grad()
def moved(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> list[tuple[float, float]]:
    """By how much outputs move when one step of the input changes, step by step: at most before it, at most at it.

    Args:
        function: maps (batch, time, ...) to (batch, time, ...).
        x: an input; other: one of the same shape, from which each step in turn is taken.
    """
    before, found = function(x), []
    for t in range(x.shape[1]):
        changed = x.clone()
        changed[:, t] = other[:, t]
        away = (function(changed) - before).abs()
        found.append((away[:, :t].max().item() if t else 0.0, away[:, t].max().item()))
    return found


def causal(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor, tolerance: float = 0.0) -> None:
    """Changing step t changes no output before t, and does change that at t; arguments as of `moved`.

    Args:
        tolerance: 0 where the same sums are done in the same order.
    """
    for t, (before, there) in enumerate(moved(function, x, other)):
        assert before <= tolerance, f"step {t} is seen before it"
        assert there > 0, f"step {t} is not seen at all"


@torch.no_grad()
def images_apart(function: Callable[[Tensor], Tensor], z: Tensor, phase: Tensor) -> float:
    """Whether a layer moves the points omega_k / pi_k by maps of points: 0, to rounding, where it does.

    A twistor times a phase has the same points; a map of points gives them the same images.

    Args:
        function: maps twistors (..., 4n) to (..., 4n), each component pair alone.
        z: (..., 4n).
        phase: complex of modulus 1, broadcasting with omega.
    Returns:
        the largest distance of two images of one point on the unit sphere, from 0 to 2.
    """
    turned = twistor.from_complex(*(phase * part for part in twistor.to_complex(z)))
    first, second = (twistor.sphere(torch.stack(twistor.to_complex(function(each)), dim=-1)) for each in (z, turned))
    return (first - second).norm(dim=-1).max().item()


@torch.no_grad()
def streams(function: Callable, x: Tensor, pieces: list[int], tolerance: float = 1e-5) -> None:
    """In pieces, with the state carried on, the outputs are those of the whole sequence.

    Args:
        function: maps (batch, time, ...) and a state or None to outputs and the next state.
        x: an input; pieces: lengths, with the sum of its time.
    """
    whole, _ = function(x, None)
    made, state = [], None
    for piece in x.split(pieces, dim=1):
        y, state = function(piece, state)
        made.append(y)
    close(torch.cat(made, dim=1), whole, tolerance)


@torch.no_grad()
def alone(function: Callable, x: Tensor, other: Tensor, tolerance: float = 0.0) -> None:
    """Each row of a batch has the outputs that it has by itself, whatever the other rows are.

    Args:
        function: maps (batch, time, ...) to outputs and a state.
        x: an input of two rows or more; other: one of the same shape, from which all other rows are taken.
    """
    whole, _ = function(x)
    for row in range(len(x)):
        close(function(x[row : row + 1])[0][0], whole[row], tolerance)
        mixed = other.clone()
        mixed[row] = x[row]
        assert torch.equal(function(mixed)[0][row], whole[row]), f"row {row} sees another"


def in_parts(model: Any, tokens: Tensor, parts: int) -> tuple[Tensor, int]:
    """What the parts of a batch, one after the other, add up to, and what is kept for their backward passes.

    Args:
        model: a language model with `loss`; tokens: (batch, time + 1).
    Returns:
        all gradients in a row, and the most bytes that were kept at once.
    """
    held = most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, most
            self.tensor = tensor
            held += tensor.nbytes
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.tensor.nbytes

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        for part in tokens.chunk(parts):
            (model.loss(part[:, :-1], part[:, 1:])[0] / parts).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), most
