"""What is compared is the same computation: each form against the printed one, or the folded twin against the twin."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mobius_lib.bench.waves.arms import FORMS, SUBJECTS, WHOLE_COMPILED, Case, cases, network

# float32 and another order of operations, some hundred roundings of 6e-8, which batch norm over three samples enlarges
TOLERANCE = {"ours": 1e-4, "folded": 1e-4}


def all_cases(setting, *subjects, whole=False) -> list[Case]:
    return list(cases(setting, subjects or tuple(SUBJECTS), whole))


def close(ours, reference, tolerance):
    assert len(ours) == len(reference)
    for one, other in zip(ours, reference, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * max(1e-2, other.abs().max().item())


def test_every_subject_has_its_cases(tiny):
    found = all_cases(tiny)
    assert list(dict.fromkeys(case.subject for case in found)) == list(SUBJECTS)
    assert [case.channels for case in found if case.subject == "lens"] == [5, 8]
    for case in found:
        assert set(case.forms) <= set(FORMS) and {"printed", "ours", "gelu"} <= set(case.forms)
        assert ("folded" in case.forms) == (case.subject == "inference")
    assert len({case.label for case in found}) == len(found)
    for case in all_cases(tiny, "net", "inference", whole=True):
        assert set(WHOLE_COMPILED) <= set(case.forms)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_all_forms_of_the_lens_compute_the_same(tiny, subject):
    for case in all_cases(tiny, subject):
        reference = case.make("printed").step()
        assert all(torch.isfinite(each).all() for each in reference)
        for form in TOLERANCE.keys() & set(case.forms):
            close(case.make(form).step(), reference, TOLERANCE[form])
        twin = case.make("gelu").step()
        assert twin[0].shape == reference[0].shape and not torch.allclose(twin[0], reference[0])
        if "gelu folded" in case.forms:
            close(case.make("gelu folded").step(), twin, 1e-4)


def test_steps_train_all_forms_alike(tiny):
    """Ten steps of AdamW: the losses fall, and the two forms stay together."""
    (case,) = all_cases(tiny, "step")
    printed, ours = (case.make(form) for form in ("printed", "ours"))
    losses = [(printed.step()[0].item(), ours.step()[0].item()) for _ in range(10)]
    assert losses[-1][0] < losses[0][0]
    for one, other in losses:
        assert one == pytest.approx(other, rel=1e-3)  # AdamW divides by small gradients, which enlarges rounding


def test_a_form_that_computes_something_else_would_be_noticed(tiny):
    (case,) = all_cases(tiny, "inference")
    with torch.no_grad():
        model = network(tiny, "ours")
        for block in model.blocks:
            block.lens.phase_m += 0.3
    with pytest.raises(AssertionError):
        x = torch.randn(tiny.batch, 1, *tiny.size, generator=torch.Generator().manual_seed(1))
        close((model.eval()(x).detach(),), case.make("printed").step(), TOLERANCE["ours"])


def test_twin_and_lens_start_from_the_same_weights_elsewhere(tiny):
    """Layers are made in the same order, so the stems are equal draws."""
    lens, twin = network(tiny, "printed"), network(tiny, "gelu")
    assert torch.equal(lens.stem[0].weight, twin.stem[0].weight)
    assert torch.equal(network(tiny, "ours").head.weight, lens.head.weight)


def test_the_backend_of_each_form(tiny):
    def backends(form):
        return {m.backend for m in network(replace(tiny, backend="compiled"), form).modules() if hasattr(m, "backend")}

    assert backends("printed") == backends("printed compiled") == {"printed"}
    assert backends("ours") == backends("folded") == {"compiled"}
    assert backends("ours compiled") == {"eager"}
    assert backends("gelu") == {"printed"}  # in PyTorch's own layers
    assert backends("gelu tuned") == {"compiled"}  # any but printed: our matrices and residual


def test_bf16(tiny):
    """Autocast reaches the network; its gate gets bf16 numbers."""
    low = replace(tiny, precision="bf16")
    (case,) = all_cases(low, "inference")
    logits = case.make("ours").step()[0]
    assert logits.dtype == torch.bfloat16
    exact = all_cases(tiny, "inference")[0].make("ours").step()[0]
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()  # 8 bits, a few layers
    assert all_cases(low, "gate")[0].make("gelu").step()[0].dtype == torch.bfloat16
    for subject in ("lens", "block", "net", "step"):
        assert all(torch.isfinite(each).all() for each in all_cases(low, subject)[0].make("ours").step())


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler imports what torch deprecated
def test_the_compiled_printed_form_computes_the_same(tiny):
    case = all_cases(tiny, "gate")[0]
    close(case.make("printed compiled").step(), case.make("printed").step(), 1e-5)
    assert isinstance(network(tiny, "printed compiled"), nn.Module)
