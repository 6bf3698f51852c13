"""The laws of `waves/math.py`, over seeds and both precisions; and proof that each of them can fail."""

import math

import pytest
import torch

from mobius_lib.waves import laws
from mobius_lib.waves import math as waves
from tests import lawful

DTYPES = [torch.float32, torch.float64]
test_law = lawful.hold(laws)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_wave_against_plain_python(seed, dtype):
    d = laws.Draw(seed, dtype)
    u, t = d.u[3, 5].item(), d.t[3, 0].item()
    value = 1.0
    for s, phase, drift in zip(d.scales.tolist(), d.phase.tolist(), d.drift.tolist(), strict=True):
        value *= math.exp(-(abs(d.alpha.item()) + 0.1) * math.sin(s * d.omega.item() * (u + drift * t) + phase) ** 2)
    assert d.wave()[3, 5].item() == pytest.approx(value, rel=laws.rounding(dtype))


def halve_sharpness_of_negative(alpha):
    return torch.where(alpha < 0, alpha.abs() / 2, alpha) + 0.1


exact = waves.wave

# One fault per function, and the laws that have to notice it.
FAULTS = {
    ("wave", lambda **k: torch.ones_like(k["u"]) * 0.5): {"wave_stays_between_its_trough_and_one", "wave_is_periodic"},
    ("wave", lambda **k: torch.exp(-k["alpha"].abs() * (k["u"] + k["t"]).square())): {
        "wave_is_periodic",
        "wave_mirrors",
    },
    ("wave", lambda **k: exact(**k | {"alpha": 1 / k["alpha"]})): {"larger_alpha_is_sharper"},
    ("sharpness", lambda alpha: alpha + 0.1): {"sign_of_alpha_has_no_effect"},
    ("sharpness", halve_sharpness_of_negative): {"sign_of_alpha_has_no_effect"},
    ("drift_coordinate", lambda x: x.mean(-1, keepdim=True)): {"drift_coordinate_lies_in_the_unit_interval"},
    ("soft_xor", lambda a, b: a + b - a * b): {"xor_and_and_keep_their_truth_tables", "xor_and_and_share_out_one"},
    ("soft_and", torch.minimum): {"xor_and_and_share_out_one"},
    ("soft_xor", lambda a, b: (a + b - 2 * a * b).detach() + 0 * a): {"xor_and_and_have_slopes"},
    ("interference", lambda a, m, b, w, v: m * waves.soft_xor(a, b)): {"the_middle_path_always_passes_a_slope"},
    ("interference", lambda a, m, b, w, v: 2 * m): {"interference_stays_in_the_unit_interval"},
    ("gate", lambda p, *_: 2 * p): {"gate_lies_in_the_open_unit_interval"},
    ("gate", lambda p, eps=1e-5: torch.sigmoid(p)): {"gate_sees_contrast_alone"},
    ("gate", lambda p, *_: p): {"a_norm_as_initialised_makes_no_winners"},
    ("twist", lambda x, w, a: x * torch.cos(a) - x @ w.T * torch.sin(a)): {
        "twist_turns_from_the_identity_to_the_matrix"
    },
    ("participation", lambda g: g.mean(-1) / g.amax(-1) / 2): {"participation_counts_the_channels_that_carry"},
    ("thirds_mask", lambda c, i: torch.ones(c)): {"thirds_mask_turns_every_channel_down_once"},
}
NOTICED = [(*fault, law) for fault, found in FAULTS.items() for law in sorted(found)]
test_a_fault_is_noticed, test_every_law_can_fail = lawful.fail(laws, waves, NOTICED)


def test_a_twist_is_a_rotation_at_every_angle_only_where_w_is_orthogonal_and_squares_to_minus_one() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    angles = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    for angle in angles:
        turned = waves.twist(eye, quarter, angle)
        torch.testing.assert_close(turned @ turned.mT, eye)
        single = waves.twist(eye, torch.tan(angle / 2) * eye, angle)  # W W is not -I
        torch.testing.assert_close(single, eye)
    other = waves.twist(eye, torch.tan(angles[0] / 2) * eye, angles[1])
    assert (other @ other.mT - eye).abs().max() > 0.1
