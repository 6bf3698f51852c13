"""Does a learned alpha matter? David with two scales, whose staircase has alpha learned, frozen, or no say at all.

Source: the GeoFractalDavid card, whose alpha went from 0.3290 to -0.0764; the comparison is ours. In "learned" alpha
learns at a tenth of the rate, as in the GeoFractalDavid card; in "learned fast" at the full rate, because a short run
at a tenth of it cannot go far.
"""

from typing import Any

from torch import nn

from mobius_lib.runs.base import Arm, Run
from mobius_lib.runs.cantor import ABOUT
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.simplex.features import CLASSES, DIM, load, load_long
from mobius_lib.simplex import BasinLoss, DavidConfig

CONFIG = DavidConfig(feature_dim=DIM, num_classes=CLASSES, k=4, scales=(64, 128))
FROZEN = {"frozen 0": 0.0, "frozen 1/2": 0.5, "frozen 1": 1.0}
DEFAULTS = {name: getattr(CONFIG, name) for name in ("feature_dim", "num_classes", "k", "scales")}


def full_rate(model: nn.Module) -> list[dict[str, Any]]:
    """All parameters in one group."""
    return [{"params": list(model.parameters()), "rate": 1.0}]


def arms(**searched: Any) -> dict[str, Arm]:
    """Learned, learned at the full rate, frozen at three heights, and a score without the Cantor term."""
    return {
        "learned": david_arms.david(CONFIG, **searched),
        "learned fast": david_arms.david(CONFIG, groups=full_rate, **searched),
        **{
            name: david_arms.david(DavidConfig(**DEFAULTS, alpha_init=alpha, learn_alpha=False), **searched)
            for name, alpha in FROZEN.items()
        },
        # neither judged by the staircase nor pulled towards it
        "no cantor": david_arms.david(
            DavidConfig(**DEFAULTS, terms=("feature", "crystal")), BasinLoss(discretisation=0.0), **searched
        ),
    }


RUN = Run(
    **vars(ABOUT["cantor-alpha"]),
    arms=arms(),
    data=load,
    **david_arms.COMMON | {"baseline": "no cantor"},
    long={"arms": arms(rates=david_arms.WIDE_RATES), "data": load_long},
)
