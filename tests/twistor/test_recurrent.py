"""Fast and readable forms of the recurrence agree, with all gradients; causality and streaming of each layer."""

import contextlib
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from mobius_lib import products
from mobius_lib.native import NoCompiler
from mobius_lib.twistor import (
    AdaptiveMobiusLayer,
    IncidenceAttention,
    MobiusLayer,
    TwistorMemorySystem,
    TwistorNestedLearning,
    TwistorScanCell,
    TwistorSelfModifyingRecurrent,
    TwistorTitansCell,
    TwistorTitansRecurrent,
    laws,
)
from mobius_lib.twistor import math as twistor
from mobius_lib.twistor.cell import CellState
from mobius_lib.twistor.fast import choice
from mobius_lib.twistor.fast import unroll as unrolling
from mobius_lib.twistor.fast.choice import BACKENDS
from mobius_lib.twistor.fast.linear_scan import linear_scan
from mobius_lib.twistor.fast.turning import turn
from mobius_lib.twistor.fast.unroll import unroll

ALL = ("fast", "medium", "slow")
VARIANTS = [
    {"use_mobius": mobius, "use_adaptive_evolution_rate": adaptive, "scales": scales}
    for mobius in (True, False)
    for adaptive in (True, False)
    for scales in (ALL, (), ("slow",), ("fast",), ("medium", "fast"))
]


def make_cell(dtype=torch.float64, **options) -> TwistorTitansCell:
    torch.manual_seed(3)
    cell = TwistorTitansCell(12, 16, **options).to(dtype)
    with torch.no_grad():
        cell.scale_weights.normal_()
        if cell.surprise is not None:
            cell.surprise.normal_()
    return cell


def random_state(cell, batch: int, clock: int = 3):
    like = cell.recur.weight
    state = cell.initial(batch, like)
    parts = {name: torch.randn_like(getattr(state, name)).requires_grad_() for name in ("twistor", "hidden", "held")}
    return replace(state, clock=clock, **parts)


def outputs_and_gradients(cell, drive, state, backend):
    """Everything that a step of training can see, from a loss in which every output has a part."""
    hidden, after = unroll(cell, drive, state, backend)
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(5), dtype=hidden.dtype)
    loss = (hidden * weights).sum() + after.twistor.sin().sum() + after.held.square().sum() + after.hidden.cos().sum()
    wanted = [drive, state.twistor, state.hidden, state.held]
    wanted += [p for name, p in cell.named_parameters() if not name.startswith("input.")]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    assert after.clock == state.clock + drive.shape[0]
    return [hidden, after.twistor, after.hidden, after.held, *found]


def agree(ours, reference, tolerance):
    for one, other in zip(ours, reference, strict=True):
        if one is None or other is None:  # a part that nothing depends on: no gradient, or one of 0
            given = other if one is None else one
            assert given is None or not given.any()
        elif other.numel():
            assert (one - other).abs().max() <= tolerance * (1 + other.abs().max())


# "eager" is compared in float64, so that rounding hides nothing; "native" exists in float32 alone, where 19 steps of a
# recurrence enlarge its rounding of 6e-8 some ten times
FORMS = [
    ("eager", torch.float64, 1e-12),
    ("eager", torch.float32, 1e-5),
    pytest.param("native", torch.float32, 1e-5, marks=pytest.mark.compiler),
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize(("backend", "dtype", "tolerance"), FORMS)
@pytest.mark.parametrize("steps", [1, 19])
def test_the_fast_forms_compute_the_same(backend, dtype, tolerance, options, steps):
    cell = make_cell(dtype, **options)
    drive = torch.randn(steps, 3, 64, dtype=dtype, requires_grad=True)
    state = random_state(cell, 3)
    reference = outputs_and_gradients(cell, drive, state, "loop")
    agree(outputs_and_gradients(cell, drive, state, backend), reference, tolerance)


@pytest.mark.compiler
def test_native_is_what_auto_takes():
    assert choice.works(unrolling.library, torch.randn(4, 2, 64))


@pytest.mark.parametrize("error", [RuntimeError("g++ could not build step.cpp"), NoCompiler("there is none")], ids=repr)
def test_a_compiler_that_fails_is_said_once_and_a_missing_one_never(monkeypatch, error):
    cell = make_cell(torch.float32)
    drive, state = torch.randn(4, 2, 64), random_state(make_cell(torch.float32), 2)
    expected, _ = unroll(cell, drive, state, "loop")
    monkeypatch.setattr(unrolling, "library", Mock(side_effect=error))
    monkeypatch.setattr(choice, "failed", [])
    silent = contextlib.nullcontext()  # warnings are errors here
    with silent if isinstance(error, NoCompiler) else pytest.warns(RuntimeWarning, match="could not build step"):
        found, _ = unroll(cell, drive, state)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    unroll(cell, drive, state)
    assert choice.failed == [str(error)]


@pytest.mark.compiler
def test_native_with_more_threads_and_odd_widths(threads):
    """Rows are shared between threads, and widths that no wide register divides."""
    torch.manual_seed(0)
    cell = TwistorTitansCell(20, 20)
    drive, state = torch.randn(5, 67, 80), cell.initial(67, torch.zeros(1))
    threads(4)
    found, _ = unroll(cell, drive, state, "native")
    torch.testing.assert_close(found, unroll(cell, drive, state, "loop")[0], rtol=0, atol=1e-6)


@pytest.mark.compiler
def test_native_functions_are_right_far_out():
    """sigmoid and tanh of the C++ form, over all of their range, through a cell that shows them."""
    cell = TwistorTitansCell(4, 4, use_mobius=False, scales=())
    values = torch.cat([torch.linspace(-120, 120, 2001), torch.linspace(-0.3, 0.3, 601)])
    drive = torch.zeros(1, len(values), 16)
    drive[0, :, :4] = 200.0  # input gate open: z is tanh of the candidate
    drive[0, :, 8:12], drive[0, :, 12:] = values[:, None], values[:, None]
    hidden, state = unroll(cell, drive, cell.initial(len(values), drive), "native")
    z = torch.tanh(values)
    torch.testing.assert_close(state.twistor[:, 0], z, rtol=3e-7, atol=0)  # some units of float32's rounding, 6e-8
    torch.testing.assert_close(hidden[0, :, 0], torch.sigmoid(values) * torch.tanh(z), rtol=1e-6, atol=1e-37)
    drive[0, 0] = torch.nan
    assert unroll(cell, drive, cell.initial(len(values), drive), "native")[0][0, 0].isnan().all()


def test_one_step_is_the_cell():
    cell = make_cell()
    x, state = torch.randn(3, 12, dtype=torch.float64), random_state(make_cell(), 3)
    h, after = cell(x, state)
    for backend in ("loop", "eager"):
        hidden, other = unroll(cell, cell.input(x).unsqueeze(0), state, backend)
        torch.testing.assert_close(hidden[0], h, rtol=0, atol=1e-13)
        torch.testing.assert_close(other.twistor, after.twistor, rtol=0, atol=1e-13)


def test_the_rate_stays_in_its_bounds_and_follows_the_surprise():
    cell = make_cell()
    with torch.no_grad():
        cell.surprise.fill_(3.0)
    rates = [cell.evolution_rate(size * torch.ones(1, 16, dtype=torch.float64)).item() for size in (0, 1, 2, 50)]
    assert rates == sorted(rates) and rates[0] < rates[1] and rates[0] >= 0.001 and rates[-1] <= 0.1


def test_slow_directions_are_held():
    cell = make_cell(scales=("slow",))
    _, state = cell(torch.randn(2, 12, dtype=torch.float64))
    first = state.held
    for clock in range(1, 16):
        assert state.clock == clock
        _, state = cell(torch.randn(2, 12, dtype=torch.float64), state)
        assert torch.equal(state.held, first)
    _, state = cell(torch.randn(2, 12, dtype=torch.float64), state)
    assert not torch.equal(state.held, first)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 37])
@pytest.mark.parametrize("shared", [False, True])
def test_scan_is_the_loop(steps, shared):
    gate = torch.rand(steps, 3, 1 if shared else 5, dtype=torch.float64)
    gate[steps // 2] = 0.0  # nothing may be divided by a gate
    drive, start = torch.randn(steps, 3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    h, states = start, []
    for f, b in zip(gate, drive, strict=True):
        h = f * h + b
        states.append(h)
    torch.testing.assert_close(linear_scan(gate, drive, start), torch.stack(states), rtol=0, atol=1e-12)
    inputs = [each.requires_grad_() for each in (gate, drive, start)]
    assert torch.autograd.gradcheck(linear_scan, inputs)


@pytest.mark.parametrize("shapes", [((7, 1, 24), (3, 4, 4, 6)), ((5, 7, 24), (4, 4, 6)), ((7, 3, 24), (3, 4, 4, 6))])
def test_fast_turn_is_the_readable_turn(shapes):
    z, matrix = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    one, other = turn(z, matrix), twistor.turn(z, matrix)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    weights = torch.randn_like(one)
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), (z, matrix)) for y in (one, other)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"scales": ()}, {"use_mobius": False}, {"scales": ("slow",)}], ids=str)
def test_the_scan_form_is_its_own_recurrence(options):
    """Against complex numbers, one step after the other."""
    torch.manual_seed(0)
    cell = TwistorScanCell(12, 16, **options).double()
    drive, state = cell.input(torch.randn(21, 3, 12, dtype=torch.float64)), cell.initial(3, torch.zeros(1).double())
    state = replace(state, twistor=torch.randn_like(state.twistor), clock=5)
    hidden, after = cell.scan(drive, state)
    z, held, clock = torch.stack(twistor.to_complex(state.twistor), 1), list(state.held), state.clock
    angle = torch.zeros(4) if cell.angle is None else cell.angle.detach()
    for t in range(21):
        i, o = torch.sigmoid(drive[t, :, :32]).chunk(2, -1)
        g, f = torch.tanh(drive[t, :, 32:48]), torch.sigmoid(drive[t, :, 48:]).unflatten(-1, (2, 4))
        before = twistor.from_complex(z[:, 0], z[:, 1])
        spin = torch.exp(1j * torch.stack([angle, -angle]))
        z = f * spin * z + torch.stack(twistor.to_complex(i * g), 1)
        now = read = twistor.from_complex(z[:, 0], z[:, 1])
        if cell.scales:
            for k, period in enumerate(cell.periods):
                held[k] = cell.evolution[k](now) if clock % period == 0 else held[k]
            mix = torch.softmax(cell.scale_weights, 0)
            read = now + cell.evolution_rate(g - before) * sum(m * h for m, h in zip(mix, held, strict=True))
        clock += 1
        torch.testing.assert_close(hidden[t], o * torch.tanh(read), rtol=0, atol=1e-12)
    torch.testing.assert_close(after.twistor, now, rtol=0, atol=1e-12)
    if cell.scales:
        torch.testing.assert_close(after.held, torch.stack(held), rtol=0, atol=1e-12)
    assert after.clock == clock


@pytest.mark.compiler
@pytest.mark.parametrize("options", [{}, {"scales": ()}, {"use_mobius": False}, {"scales": ("slow",)},
                                     {"use_adaptive_evolution_rate": False}], ids=str)  # fmt: skip
@pytest.mark.parametrize("rows", [1, 9])
def test_the_sweep_computes_the_scan(options, rows):
    """With all gradients; float32 over 21 steps."""
    torch.manual_seed(0)
    cell = TwistorScanCell(12, 20, **options)
    if cell.surprise is not None:
        torch.nn.init.normal_(cell.surprise)
    x = torch.randn(21, rows, 12, requires_grad=True)
    state = cell.initial(rows, torch.zeros(1))
    state = replace(state, twistor=torch.randn_like(state.twistor).requires_grad_(), clock=5)
    found = {}
    for backend in ("eager", "native"):
        hidden, after = cell.scan(cell.input(x), state, backend)
        weights = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
        loss = (hidden * weights).sum() + after.twistor.sin().sum() + after.held.square().sum() + after.hidden.sum()
        gradients = torch.autograd.grad(loss, [x, state.twistor, *cell.parameters()], allow_unused=True)
        found[backend] = [hidden, after.twistor, after.hidden, after.held, *gradients]
    agree(found["native"], found["eager"], 1e-5)


# --- causality and streaming of every layer that claims them ---------------------------------------------------------

LAYERS = {
    "titans": lambda: TwistorTitansRecurrent(16, 8, 2),
    "titans, loop": lambda: TwistorTitansRecurrent(16, 16, 2, backend="loop"),
    "titans, eager": lambda: TwistorTitansRecurrent(16, 16, 2, backend="eager"),
    "titans, scan": lambda: TwistorTitansRecurrent(16, 16, 2, form="scan"),
    "titans, parallel scan": lambda: TwistorTitansRecurrent(16, 16, 2, form="scan", backend="eager"),
    "self-modifying": lambda: TwistorSelfModifyingRecurrent(16),
    "self-modifying, scan": lambda: TwistorSelfModifyingRecurrent(16, form="scan"),
    "memory": lambda: TwistorMemorySystem(16, 3),
    "memory, plain": lambda: TwistorMemorySystem(16, 2, 0, use_phase_compression=False),
}
OTHERS = {
    "mobius": lambda: MobiusLayer(16),
    "adaptive": lambda: AdaptiveMobiusLayer(16),
    "attention": lambda: IncidenceAttention(16, 2),
    "nested": lambda: TwistorNestedLearning(16, 3),
}


@pytest.mark.parametrize("name", LAYERS | OTHERS)
def test_the_past_does_not_see_the_future(name):
    torch.manual_seed(0)
    layer = (LAYERS | OTHERS)[name]().eval()
    x, other = torch.randn(2, 21, 16), torch.randn(2, 21, 16)

    def function(x):
        y = layer(x)
        return y[0] if isinstance(y, tuple) else y

    # a scan adds a chunk's steps in another order, and a matrix product of other rows may round otherwise
    laws.causal(function, x, other, 1e-6)


@pytest.mark.parametrize("make", [lambda: TwistorTitansRecurrent(16, bidirectional=True),
                                  lambda: IncidenceAttention(16, causal=False)])  # fmt: skip
def test_what_sees_the_future_is_noticed(make):
    layer = make().eval()
    with pytest.raises(AssertionError, match="is seen before it"):
        laws.causal(lambda x: layer(x)[0] if isinstance(layer, TwistorTitansRecurrent) else layer(x),
                    torch.randn(2, 9, 16), torch.randn(2, 9, 16), 1e-6)  # fmt: skip


@pytest.mark.parametrize("pieces", [[37], [1] * 37, [16, 16, 5], [3, 1, 20, 13]], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_pieces_are_the_whole(name, pieces):
    torch.manual_seed(0)
    laws.streams(LAYERS[name]().eval(), torch.randn(2, 37, 16), pieces, 1e-5)


def test_a_state_that_is_lost_is_noticed():
    layer = LAYERS["titans"]().eval()
    with pytest.raises(AssertionError):
        laws.streams(lambda x, state: (layer(x)[0], None), torch.randn(2, 20, 16), [10, 10])


def test_both_directions():
    """Reversed input gives reversed output, when the two directions' cells are changed over; and shapes."""
    torch.manual_seed(0)
    one = TwistorTitansRecurrent(16, 16, 1, bidirectional=True)
    x = torch.randn(3, 9, 16)
    y, state = one(x)
    assert y.shape == x.shape and state is None and not one.causal
    other = TwistorTitansRecurrent(16, 16, 1, bidirectional=True)
    other.load_state_dict(one.state_dict())
    other.forwards, other.backwards = other.backwards, other.forwards
    halves = one.out.weight.unflatten(1, (4, 2, 4)).flip(2).flatten(1)
    with torch.no_grad():
        other.out.weight.copy_(halves)
    torch.testing.assert_close(other(x.flip(1))[0].flip(1), y, rtol=0, atol=1e-6)
    two = TwistorTitansRecurrent(16, 8, 3, bidirectional=True, form="scan")
    two(x)[0].sum().backward()
    assert all(p.grad is not None for p in two.parameters())


def test_each_backend_trains_alike_under_autocast():
    """bf16 autocast reaches the products around the recurrence, which itself stays in float32."""
    outs = {}
    for backend in BACKENDS:
        torch.manual_seed(0)
        layer = TwistorTitansRecurrent(16, backend=backend)
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = layer(torch.linspace(-1, 1, 2 * 6 * 16).view(2, 6, 16))
        y.float().sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters())
        outs[backend] = y.detach().float()
    for y in outs.values():
        torch.testing.assert_close(y, outs["eager"], rtol=0, atol=0.02)  # bf16 has 8 bits


# --- odd surroundings ------------------------------------------------------------------------------------------------


def gradients(backend, x, autocast=False, width=32):
    torch.manual_seed(0)
    layers = TwistorTitansRecurrent(width, num_layers=1, backend=backend)
    y, _ = layers(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return torch.autograd.grad(y.square().sum(), list(layers.parameters()), allow_unused=True)


@pytest.mark.parametrize("backend", ["eager", "native"])
@pytest.mark.parametrize("by_torch", [True, False])
def test_a_backward_pass_inside_autocast(backend, by_torch):
    x = torch.randn(3, 40, 32)
    expected = gradients("loop", x)
    with products.by_torch() if by_torch else contextlib.nullcontext():
        found = gradients(backend, x, autocast=True)
    # what torch itself multiplies in there, it multiplies in bfloat16, which has three digits
    agree([g for g in found if g is not None], [g for g in expected if g is not None], 2e-2)


def test_the_loop_can_be_differentiated_twice():
    torch.manual_seed(0)
    layers = TwistorTitansRecurrent(64, num_layers=1, backend="loop")
    x = torch.randn(16, 9, 64, requires_grad=True)
    (once,) = torch.autograd.grad(layers(x)[0].square().sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad(once.square().sum(), x)
    assert twice.isfinite().all() and twice.abs().max() > 0


@pytest.mark.compiler
def test_states_and_drives_that_lie_anyhow():
    torch.manual_seed(0)
    cell = TwistorTitansCell(8, 8)
    held = 0.1 * torch.randn(3, 8, 3).mT
    state = CellState(torch.randn(8, 3).t(), torch.randn(8, 3).t(), held, 3)
    drive = torch.randn(1, 3, 32).expand(5, 3, 32)[:1]
    expected, _ = unroll(cell, drive, state, "loop")
    found, _ = unroll(cell, drive, state, "native")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # float32, one step
    torch.set_default_dtype(torch.float64)
    try:
        rows = torch.randn(6, 3, 32, dtype=torch.float32)
        grads = [
            torch.autograd.grad(unroll(cell, rows, state, form)[0].square().sum(), cell.scale_weights)
            for form in ("native", "loop")
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
