"""The thirds mask and its rivals: which channels of a block are turned down, and what that does.

The MobiusNet card turns down another third of the channels in each layer (times 0.5), after Cantor's set, and says that
this regularises. To test that, `with_mask` gives a MobiusNet, or its GELU twin, another mask and leaves all else as it
is:

    none      every channel passes
    thirds    the third whose turn it is (layer modulo 3) times `reduction`, in training and in evaluation: as published
    fixed     the first third in every layer: the same attenuation without the rotation
    dropout   whole channels are dropped at random, per sample, in training only, at the rate that gives the same
              expected attenuation

Which dropout is fair? Thirds at 0.5 touch a third of the channels, but take away only a sixth of the signal: the mean
factor is 5/6. Dropping a third of the channels would be twice as strong. So a channel is dropped with probability 1/6,
the others are not scaled up in training, and all are multiplied by 5/6 in evaluation: in both modes every block
passes, in expectation, as much as under the thirds mask. What differs is where the attenuation falls: chosen by the
layer, or by chance. With a number of channels that 3 does not divide, the rate follows the size of that layer's third.

The layer here knows no network: a block is any module with a buffer `thirds_mask` that it multiplies into the result of
its submodule `lens`, channels last, as `mobius_lib.waves` has it. So the packages of the chapters stay side by side.

Source: the MobiusNet card for the mask; the comparison is ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MASKS = ("none", "thirds", "fixed", "dropout")
"""The kinds that `with_mask` knows."""


def third(channels: int, group: int) -> slice:
    """The channels of one of the three groups; the last group also takes the remainder of channels / 3.

    Args:
        channels: C, positive.
        group: 0, 1 or 2.
    Returns:
        a slice of range(channels); empty for the first two groups when C < 3.
    Raises:
        ValueError: when there is no channel or no such group.
    """
    if channels < 1 or group not in (0, 1, 2):
        raise ValueError(f"A third is group 0, 1 or 2 of at least one channel, got group={group}, channels={channels}.")
    size = channels // 3
    return slice(group * size, channels if group == 2 else (group + 1) * size)


def thirds_mask(channels: int, step: int, reduction: float = 0.5) -> Tensor:
    """1 everywhere, `reduction` on the third of the channels whose turn it is (step modulo 3).

    Laws: period 3 in step; three successive masks turn down every channel exactly once.

    Args:
        channels: C, positive.
        step: the position of the layer in its network, from 0.
        reduction: the factor on that third.
    Returns:
        (C,) float32.
    """
    mask = torch.ones(channels)
    mask[third(channels, step % 3)] = reduction
    return mask


def channel_mask(kind: str, channels: int, step: int, reduction: float = 0.5) -> Tensor:
    """The factor per channel that each kind of mask has in evaluation, which is its mean in training.

    Laws: the mean over channels is the same for thirds and dropout at every step, and for fixed too wherever 3 divides
    the channels.

    Args:
        kind: one of `MASKS`.
        channels: C, positive.
        step: the position of the layer in its network, from 0.
        reduction: the factor on a third; for dropout it sets the rate.
    Returns:
        (C,) float32.
    Raises:
        ValueError: when there is no such kind, or reduction is outside [0, 1].
    """
    if kind not in MASKS:
        raise ValueError(f"There is no mask kind={kind!r}; the kinds are {', '.join(MASKS)}.")
    if not 0 <= reduction <= 1:
        raise ValueError(f"reduction must be a factor from 0 to 1, got {reduction}.")
    if kind == "none":
        return torch.ones(channels)
    mask = thirds_mask(channels, 0 if kind == "fixed" else step, reduction)
    return mask.mean().expand(channels).clone() if kind == "dropout" else mask


class ChannelDropout(nn.Module):
    """Whole channels of each sample set to 0 in training, the others scaled up by 1 / (1 - rate): mean 1.

    As `torch.nn.Dropout2d`, for channels last.

    Args:
        rate: the probability of a channel to be dropped; 0 changes nothing.
    Shape:
        (N, ..., C) to (N, ..., C).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.ones(x.shape[0], *[1] * (x.dim() - 2), x.shape[-1], dtype=x.dtype, device=x.device)
        return x * nn.functional.dropout(keep, self.rate)


def with_mask(model: nn.Module, kind: str, reduction: float = 0.5) -> nn.Module:
    """Give every block of a network a mask of this kind, and return the network (itself, not a copy).

    Parameters, their names and values, and the layout of the state dict stay. The mask is a buffer and travels with the
    state dict. What does not travel is that dropout drops, so call this again after building a network to train on.
    May be called again with another kind. Evaluation, `fold` and export see plain numbers: for dropout, its mean.

    Laws: "thirds" restores the published network exactly; the logits in evaluation depend on the buffers alone.

    Args:
        model: a `MobiusNet` or `GELUTwin`, or any network whose blocks have a buffer `thirds_mask` that multiplies the
            result of their submodule `lens`, channels last.
        kind: one of `MASKS`.
        reduction: the factor on a third; for dropout it sets the rate.
    Returns:
        the model.
    Raises:
        ValueError: when there is no such kind, or reduction is outside [0, 1].
        TypeError: when the model has no block with a mask (a folded network has multiplied it into its matrices).
    """
    for step, block in enumerate(_blocks(model)):
        old = block.thirds_mask
        mask = channel_mask(kind, old.numel(), step, reduction)
        with torch.no_grad():
            old.copy_(mask.view_as(old))
        _set_dropout(block.lens, 1 - mask[0].item() if kind == "dropout" else 0.0)
    return model


@contextmanager
def drop_third(model: nn.Module, group: int, blocks: Sequence[int] | None = None) -> Iterator[nn.Module]:
    """Within the `with`, the branches of the blocks give nothing on one third of their channels.

    How much the loss rises says how much the network leans on that third: co-adapted channels are missed more. What
    passes a block unchanged (the residual) is left, as the mask leaves it. For evaluation: no gradients through it.

        with drop_third(model, 1):
            loss_without = loss(model(x), y)

    Args:
        model: a network as for `with_mask`; changed on entry and restored on leaving, whatever happens within.
        group: 0, 1 or 2, counted by channel in every block, whatever third its own mask turns down.
        blocks: indices of the blocks concerned, from 0; None is all of them.
    Yields:
        the model.
    Raises:
        ValueError: when there is no such group or block.
        TypeError: when the model has no block with a mask.
    """
    found = _blocks(model)
    chosen = range(len(found)) if blocks is None else blocks
    wrong = [i for i in chosen if not 0 <= i < len(found)]
    if wrong:
        raise ValueError(f"blocks names block {wrong[0]}, but the network has the blocks 0 to {len(found) - 1}.")
    masks = [found[i].thirds_mask for i in chosen]
    parts = [third(mask.numel(), group) for mask in masks]
    saved = [mask.clone() for mask in masks]
    try:
        with torch.no_grad():
            for mask, part in zip(masks, parts, strict=True):
                mask.view(-1)[part] = 0
        yield model
    finally:
        with torch.no_grad():
            for mask, values in zip(masks, saved, strict=True):
                mask.copy_(values)


def _blocks(model: nn.Module) -> list[Any]:
    """The blocks, in the order in which they were put into the network, which is that of the layers."""
    found = [
        module
        for module in model.modules()
        if isinstance(getattr(module, "thirds_mask", None), Tensor)
        and isinstance(getattr(module, "lens", None), nn.Module)
    ]
    if not found:
        raise TypeError(
            f"A {type(model).__name__} has no block with a thirds mask and a lens; give a MobiusNet or a GELUTwin, "
            "before folding."
        )
    return found


def _set_dropout(lens: nn.Module, rate: float) -> None:
    """Drop channels behind this lens at this rate. The hook is registered once and is copied with the lens."""
    if isinstance(there := getattr(lens, "mask_dropout", None), ChannelDropout):
        there.rate = rate
    elif rate > 0:
        lens.mask_dropout = ChannelDropout(rate).train(lens.training)
        lens.register_forward_hook(_drop)


def _drop(lens: Any, inputs: Any, output: Tensor) -> Tensor:
    return lens.mask_dropout(output)
