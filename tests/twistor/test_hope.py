"""The whole model: presets, causality, streaming, training, bad input."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch

from mobius_lib.twistor import (
    PRESETS,
    AdaptiveMobiusLayer,
    HopeState,
    IncidenceAttention,
    SpinorEmbedding,
    TwistorConfig,
    TwistorHopeArchitecture,
    TwistorMemorySystem,
    TwistorNestedLearning,
    TwistorTitansCell,
    TwistorTitansRecurrent,
    create_full_config,
    get_config,
    language_objective,
    laws,
)
from mobius_lib.twistor import math as twistor

FORMS = ["recurrent", "scan"]
PARTS = [{"use_mobius": False}, {"use_memory": False}, {"use_nested_learning": False}, {"scales": ()},
         {"scales": ("fast",)}, {"use_adaptive_evolution_rate": False}, {"use_phase_compression": False},
         {"constraint": None}, {"hidden_dim": 12}, {"num_recurrent_layers": 1},
         {"continuum_levels": 2, "continuum_period": 3}, {}]  # fmt: skip


def tokens(batch: int = 2, time: int = 37, seed: int = 1, vocab: int = 11) -> torch.Tensor:
    return torch.randint(vocab, (batch, time), generator=torch.Generator().manual_seed(seed))


def test_padding_does_not_count(model):
    """The loss of a padded batch is that of the tokens that count, each by its own cross-entropy."""
    made = model().eval()
    x, y = tokens(), tokens(seed=2)
    padded = y.clone()
    padded[0, 20:] = -100
    _, logits, _, terms = made.loss(x, padded)
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y)
    counted = torch.cat([each[0, :20], each[1]])
    torch.testing.assert_close(terms["cross_entropy"], counted.mean().detach())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_causal_and_streaming_whatever_is_left_out(model, form, part):
    m = model(form=form, **part).eval()
    x = tokens(time=21)
    # rounding of a matrix product of other rows; logits are of size 1
    laws.causal(m, x, (x + 1) % 11, 1e-6)
    laws.streams(m.stream, x, [1, 9, 11], 1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_long_streams_stay_exact(model, form):
    """2,000 tokens in pieces of 1 to 300, in a state that stays as large as it is after one."""
    m, x = model(form=form).eval(), tokens(1, 2000)
    laws.streams(m.stream, x, [1, 299, 300, 300, 300, 300, 300, 200], 1e-5)
    with torch.no_grad():
        sizes = {len(pickle.dumps(m.stream(x[:, :n])[1])) for n in (1, 40, 1000)}
    assert max(sizes) - min(sizes) < 64  # the clock's own digits


def test_all_parameters_learn_and_the_loss_falls(model):
    m = model(dropout=0.1)
    x = torch.arange(33).repeat(4, 1) * torch.tensor([[1], [2], [3], [4]]) % 11  # four sequences that a state can tell
    m.plan(120)
    optimizer = torch.optim.AdamW(
        [{"params": g["params"], "lr": 1e-2 * g["rate"]} for g in m.parameter_groups()], weight_decay=0.0
    )
    start, losses = copy.deepcopy(m.state_dict()), []
    for _ in range(120):
        loss, logits = language_objective(m, x[:, :-1], x[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert logits.shape == (4, 32, 11)
    assert losses[-1] < 0.3 * losses[0]
    for name, parameter in m.named_parameters():
        assert not torch.equal(parameter, start[name]), name
    terms = m.eval().loss(x[:, :-1], x[:, 1:])[3]
    assert set(terms) == {"cross_entropy", "constraint"} and terms["constraint"] >= 0
    # slots differ after training, in every row
    slots = m.stream(x)[1].slots.detach()
    unit = torch.nn.functional.normalize(slots, dim=-1)
    assert ((unit @ unit.mT) - 2 * torch.eye(3)).max() < 0.95


def test_the_constraint_is_met_in_the_whole_model(model):
    m = model(constraint=0.7).eval()
    held = []
    m.nested.register_forward_hook(lambda module, inputs, output: held.append(output[0]))
    m(tokens())
    modulus = torch.hypot(*twistor.pairing(held[0])) / 4
    torch.testing.assert_close(modulus, torch.full_like(modulus, 0.7), rtol=0, atol=1e-5)


def test_training_in_pieces_carries_the_state(model):
    """Truncated backpropagation: gradients end at the piece, the state does not."""
    m, x = model(), tokens(2, 25)
    state, seen = None, []
    for piece in (slice(0, 8), slice(8, 16), slice(16, 24)):
        _, logits, state, _ = m.loss(x[:, piece], x[:, piece.start + 1 : piece.stop + 1], state)
        state = state.detach()
        seen.append(logits.detach())
    torch.testing.assert_close(torch.cat(seen, 1), m(x[:, :24]).detach(), rtol=0, atol=1e-5)
    assert not state.slots.requires_grad and not state.layers[0].twistor.requires_grad


@torch.no_grad()
def test_a_stream_whose_slots_are_kept_packed(model):
    """The first piece is exact, what follows is near; the same weights serve with and without."""
    plain, packed, x = model().eval(), model(slot_bits=8).eval(), tokens(2, 30)
    packed.load_state_dict(plain.state_dict())
    whole, (one, state) = plain(x), packed.stream(x[:, :15])
    other, state = packed.stream(x[:, 15:], state.detach())
    torch.testing.assert_close(one, whole[:, :15], rtol=0, atol=1e-5)
    assert 1e-6 < (other - whole[:, 15:]).abs().max() < 0.1 * whole.abs().max()
    assert state.slots.nbytes == 2 * 3 * (2 * 4 + 8)  # two rows, three slots, 2n phases and two sizes


def test_groups_hold_every_parameter_once(model):
    m = model(omega_rate=0.5, pi_rate=2.0)
    found = [id(p) for group in m.parameter_groups() for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in m.parameters())
    rates = {group["name"]: group["rate"] for group in m.parameter_groups()}
    assert rates["rest"] == 1.0 and rates["omega 0"] == 0.5 and rates["pi 2"] == pytest.approx(2 * 0.81)


def test_counts_of_the_presets():
    """Counted on paper from the shapes, for the smallest; the others as stored. The README says 4.7, 8.5, 25, 100M."""
    with torch.device("meta"):
        counts = {
            (name, both): sum(
                p.numel() for p in TwistorHopeArchitecture(create_full_config(name, bidirectional=both)).parameters()
            )
            for name in PRESETS
            for both in (False, True)
        }
    w, d, v = 256, 128, 1000
    cycles = 3 * (w // 4) * 6 + 3
    networks = sum(sum(a * b + b for a, b in pairwise(s))
                   for s in ([w, w], [w, 2 * w, w], [w, 2 * w, 2 * w, w]))  # fmt: skip
    cell = (w * 4 * w + 4 * w) + w * 4 * w + networks + 3 + w + 1 + cycles
    adaptive = cycles + (w * 16 + 16) + (16 * 384 + 384) + 1
    memory = 3 + 3 * w + (w * 6 + 6) + 2 * (w * w + w) + 3 * (2 * 64 * 6 + 2) + 2 * 64
    nested = 5 * 2 * 2 * (d * d + d) + 10 + w
    rest = v * w + (w * d + d) + 2 * d + (d * v + v)
    assert counts["small", False] == 2 * cell + cycles + adaptive + memory + nested + rest
    assert counts["small", False] == 3_659_942
    assert counts["medium", False] == 7_924_715
    assert counts["recommended", False] == 19_593_020 and counts["recommended", True] == 40_860_241
    assert counts["large", False] == 100_834_905 and counts["large", True] == 216_268_917


def test_both_directions(model):
    m = model(bidirectional=True).eval()
    x = tokens()
    assert m(x).shape == (2, 37, 11) and not m.causal
    with pytest.raises(AssertionError, match="is seen before it"):
        laws.causal(m, x, (x + 1) % 11, 1e-6)
    with pytest.raises(ValueError, match="bidirectional=False"):
        m.stream(x)
    with pytest.raises(ValueError, match="bidirectional=False"):
        m.loss(x, x)


def test_configurations():
    assert get_config("small") == {
        "dim": 128, "num_recurrent_layers": 2, "num_nested_levels": 5, "num_memories": 3, "bidirectional": False,
    }  # fmt: skip
    config = create_full_config("large", vocab_size=70, bidirectional=False)
    assert (config.dim, config.hidden_dim, config.vocab_size, config.bidirectional) == (512, 512, 70, False)
    assert config == create_full_config("large", 70, bidirectional=False) and hash(config)
    get_config("small")["dim"] = 1
    assert PRESETS["small"]["dim"] == 128


def test_embedding_is_complex():
    embedding = SpinorEmbedding(5, 6)
    x = torch.tensor([[0, 4, 2]])
    omega, pi = embedding.complex(x)
    assert omega.dtype == torch.complex64 and omega.shape == pi.shape == (1, 3, 3)
    assert torch.equal(twistor.from_complex(omega, pi), embedding(x))


def test_the_maps_that_rows_set_have_determinant_one():
    layer, x = AdaptiveMobiusLayer(16), torch.randn(3, 5, 16)
    maps = layer.maps(x)
    torch.testing.assert_close(torch.linalg.det(maps), torch.ones(3, 5, 4) + 0j, rtol=0, atol=1e-6)
    turned = twistor.turn(x, layer.cycles.matrix())
    omega, pi = twistor.to_complex(turned)
    moved = twistor.move(maps, torch.stack([omega, pi], -1))
    out = torch.stack(twistor.to_complex(layer(x)), -1)
    torch.testing.assert_close(twistor.sphere(out), twistor.sphere(moved), rtol=0, atol=1e-5)
    lengths = [z.unflatten(-1, (4, -1)).square().sum(-2) for z in (x, layer(x))]
    torch.testing.assert_close(lengths[1], lengths[0], rtol=1e-5, atol=1e-6)


def test_attention_scores_where_rays_meet():
    """With products that change nothing, rays through one point score 0 on the first term, and others less."""
    layer = IncidenceAttention(8, heads=1)
    with torch.no_grad():
        for each in (layer.query, layer.key):
            each.weight.copy_(torch.eye(8)), each.bias.zero_()
        layer.mobius.fill_(-1e3)  # no second term
    rays = torch.complex(torch.randn(6, 2), torch.randn(6, 2))
    here = twistor.incident(torch.randn(4).expand(6, 4), rays)
    assert layer.scores(here.unsqueeze(0)).abs().max() < 1e-8  # a squared float32 rounding
    real, imag = twistor.hermitian(here[:1], here + 0.3)
    scores = layer.scores(torch.cat([here[:1], here + 0.3]).unsqueeze(0))[0, 0, 0, 1:]
    torch.testing.assert_close(scores, -(real**2 + imag**2) / 8**0.5, rtol=1e-4, atol=1e-6)


# --- bad input -------------------------------------------------------------------------------------------------------

X = torch.zeros(2, 3, 16)
BAD = {
    "targets of another shape": (
        lambda m: m.loss(tokens(2, 5), tokens(2, 5).t()), r"targets must have the shape of tokens, \(2, 5\)",
    ),
    "targets that are no tokens": (lambda m: m.loss(tokens(), tokens().float()), "targets must be int64"),
    "a target that is none": (lambda m: m.loss(tokens(), tokens() - 12), "targets holds -12, .* 0 to 10"),
    "a target out of range": (lambda m: m.loss(tokens(), tokens() + 11), "targets holds 2., .* 0 to 10"),
    "no batch to learn from": (lambda m: m.loss(tokens(0), tokens(0)), "empty batch"),
    "tokens of numpy": (lambda m: m(tokens().numpy()), "tokens must be a tensor of whole numbers"),
    "tokens of numpy to learn from": (lambda m: m.loss(tokens().numpy(), tokens()), "tokens must be a tensor of whole"),
    "targets in a list": (lambda m: m.loss(tokens(), tokens().tolist()), "targets must be a tensor"),
    "token out of range": (lambda m: m(torch.tensor([[0, 11]])), "tokens holds 11, .* 0 to 10"),
    "tokens elsewhere": (lambda m: m(tokens().to("meta")), "tokens are on meta, but the model is on cpu"),
    "negative token": (lambda m: m(torch.tensor([[0, -1]])), "tokens holds -1"),
    "empty sequence": (lambda m: m(torch.zeros(2, 0, dtype=torch.int64)), "tokens is an empty sequence"),
    "tokens that are no numbers": (lambda m: m(torch.zeros(2, 3)), "tokens must be int64"),
    "state of another batch": (lambda m: m.stream(tokens(3), m.stream(tokens(2))[1]), "state is of another .* batch"),
    "state of another model": (
        lambda m: m.stream(tokens(), TwistorHopeArchitecture(m.config, hidden_dim=12).stream(tokens())[1]),
        "state is of another model",
    ),
    "state with other layers": (
        lambda m: m.stream(tokens(), TwistorHopeArchitecture(m.config, num_recurrent_layers=1).stream(tokens())[1]),
        "state must be a tuple of 2",
    ),
    "slots of another model": (
        lambda m: m.stream(tokens(), HopeState(m.stream(tokens())[1].layers, torch.zeros(2, 4, 16))),
        "slots must have the shape",
    ),
    "state that is none": (lambda m: m.stream(tokens(), torch.zeros(2)), "state must be a HopeState"),
    "odd dim": (lambda m: TwistorConfig(dim=7), "dim must be even"),
    "odd hidden dim": (lambda m: TwistorConfig(hidden_dim=7), "hidden_dim must be even"),
    "odd embedding": (lambda m: SpinorEmbedding(4, 3), "dim must be even"),
    "odd cell": (lambda m: TwistorTitansCell(4, 6), "hidden_dim must be a positive multiple of 4"),
    "unknown preset": (lambda m: get_config("huge"), "'huge'; the presets are small, medium, recommended, large"),
    "unknown full preset": (lambda m: create_full_config("huge"), "the presets are small"),
    "unknown setting": (lambda m: create_full_config("small", depth=3), "no setting 'depth'"),
    "slots of no such bits": (lambda m: TwistorHopeArchitecture(slot_bits=4), "bits of a kept phase are one of 8, 16"),
    "unknown form": (lambda m: TwistorConfig(form="fast"), "form must be one of recurrent, scan"),
    "unknown backend": (lambda m: TwistorConfig(backend="c"), "backend must be one of"),
    "unknown scale": (lambda m: TwistorConfig(scales=["quick"]), "scales names 'quick'"),
    "scales as text": (lambda m: TwistorConfig(scales="fast"), "scales must be a list"),
    "no layers": (lambda m: TwistorConfig(num_recurrent_layers=0), "num_recurrent_layers must be"),
    "half a level": (lambda m: TwistorConfig(num_nested_levels=2.5), "num_nested_levels must be"),
    "all dropped": (lambda m: TwistorConfig(dropout=1.0), "dropout must be"),
    "a growing rate": (lambda m: TwistorConfig(level_factor=1.1), "level_factor must be"),
    "a negative constraint": (lambda m: TwistorConfig(constraint=-1.0), "constraint must be"),
    "empty input": (lambda m: TwistorTitansRecurrent(16)(X[:, :0]), "x is an empty sequence"),
    "input of another width": (lambda m: TwistorTitansRecurrent(8)(X), r"x must be .* \(batch, time, 8\)"),
    "memory input": (lambda m: TwistorMemorySystem(8)(X), "x must be"),
    "nested input": (lambda m: TwistorNestedLearning(8)(X), "x must be"),
    "a cell's input": (lambda m: TwistorTitansCell(8, 8)(X), r"x must be .* \(batch, 8\)"),
    "a state both ways": (
        lambda m: TwistorTitansRecurrent(16, bidirectional=True)(X, TwistorTitansRecurrent(16)(X)[1]),
        "state cannot be carried on",
    ),
    "a pace of 1": (lambda m: TwistorMemorySystem(16, update_rate=1.0), "update_rate must"),
    "no steps": (lambda m: m.plan(0), "total_steps must"),
    "heads": (lambda m: IncidenceAttention(16, heads=3), "heads must divide"),
}  # fmt: skip


def test_whole_numbers_of_numpy_are_whole_numbers():
    sizes = {"vocab_size": 11, "dim": 8, "num_nested_levels": 2, "num_memories": 2, "num_recurrent_layers": 1}
    config = TwistorConfig(**{name: np.int64(size) for name, size in sizes.items()})
    assert config == TwistorConfig(**sizes) and type(config.dim) is int
    m = TwistorHopeArchitecture(config)
    m.plan(np.int32(3))
    assert m(tokens()).shape == (2, 37, 11)
    assert IncidenceAttention(np.int64(16), np.int64(2))(X).shape == X.shape
    assert TwistorNestedLearning(np.int64(16), np.int64(2), period=np.int64(2))(X)[0].shape == X.shape
    for wrong in (2.0, True, "2", None):
        with pytest.raises(ValueError, match="must be"):
            TwistorMemorySystem(16, wrong)


@pytest.mark.parametrize("name", BAD)
def test_bad_input(model, name):
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act(model().eval())
