"""book/imports.md: what it says to import is there, and the sources' own lines run after the exchange."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "book" / "imports.md").read_text("utf-8").splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")][1:]
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


def test_names_are_those_of_the_source():
    """Where a source prints its import, the same names come from here, but for the picture encoder."""
    printed = [(theirs.strip("`"), instead) for _, theirs, instead in ROWS if theirs.startswith("`from ")]
    assert len(printed) == 6
    for theirs, instead in printed:
        ours = set(instead.strip("`").partition(" import ")[2].split(", "))
        assert ours == set(theirs.partition(" import ")[2].split(", ")) or ours == {"encoder"}


def test_the_sources_snippets_run(tmp_path):
    """Inference of seeds 000 and 002, at sizes of their own kind, and the two snippets of seed 003."""
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
