"""The plain baselines: sizes, the nearest class mean, and that they are no straw men."""

import pytest
import torch
from torch.nn.functional import normalize

from mobius_lib.errors import DataError
from mobius_lib.runs.simplex.classifiers import Cosine, linear_probe, mlp, to_class_means


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("parameters", [1_000, 5_000, 249_054, 63_053_342])
def test_an_mlp_of_equal_size(parameters):
    with torch.device("meta"):
        model = mlp(512, 10, parameters)
        assert size(model) == pytest.approx(parameters, abs=525 / 2)
    assert size(linear_probe(512, 10)) == 5130 and size(Cosine(512, 10)) == 5121


def test_nearest_class_mean():
    """On the sphere the largest cosine to a mean is the least distance to the mean's direction."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (300,), generator=generator)
    x = normalize(torch.randn(300, 6, generator=generator) + torch.eye(4, 6)[y])
    model = Cosine(6, 4)
    to_class_means(model, x, y)
    means = normalize(torch.stack([x[y == c].mean(0) for c in range(4)]))
    torch.testing.assert_close(model.directions.data, means)
    assert torch.equal(model(x).argmax(1), torch.cdist(x, means).argmin(1))


def test_a_class_without_rows_is_never_near():
    x, y = normalize(torch.rand(20, 5)), torch.arange(20) % 3
    model = Cosine(5, 4)
    to_class_means(model, x, y)
    assert torch.isfinite(model(x)).all() and (model(x).argmax(1) < 3).all()


def test_a_label_without_a_direction():
    with pytest.raises(DataError, match="the label 4, but the model has 4 classes"):
        to_class_means(Cosine(5, 4), torch.rand(3, 5), torch.tensor([0, 4, 1]))


def test_cosine_is_one():
    model = Cosine(5, 3)
    x = torch.randn(7, 5)
    expected = torch.cosine_similarity(x.unsqueeze(1), model.directions.unsqueeze(0), dim=2) * 16
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(100 * x), expected)  # the length of a row does not matter
