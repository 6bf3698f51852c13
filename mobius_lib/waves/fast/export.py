"""A folded network as an ONNX file, for whoever runs it without torch: in a browser, on a phone, in another language.

Needs onnx, onnxscript and onnxruntime, which the rest of the library does not.

Source: ours.
"""

import copy
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

from mobius_lib.errors import MobiusError
from mobius_lib.files import check_writable, write_whole
from mobius_lib.waves.fast.fold import FoldedMobiusNet
from mobius_lib.waves.lens import use_backend

OPSET = 23
"""Version of ONNX's operators: of 2025, known to onnxruntime from 1.22 on."""
LOWEST_OPSET = 18
"""The lowest that torch's exporter writes; what is lower it would silently raise to this."""
TOLERANCE = 1e-4
"""How far onnxruntime's logits may lie from torch's, of the largest: two libraries' sums, sines and exponentials."""
NEEDS = ("onnx", "onnxscript", "onnxruntime")


class ExportError(MobiusError):
    """An ONNX file cannot be made, or would not give the network's logits."""


def export_onnx(
    folded: FoldedMobiusNet, path: Path | str, input_shape: tuple[int, int, int, int], opset: int = OPSET
) -> Path:
    """Write a folded network as one ONNX file, whole or not at all, after running it in onnxruntime.

    Its input `images` has any batch size, and otherwise the shape given here; its output is `logits`.

    Laws: for one picture and for several, logits equal to torch's to 1e-4 of the largest.

    Args:
        folded: what `fold` returns; it is not changed.
        path: the file, replaced where there is one; its folder is made where it is missing.
        input_shape: (N, C, H, W) as the network takes it; N only sizes the check.
        opset: version of the operators, for a runtime older than that; 18 at least.
    Returns:
        the path.
    Raises:
        TypeError: when the network is not folded.
        ExportError: when a package is missing, the shape or the opset does not fit, the exporter or the runtime
            refuses the network, the logits differ, or the file cannot be written.
    """
    if not isinstance(folded, FoldedMobiusNet):
        raise TypeError(f"export_onnx takes what fold(model) returns, not a {type(folded).__name__}.")
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"An ONNX file needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    if opset < LOWEST_OPSET:
        raise ExportError(f"torch's exporter knows opsets from {LOWEST_OPSET} on, not {opset}; {OPSET} is the default.")
    channels = folded.stem.in_channels
    if len(input_shape) != 4 or min(input_shape) < 1 or input_shape[1] != channels:
        raise ExportError(
            f"The network takes pictures of shape (N, {channels}, height, width), not {tuple(input_shape)}."
        )
    path = Path(path)
    check_writable(path, error=ExportError)  # now, and not after the conversion
    # plain operators, in the precision that every runtime has; no fused kernel can go into the file
    model = use_backend(copy.deepcopy(folded).cpu().float(), "eager").eval()
    content = _convert(model, input_shape, opset)
    _check(model, content, input_shape)
    write_whole(path, content, error=ExportError)
    return path


def _convert(model: FoldedMobiusNet, input_shape: tuple[int, int, int, int], opset: int) -> bytes:
    example = torch.zeros(2, *input_shape[1:])  # two: a batch of one would be taken for a constant
    try:
        with warnings.catch_warnings():
            # torch's exporter uses a name that torch itself has deprecated
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    except Exception as error:  # the exporter raises many types, and so do the packages below it
        raise ExportError(
            f"torch could not export the network to ONNX, opset {opset} ({type(error).__name__}); "
            f"try export_onnx(..., opset={OPSET}) or a newer torch and onnxscript."
        ) from error
    content = program.model_proto
    written = next(each.version for each in content.opset_import if not each.domain)
    if written != opset:
        raise ExportError(f"torch's exporter wrote opset {written} instead of {opset}; ask for opset={OPSET}.")
    _forget_origin(content)
    return content.SerializeToString()


def _forget_origin(content: Any) -> None:
    """Drop what the exporter notes beside each operator: lines of source code, and folders of the machine it ran on."""
    for graph in (content.graph, *content.functions):
        for entry in (graph, *graph.node, *graph.value_info, *getattr(graph, "input", ())):
            if hasattr(entry, "metadata_props"):
                del entry.metadata_props[:]


def _check(model: FoldedMobiusNet, content: bytes, input_shape: tuple[int, int, int, int]) -> None:
    """Compare with torch on made pictures: one, and several."""
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for batch in {1, max(input_shape[0], 3)}:
            x = torch.randn(batch, *input_shape[1:], generator=generator)
            with torch.no_grad():
                expected = model(x)
            (logits,) = session.run(["logits"], {"images": x.numpy()})
            error = (torch.from_numpy(logits) - expected).abs().max() / expected.abs().max()
            if not error <= TOLERANCE:
                raise ExportError(
                    f"The ONNX file would be off by {error:.1e} of the largest logit (allowed: {TOLERANCE:g}), so "
                    "nothing was written; check that the network's weights are finite."
                )
    except ExportError:
        raise
    except Exception as error:  # onnxruntime's own types are not public
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} refuses the exported network ({type(error).__name__}); "
            "upgrade it (pip install -U onnxruntime), or give export_onnx an older opset."
        ) from error
