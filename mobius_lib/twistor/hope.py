"""The whole model: embedding, recurrence, memories, nested levels, head."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.native import fits
from mobius_lib.products import Linear
from mobius_lib.twistor.checks import IGNORED, check_hidden, check_targets, check_tokens
from mobius_lib.twistor.config import TwistorConfig
from mobius_lib.twistor.embedding import SpinorEmbedding
from mobius_lib.twistor.fast.choice import build_ahead
from mobius_lib.twistor.generation import ENDED, generated
from mobius_lib.twistor.memory import Slots, TwistorMemorySystem
from mobius_lib.twistor.nested import TwistorNestedLearning
from mobius_lib.twistor.recurrent import LayerStates, TwistorSelfModifyingRecurrent
from mobius_lib.twistor.self_modifying import ContinuumMemory, FastStates


@dataclass(frozen=True)
class HopeState:
    """What is carried from one piece of a sequence to the next. Its size does not grow with the sequence."""

    layers: LayerStates
    slots: Slots | None
    fast: FastStates | None = None
    """Of the continuum memory, where there is one."""

    def detach(self) -> Self:
        """The same numbers, with no gradient behind them: for training on one piece after the other."""
        slots = None if self.slots is None else self.slots.detach()
        fast = None if self.fast is None else tuple(each.detach() for each in self.fast)
        return type(self)(tuple(each.detach() for each in self.layers), slots, fast)


class TwistorHopeArchitecture(nn.Module):
    """Tokens to logits, one token after the other, with no attention.

    Args:
        config: a `TwistorConfig`, for example of `create_full_config`.
        settings: fields of it by name, in place of it or of some of its fields.
    Shape:
        tokens (batch, time) int to logits (batch, time, vocab_size); time >= 1. Causal unless bidirectional.
    Raises:
        ValueError: for a configuration that cannot be, tokens out of range, an empty sequence, or a state of another
            model or batch.
    Source:
        the MT-HOPE README; the head for language is ours, the README has none.
    """

    def __init__(self, config: TwistorConfig | None = None, **settings: Any) -> None:
        super().__init__()
        config = replace(config, **settings) if config is not None else TwistorConfig(**settings)
        self.config, self.causal = config, not config.bidirectional
        width = 2 * config.dim
        self.embedding = SpinorEmbedding(config.vocab_size, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.self_modifying = TwistorSelfModifyingRecurrent(
            width, 2 * (config.hidden_dim or config.dim), config.num_recurrent_layers,
            bidirectional=config.bidirectional, dropout=config.dropout, form=config.form, use_mobius=config.use_mobius,
            num_mobius_cycles=config.num_mobius_cycles, coupled=config.coupled, scales=config.scales,
            use_adaptive_evolution_rate=config.use_adaptive_evolution_rate, backend=config.backend,
        )  # fmt: skip
        self.memory = (
            TwistorMemorySystem(
                width, config.num_memories, config.num_memory_cycles if config.use_mobius else 0,
                coupled=config.coupled, update_rate=config.update_rate,
                use_phase_compression=config.use_phase_compression, slot_bits=config.slot_bits, backend=config.backend,
            )
            if config.use_memory
            else None
        )  # fmt: skip
        self.nested = (
            TwistorNestedLearning(
                width, config.num_nested_levels, period=config.nested_period, level_factor=config.level_factor,
                constant=config.constraint, dynamic_weights=config.dynamic_weights, backend=config.backend,
            )
            if config.use_nested_learning
            else None
        )  # fmt: skip
        self.out = Linear(width, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.head = Linear(config.dim, config.vocab_size)
        # last, so that all others start with the same numbers with and without it
        self.continuum = (
            ContinuumMemory(width, config.continuum_levels, config.continuum_period)
            if config.continuum_levels
            else None
        )

    def features(
        self, tokens: Tensor, state: HopeState | None = None, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor, HopeState | None]:
        """What the head reads, (batch, time, dim), the constraint loss, and the state after the last token.

        Args:
            hidden: (batch, time) bool, tokens that are not shown: a twistor of 0 stands for them, which none has.
        """
        check_tokens(tokens, self.config.vocab_size)
        if state is not None and not isinstance(state, HopeState):
            raise ValueError(f"state must be a HopeState, as `stream` returns it, not a {type(state).__name__}.")
        if self.config.backend in ("auto", "native") and fits(self.embedding.weight):
            build_ahead(self.config.form)
        layers, slots, fast = (None, None, None) if state is None else (state.layers, state.slots, state.fast)
        embedded = self.embedding(tokens)
        if hidden is not None:
            embedded = embedded.masked_fill(check_hidden(tokens, hidden).unsqueeze(-1), 0.0)
        x, layers = self.self_modifying(self.dropout(embedded), layers)
        if self.memory is not None:
            x, slots = self.memory(x, slots)
        if self.continuum is not None:
            x, fast = self.continuum(x, fast)
        constraint = x.new_zeros(())
        if self.nested is not None:
            x, constraint = self.nested(x)
        after = None if layers is None else HopeState(layers, slots, fast)
        return self.norm(self.out(self.dropout(x))), constraint, after

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.features(tokens)[0])

    def stream(self, tokens: Tensor, state: HopeState | None = None) -> tuple[Tensor, HopeState]:
        """Logits of a piece of a sequence, and the state with which the next piece goes on.

        In pieces of any size the logits are those of the whole sequence (to rounding), in memory that does not grow.

        Args:
            tokens: (batch, time), time >= 1.
            state: as the piece before returned it; None begins a sequence.
        Raises:
            ValueError: where the model reads both ways, or the state is of another model or batch.
        """
        if not self.causal:
            raise ValueError("A model that reads both ways cannot stream; build it with bidirectional=False.")
        features, _, after = self.features(tokens, state)
        assert after is not None  # a causal model has one
        return self.head(features), after

    def generate(self, prompt: Tensor, most: int, **options: Any) -> list[Tensor]:
        """What the model writes after a prompt: for each row its tokens, (at most `most`,), a token of stop included.

        Args:
            prompt: (batch, time), time >= 1. most: tokens at most.
            options: temperature, top_k, stop, seed; see `generation.generated`, which gives the tokens one by one.
        Raises:
            ValueError: as that does.
        """
        made = list(generated(self, prompt, most, **options))
        rows = torch.stack(made, dim=1) if made else prompt.new_zeros(len(prompt), 0)
        return [row[row != ENDED] for row in rows]

    def loss(
        self, tokens: Tensor, targets: Tensor, state: HopeState | None = None
    ) -> tuple[Tensor, Tensor, HopeState, dict[str, Tensor]]:
        """What training makes small: cross-entropy and constraint.

        Args:
            tokens: (batch, time); targets: the same shape, the token that follows each; -100 leaves
                a place out.
            state: to go on from, detached by the caller; None begins.
        Returns:
            the loss, the logits (batch, time, vocab_size), the state, and the terms: cross_entropy in nats per token,
            constraint before its weight.
        Raises:
            ValueError: where the model reads both ways: it has seen what it is asked for; or where tokens, targets or
                state do not fit.
        """
        if not self.causal:
            raise ValueError(
                "A model that reads both ways has seen the next token; build it with bidirectional=False to train it "
                "as a language model, or train it by masked_loss, on tokens that are hidden from it."
            )
        check_targets(tokens, targets, self.config.vocab_size)
        features, constraint, after = self.features(tokens, state)
        assert after is not None  # a causal model has one
        logits = self.head(features)
        total, terms = self._weighed(logits, targets, constraint)
        return total, logits, after, terms

    def masked_loss(self, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What training on hidden tokens makes small: to tell them from those around; for models that read both ways.

        Args:
            tokens: (batch, time). hidden: (batch, time) bool, which of them; `hide` draws some.
        Returns:
            the loss, the logits (batch, time, vocab_size), and the terms: cross_entropy in nats per hidden token,
            constraint before its weight.
        Raises:
            ValueError: where tokens or hidden do not fit, or nothing is hidden.
        """
        features, constraint, _ = self.features(tokens, hidden=hidden)
        logits = self.head(features)
        total, terms = self._weighed(logits, tokens.masked_fill(~hidden, IGNORED), constraint)
        return total, logits, terms

    def _weighed(self, logits: Tensor, targets: Tensor, constraint: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy and constraint together, and each."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        cross_entropy = F.cross_entropy(wide.flatten(0, 1), targets.flatten().long(), ignore_index=IGNORED)
        total = cross_entropy + self.config.constraint_weight * constraint
        return total, {"cross_entropy": cross_entropy.detach(), "constraint": constraint.detach()}

    def scaled_by(self, scaler: Any) -> None:
        """Say by what the loss is multiplied before its backward pass; see `TwistorNestedLearning.scaled_by`."""
        if self.nested is not None:
            self.nested.scaled_by(scaler)

    def plan(self, total_steps: int) -> None:
        """Say how many steps the training will have; the nested levels' weights rise in their course."""
        if self.nested is not None:
            self.nested.plan(total_steps)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For `fit(groups=...)`: nested levels at their rates, all else at 1. Each group has params, rate and name."""
        nested = (
            [] if self.nested is None else self.nested.parameter_groups(self.config.omega_rate, self.config.pi_rate)
        )
        inside = {id(parameter) for group in nested for parameter in group["params"]}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in inside]
        return [{"params": rest, "rate": 1.0, "name": "rest"}, *nested]


def language_objective(model: TwistorHopeArchitecture, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and logits of a batch, for `fit(objective=...)`.

    Args:
        tokens: (batch, time); targets: the same shape.
    Returns:
        the loss, and the logits (batch, time, vocab_size).
    """
    total, logits, _, _ = model.loss(tokens, targets)
    return total, logits


HIDDEN_SHARE = 0.15
"""Of the tokens, in `masked_objective`: as in BERT (Devlin et al., 2019)."""


def masked_objective(model: TwistorHopeArchitecture, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """As `language_objective`, for models that read both ways: `HIDDEN_SHARE` of the tokens are hidden, others each
    time, and are to be told. targets are not looked at."""
    total, logits, _ = model.masked_loss(tokens, hide(tokens, HIDDEN_SHARE))
    return total, logits


def hide(tokens: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Which tokens are hidden: in every row as many, drawn anew; at least one, and so many as share says, rounded.

    Args:
        tokens: (batch, time), time >= 1.
        share: above 0 and at most 1.
        generator: of the tokens' device; None: torch's own.
    Returns:
        (batch, time) bool.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and at most at 1, not {share!r}.")
    count = max(1, round(share * tokens.shape[1]))
    order = torch.rand(tokens.shape, generator=generator, device=tokens.device).argsort(1)
    return torch.zeros_like(tokens, dtype=torch.bool).scatter_(1, order[:, :count], True)
