"""Files that a widget fetches only once its reader asks, and how they travel: beside a page, or from a kernel."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from traitlets import TraitError, Unicode, validate

from mobius_lib.widgets.explorer import Explorer
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List


class Packed(Explorer):
    """A widget that has files, and a program for workers, which the page fetches when its reader asks for them.

    A page of the book finds them beside it, in the file that `page_script` makes; elsewhere Python sends them.

    Args:
        own: what the page is told and nobody may set later, by trait.
        traits: further traits.
    """

    engine: tuple[str, ...] = ()
    """The JavaScript files of the workers' program."""
    megabytes = Float(read_only=True).tag(sync=True)
    pack = Unicode(read_only=True).tag(sync=True)

    def __init__(self, own: Mapping[str, Any], **traits: Any) -> None:
        for name, value in own.items():
            self.set_trait(name, value)
        super().__init__(**traits)
        self.set_trait("megabytes", len(self.page_script(self.pack)) / 1e6)
        self.on_msg(self._answer)

    def files(self) -> dict[str, bytes]:
        """What the workers read, by name."""
        raise NotImplementedError

    def page_script(self, name: str) -> str:
        """The text of `_static/NAME.js`, in which a page of the book finds the files and the program."""
        files = {key: base64.b64encode(content).decode() for key, content in self.files().items()}
        pack = json.dumps({"engine": served(*self.engine), "files": files})
        return f"(globalThis.mobiusPacks ??= {{}})[{json.dumps(name)}] = {pack};\n"

    def _answer(self, _: Any, content: Any, __: Any) -> None:
        if content == {"ask": "files"}:
            files = self.files()
            self.send({"engine": served(*self.engine), "names": list(files)}, list(files.values()))


class Pictured(Packed):
    """A network that classifies pictures, in the page with some that it was not trained on.

    Args:
        network: in evaluation mode on the CPU; kept, not copied.
        pictures: (N, side, side) uint8, held out; side at most 64.
        labels: (N,) their classes.
        names: of the classes.
        pack: name of the script that holds the files in the book's pages; "" where only a kernel has them.
        own: as in `Packed`.
        normal: mean and deviation by which the network wants bytes normalised, (byte - mean) / deviation.
        inputs: (N, ...) what the network reads in place of bytes, in the precision of its logits.
        traits: further traits.
    Raises:
        ValueError: for pictures of another kind.
        TraitError: for a picture that is not there.
    """

    least, beside = 0, ""
    """Of `picture`, and what its refusal says of numbers that are no row."""

    picture = Int(0).tag(sync=True)
    names = List(Unicode(), read_only=True).tag(sync=True)
    rows = Int(read_only=True).tag(sync=True)
    side = Int(read_only=True).tag(sync=True)

    def __init__(
        self,
        network: Any,
        pictures: Tensor,
        labels: Tensor,
        names: Sequence[str],
        pack: str,
        own: Mapping[str, Any],
        normal: tuple[float, float] = (0.0, 1.0),
        inputs: Tensor | None = None,
        **traits: Any,
    ) -> None:
        rows, side = square(pictures)
        self._network, (mean, deviation) = network, map(float, normal)
        self._pictures, self._labels = pictures.cpu(), labels.cpu()
        self._inputs = ((self._pictures.float() - mean) / deviation).unsqueeze(1) if inputs is None else inputs
        self._facts = {"side": side, "labels": self._labels.tolist(), "mean": mean, "deviation": deviation}
        super().__init__({"rows": rows, "side": side, "names": list(names), "pack": pack, **own}, **traits)

    @validate("picture")
    def _row(self, proposal: dict[str, Any]) -> int:
        value: int = proposal["value"]
        if not self.least <= value < self.rows:
            raise TraitError(f"picture is a row from 0 to {self.rows - 1}{self.beside}; got {value}.")
        return value

    def network(self) -> Any:
        """The network as it is set in the page, in float32 and evaluation mode."""
        raise NotImplementedError

    @torch.no_grad()
    def logits(self, rows: Sequence[int] | None = None) -> Tensor:
        """What the network, as it is set, gives the held-out pictures (all, or those rows): (N, classes)."""
        x = self._inputs if rows is None else self._inputs[list(rows)]
        network = self.network().to(x.dtype)
        return torch.cat([network(part) for part in x.split(100)])

    def accuracy(self) -> float:
        """The share of the held-out pictures that the network, as it is set, classifies correctly."""
        return (self.logits().argmax(1) == self._labels).double().mean().item()

    def _files(self, weights: Mapping[str, Tensor], **facts: Any) -> dict[str, bytes]:
        """The weights (safetensors), the pictures' bytes, and what belongs to them (JSON)."""
        from safetensors.torch import save

        return {
            "weights": save(dict(weights)),
            "pictures": self._pictures.numpy().tobytes(),
            "facts": json.dumps(self._facts | facts).encode(),
        }


def square(pictures: Tensor) -> tuple[int, int]:
    """How many pictures there are, and their side.

    Raises:
        ValueError: where they are not (N, side, side) uint8 with a side from 1 to 64.
    """
    shape = tuple(pictures.shape)
    if pictures.dtype != torch.uint8 or len(shape) != 3 or shape[1] != shape[2] or not 1 <= shape[1] <= 64:
        raise ValueError(f"pictures are (N, side, side) uint8 with side up to 64, not {pictures.dtype} of {shape}.")
    return shape[0], shape[1]
