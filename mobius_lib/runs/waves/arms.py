"""What the lens has to beat where it is trained to the end: its own shape without waves, gates in common use, and what
needs no network of this kind at all.

The networks have as many parameters as the lens's, within 1 %; the MLP is of the size that serves it best. Every arm
looks for its own learning rate, and the linear probe for its strength.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.runs.base import Arm
from mobius_lib.runs.waves.readings import lens_readings, lens_state
from mobius_lib.waves import PRESETS, GELUTwin, MobiusLens, MobiusNet
from mobius_lib.waves.fast.products import matrix
from mobius_lib.waves.lens import GELULens, twist_matrix

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

RATES = (3e-4, 1e-3, 3e-3)
"""Tried first by every arm, around the distillation card's."""
HIDDEN, DROPOUT = 256, 0.5
"""Of the MLP: units, and the share dropped of what goes into each of its two layers. On held-out training rows of the
features it was ahead of the linear probe so; as large as the networks and without dropout it was behind."""


class PlainGate(nn.Module):
    """The lens without waves: twisted in, each channel times the sigmoid of a layer norm of itself, and twisted out.

    What is left out is the pattern of L, M and R, 18 scalars; the layer norm stands where it was.

    Args:
        dim, layer_idx, total_layers, scale_range: as of `MobiusLens`.
    Shape:
        (..., C) to (..., C): channels last.
    """

    folds = True

    def __init__(
        self, dim: int, layer_idx: int, total_layers: int, scale_range: tuple[float, float] = (0.5, 2.5)
    ) -> None:
        super().__init__()
        lens = MobiusLens(dim, layer_idx, total_layers, scale_range)
        self.gate_norm = lens.gate_norm
        self.twist_in_angle, self.twist_in_proj = lens.twist_in_angle, lens.twist_in_proj
        self.twist_out_angle, self.twist_out_proj = lens.twist_out_angle, lens.twist_out_proj

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """As of `MobiusLens`."""
        x = matrix(x, twist_matrix(self.twist_in_proj.weight, self.twist_in_angle))
        out = twist_matrix(self.twist_out_proj.weight, self.twist_out_angle)
        return matrix(x * torch.sigmoid(self.gate_norm(x)), out if factor is None else out * factor.unsqueeze(-1))


class SwiGLU(nn.Module):
    """(..., 2n) to (..., n): one half, through SiLU, gates the other."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class SwiGLULens(GELULens):
    """SwiGLU in the GELU's place, two thirds as wide, so that its three matrices are as large as the twin's two."""

    def __init__(self, dim: int, *depth: Any) -> None:
        super().__init__(dim)
        inner = round(2 * dim / 3)
        self.linear_in, self.linear_out = nn.Linear(dim, 2 * inner, bias=False), nn.Linear(inner, dim, bias=False)
        self.activation = SwiGLU()


def half(preset: str) -> dict[str, Any]:
    """A preset's sizes at half of its width: of what must be trained to the end on two cores."""
    sizes = dict(PRESETS[preset])
    return sizes | {"channels": tuple(width // 2 for width in sizes["channels"])}


def lens(classes: int) -> nn.Module:
    """The distillation card's network, which takes rows of 768 as pictures of 24 x 32."""
    return MobiusNet(num_classes=classes, **PRESETS["mobius_tiny_s_clip"])


def gelu(classes: int) -> nn.Module:
    """Its twin."""
    return GELUTwin(num_classes=classes, **PRESETS["mobius_tiny_s_clip"])


def arms(
    sizes: Mapping[str, Any], dim: int, classes: int, strengths: Sequence[float], rates: Sequence[float] = RATES
) -> dict[str, Callable[[], nn.Module]]:
    """lens, gelu, plain gate and swiglu as networks; mlp and linear probe on the raw rows.

    Args:
        sizes: arguments of `MobiusNet`.
        dim, classes: of the rows, laid out as pictures.
        strengths: of the linear probe's regularisation, tried on a fifth of the training rows, held out.
        rates: tried first.
    """
    networks: dict[str, Callable[[], nn.Module]] = {
        "lens": lambda: MobiusNet(num_classes=classes, **sizes),
        "gelu": lambda: GELUTwin(num_classes=classes, **sizes),
        "plain gate": lambda: MobiusNet(num_classes=classes, **sizes, lens=PlainGate),
        "swiglu": lambda: MobiusNet(num_classes=classes, **sizes, lens=SwiGLULens),
        "mlp": lambda: nn.Sequential(nn.Flatten(), *_mlp(dim, classes)),
    }
    return {name: Arm(make, rates=tuple(rates)) for name, make in networks.items()} | {
        "linear probe": Arm(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(dim, classes)),
            solve=partial(_solve, tuple(strengths)),
        )
    }


def _mlp(dim: int, classes: int) -> Iterator[nn.Module]:
    yield nn.Dropout(DROPOUT)
    yield nn.Linear(dim, HIDDEN)
    yield from (nn.GELU(), nn.LayerNorm(HIDDEN), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, classes))


def logistic(x: Tensor, y: Tensor, strengths: Sequence[float]) -> "tuple[LogisticRegression, dict[float, float]]":
    """Logistic regression; its strength is chosen on a fifth of the rows, held out.

    Returns:
        fitted to all rows; and the accuracy on those that were held out, by strength.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows, labels = x.flatten(1).cpu().numpy(), y.cpu().numpy()
    held = np.random.default_rng(0).permutation(len(rows)) < len(rows) // 5

    def probe(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000)

    found = {c: float(probe(c).fit(rows[~held], labels[~held]).score(rows[held], labels[held])) for c in strengths}
    return probe(max(found, key=found.__getitem__)).fit(rows, labels), found  # the first of equals


def _solve(strengths: Sequence[float], model: nn.Module, x: Tensor, y: Tensor) -> None:
    probe, layer = logistic(x, y, strengths)[0], model[1]  # type: ignore[index]  # it is a sequence
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(probe.coef_))
        layer.bias.copy_(torch.from_numpy(probe.intercept_))


def state(model: nn.Module) -> dict[str, float]:
    """`lens_state` of a network; nothing of what is none."""
    return lens_state(model) if isinstance(model, MobiusNet) else {}


def readings(model: nn.Module, x: Tensor) -> dict[str, float]:
    """`lens_readings` likewise."""
    return lens_readings(model, x) if isinstance(model, MobiusNet) else {}
