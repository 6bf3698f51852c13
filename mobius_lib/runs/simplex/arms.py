"""What the runs of chapters 2 and 3 share: David as an arm, what is read off a trained one, and its plain rivals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.base import Arm, Data
from mobius_lib.runs.simplex import classifiers
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid, parameter_groups
from mobius_lib.simplex.loss import fuse, log_score

WEIGHT_DECAY = 1e-5
"""Of all arms: the public recipe of a sibling of the card's run (batch 1024, rate 0.01, 10 epochs)."""
DEEP_RATES = (1e-3, 3e-3, 1e-2)
"""Tried for arms with hidden layers; the published rate is the last."""
FLAT_RATES = (1e-2, 3e-2, 1e-1)
"""Tried for arms of one matrix, which on rows of length 1 want larger ones. As many, so that nobody is tuned more."""
WIDE_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Tried for every arm of a run that is to decide: David's held-out accuracy hardly rises from 0.01 to 0.03 and does
again at 0.1, so that a search that stops at the first best of three would favour whoever happens to go on."""
TEMPERATURE = BasinLoss().temperature
"""By which David's logits are divided before they are probabilities: that of its loss."""
_ROWS = 500


class BasinObjective:
    """The basin loss as the training loop wants it.

    Args:
        loss: which terms, how strong.
    """

    def __init__(self, loss: BasinLoss | None = None) -> None:
        self.loss = loss or BasinLoss()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        geometry = model.geometry(x)
        return self.loss(geometry, y)[0], geometry.logits.detach()


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Plain cross-entropy of David's logits at the temperature of the basin loss: what every other loss has to beat."""
    logits = model(x)
    return F.cross_entropy(logits / TEMPERATURE, y), logits


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """The card's three groups: heads at the rate, fusion weights at half of it, staircase at a tenth."""
    return [{"params": group["params"], "rate": group["lr"]} for group in parameter_groups(model, 1.0)]


def david(config: DavidConfig, loss: BasinLoss | None = None, **changes: Any) -> Arm:
    """David as an arm, trained with the basin loss and the card's groups.

    Args:
        config: its sizes; the seed of its weights is the run's.
        loss: of which terms; None is all.
        changes: further fields of the `Arm`, or others in place of these.
    """
    usual = {"make": lambda: _fresh(config), "objective": BasinObjective(loss), "groups": groups}
    return Arm(**{**usual, **changes})


def baselines(dim: int, classes: int, parameters: int, searched: bool = True, wide: bool = False) -> dict[str, Arm]:
    """linear, cosine, ncm and mlp; the last with as many parameters as David.

    Args:
        dim, classes: of the data.
        parameters: of David.
        searched: whether each arm looks for its learning rate among three; else the middle one is taken.
        wide: whether it looks among `WIDE_RATES`.
    """
    deep, flat = (candidates(WIDE_RATES if wide else rates, searched) for rates in (DEEP_RATES, FLAT_RATES))
    return {
        "linear": Arm(lambda: classifiers.linear_probe(dim, classes), rates=flat),
        "cosine": Arm(lambda: classifiers.Cosine(dim, classes), rates=flat),
        "ncm": Arm(lambda: classifiers.Cosine(dim, classes), solve=classifiers.to_class_means),
        "mlp": Arm(lambda: classifiers.mlp(dim, classes, parameters), rates=deep),
    }


def candidates(rates: Sequence[float], searched: bool) -> tuple[float, ...]:
    """All of the rates, or the middle one."""
    return tuple(rates) if searched else (rates[len(rates) // 2],)


def size_of(config: DavidConfig) -> int:
    """Parameters of a David of that configuration, counted without building it.

    Per scale s: projection d 2s + 2s + 4s + 2s s + s, vertices C (k+1) s, prototypes C, three weights; then a weight
    per scale, and the staircase's line and alpha.
    """
    d, classes, vertices = config.feature_dim, config.num_classes, config.k + 1
    heads = sum(2 * d * s + 7 * s + 2 * s * s + classes * vertices * s + classes + 3 for s in config.scales)
    return heads + len(config.scales) + d + 2


def state(model: nn.Module) -> dict[str, float]:
    """What a David has learned so far, as scalars; nothing for other models."""
    if not isinstance(model, GeoFractalDavid):
        return {}
    found = {"cantor/alpha": model.cantor_stairs.alpha.item()}
    for scale, weights in model.get_geometric_weights().items():
        found |= {f"scale{scale}/{term}": weight for term, weight in weights.items()}
    return found | {f"scale{scale}/fusion": weight for scale, weight in model.get_fusion_weights().items()}


@torch.no_grad()
def measure(model: nn.Module, data: Data, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a trained David: alpha and its path, mixing and fusion weights, prototypes, each scale's accuracy alone.

    And `score_accuracy`, when classes are chosen by the score that the loss trains, instead of by the logits: the two
    weigh the Cantor term differently, by a factor of ten.
    """
    if not isinstance(model, GeoFractalDavid):
        return {}
    x, y = data.test
    hits, by_score = dict.fromkeys(model.config.scales, 0), 0
    for rows, labels in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
        geometry = model.geometry(rows)
        for name, scale in geometry.scales.items():
            hits[name] += int((scale.logits.argmax(1) == labels).sum())
        fused = fuse([log_score(scale) for scale in geometry.scales.values()], geometry.fusion)
        by_score += int((fused.argmax(1) == labels).sum())
    weights = model.get_geometric_weights()
    prototypes = {scale: head.cantor_prototypes for scale, head in zip(weights, model.heads.values(), strict=True)}
    return {
        "alpha": model.cantor_stairs.alpha.item(),
        "alpha_history": [epoch["scalars"]["cantor/alpha"] for epoch in history if "scalars" in epoch],
        "geo_weights": {str(scale): list(each.values()) for scale, each in weights.items()},
        "fusion_weights": list(model.get_fusion_weights().values()),
        "cantor_prototypes": {
            str(scale): {
                "mean": each.mean().item(),
                "std": each.std().item(),
                "min": each.min().item(),
                "max": each.max().item(),
            }
            for scale, each in prototypes.items()
        },
        "scale_accuracy": {str(scale): count / len(y) for scale, count in hits.items()},
        "score_accuracy": by_score / len(y),
    }


COMMON: dict[str, Any] = {"weight_decay": WEIGHT_DECAY, "state": state, "measure": measure, "baseline": "linear"}
"""Of every run in which David is an arm."""


def _fresh(config: DavidConfig) -> GeoFractalDavid:
    # a David draws its weights from its own seed alone; the run has put its seed into torch's generator
    return GeoFractalDavid(replace(config, seed=torch.initial_seed() % 2**32))
