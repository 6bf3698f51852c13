"""The README says what the ledger computes, and shows what it points to."""

import ast
import re
import textwrap
from pathlib import Path

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib.datasets.encoders import ENCODERS
from mobius_lib.ledger.readme import BEGIN, END, stale
from mobius_lib.runs import own
from tests.pictures import COLOURS, folder, stand_in

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_the_table_is_what_the_ledger_computes():
    assert not stale(README), "run `make readme`"


def test_the_table_would_be_noticed_if_it_were_edited(tmp_path):
    text = README.read_text("utf-8")
    block = text[text.index(BEGIN) : text.index(END)]
    assert "reproduced" in block
    edited = tmp_path / "README.md"
    edited.write_text(text.replace("reproduced", "refuted", 1), "utf-8")
    assert stale(edited)


def test_every_file_that_it_points_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_lines_turn_pictures_into_names(tmp_path, monkeypatch, capsys):
    """As they stand there, with small pictures and a stand-in of the encoder."""
    (block,) = re.findall(r"```python\n(  from mobius_lib import predict.*?)  ```", README.read_text("utf-8"), re.S)
    lines = [line for line in textwrap.dedent(block).splitlines() if line]
    assert len(lines) == 3
    for name in ("efficientnet-lite0", "stand-in"):
        monkeypatch.setitem(ENCODERS, name, stand_in)
    monkeypatch.setattr(own, "FEW_STEPS", 1)  # as many epochs as of more pictures
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "photos", each=5)
    (tmp_path / "photos" / "red" / "04.png").rename("new.jpg")
    exec("\n".join(lines), {})
    ((found,),) = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines() if line.startswith("[[")]
    assert {name for name, _ in found} == {*COLOURS} and abs(sum(share for _, share in found) - 1) < 1e-5
    # the command does the same with the file that the first of its lines leaves
    options = ["--output", "photos.safetensors", "--device", "cpu"]
    assert CliRunner().invoke(cli.app, ["features", "photos", *options]).exit_code == 0
    rows = load_file("photos.safetensors")["features"]
    (kept,) = Path("outputs", "features").glob("*.safetensors")
    assert torch.equal(rows, load_file(kept)["features"])
