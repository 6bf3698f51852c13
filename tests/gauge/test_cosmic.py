"""L6: the autoencoder of fibres."""

import pytest
import torch

from mobius_lib.gauge import (
    CosmicLinear,
    FibreVAE,
    MetaMobiusLinear,
    fibres_of,
    relative_error,
)
from mobius_lib.gauge import math as gauge


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
