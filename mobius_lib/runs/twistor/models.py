"""Language models that a practitioner would put in the place of the twistor, at as many parameters.

All have what `TwistorHopeArchitecture` has: called with characters (batch, time) they give logits (batch, time,
vocabulary), and `loss` is what training makes small, with a state that may be carried on.
"""

from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.products import Linear
from mobius_lib.twistor import AdaptiveMobiusLayer, TwistorConfig, TwistorHopeArchitecture
from mobius_lib.twistor.fast.turning import turn

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}
START = 0.2
"""Spread of a mixing's entries at first. The maps' real matrices start as far from the identity: of three cycles of
complex generators of 0.1, and couplings that add up to 0.2, the 16 entries have (0.48 + 0.16)^(1/2) / 4."""


class LanguageModel(Protocol):
    """What a run asks of a model."""

    def __call__(self, tokens: Tensor) -> Tensor: ...

    def loss(self, tokens: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any, dict[str, Tensor]]:
        """The loss, the logits, the state after the last character (None: nothing is carried), and its terms."""
        ...


class RecurrentModel(nn.Module):
    """Embedding, layers of LSTM or GRU, head.

    Args:
        kind: of `KINDS`.
        vocab_size, dim: of the embedding.
        hidden: width of every layer.
        dropout: after the embedding, between the layers and before the head.
        head: "bare", or "twistor": the twistor's, which halves the width and norms it before the logits.
    """

    causal = True

    def __init__(
        self, kind: str, vocab_size: int, dim: int, hidden: int, layers: int, dropout: float = 0.0, head: str = "bare"
    ) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            kind=kind, vocab_size=vocab_size, dim=dim, hidden=hidden, layers=layers, dropout=dropout, head=head
        )
        self.embedding = nn.Embedding(vocab_size, dim)
        self.cells = KINDS[kind](dim, hidden, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        half = hidden // 2
        self.head = (
            nn.Linear(hidden, vocab_size)
            if head == "bare"
            else nn.Sequential(nn.Linear(hidden, half), nn.LayerNorm(half), nn.Linear(half, vocab_size))
        )

    def stream(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits of a piece of a text, and the state with which the next piece goes on."""
        y, state = self.cells(self.dropout(self.embedding(tokens)), state)
        return self.head(self.dropout(y)), state

    def forward(self, tokens: Tensor) -> Tensor:
        return self.stream(tokens)[0]

    def loss(self, tokens: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any, dict[str, Tensor]]:
        logits, state = self.stream(tokens, state)
        return _cross_entropy(logits, targets, state)


class TransformerModel(nn.Module):
    """A small causal Transformer: norms before each part, learned positions.

    It learns on windows. Read through a longer text its window moves on by half of its length, so that every character
    but those of the first window has at least half a window before it.

    Args:
        vocab_size: tokens.
        dim: width; a multiple of heads.
        hidden: width inside of the feed-forward parts.
        window: the most characters that it can see.
    """

    causal = True

    def __init__(
        self, vocab_size: int, dim: int, hidden: int, layers: int, window: int, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            vocab_size=vocab_size, dim=dim, hidden=hidden, layers=layers, window=window, heads=heads, dropout=dropout
        )
        self.window = window
        self.embedding = nn.Embedding(vocab_size, dim)
        self.position = nn.Parameter(torch.randn(window, dim) * 0.02)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(dim, hidden, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        half, time = self.window // 2, tokens.shape[1]
        found = []
        for start in range(0, max(1, time - half), half):
            logits = self.within(tokens[:, start : start + self.window])
            found.append(logits if start == 0 else logits[:, half:])
        return torch.cat(found, dim=1)

    def stream(self, tokens: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of a piece of a text, and what of the text can be seen from the next piece."""
        seen = tokens if seen is None else torch.cat([seen, tokens], dim=1)
        return self(seen)[:, -tokens.shape[1] :], seen[:, -self.window :]

    def within(self, tokens: Tensor) -> Tensor:
        """Logits of one window, at most as long as `window`."""
        x = self.dropout(self.embedding(tokens) + self.position[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def loss(self, tokens: Tensor, targets: Tensor, state: None = None) -> tuple[Tensor, Tensor, None, dict]:
        return _cross_entropy(self.within(tokens), targets, None)


class Mixing(nn.Module):
    """In the place of `MobiusCycles`: a real 4 x 4 matrix for each component pair, in which every entry is free.

    A Möbius map of a pair has 6 free numbers and J's couplings; of this no structure of complex numbers is left. Like
    the generators of the maps its entries lie around the identity, to which weight decay draws them.

    Args:
        dim: width 4n.
    Attributes:
        offset: (4, 4, n).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(START * torch.randn(4, 4, dim // 4))

    def matrix(self) -> Tensor:
        """(4, 4, n), as `MobiusCycles.matrix`."""
        return _one(self.offset) + self.offset


class AdaptiveMixing(AdaptiveMobiusLayer):
    """In the place of `AdaptiveMobiusLayer`: a mixing, and then one that each row sets for itself by as narrow a
    network, every entry within `strength` of the identity."""

    def __init__(self, dim: int, rank: int = 16) -> None:
        super().__init__(dim, rank=rank)
        self.cycles, self.up = Mixing(dim), Linear(rank, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        turned = turn(x, self.cycles.matrix())
        offset = (self.strength * torch.tanh(self._logits(x))).unflatten(-1, (4, 4, -1))
        return turn(turned, _one(offset) + offset)


def _one(like: Tensor) -> Tensor:
    return torch.eye(4, dtype=like.dtype, device=like.device).unsqueeze(-1)


class MixedTwistor(TwistorHopeArchitecture):
    """The model with a `Mixing` in the place of all of its maps; it has no memory, whose slots have maps as well."""

    def __init__(self, config: TwistorConfig) -> None:
        super().__init__(config)
        recurrent = self.self_modifying.recurrent
        for cell in recurrent.forwards:
            cell.mobius = Mixing(cell.hidden_dim)
        for layer in recurrent.between:
            layer.cycles = Mixing(layer.dim)
        self.self_modifying.mobius = AdaptiveMixing(2 * config.dim)


class Block(nn.Module):
    """Attention and a feed-forward part, each added to what came in."""

    def __init__(self, dim: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.second(F.gelu(self.first(self.between(x)))))


def equal_recurrent(
    kind: str, parameters: int, vocab_size: int, dim: int, layers: int = 2, head: str = "bare", **given: Any
) -> nn.Module:
    """The recurrent model whose number of parameters is nearest to one that is given, by the width of its layers."""
    gates = {"lstm": 4, "gru": 3}[kind]

    def count(hidden: int) -> int:
        inner = gates * hidden * (dim + hidden + 2) + (layers - 1) * gates * hidden * (2 * hidden + 2)
        half = hidden // 2
        last = (hidden + 1) * vocab_size if head == "bare" else (hidden + 3) * half + (half + 1) * vocab_size
        return vocab_size * dim + inner + last

    hidden = min(range(1, 4096), key=lambda hidden: abs(count(hidden) - parameters))
    return RecurrentModel(kind, vocab_size, dim, hidden, layers, head=head, **given)


def equal_transformer(
    parameters: int, vocab_size: int, window: int, layers: int = 2, heads: int = 4, **given: Any
) -> TransformerModel:
    """The Transformer whose number of parameters is nearest: its width so that the inner one is four times that, about,
    and then the inner one."""

    def count(dim: int, hidden: int) -> int:
        block = 4 * dim * (dim + 1) + 4 * dim + 2 * dim * hidden + dim + hidden
        return (2 * vocab_size + window) * dim + vocab_size + 2 * dim + layers * block

    dim = min(range(heads, 4096, heads), key=lambda dim: abs(count(dim, 4 * dim) - parameters))
    hidden = min(range(1, 8 * dim + 1), key=lambda hidden: abs(count(dim, hidden) - parameters))
    return TransformerModel(vocab_size, dim, hidden, layers, window, heads, **given)


def _cross_entropy(logits: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Tensor, Any, dict[str, Tensor]]:
    loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    return loss, logits, state, {"cross_entropy": loss.detach()}
