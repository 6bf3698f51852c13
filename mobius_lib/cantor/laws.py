"""What must be true of the functions in `math.py`, as laws (see `mobius_lib.lawful`).

Source: the laws are stated in the docstrings of `math.py`; the checks are ours.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mobius_lib.cantor import math as cantor
from mobius_lib.lawful import close, laws_in

TAUS = (1.0, 0.25, 1e-2, 1e-4)
"""From a staircase that is nearly a ramp, over the published temperature, to one that looks hard."""

LEVELS = 12
"""Depth of the soft staircases in these laws: 2^-12 is below every error that a law looks at."""


class Draw:
    """Random positions and a random alpha in (0, 1).

    Positions are multiples of 2^-20, so that 1 - x and 3 x are exact in float32 too, and none is a boundary of a third
    (but 0 and 1).
    """

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(1, 2**20, (2048,), generator=generator).sort().values
        self.x = (x / 2**20).to(dtype)
        self.alpha = 0.1 + 0.8 * torch.rand((), generator=generator, dtype=torch.float64).item()
        self.bits = torch.randint(1, 2**16, (64,), generator=generator).double() / 2**16


def rounding(dtype: torch.dtype, units: float = 64) -> float:
    """So many rounding units: 64 covers twelve levels of five operations on numbers up to 1."""
    return units * torch.finfo(dtype).eps


class Errors(NamedTuple):
    """How far a soft staircase is from Cantor's function, one number for each tau."""

    tau: list[float]
    mean: list[float]
    """The mean of |error| over [0, 1], by 10,000 midpoints."""
    largest: list[float]
    """The largest |error| over those points and over `math.error_points`."""


def error_against(form: str, taus: Sequence[float], levels: int = LEVELS, alpha: float = 0.5) -> Errors:
    """The distance from a soft staircase to the exact one, as tau falls.

    Args:
        form: a name in `math.FORMS`.
        taus: temperatures, each > 0.
        levels: depth of the soft staircase.
        alpha: plateau of both, in [0, 1].
    Returns:
        `Errors`, in the order of taus; float64.
    Raises:
        ValueError: when there is no such form.
    """
    if form not in cantor.FORMS:
        raise ValueError(f"There is no form {form!r}; the forms are {', '.join(cantor.FORMS)}.")
    even = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 1e4  # even thirds would share their last digits
    errors = Errors([], [], [])
    x = torch.cat((even, cantor.error_points()))
    exact = cantor.cantor_function(x, alpha=alpha)
    for tau in taus:
        error = (cantor.FORMS[form](x, alpha, tau, levels) - exact).abs()
        errors.tau.append(float(tau))
        errors.mean.append(error[: len(even)].mean().item())
        errors.largest.append(error.max().item())
    return errors


def cantor_climbs_from_zero_to_one(seed: int, dtype: torch.dtype) -> None:
    """Monotone, c(0) = 0, c(1) = 1, and constant beyond; for any alpha."""
    d = Draw(seed, dtype)
    for alpha in (0.5, d.alpha):
        assert (cantor.cantor_function(d.x, alpha=alpha).diff() >= 0).all()
        ends = cantor.cantor_function(torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=dtype), alpha=alpha)
        # 1 - (1 - (1 - ...)): forty additions in float64
        close(ends, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64), rounding(torch.float64))


def cantor_is_symmetric(seed: int, dtype: torch.dtype) -> None:
    """c(1 - x) = 1 - c(x); for another alpha, the mirror image has the plateau 1 - alpha."""
    d = Draw(seed, dtype)
    for alpha in (0.5, d.alpha):
        mirrored = 1 - cantor.cantor_function(1 - d.x, alpha=1 - alpha)
        close(cantor.cantor_function(d.x, alpha=alpha), mirrored, rounding(torch.float64))


def cantor_repeats_itself_in_both_thirds(seed: int, dtype: torch.dtype) -> None:
    """c(x / 3) = alpha c(x) and c((x + 2) / 3) = alpha + (1 - alpha) c(x), on points whose triples are exact."""
    d = Draw(seed, dtype)
    x = d.x[d.x <= 1 / 3]
    for alpha in (0.5, d.alpha):

        def c(x: Tensor, alpha: float = alpha) -> Tensor:
            return cantor.cantor_function(x, alpha=alpha)

        # one digit fewer is read on the left side: at most 0.9^40 = 0.015 of the last weight, itself below 0.9^39
        tolerance = rounding(torch.float64) + max(alpha, 1 - alpha) ** 40
        close(c(x), alpha * c(3 * x), tolerance)
        close(c(1 - x), alpha + (1 - alpha) * c(1 - 3 * x), tolerance)


def cantor_is_flat_on_the_middle_third(seed: int, dtype: torch.dtype) -> None:
    """c = alpha, exactly, wherever the first ternary digit is 1."""
    d = Draw(seed, dtype)
    middle = d.x[(d.x >= 1 / 3) & (d.x <= 2 / 3)]
    for alpha in (0.5, d.alpha):
        assert (cantor.cantor_function(middle, alpha=alpha) == alpha).all()


def inverse_gives_the_plateaus(seed: int, dtype: torch.dtype) -> None:
    """The inverse image of m / 2^n (m odd) has width 3^-n, and c has that value in its middle; it is mirrored too."""
    bits = Draw(seed, dtype).bits
    low, high = cantor.cantor_inverse(bits)
    assert (cantor.cantor_function((low + high) / 2) == bits).all()
    n = (bits.view(-1, 1) * 2.0 ** torch.arange(17) % 1 == 0).double().argmax(1)  # the place of the last binary 1
    close(high - low, 3.0 ** -n.double(), rounding(torch.float64))
    mirrored_low, mirrored_high = cantor.cantor_inverse(1 - bits)
    close(mirrored_low, 1 - high, rounding(torch.float64))
    close(mirrored_high, 1 - low, rounding(torch.float64))


def cantor_is_hoelder_continuous(seed: int, dtype: torch.dtype) -> None:
    """|c(x) - c(y)| <= |x - y|^s for s = log 2 / log 3, and no larger s: that is the exponent measured on a grid."""
    x = Draw(seed, dtype).x.double()
    c = cantor.cantor_function(x)
    for step in (1, 5, 50, 500):
        assert (c[step:] - c[:-step] <= (x[step:] - x[:-step]) ** cantor.DIMENSION + rounding(torch.float64)).all()
    grid = torch.arange(3**8 + 1, dtype=torch.float64) / 3**8
    # k / 3^8 is rounded, which moves c by (1e-16)^s = 1e-10, beside the smallest rise of 2^-8
    assert abs(cantor.hoelder_exponent(cantor.cantor_function(grid)) - cantor.DIMENSION) < 1e-6


def cantor_has_length_two(seed: int, dtype: torch.dtype) -> None:
    """After n levels 2^n slopes of width 3^-n and height 2^-n are left: the length of that line, which goes to 2."""
    for n in (4 + seed % 4, 10):
        y = cantor.cantor_function(torch.arange(3**n + 1, dtype=torch.float64) / 3**n)
        expected = 1 - (2 / 3) ** n + 2**n * math.hypot(3**-n, 2**-n)
        assert abs(cantor.arc_length(y).item() - expected) < 1e-6  # 1e-10 in c at each of 2^10 corners
    assert 1.98 < expected < 2


def triadic_is_a_distribution(seed: int, dtype: torch.dtype) -> None:
    """Not negative, sum 1, turned round by 1 - x, and the printed softmax of squares where that can be computed."""
    x = Draw(seed, dtype).x
    centers = torch.tensor(cantor.CENTERS, dtype=dtype)
    for tau in TAUS:
        p = cantor.triadic(x, tau)
        assert (p >= 0).all()
        close(p.sum(-1), torch.ones_like(x), rounding(dtype))
        # 3 (1 - x) and 3 - 3 x differ by one rounding, which 2 / tau multiplies
        close(cantor.triadic(1 - x, tau), p.flip(-1), rounding(dtype) * max(1, 1 / tau))
        printed = torch.softmax(-(3 * x.unsqueeze(-1) - centers).square() / tau, dim=-1)
        close(p, printed, rounding(dtype) * max(1, 7 / tau))  # squares up to 6.25 over tau, rounded


def triadic_decides_away_from_boundaries(seed: int, dtype: torch.dtype) -> None:
    """Undecided at 1/3 and 2/3 for every tau; at a distance d inside a third, the others share <= 2 exp(-6 d / tau)."""
    x = Draw(seed, dtype).x
    third = torch.tensor([1 / 3, 2 / 3], dtype=dtype)
    distance = (x.unsqueeze(-1) - third).abs().amin(-1)
    own = (x > third[0]).long() + (x > third[1]).long()
    for tau in TAUS:
        p = cantor.triadic(x, tau)
        others = 1 - p.gather(-1, own.unsqueeze(-1)).squeeze(-1)
        assert (others <= 2 * torch.exp(-6 * distance / tau) * (1 + 1e-3) + rounding(dtype)).all()
        left, middle, right = cantor.triadic(third, tau).unbind(-1)
        undecided = rounding(dtype, 4) / tau  # the float beside 1/3 is up to one rounding away from it
        assert (left[0] - middle[0]).abs() <= undecided and (middle[1] - right[1]).abs() <= undecided


def alpha_weighs_the_middle(seed: int, dtype: torch.dtype) -> None:
    """The slope of the published single level in alpha is the share of the middle third, at every x and tau."""
    d = Draw(seed, dtype)
    for tau in TAUS:
        alpha = torch.full_like(d.x, d.alpha).requires_grad_()
        (slope,) = torch.autograd.grad(cantor.FORMS["published"](d.x, alpha, tau, 1).sum(), alpha)
        close(slope, cantor.triadic(d.x, tau)[..., 1], rounding(dtype))


def staircases_mirror(seed: int, dtype: torch.dtype) -> None:
    """c_alpha(1 - x) = 1 - c_{1 - alpha}(x) for the published single level and the convergent form."""
    d = Draw(seed, dtype)
    levels = 3
    for form in (cantor.FORMS["published"], cantor.FORMS["convergent"]):
        for alpha in (0.5, d.alpha, -0.4):
            for tau in TAUS[:3]:
                mirrored = 1 - form(1 - d.x, 1 - alpha, tau, levels)
                # the rounding of 3 x is multiplied by 3 at each level, and by 1 / tau in the probabilities
                close(form(d.x, alpha, tau, levels), mirrored, rounding(dtype) * 3**levels / tau)


def staircases_climb(seed: int, dtype: torch.dtype) -> None:
    """For alpha in [0, 1] the published single level and the convergent form rise at every tau, and stay in [0, 1]."""
    d = Draw(seed, dtype)
    for form in (cantor.FORMS["published"], cantor.FORMS["convergent"]):
        for alpha in (0.0, 0.5, 1.0, d.alpha):
            for tau in TAUS:
                c = form(d.x, alpha, tau, LEVELS)
                assert (c.diff() >= -rounding(dtype)).all()
                assert ((c >= -rounding(dtype)) & (c <= 1 + rounding(dtype))).all()


def staircases_are_alpha_in_the_middle(seed: int, dtype: torch.dtype) -> None:
    """c(1/2) = alpha: to rounding at alpha = 1/2, else up to exp(-1 / tau) of |1 - 2 alpha|."""
    d = Draw(seed, dtype)
    half = torch.tensor([0.5], dtype=dtype)
    for form in (cantor.FORMS["published"], cantor.FORMS["convergent"]):
        for alpha in (0.5, d.alpha, -0.4, 1.3):
            for tau in TAUS:
                room = abs(1 - 2 * alpha) * math.exp(-1 / tau)
                assert (form(half, alpha, tau, LEVELS) - alpha).abs().item() <= room + rounding(dtype)


def a_negative_alpha_leaves_the_unit_interval(seed: int, dtype: torch.dtype) -> None:
    """The published run ended at alpha = -0.0764: c then lies in [alpha, 1], and below 0 from 0 to beyond 1/2."""
    d = Draw(seed, dtype)
    for alpha in (-0.0764, -d.alpha):
        for tau, share in ((0.25, 0.5), (1e-2, 0.99)):  # warm thirds leak into their neighbours
            c = cantor.FORMS["published"](d.x, alpha, tau, 1)
            assert ((c >= alpha - rounding(dtype)) & (c <= 1 + rounding(dtype))).all()
            assert c.min() < share * alpha
            assert (c.diff() < -rounding(dtype)).any()  # and it is no longer monotone


def convergent_form_converges(seed: int, dtype: torch.dtype) -> None:
    """The largest error, boundaries included, is below `convergent_bound` for every tau and depth, and goes to 0."""
    for levels in (1 + seed % 4, 16):
        errors = error_against("convergent", TAUS, levels)
        for tau, largest in zip(TAUS, errors.largest, strict=True):
            assert largest <= cantor.convergent_bound(tau, levels)
    assert errors.largest[-1] < 1e-3 < errors.largest[1]
    # any alpha in (0, 1): of the order of tau^s, s = -log m / log 3 (and 1.5 is room for its constant)
    alpha = 0.25 + Draw(seed, dtype).alpha / 2  # from 0.3 to 0.7: nearer to 0 or 1, tau^s needs a tau beyond rounding
    m = max(alpha, 1 - alpha)
    for tau, largest in zip(TAUS, error_against("convergent", TAUS, 24, alpha).largest, strict=True):
        assert largest <= 1.5 * tau ** (-math.log(m) / math.log(3)) + m**24


def staircases_have_no_jumps(seed: int, dtype: torch.dtype) -> None:
    """Beside each boundary of three levels both sides agree, at every tau: the published level, the convergent form."""
    for form in (cantor.FORMS["published"], cantor.staircase_convergent):
        for tau in TAUS:
            before, after = (form(x, 0.5, tau, LEVELS) for x in cantor.beside_boundaries(3))
            # 2e-15 times the steepest slope, which is below (3/2)^12 / tau: each level adds at most 3 / (2 tau) of it
            close(before, after, 2e-15 * 1.5**LEVELS * (1 + 6 / tau) + rounding(torch.float64))


def halting_form_converges_in_the_mean_only(seed: int, dtype: torch.dtype) -> None:
    """Its mean error goes to 0. At 1/3 and 2/3 it falls at every tau, and max(alpha, 1 - alpha) / 2 stays of that."""
    errors = error_against("halting", TAUS)
    assert errors.mean[-1] < 1e-3 < errors.mean[0]
    assert min(errors.largest) > 0.2
    for alpha in (0.5, Draw(seed, dtype).alpha):
        before, after = cantor.beside_boundaries(1)
        for tau in TAUS:
            fall = -(
                cantor.FORMS["halting"](after, alpha, tau, LEVELS) - cantor.FORMS["halting"](before, alpha, tau, LEVELS)
            )
            ends = cantor.FORMS["halting"](torch.tensor([0.0, 1.0], dtype=torch.float64), alpha, tau, LEVELS - 1)
            r = math.exp(-2 / tau)
            weights = torch.tensor([alpha + (1 - alpha) * r, 1 - alpha + alpha * r], dtype=torch.float64) / (2 + r)
            # the sides are 2e-15 apart, and 6 / tau times that apart in the exponents of the thirds
            close(fall[1:3], weights * ends.diff(), 1e-9)
        # what 24 levels leave of C(1) - C(0) = 1 is at most 0.9^23 = 0.09, and half of that in the error
        largest = error_against("halting", [TAUS[-1]], 24, alpha).largest[0]
        m = max(alpha, 1 - alpha)
        assert abs(largest - m / 2) <= m**24 + 1e-6


def multilevel_form_does_not_converge(seed: int, dtype: torch.dtype) -> None:
    """As tau falls, its mean error goes to 0.050, not 0; and the limit falls where Cantor's function never does."""
    errors = error_against("multilevel", TAUS)
    assert abs(errors.mean[-1] - 0.050) < 0.001
    before, after = (cantor.FORMS["multilevel"](x, 0.5, 1e-4, LEVELS)[1:3] for x in cantor.beside_boundaries(1))
    # all digits behind the boundary fall from 2 to 0: by 1 in all, of which it counts half; 12 levels lose 2^-12
    close(before - after, torch.full_like(after, 0.5), 2.0**-LEVELS + 1e-9)


def gradients_are_finite_at_digit_boundaries(seed: int, dtype: torch.dtype) -> None:
    """In x, alpha and tau, for every form, at and beside the boundaries of three levels, from tau = 1 to 1e-4."""
    boundaries = torch.arange(28, dtype=dtype) / 27
    x = torch.cat((boundaries, torch.nextafter(boundaries, boundaries + 1), torch.nextafter(boundaries, -boundaries)))
    for form in cantor.FORMS.values():
        for tau in TAUS:
            inside = x.clamp(0, 1).requires_grad_()
            alpha = torch.tensor(Draw(seed, dtype).alpha, dtype=dtype).requires_grad_()
            width = torch.tensor(tau, dtype=dtype).requires_grad_()
            found = torch.autograd.grad(form(inside, alpha, width, LEVELS).sum(), (inside, alpha, width))
            assert all(each.isfinite().all() for each in found)
            assert found[0].abs().max() > 0


LAWS = laws_in(globals())
