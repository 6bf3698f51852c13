"""How far a classifier's confidence can be trusted: calibration error, temperature, and rejection of strangers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BINS = 15
DRAWS = 100
"""Of rows, for an error: the error of that error is then 7 % of it."""


def calibration_error(probabilities: Tensor, y: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: mean over bins of confidence, weighted, of |accuracy - mean confidence|.

    Args:
        probabilities: (N, C), rows that sum to 1.
        y: (N,) int64.
        bins: of equal width over [0, 1].
    Returns:
        in [0, 1]; 0 when in every bin as much is right as was promised.
    Source:
        Guo, Pleiss, Sun and Weinberger 2017, equation 3.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1  # a bin holds its upper end, as in the source
    gaps = torch.zeros(bins, dtype=torch.float64, device=y.device)
    gaps.index_add_(0, bin_of, (predicted == y).double() - confidence)
    return (gaps.abs().sum() / len(y)).item()


def negative_log_likelihood(logits: Tensor, y: Tensor, temperature: float = 1.0) -> float:
    """Mean of -log softmax(logits / temperature) at the label."""
    return torch.nn.functional.cross_entropy(logits.double() / temperature, y).item()


def fit_temperature(logits: Tensor, y: Tensor, least: float = 1e-4, most: float = 1e4) -> float:
    """The temperature at which these rows are most probable.

    The loss is convex in 1 / T, so bisection on its slope finds the one minimum; where the rows would have it beyond
    an end (all predictions right, say, which wants 0), it is that end.

    Args:
        logits: (N, C), of rows that the model was not trained on; y: (N,) int64.
        least, most: the range searched.
    Source:
        Guo et al. 2017.
    """
    z = logits.double()
    right = z.gather(1, y.unsqueeze(1)).squeeze(1).mean()
    low, high = 1 / most, 1 / least
    for _ in range(100):  # in logarithms: 8 decades to the last bit
        beta = (low * high) ** 0.5
        slope = (torch.softmax(beta * z, dim=1) * z).sum(dim=1).mean() - right
        low, high = (beta, high) if slope <= 0 else (low, beta)
    return 1 / (low * high) ** 0.5


def auroc(inside: Tensor, outside: Tensor) -> float:
    """The chance that a score from inside is above one from outside, ties counting one half.

    Args:
        inside, outside: (N,) and (M,) scores, at least one each.
    """
    ordered = inside.double().sort().values
    scores = outside.double()
    above = len(ordered) - torch.searchsorted(ordered, scores, right=True)
    equal = torch.searchsorted(ordered, scores, right=True) - torch.searchsorted(ordered, scores)
    return ((above + equal.double() / 2).mean() / len(ordered)).item()


def error_of_rows(number: Callable[..., float], *groups: Sequence[Tensor], draws: int = DRAWS) -> float:
    """Standard error of a number that comes from its being computed on so many rows: the bootstrap's.

    Args:
        number: from all tensors, in the order of the groups.
        groups: of tensors, whose rows are drawn together, as many as there are and with replacement.
        draws: how often.
    Source:
        Efron 1979.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(draws):
        drawn = [torch.randint(len(group[0]), (len(group[0]),), generator=generator) for group in groups]
        found.append(number(*(t[i.to(t.device)] for i, group in zip(drawn, groups, strict=True) for t in group)))
    return torch.tensor(found, dtype=torch.float64).std().item()
