"""Tokens drawn one after the other from a model that streams: each costs as much as the one before it."""

import math
import numbers
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from mobius_lib.twistor.checks import check_count, check_tokens, is_whole

ENDED = -1
"""What stands for a row that has come to its end before others of its batch."""


def generated(
    model: Any,
    prompt: Tensor,
    most: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop: Collection[int] = (),
    seed: int = 0,
) -> Iterator[Tensor]:
    """The tokens that a model puts after a prompt, as they are drawn. Dropout is off for them.

    Args:
        model: a `TwistorHopeArchitecture` that reads in one direction.
        prompt: (batch, time), time >= 1.
        most: tokens at most after it.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: draw among so many of the likeliest; None: among all.
        stop: tokens after which a row has ended.
        seed: of what is drawn; row i draws by seed + i, so that it gets what it would get alone with that.
    Yields:
        (batch,), `ENDED` in the rows that have ended before; when all have, nothing more.
    Raises:
        ValueError: for an argument that cannot be, a model that reads both ways, or logits that are not finite.
    """
    if not model.causal:
        raise ValueError("A model that reads both ways cannot say what follows; build it with bidirectional=False.")
    vocabulary = model.config.vocab_size
    check_tokens(prompt, vocabulary, "prompt")
    if not is_whole(most) or most < 0:
        raise ValueError(f"most must be a whole number of tokens, 0 or more, not {most!r}.")
    if not isinstance(temperature, numbers.Real) or not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be a number, 0 or more, not {temperature!r}.")
    if top_k is not None:
        check_count("top_k", top_k, "; None draws among all")
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}.")
    if wrong := [each for each in stop if not is_whole(each) or not 0 <= each < vocabulary]:
        raise ValueError(f"stop holds {wrong[0]!r}, but this model knows 0 to {vocabulary - 1}.")
    rows = [torch.Generator().manual_seed(int(seed) + row) for row in range(len(prompt))]
    ends = torch.tensor(sorted(stop), dtype=torch.int64, device=prompt.device)

    def tokens() -> Iterator[Tensor]:
        piece, state, going = prompt, None, torch.ones(len(prompt), dtype=torch.bool, device=prompt.device)
        for _ in range(most):
            if not going.any():
                return
            logits, state = _read(model, piece, state)
            token = drawn(logits, rows, float(temperature), top_k)
            yield torch.where(going, token, ENDED)
            going &= ~torch.isin(token, ends)
            piece = token.unsqueeze(1)

    return tokens()


def drawn(logits: Tensor, rows: list[torch.Generator], temperature: float, top_k: int | None) -> Tensor:
    """A token for each row: logits (batch, vocabulary) to (batch,) int64; each row draws one number of its generator.

    The number falls into one of the parts of [0, 1) that the tokens have by their probabilities, the likeliest first;
    so logits that differ by a rounding give another token only where it falls onto the border of two.
    """
    if not torch.isfinite(logits).all():
        raise ValueError("The model's logits are not finite, so no token can be drawn; its weights are damaged.")
    if temperature == 0:
        return logits.argmax(-1)
    most = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    likeliest, tokens = logits.double().cpu().sort(dim=-1, descending=True, stable=True)
    parts = torch.softmax((likeliest[:, :most] - likeliest[:, :1]) / temperature, dim=-1).cumsum(-1)
    number = torch.stack([torch.rand(1, generator=row, dtype=torch.float64) for row in rows]) if rows else parts[:, :1]
    place = torch.searchsorted(parts, number, right=True).clamp_max(most - 1)
    return tokens.gather(1, place).squeeze(1).to(logits.device)


@torch.no_grad()
def _read(model: Any, piece: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Logits after a piece, (batch, vocabulary), and the state; a model that is being trained stays so."""
    training = model.training
    model.eval()
    try:
        logits, state = model.stream(piece, state)
    finally:
        model.train(training)
    return logits[:, -1], state
