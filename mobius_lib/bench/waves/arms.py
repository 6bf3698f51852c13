"""What is measured: six subjects, each in several forms that start from the same weights and meet the same input.

Every form gets its picture channels last, the printed one too: its matrices then read without a copy.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobius_lib.bench.measure import Step, training
from mobius_lib.native import torch_compile
from mobius_lib.waves import GELUTwin, MobiusLens, MobiusNet, use_backend
from mobius_lib.waves.fast.fold import fold
from mobius_lib.waves.lens import GELULens, MobiusConvBlock

SUBJECTS = {
    "gate": "the lens between its twists (or a GELU), forward",
    "lens": "one lens, forward and backward",
    "block": "one block, forward and backward",
    "net": "the whole network, forward and backward",
    "step": "the whole network, a training step with AdamW",
    "inference": "the whole network, logits in eval mode",
}
FORMS = {
    "printed": "as its author prints it",
    "printed compiled": "that under torch.compile",
    "ours": "the fastest backend of the library",
    "ours compiled": "the whole module under torch.compile, its lenses by the eager algebra",
    "folded": "ours, folded",
    "gelu": "the twin with a GELU, in PyTorch's own layers",
    "gelu tuned": "the twin with our matrices and residual",
    "gelu compiled": "the twin under torch.compile",
    "gelu folded": "the twin, folded",
}
PRECISIONS = {"no": None, "bf16": torch.bfloat16}
ALWAYS = ("printed", "printed compiled", "ours", "gelu")
TUNED = ("gelu tuned",)
INFERENCE = ("folded", "gelu folded")
WHOLE_COMPILED = ("ours compiled", "gelu compiled")
"""Measured on a GPU, where the time to launch kernels counts; on a CPU only when asked for."""


@dataclass(frozen=True)
class Setting:
    """Sizes of all that is measured. The defaults are the distillation card's network, on features laid out 24 x 32."""

    device: torch.device
    batch: int = 32
    size: tuple[int, int] = (24, 32)
    channels: tuple[int, ...] = (64, 128, 256)
    depths: tuple[int, ...] = (2, 2, 2)
    classes: int = 1000
    widths: tuple[tuple[int, int], ...] = ((64, 24 * 32), (128, 12 * 16), (256, 6 * 8))
    """Channels of the single lenses, and their positions per sample."""
    gate_elements: int = 2**22
    """Numbers that pass the single gates; more than a cache holds, where bandwidth is to be measured."""
    precision: str = "no"
    backend: str = "eager"
    rows: int = 0
    """Rows of made features for the throughput of whole training; 0: not measured."""

    def autocast(self) -> AbstractContextManager:
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


@dataclass(frozen=True)
class Arm:
    """One form of one subject, ready to run."""

    step: Step
    """Does the work once, and returns what must be equal in all forms of the lens."""


@dataclass(frozen=True)
class Case:
    """One subject at one size."""

    subject: str
    label: str
    channels: int
    elements: int
    """Numbers in its input."""
    forms: tuple[str, ...]
    make: Callable[[str], Arm]


def cases(setting: Setting, subjects: tuple[str, ...], whole_compiled: bool) -> Iterator[Case]:
    """The cases of some subjects, in the order of `SUBJECTS`; with `whole_compiled` in two more forms."""
    forms = ALWAYS + TUNED + (WHOLE_COMPILED if whole_compiled else ())
    height, width = setting.size
    pictures = setting.batch * height * width
    first = setting.channels[0]
    for subject in (each for each in SUBJECTS if each in subjects):
        if subject == "gate":
            for channels, _ in setting.widths:
                rows = setting.gate_elements // channels
                yield Case(
                    subject, f"gate, {channels} channels", channels, rows * channels, ALWAYS,
                    lambda form, c=channels, n=rows: _gate(setting, form, c, n),
                )  # fmt: skip
        elif subject == "lens":
            for channels, positions in setting.widths:
                elements = setting.batch * positions * channels
                yield Case(
                    subject, f"lens, {channels} channels", channels, elements, ALWAYS + TUNED,
                    lambda form, c=channels, n=positions: _lens(setting, form, c, n),
                )  # fmt: skip
        elif subject == "block":
            yield Case(
                subject, f"block, {first} channels", first, pictures * first, forms, lambda form: _block(setting, form)
            )
        elif subject == "inference":
            yield Case(subject, subject, first, pictures, forms + INFERENCE, lambda form: _inference(setting, form))
        else:
            yield Case(subject, subject, first, pictures, forms, lambda form, s=subject: _train(setting, form, s))


def network(setting: Setting, form: str) -> nn.Module:
    """The network of a form, with the same start every time; the twin shares all weights but its lenses'."""
    torch.manual_seed(0)
    twin = form.startswith("gelu")
    model = (GELUTwin if twin else MobiusNet)(
        in_chans=1, num_classes=setting.classes, channels=setting.channels, depths=setting.depths
    )
    return _formed(model, setting, form)


def _formed(module: nn.Module, setting: Setting, form: str) -> nn.Module:
    """On the device, channels last, and with the backend of its form."""
    backends = {"ours": setting.backend, "gelu tuned": setting.backend, "folded": setting.backend}
    backends |= {"ours compiled": "eager", "gelu compiled": "eager", "gelu folded": "eager"}
    use_backend(module, backends.get(form, "printed"))
    module = module.to(setting.device)
    if any(parameter.ndim == 4 for parameter in module.parameters()):
        module = module.to(memory_format=torch.channels_last)
    return module


def _maybe_compiled(function: Callable, form: str) -> Callable:
    return torch_compile(function, dynamic=False) if form.endswith("compiled") else function


def _random(setting: Setting, *shape: int, seed: int = 1) -> Tensor:
    """The same numbers on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(setting.device)


def _gate(setting: Setting, form: str, channels: int, rows: int) -> Arm:
    torch.manual_seed(0)
    # a lens of the middle: neither of its scales is the start's, and its angles do nothing here
    lens = _formed(MobiusLens(channels, 1, 3), setting, form).eval()
    function = _maybe_compiled(F.gelu if form.startswith("gelu") else lens.gated, form)
    x = _random(setting, rows, channels).to(PRECISIONS[setting.precision] or torch.float32)

    def step() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return (function(x),)

    return Arm(step)


def _forward_backward(setting: Setting, module: nn.Module, form: str, x: Tensor) -> Arm:
    x.requires_grad_()
    wanted = [x, *module.parameters()]
    function = _maybe_compiled(module, form)
    weights = torch.empty_like(x, requires_grad=False).copy_(_random(setting, *x.shape, seed=2))

    def step() -> tuple[Tensor, ...]:
        with setting.autocast():
            y = function(x)
        return (y.detach(), *torch.autograd.grad(y, wanted, weights.to(y.dtype)))

    return Arm(step)


def _lens(setting: Setting, form: str, channels: int, positions: int) -> Arm:
    torch.manual_seed(0)
    lens = (GELULens if form.startswith("gelu") else MobiusLens)(channels, 1, 3)
    x = _random(setting, setting.batch, positions, channels)
    return _forward_backward(setting, _formed(lens, setting, form).train(), form, x)


def _block(setting: Setting, form: str) -> Arm:
    torch.manual_seed(0)
    channels = setting.channels[0]
    block = MobiusConvBlock(channels, 1, 3, lens=GELULens if form.startswith("gelu") else MobiusLens)
    x = _random(setting, setting.batch, channels, *setting.size).contiguous(memory_format=torch.channels_last)
    return _forward_backward(setting, _formed(block, setting, form).train(), form, x)


def _train(setting: Setting, form: str, subject: str) -> Arm:
    model = network(setting, form).train()
    function = _maybe_compiled(model, form)
    x = _random(setting, setting.batch, 1, *setting.size)
    y = torch.arange(setting.batch, device=setting.device) % setting.classes
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)

    def loss() -> Tensor:
        with setting.autocast():
            return F.cross_entropy(function(x), y)

    def gradients() -> tuple[Tensor, ...]:
        found = loss()
        return (found.detach(), *torch.autograd.grad(found, parameters))

    return Arm(gradients if subject == "net" else training(loss, optimizer))


def _inference(setting: Setting, form: str) -> Arm:
    model = network(setting, form).eval()
    if form.endswith("folded"):
        model = fold(model)
    function = _maybe_compiled(model, form)
    x = _random(setting, setting.batch, 1, *setting.size)

    def step() -> tuple[Tensor, ...]:
        with torch.inference_mode(), setting.autocast():
            return (function(x),)

    return Arm(step)
