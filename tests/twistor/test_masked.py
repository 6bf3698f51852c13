"""Learning from hidden tokens: they are not seen, all else is, and the presets that read both ways learn by it."""

import pytest
import torch
from torch.nn import functional as F

from mobius_lib.twistor import TwistorHopeArchitecture, create_full_config, hide, masked_objective

X = torch.randint(11, (3, 14), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("form", ["recurrent", "scan"])
def test_what_is_hidden_is_not_seen_and_all_else_is(model, form):
    m = model(bidirectional=True, form=form).eval()
    hidden = torch.zeros_like(X, dtype=torch.bool)
    hidden[:, 6] = True
    loss, logits, terms = m.masked_loss(X, hidden)
    other = X.clone()
    other[:, 6] = (X[:, 6] + 1) % 11
    assert torch.equal(m.masked_loss(other, hidden)[1], logits)
    for place in (5, 7, 13):  # from both sides
        changed = X.clone()
        changed[:, place] = (X[:, place] + 1) % 11
        assert not torch.equal(m.masked_loss(changed, hidden)[1][:, 6], logits[:, 6])
    assert not torch.equal(m(X)[:, 6], logits[:, 6])
    expected = F.cross_entropy(logits[:, 6], X[:, 6])
    torch.testing.assert_close(terms["cross_entropy"], expected)
    torch.testing.assert_close(loss, expected + m.config.constraint_weight * terms["constraint"])


def test_as_many_in_every_row_are_hidden_others_each_time():
    x = torch.zeros(200, 40, dtype=torch.int64)
    torch.manual_seed(0)
    one, other = hide(x, 0.15), hide(x, 0.15)
    assert (one.sum(1) == 6).all() and (other.sum(1) == 6).all() and not torch.equal(one, other)
    # each place in 6 rows of 40: five standard errors
    assert ((one.float().mean(0) - 0.15).abs() < 5 * (0.15 * 0.85 / 200) ** 0.5).all()
    assert (hide(x[:, :2], 0.01).sum(1) == 1).all() and hide(x, 1.0).all()
    again = [hide(x, 0.5, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize(("preset", "both"), [("recommended", True), ("large", True), ("large", False)])
def test_the_presets_that_read_both_ways_learn_by_it(preset, both):
    """Tokens that follow from the one after them, and so can be told only by who reads from the end as well."""
    torch.manual_seed(0)
    settings = {"dim": 8, "dropout": 0.0, "num_recurrent_layers": 1, "num_nested_levels": 2, "num_memories": 2}
    config = create_full_config(preset, 12, **settings)
    assert config.bidirectional
    m = TwistorHopeArchitecture(config, bidirectional=both)
    optimizer, seen = torch.optim.Adam(m.parameters(), 3e-2), []
    for _ in range(60):
        later = torch.randint(6, (16, 5))
        x = torch.stack([(later + 2) % 6 + 6, later], dim=2).flatten(1)  # pairs; the second decides the first
        hidden = torch.zeros_like(x, dtype=torch.bool)
        hidden[:, ::4] = True
        loss, _, terms = m.masked_loss(x, hidden)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(terms["cross_entropy"].item())
    last = sum(seen[-10:]) / 10
    assert last < 0.5 if both else last > 1.5  # nothing known of six: log 6 = 1.79


def test_the_objective_of_the_loop(model):
    m = model(bidirectional=True)
    torch.manual_seed(2)
    hidden = hide(X, 0.15)
    torch.manual_seed(2)
    loss, logits = masked_objective(m, X, X)
    assert logits.shape == (3, 14, 11) and torch.equal(loss, m.masked_loss(X, hidden)[0])
    loss.backward()
    named = {name: p.grad for name, p in m.named_parameters()}
    level = "nested.omega_nets.1.0.weight"  # is updated every second step alone
    assert named["embedding.weight"].any() and named[level] is None


BAD = {
    "numbers": (lambda m: m.masked_loss(X, X), "hidden must be bool .*, not torch.int64"),
    "another shape": (lambda m: m.masked_loss(X, torch.ones(3, 2, dtype=torch.bool)), r"shape of tokens, \(3, 14\)"),
    "a list": (lambda m: m.masked_loss(X, [True]), "not list"),
    "nothing": (lambda m: m.masked_loss(X, torch.zeros(3, 14, dtype=torch.bool)), "hides no token"),
    "elsewhere": (lambda m: m.masked_loss(X, torch.ones(3, 14, dtype=torch.bool, device="meta")), "hidden is on meta"),
    "no share": (lambda m: hide(X, 0.0), "share must"),
    "the next token": (lambda m: m.loss(X, X), "masked_loss"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(model, name):
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act(model(bidirectional=True))
