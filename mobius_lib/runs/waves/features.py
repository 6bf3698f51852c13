"""Seed 001's recipe on the embedded features: the lens, its GELU twin, and the linear probe anyone would try first.

Source: seed 001 (AdamW at 1e-3, weight decay 0.05, cosine, batch 256, 50 epochs, on 768 features laid out 24 x 32).
Deviations: chapter 1, "The reproduction".
"""

from typing import Any

from torch import nn

from mobius_lib.datasets import features
from mobius_lib.datasets.embedded import digests
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.waves import ABOUT
from mobius_lib.waves import PRESETS, GELUTwin, MobiusNet, lens_readings, lens_state

CLASSES = 10


def load() -> Data:
    """The 768-dimensional embedded features, each row laid out as a picture of 24 x 32."""
    (x, y), (x_test, y_test) = features("train"), features("test")
    return Data((x.view(-1, 1, 24, 32), y), (x_test.view(-1, 1, 24, 32), y_test), digests("features"))


def lens() -> nn.Module:
    return MobiusNet(num_classes=CLASSES, **PRESETS["mobius_tiny_s_clip"])


def gelu() -> nn.Module:
    return GELUTwin(num_classes=CLASSES, **PRESETS["mobius_tiny_s_clip"])


def linear_probe(data: Data) -> dict[str, Any]:
    """Logistic regression on the same rows; its strength is chosen on a fifth of the training rows, held out."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    x, y = data.train[0].flatten(1).numpy(), data.train[1].numpy()
    x_test, y_test = data.test[0].flatten(1).numpy(), data.test[1].numpy()
    held = np.random.default_rng(0).permutation(len(x)) < len(x) // 5
    strengths = (1.0, 10.0, 100.0, 1000.0)

    def probe(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000)

    scores = [probe(c).fit(x[~held], y[~held]).score(x[held], y[held]) for c in strengths]
    best = strengths[int(np.argmax(scores))]
    return {
        "linear probe": {
            "accuracy": float(probe(best).fit(x, y).score(x_test, y_test)),
            "parameters": CLASSES * (x.shape[1] + 1),
            "C": best,
            "held_out": dict(zip(map(str, strengths), map(float, scores), strict=True)),
        }
    }


RUN = Run(
    **vars(ABOUT["waves-features"]),
    arms={"lens": lens, "gelu": gelu},
    data=load,
    state=lens_state,
    readings=lens_readings,
    extra=linear_probe,
)
