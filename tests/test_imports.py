"""book/imports.md: what it says to import or to run is there, and the sources' own lines run after the exchange."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.commands import parsed

ROOT = Path(__file__).resolve().parent.parent
_, IMPORTS, COMMANDS, ROOMS = (ROOT / "book" / "imports.md").read_text("utf-8").split("\n## ")


def rows_of(text: str) -> list[list[str]]:
    """Of the one table in it, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS, DONE_BY = rows_of(IMPORTS), rows_of(COMMANDS)
INSTEAD = [row[2].strip("`") for row in ROWS]


def test_every_row_says_what_to_import():
    assert len(ROWS) >= 20
    for source, theirs, instead in ROWS:
        assert source and re.fullmatch(r"`from mobius_lib[.\w]* import [\w, ]+`", instead), theirs
    assert (ROOT / "_toc.yml").read_text("utf-8").count("file: book/imports") == 1


@pytest.mark.parametrize("line", dict.fromkeys(INSTEAD))
def test_every_import_works(line):
    names: dict[str, object] = {}
    exec(line, names)
    for name in line.partition(" import ")[2].split(", "):
        assert names[name] is not None


@pytest.mark.parametrize("row", DONE_BY, ids=lambda row: row[1])
def test_every_command_exists_with_its_options(row):
    source, theirs, command = row
    assert source in {each for each, *_ in ROWS} and theirs
    assert command == "the same command once more" or parsed(command.strip("`"))


def test_a_command_that_is_not_there_is_noticed():
    for line in ("mobius fly", "mobius run waves-ships", "mobius run waves-clip --scale quick"):
        with pytest.raises((KeyError, AssertionError)):
            parsed(line)
    # click's own error, or that of the click which typer brings with it
    with pytest.raises(Exception, match=r"(?i)no such option:? .*--wheels"):
        parsed("mobius run waves-clip --wheels 4")


def test_the_readmes_four_scripts_have_commands():
    theirs = {name for _, cell, _ in DONE_BY for name in re.findall(r"examples/(\w+)\.py", cell)}
    assert theirs == {"demo", "train_gpu", "train_optimized", "performance_test"}


def test_every_room_of_every_chapter_is_there():
    rooms = set(re.findall(r"`((?:mobius_lib|data|tests)/[\w/.]*NAME[\w/.]*)`", ROOMS))
    assert len(rooms) == 8 and len(rows_of(ROOMS)) == 5
    for source, chapter, name in rows_of(ROOMS):
        assert all(any(part.startswith(each) for each, *_ in ROWS) for part in re.split(", |; ", source)), source
        pages = re.findall(r"\((\w+\.ipynb)\)", chapter)
        assert all((ROOT / "book" / page).is_file() for page in pages)
        assert pages[0].endswith(f"_{name.strip('`')}.ipynb")
        missing = [room for room in rooms if not (ROOT / room.replace("NAME", name.strip("`"))).exists()]
        assert not missing, f"{name} has no {missing}"


def test_names_are_those_of_the_source():
    """Where a source prints its import, the same names come from here, but for the picture encoder."""
    printed = [(theirs.strip("`"), instead) for _, theirs, instead in ROWS if theirs.startswith("`from ")]
    assert len(printed) == 6
    for theirs, instead in printed:
        ours = set(instead.strip("`").partition(" import ")[2].split(", "))
        assert ours == set(theirs.partition(" import ")[2].split(", ")) or ours == {"encoder"}


def test_the_sources_snippets_run(tmp_path):
    """Inference of two cards, at sizes of their own kind, and the two snippets of the MetaMobius note."""
    names: dict[str, object] = {"torch": torch}
    for line in INSTEAD:
        exec(line, names)
    network, presets, david = names["MobiusNet"], names["PRESETS"], names["GeoFractalDavid"]
    model = network(num_classes=200, use_integrator=True, **presets["mobius_tiny_s"])
    save_file(model.state_dict(), tmp_path / "best_model.safetensors")
    model.load_state_dict(load_file(tmp_path / "best_model.safetensors"))
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 3, 16, 16)).argmax(1).shape == (1,)
    model = david(feature_dim=16, num_classes=10, k=5, scales=[8, 12], alpha_init=0.5, tau=0.25).eval()
    features = torch.randn(4, 16)
    with torch.no_grad():
        assert model(features).argmax(dim=-1).shape == (4,)
    assert f"{model.cantor_stairs.alpha.item():.4f}" == "0.5000" and model.get_geometric_weights().keys() == {8, 12}
    assert model.get_cantor_interval_distribution(features).shape == (4, 3)
    layer = names["MetaMobiusLinear"](64, 64)
    assert layer(torch.randn(3, 64)).shape == (3, 64) and len(layer.compression_ratio()) == 3
    tokens = torch.randint(0, 12, (400,), generator=torch.Generator().manual_seed(0))
    bridges = [names["MobiusHarmonicBridge"](window=window) for window in [5, 15, 50]]
    assert names["MetaMobiusLinear"].from_l4_bridges(bridges, 12, tokens, None)(torch.randn(2, 12)).shape == (2, 12)
