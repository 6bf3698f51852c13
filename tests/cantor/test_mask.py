"""The masks in a MobiusNet and in its twin: what changes, what does not, and what comes back."""

import copy
import math

import pytest
import torch

from mobius_lib.cantor.mask import MASKS, ChannelDropout, channel_mask, drop_third, third, thirds_mask, with_mask
from mobius_lib.waves import GELUTwin, MobiusNet, use_backend
from mobius_lib.waves import math as waves
from mobius_lib.waves.fast.fold import fold

SIZES = dict(in_chans=2, num_classes=5, channels=(9, 12), depths=(2, 2))
NETS = [MobiusNet, GELUTwin]


def build(net, seed=0, **changes):
    torch.manual_seed(seed)
    model = net(**(SIZES | changes))
    for parameter in model.parameters():  # away from zeros and ones, and large enough that the branches count
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.4)
    return model


def picture(rows=6, seed=1):
    return torch.randn(rows, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def branch(block, x):
    """What the block adds to its input: mask(lens(conv x))."""
    keep = torch.sigmoid(block.residual_weight)
    return (block(x) - keep * x) / (1 - keep)


@pytest.mark.parametrize("channels", [*range(1, 20), 768])
def test_the_published_mask(channels):
    for step in range(7):
        assert torch.equal(thirds_mask(channels, step), waves.thirds_mask(channels, step))
        assert torch.equal(thirds_mask(channels, step, 0.2), waves.thirds_mask(channels, step, 0.2))
    groups = [list(range(channels))[third(channels, g)] for g in range(3)]
    assert [*groups[0], *groups[1], *groups[2]] == list(range(channels))


@pytest.mark.parametrize("channels", [3, 4, 5, 9, 64, 256])
@pytest.mark.parametrize("reduction", [0.0, 0.3, 0.5, 1.0])
def test_kinds_attenuate_alike(channels, reduction):
    for step in range(3):
        masks = {kind: channel_mask(kind, channels, step, reduction) for kind in MASKS}
        # a mean of up to 256 float32 numbers
        assert masks["dropout"].mean().item() == pytest.approx(masks["thirds"].mean().item(), abs=1e-6)
        assert (masks["dropout"] == masks["dropout"][0]).all()
        assert (masks["none"] == 1).all()
        assert torch.equal(masks["fixed"], thirds_mask(channels, 0, reduction))
        if channels % 3 == 0:
            assert masks["thirds"].mean().item() == pytest.approx(1 - (1 - reduction) / 3, abs=1e-6)


def test_dropout_drops_whole_channels_of_each_sample_at_its_rate():
    torch.manual_seed(0)
    drop = ChannelDropout(1 / 6).train()
    x = torch.rand(200, 3, 4, 300) + 1
    factor = drop(x) / x
    assert (factor == factor[:, :1, :1, :]).all() or (factor - factor[:, :1, :1, :]).abs().max() < 1e-6
    kept = factor[:, 0, 0, :]
    assert torch.allclose(kept[kept > 0], torch.tensor(6 / 5))
    rate, n = (kept == 0).double().mean().item(), kept.numel()
    assert abs(rate - 1 / 6) < 4 * math.sqrt(5 / 36 / n)  # four standard deviations of n Bernoulli draws
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(ChannelDropout(0.0).train()(x), x)


@pytest.mark.parametrize("backend", ["printed", "eager"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", MASKS)
def test_only_the_masks_change(net, kind, backend):
    model = use_backend(build(net), backend).eval()
    before = copy.deepcopy(model.state_dict())
    assert with_mask(model, kind) is model
    after = model.state_dict()
    assert list(after) == list(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    expected = {n for n in before if n.endswith("thirds_mask")} if kind in ("none", "dropout") else set()
    if kind == "fixed":  # of the blocks 0 to 3, 1 and 2 had another third
        expected = {"stages.0.1.thirds_mask", "stages.1.0.thirds_mask"}
    assert changed == expected
    for step, block in enumerate(model.blocks):
        assert torch.equal(block.thirds_mask.flatten(), channel_mask(kind, block.thirds_mask.numel(), step))
    assert not any(module.training for module in model.modules())  # as fold wants it


@pytest.mark.parametrize("net", NETS)
def test_thirds_brings_the_published_network_back(net):
    model, x = build(net), picture()
    original = model.eval()(x)
    for kind in ("dropout", "none", "fixed"):
        assert (with_mask(model, kind)(x) - original).abs().max() > 1e-3
    assert torch.equal(with_mask(model, "thirds")(x), original)
    model.train()  # and the dropout of a while ago drops no more: twice the same
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("backend", ["printed", "eager"])
@pytest.mark.parametrize("net", NETS)
def test_what_the_masks_do_to_a_block(net, backend):
    """In evaluation the unmasked branch times the mask; dropout in training passes it whole or not at all."""
    model = use_backend(build(net), backend)
    x = torch.randn(8, 9, 6, 6, generator=torch.Generator().manual_seed(2))
    block = model.blocks[0]
    branches = {}
    for kind in MASKS:
        with_mask(model, kind)
        branches[kind] = branch(block.eval(), x)
    for kind in MASKS:
        factor = channel_mask(kind, 9, 0).view(1, -1, 1, 1)
        torch.testing.assert_close(branches[kind], branches["none"] * factor, rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    whole = branch(with_mask(model, "none").blocks[0].train(), x)
    dropped = branch(with_mask(model, "dropout").blocks[0].train(), x)
    size = whole.abs().amax(dim=(2, 3), keepdim=True)
    gone = dropped.abs().amax(dim=(2, 3), keepdim=True) < 1e-4 * size
    torch.testing.assert_close(dropped, torch.where(gone, 0.0, whole), rtol=1e-4, atol=1e-4)
    assert 0 < gone.sum() < gone.numel() / 2  # 72 channels at 1/6: 12 on average, 36 never


@pytest.mark.parametrize("net", NETS)
def test_dropout_in_training_has_the_mean_of_the_mask(net):
    model = with_mask(build(net), "dropout")
    block = model.blocks[0].train()
    for norm in (block.conv[2],):
        norm.eval()  # the same batch norm in every draw
    x = torch.randn(2, 9, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    draws = torch.stack([branch(block, x).detach() for _ in range(1500)])
    expected = branch(block.eval(), x).detach()
    # a factor of 0 or 1 with mean 5/6 has deviation 0.37: of 1,500 draws, 0.0096 of the whole; four of them
    assert ((draws.mean(0) - expected).abs() <= 0.04 * expected.abs() * 6 / 5 + 1e-5).all()


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("net", NETS)
def test_folding_keeps_the_mask(net, kind):
    model, x = with_mask(build(net), kind).eval(), picture()
    logits = model(x)
    torch.testing.assert_close(fold(model)(x), logits, rtol=0, atol=1e-4 * logits.abs().max().item())


def test_copies_drop_too_and_state_dicts_carry_the_mask():
    model = with_mask(build(MobiusNet), "dropout").train()
    twin = copy.deepcopy(model)
    x = picture()
    torch.manual_seed(3)
    first = model(x)
    torch.manual_seed(3)
    assert torch.equal(twin(x), first)
    assert not torch.equal(twin(x), first)
    with_mask(twin, "none")  # a copy has hooks of its own
    assert torch.equal(twin(x), twin(x)) and not torch.equal(model(x), model(x))
    plain = MobiusNet(**SIZES)
    plain.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(plain.eval()(x), model.eval()(x))


def test_dropout_twice_is_dropout_once():
    model = with_mask(with_mask(build(MobiusNet), "dropout"), "dropout", reduction=0.25)
    assert all(len(block.lens._forward_hooks) == 1 for block in model.blocks)
    assert model.blocks[0].lens.mask_dropout.rate == pytest.approx(0.25)


def test_masked_networks_train():
    for kind in MASKS:
        model = with_mask(build(MobiusNet), kind).train()
        model(picture()).square().mean().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("group", [0, 1, 2])
def test_drop_third_silences_that_third_and_restores(net, group):
    model, x = with_mask(build(net), "thirds").eval(), picture()
    before, logits = copy.deepcopy(model.state_dict()), model(x)
    inner = torch.randn(3, 9, 5, 5, generator=torch.Generator().manual_seed(4))
    whole = branch(model.blocks[1], inner)
    with drop_third(model, group) as same:
        assert same is model
        silent = branch(model.blocks[1], inner)
        assert (model(x) - logits).abs().max() > 1e-3
    part = third(9, group)
    assert silent[:, part].abs().max() < 1e-5  # (r x - r x) / (1 - r), rounded
    others = torch.ones(9).bool()
    others[part] = False
    torch.testing.assert_close(silent[:, others], whole[:, others], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(x), logits)


def test_drop_third_in_one_block_only_and_after_an_error():
    model = build(MobiusNet).eval()
    masks = [block.thirds_mask.clone() for block in model.blocks]
    with pytest.raises(RuntimeError, match="within"), drop_third(model, 2, blocks=[3]):
        zeros = [(block.thirds_mask == 0).sum().item() for block in model.blocks]
        raise RuntimeError("within")
    assert zeros == [0, 0, 0, 4]
    assert all(torch.equal(b.thirds_mask, m) for b, m in zip(model.blocks, masks, strict=True))
    with drop_third(model, 0), drop_third(model, 1, blocks=[0]):  # nested
        assert (model.blocks[0].thirds_mask == 0).sum() == 6
    assert all(torch.equal(b.thirds_mask, m) for b, m in zip(model.blocks, masks, strict=True))


def test_bad_input():
    model = build(MobiusNet)
    with pytest.raises(ValueError, match="kind='half'; the kinds are none, thirds, fixed, dropout"):
        with_mask(model, "half")
    with pytest.raises(ValueError, match=r"reduction must be a factor from 0 to 1, got 1\.5"):
        with_mask(model, "thirds", 1.5)
    for group in (3, -1):
        with pytest.raises(ValueError, match=f"group={group}"), drop_third(model, group):
            pass
    with pytest.raises(ValueError, match="names block 4, but the network has the blocks 0 to 3"):
        drop_third(model, 0, blocks=[1, 4]).__enter__()
    with pytest.raises(TypeError, match="A Linear has no block"):
        with_mask(torch.nn.Linear(3, 3), "none")
    with pytest.raises(TypeError, match=r"FoldedMobiusNet.*before folding"):
        with_mask(fold(model.eval()), "none")
    assert all(
        torch.equal(b.thirds_mask.flatten(), thirds_mask(b.thirds_mask.numel(), i)) for i, b in enumerate(model.blocks)
    )
