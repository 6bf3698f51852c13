"""The model beside an independent transcription of the published formulas; its layout, its states, its refusals."""

import copy
import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from mobius_lib.errors import CheckpointError
from mobius_lib.simplex import DavidConfig, GeoFractalDavid, parameter_groups

SHAPES = [
    {},
    {"k": 1, "scales": (1,), "num_classes": 2},
    {"k": 6, "scales": (6, 11)},
    {"k": 12, "scales": (13, 40, 20), "num_classes": 30},
    {"init": "published", "feature_dim": 1},
]
# float32: a projection, a layer norm and a sum of squares, some hundred roundings of 6e-8
FLOAT32 = {"rtol": 0, "atol": 1e-5}


def of_scales(model, by_scale):
    """The transcription sorts the scales; the model may not."""
    return [by_scale[scale] for scale in model.config.scales]


@pytest.mark.parametrize("position", ["batch", "features", "mean"])
@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_the_published_logits(make, reference, unit_rows, settings, position):
    settings = settings | {"scales": tuple(sorted(settings.get("scales", (6, 11))))}
    model = make(**settings, position=position)
    f = unit_rows(7, model.config.feature_dim)
    with torch.no_grad():
        expected, parts = reference(model.state_dict(), f, position=position)
        torch.testing.assert_close(model(f), expected, **FLOAT32)
        geometry = model.geometry(f)
    for found, wanted in zip(geometry.scales.values(), of_scales(model, parts), strict=True):
        for one, other in zip((found.cosine, found.gap, found.distance), wanted, strict=True):
            torch.testing.assert_close(one, other, **FLOAT32)
    assert not torch.allclose(model(f), model(-f), **FLOAT32)


@pytest.mark.parametrize("position", ["batch", "features", "mean"])
def test_features_of_any_length_have_the_published_logits(make, reference, position):
    """The published class brings its rows to length 1 itself, in `forward` and in everything that takes features."""
    model = make(feature_dim=24, position=position)
    f = torch.randn(7, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, _ = reference(model.state_dict(), f, position=position)
        torch.testing.assert_close(model(f), expected, **FLOAT32)
        # float32 squares neither the longest nor the shortest of these
        lengths = torch.tensor([1e25, 1e-13, 1.0, 1e-38, 3e38 / 30, 1e-20, 1e20])[:, None]
        torch.testing.assert_close(model(f * lengths), expected, **FLOAT32)
        for read in (model.get_cantor_values, model.get_cantor_interval_distribution):
            torch.testing.assert_close(read(f * lengths), read(f), **FLOAT32)
            assert read(f).shape[0] == 7
        for long, one in zip(model.get_scale_logits(9 * f).values(), model.get_scale_logits(f).values(), strict=True):
            torch.testing.assert_close(long, one, **FLOAT32)


def test_intermediates_have_the_published_shapes(small):
    f = torch.randn(7, 9, generator=torch.Generator().manual_seed(0))
    logits, cantor, projected = small(f, return_intermediates=True)
    assert torch.equal(logits, small(f)) and torch.equal(cantor, small.get_cantor_values(f))
    assert cantor.shape == (7,)
    assert {scale: tuple(q.shape) for scale, q in projected.items()} == {6: (7, 6), 11: (7, 11)}
    for q in projected.values():
        torch.testing.assert_close(q.norm(dim=-1), torch.ones(7))


@pytest.mark.parametrize("init", ["published", "spread"])
def test_the_published_logits_at_the_start(reference, unit_rows, init):
    """Untrained: published centroids are rounding errors, and the formula reads their directions all the same."""
    model = GeoFractalDavid(feature_dim=16, num_classes=8, k=5, scales=(32, 48), init=init, position="batch")
    f = unit_rows(9, 16)
    with torch.no_grad():
        expected, _ = reference(model.state_dict(), f)
        torch.testing.assert_close(model(f), expected, **FLOAT32)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("settings", SHAPES[:3], ids=str)
def test_all_gradients(make, reference, unit_rows, settings, rows):
    model = make(**settings).double()
    f = unit_rows(rows, model.config.feature_dim, dtype=torch.float64)
    pull = torch.randn(rows, model.config.num_classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    found = torch.autograd.grad(model(f), list(model.parameters()), pull, materialize_grads=True)
    state = {name: value.detach().clone().requires_grad_() for name, value in model.state_dict().items()}
    logits, _ = reference(state, f)
    expected = torch.autograd.grad(logits, [state[name] for name in names], pull, materialize_grads=True)
    for name, one, other in zip(names, found, expected, strict=True):
        # float64 and some hundred roundings, enlarged where a distance or a centroid is small
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_sizes_of_the_published_run():
    model = GeoFractalDavid(DavidConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 63_053_342
    assert (
        sum(head.class_prototypes.shape[0] * head.class_prototypes.shape[1] for head in model.heads.values()) == 65000
    )
    f = F.normalize(torch.randn(3, 512), dim=-1)
    with torch.no_grad():
        assert model(f).shape == (3, 1000)


def test_the_state_layout():
    model = GeoFractalDavid(feature_dim=4, num_classes=3, k=2, scales=(5, 7))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    head = {
        "class_prototypes": lambda s: (3, 3, s), "cantor_prototypes": lambda s: (3,), "geo_weights": lambda s: (3,),
        "projection.0.weight": lambda s: (2 * s, 4), "projection.0.bias": lambda s: (2 * s,),
        "projection.2.weight": lambda s: (2 * s,), "projection.2.bias": lambda s: (2 * s,),
        "projection.3.weight": lambda s: (s, 2 * s), "projection.3.bias": lambda s: (s,),
    }  # fmt: skip
    assert shapes == {
        "cantor_stairs.alpha": (),
        "cantor_stairs.centers": (3,),
        "cantor_stairs.feature_to_position.weight": (1, 4),
        "cantor_stairs.feature_to_position.bias": (1,),
        "fusion_weights": (2,),
        **{f"heads.{scale}.{name}": shape(scale) for scale in (5, 7) for name, shape in head.items()},
    }


def test_the_beginning():
    model = GeoFractalDavid(feature_dim=4, num_classes=3, k=2, scales=(5, 7), alpha_init=0.329)
    assert model.cantor_stairs.alpha.item() == pytest.approx(0.329)
    assert model.heads["7"].cantor_prototypes.tolist() == [0, 0.5, 1]
    for weights in model.get_geometric_weights().values():
        assert weights == pytest.approx({"feature": 1 / 3, "cantor": 1 / 3, "crystal": 1 / 3})
    assert model.get_fusion_weights() == pytest.approx({5: 0.5, 7: 0.5})


# What the GeoFractalDavid card prints as usage.


def test_usage_of_the_seed(tmp_path, unit_rows):
    settings = {"feature_dim": 12, "num_classes": 10, "k": 5, "scales": [16, 24, 128], "alpha_init": 0.5, "tau": 0.25}
    save_file(GeoFractalDavid(**settings, seed=9).state_dict(), tmp_path / "weights.safetensors")
    model = GeoFractalDavid(**settings)
    state = load_file(tmp_path / "weights.safetensors")
    assert "<All keys matched successfully>" in str(model.load_state_dict(state))
    model.eval()
    f = unit_rows(6, 12)
    with torch.no_grad():
        logits = model(f)
    assert logits.shape == (6, 10) and logits.argmax(dim=-1).shape == (6,)
    assert isinstance(model.cantor_stairs.alpha.item(), float)
    assert list(model.get_geometric_weights()) == [16, 24, 128]
    shares = model.get_cantor_interval_distribution(f)
    assert shares.shape == (6, 3)
    torch.testing.assert_close(shares.sum(-1), torch.ones(6))
    torch.testing.assert_close(GeoFractalDavid.from_state_dict(state)(f), logits)


def test_the_scales_make_up_the_logits(small, unit_rows):
    f = unit_rows(4, 9)
    by_scale, fusion = small.get_scale_logits(f), small.get_fusion_weights()
    assert list(by_scale) == [6, 11] == list(fusion)
    torch.testing.assert_close(sum(fusion[scale] * by_scale[scale] for scale in by_scale), small(f))
    assert not torch.allclose(by_scale[6], by_scale[11])


def test_weights_of_the_terms(small, unit_rows):
    f = unit_rows(4, 9)
    geometry, weights = small.geometry(f), small.get_geometric_weights()
    for scale, each in geometry.scales.items():
        w = weights[scale]
        assert sum(w.values()) == pytest.approx(1)
        expected = w["feature"] * each.cosine - w["cantor"] * each.gap**2 - w["crystal"] * each.distance
        torch.testing.assert_close(each.logits, expected)


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_a_term_left_out_counts_nothing(make, unit_rows, left_out):
    names = ("feature", "cantor", "crystal")
    model = make(terms=tuple(name for name in names if name != names[left_out]))
    f = unit_rows(4, 9)
    model(f).sum().backward()
    for weights in model.get_geometric_weights().values():
        assert weights[names[left_out]] == 0 and sum(weights.values()) == pytest.approx(1)
    for head in model.heads.values():
        assert head.geo_weights.grad[left_out] == 0 and torch.isfinite(head.geo_weights.grad).all()
        assert head.geo_weights.grad.abs().sum() > 0
    assert model.state_dict().keys() == make().state_dict().keys()


# Neighbours.


@pytest.mark.parametrize("position", ["features", "mean"])
def test_a_prediction_does_not_depend_on_its_neighbours(make, unit_rows, position):
    model = make(position=position)
    f = unit_rows(8, 9)
    with torch.no_grad():
        together, order = model(f), torch.tensor([5, 0, 3, 7, 1, 2, 6, 4])
        # other sizes of a product may be summed in another order
        torch.testing.assert_close(model(f[order]), together[order], **FLOAT32)
        torch.testing.assert_close(torch.cat([model(row[None]) for row in f]), together, **FLOAT32)


def test_the_default_does_not(unit_rows):
    model = GeoFractalDavid(feature_dim=9, num_classes=4, k=2, scales=(5,))
    f = unit_rows(8, 9)
    torch.testing.assert_close(model(f.flip(0)).flip(0), model(f), **FLOAT32)


def test_the_published_prediction_depends_on_them(small, unit_rows):
    f = unit_rows(8, 9)
    assert (small(f.flip(0)).flip(0) - small(f)).abs().max() > 1e-3


@pytest.mark.parametrize("position", ["batch", "features", "mean"])
def test_a_batch_of_one_trains(make, unit_rows, position):
    model = make(position=position)
    assert model(unit_rows(1, 9)).shape == (1, 5)
    model(unit_rows(1, 9)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# Seeds.


def test_a_model_is_its_configuration():
    config = DavidConfig(feature_dim=6, num_classes=4, k=2, scales=(5, 9), seed=3)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = GeoFractalDavid(config)
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's numbers go on"
    torch.manual_seed(2)
    other = GeoFractalDavid(config)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    third = GeoFractalDavid(config, seed=4)
    drawn = ("class_prototypes", "projection.0.weight", "projection.3.weight", "feature_to_position.weight")
    for name, value in one.state_dict().items():
        assert torch.equal(value, third.state_dict()[name]) != name.endswith(drawn) or name.endswith("bias")


# States of others.


def test_weights_come_back_the_same(small, unit_rows):
    f = unit_rows(5, 9)
    other = GeoFractalDavid.from_state_dict(small.state_dict(), position="batch")
    assert torch.equal(other(f), small(f)) and other.config == small.config
    assert torch.equal(copy.deepcopy(small)(f), small(f))


@pytest.mark.parametrize(
    ("settings", "there", "here"),
    [
        ({"k": 2}, "k=2", "k=3"),
        ({"num_classes": 6}, "num_classes=6", "num_classes=5"),
        ({"feature_dim": 8}, "feature_dim=8", "feature_dim=9"),
        ({"scales": (6, 12)}, r"scales=\(6, 12\)", r"scales=\(6, 11\)"),
        ({"scales": (6,), "k": 5}, r"k=5, scales=\(6,\)", r"k=3, scales=\(6, 11\)"),
    ],
)
def test_weights_of_another_configuration_are_named(small, settings, there, here):
    other = GeoFractalDavid(dataclasses.replace(small.config, **settings)).state_dict()
    before = {name: value.clone() for name, value in small.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"with {there}, and this one has {here}. Build theirs with"):
        small.load_state_dict(other)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: {"weight": torch.zeros(2)}, "no weights of a GeoFractalDavid"),
        (lambda state: state | {"bias": torch.zeros(2)}, "do not fit a GeoFractalDavid: .*bias"),
        (lambda state: {n: v for n, v in state.items() if n != "fusion_weights"}, "fusion_weights"),
        (lambda state: state | {"fusion_weights": torch.zeros(3)}, "fusion_weights"),
    ],
)
def test_damaged_weights_are_refused(small, spoil, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        small.load_state_dict(spoil(small.state_dict()))


def test_parts_may_be_loaded_when_asked_for(small):
    found = small.load_state_dict({"fusion_weights": torch.ones(2)}, strict=False)
    assert small.fusion_weights.tolist() == [1, 1] and "cantor_stairs.alpha" in found.missing_keys


# Input.


@pytest.mark.parametrize(
    ("f", "sentence"),
    [
        (torch.zeros(3, 8), r"features must be .* \(batch, 9\), not torch.float32 of shape \(3, 8\)"),
        (torch.zeros(9), r"features must be .* not torch.float32 of shape \(9,\)"),
        (torch.zeros(2, 3, 9), "features must be"),
        (torch.zeros(3, 9, dtype=torch.int64), r"not torch.int64 of shape \(3, 9\)"),
        (torch.zeros(3, 9).numpy(), r"must be a torch.Tensor of shape \(batch, 9\), not a ndarray; torch.from_numpy"),
        (
            torch.zeros(4, 9).index_fill(0, torch.tensor([1, 3]), torch.nan),
            "features has NaN .* 2 of 4 rows .row 1, 3.;",
        ),
        (torch.zeros(9, 9).fill_(torch.inf), "9 of 9 rows .row 0, 1, 2, 3, 4, ....;"),
    ],
)
def test_features_that_cannot_be_read(small, f, sentence):
    for call in (small, small.get_scale_logits, small.get_cantor_interval_distribution):
        with pytest.raises(ValueError, match=sentence):
            call(f)


def test_a_row_of_zeros_has_logits(small):
    f = torch.zeros(2, 9, requires_grad=True)
    small(f).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (f, *small.parameters()))
    assert f.grad.abs().max() < 1e3  # the direction of nothing is not divided by nearly nothing


def test_no_rows_have_no_logits(make):
    for position in ("batch", "features", "mean"):
        model = make(position=position)
        logits = model(torch.zeros(0, 9))
        assert logits.shape == (0, 5)
        logits.sum().backward()
        assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_it_is_built_where_it_is_asked_to_be():
    config = DavidConfig(feature_dim=6, num_classes=4, k=2, scales=(5, 70))
    with torch.device("meta"):
        model = GeoFractalDavid(config)
    assert all(value.is_meta for value in model.state_dict().values())
    assert model(torch.zeros(3, 6, device="meta")).shape == (3, 4)
    there = GeoFractalDavid(config)
    model.load_state_dict(there.state_dict(), assign=True)
    f = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(f), there(f))


# The optimiser.


@pytest.mark.parametrize("settings", [{}, {"learn_alpha": False}, {"position": "mean"}], ids=str)
def test_every_parameter_has_its_rate(make, settings):
    model = make(**settings)
    groups = {group["name"]: group for group in parameter_groups(model, 0.01)}
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(
        {"heads": 0.01, "fusion": 0.005, "cantor": 0.001}
    )
    assert groups["fusion"]["params"] == [model.fusion_weights]
    assert all(any(p is own for own in model.heads.parameters()) for p in groups["heads"]["params"])
    listed = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    torch.optim.AdamW(list(groups.values()))


def test_a_rate_that_is_none(small):
    with pytest.raises(ValueError, match="lr must be positive, not 0"):
        parameter_groups(small, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(make, unit_rows):
    model = make(position="features", scales=(16, 40), num_classes=50)
    f = unit_rows(20, 9)
    expected = model(f)
    expected.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    on_gpu = model.cuda()(f.cuda())
    on_gpu.sum().backward()
    torch.testing.assert_close(on_gpu.cpu(), expected, **FLOAT32)
    for name, parameter in model.named_parameters():
        scale = max(1.0, gradients[name].abs().max().item())
        assert (parameter.grad.cpu() - gradients[name]).abs().max() <= 1e-4 * scale, name
