"""Tokens as twistors."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.checks import check_count, check_tokens, check_width, is_whole


class SpinorEmbedding(nn.Module):
    """A learned twistor (omega, pi) for every token.

    Args:
        vocab_size: tokens there are, at least 1.
        dim: real numbers of each of omega and pi, so dim / 2 complex components of each; even.
    Shape:
        (..., ) int to (..., 2 dim).
    Attributes:
        weight: (vocab_size, 2 dim), drawn from N(0, 1/4), so that a pair has length 1 on average.
    Raises:
        ValueError: for an odd dim, or tokens that are out of range or on another device.
    Source:
        the MT-HOPE README; separate real and imaginary parts are its default.
    """

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        if not is_whole(dim) or dim < 2 or dim % 2:
            raise ValueError(
                f"dim must be even, for omega and pi have dim/2 real and dim/2 imaginary parts, not {dim}."
            )
        check_width("dim", 2 * dim)
        self.vocab_size, self.dim = vocab_size, dim
        self.weight = nn.Parameter(0.5 * torch.randn(vocab_size, 2 * dim))

    def complex(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """omega and pi of tokens in torch.complex64: (batch, time) to two of (batch, time, dim / 2)."""
        return twistor.to_complex(self(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        check_tokens(tokens, self.vocab_size)
        if tokens.device != self.weight.device:  # F.embedding takes those on the meta device, and gives any numbers
            raise ValueError(
                f"tokens are on {tokens.device}, but the model is on {self.weight.device}; move them there."
            )
        return F.embedding(tokens, self.weight)
