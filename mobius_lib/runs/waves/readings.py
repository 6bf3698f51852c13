"""What a trained network's lenses have learned, and what they do to data: the numbers that a run keeps."""

import torch
from torch import Tensor

from mobius_lib.waves.lens import MobiusLens
from mobius_lib.waves.math import participation
from mobius_lib.waves.net import MobiusNet


def lens_state(model: MobiusNet) -> dict[str, float]:
    """What every lens has learned, as plain numbers: the curves that a run draws.

    Args:
        model: a network of either kind; blocks without a lens give their residual weight only.
    Returns:
        keys such as `block3/omega`: omega, alpha, both twist angles, the three path weights after softmax, the xor
        weight after sigmoid, and the residual weight after sigmoid.
    """
    state: dict[str, float] = {}
    for i, block in enumerate(model.blocks):
        values = {"residual_weight": torch.sigmoid(block.residual_weight)}
        if isinstance(block.lens, MobiusLens):
            lens = block.lens
            left, middle, right = torch.softmax(lens.accum_weights, dim=0)
            values |= {
                "omega": lens.omega,
                "alpha": lens.alpha,
                "twist_in_angle": lens.twist_in_angle,
                "twist_out_angle": lens.twist_out_angle,
                "weight_l": left,
                "weight_m": middle,
                "weight_r": right,
                "xor_weight": torch.sigmoid(lens.xor_weight),
            }
        state |= {f"block{i}/{name}": value.item() for name, value in values.items()}
    return state


@torch.no_grad()
def lens_readings(model: MobiusNet, x: Tensor) -> dict[str, float]:
    """What every lens does to some data: those columns of the card's table that depend on the input, and the gate.

    Args:
        model: a network of either kind; blocks without a lens give nothing. It is left in evaluation mode.
        x: (N, in_chans, H, W), on the model's device.
    Returns:
        keys such as `block3/mean_l`: the means of L, M, R and of the gate over positions and channels, and
        `gate_participation`, the mean over positions of `math.participation` of the gate.
    """
    readings: dict[str, float] = {}

    def read(name: str, lens: MobiusLens, given: tuple[Tensor, ...]) -> None:
        turned = lens.twist_in(given[0])
        left, middle, right = lens.paths(turned)
        gate = lens.gate(turned)
        values = {"mean_l": left, "mean_m": middle, "mean_r": right, "mean_gate": gate}
        values["gate_participation"] = participation(gate)
        readings.update({f"{name}/{key}": value.mean().item() for key, value in values.items()})

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for i, block in enumerate(model.blocks):
        if isinstance(block.lens, MobiusLens):
            reader = lambda module, given, name=f"block{i}": read(name, module, given)  # noqa: E731
            hooks.append(block.lens.register_forward_pre_hook(reader))
    try:
        model.eval()(x)
    finally:
        for hook in hooks:
            hook.remove()
    return readings
