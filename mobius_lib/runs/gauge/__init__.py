"""Runs of chapter 4."""

from mobius_lib.runs.about import COMPUTED, TRAIN_ROWS, About, Scale, by_name

ABOUT = by_name(
    About(
        name="gauge-cooccurrence",
        chapter=4,
        summary="the ladder of L1 to L5: bits against error, neighbours and perplexity, on the King James Bible",
        scales={
            "quick": COMPUTED(note="1,000 words; under a minute on two cores"),
            "short": COMPUTED(note="5,000 words; a few minutes a seed on two cores"),
            "full": COMPUTED(note="every word; some 35 minutes a seed on one core, and 9 GB of memory"),
        },
    ),
    About(
        name="gauge-network",
        chapter=4,
        summary="layers of a trained network: replaced by L1 to L5, accuracy against bits",
        scales={
            "quick": COMPUTED(note="after 3 epochs of a small network; under a minute on two cores"),
            "short": COMPUTED(note="after 10 epochs; a few minutes a seed on two cores"),
            "full": COMPUTED(note="after 30 epochs, more N; some ten minutes a seed on two cores"),
        },
    ),
    About(
        name="gauge-retrained",
        chapter=4,
        summary="layers of a trained network: replaced by L5, low rank, pruned or rounded ones, and trained on",
        scales={
            "quick": COMPUTED(note="300 rows, an epoch; under a minute on one core"),
            "short": COMPUTED(note="6,000 rows, 12 epochs; minutes for the rates, two a seed on one core"),
        },
    ),
    About(
        name="gauge-inside",
        chapter=4,
        summary="a network trained with L5 in the place of its square layers, beside low rank and narrow ones",
        scales={
            "quick": Scale(epochs=1, batch_size=100, lr=1e-3, train_samples=1_000, test_samples=500, note="seconds"),
            "long": Scale(
                epochs=12, batch_size=100, lr=1e-3, train_samples=TRAIN_ROWS, note="rates searched; 15 min on one core"
            ),
        },
    ),
    About(
        name="gauge-lens",
        chapter=4,
        summary="matrices of chapter 1's trained network: replaced by L1 to L5, accuracy against bits",
        scales={
            "quick": COMPUTED(note="after chapter 1's quick scale; minutes on two cores"),
            "short": COMPUTED(note="after chapter 1's short scale; some ten minutes a seed on two cores"),
            "full": COMPUTED(note="after chapter 1's full scale, more N; hours on two cores"),
        },
    ),
    About(
        name="gauge-encoder",
        chapter=4,
        summary="layers of EfficientNet-Lite0: replaced by L1 to L5, accuracy against bits",
        scales={
            "quick": COMPUTED(note="a few dozen pictures; half a minute on two cores"),
            "short": COMPUTED(note="2,000 pictures; some four minutes a seed on two cores"),
            "full": COMPUTED(note="all 12,000 pictures, more N; some forty minutes a seed on two cores"),
        },
    ),
    About(
        name="gauge-kpz",
        chapter=4,
        summary="do the widths of a text's Gaussians grow like k^(1/3): widths on no list, beside planted laws",
        scales={
            "quick": COMPUTED(note="500 words; half a minute on one core"),
            "short": COMPUTED(note="2,000 words; a minute or two a seed on one core"),
            "full": COMPUTED(note="10,000 words, more starts; an hour a seed on one core"),
        },
    ),
    About(
        name="gauge-connection",
        chapter=4,
        summary="what learned connection and attention add to L5 at equal bits: on a text, on layers of networks",
        scales={
            "quick": COMPUTED(note="300 words, one network; seconds on one core"),
            "short": COMPUTED(note="1,000 words, two networks; a minute or two a seed on one core"),
            "full": COMPUTED(note="5,000 words, two networks; an hour a seed on one core"),
        },
    ),
    About(
        name="gauge-cosmic",
        chapter=4,
        summary="L6, a stack of autoencoders over fibres of L5s: fibres that it has not seen, beside PCA",
        scales={
            "quick": COMPUTED(note="200 words, little training; seconds on one core"),
            "short": COMPUTED(
                note="1,000 words and a network's layer; two minutes for the rates, one a seed on one core"
            ),
            "full": COMPUTED(note="10,000 words and a network's layer; half an hour a seed on one core"),
        },
    ),
)
