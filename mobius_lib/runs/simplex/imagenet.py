"""GeoFractalDavid's card at full size: ImageNet through CLIP ViT-B/16 features. Needs the network once, and a GPU.

"published" is the model as its author had it: positions from the place in the batch, simplices whose centroids are all
zero. "david" is ours: positions from the features alone, spread simplices. Beside them the linear probe that anyone
would try first.

Source: the GeoFractalDavid card, which reports 71.40 % after 10 epochs and gives the rates of the groups. Its recipe is
not public; batch, rate, weight decay and warm-up are those of the sibling run whose recipe is.
"""

from functools import partial

from mobius_lib.datasets.feature_files import published_features
from mobius_lib.runs.base import Arm, Data, Run
from mobius_lib.runs.room import published_needs
from mobius_lib.runs.simplex import ABOUT, classifiers
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import DavidConfig

CONFIGURATION = "clip_vit_b16"
PUBLISHED = DavidConfig(position="batch", init="published")
"""k = 12, five scales, 1,000 classes, 512 dimensions: the defaults."""


def load(**columns: str | None) -> Data:
    """All of ImageNet as rows of 512; those to train on in half precision, mapped from the disk."""
    train, test = (published_features(split, CONFIGURATION, **columns) for split in ("train", "validation"))
    return Data((train.x, train.y), (test.x, test.y), {**train.shards, **test.shards})


RUN = Run(
    **vars(ABOUT["simplex-imagenet"]),
    arms={
        "published": david_arms.david(PUBLISHED),
        "david": david_arms.david(DavidConfig()),
        "linear": Arm(lambda: classifiers.linear_probe(512, 1000)),
    },
    data=load,
    needs=partial(published_needs, CONFIGURATION),
    **david_arms.COMMON,
    warmup_epochs=3,
)
