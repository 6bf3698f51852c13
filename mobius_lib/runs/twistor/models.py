"""Language models that a practitioner would put in the place of the twistor, at as many parameters.

All have what `TwistorHopeArchitecture` has: called with characters (batch, time) they give logits (batch, time,
vocabulary), and `loss` is what training makes small, with a state that may be carried on.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}


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

    def __init__(
        self, kind: str, vocab_size: int, dim: int, hidden: int, layers: int, dropout: float = 0.0, head: str = "bare"
    ) -> None:
        super().__init__()
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

    def __init__(
        self, vocab_size: int, dim: int, hidden: int, layers: int, window: int, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
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

    def within(self, tokens: Tensor) -> Tensor:
        """Logits of one window, at most as long as `window`."""
        x = self.dropout(self.embedding(tokens) + self.position[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def loss(self, tokens: Tensor, targets: Tensor, state: None = None) -> tuple[Tensor, Tensor, None, dict]:
        return _cross_entropy(self.within(tokens), targets, None)


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
