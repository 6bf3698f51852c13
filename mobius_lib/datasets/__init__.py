"""Every data set of the book: embedded, downloaded, or a folder of the user's own. Knows no model."""

from mobius_lib.datasets.embedded import CLASSES, fashion_mnist, features
from mobius_lib.datasets.made import SphereMixture
from mobius_lib.datasets.paths import data_dir, fetch, registry

__all__ = [
    "CLASSES",
    "SphereMixture",
    "data_dir",
    "fashion_mnist",
    "features",
    "fetch",
    "registry",
]
