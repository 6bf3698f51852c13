"""The laws of `gauge/math.py`, over seeds and both precisions; proof that each can fail; a real text; bad input."""

import pytest
import torch

from mobius_lib.datasets import text
from mobius_lib.gauge import laws, log_cooccurrence
from mobius_lib.gauge import math as gauge
from tests import lawful

test_law = lawful.hold(laws)


def wider(mu, sigma, places, exact=gauge.gaussians):
    return exact(mu, 1.01 * sigma, places)


def of_square_root(sigma_0, terms, exponent=0.5, exact=gauge.kpz_widths):
    return exact(sigma_0, terms, 0.5)


def backwards(steps, exact=gauge.path_ordered):
    return exact(steps.flip(0))


def no_derivative(connection, gauge_, derivative, exact=gauge.gauge_transform):
    return exact(connection, gauge_, lambda x: 0 * derivative(x))


def correlated(x, k, exact=gauge.circular_convolution):
    return exact(x, k.flip(0))


def all_eigenvalues(d, eps=0.1, *, floor=1e-6):
    values, basis = torch.linalg.eigh(d.double())
    return ((basis * values.abs() ** (eps - 1)) @ basis[0]).to(d.dtype)


def ridge(w, g):
    gram = g @ g.mT
    return w @ g.mT @ torch.linalg.inv(gram + 0.3 * torch.eye(len(g), dtype=g.dtype))


def by_the_ends(connection, start, end, pieces):
    dx = (end - start) / pieces
    return torch.stack([connection(start + i * dx) * dx for i in range(pieces)])


def exact_instead(f, a):
    return f @ torch.linalg.matrix_exp(a).mT


# One fault per line, and a law that has to notice it.
FAULTS = [
    ("gaussians", wider, "gaussians_peak_fall_and_shift"),
    ("gaussians", wider, "cascades_add"),
    ("kpz_widths", of_square_root, "kpz_widths_grow_with_the_cube_root"),
    ("power_law", lambda x, y: (1 / 3 + 1e-4, 0.0), "kpz_widths_grow_with_the_cube_root"),
    ("circular_convolution", correlated, "fft_product_is_circular_convolution"),
    ("circulant", lambda k: torch.stack([k.roll(-i) for i in range(len(k))]), "fft_product_is_circular_convolution"),
    ("fft_product", lambda d, k0: gauge.fft_product_by_rows(d, k0), "printed_product_is_circulant"),
    ("diagonal_sums", lambda d: d.sum(0), "printed_product_is_circulant"),
    ("kernel", all_eigenvalues, "kernel_leaves_out_what_is_not_positive"),
    ("kernel", lambda d, eps=0.1, **_: d[0] * eps, "kernel_is_a_power_where_the_matrix_is_circulant"),
    ("path_ordered", backwards, "transports_compose_and_invert"),
    ("path_ordered", lambda steps: torch.linalg.matrix_exp(-steps.sum(0)), "transports_compose_and_invert"),
    ("path_ordered", backwards, "transport_is_gauge_covariant"),
    ("gauge_transform", no_derivative, "transport_is_gauge_covariant"),
    ("along", by_the_ends, "transport_is_gauge_covariant"),
    ("along", by_the_ends, "a_line_has_no_holonomy"),
    ("holonomy", lambda links: links[0] @ links[1] @ links[2], "holonomy_is_conjugated_by_a_gauge"),
    ("transport_first_order", lambda f, a: f - f @ a.mT, "first_order_differs_by_the_square_of_the_step"),
    ("transport_first_order", exact_instead, "first_order_differs_by_the_square_of_the_step"),
    ("frame_transport", lambda a, b: gauge.amplitudes(a, b), "frames_carry_vectors_to_the_nearest"),
    ("amplitudes", ridge, "frames_carry_vectors_to_the_nearest"),
    ("amplitudes", ridge, "shared_gaussians_are_a_factorisation"),
]  # fmt: skip
test_a_fault_is_noticed, test_every_law_can_fail = lawful.fail(laws, gauge, FAULTS)


def test_the_kernel_of_a_real_text_beyond_two_thousand_words():
    """Against a form without eigenvalues: |D| and the sign of D out of a polar decomposition, from singular values.

    f(D) = |D|^(eps - 1) (1 + sign D) / 2 is the power of the positive part; what is below the floor counts as zero.
    """
    words = 2001
    d = log_cooccurrence(text.words(text.king_james(), words)[0], words, 5)
    u, s, vh = torch.linalg.svd(d.double())
    power = torch.where(s > gauge.SMALLEST_EIGENVALUE * s[0], s ** (0.1 - 1), 0.0)
    unit = torch.eye(words, dtype=torch.float64)[0]
    expected = vh.mT @ (power * (vh @ (unit + u @ vh[:, 0]) / 2))
    # float64 all the way; an eigenvalue of 10^-6 of the largest is known to 10^-9 of itself
    assert (gauge.kernel(d.double()) - expected).norm() < 1e-7 * expected.norm()
    assert (gauge.kernel(d) - expected).norm() < 1e-6 * expected.norm(), "and rounded to float32 at the end"


def test_the_symmetric_frame_is_orthonormal_and_nearest():
    g = torch.randn(4, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = gauge.symmetric_frame(g)
    torch.testing.assert_close(q @ q.mT, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12)
    other = torch.linalg.qr(g.mT).Q.mT
    for turned in (other, -other):
        assert (g - q).norm() < (g - turned).norm()
    # two equal rows span one direction: a projection of rank 3 is left
    twice = torch.cat((g[:3], g[:1]))
    values = torch.linalg.svdvals(gauge.symmetric_frame(twice))
    assert values[2] == pytest.approx(1) and values[3] < 1e-12


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: gauge.kernel(torch.zeros(2, 3)), "d must be a square matrix"),
        (lambda: gauge.kernel(-torch.eye(3)), "d has no positive eigenvalue"),
        (lambda: gauge.kernel(torch.zeros(3, 3)), "d has no positive eigenvalue"),
        (lambda: gauge.power_law(torch.ones(2), torch.ones(2)), "x and y must be two lists of at least 3"),
        (lambda: gauge.power_law(torch.ones(3), torch.ones(3)), "x must hold different values"),
        (lambda: gauge.power_law(torch.arange(3), torch.ones(3)), "x and y must be positive"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_standard_error_of_an_exponent():
    """Over many noisy draws, the true exponent lies within two standard errors about 95 times of 100."""
    k, hits = torch.arange(1, 25).double(), 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        y = 3 * k**0.4 * torch.exp(0.2 * torch.randn(24, generator=generator, dtype=torch.float64))
        found, error = gauge.power_law(k, y)
        hits += abs(found - 0.4) < 2 * error
    assert 0.90 < hits / 400 < 0.98  # expected 0.94 (22 degrees of freedom), with a spread of 0.012
