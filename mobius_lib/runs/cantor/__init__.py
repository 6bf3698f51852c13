"""Runs of chapter 2."""

from functools import partial

from mobius_lib.runs.about import TRAIN_ROWS, About, Scale, by_name

ALPHA = partial(Scale, batch_size=128, lr=3e-3)
MASK = partial(Scale, batch_size=64, lr=2e-3)

ABOUT = by_name(
    About(
        name="cantor-alpha",
        chapter=2,
        summary=(
            "the staircase's alpha learned, frozen at 0, 1/2 and 1, and no Cantor term, in a small David on features"
        ),
        scales={
            "quick": Scale(
                epochs=4,
                batch_size=64,
                lr=3e-3,
                train_samples=1500,
                test_samples=1000,
                note="half a minute on two CPU cores",
            ),
            "short": ALPHA(epochs=12, train_samples=5000, note="half a minute a seed on two CPU cores"),
            "long": ALPHA(epochs=16, train_samples=TRAIN_ROWS, note="rates searched; minutes on one core"),
            "full": ALPHA(epochs=50, note="half an hour a seed on two CPU cores"),
        },
    ),
    About(
        name="cantor-mask",
        chapter=2,
        summary=(
            "thirds mask against none, dropout and a fixed third, in a MobiusNet on pictures, with a third silenced"
        ),
        scales={
            "quick": MASK(epochs=3, train_samples=1000, test_samples=500, note="under a minute on two CPU cores"),
            "short": MASK(epochs=10, train_samples=2000, note="some two minutes a seed on two CPU cores"),
            "long": MASK(epochs=12, train_samples=TRAIN_ROWS, note="rates searched; an hour on one core"),
            "full": Scale(epochs=30, batch_size=128, lr=2e-3, note="hours on two CPU cores, minutes on a GPU"),
        },
    ),
)
