"""Which evolution network is asked when, and its passes: shared by the forms of `unroll`."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mobius_lib.products import product, weight_gradient


@dataclass(frozen=True)
class Plan:
    """When each evolution network is asked, and how many layers it has."""

    periods: tuple[int, ...]
    layers: tuple[int, ...]
    clock: int

    def ticks(self, t: int) -> list[int]:
        return [k for k, period in enumerate(self.periods) if (self.clock + t) % period == 0]

    def split(self, weights: tuple[Tensor, ...]) -> list[list[tuple[Tensor, Tensor]]]:
        """weight, bias, weight, bias, ... to a list of layers for each network."""
        pairs = iter(zip(weights[::2], weights[1::2], strict=True))
        return [[next(pairs) for _ in range(count)] for count in self.layers]

    @property
    def quick(self) -> int | None:
        """The network of one layer that is asked at every step, if there is one."""
        found = [
            k for k, (period, count) in enumerate(zip(self.periods, self.layers, strict=True)) if period == count == 1
        ]
        return found[0] if found else None


def network_forward(network: list[tuple[Tensor, Tensor]], x: Tensor) -> list[Tensor]:
    """The input, what stood before each GELU, and the output: what the backward pass needs."""
    passed = [x]
    for number, (weight, bias) in enumerate(network):
        x = product(x if number == 0 else F.gelu(x), weight, bias)
        passed.append(x)
    passed[-1] = x.tanh_()
    return passed


def network_backward(
    network: list[tuple[Tensor, Tensor]], passed: list[Tensor], grad: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The gradient of the input, and of what each layer's product gave, first layer first."""
    kept = []
    grad = torch.addcmul(grad, grad, passed[-1].square(), value=-1)
    for number in range(len(network) - 1, -1, -1):
        kept.append(grad)
        grad = product(grad, network[number][0].t())
        if number:
            grad = torch.ops.aten.gelu_backward(grad, passed[number])
    return grad, kept[::-1]


def network_products(
    network: list[tuple[Tensor, Tensor]], kept: list[list[Tensor]], passed: list[list[Tensor]]
) -> list[Tensor | None]:
    """Gradients of the weights and biases of one network, from all its ticks (kept: last first).

    A network that was not asked has none, as in the loop: None and not 0, so that an optimizer passes it over.
    """
    if not kept:
        return [None for layer in network for _ in layer]
    made = []
    for number in range(len(network)):
        grads = torch.cat([each[number] for each in reversed(kept)])
        inputs = torch.cat([each[number] for each in passed])
        made += [weight_gradient(grads, inputs if number == 0 else F.gelu(inputs)), grads.sum(0)]
    return made
