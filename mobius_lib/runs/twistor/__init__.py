"""Runs of chapter 5."""

from mobius_lib.runs.about import COMPUTED, About, by_name

ABOUT = by_name(
    About(
        name="twistor-text",
        chapter=5,
        summary="bits per character of the King James Bible: twistors, their parts, LSTM, GRU, Transformer, n-grams",
        scales={
            "quick": COMPUTED(note="20 steps of tiny models; seconds on one core"),
            "short": COMPUTED(note="1,000 steps of 460,000 parameters; 15 minutes a seed on one core"),
            "full": COMPUTED(note="4,000 steps of the preset small, nine times through the text; hours on a GPU"),
        },
    ),
    About(
        name="twistor-maps",
        chapter=5,
        summary=(
            "what the Möbius maps add at equal parameters: twistors, LSTM and GRU with the same head, a free mixing"
        ),
        scales={
            "quick": COMPUTED(note="20 steps of tiny models, three rates and more; a minute on one core"),
            "short": COMPUTED(note="1,000 steps of 460,000 parameters; 20 minutes for the rates, 7 a seed on one core"),
            "long": COMPUTED(
                note="with every part taken away, and rivals trained longer; an hour for the rates, 35 minutes a seed"
            ),
            "full": COMPUTED(note="4,000 steps of the preset small; days on a GPU"),
        },
    ),
    About(
        name="twistor-couplings",
        chapter=5,
        summary="what J adds to maps that are (az + b)/(cz + d), and what these add to none, at equal parameters",
        scales={
            "quick": COMPUTED(note="20 steps of tiny models, three rates and more; seconds on one core"),
            "short": COMPUTED(note="1,000 steps of 460,000 parameters; half an hour for the rates, 5 minutes a seed"),
        },
    ),
    About(
        name="twistor-continual",
        chapter=5,
        summary="three groups of books one after the other: what twistors and an LSTM forget of the first ones",
        scales={
            "quick": COMPUTED(note="three stages of 20 steps of tiny models; seconds on one core"),
            "short": COMPUTED(note="three stages of 200 steps of 460,000 parameters; 4 minutes a seed on one core"),
            "long": COMPUTED(
                note="three stages of 400 steps, one in a permuted alphabet; 15 minutes a seed on one core"
            ),
            "full": COMPUTED(note="three stages of 2,000 steps of the preset small; hours on a GPU"),
        },
    ),
    About(
        name="twistor-length",
        chapter=5,
        summary="time and memory of longer and longer texts: twistors, incidence attention, a Transformer",
        scales={
            "quick": COMPUTED(note="128 to 512 characters; seconds on one core"),
            "short": COMPUTED(note="128 to 16,384 characters; 2 minutes a seed on one core, and 2 GB of memory"),
            "full": COMPUTED(note="the preset small, and the training of all presets; minutes a seed on a GPU"),
        },
    ),
    About(
        name="twistor-recall",
        chapter=5,
        summary="pairs told and asked for: a memory that changes its weights while it reads, live and frozen, an LSTM",
        scales={
            "quick": COMPUTED(note="10 steps of tiny models; seconds on one core"),
            "short": COMPUTED(note="400 steps, 8 pairs; a minute for the rates, half a minute a seed on one core"),
            "full": COMPUTED(note="4,000 steps, 16 pairs; an hour for the rates, half an hour a seed on one core"),
        },
    ),
)
