"""Every architecture in the ways in which PyTorch's modules are used, and the page that says which of them work.

`SAYS` is the one table: it holds the cells that do not simply work, with what a user is told. The tests assert it, and
the table in book/uses.md is rendered from it:

    python tests/test_uses.py
"""

import copy
import io
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.checkpoint import checkpoint

from mobius_lib.cantor import CantorStaircase
from mobius_lib.gauge import MetaMobiusLinear
from mobius_lib.simplex import GeoFractalDavid
from mobius_lib.twistor import TwistorHopeArchitecture
from mobius_lib.waves import MobiusLens, MobiusNet

PAGE = Path(__file__).resolve().parent.parent / "book" / "uses.md"
BEGIN, END = "<!-- uses:begin -->", "<!-- uses:end -->"
Make = Callable[[], nn.Module]
Example = Callable[[int], Tensor]


def rows(width: int) -> Example:
    return lambda batch: torch.randn(batch, width, generator=torch.Generator().manual_seed(batch))


def pictures(batch: int) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))


def tokens(batch: int) -> Tensor:
    return torch.randint(11, (batch, 6), generator=torch.Generator().manual_seed(batch))


@dataclass(frozen=True)
class Subject:
    """An architecture at a small size, moved away from its start so that no term of it is zero."""

    build: Make
    example: Example

    def __call__(self, training: bool = False) -> nn.Module:
        torch.manual_seed(0)
        model = self.build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        return model.train(training)


SUBJECTS = {
    "lens": Subject(lambda: MobiusLens(6, 1, 3), rows(6)),
    "network": Subject(lambda: MobiusNet(1, 3, (4, 6), (1, 1)), pictures),
    "staircase": Subject(lambda: CantorStaircase(6, form="convergent", levels=3), rows(6)),
    "David": Subject(lambda: GeoFractalDavid(feature_dim=6, num_classes=5, k=2, scales=(4, 7)), rows(6)),
    "MetaMobiusLinear": Subject(lambda: MetaMobiusLinear(6, 5, terms=3), rows(6)),
    "twistor": Subject(lambda: TwistorHopeArchitecture(vocab_size=11, dim=8, dropout=0.0), tokens),
}


def close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Two orders of the same float32 sums, and the derivatives of steep gates: 1e-4 of the largest entry."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            close(found[name], expected[name], tolerance)
        return
    scale = expected.detach().abs().max().clamp_min(1.0) if expected.numel() else 1.0
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance, check_dtype=False)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def loss_of(model: nn.Module, x: Tensor) -> Callable[..., Tensor]:
    """A loss as a function of the parameters, and if wanted of the input."""
    buffers = dict(model.named_buffers())
    return lambda weights, given=x: functional_call(model, (weights, buffers), (given,)).square().sum()


def gradients(model: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Tensor]:
    """Of all parameters, as a training step leaves them; zero where there is none."""
    model.zero_grad()
    run(x).float().square().sum().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


# The uses: each raises, unless what comes out is what the module itself gives.


def compiled_whole(subject: Subject) -> None:
    """`torch.compile(model, fullgraph=True)` in training, as one graph"""
    model, x = subject(training=True), subject.example(3)
    twin = copy.deepcopy(model)
    graph = torch.compile(twin, fullgraph=True, backend="aot_eager")  # all of the compiler but its code
    close(gradients(twin, graph, x), gradients(model, model, x))


def exported(subject: Subject) -> None:
    """`torch.export` with a batch of any size"""
    model = subject()
    program = torch.export.export(model, (subject.example(4),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (2, 7):
        close(program.module()(subject.example(batch)), model(subject.example(batch)))


def onnx(subject: Subject) -> None:
    """`torch.onnx.export(dynamo=True)`, run by onnxruntime at another batch"""
    import onnxruntime

    model = subject()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(model, (subject.example(4),), dynamo=True, dynamic_shapes=shapes, verbose=False)
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: subject.example(3).numpy()})
    close(torch.from_numpy(found), model(subject.example(3)))


def mapped(subject: Subject) -> None:
    """`torch.func.vmap` over samples"""
    model, x = subject(), subject.example(3)
    close(vmap(lambda one: model(one[None])[0])(x), model(x))


def functional_gradient(subject: Subject) -> None:
    """`torch.func.grad` of all parameters"""
    model, x = subject(), subject.example(3)
    close(grad(loss_of(model, x))(weights_of(model)), gradients(model, model, x))


def per_sample(subject: Subject) -> None:
    """the gradient of every sample: `vmap(grad(loss))`"""
    model, x = subject(), subject.example(3)
    loss = loss_of(model, x)
    found = vmap(grad(lambda weights, one: loss(weights, one[None])), (None, 0))(weights_of(model), x)
    for i in range(len(x)):
        close({name: each[i] for name, each in found.items()}, gradients(model, model, x[i : i + 1]))


def twice(subject: Subject) -> None:
    """the gradient of a gradient: `create_graph=True`, against forward mode over `torch.func.grad`"""
    model, x = subject().double(), subject.example(3)
    x = x.double() if x.is_floating_point() else x
    names, parameters = zip(*model.named_parameters(), strict=True)
    parameters = [parameter.requires_grad_() for parameter in parameters]
    first = torch.autograd.grad(model(x).square().sum(), parameters, create_graph=True, allow_unused=True)
    along = [torch.cos(torch.arange(p.numel(), dtype=p.dtype)).view(p.shape) for p in parameters]
    dot = sum((one * two).sum() for one, two in zip(first, along, strict=True) if one is not None)
    second = torch.autograd.grad(dot, parameters, materialize_grads=True)
    tangent = dict(zip(names, along, strict=True))
    _, expected = jvp(grad(loss_of(model, x)), (weights_of(model),), (tangent,))
    close(dict(zip(names, second, strict=True)), expected, tolerance=1e-9)


def forward_mode(subject: Subject) -> None:
    """forward mode: `torch.func.jvp` along all parameters, against backward"""
    model, x = subject().double(), subject.example(3)
    x = x.double() if x.is_floating_point() else x
    weights = weights_of(model)
    tangent = {name: torch.cos(torch.arange(w.numel(), dtype=w.dtype)).view(w.shape) for name, w in weights.items()}
    _, found = jvp(loss_of(model, x), (weights,), (tangent,))
    model.zero_grad()
    model(x).square().sum().backward()
    expected = sum((p.grad * tangent[n]).sum() for n, p in model.named_parameters() if p.grad is not None)
    close(found, expected, tolerance=1e-9)


def batched_gradients(subject: Subject) -> None:
    """many gradients at once: `torch.autograd.grad(is_grads_batched=True)`"""
    model, x = subject(), subject.example(2)
    y = model(x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    pulls = torch.eye(y.numel())[:2].view(2, *y.shape)
    options = {"retain_graph": True, "allow_unused": True}
    found = torch.autograd.grad(y, parameters, pulls, is_grads_batched=True, **options)
    for i, pull in enumerate(pulls):
        for all_at_once, one in zip(found, torch.autograd.grad(y, parameters, pull, **options), strict=True):
            assert (all_at_once is None) == (one is None)
            if one is not None:
                close(all_at_once[i], one)


def on_meta(subject: Subject) -> None:
    """built and run on the meta device"""
    with torch.device("meta"):
        model = subject.build()
    y = model(subject.example(3).to("meta"))
    assert y.is_meta and y.shape == subject()(subject.example(3)).shape
    model.load_state_dict(subject().state_dict(), assign=True)
    close(model.eval()(subject.example(3)), subject()(subject.example(3)))


def deep_copied(subject: Subject) -> None:
    """`copy.deepcopy`, before and after training"""
    model, x = subject(), subject.example(3)
    gradients(model, model, x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))
        before = model(x)
        for parameter in other.parameters():
            parameter.add_(1.0)
        assert torch.equal(model(x), before) and not torch.equal(other(x), before)


def pickled(subject: Subject) -> None:
    """`pickle`, and `torch.save` of the whole module"""
    model, x = subject(), subject.example(3)
    model(x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x), model(x))


class Done(dist._Work):
    """What a process that is alone communicates: nothing, and at once."""

    def __init__(self, result: list[Tensor]) -> None:
        super().__init__()
        self._future = torch.futures.Future()
        self._future.set_result(result)

    def wait(self, timeout: object = None) -> bool:
        return True

    def get_future(self) -> torch.futures.Future:
        return self._future


class Alone(dist.ProcessGroup):
    """One process. Gloo's group of one computes the same on threads of its own, which may hang when it is left:
    https://github.com/pytorch/pytorch/issues/190489"""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def size(self) -> int:
        return 1

    def getBackendName(self) -> str:
        return "alone"

    def broadcast(self, tensors: list[Tensor], options: object) -> Done:
        return Done(tensors)

    def allreduce(self, tensors: list[Tensor], options: object) -> Done:
        return Done(tensors)

    def allgather(self, gathered: list[list[Tensor]], tensors: list[Tensor], options: object) -> Done:
        for (first, *_), tensor in zip(gathered, tensors, strict=True):
            first.copy_(tensor)
        return Done(tensors)


def distributed(subject: Subject) -> None:
    """`DistributedDataParallel` (one process)"""
    model, x = subject(training=True), subject.example(3)
    twin = copy.deepcopy(model)
    parallel = nn.parallel.DistributedDataParallel(twin, process_group=Alone())
    for _ in range(2):  # a parameter that no loss reaches shows in the second step
        found, expected = gradients(twin, parallel, x), gradients(model, model, x)
    close(found, expected)


def in_precision(dtype: torch.dtype, subject: Subject) -> None:
    """A whole model in half precision errs by what rounding its weights and each of some ten steps may cost."""
    model, x = subject(training=True), subject.example(3)
    narrow = copy.deepcopy(model).to(dtype)
    y = narrow(x.to(dtype) if x.is_floating_point() else x)
    y.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in narrow.parameters())
    close(y.float(), model(x), tolerance=30 * torch.finfo(dtype).eps)


def bfloat16(subject: Subject) -> None:
    """`model.bfloat16()`, forward and backward"""
    in_precision(torch.bfloat16, subject)


def half(subject: Subject) -> None:
    """`model.half()`, forward and backward"""
    in_precision(torch.float16, subject)


def autocast(subject: Subject) -> None:
    """`torch.autocast` with bfloat16"""
    model, x = subject(), subject.example(3)

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    close(run(x).float(), model(x), tolerance=30 * torch.finfo(torch.bfloat16).eps)
    found = gradients(model, run, x)
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in found.values())


def checkpointed(subject: Subject) -> None:
    """`torch.utils.checkpoint`"""
    model, x = subject(), subject.example(3)
    x = x.requires_grad_() if x.is_floating_point() else x
    close(gradients(model, lambda x: checkpoint(model, x, use_reentrant=False), x), gradients(model, model, x))


def no_samples(subject: Subject) -> None:
    """a batch of 0"""
    model = subject()
    y = model(subject.example(0))
    assert y.shape == (0, *model(subject.example(2)).shape[1:])
    y.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def one_sample(subject: Subject) -> None:
    """a batch of 1, in training"""
    model = subject(training=True)
    assert all(each.isfinite().all() for each in gradients(model, model, subject.example(1)).values())
    model.eval()
    close(model(subject.example(3)[:1]), model(subject.example(3))[:1])


def inference(subject: Subject) -> None:
    """`torch.inference_mode`, then training"""
    model, x = subject(), subject.example(3)
    with torch.inference_mode():
        y = model(x)
    close(y, model(x))
    gradients(model, model, x)


USES: dict[str, Callable[[Subject], None]] = {
    "compile": compiled_whole, "export": exported, "ONNX": onnx, "vmap": mapped,
    "func.grad": functional_gradient, "per-sample gradients": per_sample, "gradient of a gradient": twice,
    "forward mode": forward_mode, "batched gradients": batched_gradients, "meta device": on_meta,
    "deepcopy": deep_copied, "pickle": pickled, "DDP": distributed, "bfloat16": bfloat16, "half": half,
    "autocast": autocast, "checkpoint": checkpointed, "batch of 0": no_samples, "batch of 1": one_sample,
    "inference mode": inference,
}  # fmt: skip

SAYS = {("ONNX", "twistor"): "No decompositions registered for the complex-valued input"}
"""The cells that do not work, by use and architecture, each with words of what is said there. All others work."""

OPEN: set[tuple[str, str]] = set()
"""The cells of which nothing is known yet: the page shows them empty."""

SLOW = {"compile", "export", "ONNX"}


def cell(use: str, name: str) -> Any:
    return pytest.param(use, name, marks=[pytest.mark.slow] if use in SLOW else [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # what torch says of its own parts
# DDP's, of memory laid out otherwise
@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")
@pytest.mark.parametrize(
    ("use", "name"), [cell(use, name) for use in USES for name in SUBJECTS if (use, name) not in OPEN]
)
def test_use(use, name):
    said = SAYS.get((use, name))
    if said is None:
        USES[use](SUBJECTS[name])
        return
    with pytest.raises(Exception, match=re.escape(said)):
        USES[use](SUBJECTS[name])


def test_a_wrong_result_is_no_use(monkeypatch):
    """The uses compare: a module that changes from call to call passes none of those that look at its numbers."""

    class Restless(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.weight.mul_(1.5)
            return super().forward(x)

    restless = Subject(lambda: Restless(6, 5), rows(6))
    steady = Subject(lambda: nn.Linear(6, 5), rows(6))
    for name in ("vmap", "func.grad", "per-sample gradients", "autocast", "checkpoint", "inference mode", "deepcopy"):
        USES[name](steady)
        with pytest.raises((AssertionError, RuntimeError)):
            USES[name](restless)


# The page.


def table() -> str:
    """The matrix in Markdown: a row per use, and what it works with; a column per architecture would fit no phone."""
    lines = ["| use | works with |", "|---|---|"]
    for use, run in USES.items():
        but = [f"{name} (says: “{SAYS[use, name]}”)" for name in SUBJECTS if (use, name) in SAYS]
        but += [f"{name} (untried)" for name in SUBJECTS if (use, name) in OPEN]
        lines.append(f"| {run.__doc__} | all{' but ' if but else ''}{', '.join(but)} |")
    return "\n".join(lines)


def rendered(page: str) -> str:
    """The page with the table as it is."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    cells = len(USES) * len(SUBJECTS)
    counted = (
        f"{len(USES)} uses of {', '.join(SUBJECTS)}: of {cells} cases {cells - len(SAYS) - len(OPEN)} work. "
        f"Do not work: {len(SAYS)}. Untried: {len(OPEN)}."
    )
    return f"{before}{BEGIN}\n\n{counted}\n\n{table()}\n\n{END}{after}"


def test_the_page_shows_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "render it anew: python tests/test_uses.py"
    assert set(SAYS) | OPEN <= {(use, name) for use in USES for name in SUBJECTS} and not OPEN & set(SAYS)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
