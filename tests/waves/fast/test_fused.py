"""Every backend of the lens against the printed form: values and all gradients.

The file runs once as it stands, and what names a backend once more with Triton's interpreter in place of a GPU
(test_triton.py).
"""

import contextlib
import copy
import os
import shutil

import pytest
import torch

from mobius_lib.native import NoCompiler
from mobius_lib.waves import MobiusConvBlock, MobiusLens, MobiusNet, use_backend
from mobius_lib.waves.fast import backends, function, native

ASKED = os.environ.get("MOBIUS_TEST_BACKEND")
NATIVE = pytest.param("native", marks=pytest.mark.compiler)
HERE = [ASKED] if ASKED else ["eager", NATIVE]
SHAPES = [(3, 5, 7, 64), (2, 17), (1, 1), (4, 3, 100), (5, 2), (1, 33), (70, 9)]


def lens_and_twin(channels, dtype, seed):
    """A lens with every parameter moved away from its start, and the same lens in the printed form."""
    torch.manual_seed(seed)
    lens = MobiusLens(channels, layer_idx=seed % 4, total_layers=4)
    with torch.no_grad():
        for parameter in lens.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if seed % 2:
            lens.alpha.neg_()
    lens.to(dtype)
    printed = copy.deepcopy(lens)
    printed.backend = "printed"
    return lens, printed


def passes(module, x):
    """Result and all gradients of one use of a lens, under an arbitrary loss."""
    module.zero_grad()
    given = x.detach().clone().requires_grad_()
    y = module(given)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    (y * weights).sum().backward()
    return {"y": y.detach(), "x": given.grad} | {k: p.grad for k, p in module.named_parameters()}


def assert_as_exact(lens, printed, x):
    """float32 against the float64 truth: within 1e-5 of the largest entry, or of what a rounding of the data changes.

    Where few channels nearly agree, the layer norm magnifies every rounding, and the gradients of phases, drifts and
    omega are sums of terms that nearly cancel. What that costs is measured, not guessed: input and parameters are
    moved by some four rounding units, in float64, and the error may be 4 times the largest of three such changes.
    """
    truth = passes(copy.deepcopy(printed).double(), x.double())
    generator = torch.Generator().manual_seed(0)
    moves = dict.fromkeys(truth, 0.0)
    for _ in range(3):
        moved = copy.deepcopy(printed).double()

        def shaken(value):
            return value + 2**-22 * (1 + value.abs()) * torch.randn(value.shape, generator=generator, dtype=value.dtype)

        with torch.no_grad():
            for parameter in moved.parameters():
                parameter.copy_(shaken(parameter))
        for name, value in passes(moved, shaken(x.double())).items():
            moves[name] = max(moves[name], (value - truth[name]).abs().max().item())
    for name, ours in passes(lens, x).items():
        error = (ours - truth[name]).abs().max().item()
        allowed = max(1e-5 * max(1.0, truth[name].abs().max().item()), 4 * moves[name])
        assert error <= allowed, (name, error, moves[name])


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_float64(backend, seed, shape):
    lens, printed = lens_and_twin(shape[-1], torch.float64, seed)
    lens.backend = backend
    x = torch.randn(shape, dtype=torch.float64)
    reference = passes(printed, x)
    for name, ours in passes(lens, x).items():
        scale = reference[name].abs().max().clamp_min(1.0)
        assert (ours - reference[name]).abs().max() < 1e-10 * scale, name  # the bound; rounding gives 1e-13


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_float32(backend, seed, shape):
    lens, printed = lens_and_twin(shape[-1], torch.float32, seed)
    lens.backend = backend
    assert_as_exact(lens, printed, torch.randn(shape))


@pytest.mark.parametrize("backend", HERE)
def test_a_changed_parameter_would_be_noticed(backend):
    lens, printed = lens_and_twin(17, torch.float32, 0)
    lens.backend = backend
    with torch.no_grad():
        lens.drift_m[1] += 1e-3
    with pytest.raises(AssertionError):
        assert_as_exact(lens, printed, torch.randn(5, 17))


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch says of its own compiler
@pytest.mark.parametrize("backend", ["compiled"])
def test_torch_compile_of_the_two_passes(backend):
    for seed, rows in enumerate((6, 35, 1)):  # one graph serves all; one row is left to plain torch
        lens, printed = lens_and_twin(17, torch.float32, seed)
        lens.backend = backend
        assert_as_exact(lens, printed, torch.randn(rows, 17))
    from mobius_lib.waves.fast.compiled import graph

    assert graph.cache_info().currsize == 3  # two stages forward, and backward
    assert backends.available("compiled")


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-4, 30.0, 1e4, -1e4, 3e38])
def test_zero_tiny_and_huge_inputs(backend, value):
    lens, printed = lens_and_twin(6, torch.float32, 0)
    lens.backend = backend
    for x in (torch.full((3, 6), value), torch.randn(3, 6) * value):
        x = x.clamp(-3e38, 3e38)
        results = []
        for module in (lens, printed):
            given = x.clone().requires_grad_()
            y = module.gated(given)
            y.clamp(-1e6, 1e6).sum().backward()  # the sum itself must not overflow
            results.append((y.detach(), given.grad))
            module.zero_grad()
        for ours, theirs in zip(*results, strict=True):
            assert torch.isfinite(ours).all()
            # at most a few roundings of the printed form, relative to what passes the gate
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def lens_arguments(lens):
    paths = [getattr(lens, f"{kind}_{path}") for kind in ("phase", "drift") for path in "lmr"]
    return (*paths, lens.omega, lens.alpha, lens.accum_weights, lens.xor_weight)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_stays_one(backend, value):
    """A diverged training has to be seen: a row with NaN gives NaN, and the rows beside it are left alone."""
    lens, printed = lens_and_twin(5, torch.float32, 1)
    lens.backend = backend
    x = torch.randn(3, 5)
    x[1, 2] = value
    ours, theirs = lens.gated(x), printed.gated(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("backend", HERE)
def test_alpha_of_zero_has_the_gradient_of_torch(backend):
    lens, printed = lens_and_twin(5, torch.float64, 1)
    lens.backend = backend
    for module in (lens, printed):
        with torch.no_grad():
            module.alpha.zero_()
        module(torch.ones(2, 5, dtype=torch.float64).cumsum(1)).sum().backward()
    assert lens.alpha.grad == printed.alpha.grad == 0


@pytest.mark.parametrize("backend", HERE)
def test_very_high_frequencies(backend):
    """Angles beyond the fast reduction of the float32 kernels: the printed form's own rounding bounds what can be."""
    lens, printed = lens_and_twin(7, torch.float32, 0)
    lens.backend = backend
    with torch.no_grad():
        for module in (lens, printed):
            module.omega.fill_(2e4)
    x = torch.randn(4, 7)
    exact = copy.deepcopy(printed).double()(x.double())
    error, usual = ((module(x) - exact).abs().max() for module in (lens, printed))
    assert error < 1e-2 and usual < 1e-2  # angles of 1e5 are rounded to 4e-3 before their sine is taken


@pytest.mark.parametrize("backend", HERE)
def test_layouts_batches_and_double_use(backend):
    lens, printed = lens_and_twin(6, torch.float32, 0)
    lens.backend = backend
    x = torch.randn(2, 6, 4, 5)
    transposed = x.permute(0, 2, 3, 1)
    assert not transposed.is_contiguous()
    assert_as_exact(lens, printed, transposed)
    torch.testing.assert_close(lens(transposed), lens(transposed.contiguous()))
    empty = torch.zeros(0, 6, requires_grad=True)
    lens.zero_grad()
    lens(empty).sum().backward()
    assert empty.grad.shape == (0, 6)
    assert all(p.grad is None or not p.grad.any() for p in lens.parameters())
    for module in (lens, printed):
        module.zero_grad()
    for module in (lens, printed):
        y = module(transposed)
        (y * module(y + transposed)).sum().backward()
    for (name, ours), theirs in zip(lens.named_parameters(), printed.parameters(), strict=True):
        scale = theirs.grad.abs().max().clamp_min(1.0)
        assert (ours.grad - theirs.grad).abs().max() < 1e-4 * scale, name  # two lenses deep in float32


@pytest.mark.parametrize("backend", HERE)
def test_gradients_only_where_they_are_asked_for(backend):
    lens, printed = lens_and_twin(6, torch.float32, 0)
    lens.backend = backend
    x = torch.randn(3, 6)
    lens.requires_grad_(False)
    given = x.clone().requires_grad_()
    lens(given).sum().backward()
    assert all(p.grad is None for p in lens.parameters())
    reference = x.clone().requires_grad_()
    printed(reference).sum().backward()
    torch.testing.assert_close(given.grad, reference.grad, rtol=1e-4, atol=1e-5)
    lens.omega.requires_grad_(True)
    lens(x).sum().backward()
    torch.testing.assert_close(lens.omega.grad, printed.omega.grad, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert not lens(given).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(lens(x), printed(x), rtol=1e-5, atol=1e-5)


def passes_plain(module, x):
    given = x.clone().requires_grad_()
    y = module(given)
    y.sum().backward()
    return y.detach(), given.grad


@pytest.mark.parametrize("backend", HERE)
def test_autocast_and_half_types(backend):
    lens, printed = lens_and_twin(24, torch.float32, 2)
    lens.backend = backend
    x = torch.randn(9, 24)
    grads = []
    for module in (lens, printed):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = module(given)
        y.float().sum().backward()
        assert module.omega.grad.dtype == given.grad.dtype == torch.float32
        grads.append((y.detach().float(), given.grad))
    exact = passes_plain(copy.deepcopy(printed), x)
    for ours, theirs, truth in zip(*grads, exact, strict=True):
        # as far from the truth as the printed form under autocast, give or take another order of roundings
        assert (ours - truth).abs().max() < 2 * (theirs - truth).abs().max()
    narrow = lens.gated(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), printed.gated(x.bfloat16().float()), rtol=2**-7, atol=1e-3)


@pytest.mark.skipif(ASKED == "triton", reason="its kernels are float32")
@pytest.mark.parametrize("backend", HERE)
def test_gradcheck(backend):
    lens, _ = lens_and_twin(5, torch.float64, 1)
    small = [p.detach().clone().requires_grad_() for p in lens_arguments(lens)]
    norm = [lens.gate_norm.weight, lens.gate_norm.bias]
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias, *small):
        return backends.gated(backend, x, small, lens.scales, weight, bias, 1e-5)

    assert torch.autograd.gradcheck(run, (x, *norm, *small))


@pytest.mark.skipif(ASKED == "triton", reason="its kernels are float32")
@pytest.mark.parametrize("backend", HERE)
def test_second_derivatives(backend):
    lens, printed = lens_and_twin(5, torch.float64, 1)
    lens.backend = backend
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for module in (lens, printed):
        inputs = [x, *module.parameters()]
        first = torch.autograd.grad(module(x).square().sum(), inputs, create_graph=True)
        found.append(torch.autograd.grad(sum(each.cos().sum() for each in first), inputs))
    for (name, _), ours, theirs in zip([("x", x), *lens.named_parameters()], *found, strict=True):
        # float64, and some thousand roundings
        assert (ours - theirs).abs().max() < 1e-10 * theirs.abs().max().clamp_min(1.0), name


def test_only_x_and_the_parameters_are_kept():
    lens, _ = lens_and_twin(64, torch.float32, 0)
    x = torch.randn(100, 64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        lens.gated(x)
    large = [t for t in kept if t.numel() >= 100]
    assert len(large) == 1 and large[0].data_ptr() == x.data_ptr()


def test_a_saved_state_is_what_it_was():
    expected = {"scales", "omega", "alpha", "accum_weights", "xor_weight", "gate_norm.weight", "gate_norm.bias"}
    expected |= {f"{kind}_{path}" for kind in ("phase", "drift") for path in "lmr"}
    expected |= {f"twist_{way}_{part}" for way in ("in", "out") for part in ("angle", "proj.weight")}
    assert set(MobiusLens(5, 0, 1).state_dict()) == expected


def test_a_wrong_width_is_refused():
    lens = MobiusLens(5, 0, 1)
    for call in (lens.gated, lens):
        with pytest.raises(ValueError, match=r"of 5 channels takes them last, .*, not a shape of \(2, 4\)\.$"):
            call(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"\(2, 5, 3, 4\); move them there with x.movedim\(1, -1\)"):
        lens(torch.randn(2, 5, 3, 4))
    with pytest.raises(ValueError, match=r"takes a torch.Tensor, not a numpy.ndarray"):
        lens(torch.randn(2, 5).numpy())


@pytest.mark.parametrize("backend", HERE)
def test_block_is_the_printed_block(backend):
    torch.manual_seed(0)
    block = use_backend(MobiusConvBlock(7, 1, 3).double(), backend)
    printed = use_backend(copy.deepcopy(block), "printed")
    for name, ours in passes(block, x := torch.randn(2, 7, 5, 4, dtype=torch.float64)).items():
        reference = passes(copy.deepcopy(printed).train(), x)[name]
        assert (ours - reference).abs().max() < 1e-10 * reference.abs().max().clamp_min(1.0), name


@pytest.mark.parametrize("backend", HERE)
def test_channels_last_from_end_to_end(backend):
    """No copy between convolution and lens, forward or backward: every tensor there lies with its channels last."""
    model = use_backend(MobiusNet(channels=(6, 9), depths=(2, 1), num_classes=3), backend)
    model.to(memory_format=torch.channels_last)
    seen = []

    def look(module, given, result):
        seen.append(given[0].is_contiguous() and result.is_contiguous())
        if result.requires_grad:
            result.register_hook(lambda grad: seen.append(grad.is_contiguous()))

    for block in model.blocks:
        block.lens.register_forward_hook(look)
        block.register_forward_hook(
            lambda module, given, result: seen.append(result.is_contiguous(memory_format=torch.channels_last))
        )
    x = torch.randn(2, 1, 12, 10).to(memory_format=torch.channels_last)
    model(x).sum().backward()
    assert len(seen) == 3 * 3 and all(seen)


@pytest.mark.slow
@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch says of its own compiler
def test_torch_compile_of_a_whole_model():
    torch.manual_seed(0)
    model = MobiusNet(channels=(4,), depths=(2,), num_classes=3, use_integrator=False).double().eval()
    twin = copy.deepcopy(model)
    x = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    for module, run in ((model, torch.compile(model)), (twin, twin)):
        run(x).square().sum().backward()
        assert module.stem[0].weight.grad is not None
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() < 1e-10 * theirs.grad.abs().max().clamp_min(1.0), name


@contextlib.contextmanager
def broken(monkeypatch, kernel):
    """All backends as in a new process, with `native` being the one given."""
    monkeypatch.setattr(backends, "_failed", {})
    monkeypatch.setattr(backends, "_said", set())
    monkeypatch.setattr(backends, "_kernels", {"eager": backends.EAGER, "native": kernel})
    yield


class Broken(function.Kernel):
    """Fails forward, or only on the way back."""

    def __init__(self, way):
        self.way = way

    def forward(self, *given):
        if self.way == "forward":
            raise RuntimeError("no compiler\nand more lines")
        return super().forward(*given)

    def backward(self, *given):
        raise RuntimeError("no compiler\nand more lines")


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_backend_that_fails_is_left_with_one_warning(monkeypatch, way):
    lens, printed = lens_and_twin(5, torch.float32, 0)
    lens.backend = "native"
    x = torch.randn(4, 5)
    with broken(monkeypatch, Broken(way)):
        with pytest.warns(RuntimeWarning) as caught:
            assert_as_exact(lens, printed, x)
        (said,) = caught
        assert "The lens's native backend does not work here (RuntimeError: no compiler); eager" in str(said.message)
        if way == "forward":  # backward runs in a thread of torch's own, where no line of the user's is
            assert said.filename == __file__
        assert_as_exact(lens, printed, x)  # no further one: warnings are errors here
        assert not backends.available("native")


@pytest.mark.parametrize("backend", [NATIVE])
def test_threads_share_the_rows_and_change_only_roundings(backend, threads):
    lens, printed = lens_and_twin(7, torch.float32, 1)
    lens.backend = backend
    x = torch.randn(301, 7)
    for count in (1, 3):
        threads(count)
        assert_as_exact(lens, printed, x)
        first, second = passes(lens, x), {name: value.clone() for name, value in passes(lens, x).items()}
        assert all(torch.equal(first[name], second[name]) for name in first)  # the same sums in the same order


@contextlib.contextmanager
def as_new(monkeypatch, folder):
    """No kernel built before, no backend tried."""
    monkeypatch.setenv("MOBIUS_CACHE", str(folder))
    monkeypatch.delenv("MOBIUS_BACKEND", raising=False)
    monkeypatch.setattr(backends, "_failed", {})
    monkeypatch.setattr(backends, "_said", set())
    monkeypatch.setattr(backends, "_kernels", {"eager": backends.EAGER})
    native.library.cache_clear()
    try:
        yield
    finally:
        native.library.cache_clear()


def test_no_compiler_is_a_clear_error_and_no_warning(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with as_new(monkeypatch, tmp_path):
        with pytest.raises(NoCompiler, match="no C\\+\\+ compiler; install"):
            native.recipe()
        assert backends.fastest("cpu") == "eager"  # warnings are errors here
        lens, printed = lens_and_twin(5, torch.float32, 0)
        assert_as_exact(lens, printed, torch.randn(4, 5))
        for name in ("native", "compiled"):  # asked for by name: said once, before torch.compile looks for a compiler
            lens.backend = name
            with pytest.warns(RuntimeWarning, match=f"{name} backend .*no C.. compiler.*; eager takes over") as caught:
                lens(torch.randn(4, 5))
            assert len(caught) == 1 and caught[0].filename == __file__
            lens(torch.randn(4, 5))


def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    if not shutil.which("false"):
        pytest.skip("no program `false` on this machine")
    monkeypatch.setenv("CXX", "false")
    with as_new(monkeypatch, tmp_path):
        with pytest.raises(RuntimeError, match=r"false could not build kernel\.cpp"):
            native.library()
        assert not list(tmp_path.rglob("*.so"))
        with pytest.warns(RuntimeWarning, match="native backend does not work here .*; eager takes over"):
            assert backends.fastest("cpu") == "eager"
        assert backends.fastest("cpu") == "eager" and not backends.available("native")  # says it once


@pytest.mark.compiler
def test_the_default_is_the_kernel(monkeypatch):
    monkeypatch.delenv("MOBIUS_BACKEND", raising=False)
    calls = []

    class Counting(native.NativeKernel):
        def forward(self, *given):
            calls.append(given[0].shape)
            return super().forward(*given)

    monkeypatch.setattr(backends, "_kernels", {"eager": backends.EAGER, "native": Counting()})
    lens = MobiusLens(6, 1, 3)
    assert backends.fastest("cpu") == "native" and backends.fastest("mps") == "eager"
    lens(torch.randn(4, 6))
    assert calls == [(4, 6)]


@pytest.mark.parametrize("name", backends.BACKENDS)
def test_the_environment_names_any_backend(monkeypatch, name):
    if name not in ("auto", "printed", "eager"):
        assert backends.known(name) == name
        return
    monkeypatch.setenv("MOBIUS_BACKEND", name)
    lens, printed = lens_and_twin(5, torch.float32, 0)
    assert lens.folds == (name != "printed") and MobiusConvBlock(5, 0, 1)(torch.randn(2, 5, 3, 3)).shape == (2, 5, 3, 3)
    assert_as_exact(lens, printed, torch.randn(4, 5))
    lens.backend = "eager"  # by name: the environment is not asked
    assert lens.folds


def test_the_environment_names_none(monkeypatch):
    monkeypatch.setenv("MOBIUS_BACKEND", "magic")
    with pytest.raises(ValueError, match="no backend 'magic', which MOBIUS_BACKEND asks for; the backends are printed"):
        MobiusLens(5, 0, 1)(torch.randn(2, 5))
