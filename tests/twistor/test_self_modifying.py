"""A memory that changes its own weights: its rule by hand, when it changes and when it does not, and in the model."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobius_lib.twistor import ContinuumMemory, FastState, SelfModifyingMemory, TwistorHopeArchitecture, laws

DTYPES = [torch.float32, torch.float64]


def memory(dtype: torch.dtype = torch.float64, seed: int = 0, **settings) -> SelfModifyingMemory:
    torch.manual_seed(seed)
    return SelfModifyingMemory(16, **{"heads": 2} | settings).to(dtype)


def by_hand(m: SelfModifyingMemory, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence (time, 16), step by step and head by head, in loops of single outer products."""
    reads = torch.zeros_like(x)
    last = []
    for head in range(m.heads):
        start, d = m.start[head], m.each
        w, waiting = start, []
        for t, step in enumerate(m.input(x)):
            u = step[head * d : (head + 1) * d]
            u = u / (u.square().sum() + 1e-6).sqrt()
            made = w @ u
            reads[t, head * d : (head + 1) * d] = made[:d]
            k, v = (part / (part.square().sum() + 1e-6).sqrt() for part in (made[d : 2 * d], made[2 * d : 3 * d]))
            rate = torch.sigmoid(made[-2] + m.bias[0, head])
            keep = torch.sigmoid(made[-1] + m.bias[1, head])
            waiting.append(start + keep * (w - start) + rate * torch.outer(torch.tanh(w @ v) - w @ k, k))
            if (t + 1) % m.period == 0:
                w, waiting = torch.stack(waiting).mean(0), []
        last.append(w - start)
    return x + m.out(reads), torch.stack(last)


@torch.no_grad()
@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_by_hand(period, seed):
    m, x = memory(seed=seed, period=period), torch.randn(2, 10, 16).double()
    y, state = m(x)
    for row in range(2):
        expected, learned = by_hand(m, x[row])
        torch.testing.assert_close(y[row], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(state.learned[row], learned, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("levels", "period"), [(1, 4), (3, 1), (3, 2), (2, 5)])
def test_causal_streaming_and_each_row_alone(levels, period, dtype):
    torch.manual_seed(0)
    m, x, other = ContinuumMemory(16, levels, period).to(dtype), *torch.randn(2, 3, 23, 16).to(dtype)
    tolerance = laws.rounding(dtype, units=4096)  # sums over 16 components, three levels on each other, 23 steps
    laws.causal(lambda x: m(x)[0], x, other, tolerance)
    laws.streams(m, x, [1, 9, 2, 11], tolerance)
    laws.alone(m, x, other, tolerance)


@torch.no_grad()
def test_reading_changes_the_weights_and_nothing_else_does():
    """Live, always in the same way; frozen not at all; the module's own parameters never."""
    m, x = memory(), torch.randn(2, 12, 16).double()
    before = {name: value.clone() for name, value in m.state_dict().items()}
    y, state = m(x)
    again, twin = m(x)
    assert torch.equal(y, again) and torch.equal(state.learned, twin.learned)
    assert (state.learned.flatten(1).norm(dim=1) > 0.1 * m.start.norm()).all()
    frozen, still = m(x, live=False)
    assert not still.learned.any() and not still.asked.any() and still.clock == 12
    assert torch.equal(frozen[:, 0], y[:, 0]) and (frozen[:, -1] - y[:, -1]).abs().max() > 0.01
    held, kept = m(x, state, live=False)
    assert torch.equal(kept.learned, state.learned) and not torch.equal(held, frozen)
    for name, value in m.state_dict().items():
        assert torch.equal(value, before[name]), name


@torch.no_grad()
def test_the_rule_is_made_by_the_weights_that_it_changes():
    """Without what the reading has done to the rows of rate, decay, key and value, the next change is another one."""
    m, x = memory(), torch.randn(1, 9, 16).double()
    _, state = m(x[:, :8])
    d = m.each
    blank = state.learned.clone()
    blank[:, :, d:] = 0
    _, own = m(x[:, 8:], state)
    _, other = m(x[:, 8:], FastState(blank, state.asked, state.clock))
    # the rows that are read hold the same before; they are changed by another rule
    assert torch.equal(state.learned[:, :, :d], blank[:, :, :d])
    assert (own.learned - other.learned)[:, :, :d].abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("period", [1, 2, 4])
def test_levels_change_when_their_time_has_come(period):
    """Level l after every period^l tokens, and so floor(T / period^l) times."""
    torch.manual_seed(0)
    m, x, state = ContinuumMemory(16, 3, period), torch.randn(2, 37, 16), None
    changes = [0, 0, 0]
    for step in x.split(1, dim=1):
        before = state
        _, state = m(step, state)
        for level in range(3):
            was = 0.0 if before is None else before[level].learned
            changes[level] += bool((state[level].learned != was).any())
    assert changes == [37 // period**level for level in range(3)]


@torch.no_grad()
def test_weights_stay_finite_whatever_is_read():
    """1,500 steps, of huge, tiny and equal input, at the highest rate and with nothing forgotten."""
    for scale in (0.0, 1e-20, 1e15):
        m = memory(torch.float32)
        m.bias[0], m.bias[1] = 100.0, 100.0
        x = scale * torch.randn(2, 1500, 16)
        x[1] = x[1, :1]
        y, state = m(x)
        assert y.isfinite().all()
        # a step adds at most |tanh(W v) - start k| k, and what is there does not grow
        step = 26**0.5 + m.start.flatten(1).norm(dim=1)
        assert (state.learned.flatten(2).norm(dim=-1) <= 1500 * step).all()


def test_counts():
    """On paper: start, two biases a head, two affine layers."""
    for dim, heads, each in ((16, 1, 16), (96, 6, 16), (20, 2, 10), (256, 16, 16)):
        m = SelfModifyingMemory(dim)
        assert (m.heads, m.each) == (heads, each)
        count = heads * (3 * each + 2) * each + 2 * heads + 2 * (dim * dim + dim)
        assert sum(p.numel() for p in m.parameters()) == count


def test_it_learns_to_remember_what_it_reads():
    """Four pairs of a key and a value, drawn anew for each sequence, and then the keys: live the values come back,
    and with the weights as they were before the sequence they cannot."""
    torch.manual_seed(0)
    pairs, kinds, dim = 4, 8, 32
    m, head = ContinuumMemory(dim), nn.Linear(dim, kinds)
    keys, values = (nn.Parameter(torch.randn(kinds, dim)) for _ in range(2))
    optimizer = torch.optim.Adam([*m.parameters(), *head.parameters(), keys, values], 1e-2)

    def task(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        k = torch.rand(rows, kinds).argsort(1)[:, :pairs]
        v = torch.randint(kinds, (rows, pairs))
        order = torch.rand(rows, pairs).argsort(1)
        x = torch.cat([keys[k] + values[v], keys[k.gather(1, order)]], dim=1)
        return head(m(x)[0][:, pairs:]).flatten(0, 1), v.gather(1, order).flatten()

    for _ in range(130):
        loss = F.cross_entropy(*task(32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = {}
    for m.live in (True, False):
        logits, answers = task(300)
        right[m.live] = (logits.argmax(-1) == answers).float().mean().item()
    assert right[True] > 0.9 and right[False] < 0.3  # by chance 1/8


# --- in the model


def test_off_it_is_the_model_without_it(model):
    """And on, all else starts with the same numbers."""
    plain, more = model().state_dict(), model(continuum_levels=2).state_dict()
    assert not any("continuum" in name for name in plain)
    added = {name for name in more if name.startswith("continuum.")}
    assert set(more) - added == set(plain) and len(added) == 2 * 6
    for name, value in plain.items():
        assert torch.equal(more[name], value), name


def test_in_the_model_it_learns_is_carried_and_may_be_frozen(model):
    m = model(continuum_levels=2, continuum_period=3).eval()
    x = torch.randint(11, (2, 20), generator=torch.Generator().manual_seed(1))
    live = m(x)
    m.continuum.live = False
    frozen = m(x)
    m.continuum.live = True
    assert (live - frozen).abs()[:, -1].max() > 1e-3 and torch.equal(live[:, 0], frozen[:, 0])
    loss, _, state, _ = m.loss(x, x.flip(1))
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in m.continuum.parameters())
    assert [each.clock for each in state.fast] == [20, 20]
    assert state.fast[0].learned.requires_grad and not state.detach().fast[0].learned.requires_grad


BAD = {
    "state of another batch": (lambda m, x: m(x[:1], m(x)[1]), "state is of another model or batch"),
    "no state": (lambda m, x: m(x, (x,)), "state must be a FastState"),
    "states of other levels": (lambda m, x: ContinuumMemory(16, 2)(x, m(x)[1]), "state must be a tuple of 2 levels"),
    "a state elsewhere": (
        lambda m, x: m(x, (FastState(*(p.to("meta") for p in (m(x)[1][0].learned,) * 2), 0),)), "state is on meta",
    ),
    "another width": (lambda m, x: m(x[..., :8]), "x must be"),
    "no step": (lambda m, x: m(x[:, :0]), "x is an empty sequence"),
    "heads": (lambda m, x: SelfModifyingMemory(16, heads=3), "heads must divide dim=16"),
    "a period of 0": (lambda m, x: SelfModifyingMemory(16, 0), "period must be"),
    "no level": (lambda m, x: ContinuumMemory(16, 0), "levels must be"),
    "half a level": (lambda m, x: TwistorHopeArchitecture(continuum_levels=0.5), "continuum_levels must be"),
    "a period of 0 in the model": (lambda m, x: TwistorHopeArchitecture(continuum_period=0), "continuum_period must"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act(ContinuumMemory(16), torch.zeros(2, 3, 16))
