"""The lens and its GELU twin on pictures: Fashion-MNIST, a network of half the width of mobius_tiny_s.

Source: ours; the cards report no comparison with a plain activation. Half the width, because the pictures are small
and three seeds have to fit into an hour of two CPU cores.
"""

from functools import partial

import torch
from torch import Tensor, nn

from mobius_lib.datasets import fashion_mnist
from mobius_lib.datasets.embedded import digests
from mobius_lib.runs.base import Data, Run, with_more_test_rows
from mobius_lib.runs.waves import ABOUT
from mobius_lib.runs.waves.arms import arms, readings, state
from mobius_lib.waves import GELUTwin, MobiusNet

CLASSES, PIXELS = 10, 28 * 28
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Of the linear probe, of pixels whose deviation is 1."""
HALF = {
    "in_chans": 1,
    "channels": (32, 64, 128),
    "depths": (2, 2, 2),
    "scale_range": (0.25, 2.75),
}
SIZES = HALF | {"num_classes": CLASSES}


def load() -> Data:
    """Pictures scaled to mean 0 and deviation 1 by two numbers that are measured on the training part."""
    (x, y), (x_test, y_test) = fashion_mnist("train"), fashion_mnist("test")
    mean, deviation = x.float().mean(), x.float().std()
    return Data(
        ((x.float() - mean) / deviation, y),
        ((x_test.float() - mean) / deviation, y_test),
        digests("FashionMNIST"),
        augment=flip,
    )


def flip(x: Tensor) -> Tensor:
    """Mirror each picture left to right with probability one half."""
    # by hand, since torchvision's RandomHorizontalFlip draws once per call: it would mirror all pictures of a batch or
    # none, and a call per picture takes more than ten times as long
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(mirrored, x.flip(-1), x)


def lens() -> nn.Module:
    return MobiusNet(**SIZES)


def gelu() -> nn.Module:
    return GELUTwin(**SIZES)


RUN = Run(
    **vars(ABOUT["waves-images"]),
    arms={"lens": lens, "gelu": gelu},
    data=load,
    state=state,
    readings=readings,
    long={"arms": arms(HALF, PIXELS, CLASSES, STRENGTHS), "data": partial(with_more_test_rows, load)},
)
