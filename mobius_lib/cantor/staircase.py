"""The staircase layer: `math.py` bound to parameters.

Parameter and buffer names are an interface: the `cantor_stairs.*` part of a published state dict loads here.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.cantor import math as cantor
from mobius_lib.native import concrete

POSITIONS = ("features", "batch", "mean")
"""How features become a position in [0, 1]; `CantorStaircase` says what each is."""

SPREAD = 1.7
"""Standard deviation of the initial projection. A logistic variable (whose sigmoid is uniform) has standard deviation
1.81; 1.7 is the normal scale whose distribution function is nearest to the logistic one everywhere."""

BATCH_DRIFT, BATCH_MARGIN = 0.3, 1e-6
"""Of the published position: how far the features move a row from its place in the batch, and the distance kept from 0
and 1."""


class CantorStaircase(nn.Module):
    """Features to a position x in [0, 1], and the position up a soft Cantor staircase to one number per row.

    The position is one of

    - features: x = sigmoid(w.f + b). Ours and the default: a row's number does not depend on its neighbours. w is drawn
      with standard deviation 1.7, so that rows of length 1 start out nearly evenly spread.
    - batch: x = clamp(row / (B - 1) + 0.3 tanh(w.f + b), 1e-6, 1 - 1e-6). As published, for published weights: **row is
      the index in the batch, so the same features give another number in another order**. A batch of one stands at
      row 0.
    - mean: x = sigmoid(mean of f). The published earlier variant; w and b are kept for the layout, frozen and unused.

    Args:
        features: width d of a row.
        alpha: initial height of the middle third.
        tau: temperature of the thirds, in units of (3 x)^2.
        levels: depth; the form "published" has one level whatever this says.
        form: a name in `math.FORMS`: published, multilevel, halting or convergent.
        position: features, batch or mean.
        learn_alpha: False freezes alpha at its initial value.
    Shape:
        (B, d) to (B,). In [0, 1] while alpha is, except that the multilevel form ends at 1 - 2^-levels.
    Raises:
        ValueError: for features < 1, tau <= 0, levels outside 1 to 40, an unknown form or position; in `forward`, for
            a wrong shape or a row with NaN or infinity (looked for on a CPU alone, and not under torch.compile).
    Source:
        the GeoFractalDavid card and its published layer; "features", `levels` with any form but the published ones, and
        the checks are ours.
    """

    def __init__(
        self,
        features: int,
        *,
        alpha: float = 0.5,
        tau: float = 0.25,
        levels: int = 1,
        form: str = "published",
        position: str = "features",
        learn_alpha: bool = True,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"CantorStaircase needs at least one feature, got features={features}.")
        if not 0 < tau < float("inf"):
            raise ValueError(f"tau must be a positive temperature, got tau={tau}; 0.25 is the published one.")
        if not 1 <= levels <= cantor.MAX_LEVELS:
            raise ValueError(f"levels must be from 1 to {cantor.MAX_LEVELS}, got levels={levels}.")
        if form not in cantor.FORMS:
            raise ValueError(f"There is no form={form!r}; the forms are {', '.join(cantor.FORMS)}.")
        if position not in POSITIONS:
            raise ValueError(f"There is no position={position!r}; the positions are {', '.join(POSITIONS)}.")
        self.features, self.tau, self.levels, self.form, self.position = features, float(tau), levels, form, position
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=learn_alpha)
        self.register_buffer("centers", torch.tensor(cantor.CENTERS))
        self.feature_to_position = nn.Linear(features, 1)
        if position == "features":
            nn.init.normal_(self.feature_to_position.weight, std=SPREAD)
            nn.init.zeros_(self.feature_to_position.bias)
        if position == "mean":
            self.feature_to_position.requires_grad_(False)

    def positions(self, f: Tensor) -> Tensor:
        """Where each row stands, in [0, 1]: (B, d) to (B,), in float32 at least: half precision has few places."""
        self._check(f)
        if self.position == "mean":
            return torch.sigmoid(_wide(f).mean(dim=-1))
        projected = _wide(self.feature_to_position(f).squeeze(-1))
        if self.position == "features":
            return torch.sigmoid(projected)
        rows = f.shape[0]
        row = torch.arange(rows, dtype=projected.dtype, device=f.device) / max(rows - 1, 1)
        return (row + BATCH_DRIFT * torch.tanh(projected)).clamp(BATCH_MARGIN, 1 - BATCH_MARGIN)

    def interval_distribution(self, f: Tensor) -> Tensor:
        """The shares of the left, middle and right third, at the first level: (B, d) to (B, 3)."""
        return cantor.triadic(self.positions(f), self.tau).to(f.dtype)

    def forward(self, f: Tensor) -> Tensor:
        return cantor.FORMS[self.form](self.positions(f), _wide(self.alpha), self.tau, self.levels).to(f.dtype)

    def extra_repr(self) -> str:
        return f"form={self.form!r}, position={self.position!r}, tau={self.tau}, levels={self.levels}"

    def _check(self, f: Tensor) -> None:
        if not isinstance(f, Tensor):
            raise ValueError(
                f"features must be a torch.Tensor of shape (batch, {self.features}), not a {type(f).__name__}."
            )
        if f.dim() != 2 or f.shape[1] != self.features:
            raise ValueError(
                f"features must be laid out (batch, {self.features}), one row per sample, but have the shape "
                f"{tuple(f.shape)}."
            )
        # which row it is depends on the data: no compiled graph can ask, and on a GPU every step would wait for it (and
        # the loop, which skips a bad batch without waiting, would stop)
        if f.device.type != "cpu" or not concrete(f):
            return
        bad = ~f.isfinite().all(dim=-1)
        if bad.any():
            raise ValueError(
                f"features hold NaN or infinity in {int(bad.sum())} of {len(f)} rows, the first of them row "
                f"{int(bad.nonzero()[0])} (from 0); remove or mend these rows."
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool, missing: Any, unexpected: Any,
        errors: list[str],
    ) -> None:  # fmt: skip
        """Load, and say so when the centres are others than those that the formulas stand for."""
        centers = state_dict.get(prefix + "centers")
        stated = torch.tensor(cantor.CENTERS)
        if centers is not None and not centers.is_meta and not torch.equal(centers.detach().cpu().float(), stated):
            errors.append(
                f"{prefix}centers is {centers.tolist()}, but a triadic staircase has the centres "
                f"{list(cantor.CENTERS)}: these weights belong to another layer."
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)


def _wide(x: Tensor) -> Tensor:
    """In float32, where it is narrower: 8 bits do not number a batch's rows, and cold thirds leave half's range."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
