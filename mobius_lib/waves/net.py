"""MobiusNet, its plain twin, and the presets of the MobiusNet card and the distillation card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from torch import Tensor, nn

from mobius_lib.waves.lens import GELULens, MobiusConvBlock, MobiusLens


@dataclass(frozen=True)
class Preset:
    """Sizes of a published network. Unpack it into a network: `MobiusNet(num_classes=200, **PRESETS["mobius_base"])`.

    It behaves as a mapping of exactly the constructor arguments that the card's preset sets.
    """

    in_chans: int
    """Channels of the input: 3 for images, 1 for features laid out as a picture."""
    channels: tuple[int, ...]
    """Width of each stage; each stage after the first halves height and width."""
    depths: tuple[int, ...]
    """Blocks, and so lenses, of each stage."""
    scale_range: tuple[float, float]
    """Wave scales at the first and the last lens."""

    def keys(self) -> list[str]:
        return list(asdict(self))

    def __getitem__(self, key: str) -> Any:
        return asdict(self)[key]


TINY_IMAGENET_SCALES = (0.25, 2.75)  # of the published Tiny ImageNet run; the MobiusNet card prints none
CLIP_SCALES = (0.5, 2.5)  # printed in the distillation card


class _Presets(dict[str, Preset]):
    """A dictionary whose missing key is answered with the names there are."""

    def __missing__(self, name: str) -> Preset:
        raise KeyError(f"There is no preset {name!r}; the presets are {', '.join(self)}.")


PRESETS = _Presets(
    mobius_tiny_s=Preset(3, (64, 128, 256), (2, 2, 2), TINY_IMAGENET_SCALES),
    mobius_tiny_m=Preset(3, (64, 128, 256, 512, 768), (2, 2, 4, 2, 2), TINY_IMAGENET_SCALES),
    mobius_tiny_l=Preset(3, (96, 192, 384, 768), (3, 3, 3, 3), TINY_IMAGENET_SCALES),
    mobius_base=Preset(3, (128, 256, 512, 768, 1024), (2, 2, 2, 2, 2), TINY_IMAGENET_SCALES),
    mobius_tiny_s_clip=Preset(1, (64, 128, 256), (2, 2, 2), CLIP_SCALES),
)
"""The MobiusNet card's four networks, and the distillation card's (1,000 classes of ImageNet, features as 24 x 32)."""


class MobiusNet(nn.Module):
    """A small convolutional network whose only nonlinearities are lenses and, in the integrator, one GELU.

    Args:
        in_chans: channels of the input.
        num_classes: width of the output.
        channels: width of each stage.
        depths: blocks of each stage, as long as `channels`.
        scale_range: wave scales at the first and the last lens.
        use_integrator: put convolution, batch norm and GELU before the pooling.
        lens: class of the lenses.
    Shape:
        (N, in_chans, H, W) to (N, num_classes); any H, W >= 1.
    Raises:
        ValueError: when channels and depths differ in length, or a size is not positive; for an input of another shape.
    Source:
        the distillation card; the parameter names are its.
    """

    def __init__(
        self,
        in_chans: int = 1,
        num_classes: int = 1000,
        channels: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (2, 2, 2),
        scale_range: tuple[float, float] = (0.5, 2.5),
        use_integrator: bool = True,
        lens: type[nn.Module] = MobiusLens,
    ) -> None:
        super().__init__()
        if len(channels) != len(depths) or not len(channels):  # of NumPy, perhaps, which has no truth value
            raise ValueError(
                f"channels and depths name one number per stage, but there are {len(channels)} and {len(depths)}."
            )
        if min(in_chans, num_classes, *channels, *depths) < 1:
            raise ValueError("in_chans, num_classes, and every entry of channels and depths must be at least 1.")
        total = sum(depths)
        self.stem = _conv_norm(in_chans, channels[0])
        self.stages, self.downsamples = nn.ModuleList(), nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            first = sum(depths[:stage])
            self.stages.append(
                nn.ModuleList(MobiusConvBlock(width, first + i, total, scale_range, lens=lens) for i in range(depth))
            )
            if stage + 1 < len(channels):
                self.downsamples.append(_conv_norm(width, channels[stage + 1], stride=2))
        self.integrator = (
            nn.Sequential(*_conv_norm(channels[-1], channels[-1]), nn.GELU()) if use_integrator else nn.Identity()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], num_classes)

    @property
    def blocks(self) -> list[MobiusConvBlock]:
        """All blocks, in the order in which the input meets them."""
        return [block for stage in self.stages for block in cast("list[MobiusConvBlock]", stage)]

    def forward(self, x: Tensor) -> Tensor:
        check_pictures(self, self.stem[0].in_channels, x)  # type: ignore[arg-type]  # of a convolution it is a number
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            for block in stage:  # type: ignore[attr-defined]  # it is a list of blocks
                x = block(x)
            if i < len(self.downsamples):
                x = self.downsamples[i](x)
        return self.head(self.pool(self.integrator(x)).flatten(1))


class GELUTwin(MobiusNet):
    """The same network with Linear-GELU-Linear in place of every lens: the baseline of every comparison.

    Everything else, the thirds mask and the learned residual included, is left as it is, so a difference between the
    two is a difference between lens and GELU.

    Source:
        ours.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, lens=GELULens, **kwargs)  # type: ignore[misc]  # whoever gives a lens is told by Python


def check_pictures(network: nn.Module, channels: int, x: Tensor) -> None:
    """Refuse what is no batch of pictures of that many channels.

    Raises:
        ValueError: in one sentence.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"A {type(network).__name__} takes a torch.Tensor, not a {type(x).__name__}.")
    if x.ndim != 4 or x.shape[1] != channels or not x.is_floating_point():
        last = x.ndim == 4 and x.shape[-1] == channels
        raise ValueError(
            f"This {type(network).__name__} takes floating-point pictures of shape (N, {channels}, height, width), not "
            f"{x.dtype} of shape {tuple(x.shape)}" + ("; move their channels with x.movedim(-1, 1)." if last else ".")
        )


def _conv_norm(in_chans: int, out_chans: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(out_chans)
    )
