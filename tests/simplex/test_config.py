"""A configuration that no model can have is refused in one sentence that names the argument."""

import dataclasses

import numpy as np
import pytest
import torch

from mobius_lib.errors import CheckpointError
from mobius_lib.simplex import DavidConfig, GeoFractalDavid


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("k", 0, "k must be at least 1, not 0"),
        ("k", 385, "k=385 is larger than the smallest of scales, 384"),
        ("k", 2.5, r"k must be a whole number, not 2\.5"),
        ("k", True, "k must be a whole number"),
        ("feature_dim", 0, "feature_dim must be at least 1"),
        ("num_classes", 1, "num_classes must be at least 2, not 1: with one class"),
        ("scales", (), "scales must be a list with at least one entry"),
        ("scales", 384, "scales must be a list"),
        ("scales", (384, 512, 384), r"scales must differ from each other.*\(384, 512, 384\)"),
        ("scales", ("384",), "scales must be a whole number, not '384'"),
        ("scales", (0, 384), "k=12 is larger than the smallest of scales, 0"),
        ("tau", 0, "tau must be a positive number, not 0"),
        ("tau", -0.25, r"tau must be a positive number, not -0\.25"),
        ("tau", float("nan"), "tau must be a positive number, not nan"),
        ("tau", "0.25", "tau must be a positive number"),
        ("alpha_init", float("inf"), "alpha_init must be a finite number"),
        ("levels", 0, "levels must be at least 1"),
        ("levels", 1000, "levels must be at most 40, not 1000"),
        ("form", "cantor", "form must be one of published, multilevel, .*not 'cantor'"),
        ("position", "order", "position must be one of features, batch, mean, not 'order'"),
        ("init", "zeros", "init must be one of spread, published, not 'zeros'"),
        ("seed", -1, "seed must be at least 0"),
        ("seed", 2**32, r"seed must be below 2\*\*32"),
        ("terms", (), "terms must be a list with at least one entry"),
        ("terms", ("feature", "shape"), "terms must be some of feature, cantor, crystal, each once"),
        ("terms", ("feature", "feature"), "terms must be some of feature, cantor, crystal, each once"),
    ],
)
def test_refused(field, value, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}"):
        DavidConfig(**{field: value})
    with pytest.raises(ValueError, match=rf"^{sentence}"):
        GeoFractalDavid(**{field: value})


def test_lists_and_numpy_numbers_are_taken():
    config = DavidConfig(scales=[np.int64(16), 20], k=np.int32(3), terms=["feature"])
    assert config.scales == (16, 20) and config.k == 3 and type(config.k) is int
    assert hash(config) == hash(DavidConfig(scales=(16, 20), k=3, terms=("feature",)))
    assert DavidConfig(scales=np.array([16, 20]), k=3).scales == (16, 20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.k = 4


def test_from_weights(small):
    state = small.state_dict()
    assert DavidConfig.from_state_dict(state, position="batch") == small.config
    assert DavidConfig.from_state_dict(state, tau=0.5, levels=2).tau == 0.5


def test_scales_ascend_whatever_the_order_of_the_file(make):
    """safetensors sorts names as text, where 11 comes before 6."""
    state = dict(sorted(make(scales=(6, 11, 100)).state_dict().items()))
    names = [name for name in state if name.endswith("class_prototypes")]
    assert names[0] == "heads.100.class_prototypes"
    assert DavidConfig.from_state_dict(state).scales == (6, 11, 100)
    assert DavidConfig.from_state_dict(state, scales=(100, 6, 11)).scales == (100, 6, 11)


def test_settings_that_the_weights_decide(small):
    with pytest.raises(ValueError, match="k is read from the weights; leave it out"):
        DavidConfig.from_state_dict(small.state_dict(), k=3)
    with pytest.raises(ValueError, match="scales is read from the weights"):
        DavidConfig.from_state_dict(small.state_dict(), scales=(6, 12))
    with pytest.raises(ValueError, match="temperature is no setting"):
        DavidConfig.from_state_dict(small.state_dict(), temperature=1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {"weight": torch.zeros(3, 4)},
        lambda state: {"model": state},
        lambda state: {},
        lambda state: {n: v for n, v in state.items() if not n.startswith("cantor_stairs.")},
        lambda state: {n.replace("heads.6", "heads.first"): v for n, v in state.items()},
        lambda state: {n: v for n, v in state.items() if not n.endswith("class_prototypes")},
    ],
)
def test_other_weights_are_refused(small, spoil):
    with pytest.raises(CheckpointError, match="These are no weights of a GeoFractalDavid"):
        DavidConfig.from_state_dict(spoil(small.state_dict()))


def test_heads_that_disagree_are_refused(small):
    state = small.state_dict()
    state["heads.11.class_prototypes"] = torch.zeros(5, 3, 11)  # k = 2 here, 3 in the other
    with pytest.raises(CheckpointError, match=r"heads\.11\.class_prototypes has shape \(5, 3, 11\)"):
        DavidConfig.from_state_dict(state)
