"""The first cell of every chapter, and how its figures are shown."""

import base64
import re
import struct
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import IPython.display
import matplotlib as mpl
import pytest
import torch

mpl.use("agg")
import matplotlib.pyplot as plt

from mobius_lib import notebook


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Style, filters, random state and scale are global; each test finds and leaves them as they were."""
    monkeypatch.delenv("MOBIUS_SCALE", raising=False)
    with mpl.rc_context(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    def pretend(there: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")

    return pretend


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (False, None, "quick"),
        (True, None, "full"),
        (False, "", "quick"),
        (True, "", "full"),
        (True, "quick", "quick"),
        (False, "full", "full"),
    ],
)
def test_the_scale_is_what_is_asked_for_else_what_the_machine_can_do(gpu, monkeypatch, capsys, there, asked, expected):
    gpu(there)
    if asked is not None:
        monkeypatch.setenv("MOBIUS_SCALE", asked)
    device, scale = notebook.setup()
    assert scale == expected and device == torch.device("cuda" if there else "cpu")
    printed = capsys.readouterr().out
    name = "NVIDIA H100" if there else f"CPU, {torch.get_num_threads()} threads"
    assert printed == f"device: {name} · scale: {expected} · torch {torch.__version__}\n"


def test_the_waves_have_the_colours_of_the_widget():
    style = (Path(notebook.__file__).parent / "widgets" / "shared.css").read_text("utf-8")
    light = style.split(".mw.dark")[0]
    assert {name: colour.lower() for name, (colour, _) in notebook.WAVES.items()} == {
        name: re.search(rf"--{name}: (#\w+);", light)[1] for name in "lmr"
    }


@pytest.mark.parametrize("asked", ["Full", "medium", " quick", "1"])
def test_an_unknown_scale_is_refused(monkeypatch, asked):
    monkeypatch.setenv("MOBIUS_SCALE", asked)
    with pytest.raises(ValueError, match=f"MOBIUS_SCALE is '{asked}'; use quick or full"):
        notebook.setup()


def test_it_seeds_torch(gpu, capsys):
    gpu(False)
    draws = []
    for seed in (0, 0, 1):
        notebook.setup(seed)
        draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    notebook.setup()
    assert torch.equal(torch.rand(4), draws[0]), "0 unless told otherwise"


def test_other_warnings_are_still_errors(gpu, capsys):
    gpu(False)
    notebook.setup()
    warnings.warn("IProgress not found. Please update jupyter.", stacklevel=1)  # a bar that is text: no reader's worry
    with pytest.raises(UserWarning, match="anything else"):
        warnings.warn("anything else", stacklevel=1)


def test_colours_can_be_told_apart():
    """By eyes that see all colours and, from their lightness, by those that do not: adjacent ones differ enough."""
    values = list(notebook.COLOURS.values())
    assert len(set(values)) == len(values) >= 5
    assert {"lens", "gelu", "linear", "reported"} <= notebook.COLOURS.keys()
    notebook.figure_style()
    assert [entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]] == values
    # Okabe and Ito chose by hue, so lightness alone need not separate all; lens and gelu stand side by side everywhere
    light = {name: sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), mpl.colors.to_rgb(colour), strict=True))
             for name, colour in notebook.COLOURS.items()}  # fmt: skip
    assert abs(light["lens"] - light["gelu"]) > 0.05


class Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert tag == "img"
        self.found.append(dict(attributes))


def test_a_figure_has_words_for_those_who_hear_it(monkeypatch):
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    notebook.figure_style()
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1])
    text = 'The lens "wins" for α < 2 & loses <b>above</b>.'
    notebook.describe(figure, text)
    images = Images()
    images.feed(shown[0].data)
    (image,) = images.found
    assert image["alt"] == text
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    picture = base64.b64decode(data)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) == (7.2 * 160, 3.6 * 160), "more pixels than the 760 it is shown in"
    assert "max-width" in image["style"]
    assert not plt.fignum_exists(figure.number), "closed, so that it is not shown twice"
