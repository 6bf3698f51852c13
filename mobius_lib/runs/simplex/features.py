"""David against plain classifiers on the embedded features, and against itself with each geometric term taken away.

Fairness: every arm sees the same rows in the same order; each of david, linear, cosine and mlp chooses its learning
rate among three on a fifth of the training rows, held out, and its ablations take David's; at long scale every arm
chooses its own among five, and looks beyond them where the best is at an end. "mlp" has as many
parameters as David; "mlp longer" has four times the epochs, which is more time than David takes (`seconds` and `cost`
in the record say how much). "ncm" is the nearest class mean, with nothing to train.

Source: the GeoFractalDavid card for the model; the comparison is ours. Its five scales are kept in their proportions,
so that the mixing weights per scale can be laid beside its table.
"""

from functools import partial
from typing import Any

from mobius_lib.datasets import features
from mobius_lib.datasets.embedded import digests
from mobius_lib.runs.base import Arm, Data, sized, with_more_test_rows
from mobius_lib.runs.simplex import ABOUT
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import TERMS, BasinLoss, DavidConfig

DIM, CLASSES = 512, 10
SCALES = {
    "quick": (48, 64, 96),
    **dict.fromkeys(("short", "long"), (96, 128, 192, 256, 320)),  # a quarter of the published ones
    "full": (384, 512, 768, 1024, 1280),
}
K = {"quick": 4, "short": 12, "long": 12, "full": 12}
LONGER = 4
PARTS = ("coherence", "separation", "discretisation", "consistency", "scales")
"""Of the basin loss, beside the contrastive term."""


def load() -> Data:
    """The embedded features at 512 dimensions."""
    return Data(features("train", DIM), features("test", DIM), digests("features"))


load_long = partial(with_more_test_rows, load)


def config(scale: str, classes: int = CLASSES, **changes: object) -> DavidConfig:
    """David's sizes at a scale of the run."""
    return DavidConfig(feature_dim=DIM, num_classes=classes, k=K[scale], scales=SCALES[scale], **changes)


def arms(scale: str, classes: int = CLASSES, each: bool = False) -> dict[str, Arm]:
    """David, its rivals, and its ablations.

    Args:
        scale: a name of the run's scales.
        classes: of the data.
        each: whether every ablation looks for its own learning rate, as at "long"; else it takes David's.
    """
    sized = partial(config, scale, classes)
    searched, wide = scale != "quick", scale == "long"
    deep = david_arms.candidates(david_arms.WIDE_RATES if wide else david_arms.DEEP_RATES, searched)
    plain = david_arms.baselines(DIM, classes, david_arms.size_of(sized()), searched, wide)
    ablation = {"rates": deep} if wide or each else {"rate_of": "david"}
    return {
        "david": david_arms.david(sized(), rates=deep),
        **plain,
        "mlp longer": Arm(plain["mlp"].make, rate_of="mlp", epochs=LONGER),
        **{
            f"no {term}": david_arms.david(sized(terms=[each for each in TERMS if each != term]), **ablation)
            for term in TERMS
        },
        **{f"no {part}": david_arms.david(sized(), BasinLoss(**{part: 0.0}), **ablation) for part in PARTS},
        "contrastive only": david_arms.david(sized(), BasinLoss(**dict.fromkeys(PARTS, 0.0)), **ablation),
        "cross-entropy": david_arms.david(sized(), objective=david_arms.cross_entropy, rates=deep),
        "published": david_arms.david(sized(position="batch", init="published"), **ablation),
    }


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale; at "long" no arm takes another's rate."""
    return david_arms.COMMON | {
        "arms": arms(scale),
        "data": load,
        "timed": ("david", "linear", "cosine", "mlp"),
        "long": {"data": load_long},
    }


RUN = sized(ABOUT["simplex-features"], fields)
