"""The ONNX file: what onnxruntime computes from it, and what is left when it cannot be made."""

import importlib.util
import os

import pytest
import torch

from mobius_lib.errors import MobiusError
from mobius_lib.waves import GELUTwin, MobiusNet
from mobius_lib.waves.fast import export
from mobius_lib.waves.fast.export import ExportError, export_onnx
from mobius_lib.waves.fast.fold import fold

SHAPE = (2, 3, 9, 7)


@pytest.fixture(scope="module", params=[MobiusNet, GELUTwin])
def folded(request):
    torch.manual_seed(0)
    model = request.param(in_chans=3, num_classes=4, channels=(5, 8), depths=(1, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return fold(model.eval())


@pytest.fixture(scope="module")
def exported(folded, tmp_path_factory):
    return export_onnx(folded, tmp_path_factory.mktemp("onnx") / "net.onnx", SHAPE)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_gives_torchs_logits(folded, exported, batch):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    x = torch.randn(batch, *SHAPE[1:], generator=torch.Generator().manual_seed(batch))
    (logits,) = session.run(["logits"], {"images": x.numpy()})
    with torch.no_grad():
        expected = folded(x)
    # two libraries' convolutions, sines and exponentials, each good to some 1e-7, through two blocks
    assert logits.shape == (batch, 4)
    assert (torch.from_numpy(logits) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_file_is_valid_current_and_says_nothing_of_the_machine(exported):
    import onnx

    content = onnx.load(exported)
    onnx.checker.check_model(content, full_check=True)
    assert content.opset_import[0].version == export.OPSET
    (given,), (made,) = content.graph.input, content.graph.output
    assert (given.name, made.name) == ("images", "logits")
    batch, *rest = given.type.tensor_type.shape.dim
    assert batch.dim_param and [each.dim_value for each in rest] == list(SHAPE[1:])
    raw = exported.read_bytes()
    for word in (b"stack_trace", b"mobius_lib", b".py", os.fsencode(os.getcwd())):
        assert word not in raw
    assert [path.name for path in exported.parent.iterdir()] == ["net.onnx"], "one file, weights included"


def test_an_exported_network_is_not_changed(folded, tmp_path):
    before = {name: value.clone() for name, value in folded.state_dict().items()}
    modes = [getattr(module, "backend", None) for module in folded.modules()]
    export_onnx(folded, tmp_path / "again.onnx", SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in folded.state_dict().items())
    assert [getattr(module, "backend", None) for module in folded.modules()] == modes


def test_other_logits_are_noticed_and_nothing_is_written(folded, tmp_path, monkeypatch):
    """The file that was there stays."""
    path = tmp_path / "net.onnx"
    path.write_text("mine")
    convert = export._convert

    def wrong(model, *rest):
        with torch.no_grad():
            model.head.bias[0] += 0.01
        content = convert(model, *rest)
        with torch.no_grad():
            model.head.bias[0] -= 0.01
        return content

    monkeypatch.setattr(export, "_convert", wrong)
    with pytest.raises(ExportError, match="nothing was written"):
        export_onnx(folded, path, SHAPE)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def quick(monkeypatch):
    """No conversion and no check: for what happens around them."""
    monkeypatch.setattr(export, "_convert", lambda *args: b"whole")
    monkeypatch.setattr(export, "_check", lambda *args: None)


def test_written_whole_or_not_at_all(folded, quick, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_text("mine")

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(ExportError, match="no space left"):
            export_onnx(folded, path, SHAPE)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ExportError, match=r"cannot be written \(file exists\)"):
        export_onnx(folded, path / "net.onnx", SHAPE)
    assert export_onnx(folded, str(path), SHAPE) == path
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(2, 1, 9, 7), (2, 3, 9), (2, 3, 0, 7), (0, 3, 9, 7)])
def test_a_shape_that_does_not_fit_is_refused(folded, quick, tmp_path, shape):
    with pytest.raises(ExportError, match=r"shape \(N, 3, height, width\), not"):
        export_onnx(folded, tmp_path / "net.onnx", shape)


def test_only_a_folded_network_is_exported(tmp_path):
    with pytest.raises(TypeError, match=r"what fold\(model\) returns, not a MobiusNet"):
        export_onnx(MobiusNet(), tmp_path / "net.onnx", SHAPE)


def test_a_missing_package_is_named_with_its_command(folded, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else find(name, *rest))
    with pytest.raises(MobiusError, match=r"pip install onnx onnxscript onnxruntime$"):
        export_onnx(folded, tmp_path / "net.onnx", SHAPE)


@pytest.mark.parametrize("opset", [3, 17, 999])
def test_an_opset_that_cannot_be_written_is_refused(folded, tmp_path, opset):
    with pytest.raises(ExportError, match=f"{opset}"):
        export_onnx(folded, tmp_path / "net.onnx", SHAPE, opset=opset)
    assert not list(tmp_path.iterdir())


def test_an_older_opset_is_written_as_asked(folded, tmp_path):
    import onnx

    path = export_onnx(folded, tmp_path / "net.onnx", SHAPE, opset=18)
    assert onnx.load(path).opset_import[0].version == 18
