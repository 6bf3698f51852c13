"""The plain classifiers of features that a practitioner would try first: the baselines of chapter 3's runs.

All take rows (N, dim) of length 1 to logits (N, classes). Source: ours.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from mobius_lib.training.batches import check_labels, label_range


def linear_probe(dim: int, classes: int) -> nn.Module:
    """One matrix and a bias: dim x classes + classes parameters."""
    return nn.Linear(dim, classes)


class Cosine(nn.Module):
    """Logits exp(log_scale) cos(x, w_c), with a direction per class and one learned scale.

    Args:
        dim, classes: sizes.
        scale: the factor at the start; 16 spreads cosines of ordinary features over useful logits.
    Shape:
        (N, dim) to (N, classes).
    """

    def __init__(self, dim: int, classes: int, scale: float = 16.0) -> None:
        super().__init__()
        self.directions = nn.Parameter(normalize(torch.randn(classes, dim)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_scale.exp() * linear(normalize(x), normalize(self.directions))


@torch.no_grad()
def to_class_means(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Sets the directions of a `Cosine` to the class means: the nearest class mean on the sphere, with no training.

    A class without a row gets no direction, and so a cosine of 0.

    Args:
        model: a `Cosine`, on the device of the rows.
        x, y: the training rows (N, dim) and their classes (N,).
    Raises:
        DataError: for a label that is no class of the model.
    """
    check_labels(label_range(y), len(model.directions))
    sums = torch.zeros_like(model.directions).index_add_(0, y, x)
    model.directions.copy_(normalize(sums))


def mlp(dim: int, classes: int, parameters: int) -> nn.Module:
    """Linear, GELU, LayerNorm, Linear, with the width that comes nearest to so many parameters.

    Args:
        dim, classes: sizes.
        parameters: to be met; dim h + h (first layer), 2 h (norm), h classes + classes (last).
    """
    hidden = max(1, round((parameters - classes) / (dim + 3 + classes)))
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Linear(hidden, classes))
