"""Does the thirds mask regularise? A MobiusNet on pictures with four kinds of mask, and what a silenced third costs it.

After training, one third of the channels of every block is silenced at a time: the accuracy that is left says how
redundant the channels are, and the rise of the loss how much the others had come to rely on that third. The gap between
training and test rows says how much was learned by heart.

Source: the MobiusNet card for the mask and for what it is said to do; the comparison is ours. Pictures are halved to 14
x 14, so that five seeds of four arms fit into minutes on two CPU cores.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from mobius_lib.cantor import drop_third, with_mask
from mobius_lib.runs.base import Arm, Data, Run, with_more_test_rows
from mobius_lib.runs.cantor import ABOUT
from mobius_lib.runs.waves import images as waves_images
from mobius_lib.runs.waves.readings import lens_state
from mobius_lib.waves import MobiusNet

KINDS = {"thirds": "thirds", "unmasked": "none", "dropout": "dropout", "fixed": "fixed"}
"""Arm to the kind of mask in `mobius_lib.cantor.mask`."""
RATES = (1e-3, 2e-3, 4e-3)
"""Tried first by every arm at long scale."""
SIZES = {
    "in_chans": 1,
    "num_classes": 10,
    "channels": (24, 48),  # thirds without a remainder
    "depths": (3, 3),  # so that each third has its turn twice
    "scale_range": (0.25, 2.75),
}


def load() -> Data:
    """Fashion-MNIST as in `waves_images`, mirrored at random in training, at half the resolution."""
    data = waves_images.load()
    (x, y), (x_test, y_test) = data.train, data.test
    return replace(data, train=(avg_pool2d(x, 2), y), test=(avg_pool2d(x_test, 2), y_test))


def arm(kind: str, **changes: Any) -> Arm:
    """The same network with that kind of mask."""
    return Arm(lambda: with_mask(MobiusNet(**SIZES), kind), **changes)


def measure(model: nn.Module, data: Data, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Loss and accuracy on training rows, and on test rows with each third silenced in turn.

    Returns:
        train_accuracy, train_loss, test_loss, train_test_gap (of accuracy); accuracy_without and loss_without, one for
        each third; their means accuracy_without_a_third and loss_without_a_third; and coadaptation, by how much the
        mean loss has risen. And train_test_gap_error and coadaptation_error, the standard errors that come from the
        rows being so many.
    """
    from mobius_lib.training import ResidentBatches, evaluate

    place = data.test[0].device
    test = ResidentBatches(*data.test, 500, shuffle=False, seed=0)
    train_loss, train_accuracy = evaluate(model, ResidentBatches(*data.train, 500, shuffle=False, seed=0), place)
    test_loss, test_accuracy = evaluate(model, test, place)
    without, rise = [], -_losses(model, data)
    for group in range(3):
        with drop_third(model, group):
            without.append(evaluate(model, test, place))
            rise += _losses(model, data) / 3
    losses, accuracies = ([pair[i] for pair in without] for i in (0, 1))
    return {
        "train_accuracy": train_accuracy,
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_test_gap": train_accuracy - test_accuracy,
        "train_test_gap_error": math.hypot(
            math.sqrt(train_accuracy * (1 - train_accuracy) / len(data.train[1])),
            math.sqrt(test_accuracy * (1 - test_accuracy) / len(data.test[1])),
        ),
        "accuracy_without": accuracies,
        "accuracy_without_a_third": sum(accuracies) / 3,
        "loss_without": losses,
        "loss_without_a_third": sum(losses) / 3,
        "coadaptation": sum(losses) / 3 - test_loss,
        "coadaptation_error": (rise.std() / math.sqrt(len(rise))).item(),
    }


@torch.no_grad()
def _losses(model: nn.Module, data: Data) -> Tensor:
    """Of every test row, (N,)."""
    rows = zip(*(part.split(500) for part in data.test), strict=True)
    return torch.cat([cross_entropy(model(x), y, reduction="none") for x, y in rows]).double()


RUN = Run(
    **vars(ABOUT["cantor-mask"]),
    arms={name: arm(kind) for name, kind in KINDS.items()},
    data=load,
    state=lens_state,
    measure=measure,
    baseline="unmasked",
    timed=("thirds", "unmasked", "dropout"),
    long={
        "arms": {name: arm(kind, rates=RATES) for name, kind in KINDS.items()},
        "data": partial(with_more_test_rows, load),
    },
)
