"""From a run's model to a file to text: the same weights, the same text, and bad files and words named."""

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mobius_lib.cli import app
from mobius_lib.errors import CheckpointError, MobiusError
from mobius_lib.runs.about import RunError
from mobius_lib.runs.twistor import generate
from mobius_lib.twistor import TwistorHopeArchitecture


@pytest.fixture
def kept(tmp_path):
    torch.manual_seed(0)
    model = TwistorHopeArchitecture(vocab_size=4, dim=6, num_nested_levels=2, num_memories=2, continuum_levels=1)
    path = tmp_path / "model.safetensors"
    generate.save(model, "abc ", path)
    return model, path


def test_a_file_is_the_model(kept):
    model, path = kept
    again, letters = generate.restore(path)
    assert again.config == model.config and letters == "abc " and not again.training
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    text = "".join(generate.written(path, "ab a", 30, seed=2))
    expected = again.generate(torch.tensor([[0, 1, 3, 0]]), 30, seed=2)[0]
    assert text == "".join("abc "[token] for token in expected) and len(text) == 30
    ended = "".join(generate.written(path, "ab a", 30, seed=2, stop="c "))
    assert ended == text[: min(text.index(letter) for letter in "c " if letter in text) + 1]


def test_the_command_trains_once_and_writes_the_same_again(tmp_path):
    """On the quick scale of twistor-text."""
    words = ["generate", "In the", "--length", "30", "--work", str(tmp_path), "--seed", "1"]
    first = CliRunner().invoke(app, words, catch_exceptions=False)
    assert first.exit_code == 0 and "training" in first.stderr
    assert first.stdout.startswith("In the") and len(first.stdout) == len("In the") + 30 + 1
    again = CliRunner().invoke(app, words, catch_exceptions=False)
    assert again.stdout == first.stdout and "training the" not in again.stderr
    other = CliRunner().invoke(app, [*words[:-1], "2"], catch_exceptions=False)
    assert other.stdout != first.stdout
    assert [each.name for each in tmp_path.rglob("*.safetensors")] == ["twistor.quick.safetensors"]


def test_bad_input(kept, tmp_path):
    _, path = kept
    damaged, foreign, altered = (tmp_path / f"{name}.safetensors" for name in ("damaged", "foreign", "altered"))
    damaged.write_bytes(path.read_bytes()[:100])
    save_file({"x": torch.zeros(2)}, foreign)
    about = {"format": "mobius_lib language model 1", "config": '{"dim": 7}', "letters": "ab"}
    save_file({"x": torch.zeros(2)}, altered, about)
    for file, message in (
        (tmp_path / "none", "no weights file"), (damaged, "cannot be read"), (foreign, "holds no language model"),
        (altered, "describes no model .*dim must be even"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=message):
            generate.written(file, "a", 3)
    for given, message in (
        ({"prompt": ""}, "prompt is empty"), ({"prompt": "aXb"}, "'X', which is not in the alphabet"),
        ({"stop": "q"}, "'q', which is not in"), ({"temperature": -1.0}, "temperature must be"),
        ({"seed": -1}, "seed must be"),
    ):  # fmt: skip
        with pytest.raises(RunError, match=message):
            generate.written(path, **{"prompt": "a", "length": 3} | given)
    with pytest.raises(MobiusError, match="no scale 'huge'; --scale is quick, short, full"):
        generate.trained("huge", "cpu", tmp_path / "made", print)
    assert not (tmp_path / "made").exists()
    said = []
    with pytest.raises(RunError, match=r"cannot be written \(it is a folder\); give another --work"):
        generate.trained("quick", "cpu", tmp_path, said.append)
    assert not said, "before the training"
