"""What a model writes: the likeliest, the drawn, the same again, alone and in a batch, and where it stops."""

import pytest
import torch

from mobius_lib.twistor import ENDED, generated
from mobius_lib.twistor.generation import drawn

FORMS = ["recurrent", "scan"]


def prompt(rows: int = 3, time: int = 5) -> torch.Tensor:
    return torch.randint(11, (rows, time), generator=torch.Generator().manual_seed(1))


def sharp(model, **settings):
    """A model that is sure of what follows: logits of a size at which tokens differ."""
    m = model(**settings).eval()
    with torch.no_grad():
        m.head.weight *= 4
    return m


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [{}, {"continuum_levels": 2, "continuum_period": 3}], ids=["plain", "continuum"])
def test_the_stream_is_the_recomputation_from_the_start(model, form, more):
    """At temperature 0 the argmax of the whole text so far; above it, what the same numbers draw from its logits."""
    m, x = sharp(model, form=form, **more), prompt()
    for temperature, top_k in ((0.0, None), (0.8, None), (1.5, 3)):
        made = torch.stack(m.generate(x, 20, temperature=temperature, top_k=top_k, seed=7))
        rows, text = [torch.Generator().manual_seed(7 + row) for row in range(3)], x
        for _ in range(20):
            logits = m(text)[:, -1]
            token = logits.argmax(-1) if temperature == 0 else drawn(logits, rows, temperature, top_k)
            text = torch.cat([text, token[:, None]], dim=1)
        assert torch.equal(made, text[:, 5:])


def test_seeds_reproduce_and_a_batch_is_its_rows_alone(model):
    m, x = sharp(model), prompt()
    made = m.generate(x, 20, seed=3)
    assert all(map(torch.equal, made, m.generate(x, 20, seed=3)))
    assert not all(map(torch.equal, made, m.generate(x, 20, seed=4)))
    for row in range(3):
        assert torch.equal(m.generate(x[row : row + 1], 20, seed=3 + row)[0], made[row])
    state = torch.random.get_rng_state()
    m.generate(x, 5)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's numbers are drawn


def test_rows_end_where_they_are_told_to(model):
    """Each at its first token of stop, which belongs to it; the batch when all have."""
    m, x = sharp(model), prompt()
    free = m.generate(x, 40, seed=5)
    stop = {int(free[0][3]), int(free[1][10])}
    ended = m.generate(x, 40, stop=stop, seed=5)
    for one, whole in zip(ended, free, strict=True):
        places = [n for n, token in enumerate(whole.tolist()) if token in stop]
        assert torch.equal(one, whole[: places[0] + 1] if places else whole)
    steps = list(generated(m, x, 40, stop=stop, seed=5))
    assert len(steps) == max(map(len, ended)) and steps[-1].tolist().count(ENDED) >= 1
    assert [len(row) for row in m.generate(x, 0)] == [0, 0, 0] and m.generate(x[:0], 4) == []


def test_the_shares_of_what_is_drawn():
    """Of 4,000 draws each token has its probability, at every temperature, to five standard errors; of the two
    likeliest alone, only those."""
    logits = torch.tensor([[0.0, 2.0, -1.0, 1.0]])
    rows = [torch.Generator().manual_seed(row) for row in range(4000)]
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 2), (1.0, 9)):
        counts = drawn(logits.expand(4000, 4), rows, temperature, top_k).bincount(minlength=4)
        expected = logits[0] / temperature
        if top_k == 2:
            expected[torch.tensor([0, 2])] = -torch.inf
        p = torch.softmax(expected, 0)
        assert ((counts / 4000 - p).abs() <= 5 * (p * (1 - p) / 4000).sqrt()).all()
    assert drawn(logits, rows[:1], 1e-30, None) == 1 and drawn(logits, rows[:1], 1e30, 1) == 1


def test_a_model_that_is_trained_is_read_without_dropout_and_goes_on_being_trained(model):
    m = model(dropout=0.5)
    one, other = (m.generate(prompt(), 12, temperature=0) for _ in range(2))
    assert all(map(torch.equal, one, other)) and m.training and m.nested.training
    assert not any(p.grad is not None for p in m.parameters()) and int(m.nested.clock) == 0


BAD = {
    "both ways": (lambda m: m.generate(prompt(), 3), "reads both ways cannot say what follows"),
    "no prompt": (lambda m: m.generate(prompt(1, 0), 3), "prompt is an empty sequence"),
    "an unknown token": (lambda m: m.generate(prompt() + 11, 3), "prompt holds"),
    "less than nothing": (lambda m: m.generate(prompt(), -1), "most must be"),
    "a cold below zero": (lambda m: m.generate(prompt(), 3, temperature=-1.0), "temperature must be"),
    "no temperature": (lambda m: m.generate(prompt(), 3, temperature=float("nan")), "temperature must be"),
    "none of the likeliest": (lambda m: m.generate(prompt(), 3, top_k=0), "top_k must be"),
    "half a seed": (lambda m: m.generate(prompt(), 3, seed=0.5), "seed must be"),
    "a stop that is none": (lambda m: m.generate(prompt(), 3, stop=[11]), "stop holds 11, but .* 0 to 10"),
    "no finite weights": (lambda m: m.generate(prompt(), 3), "logits are not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(model, name):
    """Said when it is asked for, and not when the first token is."""
    act, message = BAD[name]
    m = model(bidirectional=name == "both ways")
    if name == "no finite weights":
        torch.nn.init.constant_(m.head.bias, torch.nan)
    with pytest.raises(ValueError, match=message):
        act(m)
    if name == "half a seed":
        with pytest.raises(ValueError, match=message):
            generated(m, prompt(), 3, seed=0.5)
