"""The counts by hand against counts by machine."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mobius_lib.bench.waves import roofline
from mobius_lib.waves import MobiusLens

ROWS, CHANNELS = 50, 40
VIEWS = {"view", "unsqueeze", "squeeze", "expand", "select", "slice", "t", "transpose", "permute", "unbind", "alias"}
INSIDE_LAYER_NORM = 7  # sum; difference, square, sum; scaled; weight, bias


class Counter(TorchDispatchMode):
    """Per number of the input: what each operation that torch dispatches reads and writes, and how often it acts."""

    def __init__(self):
        super().__init__()
        self.accesses = self.operations = 0.0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__.lstrip("_")
        if name in VIEWS or name in ("unsafe_view", "to_copy", "detach"):
            return result
        given = [each for each in args if isinstance(each, torch.Tensor)]
        made = [each for each in (result if isinstance(result, tuple) else (result,)) if isinstance(each, torch.Tensor)]
        sizes = [each.numel() / (ROWS * CHANNELS) for each in (*given, *made)]
        # numbers per position or per network do not count
        self.accesses += sum(size for size in sizes if size >= 1)
        self.operations += (
            max(sizes, default=0)
            // 1
            * (INSIDE_LAYER_NORM if "layer_norm" in name else 1)
            // (2 if name == "prod" else 1)
        )
        return result


def test_the_printed_gate_by_machine():
    lens = MobiusLens(CHANNELS, 1, 3)
    x = torch.randn(ROWS, CHANNELS)
    with torch.no_grad(), Counter() as counted:
        x * lens.gate(x)
    assert counted.accesses == roofline.PRINTED.accesses
    assert counted.operations == roofline.PRINTED.operations


def test_intensity_is_operations_per_byte():
    assert roofline.GELU.intensity() == 5 / 8
    assert roofline.GELU.intensity(2) == 5 / 4
    assert roofline.PRINTED.intensity() < roofline.GELU.intensity() < roofline.FUSED.intensity()
    assert roofline.FUSED.operations < roofline.PRINTED.operations == roofline.PRINTED_COMPILED.operations
    assert set(roofline.WORK) == {"printed", "printed compiled", "ours", "gelu"}
