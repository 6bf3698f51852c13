"""Runs of chapter 3."""

from functools import partial

from mobius_lib.runs.about import TRAIN_ROWS, About, Scale, by_name
from mobius_lib.runs.waves import FOLDER

MIXTURES = {1: "simplex-mixture", 4: "simplex-mixture-modes"}
"""Modes of each class to the run's name."""

QUICK = partial(Scale, batch_size=64, lr=3e-3, train_samples=1500, test_samples=1000)
DAVID = partial(Scale, batch_size=128, lr=3e-3)
PUBLISHED = partial(Scale, batch_size=1024, lr=0.01)

ABOUT = by_name(
    About(
        name="simplex-features",
        chapter=3,
        summary="David against linear, cosine, nearest-mean and MLP classifiers of features, and without each term",
        scales={
            "quick": QUICK(epochs=3, note="under a minute on two CPU cores"),
            "short": DAVID(epochs=6, train_samples=4000, note="some three minutes a seed on two CPU cores"),
            "long": DAVID(epochs=10, train_samples=TRAIN_ROWS, note="rates searched; 40 min on one core"),
            "full": DAVID(epochs=20, note="hours on two CPU cores, minutes on a GPU"),
        },
    ),
    About(
        name="simplex-tiny-features",
        chapter=3,
        summary="the same on features of Tiny ImageNet, 200 classes, and what is published taken apart",
        scales={
            "quick": Scale(
                epochs=1, batch_size=64, lr=3e-3, train_samples=400, test_samples=200, note=f"needs the data ({FOLDER})"
            ),
            "short": DAVID(
                epochs=6, train_samples=16_000, note=f"needs the data ({FOLDER}); 3 hours on one core for five seeds"
            ),
            "full": DAVID(epochs=20, note=f"needs the data ({FOLDER}); a day on one core"),
        },
    ),
    *(
        About(
            name=name,
            chapter=3,
            summary=f"David and its rivals on made classes of {clouds} each, beside Bayes' rule",
            scales={
                "quick": DAVID(epochs=4, note="under a minute on two CPU cores"),
                "short": Scale(epochs=8, batch_size=256, lr=3e-3, note="some fifteen minutes a seed on two CPU cores"),
                "full": Scale(epochs=10, batch_size=1024, lr=3e-3, note="1,281,167 rows of 512; hours on a GPU"),
            },
        )
        for (modes, name), clouds in zip(MIXTURES.items(), ("one cloud", "four clouds"), strict=True)
    ),
    About(
        name="simplex-robustness",
        chapter=3,
        summary="David against plain classifiers: few rows, wrong labels, strange classes, calibration",
        scales={
            "quick": QUICK(epochs=3, note="under a minute on two CPU cores"),
            "short": DAVID(epochs=6, train_samples=4000, note="some two minutes a seed on two CPU cores"),
            "long": DAVID(epochs=12, train_samples=TRAIN_ROWS, note="rates searched; ten minutes on one core"),
            "full": DAVID(epochs=20, note="hours on two CPU cores, minutes on a GPU"),
        },
    ),
    About(
        name="simplex-imagenet",
        chapter=3,
        summary="David's card's model on all of ImageNet's CLIP features, as published and as here, and a linear probe",
        scales={"full": PUBLISHED(epochs=10, note="fetches 2.7 GB; an hour or so on one GPU")},
    ),
    About(
        name="simplex-made",
        chapter=3,
        summary="the same on a made set of that size, whose best possible accuracy is known",
        scales={
            "quick": Scale(epochs=4, batch_size=64, lr=0.01, note="20 classes; under a minute on two CPU cores"),
            "few": Scale(
                epochs=10,
                batch_size=128,
                lr=0.01,
                train_samples=12_810,
                note="10 classes of as many rows as ImageNet's; ten minutes on one core",
            ),
            "short": PUBLISHED(epochs=10, note="a hundredth of the rows; half an hour on one core"),
            "full": PUBLISHED(epochs=10, note="draws 1.3 GB; an hour or so on one GPU"),
        },
    ),
)
