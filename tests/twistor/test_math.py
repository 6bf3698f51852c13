"""The laws of `twistor/math.py`, over seeds and both precisions, and proof that each can fail."""

import math

import pytest
import torch

from mobius_lib.twistor import laws
from mobius_lib.twistor import math as twistor
from tests import lawful

EXACT = {name: getattr(twistor, name) for name in dir(twistor) if callable(getattr(twistor, name))}
test_law = lawful.hold(laws)


def swapped(z):
    a, b, c, d = z.chunk(4, dim=-1)
    return torch.cat([c, d, -a, -b], dim=-1)  # without the conjugation


def newton_once(z, modulus):
    held = EXACT["hold_pairing"](z, modulus)
    return z + 0.9 * (held - z)


def roundabout(z, modulus):
    a, b, c, d = EXACT["hold_pairing"](z, modulus).chunk(4, dim=-1)
    return torch.cat([2 * a, 2 * b, c / 2, d / 2], dim=-1)  # the same pairing, further away


def not_special(generator):
    return EXACT["special_linear"](generator) * 1.01


def flipped_incidence(point, pi):
    return EXACT["incident"](point * torch.tensor([1, 1, -1, 1], dtype=point.dtype), pi.conj()) + 0.1


# One fault per line, and a law that has to notice it.
FAULTS = [
    ("conjugate", swapped, "real_form_is_the_complex_form"),
    ("conjugate", lambda z: z.roll(1, -1), "conjugation_is_a_quaternion_unit"),
    ("couple", lambda z, c: z + c * z.roll(1, -1), "coupling_stretches_by_a_known_factor"),
    ("pairing", lambda z: (z.square().sum(-1), 0 * z.sum(-1)), "pairing_is_invariant"),
    ("hold_pairing", newton_once, "constraint_is_met"),
    ("hold_pairing", roundabout, "constraint_moves_along_the_gradient"),
    ("incident", flipped_incidence, "rays_through_a_point_meet"),
    ("special_linear", not_special, "determinant_is_one"),
    ("inverse", lambda m: m.mH, "determinant_is_one"),
    ("compose", lambda outer, inner: inner @ outer, "composition_is_the_product"),
    ("mobius", lambda m, z: (m[..., 0, 0] * z + m[..., 0, 1]) / (m[..., 1, 0] * z + m[..., 1, 1] + 1e-3),
     "pole_is_a_point_like_any_other"),
    ("homogeneous", lambda z: torch.stack([z, torch.ones_like(z)], -1), "pole_is_a_point_like_any_other"),
    ("cross_ratio", lambda p, q, r, s: EXACT["cross_ratio"](p, r, q, s), "cross_ratio_is_kept"),
    ("mobius", lambda m, z: EXACT["mobius"](m, z).conj(), "angles_are_kept"),
    ("fixed_points", lambda m: torch.linalg.eig(m).eigenvectors, "fixed_points_stay"),
    ("classify", lambda m, tolerance=1e-5: EXACT["classify"](1.001 * m, tolerance), "class_belongs_to_the_map"),
    ("cycle_matrix", lambda g, c: EXACT["cycle_matrix"](g.flip(0), c), "cycles_are_one_matrix"),
    ("turn", lambda z, m: EXACT["turn"](z, m) * 1.001, "turning_keeps_lengths_and_moves_points"),
    ("turn", lambda z, m: EXACT["turn"](z, m.transpose(0, 1)), "turning_keeps_lengths_and_moves_points"),
]  # fmt: skip
test_a_fault_is_noticed, test_every_law_can_fail = lawful.fail(
    laws, twistor, FAULTS, raises=(AssertionError, RuntimeError)
)


def test_known_maps():
    """z + 1, 1/z up to sign, 2z and a quarter turn, by hand."""
    root = math.sqrt(2)
    maps = torch.tensor(
        [
            [[1, 1], [0, 1]],
            [[0, 1j], [1j, 0]],
            [[root, 0], [0, 1 / root]],
            [[(1 + 1j) / root, 0], [0, (1 - 1j) / root]],
        ],
        dtype=torch.complex64,
    )
    z = torch.tensor(3 + 4j, dtype=torch.complex64)
    expected = torch.tensor([4 + 4j, (3 - 4j) / 25, 6 + 8j, -4 + 3j], dtype=torch.complex64)
    torch.testing.assert_close(twistor.mobius(maps, z.expand(4)), expected)
    kinds = [twistor.KINDS[k] for k in twistor.classify(maps)]
    assert kinds == ["parabolic", "elliptic", "hyperbolic", "elliptic"]
    fixed = twistor.affine(twistor.fixed_points(maps))
    assert torch.isinf(fixed[0].real).all() and torch.isinf(fixed[2, 0].real) and fixed[2, 1] == 0
    torch.testing.assert_close(fixed[1].square(), torch.ones(2) + 0j)  # 1 and -1, in either order


def test_sphere_has_its_poles():
    z = torch.tensor([0, 1, 1j, math.inf], dtype=torch.complex64)
    expected = torch.tensor([[0, 0, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32)
    torch.testing.assert_close(twistor.sphere(twistor.homogeneous(z)), expected)


@pytest.mark.parametrize("scale", [1e-3, 0.2, 0.33, 2.0])
def test_gradient_of_the_generator(scale):
    """On both sides of where the series takes over, |q^2| = 0.1."""
    generator = (scale * torch.randn(5, 3, dtype=torch.complex128)).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: torch.view_as_real(twistor.special_linear(g)), generator)


def test_gradient_of_the_constraint():
    z = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: twistor.hold_pairing(z, 1.5), z)


def test_gradients_are_finite_where_roots_vanish():
    z = torch.zeros(3, 8, requires_grad=True)
    twistor.turn(z, twistor.cycle_matrix(torch.randn(2, 2, 6), torch.randn(2))).sum().backward()
    assert z.grad.isfinite().all()
    z = torch.zeros(3, 8, requires_grad=True)
    twistor.hold_pairing(z, 1.0).sum().backward()
    assert z.grad.isfinite().all()
    one_sided = torch.cat([torch.ones(1, 4), torch.zeros(1, 4)], dim=1).requires_grad_()  # pairing 0 beside a length
    held = twistor.hold_pairing(one_sided, 1.0)
    held.sum().backward()
    assert one_sided.grad.isfinite().all() and math.hypot(*twistor.pairing(held.detach())) == pytest.approx(
        1.0, abs=1e-6
    )


@pytest.mark.parametrize("bad", ["pole", "cross-ratio"])
def test_what_is_infinite_is_said(bad):
    p = torch.tensor([1.0 + 0j, 1.0])
    if bad == "pole":
        with pytest.raises(ValueError, match=r"z holds the pole .* index \[1\]"):
            twistor.mobius(torch.tensor([[1, 0], [1, 1]]) + 0j, torch.tensor([0.5 + 0j, -1.0]))
    else:
        with pytest.raises(ValueError, match="p = s or q = r"):
            twistor.cross_ratio(p, 2 * p, 3 * p, p)
