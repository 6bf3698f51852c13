"""simplex-features on features of a user's own: David and the plain classifiers beside it, without the ablations."""

from torch import Tensor

from mobius_lib.runs.about import OWN, Scale
from mobius_lib.runs.base import Run, nothing
from mobius_lib.runs.simplex import ABOUT
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.simplex.features import SCALES, K
from mobius_lib.simplex import DavidConfig

SIZE = "short"
"""The scale of the book's run whose David is taken: of a quarter of the published widths."""


def config(dim: int, classes: int) -> DavidConfig:
    """David's sizes."""
    return DavidConfig(feature_dim=dim, num_classes=classes, k=K[SIZE], scales=SCALES[SIZE])


def rows(x: Tensor) -> Tensor:
    """As the classifiers take them: (N, dim), as they are."""
    return x


def run(dim: int, classes: int) -> Run:
    """The run, still without data.

    Args:
        dim: width of the features.
        classes: how many.
    """
    about, sizes = ABOUT["simplex-features"], config(dim, classes)
    david = david_arms.david(sizes, rates=david_arms.candidates(david_arms.DEEP_RATES, False))
    return Run(
        about.name,
        about.chapter,
        about.summary,
        {OWN: Scale(epochs=20, batch_size=64, lr=3e-3, note="all rows of your own features")},
        arms={"david": david, **david_arms.baselines(dim, classes, david_arms.size_of(sizes), searched=False)},
        data=nothing,
        **david_arms.COMMON,
        timed=("david", "linear"),
    )
