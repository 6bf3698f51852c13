"""Runs of chapter 1."""

from functools import partial

from mobius_lib.runs.about import TRAIN_ROWS, About, Scale, by_name

FOLDER = "MOBIUS_TINY_IMAGENET"
"""The environment variable that names the folder of Tiny ImageNet."""

TWINS = partial(Scale, batch_size=64, lr=1e-3)
WHOLE = partial(Scale, batch_size=256, lr=1e-3)
"""At the size of the distillation card's batch."""

ABOUT = by_name(
    About(
        name="waves-features",
        chapter=1,
        summary="the distillation card's recipe on embedded image features: lens, GELU twin, linear probe",
        scales={
            "quick": TWINS(epochs=3, train_samples=1500, test_samples=1000, note="minutes on two CPU cores"),
            "short": TWINS(epochs=4, train_samples=3000, note="some ten minutes a seed on two CPU cores"),
            "long": TWINS(
                epochs=30,
                train_samples=TRAIN_ROWS,
                note="all rivals at half the width, trained to the end: 5 hours on one core, 4 of them for five seeds",
            ),
            "full": WHOLE(epochs=50, note="hours on two CPU cores, minutes on a GPU"),
        },
    ),
    About(
        name="waves-images",
        chapter=1,
        summary="lens against GELU twin on Fashion-MNIST pictures",
        scales={
            "quick": TWINS(epochs=3, train_samples=2000, test_samples=1000, note="a minute or two on two CPU cores"),
            "short": TWINS(epochs=4, train_samples=5000, note="some five minutes a seed on two CPU cores"),
            "long": TWINS(
                epochs=30,
                train_samples=TRAIN_ROWS,
                note="all rivals, trained to the end: 6 hours on one core, 4 of them for five seeds",
            ),
            "full": Scale(epochs=30, batch_size=128, lr=1e-3, note="hours on two CPU cores"),
        },
    ),
    About(
        name="waves-tiny-features",
        chapter=1,
        summary="lens, GELU twin, plain gate, MLP and linear layer on features of Tiny ImageNet, 200 classes",
        scales={
            "quick": TWINS(epochs=1, train_samples=400, test_samples=200, note=f"needs the data ({FOLDER})"),
            "short": TWINS(
                epochs=6, train_samples=16_000, note=f"needs the data ({FOLDER}); 1.5 hours on one core for five seeds"
            ),
            "full": WHOLE(epochs=30, note=f"needs the data ({FOLDER}); days on two CPU cores"),
        },
    ),
    About(
        name="waves-tiny-imagenet",
        chapter=1,
        summary="the MobiusNet card's recipe on Tiny ImageNet: lens and GELU twin, in mobius_base at the scale full",
        scales={
            "short": TWINS(
                epochs=4,
                train_samples=32_000,
                note=f"needs the data ({FOLDER}); small networks on halved pictures: 2 hours of a core for 5 seeds",
            ),
            "full": Scale(epochs=200, batch_size=128, lr=3e-4, note=f"needs the data ({FOLDER}) and a GPU for a day"),
        },
    ),
    About(
        name="waves-clip",
        chapter=1,
        summary="the distillation card's recipe on all of ImageNet's CLIP features: lens and GELU twin",
        scales={"full": WHOLE(epochs=50, note="fetches 4 GB; hours on one GPU")},
    ),
    About(
        name="waves-made",
        chapter=1,
        summary="the same recipe on a made set of that size, whose best possible accuracy is known",
        scales={
            "quick": TWINS(epochs=2, note="20 classes; under a minute on two CPU cores"),
            "few": TWINS(
                epochs=3, train_samples=12_810, note="10 classes of as many rows as ImageNet's; 20 minutes on one core"
            ),
            "short": WHOLE(epochs=50, note="a hundredth of the rows; hours on two CPU cores"),
            "full": WHOLE(epochs=50, note="draws 2 GB; hours on one GPU"),
        },
    ),
    About(
        name="waves-clip-weights",
        chapter=1,
        summary="accuracy of the published weights on ImageNet's CLIP validation features",
        scales={"full": Scale(epochs=0, batch_size=256, lr=0.0, note="fetches 160 MB; minutes on a CPU")},
    ),
)
