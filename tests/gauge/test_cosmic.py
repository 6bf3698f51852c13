"""L6: the autoencoder of fibres."""

import pytest
import torch

from mobius_lib.gauge import (
    CosmicLinear,
    FibreVAE,
    FractalVAEStack,
    MetaMobiusLinear,
    fibres_of,
    relative_error,
    train_stack,
)
from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.cosmic import CLAIMED


def test_the_autoencoder_is_of_the_printed_widths_and_learns():
    vae = FibreVAE()
    shapes = [tuple(layer.weight.shape) for layer in (*vae.encoder[::2], vae.mean, *vae.decoder[::2])]
    assert shapes == [(32, 48), (16, 32), (8, 16), (16, 8), (32, 16), (48, 32)]
    generator = torch.Generator().manual_seed(0)
    fibres = torch.randn(300, 3, generator=generator) @ torch.randn(3, 48, generator=generator)

    def error(vae):
        return relative_error(fibres, vae.decode(vae.encode(fibres)[0]))

    little, much = (error(FibreVAE().fit(fibres, steps=steps)) for steps in (1, 300))
    assert much < 0.3 < 0.9 < little
    assert error(FibreVAE().fit(fibres, steps=40)) == error(FibreVAE().fit(fibres, steps=40))


def test_squared_errors_of_fibres_are_those_of_the_matrix(smooth_matrix):
    w = smooth_matrix(dtype=torch.float64)
    l5, fibres = fibres_of(w, 4)
    q = gauge.symmetric_frame(l5.frames().detach().flatten(0, 1))
    torch.testing.assert_close(fibres @ q, l5.to_dense().detach(), rtol=0, atol=1e-7)
    other = fibres + torch.randn(fibres.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = (other - fibres) @ q @ q.mT  # what lies in a direction that Q has
    torch.testing.assert_close(((other - fibres) @ q).norm(), kept.norm())


def test_a_vae_of_other_fibres_can_be_shared(smooth_matrix):
    first, second = smooth_matrix(seed=1), smooth_matrix(seed=2)
    fibres = torch.cat([fibres_of(w, 4)[1] for w in (first, second)])
    vae = FibreVAE(12).fit(fibres, steps=300)
    rung = CosmicLinear.from_dense(first, 4, vae=vae)
    l5 = MetaMobiusLinear.from_dense(first, 4)
    assert relative_error(first, l5.to_dense()) <= relative_error(first, rung.to_dense()) < 0.9
    with pytest.raises(ValueError, match="vae is for fibres of 12 numbers, but these have 9"):
        CosmicLinear.from_dense(first, 3, vae=vae)
    with pytest.raises(ValueError, match="fibres must have 12 numbers each, not 9"):
        FibreVAE(12).fit(torch.randn(5, 9))


def curved(count, width=48, seed=0):
    """Fibres on a curved surface of three dimensions."""
    generator = torch.Generator().manual_seed(seed)
    to_wide = torch.randn(3, width, generator=generator), torch.randn(3, width, generator=generator)
    at = torch.rand(count, 3, generator=generator) * 2 - 1
    return torch.sin(2 * at) @ to_wide[0] + at.square() @ to_wide[1]


def curved_but(fibres, count):
    """Those that are trained on where so many are held out."""
    return fibres[torch.randperm(len(fibres), generator=torch.Generator().manual_seed(0))[count:]]


def test_the_stack_is_of_the_printed_widths_and_every_number_is_counted():
    stack = FractalVAEStack()
    shapes = [[tuple(p.shape) for p in level.parameters() if p.dim() > 1] for level in stack.levels]
    assert shapes == [
        [(wide, wide), (wide, narrow), (wide, wide), (narrow, wide), (narrow, wide)]
        for wide, narrow in ((48, 32), (32, 16), (16, 8))
    ]
    # of each: two layers of its width, two out to the latents, one in from them
    count = sum(2 * (a * a + a) + 2 * (a * b + b) + b * a + a for a, b in ((48, 32), (32, 16), (16, 8)))
    counted = stack.parameters_counted()
    assert counted["trained"] == count == 14_096 and counted["claimed"] == CLAIMED == 57_808
    rung = CosmicLinear(60, 40, stack=True)
    assert rung.storage()["decoder"].numbers == counted["kept"] == sum(p.numel() for p in rung.decoder.parameters())
    assert counted["kept"] == sum(a * b + a + a * a + a for a, b in ((48, 32), (32, 16), (16, 8)))


def test_the_stack_learns_and_its_errors_are_of_fibres_that_it_has_not_seen():
    fibres = curved(400)
    little, much = (train_stack(fibres, steps=steps) for steps in (1, 250))
    assert much.held_out[-1] < 0.5 < 0.9 < little.held_out[-1]
    assert all(a < b * 1.5 + 0.05 for a, b in zip(much.errors, much.held_out, strict=True))
    # levels alone can be decoded; trained together they are a code for the last one's sake
    assert max(much.held_out[:2]) < 0.5 and much.errors[-1] == much.stack.errors(curved_but(fibres, 80))[-1]
    # what is held out plays no part: drawn from elsewhere, it is not known
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    other = fibres.clone()
    other[order[:80]] = torch.randn(80, 48, generator=torch.Generator().manual_seed(1))
    unknown = train_stack(other, steps=20)
    known = train_stack(fibres, steps=20)
    assert unknown.errors == known.errors and unknown.held_out[-1] > 0.8
    # principal components, by the covariance
    test, train = fibres[order[:80]], fibres[order[80:]]
    vectors = torch.linalg.eigh(torch.cov(train.mT.double())).eigenvectors
    for width, found in zip((32, 16, 8), known.components, strict=True):
        some = vectors[:, -width:].float()
        made = train.mean(0) + (test - train.mean(0)) @ some @ some.mT
        assert found == pytest.approx(relative_error(test, made), abs=1e-4)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="leaves none to train on, or none to judge"):
            train_stack(fibres, held_out=share)


def test_a_rung_with_a_stack_decodes_as_the_stack_does(smooth_matrix):
    w = smooth_matrix()
    fibres = fibres_of(w, 4)[1]
    stack = FractalVAEStack(12).fit(fibres, steps=60)
    rung = CosmicLinear.from_dense(w, 4, vae=stack)
    with torch.no_grad():
        made = stack.decode(stack.encode(fibres)[0])
        # float32 of the folded scales
        torch.testing.assert_close(rung.fibres(), made, rtol=0, atol=1e-5 * fibres.abs().max().item())
        assert stack.errors(fibres)[-1] == pytest.approx(relative_error(fibres, made))
    other = CosmicLinear.from_dense(w, 4, stack=True, steps=60)
    torch.testing.assert_close(other.to_dense(), rung.to_dense())
    x = torch.randn(3, 60)
    torch.testing.assert_close(rung(x), x @ rung.to_dense().mT, rtol=0, atol=1e-4)
    again = CosmicLinear(60, 40, 4, stack=True)
    again.load_state_dict(rung.state_dict())
    assert torch.equal(again.to_dense(), rung.to_dense())
