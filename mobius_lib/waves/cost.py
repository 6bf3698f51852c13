"""What a network costs before anyone runs it: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(model: nn.Module) -> int:
    """How many trained numbers a module holds; buffers (masks, scales, running means) are not trained.

    Args:
        model: any module, on any device, `meta` included.
    Returns:
        the number of elements of its parameters, a parameter used twice counted once.
    """
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one forward pass: exact for convolutions and for matrix products, wherever they are called.

    Counted where torch dispatches the operation, so `F.linear` in a twist counts as `nn.Linear` does. A convolution
    counts its zero padding, as every counter does. Left out: biases, and whatever works element by element (the
    waves, norms, activations, masks, residuals, pooling). So this is no estimate of time: a lens and its GELU twin
    have equal multiply-adds and very unequal clocks. A tool that says "FLOPs" may mean this number or twice it.

    Laws: proportional to the batch; twice as large for a layer applied twice.

    Args:
        model: any module; on `meta` it costs milliseconds and no memory. Left in the mode (train or eval) it was in.
        input_shape: shape of the one tensor it takes, batch first.
    Returns:
        the count for that whole input.
    Source:
        ours.
    """
    first = next(model.parameters(), torch.empty(0))
    modes = {module: module.training for module in model.modules()}
    model.eval()  # a forward pass in training mode would move the running means of the batch norms
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(input_shape, device=first.device, dtype=first.dtype))
    finally:
        for module, training in modes.items():
            module.training = training
    return counter.get_total_flops() // 2  # torch counts a multiply-add as two
