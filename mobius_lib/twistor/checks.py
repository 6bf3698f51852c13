"""What the modules of this package ask of their arguments: one sentence that names the argument and what to do."""

import numbers
from typing import Any

import torch
from torch import Tensor

from mobius_lib.native import concrete


def check_width(name: str, width: int) -> None:
    """A width of whole component pairs.

    Raises:
        ValueError: when it is no positive multiple of 4.
    """
    if not is_whole(width) or width < 4 or width % 4:
        raise ValueError(
            f"{name} must be a positive multiple of 4, the real and imaginary parts of omega and pi, not {width!r}."
        )


def is_whole(value: Any) -> bool:
    """Whether it is a whole number of any type, such as numpy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_count(name: str, value: Any, hint: str = "") -> None:
    """How many there are of something.

    Raises:
        ValueError: when it is no whole number from 1 on.
    """
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}{hint}.")


def check_twistor(name: str, x: Tensor, width: int, axes: tuple[str, ...]) -> None:
    """A tensor of twistors, with at least one step where it has an axis of them.

    Raises:
        ValueError: when shape or type do not fit, or the sequence is empty.
    """
    if x.ndim != len(axes) + 1 or x.shape[-1] != width or not x.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point numbers of shape ({', '.join(axes)}, {width}), not {x.dtype} of shape "
            f"{tuple(x.shape)}."
        )
    if "time" in axes and x.shape[axes.index("time")] == 0:
        raise ValueError(f"{name} is an empty sequence, of shape {tuple(x.shape)}; give at least one step.")


def check_rows(name: str, x: Tensor, width: int) -> None:
    """Twistors with any leading axes.

    Raises:
        ValueError: when width or type do not fit.
    """
    if x.ndim == 0 or x.shape[-1] != width or not x.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point numbers of shape (..., {width}), not {x.dtype} of shape {tuple(x.shape)}."
        )


def check_carried(name: str, x: Any, like: Tensor) -> None:
    """A tensor that was carried from one piece of a sequence to the next.

    Raises:
        ValueError: when it is no tensor of floating-point numbers on the device of the model.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        there = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a tensor of floating-point numbers, not {there}; begin with None.")
    if x.device != like.device:
        raise ValueError(
            f"{name} is on {x.device}, but the model is on {like.device}; move it there, or begin with None."
        )


IGNORED = -100
"""A target that does not count, for padding: the number that torch's cross-entropy leaves out."""


def check_targets(tokens: Tensor, targets: Tensor, vocab_size: int) -> None:
    """The tokens that follow: as `check_tokens`, and one for each token; `IGNORED` where none counts.

    Raises:
        ValueError: when they do not fit the tokens, or there are none.
    """
    check_tokens(tokens, vocab_size)
    counted = targets.masked_fill(targets == IGNORED, 0) if isinstance(targets, Tensor) else targets
    check_tokens(counted, vocab_size, "targets")
    if targets.shape != tokens.shape:
        raise ValueError(
            f"targets must have the shape of tokens, {tuple(tokens.shape)}, one for each, not {tuple(targets.shape)}."
        )
    if not tokens.numel():
        raise ValueError(f"tokens is an empty batch, of shape {tuple(tokens.shape)}, which has no loss; leave it out.")


def check_hidden(tokens: Tensor, hidden: Any) -> Tensor:
    """Which tokens are hidden, as it was given.

    Raises:
        ValueError: when it is no mask of the tokens, or hides none of them (not looked at on a GPU).
    """
    if not isinstance(hidden, Tensor) or hidden.dtype != torch.bool or hidden.shape != tokens.shape:
        there = f"{hidden.dtype}, {tuple(hidden.shape)}" if isinstance(hidden, Tensor) else type(hidden).__name__
        raise ValueError(f"hidden must be bool of the shape of tokens, {tuple(tokens.shape)}, not {there}.")
    if hidden.device != tokens.device:
        raise ValueError(f"hidden is on {hidden.device}, but tokens are on {tokens.device}; move it there.")
    if hidden.device.type == "cpu" and concrete(hidden) and not hidden.any():
        raise ValueError("hidden hides no token, so there is nothing to tell; hide one at least.")
    return hidden


def check_tokens(tokens: Any, vocab_size: int, name: str = "tokens") -> None:
    """Token numbers. They are looked at where they lie on the CPU; on a GPU that would mean waiting for it.

    Raises:
        ValueError: when shape, type or range do not fit, or the sequence is empty.
    """
    if not isinstance(tokens, Tensor):
        raise ValueError(f"{name} must be a tensor of whole numbers, (batch, time), not {type(tokens).__name__}.")
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"{name} must be int64 or int32 numbers of shape (batch, time), not {tokens.dtype} of shape "
            f"{tuple(tokens.shape)}."
        )
    if tokens.shape[1] == 0:
        raise ValueError(f"{name} is an empty sequence, of shape {tuple(tokens.shape)}; give at least one token.")
    if tokens.device.type == "cpu" and tokens.numel() and concrete(tokens):
        low, high = torch.aminmax(tokens)
        if low < 0 or high >= vocab_size:
            wrong = high if high >= vocab_size else low
            raise ValueError(
                f"{name} holds {int(wrong)}, which is out of range: this model knows 0 to {vocab_size - 1}."
            )
