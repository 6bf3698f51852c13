"""Parameters and states that lie anyhow, in any type, on any device: the right numbers, or a sentence."""

from dataclasses import fields, replace

import pytest
import torch
from torch.func import functional_call

from mobius_lib.twistor import CellState, TwistorHopeArchitecture, TwistorMemorySystem, TwistorTitansRecurrent

FORMS = ["recurrent", "scan"]
X = torch.linspace(-2, 2, 2 * 30 * 16).view(2, 30, 16)


def layers(form: str, backend: str = "auto") -> TwistorTitansRecurrent:
    torch.manual_seed(0)
    made = TwistorTitansRecurrent(16, form=form, backend=backend)
    for cell in made.forwards:
        torch.nn.init.normal_(cell.surprise)
    return made


def changed(state: CellState, change) -> CellState:
    return replace(state, **{f.name: change(getattr(state, f.name)) for f in fields(state) if f.name != "clock"})


@pytest.mark.compiler
@pytest.mark.parametrize("form", FORMS)
def test_parameters_that_are_views(form):
    """As torch.func stacks them: outputs the same to the bit, gradients those of the readable form."""
    native, found = layers(form), {}
    for backend in ("native", "eager"):
        twin = layers(form, backend)
        stacked = {n: torch.stack([p, 2 * p], -1).detach().requires_grad_() for n, p in twin.named_parameters()}
        y, _ = functional_call(twin, {name: part[..., 0] for name, part in stacked.items()}, (X,))
        found[backend] = [y, *torch.autograd.grad(y.square().mean(), list(stacked.values()))]
    assert torch.equal(found["native"][0], native(X)[0])
    for one, other in zip(found["native"], found["eager"], strict=True):
        # as in test_recurrent: 30 steps of float32
        assert (one - other).abs().max() <= 1e-5 * (1 + other.abs().max())


@pytest.mark.compiler
@pytest.mark.parametrize("form", FORMS)
def test_parameters_that_are_one_number_repeated(form):
    native, eager = layers(form), layers(form, "eager")
    weights = {n: torch.tensor(0.7).expand(16) if "surprise" in n else p for n, p in native.state_dict().items()}
    native.load_state_dict(weights, assign=True)
    eager.load_state_dict(weights)
    assert not native.forwards[0].surprise.is_contiguous()
    torch.testing.assert_close(native(X)[0], eager(X)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["loop", "eager", "native"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_state_of_another_type(form, backend, dtype):
    """Is taken for what it says, to the bit."""
    m = layers(form, backend)
    state = tuple(changed(each, lambda x: x.to(dtype)) for each in m(X)[1])
    wide = tuple(changed(each, torch.Tensor.float) for each in state)
    for one, other in zip(m(X, state)[1], m(X, wide)[1], strict=True):
        assert one.twistor.dtype == torch.float32 and torch.equal(one.twistor, other.twistor)
    cell = m.forwards[0]
    (y, after), (expected, _) = cell(X[:, 0], state[0]), cell(X[:, 0], wide[0])
    assert torch.equal(y, expected) and after.held.dtype == torch.float32


@pytest.mark.parametrize("backend", ["eager", "native"])
def test_slots_of_another_type(backend):
    memory = TwistorMemorySystem(16, 3, backend=backend)
    slots = memory(X)[1].detach().half()
    assert torch.equal(memory(X, slots)[0], memory(X, slots.float())[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["loop", "eager", "native"])
def test_what_no_kernel_can_read_is_a_sentence(form, backend):
    """A segmentation fault, once."""
    m = layers(form, backend)
    state = m(X)[1]
    for change, message in [
        (lambda x: x.to("meta"), "state's twistor is on meta, but the model is on cpu"),
        (lambda x: x.long(), "must be a tensor of floating-point numbers, not torch.int64"),
        (lambda x: x.numpy(force=True), "floating-point numbers, not ndarray"),
    ]:
        with pytest.raises(ValueError, match=message):
            m(X, tuple(changed(each, change) for each in state))
    memory = TwistorMemorySystem(16, 3, backend=backend)
    with pytest.raises(ValueError, match="slots is on meta"):
        memory(X, torch.zeros(2, 3, 16, device="meta"))


def test_a_state_of_the_whole_model_on_meta():
    m = TwistorHopeArchitecture(vocab_size=5, dim=8)
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    state = m.stream(tokens)[1]
    with pytest.raises(ValueError, match="is on meta"):
        m.stream(tokens, replace(state, slots=state.slots.to("meta")))
