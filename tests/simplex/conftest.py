"""An independent transcription of the published formulas, slow and one class at a time, and small models."""

import math

import pytest
import torch

from mobius_lib.simplex import DavidConfig, GeoFractalDavid

SMALL = DavidConfig(feature_dim=9, num_classes=5, k=3, scales=(6, 11), position="batch")


def transcription(state, features, tau=0.25, position="batch"):
    """logits and {scale: (cosine, gap, distance)} of weights, by the formulas: row by row, class by class."""
    scales = sorted({int(name.split(".")[1]) for name in state if name.startswith("heads.")})
    rows = len(features)
    weight, bias = state["cantor_stairs.feature_to_position.weight"][0], state["cantor_stairs.feature_to_position.bias"]
    parts = {scale: ([], [], []) for scale in scales}
    logits = []
    for row, f in enumerate(features):
        f = f / f.norm()
        line = (weight * f).sum() + bias[0]
        if position == "batch":
            x = (row / (rows - 1) if rows > 1 else 0.0) + 0.3 * torch.tanh(line)
            x = torch.clamp(x, 1e-6, 1 - 1e-6)
        else:
            x = 1 / (1 + torch.exp(-line)) if position == "features" else 1 / (1 + torch.exp(-f.sum() / len(f)))
        y = 3 * x - 3 * torch.floor(x)  # 3x mod 3
        closeness = torch.stack([torch.exp(-((y - center) ** 2) / tau) for center in (0.5, 1.5, 2.5)])
        _, middle, right = closeness / closeness.sum()
        c = state["cantor_stairs.alpha"] * middle + right
        per_scale = []
        for scale in scales:

            def of(name, scale=scale):
                return state[f"heads.{scale}.{name}"]

            h = of("projection.0.weight") @ f + of("projection.0.bias")
            h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
            h = (h - h.mean()) / torch.sqrt(h.var(correction=0) + 1e-5)
            h = h * of("projection.2.weight") + of("projection.2.bias")
            q = of("projection.3.weight") @ h + of("projection.3.bias")
            q = q / q.norm()
            w = torch.exp(of("geo_weights")) / torch.exp(of("geo_weights")).sum()
            cosines, gaps, distances = [], [], []
            for vertices, prototype in zip(of("class_prototypes"), of("cantor_prototypes"), strict=True):
                middle_of_class = vertices.mean(dim=0)
                cosines.append((q * middle_of_class).sum() / (q.norm() * middle_of_class.norm()))
                gaps.append(c - prototype)
                distances.append(torch.stack([(q - v).norm() for v in vertices]).min())
            cosines, gaps, distances = torch.stack(cosines), torch.stack(gaps), torch.stack(distances)
            for found, part in zip((cosines, gaps, distances), parts[scale], strict=True):
                part.append(found)
            per_scale.append(w[0] * cosines - w[1] * gaps**2 - w[2] * distances)
        fusion = torch.softmax(state["fusion_weights"], dim=0)
        logits.append(sum(weight * each for weight, each in zip(fusion, per_scale, strict=True)))
    return torch.stack(logits), {scale: tuple(map(torch.stack, part)) for scale, part in parts.items()}


def trained(model, seed=0):
    """A model whose every parameter has left its beginning: no weight is equal, no centroid is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def rows(number, width, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(number, width, generator=generator, dtype=dtype), dim=-1)


@pytest.fixture
def small():
    return trained(GeoFractalDavid(SMALL))


@pytest.fixture
def reference():
    return transcription


@pytest.fixture
def make():
    """config and its fields to a model that has left its beginning."""
    return lambda **settings: trained(GeoFractalDavid(SMALL, **settings))


@pytest.fixture
def unit_rows():
    return rows
