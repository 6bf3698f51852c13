"""The distillation card's recipe on the embedded features: the lens, its GELU twin, and a linear probe.

Source: the distillation card (AdamW at 1e-3, weight decay 0.05, cosine, batch 256, 50 epochs, on 768 features laid out
24 x 32). Deviations: chapter 1, "The reproduction"; at the scale "long" the network has half the width.
"""

from functools import partial
from typing import Any

from mobius_lib.datasets import features
from mobius_lib.datasets.embedded import digests
from mobius_lib.runs.base import Data, Run, with_more_test_rows
from mobius_lib.runs.waves import ABOUT
from mobius_lib.runs.waves import arms as waves_arms
from mobius_lib.runs.waves.arms import arms, half, logistic, readings, state

CLASSES = 10
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Of the linear probe."""


def load() -> Data:
    """The 768-dimensional embedded features, each row laid out as a picture of 24 x 32."""
    (x, y), (x_test, y_test) = features("train"), features("test")
    return Data((x.view(-1, 1, 24, 32), y), (x_test.view(-1, 1, 24, 32), y_test), digests("features"))


lens, gelu = partial(waves_arms.lens, CLASSES), partial(waves_arms.gelu, CLASSES)


def linear_probe(data: Data) -> dict[str, Any]:
    """Logistic regression on the same rows; its strength is chosen on a fifth of the training rows, held out."""
    probe, scores = logistic(*data.train, STRENGTHS)
    x, y = (part.numpy() for part in data.test)
    return {
        "linear probe": {
            "accuracy": float(probe.score(x.reshape(len(x), -1), y)),
            "parameters": probe.coef_.size + probe.intercept_.size,
            "C": probe.C,
            "held_out": {str(strength): score for strength, score in scores.items()},
        }
    }


RUN = Run(
    **vars(ABOUT["waves-features"]),
    arms={"lens": lens, "gelu": gelu},
    data=load,
    state=state,
    readings=readings,
    extra=linear_probe,
    long={
        "arms": arms(half("mobius_tiny_s_clip"), 768, CLASSES, STRENGTHS),
        "data": partial(with_more_test_rows, load),
        "extra": None,
    },
)
