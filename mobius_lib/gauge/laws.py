"""What must be true of the functions in `math.py`, as laws (see `mobius_lib.lawful`).

Source: the laws are stated in the docstrings of `math.py`; the checks are ours.
"""

from itertools import pairwise

import torch
from torch import Tensor

from mobius_lib.gauge import math as gauge
from mobius_lib.lawful import close, laws_in

WINDOWS = (5.0, 15.0, 50.0)
FIBRE = 5


class Draw:
    """Random matrices, cascades and connections of moderate size."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

        self.width = 24 + 5 * seed
        self.terms = 2 + seed % 5
        self.places = torch.arange(self.width, dtype=dtype)
        self.mu, self.sigma = uniform(self.terms) * self.width, 0.5 + uniform(self.terms) * self.width / 4
        self.matrix = normal(self.width + 3, self.width) + 3 * normal(self.width + 3, 1) * normal(1, self.width)
        self.square, self.row = normal(self.width, self.width), normal(self.width)
        self.vectors = normal(7, FIBRE)
        self.coefficients = 0.3 * normal(3, FIBRE, FIBRE)
        self.bend = 0.2 * normal(FIBRE, FIBRE)
        self.bases = [torch.eye(FIBRE, dtype=dtype) + 0.2 * normal(FIBRE, FIBRE) for _ in range(3)]
        self.frames = [normal(FIBRE, self.width) for _ in range(3)]

    def connection(self, x: float) -> Tensor:
        """A(x), whose values at different x do not commute, over x in [0, 1]."""
        first, second, third = self.coefficients
        return first + x * second + x * x * third

    def gauge(self, x: float) -> Tensor:
        """g(x) = exp(x B)."""
        return torch.linalg.matrix_exp(x * self.bend)

    def slope(self, x: float) -> Tensor:
        """dg/dx."""
        return self.bend @ self.gauge(x)

    def transport(self, start: float, end: float, pieces: int = 32) -> Tensor:
        """Along the drawn connection."""
        return gauge.path_ordered(gauge.along(self.connection, start, end, pieces))


def rounding(dtype: torch.dtype, units: float = 64) -> float:
    """So many rounding units: 64 covers some dozens of multiplications of numbers around 1."""
    return units * torch.finfo(dtype).eps


def gaussians_peak_fall_and_shift(seed: int, dtype: torch.dtype) -> None:
    """1 at mu, exp(-1/2) at a distance of sigma, even, and a moved mu is moved columns."""
    d = Draw(seed, dtype)
    g = gauge.gaussians(d.mu, d.sigma, d.places)
    assert ((g >= 0) & (g <= 1)).all()
    # each Gaussian at its own centre, and beside it; j - mu rounds by eps V, over sigma >= 1/2, in the exponent's slope
    tolerance = rounding(dtype) * d.width
    close(gauge.gaussians(d.mu, d.sigma, d.mu).diagonal(), torch.ones_like(d.mu))
    for side in (-1, 1):
        beside = gauge.gaussians(d.mu, d.sigma, d.mu + side * d.sigma).diagonal()
        close(beside, torch.full_like(d.mu, -0.5).exp(), tolerance)
    close(gauge.gaussians(d.mu + 3, d.sigma, d.places + 3), g, tolerance)


def cascades_add(seed: int, dtype: torch.dtype) -> None:
    """Linear in the amplitudes, and the same written as a double loop."""
    d = Draw(seed, dtype)
    a = d.row[: d.terms]
    w = gauge.cascade(a, d.mu, d.sigma, d.places)
    for j in range(0, d.width, 5):
        terms = a * torch.exp(-((j - d.mu) ** 2) / (2 * d.sigma**2))
        close(w[j], terms.sum(), rounding(dtype) * d.width)  # as above, the exponent's slope
    doubled = gauge.cascade(torch.stack((a, 2 * a)), d.mu, d.sigma, d.places)
    close(doubled, torch.stack((w, 2 * w)), rounding(dtype))


def kpz_widths_grow_with_the_cube_root(seed: int, dtype: torch.dtype) -> None:
    """sigma_8 = 2 sigma_1, and the measured exponent is 1/3; for another exponent, that one."""
    d = Draw(seed, dtype)
    widths = gauge.kpz_widths(d.sigma[0], 27)
    close(widths[7] / widths[0], torch.tensor(2, dtype=dtype), rounding(dtype))
    close(widths[26] / widths[0], torch.tensor(3, dtype=dtype), rounding(dtype))
    for exponent in (gauge.KPZ, 0.5):
        found, error = gauge.power_law(torch.arange(1, 28), gauge.kpz_widths(d.sigma[0], 27, exponent))
        assert abs(found - exponent) < rounding(dtype) and error < rounding(dtype)


def fft_product_is_circular_convolution(seed: int, dtype: torch.dtype) -> None:
    """Against the sum itself, against the circulant matrix, and it commutes with cyclic shifts."""
    d = Draw(seed, dtype)
    made = gauge.circular_convolution(d.square, d.row)
    size = d.row.abs().sum().item() * d.square.abs().max().item()
    tolerance = rounding(dtype, 8) * size
    j = torch.arange(d.width)
    terms = (d.square[:, m : m + 1] * d.row[(j - m) % d.width] for m in range(d.width))
    direct = sum(terms, start=torch.zeros_like(made))
    close(made, direct, tolerance)
    close(made, d.square @ gauge.circulant(d.row), tolerance)
    close(gauge.circular_convolution(d.square.roll(3, -1), d.row), made.roll(3, -1), tolerance)


def printed_product_is_circulant(seed: int, dtype: torch.dtype) -> None:
    """IFFT2(FFT2(D) . FFT2(circ(k0))), by two-dimensional transforms: what `fft_product` gives, with equal diagonals.

    It is the circular convolution of the two in both directions, added up row by row. And D may be replaced by any
    matrix with the same sums along its diagonals: the product cannot tell.
    """
    d = Draw(seed, dtype)
    spectrum = torch.fft.fft2(d.square) * torch.fft.fft2(gauge.circulant(d.row))
    printed = torch.fft.ifft2(spectrum).real
    made = gauge.fft_product(d.square, d.row)
    # V^2 terms, each up to |D| |k0|, added through transforms
    tolerance = rounding(dtype, 8) * d.square.abs().sum().item() * d.row.abs().max().item()
    close(made, printed, tolerance)
    moved = (gauge.circulant(d.row).roll(i, 0) @ gauge.circulant(row) for i, row in enumerate(d.square))
    direct = sum(moved, start=torch.zeros_like(made))
    close(made, direct, tolerance)
    close(printed, printed.roll((1, 1), (0, 1)), tolerance)
    other = gauge.circulant(gauge.diagonal_sums(d.square) / d.width)
    assert (other - d.square).abs().max() > 0.1
    close(gauge.fft_product(other, d.row), made, tolerance)


def kernel_is_a_power_where_the_matrix_is_circulant(seed: int, dtype: torch.dtype) -> None:
    """D circ(k0) = D^eps for a positive circulant D; for eps = 1 k0 is the first unit vector; for eps = 0, of D^-1."""
    d = Draw(seed, dtype)
    spectrum = 0.5 + d.row.abs()
    spectrum = (spectrum + spectrum[-torch.arange(d.width) % d.width]) / 2  # even, so that D is real and symmetric
    circulant = gauge.circulant(torch.fft.ifft(spectrum).real)
    for eps in (0.01, 0.1, 0.5):
        k0 = gauge.kernel(circulant, eps)
        power = gauge.circulant(torch.fft.ifft(spectrum**eps).real)
        # k0 is rounded to the precision at the end, and D as it came: V terms of size 1, a condition number below 8
        close(gauge.fft_product_by_rows(circulant, k0), power, rounding(dtype) * 8)
    positive = d.square @ d.square.mT / d.width + torch.eye(d.width, dtype=dtype)
    unit = torch.eye(d.width, dtype=dtype)[0]
    close(gauge.kernel(positive, 1.0), unit, rounding(dtype))
    close(gauge.kernel(positive, 0.0), torch.linalg.inv(positive.double())[0].to(dtype), rounding(dtype))


def kernel_leaves_out_what_is_not_positive(seed: int, dtype: torch.dtype) -> None:
    """Made from chosen eigenvalues: the negative ones and the zero add nothing, and all is finite."""
    d = Draw(seed, dtype)
    basis = torch.linalg.qr(d.square.double()).Q
    values = torch.linspace(-1, 2, d.width, dtype=torch.float64)
    values[values.abs() < 0.05] = 0
    k0 = gauge.kernel(((basis * values) @ basis.mT).to(dtype), 0.1, floor=1e-3)
    kept = values > 0
    expected = (basis[0, kept] * values[kept] ** -0.9) @ basis[:, kept].mT
    # the least kept eigenvalue is 0.05: rounding of D times 0.05^-1.9 / gap; 300 covers it
    close(k0, expected.to(dtype), rounding(dtype) * 300)


def transports_compose_and_invert(seed: int, dtype: torch.dtype) -> None:
    """Second part times first part, the way back is the inverse, and the order counts."""
    d = Draw(seed, dtype)
    steps = gauge.along(d.connection, 0.0, 1.0, 32)
    whole, first, second = (gauge.path_ordered(part) for part in (steps, steps[:12], steps[12:]))
    tolerance = rounding(dtype, 32 * 8) * whole.abs().max().item()  # 32 products of matrices near 1
    close(second @ first, whole, tolerance)
    assert (first @ second - whole).abs().max() > 1e-3
    back = d.transport(1.0, 0.0)
    one = torch.eye(FIBRE, dtype=dtype)
    close(back @ whole, one, tolerance * back.abs().max().item())
    close(gauge.path_ordered(steps[:0]), one)


def a_line_has_no_holonomy(seed: int, dtype: torch.dtype) -> None:
    """Out 5 -> 15 -> 50 and back to 5 on the line of log(window): 1 exactly transported, not by first-order steps."""
    d = Draw(seed, dtype)
    stops = [torch.tensor(window / WINDOWS[0]).log10().item() for window in (*WINDOWS, WINDOWS[0])]
    pairs = list(pairwise(stops))
    exact = [d.transport(a, b, 512) for a, b in pairs]
    one = torch.eye(FIBRE, dtype=dtype)
    # 1024 products of matrices near 1, rounded; and the middle rule's error, of order 1 / 512^2
    close(gauge.holonomy(exact), one, rounding(dtype, 1024 * 8) + 1e-4)
    printed = [gauge.transport_first_order(one, -gauge.along(d.connection, a, b, 1)[0]).mT for a, b in pairs]
    assert (gauge.holonomy(printed) - one).abs().max() > 1e-2


def transport_is_gauge_covariant(seed: int, dtype: torch.dtype) -> None:
    """A' = g A g^-1 - g' g^-1 is carried by g(end) U g(start)^-1, with an error that falls as the step squared."""
    d = Draw(seed, torch.float64)  # the error at the finer step is 1e-5, near float32's rounding of 64 products
    changed = gauge.gauge_transform(d.connection, d.gauge, d.slope)
    errors = []
    for pieces in (8, 16, 32):
        found = gauge.path_ordered(gauge.along(changed, 0.0, 1.0, pieces))
        moved = torch.linalg.solve(d.gauge(0.0), d.gauge(1.0) @ d.transport(0.0, 1.0, 2048), left=False)
        errors.append((found - moved).norm().item())
    assert errors[-1] < 1e-3
    for coarse, fine in pairwise(errors):
        assert 3.5 < coarse / fine < 4.5  # 4, but for terms of the fourth order
    # of no connection at all, only the change of basis is seen
    zero = torch.zeros(FIBRE, FIBRE, dtype=torch.float64)
    pure = gauge.path_ordered(gauge.along(gauge.gauge_transform(lambda x: zero, d.gauge, d.slope), 0.0, 1.0, 8))
    close(pure, torch.linalg.solve(d.gauge(0.0), d.gauge(1.0), left=False), rounding(torch.float64))


def holonomy_is_conjugated_by_a_gauge(seed: int, dtype: torch.dtype) -> None:
    """Links g_to T g_from^-1 give g H g^-1 with the g of the beginning: eigenvalues, trace and determinant stay."""
    d = Draw(seed, dtype)
    links = [torch.linalg.matrix_exp(a) for a in d.coefficients]
    moved = [torch.linalg.solve(d.bases[i], d.bases[(i + 1) % 3] @ link, left=False) for i, link in enumerate(links)]
    before, after = gauge.holonomy(links), gauge.holonomy(moved)
    scale = before.abs().max().item() * max(torch.linalg.cond(basis).item() for basis in d.bases) ** 2
    tolerance = rounding(dtype) * scale
    close(after, torch.linalg.solve(d.bases[0], d.bases[0] @ before, left=False), tolerance)
    close(after.trace(), before.trace(), tolerance)
    close(torch.linalg.det(after), torch.linalg.det(before), tolerance * scale**2)
    one = torch.eye(FIBRE, dtype=dtype)
    assert (before - one).abs().max() > 0.05 and (after - before).abs().max() > 1e-3


def first_order_differs_by_the_square_of_the_step(seed: int, dtype: torch.dtype) -> None:
    """|f + h A f - exp(h A) f| = h^2 |A^2 f| / 2 and less: halving h quarters it."""
    d = Draw(seed, torch.float64)
    a = d.coefficients[0]
    errors = []
    for h in (2**-5, 2**-6, 2**-7):
        exact = d.vectors @ torch.linalg.matrix_exp(h * a).mT
        errors.append((gauge.transport_first_order(d.vectors, h * a) - exact).norm().item())
        leading = h**2 / 2 * (d.vectors @ (a @ a).mT).norm().item()
        # the next term is h^3 A^3 f / 6, a third of h |A| beside this one where directions agree
        assert abs(errors[-1] / leading - 1) < h * torch.linalg.matrix_norm(a, 2).item() * 5
    for coarse, fine in pairwise(errors):
        assert 3.8 < coarse / fine < 4.2


def frames_carry_vectors_to_the_nearest(seed: int, dtype: torch.dtype) -> None:
    """To itself 1; covariant under changes of basis; nearest row; round a loop of different cascades it shrinks."""
    d = Draw(seed, dtype)
    first, second, third = d.frames
    one = torch.eye(FIBRE, dtype=dtype)
    condition = max(torch.linalg.cond(frame).item() for frame in d.frames) ** 2
    tolerance = rounding(dtype) * condition
    close(gauge.frame_transport(first, first), one, tolerance)
    t = gauge.frame_transport(first, second)
    rest = d.vectors @ first - d.vectors @ t.mT @ second
    close(rest @ second.mT, torch.zeros(7, FIBRE, dtype=dtype), tolerance * d.width)  # what is left is orthogonal
    moved = [torch.linalg.solve(g.mT, frame) for g, frame in zip(d.bases, d.frames, strict=True)]
    expected = torch.linalg.solve(d.bases[0], d.bases[1] @ t, left=False)
    close(gauge.frame_transport(moved[0], moved[1]), expected, tolerance * 16)  # bases with condition up to about 4
    loop = gauge.holonomy([gauge.frame_transport(a, b) for a, b in ((first, second), (second, third), (third, first))])
    assert torch.linalg.eigvals(loop.double()).abs().max() < 1 - 1e-3


def shared_gaussians_are_a_factorisation(seed: int, dtype: torch.dtype) -> None:
    """With mu and sigma shared, W = hw G has rank at most N, so cut-off singular values bound its error from below.

    Three lines: hw is M x N and G is N x V, so the rank of hw G is at most N. Among all matrices of rank at most N the
    singular value decomposition cut off after N terms is the nearest (Eckart and Young, 1936). So none is nearer.
    """
    d = Draw(seed, dtype)
    g = gauge.gaussians(d.mu, d.sigma, d.places)
    hw = gauge.amplitudes(d.matrix, g)
    exact = d.matrix.double()
    made = (hw @ g).double()
    values = torch.linalg.svdvals(made)
    assert (values[d.terms :] < rounding(dtype) * values[0]).all()
    bound = torch.linalg.svdvals(exact)[d.terms :].square().sum().sqrt()
    error = (exact - made).norm()
    assert error >= bound * (1 - rounding(dtype))
    # hw is the least squares solution: no other is nearer
    change = 1e-2 * d.square[:1, : d.terms].double() * torch.ones(len(exact), 1, dtype=torch.float64)
    for side in (1, -1):
        assert (exact - made - side * change @ g.double()).norm() > error


LAWS = laws_in(globals())
