"""What the modules of this package ask of their arguments: one sentence that names the argument and what to do."""

import torch
from torch import Tensor


def check_width(name: str, width: int) -> None:
    """A width of whole component pairs.

    Raises:
        ValueError: when it is no positive multiple of 4.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 4 or width % 4:
        raise ValueError(
            f"{name} must be a positive multiple of 4, the real and imaginary parts of omega and pi, not {width!r}."
        )


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


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Token numbers. They are looked at where they lie on the CPU; on a GPU that would mean waiting for it.

    Raises:
        ValueError: when shape, type or range do not fit, or the sequence is empty.
    """
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"tokens must be int64 or int32 numbers of shape (batch, time), not {tokens.dtype} of shape "
            f"{tuple(tokens.shape)}."
        )
    if tokens.shape[1] == 0:
        raise ValueError(f"tokens is an empty sequence, of shape {tuple(tokens.shape)}; give at least one token.")
    if tokens.device.type == "cpu" and tokens.numel() and not torch.compiler.is_compiling():
        low, high = torch.aminmax(tokens)
        if low < 0 or high >= vocab_size:
            wrong = high if high >= vocab_size else low
            raise ValueError(
                f"tokens holds {int(wrong)}, which is out of range: this model knows 0 to {vocab_size - 1}."
            )
