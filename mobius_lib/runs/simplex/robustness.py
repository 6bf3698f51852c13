"""Is there anything that the geometry buys? David against plain classifiers where data are few, wrong, or strange.

Settings, each with every model; the arm of a model in a setting is called "david, 5 per class":

    (none)        all rows, as they are: calibration of a classifier in its ordinary state
    n per class   n rows of each class, drawn by the seed, and repeated so that an epoch has as many steps as it needs
    n % noise     that share of the training labels replaced by another class, drawn by the seed
    7 classes     trained on seven classes that the seed draws; the test rows of the other three should be rejected

Every arm's record has its calibration: `ece` and `nll` at the model's own temperature, which for David is that of its
loss, and `ece_scaled` and `nll_scaled` at the temperature that fits one half of the test rows; all four on the other
half, and `ece_error` and `ece_scaled_error`, what the number of rows adds to them. With seven classes also
`auroc_probability` and `auroc_score`: how well the largest probability (at the fitted temperature) and the largest
logit tell known classes from strange ones; and `auroc_score_error`.

Learning rates are chosen once per model, on held-out rows of the setting without disturbance, and used in all others.
Source: ours; the GeoFractalDavid card claims nothing of the kind, and this is where such a model could show its worth.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.runs.base import Arm, Data, sized
from mobius_lib.runs.simplex import ABOUT
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.runs.simplex.calibration import (
    auroc,
    calibration_error,
    error_of_rows,
    fit_temperature,
    negative_log_likelihood,
)
from mobius_lib.runs.simplex.features import CLASSES, DIM, load, load_long
from mobius_lib.simplex import DavidConfig, GeoFractalDavid

MODELS = ("david", "linear", "cosine", "ncm", "mlp")
SHOTS = (1, 5, 20, 100)
NOISE = (20, 40)
"""Percent."""
KNOWN = 7
ENOUGH = 1000
"""Rows of an epoch: fewer are repeated until there are so many, else a handful would make a single step."""
SCALES = {"quick": (32, 64), **dict.fromkeys(("short", "long"), (64, 128)), "full": (384, 512, 768, 1024, 1280)}
K = {"quick": 3, "short": 4, "long": 4, "full": 12}
QUICK_SETTINGS = ("", f"{SHOTS[1]} per class", f"{NOISE[1]} % noise", f"{KNOWN} classes")


def few(data: Data, seed: int, shots: int) -> Data:
    """So many rows of each class (all it has, where those are fewer), over and over."""
    x, y = data.train
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).to(y.device)
    kept = torch.cat([order[y[order] == c][:shots] for c in range(CLASSES)])
    kept = kept.repeat(-(-ENOUGH // len(kept)))
    return replace(data, train=(x[kept], y[kept]))


def noisy(data: Data, seed: int, percent: int) -> Data:
    """So many percent of the training labels replaced, each by one of the other classes."""
    x, y = data.train
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=generator) < percent / 100
    other = torch.randint(1, CLASSES, (len(y),), generator=generator)
    return replace(data, train=(x, (y + (other * wrong).to(y.device)) % CLASSES))


def known_classes(data: Data, seed: int) -> Data:
    """Seven classes, numbered anew; the test rows of the others stand aside."""
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(seed))
    number = torch.full((CLASSES,), -1)
    number[order[:KNOWN].sort().values] = torch.arange(KNOWN)
    number = number.to(data.train[1].device)
    parts = [(x[number[y] >= 0], number[y][number[y] >= 0]) for x, y in (data.train, data.test)]
    x, y = data.test
    return replace(data, train=parts[0], test=parts[1], outside=x[number[y] < 0])


SETTINGS: dict[str, Callable[[Data, int], Data] | None] = {
    "": None,
    **{f"{shots} per class": partial(few, shots=shots) for shots in SHOTS},
    **{f"{percent} % noise": partial(noisy, percent=percent) for percent in NOISE},
    f"{KNOWN} classes": known_classes,
}
"""Name to what is done to the data."""


def arm_name(model: str, setting: str) -> str:
    """ "david" in the setting without disturbance, else for instance "david, 5 per class"."""
    return f"{model}, {setting}" if setting else model


def arms(scale: str) -> dict[str, Arm]:
    """Every model in every setting; quick leaves some settings out."""
    found: dict[str, Arm] = {}
    searched, wide = scale != "quick", scale == "long"
    deep = david_arms.candidates(david_arms.WIDE_RATES if wide else david_arms.DEEP_RATES, searched)
    for setting in QUICK_SETTINGS if scale == "quick" else SETTINGS:
        classes = KNOWN if SETTINGS[setting] is known_classes else CLASSES
        config = DavidConfig(feature_dim=DIM, num_classes=classes, k=K[scale], scales=SCALES[scale])
        models = {
            "david": david_arms.david(config, rates=deep),
            **david_arms.baselines(DIM, classes, david_arms.size_of(config), searched, wide),
        }
        for name in MODELS:
            changes: dict[str, Any] = {"view": SETTINGS[setting]}
            if setting and models[name].rates:
                changes |= {"rates": (), "rate_of": name}
            found[arm_name(name, setting)] = replace(models[name], **changes)
    return found


@torch.no_grad()
def measure(model: nn.Module, data: Data, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Calibration before and after fitting a temperature, and rejection where there are strange rows."""
    x, y = data.test
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).to(y.device)
    fitting, judging = order[: len(y) // 2], order[len(y) // 2 :]
    logits = _logits(model, x)
    own = david_arms.TEMPERATURE if isinstance(model, GeoFractalDavid) else 1.0
    fitted = fit_temperature(logits[fitting], y[fitting])
    found: dict[str, Any] = {"temperature": fitted}
    for ending, temperature in {"": own, "_scaled": fitted}.items():
        probabilities = torch.softmax(logits[judging].double() / temperature, dim=1)
        found[f"ece{ending}"] = calibration_error(probabilities, y[judging])
        found[f"ece{ending}_error"] = error_of_rows(calibration_error, (probabilities, y[judging]))
        found[f"nll{ending}"] = negative_log_likelihood(logits[judging], y[judging], temperature)
    if data.outside is not None:
        strange = _logits(model, data.outside)
        inside, outside = (torch.softmax(z.double() / fitted, dim=1).amax(1) for z in (logits, strange))
        found["auroc_probability"] = auroc(inside, outside)
        found["auroc_score"] = auroc(logits.amax(1), strange.amax(1))
        found["auroc_score_error"] = error_of_rows(auroc, (logits.amax(1),), (strange.amax(1),))
    return found | {key: value for key, value in david_arms.measure(model, data, history).items() if key == "alpha"}


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(rows) for rows in x.split(500)])


def fields(scale: str) -> dict[str, Any]:
    """What the run has at a scale."""
    return david_arms.COMMON | {
        "arms": arms(scale),
        "data": load,
        "state": None,
        "measure": measure,
        "timed": MODELS,
        "keep_history": False,
        # with seven classes, test rows are others for each seed: no predictions are kept
        "long": {"data": load_long, "keep_predictions": False},
    }


RUN = sized(ABOUT["simplex-robustness"], fields)
