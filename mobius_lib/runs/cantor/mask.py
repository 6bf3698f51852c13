"""Does the thirds mask regularise? A MobiusNet on pictures with four kinds of mask, and what a silenced third costs it.

After training, one third of the channels of every block is silenced at a time: the accuracy that is left says how
redundant the channels are, and the rise of the loss how much the others had come to rely on that third. The gap between
training and test rows says how much was learned by heart.

Source: seed 000 for the mask and for what it is said to do; the comparison is ours. Pictures are halved to 14 x 14, so
that five seeds of four arms fit into minutes on two CPU cores.
"""

from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.functional import avg_pool2d

from mobius_lib.cantor import drop_third, with_mask
from mobius_lib.runs.base import Arm, Data, Run
from mobius_lib.runs.cantor import ABOUT
from mobius_lib.runs.waves import images as waves_images
from mobius_lib.waves import MobiusNet, lens_state

KINDS = {"thirds": "thirds", "unmasked": "none", "dropout": "dropout", "fixed": "fixed"}
"""Arm to the kind of mask in `mobius_lib.cantor.mask`."""
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


def arm(kind: str) -> Arm:
    """The same network with that kind of mask."""
    return Arm(lambda: with_mask(MobiusNet(**SIZES), kind))


def measure(model: nn.Module, data: Data, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Loss and accuracy on training rows, and on test rows with each third silenced in turn.

    Returns:
        train_accuracy, train_loss, test_loss, train_test_gap (of accuracy); accuracy_without and loss_without, one for
        each third; their means accuracy_without_a_third and loss_without_a_third; and coadaptation, by how much the
        mean loss has risen.
    """
    from mobius_lib.training import ResidentBatches, evaluate

    place = data.test[0].device
    test = ResidentBatches(*data.test, 500, shuffle=False, seed=0)
    train_loss, train_accuracy = evaluate(model, ResidentBatches(*data.train, 500, shuffle=False, seed=0), place)
    test_loss, test_accuracy = evaluate(model, test, place)
    without = []
    for group in range(3):
        with drop_third(model, group):
            without.append(evaluate(model, test, place))
    losses, accuracies = ([pair[i] for pair in without] for i in (0, 1))
    return {
        "train_accuracy": train_accuracy,
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_test_gap": train_accuracy - test_accuracy,
        "accuracy_without": accuracies,
        "accuracy_without_a_third": sum(accuracies) / 3,
        "loss_without": losses,
        "loss_without_a_third": sum(losses) / 3,
        "coadaptation": sum(losses) / 3 - test_loss,
    }


RUN = Run(
    **vars(ABOUT["cantor-mask"]),
    arms={name: arm(kind) for name, kind in KINDS.items()},
    data=load,
    state=lens_state,
    measure=measure,
    baseline="unmasked",
    timed=("thirds", "unmasked", "dropout"),
)
