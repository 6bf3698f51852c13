"""Slots that differ, phase compression, levels that learn at their own rates and times, the constraint."""

import copy
import pickle
from unittest.mock import Mock

import pytest
import torch
from torch.nn import functional as F

from mobius_lib.twistor import (
    OmegaNestedOptimizer,
    PhaseCompression,
    PiNestedOptimizer,
    TwistorMemorySystem,
    TwistorNestedLearning,
    laws,
)
from mobius_lib.twistor import math as twistor
from mobius_lib.twistor import nested as nesting
from mobius_lib.twistor.fast import choice
from mobius_lib.twistor.fast import nested as nested_native
from mobius_lib.twistor.fast.holding import hold


def readable_memory(memory, x, slots):
    """The docstring's two lines, step by step."""
    ys, all_slots = [], []
    for t in range(x.shape[1]):
        share, attention = (torch.softmax(part, -1) for part in memory.select(x[:, t]).chunk(2, -1))
        weight = (torch.sigmoid(memory.pace) * share).unsqueeze(-1)
        value = torch.stack([twistor.turn(memory.value(x[:, t]), c.matrix()) for c in memory.cycles], 1)
        slots = (1 - weight) * slots + weight * value
        read = (
            slots if memory.compression is None else memory.compression.decompress(*memory.compression.compress(slots))
        )
        ys.append(x[:, t] + memory.out((attention.unsqueeze(-1) * read).sum(1)))
        all_slots.append(slots)
    return torch.stack(ys, 1), torch.stack(all_slots, 1)


@pytest.mark.parametrize("compress", [True, False])
def test_memory_is_its_formula(compress):
    torch.manual_seed(0)
    memory = TwistorMemorySystem(16, 3, 2, use_phase_compression=compress).double()
    x, slots = torch.randn(2, 13, 16).double(), torch.randn(2, 3, 16).double()
    y, last = memory(x, slots)
    expected, trajectory = readable_memory(memory, x, slots)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(memory.trajectory(x, slots), trajectory, rtol=0, atol=1e-9)
    torch.testing.assert_close(last, trajectory[:, -1], rtol=0, atol=1e-9)


@pytest.mark.compiler
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("cycles", [2, 0])
def test_the_sweep_computes_the_scan(compress, cycles):
    """With all gradients, in float32 over 13 steps."""
    torch.manual_seed(0)
    memory = TwistorMemorySystem(20, 3, cycles, use_phase_compression=compress)
    if compress:
        torch.nn.init.normal_(memory.compression.log_profile, std=0.3)
    x, slots = torch.randn(2, 13, 20, requires_grad=True), torch.randn(2, 3, 20, requires_grad=True)
    found = {}
    for memory.backend in ("eager", "native"):
        y, last = memory(x, slots)
        loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() + last.sin().sum()
        gradients = torch.autograd.grad(loss, [x, slots, *memory.parameters()], allow_unused=True)
        found[memory.backend] = [y, last, *gradients]
    for one, other in zip(found["native"], found["eager"], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert (one - other).abs().max() <= 1e-5 * (1 + other.abs().max())


def similarity(slots):
    """The largest cosine of two slots of a row."""
    unit = F.normalize(slots, dim=-1)
    return ((unit @ unit.mT) - 2 * torch.eye(slots.shape[1])).amax().item()


def test_slots_differ_before_and_after_training():
    torch.manual_seed(0)
    memory = TwistorMemorySystem(16, 3)
    optimizer = torch.optim.Adam(memory.parameters(), lr=1e-2)
    losses = []
    for step in range(150):
        x = torch.randn(8, 24, 16, generator=torch.Generator().manual_seed(step))
        y, slots = memory(x)
        loss = (y - x - x.roll(3, 1)).square()[:, 3:].mean()  # recall what came three steps before
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-20:]) < sum(losses[:20])  # it did train
    assert similarity(slots.detach()) < 0.9
    with torch.no_grad():  # slots that are alike are noticed: the same pace, cycles, start and share for all
        memory.pace.fill_(-2.0)
        memory.select.weight.zero_(), memory.select.bias.zero_()
        memory.start.copy_(memory.start[:1].expand(3, -1))
        for cycles in memory.cycles[1:]:
            cycles.load_state_dict(memory.cycles[0].state_dict())
        assert similarity(memory(x)[1]) > 0.999


def test_rows_of_a_batch_do_not_meet():
    memory = TwistorMemorySystem(16, 3)
    x = torch.randn(3, 9, 16)
    torch.testing.assert_close(memory(x)[0][1:2], memory(x[1:2])[0], rtol=0, atol=1e-6)


def test_phase_compression():
    torch.manual_seed(0)
    phases = PhaseCompression(64).double()
    x = torch.randn(5, 64).double()
    phase, size = phases.compress(x)
    assert (phase.shape, size.shape) == ((5, 2, 16), (5, 2)) and phases.ratio == pytest.approx((32 + 2) / 64)
    back = phases.decompress(phase, size)
    torch.testing.assert_close(phases(x), back, rtol=0, atol=1e-9)
    torch.testing.assert_close(phases(back), back, rtol=0, atol=1e-9)  # a second time loses nothing
    # lengths of a normal pair are Rayleigh: the best one size leaves 1 - (pi/4) of the square
    assert phases.error(torch.randn(400, 64).double()).item() == pytest.approx(1 - torch.pi / 4, abs=0.02)
    assert phases.error(back).item() == pytest.approx(0, abs=1e-12)
    (omega, pi), (back_omega, back_pi) = twistor.to_complex(x), twistor.to_complex(back)
    torch.testing.assert_close(back_omega.angle(), omega.angle(), rtol=0, atol=1e-9)
    torch.testing.assert_close(back_pi.angle(), pi.angle(), rtol=0, atol=1e-9)


def test_phase_compression_near_zero():
    """What has no phase has a length after `decompress` alone; lengths in between go from one to the other smoothly."""
    phases = PhaseCompression(16).double()
    x = torch.ones(1, 16).double()
    length = torch.tensor([0.0, 1e-7, 1e-6, 1e-4], dtype=torch.float64)
    x[0, :4], x[0, 4:8] = length, 0.0  # real and imaginary parts of omega
    back, whole = phases(x), phases.decompress(*phases.compress(x))
    kept = length / (length.square() + 1e-12).sqrt()
    torch.testing.assert_close(back[0, :4], kept * whole[0, :4], rtol=1e-9, atol=0)
    assert back[0, 0] == 0 < whole[0, 0] and whole[0, :4].unique().numel() == 1
    torch.testing.assert_close(back[0, 8:], whole[0, 8:], rtol=1e-9, atol=0)
    packed = phases.unpack(phases.pack(x))
    torch.testing.assert_close(packed, whole, rtol=0, atol=torch.pi / 2**8 * whole.abs().max().item())
    x.requires_grad_()
    phases(x).square().sum().backward()
    assert x.grad.isfinite().all()


def test_the_error_of_compression_is_reported_and_trains_down():
    torch.manual_seed(0)
    memory = TwistorMemorySystem(16, 2)
    slots = torch.randn(64, 2, 16) * torch.linspace(0.1, 2, 4).repeat(4)
    before = memory.reconstruction_error(slots)
    optimizer = torch.optim.Adam([memory.compression.log_profile], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        memory.compression.error(slots).backward()
        optimizer.step()
    assert 0 < memory.reconstruction_error(slots) < 0.8 * before
    assert TwistorMemorySystem(16, 2, use_phase_compression=False).reconstruction_error(slots) == 0


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_phases_are_kept_in_fewer_bytes(bits, dtype):
    """Bytes counted on paper; what comes back is off by half a part of a turn at most, at the ends of the turn too."""
    torch.manual_seed(0)
    phases = PhaseCompression(64).to(dtype)
    torch.nn.init.normal_(phases.log_profile, std=0.3)
    x = torch.randn(5, 64, dtype=dtype)
    x[0] = torch.tensor([-1.0, 0.0, -1.0, -0.0]).repeat_interleave(16)  # phases of pi and -pi
    packed = phases.pack(x, bits)
    assert packed.phase.dtype == {8: torch.int8, 16: torch.int16}[bits] and packed.shape == x.shape
    assert packed.nbytes == 5 * (2 * 16 * bits // 8 + 2 * dtype.itemsize) < x.nbytes / (3 if bits == 16 else 6)
    (omega, pi), (back_omega, back_pi) = (twistor.to_complex(z) for z in (phases(x), phases.unpack(packed)))
    for one, other in ((omega, back_omega), (pi, back_pi)):
        assert ((one - other).abs() <= one.abs() * torch.pi / 2**bits + laws.rounding(dtype)).all()
    # kept again it is the same, so that a sequence in many pieces loses no more by being kept more often
    again = phases.pack(phases.unpack(packed), bits)
    assert torch.equal(again.phase[2:], packed.phase[2:])
    torch.testing.assert_close(again.size, packed.size, rtol=1e-5, atol=0)
    # the error that is reported is that of what comes back: of the phases' sizes, and a little of their rounding
    lost = (x - phases.unpack(packed)).square().sum() / x.square().sum()
    assert phases.error(x, bits) == lost and 0 < lost - phases.error(x) + 1e-6 < 1e-3
    assert phases.unpack(phases.pack(torch.full((1, 64), torch.nan, dtype=dtype), bits)).isnan().all()


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 16])
def test_slots_that_are_kept_packed_between_pieces(bits):
    """Within a piece nothing changes; the next begins with what comes back of them, exactly that."""
    torch.manual_seed(0)
    plain = TwistorMemorySystem(32, 3)
    torch.manual_seed(0)
    memory = TwistorMemorySystem(32, 3, slot_bits=bits)
    x = torch.randn(2, 20, 32)
    whole, last = plain(x)
    y, kept = memory(x[:, :12])
    assert torch.equal(y, plain(x[:, :12])[0])
    assert last.nbytes == 2 * 3 * 4 * 32 and kept.nbytes == 2 * 3 * (16 * bits // 8 + 8)
    z, end = memory(x[:, 12:], kept)
    assert torch.equal(z, plain(x[:, 12:], memory.compression.unpack(kept))[0]) and end.shape == last.shape
    # slots of one size in all components would lose only their rounding; these lose about 1 - pi / 4 of their square
    assert 0 < memory.reconstruction_error(last) < 0.4
    assert 0 < (z - whole[:, 12:]).norm() < 0.1 * whole[:, 12:].norm()
    for wrong in (4, 8.0, True, "8"):
        with pytest.raises(ValueError, match="bits of a kept phase"):
            TwistorMemorySystem(32, 3, slot_bits=wrong)
    with pytest.raises(ValueError, match="needs use_phase_compression"):
        TwistorMemorySystem(32, 3, use_phase_compression=False, slot_bits=8)
    with pytest.raises(ValueError, match="no phase compression to unpack"):
        TwistorMemorySystem(32, 3, use_phase_compression=False)(x, kept)
    with pytest.raises(ValueError, match="slots must have the shape"):
        memory(x[:1], kept)


@pytest.mark.parametrize("modulus", [0.0, 0.4, 9.0])
def test_fast_hold_is_the_readable_hold(modulus):
    z = torch.randn(7, 12, dtype=torch.float64, requires_grad=True)
    parts = torch.stack(z.chunk(2, -1))
    held, size = hold(parts, modulus)
    expected = twistor.hold_pairing(z, modulus)
    torch.testing.assert_close(torch.cat(held.unbind(0), -1), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(size, torch.hypot(*twistor.pairing(z)), rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    (one,) = torch.autograd.grad((torch.cat(held.unbind(0), -1) * weights).sum(), z, retain_graph=True)
    (other,) = torch.autograd.grad((expected * weights).sum(), z)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for row in (torch.zeros(1, 12), torch.eye(12)[:1]):  # no length, and no pairing
        row = row.requires_grad_()
        held, size = hold(torch.stack(row.chunk(2, -1)), modulus)
        torch.testing.assert_close(torch.cat(held.unbind(0), -1), twistor.hold_pairing(row, modulus))
        (held.sum() + size.sum()).backward()
        assert row.grad.isfinite().all() and size == 0


# --- nested levels ---------------------------------------------------------------------------------------------------


def nested(**options) -> TwistorNestedLearning:
    torch.manual_seed(0)
    return TwistorNestedLearning(16, **({"num_nested_levels": 4} | options))


def train_step(levels, optimizers, x):
    y, off = levels(x)
    ((y - x.tanh()).square().mean() + off).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def test_each_level_is_updated_at_its_times():
    levels = nested(period=3)
    optimizers = [OmegaNestedOptimizer(levels, 1e-3), PiNestedOptimizer(levels, 1e-3)]
    changes = {(part, level): [] for part in ("omega", "pi") for level in range(4)}
    for step in range(1, 28):
        before = copy.deepcopy(levels.state_dict())
        train_step(levels, optimizers, torch.randn(4, 5, 16))
        for (part, level), when in changes.items():
            name = f"{part}_nets.{level}.0.weight"
            if not torch.equal(levels.state_dict()[name], before[name]):
                when.append(step)
    for (_, level), when in changes.items():
        assert when == list(range(3**level, 28, 3**level))
    assert int(levels.clock) == 27


def test_what_is_held_back_is_the_mean():
    """Four passes of a level of period 4 give the mean of the four gradients that it would have had."""
    levels, plain = nested(num_nested_levels=3), nested(num_nested_levels=3, period=1)
    xs = [torch.randn(4, 5, 16) for _ in range(4)]
    gradients = []
    for x in xs:
        levels(x)[0].square().mean().backward()
        plain(x)[0].square().mean().backward()
        gradients.append(plain.pi_nets[2][2].weight.grad.clone())
        plain.zero_grad()
        slow = levels.pi_nets[2][2].weight.grad
        assert (slow is None) == (len(gradients) < 4)
        levels.stepped()
        levels.zero_grad()
    torch.testing.assert_close(slow, torch.stack(gradients).mean(0), rtol=0, atol=1e-7)
    assert not levels.held_pi_2_2_weight.any()


def updates(levels, passes, steps=64):
    """How often each level's omega network changed in so many steps of AdamW, each after `passes` of the module."""
    optimizer = torch.optim.AdamW(levels.parameters(), 1e-3)
    counts = [0] * levels.num_nested_levels
    for _ in range(steps):
        before = [net[0].weight.clone() for net in levels.omega_nets]
        passes(lambda: levels(torch.randn(2, 3, 16))[0].square().mean())
        optimizer.step()
        optimizer.zero_grad()
        for level, net in enumerate(levels.omega_nets):
            counts[level] += not torch.equal(net[0].weight, before[level])
    assert int(levels.clock) == steps
    return counts


WAYS = {
    "one": lambda loss: loss().backward(),
    "two in one loss": lambda loss: (loss() + loss()).backward(),
    "two passes": lambda loss: [loss().backward() for _ in range(2)],
    "the second before the first is backward": lambda loss: [each.backward() for each in [loss(), loss()]],
    "one that is thrown away": lambda loss: (loss(), loss().backward()),
}


@pytest.mark.parametrize("way", WAYS)
def test_clocks_count_steps_however_many_passes_a_step_has(way):
    assert updates(nested(), WAYS[way]) == [64, 32, 16, 8]


def test_clocks_with_a_sequence_in_pieces(model):
    """The state is carried on, with its gradient, and all pieces are one loss: one step."""
    m, tokens = model(), torch.arange(24).view(2, 12) % 11
    optimizer = torch.optim.AdamW(m.parameters(), 1e-3)
    for _ in range(8):
        state, total = None, 0.0
        for piece in tokens.split(4, dim=1):
            loss, _, state, _ = m.loss(piece, piece, state)
            total = total + loss
        total.backward()
        slow = m.nested.omega_nets[2][0].weight.grad
        assert (slow is None) == bool((int(m.nested.clock) + 1) % 4)
        optimizer.step()
        optimizer.zero_grad()
    assert int(m.nested.clock) == 8


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts):
    """Also in the weights of the levels, which rise from step to step, and in the means that are shown."""
    whole, split = nested(period=2), nested(period=2)
    for levels, count in ((whole, 1), (split, parts)):
        levels.plan(8)
        optimizer = torch.optim.SGD(levels.parameters(), 0.1)
        for step in range(8):
            x = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
            for part in x.chunk(count):
                (levels(part)[0].sin().mean() / count).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=bool(step % 2))
    for one, other in zip(split.parameters(), whole.parameters(), strict=True):
        # sums in another order, and 8 steps of them
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


class Scaler:
    def __init__(self) -> None:
        self.scale = 65536.0

    def get_scale(self) -> float:
        return self.scale


@pytest.mark.parametrize("passes", [1, 2])
def test_held_gradients_do_not_depend_on_a_scale_that_falls(passes):
    plain, scaled, scaler = nested(), nested(), Scaler()
    scaled.scaled_by(scaler)
    for step in range(8):
        x = torch.randn(4, 16, generator=torch.Generator().manual_seed(step))
        for _ in range(passes):
            plain(x)[0].sin().mean().backward()
            (scaled(x)[0].sin().mean() * scaler.scale).backward()
        for one, other in zip(scaled.parameters(), plain.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:  # a scale is a power of 2, so that nothing is rounded but a second pass's share
                torch.testing.assert_close(one.grad / scaler.scale, other.grad, rtol=1e-6 * (passes - 1), atol=1e-9)
        for levels in (plain, scaled):
            levels.stepped()
            levels.zero_grad()
        if step in (1, 2, 4):
            scaler.scale /= 2


def test_a_gradient_that_is_no_number_is_shown_and_not_held():
    levels, other = nested(), nested()
    for each in (levels, other):
        each(torch.ones(2, 16))[0].sin().mean().backward()
        each.stepped()
        each.zero_grad()
    held = levels.held_omega_1_0_weight.clone()
    (levels(torch.ones(2, 16))[0].sum() * torch.inf).backward()  # level 1 is due
    assert not levels.omega_nets[1][0].weight.grad.isfinite().all()
    assert torch.equal(levels.held_omega_1_0_weight, held) and levels.held_omega_2_0_weight.isfinite().all()
    levels.zero_grad()  # a scaler leaves such a step out: it is not counted, and nothing is lost
    for each in (levels, other):
        each(torch.ones(2, 16))[0].sin().mean().backward()
    torch.testing.assert_close(levels.omega_nets[1][0].weight.grad, other.omega_nets[1][0].weight.grad, rtol=0, atol=0)
    assert int(levels.clock) == int(other.clock) == 1


def test_two_optimizers_are_one_step_and_anothers_is_none():
    levels = nested()
    both = [OmegaNestedOptimizer(levels, 1e-3), PiNestedOptimizer(levels, 1e-3)]
    stranger = torch.nn.Linear(2, 2)
    others = torch.optim.SGD(stranger.parameters(), 0.1)
    for step in range(1, 5):
        levels(torch.randn(2, 16))[0].sum().backward()
        others.step()
        assert int(levels.clock) == step - 1
        for optimizer in both:
            optimizer.step()
        assert int(levels.clock) == step


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), "assigned"])
def test_copies_and_replaced_parameters_have_their_times_too(copied):
    levels = nested()
    if copied == "assigned":
        levels.load_state_dict({n: v.clone() for n, v in levels.state_dict().items()}, assign=True)
    else:
        levels = copied(levels)
    assert updates(levels, WAYS["one"], 8) == [8, 4, 2, 1]


def test_gradients_that_are_asked_for_are_whole_and_count_nothing():
    levels, plain = nested(), nested(period=1)
    x = torch.randn(4, 16)
    for one, other in zip(
        *(torch.autograd.grad(each(x)[0].sin().sum(), list(each.parameters())) for each in (levels, plain)),
        strict=True,
    ):
        assert torch.equal(one, other)
    assert int(levels.clock) == 0 and not levels.held_omega_1_0_weight.any()


def test_held_gradients_are_part_of_a_checkpoint():
    first, x = nested(), [torch.randn(4, 5, 16) for _ in range(8)]
    optimizers = [OmegaNestedOptimizer(first, 1e-3), PiNestedOptimizer(first, 1e-3)]
    for each in x[:3]:
        train_step(first, optimizers, each)
    second = nested()
    second.load_state_dict(first.state_dict())
    again = [OmegaNestedOptimizer(second, 1e-3), PiNestedOptimizer(second, 1e-3)]
    for one, other in zip(again, optimizers, strict=True):
        one.load_state_dict(copy.deepcopy(other.state_dict()))
    for each in x[3:]:
        train_step(first, optimizers, each)
        train_step(second, again, each)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_rates_fall_by_the_factor():
    levels = nested(level_factor=0.8)
    assert OmegaNestedOptimizer(levels, 0.5).rates() == pytest.approx([0.5, 0.4, 0.32, 0.256])
    assert PiNestedOptimizer(levels, 1.0).rates() == pytest.approx([1, 0.8, 0.64, 0.512])
    groups = {group["name"]: group for group in levels.parameter_groups(omega_rate=1.0, pi_rate=2.0)}
    assert groups["omega 2"]["rate"] == pytest.approx(0.64) and groups["pi 1"]["rate"] == pytest.approx(1.6)
    assert sum(len(group["params"]) for group in groups.values()) == len(list(levels.parameters()))


def test_weights_rise_in_the_course_of_training():
    levels = nested()
    assert torch.equal(levels.level_weights(), torch.ones(2, 4))  # no plan: all there at once
    levels.plan(10)
    seen = []
    for _ in range(12):
        seen.append(levels.level_weights()[0, 0].item())
        levels(torch.randn(2, 3, 16))[0].sum().backward()
        levels.stepped()
    assert seen[0] == pytest.approx(0.1) and seen[5] == pytest.approx(0.55) and seen[-1] == pytest.approx(1.0)
    x = torch.randn(2, 3, 16)
    early, late = nested().eval(), nested().eval()
    early.plan(10)
    assert (early(x)[0] - late(x)[0]).abs().max() > 1e-3  # and they act
    assert levels.weights.grad.abs().min() > 0


@pytest.mark.parametrize("constant", [0.0, 0.5, 3.0])
def test_the_constraint_is_met(constant):
    """Exactly, in every row, before and after training; and training lowers what had to be corrected."""
    levels = nested(constant=constant)
    optimizers = [torch.optim.Adam(levels.parameters(), lr=3e-3)]
    offs = []
    for step in range(60):
        x = torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(step))
        y, off = levels(x)
        modulus = torch.hypot(*twistor.pairing(y.detach())) / 4
        # the sum of 4 products and one root, in float32
        torch.testing.assert_close(modulus, torch.full_like(modulus, constant), rtol=0, atol=1e-5)
        train_step(levels, optimizers, x)
        offs.append(off.item())
    assert sum(offs[-10:]) < sum(offs[:10])
    free, off = nested(constant=None)(x)
    assert off == 0 and (torch.hypot(*twistor.pairing(free)) / 4).std() > 0.05


def run_nested(levels, x, weights):
    """Result, constraint, and the gradients of input and parameters."""
    x = x.detach().requires_grad_()
    y, off = levels(x)
    parameters = list(levels.parameters())
    return [y, off, *torch.autograd.grad((y * weights).sum() + 3 * off, [x, *parameters])]


@pytest.mark.compiler
@pytest.mark.parametrize(("dim", "shape"), [(4, (1,)), (16, (3, 7)), (12, (5, 2, 9)), (256, (2, 64))])
@pytest.mark.parametrize("constant", [0.0, 0.5, 3.0])
def test_the_sweep_over_a_level_is_the_readable_level(dim, shape, constant):
    torch.manual_seed(0)
    levels = TwistorNestedLearning(dim, 3, period=1, constant=constant)
    with torch.no_grad():
        for parameter in levels.parameters():  # also of what begins at 0
            parameter += 0.2 * torch.randn_like(parameter)
    x, weights = torch.randn(*shape, dim), torch.randn(*shape, dim)
    assert choice.works(nested_native.library, x)
    native = run_nested(copy.deepcopy(levels), x, weights)
    levels.backend = "eager"
    eager = run_nested(copy.deepcopy(levels), x, weights)
    exact = run_nested(copy.deepcopy(levels).double(), x.double(), weights.double())
    rounding = 16 * torch.finfo(torch.float32).eps * max(each.abs().max().item() for each in exact)
    for one, other, true in zip(native, eager, exact, strict=True):
        # float32 in another order: as near to float64 as the readable form is, or to a few roundings of what was added
        # up, for which the largest number of all stands (one row of one pair may cancel to nothing)
        assert (one - true).abs().max() <= 4 * (other - true).abs().max() + rounding


@pytest.mark.compiler
def test_the_sweep_over_a_level_where_there_is_no_phase_and_no_length():
    """Rows of 0, and rows whose omega . pi is 0: what is moved and passed back is that of the readable form."""
    rows = torch.stack([torch.zeros(12), torch.eye(12)[0], torch.arange(12.0)]).requires_grad_()
    square, none = torch.zeros(6, 6), torch.zeros(6)
    networks = (square, none, square, none) * 2
    parts = torch.stack(rows.chunk(2, -1))
    held, size = nested_native.level(parts, torch.ones(2), 3.0, *networks)
    expected, expected_size = hold(parts, 3.0)
    torch.testing.assert_close(held, expected)
    torch.testing.assert_close(size, expected_size)
    weights = torch.randn(2, 3, 6)
    (one,) = torch.autograd.grad((held * weights).sum() + size.sum(), rows, retain_graph=True)
    (other,) = torch.autograd.grad((expected * weights).sum() + expected_size.sum(), rows)
    torch.testing.assert_close(one, other)


@pytest.mark.compiler
def test_levels_do_not_depend_on_the_threads(threads):
    networks = [part.detach() for level in (0, 1) for part in nested(period=1).omega_nets[level].parameters()]
    found = []
    for count in (1, 2, 3):
        threads(count)
        z = torch.randn(2, 200, 8, generator=torch.Generator().manual_seed(0))
        found.append(nested_native.level(z, torch.ones(2), 1.0, *networks))
    for held, size in found[1:]:
        torch.testing.assert_close(held, found[0][0])
        torch.testing.assert_close(size, found[0][1])


@pytest.mark.parametrize("how", ["constant", "autocast", "float64", "no compiler"])
def test_levels_without_the_sweep(how, monkeypatch):
    """Whoever cannot take it is served by the readable form."""
    monkeypatch.setattr(nesting, "native_level", None)  # not to be called
    if how == "no compiler":
        monkeypatch.setattr(nesting, "library", Mock(side_effect=RuntimeError("there is no C++ compiler")))
        monkeypatch.setattr(choice, "failed", ["told before"])
    levels, x = nested(constant=None if how == "constant" else 1.0), torch.randn(3, 16)
    if how == "float64":
        levels, x = levels.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        y, off = levels(x)
    (y.sum() + off).backward()
    assert y.isfinite().all() and levels.origin.grad.isfinite().all()


def test_evaluation_neither_counts_nor_holds():
    levels = nested()
    state = copy.deepcopy(levels.state_dict())
    with torch.no_grad():
        levels(torch.randn(2, 3, 16))
    levels.eval()(torch.randn(2, 3, 16, requires_grad=True))[0].sum().backward()
    assert all(torch.equal(value, levels.state_dict()[name]) for name, value in state.items())


@pytest.mark.parametrize("module", [TwistorMemorySystem, TwistorNestedLearning])
def test_an_unknown_backend_is_named(module):
    with pytest.raises(ValueError, match="no backend 'natve'; the backends are loop, eager, native, auto"):
        module(16, 2, backend="natve")


def test_levels_on_meta_tensors_and_with_a_backward_pass_inside_autocast():
    with torch.device("meta"):
        levels = TwistorNestedLearning(16, 2).eval()
        assert levels(torch.randn(3, 16))[0].shape == (3, 16)
    levels, x = nested(period=1), torch.randn(64, 16)
    found = []
    for inside in (False, True):
        y, off = levels(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            found.append(torch.autograd.grad(y.square().sum() + off, list(levels.parameters())))
    for one, other in zip(*found, strict=True):
        # the levels keep float32; what torch multiplies around them in there has the three digits of bfloat16
        torch.testing.assert_close(one, other, rtol=0, atol=2e-2 * other.abs().max().clamp_min(1).item())
