"""The laws of `cantor/math.py`, proof that each can fail, and the functions against references in other arithmetic."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobius_lib.cantor import laws
from mobius_lib.cantor import math as cantor
from tests import lawful

DTYPES = [torch.float32, torch.float64]
EPS = torch.finfo(torch.float64).eps
test_law = lawful.hold(laws, 4)


# --- the exact function, against ternary strings of exact fractions --------------------------------------------------


def ternary(x: Fraction, digits: int) -> str:
    """The first ternary digits of x in [0, 1), by long division."""
    out = ""
    for _ in range(digits):
        x *= 3
        out += str(int(x))
        x -= int(x)
    return out


def cantor_of_string(text: str) -> Fraction:
    """Up to the first 1; twos become ones; read in base two."""
    head, one, _ = text.partition("1")
    binary = head.replace("2", "1") + one
    return Fraction(int(binary, 2), 2 ** len(binary)) if binary else Fraction(0)


@given(st.floats(0, 1, exclude_max=True))
def test_cantor_function_against_exact_fractions(x):
    expected = cantor_of_string(ternary(Fraction(x), 60))
    ours = cantor.cantor_function(torch.tensor(x, dtype=torch.float64), digits=60).item()
    assert abs(ours - expected) <= EPS  # the string cuts off 2^-60; the result is rounded once more


@given(st.lists(st.sampled_from("02"), min_size=0, max_size=20), st.integers(0, 10**9))
def test_plateaus_are_found_from_inside_and_from_outside(digits, tail):
    """The float before and the one after each end of a plateau have values on the right side of the plateau's."""
    low = sum((Fraction(int(d), 3**k) for k, d in enumerate(digits, 1)), Fraction(0)) + Fraction(
        1, 3 ** (len(digits) + 1)
    )
    inside = float(low + Fraction(1 + tail % 7, 10) / 3 ** (len(digits) + 1))
    value = cantor_of_string("".join(digits) + "1")
    ends = torch.tensor([float(low) * (1 - 1e-12), inside], dtype=torch.float64)
    before, within = cantor.cantor_function(ends).tolist()
    assert within == value
    assert before <= value


def test_known_values():
    x = torch.tensor([0, 1 / 4, 3 / 4, 1 / 2, 3 / 10, 1 / 13, 1], dtype=torch.float64)
    expected = torch.tensor([0, 1 / 3, 2 / 3, 1 / 2, 2 / 5, 1 / 7, 1], dtype=torch.float64)
    # x is rounded: (1e-16)^(log 2 / log 3) = 1e-10
    torch.testing.assert_close(cantor.cantor_function(x), expected, rtol=0, atol=1e-10)


def test_the_floats_next_to_a_third():
    """1/3 has two ternary expansions, 0.1 and 0.0222..., and a float neither: it is a little below or above."""
    double, single = (torch.tensor(1 / 3, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert 2e-11 < 0.5 - cantor.cantor_function(double).item() < 4e-11 and cantor.cantor_function(single) == 0.5
    below = single.nextafter(torch.tensor(0.0))
    assert 1e-5 < 0.5 - cantor.cantor_function(below).item() <= torch.finfo(torch.float32).eps ** cantor.DIMENSION


def test_cantor_function_takes_any_shape_and_precision():
    x = torch.rand(2, 3, 5)
    assert cantor.cantor_function(x).shape == x.shape
    assert cantor.cantor_function(x).dtype == torch.float64
    assert cantor.cantor_function(x.requires_grad_()).requires_grad is False
    assert cantor.cantor_function(torch.tensor([float("nan"), 0.5])).isnan().tolist() == [True, False]
    assert cantor.cantor_function(torch.rand(0)).shape == (0,)


def test_too_few_digits_cut_off_no_more_than_they_say():
    x = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for alpha in (0.5, 0.8):
        exact = cantor.cantor_function(x, digits=60, alpha=alpha)
        for digits in (0, 1, 3, 9):
            error = (cantor.cantor_function(x, digits=digits, alpha=alpha) - exact).abs().max()
            # 1e-9: 60 digits themselves cut off 0.8^60 at worst, 1e-6 of it reached by random points
            assert error <= max(alpha, 1 - alpha) ** digits + 1e-9


@pytest.mark.parametrize("alpha", [-0.0764, 1.2, math.nan])
def test_no_exact_staircase_outside_the_unit_interval(alpha):
    with pytest.raises(ValueError, match=r"alpha=.*\[0, 1\] only"):
        cantor.cantor_function(torch.rand(3), alpha=alpha)


@given(st.integers(1, 2**20 - 1))
def test_inverse_against_exact_fractions(m):
    y = Fraction(m, 2**20)
    n = y.denominator.bit_length() - 1
    bits = format(y.numerator, f"0{n}b")
    low = sum((Fraction(2 * int(b), 3**k) for k, b in enumerate(bits[:-1], 1)), Fraction(0)) + Fraction(1, 3**n)
    ours = torch.stack(cantor.cantor_inverse(torch.tensor(float(y), dtype=torch.float64)))
    expected = torch.tensor([float(low), float(low + Fraction(1, 3**n))], dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=0, atol=8 * EPS)  # a sum of at most 20 rounded terms, most tiny


def test_inverse_at_ends_and_beside_a_plateau():
    y = torch.tensor([0, 1, 0.5, 0.5 - 2**-50, 0.5 + 2**-50, 1 / 3], dtype=torch.float64)
    low, high = cantor.cantor_inverse(y)
    expected_low = torch.tensor([0, 1, 1 / 3, 1 / 3, 2 / 3, 1 / 4], dtype=torch.float64)
    expected_high = torch.tensor([0, 1, 2 / 3, 1 / 3, 2 / 3, 1 / 4], dtype=torch.float64)
    torch.testing.assert_close(low, expected_low, rtol=0, atol=8 * EPS)
    torch.testing.assert_close(high, expected_high, rtol=0, atol=8 * EPS)
    assert (low[:2] == y[:2]).all() and (high[:2] == y[:2]).all()


@pytest.mark.parametrize("y", [-1e-9, 1.0001, math.nan])
def test_inverse_of_what_is_never_reached(y):
    with pytest.raises(ValueError, match=r"values in \[0, 1\] only"):
        cantor.cantor_inverse(torch.tensor([0.5, y]))


# --- the soft forms, against plain Python ----------------------------------------------------------------------------


def softmax_of_squares(y: float, tau: float) -> list[float]:
    logits = [-((y - c) ** 2) / tau for c in (0.5, 1.5, 2.5)]
    weights = [math.exp(each - max(logits)) for each in logits]
    return [w / sum(weights) for w in weights]


def both_branches(x: float, alpha: float, tau: float, levels: int) -> float:
    """The recursion of the convergent form as it is written: both branches, each clamped, doubling at every level."""
    if levels == 0:
        return x
    left, middle, right = softmax_of_squares(3 * x, tau)
    at_left = both_branches(min(max(3 * x, 0), 1), alpha, tau, levels - 1)
    at_right = both_branches(min(max(3 * x - 2, 0), 1), alpha, tau, levels - 1)
    return left * alpha * at_left + middle * alpha + right * (alpha + (1 - alpha) * at_right)


def halting_sum(x: float, alpha: float, tau: float, levels: int) -> float:
    """sum_k 2^-k [prod_{j<k} (1 - p_mid,j)] (p_mid,k + p_right,k); for alpha = 1/2."""
    total, going_on = 0.0, 1.0
    for k in range(1, levels + 1):
        _, middle, right = softmax_of_squares(x * 3**k % 3, tau)
        total += 2.0**-k * going_on * (middle + right)
        going_on *= 1 - middle
    return total


def multilevel_sum(x: float, alpha: float, tau: float, levels: int) -> float:
    total = 0.0
    for k in range(1, levels + 1):
        _, middle, right = softmax_of_squares(x * 3**k % 3, tau)
        total += 2.0**-k * (right + alpha * middle)
    return total


def single_level(x: float, alpha: float, tau: float, levels: int) -> float:
    _, middle, right = softmax_of_squares(x * 3 % 3, tau)
    return alpha * middle + right


REFERENCES = {
    "published": single_level,
    "multilevel": multilevel_sum,
    "halting": halting_sum,
    "convergent": both_branches,
}


@given(
    st.sampled_from(sorted(REFERENCES)),
    st.integers(0, 2**12 - 1),
    st.floats(-1, 2),
    st.floats(0.05, 2),
    st.integers(1, 6),
)
def test_forms_against_plain_python(name, position, alpha, tau, levels):
    x = position / 2**12  # 3^6 x is exact in float64, so both see the same digits
    alpha = 0.5 if name == "halting" else alpha
    ours = cantor.FORMS[name](torch.tensor([x], dtype=torch.float64), alpha, tau, levels).item()
    # squares up to 6 over tau = 0.05 are rounded in the reference, and up to 2^levels terms are added
    assert ours == pytest.approx(REFERENCES[name](x, alpha, tau, levels), abs=1e-12)


def test_every_form_is_tested():
    assert set(REFERENCES) == set(cantor.FORMS)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_one_is_the_end_of_the_last_third(name):
    """Not 3 mod 3 = 0, where the staircase starts; and nothing beyond the ends."""
    form = cantor.FORMS[name]
    beyond = form(torch.tensor([-0.3, 0.0, 1.0, 1.7]), 0.5, 0.01, 8)
    below = form(torch.tensor([1e-7, 1 - 1e-7]), 0.5, 0.01, 8)
    # 1e-7 times 3^8, over tau in the exponent of the soft digits: below 0.1; the slope of the form itself counts once
    torch.testing.assert_close(beyond[[0, 1, 2, 3]], below[[0, 0, 1, 1]], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["multilevel", "halting", "convergent"])
@pytest.mark.parametrize("levels", [0, -1, 41])
def test_depths_that_cannot_be(name, levels):
    with pytest.raises(ValueError, match="levels must be from 1 to 40"):
        cantor.FORMS[name](torch.rand(3), 0.5, 0.1, levels)


@pytest.mark.parametrize("name", sorted(REFERENCES))
@pytest.mark.parametrize("shape", [(), (0,), (2, 3, 4)])
def test_shapes(name, shape):
    x = torch.rand(shape)
    out = cantor.FORMS[name](x, torch.tensor(0.5), torch.tensor(0.25), 3)
    assert out.shape == x.shape and out.dtype == x.dtype


# --- what converges, in figures --------------------------------------------------------------------------------------


def test_errors_as_measured_beside_each_other():
    taus = [0.25, 0.01, 0.001]
    errors = {name: laws.error_against(name, taus, 14) for name in cantor.FORMS}
    # The means that are known for the halting form and for the published several levels, to the digits that are known;
    # at tau = 0.001 the wrong zones are as narrow as the points are apart, and the mean is as rough as that.
    assert errors["halting"].mean[:2] == pytest.approx([0.037, 0.0017], rel=0.05)
    assert errors["halting"].mean[2] == pytest.approx(0.00017, rel=0.25)
    assert errors["multilevel"].mean[-1] == pytest.approx(0.050, abs=5e-4)
    assert errors["published"].mean[-1] == pytest.approx(1 / 6, abs=1e-4)
    for name in ("published", "multilevel", "halting"):
        assert min(errors[name].largest) > 0.24, "it was thought to stay away at the boundaries"
    assert errors["convergent"].largest[-1] < 0.002
    assert all(c < h / 3 for c, h in zip(errors["convergent"].mean, errors["halting"].mean, strict=True))


def test_both_sides_of_every_boundary_have_their_own_digits():
    for depth in (1, 5, 9):
        before, after = cantor.beside_boundaries(depth)
        places = torch.arange(3**depth)
        for side, x in ((0, before[1:]), (1, after[:-1])):
            z, number = x, torch.zeros_like(places)
            for _ in range(depth):
                digit = (3 * z).floor().clamp(0, 2)
                number, z = 3 * number + digit.long(), 3 * z - digit
            assert torch.equal(number, places), side
        assert (after - before).max() <= 2.1e-15 and before[0] == 0 and after[-1] == 1


@pytest.mark.parametrize(
    ("form", "alpha", "tau", "levels", "largest"),
    [
        # The largest over both sides of all 3^13 boundaries, each taken exactly, where an even grid or points at a few
        # distances found 0.059, 0.000, 2.27e-4 and 4.33e-3.
        ("halting", 0.5, 1e-4, 4, 0.25),
        ("convergent", 0.5, 1e-4, 8, 7.100133e-4),
        ("convergent", 0.5, 1e-4, 12, 2.691496e-4),
        ("convergent", 0.3, 1e-4, 12, 5.24e-3),
        ("convergent", 0.5, 1e-3, 12, 1.117504e-3),
        ("multilevel", 0.3, 0.1, 8, 0.52109),
        ("halting", 0.3, 0.01, 12, 0.35 * (1 - 0.7**11)),  # beside 2/3, where 0.7^11 of C(1) is still missing
    ],
)
def test_the_largest_error_is_found(form, alpha, tau, levels, largest):
    assert laws.error_against(form, [tau], levels, alpha).largest[0] == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("form", ["multilevel", "halting", "convergent"])
@pytest.mark.parametrize("levels", [1, 4, 8])
def test_no_boundary_of_three_more_levels_is_worse(form, levels):
    deep = torch.cat(cantor.beside_boundaries(9))
    for tau in laws.TAUS:
        found = laws.error_against(form, [tau], levels).largest[0]
        error = (cantor.FORMS[form](deep, 0.5, tau, levels) - cantor.cantor_function(deep)).abs().max().item()
        assert error <= found + 1e-9  # c moves by 4e-10 between the two sides


@given(st.integers(1, 8), st.floats(0.05, 0.95), st.floats(1e-4, 2))
def test_halting_form_falls_at_a_third(levels, alpha, tau):
    """By the docstring's formula, at every depth, alpha and temperature."""
    before, after = (cantor.staircase_halting(x, alpha, tau, levels)[1:3] for x in cantor.beside_boundaries(1))
    ends = cantor.staircase_halting(torch.tensor([0.0, 1.0], dtype=torch.float64), alpha, tau, levels - 1 or 1)
    r, span = math.exp(-2 / tau), (ends.diff().item() if levels > 1 else 0.0)
    expected = [(alpha + (1 - alpha) * r) * span / (2 + r), (1 - alpha + alpha * r) * span / (2 + r)]
    assert (before - after).tolist() == pytest.approx(expected, abs=1e-9)  # 2e-15 in x, times at most 6 / tau


def test_error_falls_with_the_power_of_tau_that_the_proof_gives():
    taus = [10.0**-k for k in (2, 3, 4, 5)]
    error = torch.tensor(laws.error_against("convergent", taus, 25).largest).log10()
    slope = (error[0] - error[-1]).item() / 3
    # 0.63 on average: the self-similarity of c makes the error wave about the power law by a factor of at most 2^0.63
    assert slope == pytest.approx(cantor.DIMENSION, abs=0.1)


def test_halting_form_converges_away_from_boundaries():
    """Pointwise, with the rate of the docstring: exp(-6 d / tau), d the least distance of a z_k from 1/3 and 2/3."""
    levels = 8
    x = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z, d = x, torch.ones_like(x)
    for _ in range(levels):
        d = torch.minimum(d, torch.minimum((z - 1 / 3).abs(), (z - 2 / 3).abs()))
        z = 3 * z % 1
    exact = cantor.cantor_function(x)
    for tau in (0.1, 0.01, 1e-3):
        error = (cantor.staircase_halting(x, 0.5, tau, levels) - exact).abs()
        # each level's digits are wrong by at most 2 exp(-6 d / tau), in the ends of the interval by exp(-2 / tau) more
        bound = 4 * (torch.exp(-6 * d / tau) + math.exp(-2 / tau)) + 2.0**-levels
        assert (error <= bound).all()
    assert (bound < 0.01).double().mean() > 0.8, "the bound says nothing if it is nowhere small"


def test_error_against_names_the_forms_there_are():
    with pytest.raises(ValueError, match=r"'halted'.*published, multilevel, halting, convergent"):
        laws.error_against("halted", [0.1])


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(REFERENCES))
@pytest.mark.parametrize("tau", [1.0, 0.25, 0.02])
def test_gradients_against_differences(name, tau):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(40, dtype=torch.float64, generator=generator).requires_grad_()  # none within 1e-6 of a boundary
    alpha, tau = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.37, tau))
    torch.autograd.gradcheck(lambda *leaves: cantor.FORMS[name](*leaves, 4), (x, alpha, tau), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tau", [0.25, 1e-2, 1e-4])
def test_the_published_slope_at_a_boundary_is_known(dtype, tau):
    """At x = 1/3 the thirds share 1 : 1 : r, r = exp(-2 / tau). A softmax's slope is a covariance: dc/dx is 6 / tau
    times that of the values (0, alpha, 1) with (-1, 0, 1): 3 alpha / (2 tau) as tau -> 0. At 2/3 it is mirrored."""
    r = math.exp(-2 / tau)
    x = torch.tensor([1 / 3, 2 / 3], dtype=dtype, requires_grad=True)
    alpha = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    cantor.staircase_published(x, alpha, tau).sum().backward()
    # x is up to a rounding unit from 1/3; 6 / tau multiplies that in the exponents
    tolerance = 8 * torch.finfo(dtype).eps / tau
    for slope, weights in ((x.grad[0], (1, 1, r)), (x.grad[1], (r, 1, 1))):
        left, middle, right = (w / sum(weights) for w in weights)
        mean_value, mean_side = 0.3 * middle + right, right - left
        assert slope.item() * tau / 6 == pytest.approx(right - mean_value * mean_side, abs=tolerance)
    assert alpha.grad.item() == pytest.approx(2 / (2 + r), abs=2 * tolerance)  # p_mid at both


@pytest.mark.parametrize("tau", [0.25, 1e-2, 1e-4])
def test_the_convergent_slope_at_boundaries_is_one_sided(tau):
    """In float64, from the left at the last float before k/9 and from the right at the first one behind it."""
    h = 1e-9 * min(1, tau * 100)
    for k in range(1, 9):
        for side in (-1, 1):
            at = k / 9 + side * 1e-15
            x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
            cantor.staircase_convergent(x, 0.5, tau, 3).sum().backward()
            near, far = cantor.staircase_convergent(
                torch.tensor([at, at + side * h], dtype=torch.float64), 0.5, tau, 3
            ).tolist()
            # the slope changes by its (27 / tau)-fold per unit of x; the difference is rounded by 4e-16 / h
            difference = side * (far - near) / h
            assert x.grad.item() == pytest.approx(difference, rel=50 * h / tau, abs=1e-15 / h)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_float32_gradients_are_those_of_float64(name):
    """At the same floats, tau = 1e-4, from inside the soft zone of a boundary (its width in x is tau / 6) to beyond."""
    offsets = torch.tensor([-3, -1, -0.3, 0.2, 1.0, 3.0])
    x = (torch.tensor([[1 / 3], [2 / 3], [1 / 9], [8 / 9]]) + offsets * 1e-4 / 6).flatten()
    gradients = []
    for dtype in DTYPES:
        leaf = x.to(dtype, copy=True).requires_grad_()
        cantor.FORMS[name](leaf, 0.5, 1e-4, 2).sum().backward()
        gradients.append(leaf.grad.double())
    # 9 x is rounded by about 5e-7 in float32; 2 / tau makes 1e-2 of it in the exponent
    torch.testing.assert_close(gradients[0], gradients[1], rtol=3e-2, atol=0.01 * gradients[1].abs().max().item())
    steepest = gradients[1].abs().max()
    # Where the branches differ at a boundary, the slope is of the order of 1 / tau; where they meet, it stays small.
    assert 1 < steepest < 10 if name == "convergent" else steepest > 1000


# --- measures of a curve ---------------------------------------------------------------------------------------------


def test_arc_length_of_known_curves():
    t = torch.linspace(0, 1, 20001, dtype=torch.float64)
    # chords of 1 / 20000 are too short by its square over 24 times the curvature squared
    assert cantor.arc_length(t).item() == pytest.approx(math.sqrt(2), abs=1e-12)
    assert cantor.arc_length(t.square()).item() == pytest.approx(math.sqrt(5) / 2 + math.asinh(2) / 4, abs=1e-8)
    assert cantor.arc_length(torch.stack((t, 0 * t))).tolist() == pytest.approx([math.sqrt(2), 1], abs=1e-12)


def test_hoelder_exponent_of_known_curves():
    t = torch.linspace(0, 1, 3**7 + 1, dtype=torch.float64)
    for power in (0.25, 0.5, 0.9, 1.0):  # t^p rises by h^p from 0 and nowhere by more
        assert cantor.hoelder_exponent(t**power) == pytest.approx(power, abs=1e-9)
    # a devil's staircase rises fastest in the third with the larger weight
    c = cantor.cantor_function(t, alpha=0.7)
    assert cantor.hoelder_exponent(c) == pytest.approx(-math.log(0.7) / math.log(3), abs=1e-4)


@pytest.mark.parametrize("y", [torch.rand(9), torch.rand(4, 30)], ids=["short", "rows"])
def test_hoelder_exponent_needs_two_step_sizes(y):
    with pytest.raises(ValueError, match="at least 10 values"):
        cantor.hoelder_exponent(y)


def test_a_constant_has_no_hoelder_exponent():
    with pytest.raises(ValueError, match="constant"):
        cantor.hoelder_exponent(torch.ones(100))


# --- each law can fail -----------------------------------------------------------------------------------------------


def not_halting(x, digits=40, alpha=0.5):
    """Every digit counts, as in the published several levels."""
    z, value = x.double(), torch.zeros_like(x, dtype=torch.float64)
    for k in range(1, 20):
        digit = (3 * z).floor().clamp(0, 2)
        value, z = value + 2.0**-k * digit / 2, 3 * z - digit
    return value


def squares_only(x, tau):
    """The printed softmax with one centre out of place."""
    centers = torch.tensor([0.5, 1.5, 2.4], dtype=x.dtype)
    return torch.softmax(-(3 * x.unsqueeze(-1) - centers).square() / tau, dim=-1)


def wrapped_child(x, alpha, tau, levels):
    """The convergent form with the children of the halting one."""
    return cantor.staircase_halting(x, alpha, tau, levels)


def no_gradient_at_small_tau(x, alpha, tau, levels=1):
    p = torch.exp(-(3 * x.unsqueeze(-1) - torch.tensor(cantor.CENTERS, dtype=x.dtype)).square() / tau)
    p = p / p.sum(-1, keepdim=True)  # 0 / 0 far from the centres
    return alpha * p[..., 1] + p[..., 2]


exact, inverse, length = cantor.cantor_function, cantor.cantor_inverse, cantor.arc_length

# One fault per function, and the laws that have to notice it.
FAULTS = {
    ("cantor_function", lambda x, digits=40, alpha=0.5: x.double().clamp(0, 1)): {
        "cantor_repeats_itself_in_both_thirds",
        "cantor_is_flat_on_the_middle_third",
        "inverse_gives_the_plateaus",
        "cantor_is_hoelder_continuous",
        "cantor_has_length_two",
        "convergent_form_converges",
    },
    ("cantor_function", lambda x, digits=40, alpha=0.5: exact(x, 8, alpha)): {"cantor_repeats_itself_in_both_thirds"},
    ("cantor_function", lambda x, digits=40, alpha=0.5: exact(x.double() ** 1.01, digits, alpha)): {
        "cantor_is_symmetric",
        "cantor_repeats_itself_in_both_thirds",
    },
    ("cantor_function", lambda x, digits=40, alpha=0.5: 0.5 * exact(x, digits, alpha)): {
        "cantor_climbs_from_zero_to_one",
        "cantor_is_symmetric",
    },
    ("cantor_function", not_halting): {
        "cantor_climbs_from_zero_to_one",
        "cantor_is_flat_on_the_middle_third",
        "convergent_form_converges",
        "halting_form_converges_in_the_mean_only",
        "multilevel_form_does_not_converge",
    },
    ("cantor_inverse", lambda y: (inverse(y)[0], inverse(y)[0])): {"inverse_gives_the_plateaus"},
    ("arc_length", lambda y: length(y) - 1): {"cantor_has_length_two"},
    ("hoelder_exponent", lambda y: 0.65): {"cantor_is_hoelder_continuous"},
    ("triadic", squares_only): {"triadic_is_a_distribution", "triadic_decides_away_from_boundaries"},
    ("triadic", lambda x, tau: torch.full((*x.shape, 3), 1 / 3, dtype=x.dtype)): {
        "triadic_is_a_distribution",
        "triadic_decides_away_from_boundaries",
    },
    ("published", lambda x, alpha, tau, levels: alpha * cantor.triadic(x, tau)[..., 1]): {
        "staircases_mirror",
        "staircases_climb",
    },
    ("published", lambda x, alpha, tau, levels: cantor.staircase_published(x, abs(alpha), tau)): {
        "staircases_mirror",
        "staircases_are_alpha_in_the_middle",
        "a_negative_alpha_leaves_the_unit_interval",
    },
    ("published", no_gradient_at_small_tau): {"gradients_are_finite_at_digit_boundaries"},
    ("convergent", lambda x, alpha, tau, levels: cantor.staircase_published(x, alpha, tau)): {
        "convergent_form_converges"
    },
    ("convergent", wrapped_child): {"convergent_form_converges", "staircases_climb"},
    ("staircase_convergent", wrapped_child): {"staircases_have_no_jumps"},
    ("published", lambda x, alpha, tau, levels: (3 * x).floor() * alpha / 2): {
        "alpha_weighs_the_middle",
        "staircases_have_no_jumps",
    },
    ("convergent_bound", lambda tau, levels: 2.0**-levels + tau): {"convergent_form_converges"},
    ("halting", cantor.staircase_convergent): {"halting_form_converges_in_the_mean_only"},
    ("multilevel", cantor.staircase_halting): {"multilevel_form_does_not_converge"},
}
NOTICED = [(*fault, law) for fault, found in FAULTS.items() for law in sorted(found)]
test_a_fault_is_noticed, test_every_law_can_fail = lawful.fail(laws, cantor, NOTICED, 4, table=cantor.FORMS)
