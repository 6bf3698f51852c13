"""What the public code of MT-HOPE computes, in our formulas: each has the property for which it is shown."""

import pytest
import torch

from mobius_lib.twistor import laws, public
from mobius_lib.twistor import math as twistor


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(50, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_layers_are_couplings_and_no_maps_of_points(z):
    torch.testing.assert_close(public.layer(z, [0.3]), z + 0.3 * twistor.conjugate(z))
    twice = twistor.couple(twistor.couple(z, 0.1), 0.2)
    torch.testing.assert_close(public.layer(z, [0.1, 0.2]), twice)
    phase = torch.full((50, 1), 1j, dtype=torch.complex128)
    assert laws.images_apart(public.layer, z, phase) > 0.1


def test_cells_move_points_by_one_real_map(z):
    c = public.STRENGTHS
    m = torch.eye(2, dtype=torch.complex128)
    for each in c:
        m = twistor.compose(torch.tensor([[1 - each, each], [-each, 1 - each]], dtype=torch.complex128), m)
    pairs, moved = (torch.stack(twistor.to_complex(each), dim=-1) for each in (z, public.cell(z)))
    torch.testing.assert_close(moved, twistor.move(m, pairs))
    assert twistor.classify(m / torch.linalg.det(m).sqrt()) == twistor.KINDS.index("elliptic")


def test_the_strength_of_a_step_hears_later_ones():
    x, other = torch.randn(2, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    strength = lambda z: public.strength(z, lambda r: r.sigmoid(), lambda r: r.sigmoid())  # noqa: E731
    assert max(before for before, _ in laws.moved(strength, x, other)) > 1e-3
    torch.testing.assert_close(public.strength(x, torch.zeros_like, torch.zeros_like), torch.full_like(x, -0.1))
    torch.testing.assert_close(public.strength(x, torch.ones_like, torch.ones_like), torch.full_like(x, 0.3))


def test_slots_take_one_step_together():
    memory = torch.eye(4)
    after = public.updated(memory, torch.ones(4))
    torch.testing.assert_close(after, 0.975 * memory + 0.025)  # 0.1 over 4 slots
    for _ in range(1000):
        memory = public.updated(memory, torch.ones(4))
    torch.testing.assert_close(memory, torch.ones(4, 4))


def test_random_targets_leave_their_variance():
    torch.manual_seed(0)
    fitted, new = public.random_floor(1000, 128, 1000, 32)
    # a table of 128,000 normal numbers has the variance 1 ± sqrt(2/128,000) = 0.004, and 1/1000 of it is misfitted
    assert new == pytest.approx(1.001, abs=0.016) and fitted < new


@pytest.mark.parametrize(
    ("row", "millions"),
    [
        # measured on the built modules of the public code
        ((128, 2, 5, 3, False), 4.71),
        ((192, 2, 5, 4, False), 10.47),
        ((192, 3, 6, 5, False), 14.24),
        ((256, 3, 6, 5, False), 25.13),
        ((256, 3, 6, 5, True), 48.35),
        ((512, 4, 8, 8, True), 254.7),
    ],
)
def test_the_counts_are_those_measured_on_the_public_code(row, millions):
    assert round(public.parameters(*row) / 1e6, 1 if millions > 100 else 2) == millions


def test_an_affine_layer_is_counted_as_torch_builds_it():
    assert public._linear(7, 5) == sum(p.numel() for p in torch.nn.Linear(7, 5).parameters())
