"""Derivatives of every kind: against differences in double precision, twice, under torch.func, forward and compiled."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from mobius_lib.twistor import (
    AdaptiveMobiusLayer,
    IncidenceAttention,
    MobiusLayer,
    PhaseCompression,
    SelfModifyingMemory,
    TwistorHopeArchitecture,
    TwistorMemorySystem,
    TwistorNestedLearning,
    TwistorScanCell,
    TwistorSelfModifyingRecurrent,
    TwistorTitansCell,
    TwistorTitansRecurrent,
)
from mobius_lib.twistor import math as twistor

MODULES = {
    "mobius": (lambda: MobiusLayer(8, 2), (3, 8)),
    "adaptive": (lambda: AdaptiveMobiusLayer(8, 2, 3), (3, 8)),
    "attention": (lambda: IncidenceAttention(8, 2), (2, 3, 8)),
    "phase": (lambda: PhaseCompression(8), (3, 8)),
    "memory": (lambda: TwistorMemorySystem(8, 2), (2, 3, 8)),
    "memory, eager": (lambda: TwistorMemorySystem(8, 2, backend="eager"), (2, 3, 8)),
    "nested": (lambda: TwistorNestedLearning(8, 2), (3, 8)),
    "nested, eager": (lambda: TwistorNestedLearning(8, 2, backend="eager"), (3, 8)),
    "cell": (lambda: TwistorTitansCell(4, 4), (2, 4)),
    "scan cell": (lambda: TwistorScanCell(4, 4), (2, 4)),
    "recurrent": (lambda: TwistorTitansRecurrent(4, num_layers=1), (2, 5, 4)),
    "recurrent, loop": (lambda: TwistorTitansRecurrent(4, num_layers=1, backend="loop"), (2, 5, 4)),
    "scan": (lambda: TwistorTitansRecurrent(4, num_layers=1, form="scan"), (2, 5, 4)),
    "fast weights": (lambda: SelfModifyingMemory(8, heads=2), (2, 5, 8)),
    "fast weights, in pairs": (lambda: SelfModifyingMemory(8, 2, heads=2), (2, 5, 8)),
    "self-modifying": (lambda: TwistorSelfModifyingRecurrent(4, num_layers=1), (1, 3, 4)),
}


def numbers(given) -> tuple[torch.Tensor, ...]:
    """All tensors of floating-point numbers in what a module returns."""
    if isinstance(given, torch.Tensor):
        return (given,)
    parts = given if isinstance(given, tuple) else vars(given).values()
    return tuple(each for part in parts if not isinstance(part, int | None) for each in numbers(part))


@pytest.mark.parametrize("name", MODULES)
def test_in_double_precision_gradients_are_those_of_differences(name):
    """By input and by every parameter; single precision anywhere inside would be seen, for steps are of 1e-6."""
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module = make().double()
    names = [n for n, _ in module.named_parameters()]
    given = [torch.randn(shape).double(), *(p.detach().clone() for p in module.parameters())]

    def function(x, *parameters):
        return numbers(functional_call(module, dict(zip(names, parameters, strict=True)), (x,)))

    # fast: one random direction in place of every entry
    assert torch.autograd.gradcheck(function, [each.requires_grad_() for each in given], fast_mode=True)


def test_matrices_in_double_precision():
    """Of determinant 1 to its last digits, not to those of single precision."""
    torch.manual_seed(0)
    layer = MobiusLayer(16).double()
    determinants = torch.linalg.det(layer.cycles.maps())
    torch.testing.assert_close(determinants, torch.ones_like(determinants), rtol=0, atol=1e-13)
    x = torch.randn(3, 16).double()
    expected = twistor.turn(x, twistor.cycle_matrix(layer.cycles.generators, layer.cycles.couplings))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-13)
    levels = TwistorNestedLearning(16, 2).double().eval()
    moduli = torch.hypot(*twistor.pairing(levels(x)[0])) / 4
    torch.testing.assert_close(moduli, torch.ones_like(moduli), rtol=0, atol=1e-13)


class Loss(nn.Module):
    def __init__(self, form: str, **settings) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = TwistorHopeArchitecture(
            vocab_size=7, dim=6, num_memories=2, num_nested_levels=2, num_recurrent_layers=1, dropout=0.0, form=form,
            **settings,
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.loss(x, x.flip(1))[0]


TOKENS = torch.tensor([[0, 3, 6, 2, 1], [5, 5, 1, 0, 4], [2, 6, 6, 1, 3]])
FORMS = ["recurrent", "scan"]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, in its forward mode
@pytest.mark.parametrize("form", FORMS)
def test_torch_func_and_forward_mode(form):
    """The default model, as it stands: gradients, those of each sample, and derivatives along a direction."""
    loss = Loss(form)
    p = {name: value.detach() for name, value in loss.named_parameters()}
    expected = torch.autograd.grad(loss(TOKENS), list(loss.parameters()))

    def function(p, x):
        return functional_call(loss, p, (x,))

    for one, other in zip(grad(function)(p, TOKENS).values(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    each = vmap(grad(function), (None, 0))(p, TOKENS.unsqueeze(1))
    for one, other in zip(each.values(), expected, strict=True):
        torch.testing.assert_close(one.mean(0), other, rtol=1e-4, atol=1e-6)
    along = {name: torch.linspace(-1, 1, v.numel()).view_as(v) for name, v in p.items()}
    slope = sum((a * g).sum() for a, g in zip(along.values(), expected, strict=True))
    # torch gives some of these in double precision
    found = jvp(lambda p: function(p, TOKENS), (p,), (along,))[1].float()
    torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-5)
    with forward_ad.dual_level():
        dual = function({n: forward_ad.make_dual(v, along[n]) for n, v in p.items()}, TOKENS)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent.float(), slope, rtol=1e-4, atol=1e-5)
    assert int(loss.model.nested.clock) == 0  # nothing of it was a step


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_second_derivatives(form, backend):
    """Of kernels and hand-written passes against the loop in double precision."""
    found = []
    for loss in (Loss(form, backend=backend), Loss(form, backend="loop").double()):
        p = list(loss.parameters())
        first = torch.autograd.grad(loss(TOKENS), p, create_graph=True)
        found.append(torch.autograd.grad(sum(g.sin().sum() for g in first), p, allow_unused=True))
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:  # single precision, twice, through sums of some hundred terms
            torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-4 * other.abs().max().item() + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_compiled_whole_in_training(form):
    loss = Loss(form)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value = compiled(TOKENS[:, :3])
    value.backward()
    found = [p.grad for p in loss.parameters()]
    loss.zero_grad()
    loss.model.nested.get_buffer("held_omega_1_0_weight").zero_()
    again = loss(TOKENS[:, :3])
    again.backward()
    torch.testing.assert_close(value, again, rtol=1e-5, atol=1e-6)
    for one, parameter in zip(found, loss.parameters(), strict=True):
        assert (one is None) == (parameter.grad is None)  # a level that is not due has none, compiled or not
        if one is not None:
            torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_on_the_meta_device(form):
    with torch.device("meta"):
        loss = Loss(form)
        tokens = torch.zeros(2, 5, dtype=torch.int64)
        assert loss.model(tokens).shape == (2, 5, 7) and loss(tokens).shape == ()
        loss(tokens).backward()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["loop", "eager", "native"])
def test_no_rows_and_one(form, backend):
    model = Loss(form, backend=backend).model
    for rows in (0, 1):
        logits, state = model.stream(TOKENS[:rows])
        logits, _ = model.stream(TOKENS[:rows], state)
        logits.sum().backward()
        assert logits.shape == (rows, 5, 7)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_train_alike_on_short_pieces(form):
    """Pieces of 3 steps, in which the slow network is often not asked: it has no gradient then, in any form."""
    ends = {}
    for backend in ("loop", "eager", "native"):
        model = Loss(form, backend=backend).model
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        state, asked = None, []
        for piece in TOKENS.repeat(1, 6).split(3, dim=1):
            loss, _, state, _ = model.loss(piece, piece, state)
            state = state.detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cell = model.self_modifying.recurrent.forwards[0]
            asked.append([network[0].weight.grad is not None for network in cell.evolution])
        ends[backend] = asked, torch.cat([p.detach().flatten() for p in model.parameters()])
    for asked, weights in ends.values():
        assert asked == ends["loop"][0] and [True, False, False] in asked
        # 10 steps of Adam, whose first ones are as long where a gradient is a rounding as where it is large
        assert (weights - ends["loop"][1]).abs().median() < 1e-6 and (weights - ends["loop"][1]).abs().max() < 3e-3
