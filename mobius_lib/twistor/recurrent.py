"""Sequences of twistors: cells over time, layer upon layer, with Möbius maps between the layers."""

from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.products import linear
from mobius_lib.twistor.cell import CellState, TwistorTitansCell
from mobius_lib.twistor.checks import check_count, check_twistor, check_width
from mobius_lib.twistor.fast.unroll import unroll
from mobius_lib.twistor.mobius import AdaptiveMobiusLayer, MobiusLayer
from mobius_lib.twistor.scan_cell import TwistorScanCell

FORMS = ("recurrent", "scan")
"""recurrent: `TwistorTitansCell`, its gates from input and state. scan: `TwistorScanCell`, from the input alone."""

LayerStates = tuple[CellState, ...]


class TwistorTitansRecurrent(nn.Module):
    """Layers of cells; between two of them a dropout and a Möbius layer, which takes the place of a residual.

    In one direction each output depends on the steps up to its own, and the state that is returned goes on where the
    sequence stopped: a long sequence may be given in pieces, in constant memory, with the same result. In both
    directions neither holds.

    Args:
        dim: width of input and output, a multiple of 4.
        hidden_dim: width of the states, a multiple of 4; None is dim.
        num_layers: at least 1.
        bidirectional: a second cell in every layer runs from the end to the start.
        dropout: between the layers.
        form: one of `FORMS`.
        use_mobius: have Möbius maps, in the cells and between the layers.
        coupled: False leaves out J, in all of them; see `MobiusCycles`.
        backend: of `unroll.unroll`; all give the same numbers.
        options: handed to the cells.
    Shape:
        (batch, time, dim) to (batch, time, dim), time >= 1, and the state: a `CellState` for each layer, or None where
        bidirectional.
    Raises:
        ValueError: for sizes that cannot be, an empty sequence, or a state of another model or batch.
    Source:
        the MT-HOPE README.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        num_layers: int = 2,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        form: str = "recurrent",
        use_mobius: bool = True,
        num_mobius_cycles: int = 3,
        coupled: bool = True,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        check_width("dim", dim)
        hidden_dim = dim if hidden_dim is None else hidden_dim
        check_count("num_layers", num_layers)
        if form not in FORMS:
            raise ValueError(f"There is no form {form!r}; the forms are {', '.join(FORMS)}.")
        self.dim, self.hidden_dim, self.bidirectional = dim, hidden_dim, bidirectional
        self.form, self.backend, self.causal = form, backend, not bidirectional
        wide = hidden_dim * (2 if bidirectional else 1)
        options |= {"use_mobius": use_mobius}
        if form == "recurrent":
            options |= {"num_mobius_cycles": num_mobius_cycles, "coupled": coupled}
        kind = TwistorTitansCell if form == "recurrent" else TwistorScanCell
        inputs = [dim] + [wide] * (num_layers - 1)
        self.forwards = nn.ModuleList(kind(each, hidden_dim, **options) for each in inputs)
        self.backwards = nn.ModuleList(kind(each, hidden_dim, **options) for each in inputs if bidirectional)
        self.between = nn.ModuleList(
            MobiusLayer(wide, num_mobius_cycles, coupled) if use_mobius else nn.Identity()
            for _ in range(num_layers - 1)
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if wide == dim else nn.Linear(wide, dim)

    def forward(self, x: Tensor, state: LayerStates | None = None) -> tuple[Tensor, LayerStates | None]:
        check_twistor("x", x, self.dim, ("batch", "time"))
        if state is not None and self.bidirectional:
            raise ValueError(
                "state cannot be carried on where one direction comes from the end; build with bidirectional=False."
            )
        if state is not None and (not isinstance(state, tuple) or len(state) != len(self.forwards)):
            there = len(state) if isinstance(state, tuple) else type(state).__name__
            raise ValueError(f"state must be a tuple of {len(self.forwards)} layers' states, not {there}.")
        x = x.transpose(0, 1).contiguous()  # time first: each step's rows lie together
        after = []
        for number, cell in enumerate(self.forwards):
            if number:
                x = self.between[number - 1](self.dropout(x))
            y, last = self._run(cell, x, None if state is None else state[number])
            after.append(last)
            if self.bidirectional:
                back, _ = self._run(self.backwards[number], x.flip(0), None)
                y = _join(y, back.flip(0))
            x = y
        return self.out(x).transpose(0, 1).contiguous(), None if self.bidirectional else tuple(after)

    def _run(self, cell: Any, x: Tensor, state: CellState | None) -> tuple[Tensor, CellState]:
        drive = cell.input(x) if self.backend == "loop" else linear(x, cell.input.weight, cell.input.bias)
        if state is None:
            state = cell.initial(x.shape[1], cell.input.weight)
        state = cell.check(state, x.shape[1])
        if isinstance(cell, TwistorScanCell):
            return cell.scan(drive, state, self.backend)
        return unroll(cell, drive, state, self.backend)


class TwistorSelfModifyingRecurrent(nn.Module):
    """The recurrence, and then a Möbius map that each step's output sets for itself: how the state is read is decided
    by the state.

    Args:
        dim: width of input and output, a multiple of 4.
        options: of `TwistorTitansRecurrent`.
    Shape:
        as `TwistorTitansRecurrent`.
    Source:
        the MT-HOPE README.
    """

    def __init__(self, dim: int, hidden_dim: int | None = None, num_layers: int = 2, **options: Any) -> None:
        super().__init__()
        self.recurrent = TwistorTitansRecurrent(dim, hidden_dim, num_layers, **options)
        cycles, coupled = options.get("num_mobius_cycles", 3), options.get("coupled", True)
        maps = options.get("use_mobius", True)
        self.mobius = AdaptiveMobiusLayer(dim, cycles, coupled=coupled) if maps else nn.Identity()
        self.causal = self.recurrent.causal

    def forward(self, x: Tensor, state: LayerStates | None = None) -> tuple[Tensor, LayerStates | None]:
        y, state = self.recurrent(x, state)
        return self.mobius(y), state


def _join(one: Tensor, other: Tensor) -> Tensor:
    """Two widths of twistors side by side as one, part by part, so that each pair stays a pair."""
    return torch.cat([one.unflatten(-1, (4, -1)), other.unflatten(-1, (4, -1))], dim=-1).flatten(-2)
