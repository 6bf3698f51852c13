"""The joint form of cosine and distance: the numbers of `math.py`, all gradients, and memory."""

import pytest
import torch
from torch.nn import functional as F

from mobius_lib.bench.measure import peak_bytes
from mobius_lib.simplex import math as simplex
from mobius_lib.simplex.fast import products
from mobius_lib.simplex.fast.products import cosine_and_distance

CPU = torch.device("cpu")


def draw(b, c, k, d, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = F.normalize(torch.randn(b, d, generator=generator, dtype=dtype), dim=-1)
    v = 0.7 * torch.randn(c, k + 1, d, generator=generator, dtype=dtype)
    return q.requires_grad_(), v.requires_grad_()


def gradients(function, q, v, seed=9):
    cosine, distance = function(q, v)
    generator = torch.Generator().manual_seed(seed)
    pulls = [torch.randn(cosine.shape, generator=generator, dtype=torch.float64).to(cosine.dtype) for _ in range(2)]
    return (cosine, distance, *torch.autograd.grad([cosine, distance], [q, v], pulls))


def readable(q, v):
    return simplex.centroid_cosine(q, v), simplex.vertex_distance(q, v)


@pytest.mark.parametrize("largest", [products.LARGEST, 40, 1])
@pytest.mark.parametrize("size", [(1, 2, 1, 1), (1, 5, 3, 7), (6, 5, 3, 7), (17, 30, 12, 20)])
def test_the_same_as_the_readable_form(monkeypatch, size, largest):
    monkeypatch.setattr(products, "LARGEST", largest)  # 40, 1: in groups of few classes, down to one
    for seed in range(4):
        for one, other in zip(*(gradients(f, *draw(*size, seed=seed)) for f in (cosine_and_distance, readable)),
                              strict=True):  # fmt: skip
            # float64: hundreds of roundings of 1e-16; a distance may be as small as 1e-2, which divides them
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_gradients_by_differences():
    assert torch.autograd.gradcheck(cosine_and_distance, draw(4, 3, 2, 5))


def test_in_float32_to_rounding():
    q, v = draw(64, 40, 12, 96, torch.float32)
    exact = gradients(readable, q.detach().double().requires_grad_(), v.detach().double().requires_grad_())
    for one, other in zip(gradients(cosine_and_distance, q, v), exact, strict=True):
        # sums of 96 terms of size 1, and of 64 in the gradients, some 100 roundings of 6e-8
        assert (one - other).abs().max() <= 1e-5 * max(1, other.abs().max())


@pytest.mark.parametrize("frozen", ["q", "v"])
def test_one_of_both_may_be_frozen(frozen):
    q, v = draw(6, 5, 3, 7)
    both = dict(zip("qv", gradients(cosine_and_distance, q, v)[2:], strict=True))
    q, v = draw(6, 5, 3, 7)
    {"q": q, "v": v}[frozen].requires_grad_(False)
    cosine, distance = cosine_and_distance(q, v)
    generator = torch.Generator().manual_seed(9)
    pulls = [torch.randn(cosine.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    other = "v" if frozen == "q" else "q"
    (found,) = torch.autograd.grad([cosine, distance], [{"q": q, "v": v}[other]], pulls)
    torch.testing.assert_close(found, both[other])


def test_published_centroids_have_the_direction_that_their_mean_has():
    """Their direction is noise, but it is the same noise: the values are those of the formula, bit for bit almost."""
    v = simplex.simplices(50, 12, 384, 0, "published")
    q = F.normalize(torch.randn(20, 384, generator=torch.Generator().manual_seed(0)), dim=-1)
    mean = v.mean(dim=1)
    assert mean.norm(dim=-1).max() < 1e-6
    expected = F.cosine_similarity(q[:, None], (1e6 * mean)[None], dim=-1)
    # the same centroid to the bit, so only the product is rounded
    torch.testing.assert_close(cosine_and_distance(q, v)[0], expected, rtol=0, atol=1e-6)
    assert cosine_and_distance(q, v)[0].abs().max() < 0.35, "of a random direction in 384 dimensions, 7 times 1/20"


def test_a_centroid_that_is_exactly_zero():
    v = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]], requires_grad=True)
    q = torch.tensor([[0.6, 0.8]], requires_grad=True)
    cosine, distance = cosine_and_distance(q, v)
    assert cosine[0, 0] == 0
    (cosine + distance).sum().backward()
    assert torch.isfinite(v.grad).all() and torch.isfinite(q.grad).all()


def test_a_feature_on_a_vertex():
    q, v = draw(5, 5, 3, 8, torch.float64)
    q = v.detach()[:, 0].clone().requires_grad_()
    _, distance = cosine_and_distance(q, v)
    assert distance.diagonal().max() < 1e-6  # the square root of 1e-15
    distance.sum().backward()
    assert torch.isfinite(q.grad).all() and torch.isfinite(v.grad).all()


def test_under_autocast_the_geometry_stays_in_float32():
    q, v = draw(6, 5, 3, 40, torch.float32)
    expected = cosine_and_distance(q, v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosine_and_distance(q, v)
        found[1].sum().backward()  # under it too
    assert q.grad.dtype == v.grad.dtype == torch.float32
    low = cosine_and_distance(q.bfloat16(), v)
    for one, other, rounded in zip(found, expected, low, strict=True):
        assert torch.equal(one, other) and rounded.dtype == torch.float32
        assert (rounded - other).abs().max() < 0.02  # q rounded to 8 bits


def test_second_derivatives():
    found = []
    for form in (cosine_and_distance, readable):
        q, v = draw(2, 3, 2, 5)
        first = torch.autograd.grad([each.square().sum() for each in form(q, v)], [q, v], create_graph=True)
        found.append(torch.autograd.grad(sum(each.cos().sum() for each in first), [q, v]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)  # float64, some hundred roundings


def test_memory_grows_with_the_batch_and_not_with_batch_times_dimension():
    c, k, d = 40, 6, 300

    def step(b):
        q, v = draw(b, c, k, d, torch.float32)

        def run():
            cosine, distance = cosine_and_distance(q, v)
            return torch.autograd.grad((cosine + distance).sum(), [q, v])

        run()
        return peak_bytes(run, CPU)

    small, double, four = step(256), step(512), step(1024)
    products_of_a_row = 4 * c * (k + 1)
    per_row = (four - double) / 512
    # forward and backward each make the products once; besides, a few numbers per class and two rows of q
    assert per_row <= 2 * products_of_a_row + 4 * (12 * c + 4 * d)
    assert (four - double) == pytest.approx(2 * (double - small), rel=0.05)  # linear, but for small buffers
    assert four < 4 * 1024 * c * (k + 1) * d / 10, "a tensor of differences would be ten times all of this"
