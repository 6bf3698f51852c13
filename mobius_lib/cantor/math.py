"""Cantor's function and its soft staircases as pure functions.

Each function is one equation of chapter 2. They import only torch and hold no state; `mobius_lib.cantor.staircase`
binds them to parameters. x is a position in [0, 1]; written in base three, its digits say in which third of which third
it lies. Nothing here has a physical unit.

The exact function. Read the ternary digits of x up to the first 1, write every 2 as a 1, and read the result in base
two: that is Cantor's function c. It is the only bounded function with

    c(x / 3) = c(x) / 2        c = 1/2 on [1/3, 2/3]        c((x + 2) / 3) = 1/2 + c(x) / 2.

Here 1/2 may be any alpha in (0, 1): alpha c(x), the plateau alpha, alpha + (1 - alpha) c(x). That is another devil's
staircase, and the meaning that the learned `alpha` of the published layer has at its middle third.

The soft forms. `triadic` turns the position in a third into three probabilities at temperature tau. All forms but the
published ones are the same recursion from the deepest level to the first,

    C(z) = p_left alpha C(z_left) + p_mid alpha + p_right (alpha + (1 - alpha) C(z_right)),

and differ in the two child positions alone; `staircase_convergent` says why that decides whether the limit is c.

Source: the GeoFractalDavid card and its published layer for `triadic`, `staircase_published` and
`staircase_multilevel`; textbook mathematics for the exact function; `staircase_halting` and `staircase_convergent` are
ours.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

DIMENSION = math.log(2) / math.log(3)
"""0.6309...: the Hausdorff dimension of Cantor's set, and the Hoelder exponent of Cantor's function."""

CENTERS = (0.5, 1.5, 2.5)
"""The centres of the three thirds on the axis y = 3 x."""

MAX_LEVELS = 40
"""More levels than any precision here has ternary digits: float32 has 15, float64 has 33."""

_BITS = 61
"""Three times a number of 61 bits still fits into an int64."""


def cantor_function(x: Tensor, digits: int = 40, alpha: float = 0.5) -> Tensor:
    """Cantor's function, digit by digit, in exact integer arithmetic.

    The digits are those of the number that the float x is, not of the number that one meant: the float64 nearest to 1/3
    lies 2e-17 below it and has the digits 0.0222..., so its value is 3e-11 below 1/2; the float32 lies above it, and
    its value is 1/2. c is only Hoelder continuous, so a rounding unit of float32 in x can move it by 4e-5.

    Laws: monotone from c(0) = 0 to c(1) = 1; c_alpha(1 - x) = 1 - c_{1 - alpha}(x); c(x / 3) = alpha c(x)
    and c((x + 2) / 3) = alpha + (1 - alpha) c(x); c = alpha on [1/3, 2/3]; for alpha = 1/2, |c(x) - c(y)| <=
    |x - y|^DIMENSION.

    Args:
        x: any shape; beyond [0, 1] c is 0 or 1, and NaN stays NaN.
        digits: ternary digits read. What is cut off is at most max(alpha, 1 - alpha)^digits: 1e-12 at the defaults.
        alpha: the height of the middle plateau, in [0, 1]; 1/2 gives Cantor's function.
    Returns:
        float64, the same shape, without gradient (the derivative is 0 almost everywhere).
    Raises:
        ValueError: when alpha is outside [0, 1], where the recursion has no limit.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} has no exact staircase: the recursion converges for alpha in [0, 1] only.")
    position = x.detach().double()
    # z = (high + low / 2^61) / 2^61 holds every float64 above 2^-70 without rounding.
    scaled = position.clamp(0, 1) * 2.0**_BITS
    high = scaled.floor().long()
    low = ((scaled - scaled.floor()) * 2.0**_BITS).long()
    value, weight = torch.zeros_like(position), torch.ones_like(position)
    for _ in range(digits):
        low = 3 * low
        high = 3 * high + (low >> _BITS)
        low = low & ((1 << _BITS) - 1)
        digit = (high >> _BITS).clamp(max=2)  # 1 = 0.222..., not 3
        high = high - (digit << _BITS)
        value = value + (digit > 0).double() * weight * alpha
        weight = weight * ((digit == 0).double() * alpha + (digit == 2).double() * (1 - alpha))  # 0 once a digit is 1
    value = value + weight * (high.double() / 2.0**_BITS)
    return torch.where(position.isnan(), position, value)


def cantor_inverse(y: Tensor, digits: int = 64) -> tuple[Tensor, Tensor]:
    """All x with c(x) = y: the closed interval [low, high].

    A plateau for every dyadic y = m / 2^n (m odd, 0 < y < 1), of width 3^-n: the binary digits of y become ternary
    digits, each 1 a 2 but the last, which stays a 1. A point for every other y, and for 0 and 1. Every float is dyadic;
    its plateau is wider than rounding only if it has at most some thirty binary digits.

    Laws: c((low + high) / 2) = y; 1/2 gives (1/3, 2/3); low(1 - y) = 1 - high(y).

    Args:
        y: any shape, in [0, 1].
        digits: binary digits read; those cut off move low and high by at most 3^-digits.
    Returns:
        low, high: float64, the shape of y.
    Raises:
        ValueError: when a y is NaN or outside [0, 1], which Cantor's function does not reach.
    """
    rest = y.detach().double()
    if not ((rest >= 0) & (rest <= 1)).all():
        raise ValueError("Cantor's function has values in [0, 1] only: y holds NaN or a number outside.")
    low, width = torch.zeros_like(rest), torch.zeros_like(rest)
    for k in range(1, digits + 1):
        rest = 2 * rest
        bit = (rest >= 1).double()
        rest = rest - bit
        last = (bit > 0) & (rest == 0)
        low = low + bit * torch.where(last, 1.0, 2.0) * 3.0**-k
        width = torch.where(last, 3.0**-k, width)
    low = torch.where(y == 1, 1.0, low)  # 0.111... in base two
    return low, low + width


def triadic(x: Tensor, tau: Tensor | float) -> Tensor:
    """How much x lies in the left, the middle and the right third: softmax over j of -(3 x - CENTERS_j)^2 / tau.

    Computed from differences to the middle, 2 (1 - 3x) / tau and 2 (3x - 2) / tau, which are the same softmax without
    the squares: the small numbers near a boundary are then not lost beside large ones.

    Laws: not negative, sum 1; triadic(1 - x) is triadic(x) turned round; left = middle at x = 1/3 and middle = right at
    2/3 for every tau; at a distance d inside a third the other two share at most 2 exp(-6 d / tau).

    Args:
        x: any shape.
        tau: scalar > 0, in units of y^2 with y = 3 x.
    Returns:
        (..., 3): p_left, p_mid, p_right.
    """
    y = 3 * x
    return torch.softmax(torch.stack((2 * (1 - y) / tau, torch.zeros_like(y), 2 * (y - 2) / tau), dim=-1), dim=-1)


def staircase_published(x: Tensor, alpha: Tensor | float, tau: Tensor | float, levels: int = 1) -> Tensor:
    """The single level of the published layer: c = alpha p_mid + p_right.

    Laws: in [min(0, alpha), max(1, alpha)], so a negative alpha takes c below 0; monotone for alpha in [0, 1];
    c_alpha(1 - x) = 1 - c_{1 - alpha}(x); alpha at x = 1/2, up to |1 - 2 alpha| exp(-1 / tau). As tau -> 0 it becomes
    three steps 0, alpha, 1, and at alpha = 1/2 stays 1/6 away from Cantor's function in the mean.

    Args:
        x: any shape, in [0, 1] (outside, taken to the nearer end). At x = 1 the published y = 3 x mod 3 is 0; here, and
            in all forms, 1 is the end of the last third.
        alpha: scalar.
        tau: scalar > 0.
        levels: accepted and unused, so that all forms are called alike.
    Returns:
        the shape of x.
    """
    _, middle, right = triadic(x.clamp(0, 1), tau).unbind(-1)
    return alpha * middle + right


def staircase_multilevel(x: Tensor, alpha: Tensor | float, tau: Tensor | float, levels: int) -> Tensor:
    """The published several levels: sum over k = 1..levels of 2^-k (p_right,k + alpha p_mid,k).

    p_k belongs to y_k = 3^k x mod 3, the k-th digit with what follows it.

    **It does not converge to Cantor's function**: the digits after the first 1 are still counted. At alpha = 1/2 its
    limit for tau -> 0 is sum_k 2^-k digit_k / 2, which is 0.050 away from c in the mean and falls by 1/4 at x = 1/3 and
    at x = 2/3, so it is not even monotone.

    Laws: in [min(0, alpha), max(1, alpha)] (1 - 2^-levels); one level is half of `staircase_published`.

    Args:
        x: any shape, in [0, 1] (outside, taken to the nearer end).
        alpha: scalar.
        tau: scalar > 0.
        levels: from 1 to 40.
    Returns:
        the shape of x.
    """
    total = torch.zeros_like(x)
    for k, (_, z) in enumerate(_walk(x.clamp(0, 1), levels)[:-1]):
        _, middle, right = triadic(z, tau).unbind(-1)
        total = total + 2.0 ** -(k + 1) * (right + alpha * middle)
    return total


def staircase_halting(x: Tensor, alpha: Tensor | float, tau: Tensor | float, levels: int) -> Tensor:
    """The published levels, and a middle third ends the sum, as it does in Cantor's function.

    C(z) = p_left alpha C(z') + p_mid alpha + p_right (alpha + (1 - alpha) C(z')), with **one** child position for both
    branches, z' = 3 z mod 1, and 0 below the last level. At alpha = 1/2 it is
    sum_k 2^-k [prod_{j<k} (1 - p_mid,j)] (p_mid,k + p_right,k).

    Converges as tau -> 0 to Cantor's function (up to max(alpha, 1 - alpha)^levels):
        at every x that is no boundary of a third of the first `levels` levels, with an error of the order of
        exp(-6 d / tau), d the least distance of the digits z_k from 1/3 and 2/3;
        uniformly outside any neighbourhood of these finitely many boundaries, and so in the mean.
    Not uniformly on [0, 1]: z' jumps from 1 to 0 at a boundary, the probabilities do not, and so the branch that has
    just been left is asked at the wrong end. With r = exp(-2 / tau) and D = C(1) - C(0) of one level less, the form
    falls by (alpha + (1 - alpha) r) D / (2 + r) at 1/3 and by (1 - alpha + alpha r) D / (2 + r) at 2/3 (a negative
    alpha: rises). As tau -> 0 and levels -> infinity the errors beside them go to alpha / 2 and (1 - alpha) / 2, and
    max(alpha, 1 - alpha) / 2 is then the largest error on [0, 1]: 1/4 at alpha = 1/2, and 0.205 still at tau = 1.

    Args:
        x: any shape, in [0, 1] (outside, taken to the nearer end).
        alpha: scalar; the limit exists for alpha in (0, 1).
        tau: scalar > 0.
        levels: from 1 to 40.
    Returns:
        the shape of x.
    Source:
        ours.
    """
    value = torch.zeros_like(x)
    for _, z in reversed(_walk(x.clamp(0, 1), levels)[:-1]):
        left, middle, right = triadic(z, tau).unbind(-1)
        value = alpha * (middle + right) + (alpha * left + (1 - alpha) * right) * value
    return value


def staircase_convergent(x: Tensor, alpha: Tensor | float, tau: Tensor | float, levels: int) -> Tensor:
    """The soft staircase that converges **uniformly** to Cantor's function as tau -> 0 and levels -> infinity.

    From the deepest level to the first, with the shares of `triadic`, it takes

        C(z) = p_left alpha C(z_left) + p_mid alpha + p_right (alpha + (1 - alpha) C(z_right)),

    where each branch has its **own** child position, held at the end of its third:

        z_left = clamp(3 z, 0, 1)        z_right = clamp(3 z - 2, 0, 1)        C_0(z) = z.

    At a boundary all branches then have the same value (alpha at 1/3, since c(1) = 1 and c(0) = 0), so it does not
    matter there that the probabilities are undecided. Where they are decided, they are right.

    Proof, for alpha in (0, 1). Let T be one step of the recursion and m = max(alpha, 1 - alpha).
        1. T is linear in C but for a constant, and multiplies it by p_left alpha and p_right (1 - alpha), whose sum is
           at most m. So |T f - T g| <= m |f - g|, in the largest difference.
        2. c nearly solves C = T C. In the middle third all three branches of T c are alpha, which is c. In the left
           third two are alpha and one is c, so T c - c = (1 - p_left) (alpha - c). At a distance d from 1/3, the
           first factor is at most 2 exp(-6 d / tau), and the second, alpha (1 - c(1 - 3 d)), goes to 0 with d. The
           right third mirrors it. So e(tau) = max |T c - c| -> 0: each factor is small where the other is not.
        3. |C - c| <= m^levels |C_0 - c| + e(tau) / (1 - m).
    At alpha = 1/2, 1 - c(1 - h) = c(h) <= h^s with s = DIMENSION, and so e(tau) <= max_h h^s exp(-2 h / tau):
    `convergent_bound` is the sum. In general e is of the order of tau^(-log m / log 3).

    Cost: linear in levels. In the left third z_right is exactly 0, in the right third z_left is exactly 1, in the
    middle both; so only one branch is followed, and C(0) and C(1) are two more points carried along.

    Laws: continuous; monotone for alpha in [0, 1] at **every** tau; c_alpha(1 - x) = 1 - c_{1 - alpha}(x); alpha at
    x = 1/2 up to |1 - 2 alpha| exp(-1 / tau); in [0, 1] for alpha in [0, 1]. For tau > 0, C(0) is not 0 but of the
    order of exp(-2 / tau). Since the branches meet, its slope does not grow as tau falls (the other forms' does, as
    1 / tau): it stays of the order of (3 m)^levels, that of c's own polygon. It jumps at the boundaries, where autograd
    gives the one-sided slope of the third to which the float belongs.

    Args:
        x: any shape, in [0, 1] (outside, taken to the nearer end).
        alpha: scalar. Outside (0, 1) each finite depth is defined, but there is no limit.
        tau: scalar > 0; values and gradients are finite down to 1e-4 and beyond, in float32 and float64.
        levels: from 1 to 40.
    Returns:
        the shape of x.
    Source:
        ours.
    """
    ends = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    *path, (_, value) = _walk(torch.cat((x.clamp(0, 1).flatten(), ends)), levels)
    for digit, z in reversed(path):
        left, middle, right = triadic(z, tau).unbind(-1)
        at_left = torch.where(digit == 0, value, value[-1])  # beyond the left third: C(1)
        at_right = torch.where(digit == 2, value, value[-2])  # before the right third: C(0)
        value = left * alpha * at_left + middle * alpha + right * (alpha + (1 - alpha) * at_right)
    return value[:-2].view(x.shape)


def convergent_bound(tau: float, levels: int) -> float:
    """How far `staircase_convergent` at alpha = 1/2 can be from Cantor's function, anywhere.

    2^-levels + 2 (s tau / 2e)^s with s = DIMENSION: steps 2 and 3 of the proof there. The maximum of
    h^s exp(-2 h / tau) is at h = s tau / 2, and |x - c(x)| <= 1.

    Args:
        tau: > 0.
        levels: at least 1.
    Returns:
        the bound.
    Source:
        ours.
    """
    return 2.0**-levels + 2 * (DIMENSION * tau / (2 * math.e)) ** DIMENSION


Form = Callable[[Tensor, Tensor | float, Tensor | float, int], Tensor]

FORMS: dict[str, Form] = {
    "published": staircase_published,
    "multilevel": staircase_multilevel,
    "halting": staircase_halting,
    "convergent": staircase_convergent,
}
"""The soft staircases by name, each called with (x, alpha, tau, levels)."""


def arc_length(y: Tensor) -> Tensor:
    """The length of the line through points whose x are spread evenly over [0, 1].

    Laws: at least the distance of its ends, sqrt(1 + (y_last - y_first)^2); at most 1 + |y_last - y_first| where y is
    monotone. Cantor's function reaches that limit, 2, though it is flat almost everywhere; a smooth curve does not.

    Args:
        y: (..., N), N >= 2.
    Returns:
        (...).
    """
    rise = y.diff(dim=-1)
    return torch.hypot(rise, torch.full_like(rise, 1 / rise.shape[-1])).sum(-1)


def beside_boundaries(depth: int) -> tuple[Tensor, Tensor]:
    """Both sides of every boundary of a third, where a form can jump: j / 3^depth, taken a little down and up.

    Laws: the first `depth` digits of before_j are those of j - 1, and of after_j those of j, in base three; the two are
    at most 2e-15 apart.

    Args:
        depth: levels of thirds, from 1 to 10.
    Returns:
        before, after: (3^depth + 1,) float64 in [0, 1], rising; 0 has only an after, and 1 only a before.
    """
    boundary = torch.arange(3**depth + 1, dtype=torch.float64) / 3**depth
    # 1e-15 is more than the roundings of 3 z in all levels add up to, and 3^10 of it is far below any tau in use
    return (boundary - 1e-15).clamp(0, 1), (boundary + 1e-15).clamp(0, 1)


def error_points(depth: int = 6) -> Tensor:
    """Where to look for the largest distance of a soft form from Cantor's function: an even grid misses it.

    A form jumps at the boundaries of its levels. Between two of them it is smooth, where Cantor's function is a
    staircase, so the distance is largest at an end of a plateau, which is a boundary of a deeper level. So: both
    sides of all boundaries down to a depth; and, because a small tau and the last of many levels leave errors that are
    narrower than these, the ends of plateaus close to 0, 1/3, 2/3 and 1, twelve levels deeper. At depth 6 that finds
    the largest of all boundaries of 13 levels (to 1e-9 at alpha = 1/2; within 2 % at alpha = 0.3).

    Args:
        depth: levels of thirds, from 1 to 10.
    Returns:
        (2 * 3^depth + 1298,) float64 in [0, 1].
    """
    digits = torch.tensor([i for i in range(1, 27) if i % 3], dtype=torch.float64)
    distance = (digits * 3.0 ** -torch.arange(depth + 1, depth + 13, dtype=torch.float64).view(-1, 1)).flatten()
    coarse = torch.arange(4, dtype=torch.float64).view(-1, 1) / 3
    return torch.cat((*beside_boundaries(depth), (coarse - distance)[1:].flatten(), (coarse + distance)[:3].flatten()))


def hoelder_exponent(y: Tensor) -> float:
    """The s in max |y(x + h) - y(x)| ~ h^s, by least squares of the logarithms over h = 1, 3, 9, ... steps of the grid.

    1 for a smooth curve on a fine grid, `DIMENSION` for Cantor's function (exactly, if the grid has 3^n steps).

    Args:
        y: (N,) on an even grid, N >= 10.
    Returns:
        the exponent.
    Raises:
        ValueError: when there are fewer than ten points, or all are equal.
    """
    steps = y.numel() - 1
    if y.dim() != 1 or steps < 9:
        raise ValueError(
            f"y must be one row of at least 10 values for two step sizes to compare, got {tuple(y.shape)}."
        )
    lags = [3**k for k in range(int(math.log(steps) / math.log(3) + 1e-9))]
    rises = torch.stack([(y[lag:] - y[:-lag]).abs().max() for lag in lags]).double()
    if (rises == 0).any():
        raise ValueError("y repeats itself (constant, or with the period of the step): it has no Hoelder exponent.")
    h = torch.tensor(lags, dtype=torch.float64, device=rises.device).log()
    h = h - h.mean()
    return ((h * rises.log()).sum() / h.square().sum()).item()


def _walk(x: Tensor, levels: int) -> list[tuple[Tensor, Tensor]]:
    """(digit_k, z_k) for k = 1..levels, then what is left: z_1 = x, digit = floor(3 z), z_{k+1} = 3 z_k - digit.

    Rounding to nearest keeps the order of positions and adds up to less than two rounding units of x, however many
    levels there are: each error is divided by 3 for every level above it.
    """
    if not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"levels must be from 1 to {MAX_LEVELS}, got {levels}.")
    return list(_digits(x, levels))


def _digits(z: Tensor, levels: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(levels):
        digit = (3 * z).detach().floor().clamp(0, 2)
        yield digit, z
        z = 3 * z - digit
    yield torch.zeros_like(z), z
