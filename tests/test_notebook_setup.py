"""The first cell of every chapter, and how its figures are shown."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as XML

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


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed."""
    found: list = []
    monkeypatch.setattr(IPython.display, "display", found.append)
    notebook.figure_style()
    return found


def test_a_figure_has_a_caption_and_words_for_those_who_hear_it(shown):
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1])
    told, caption = 'The lens "wins" for α < 2 & loses <b>above</b>.', "Lens & twin, α < 2."
    notebook.describe(figure, caption, told)
    picture = XML.fromstring(shown[0].data)
    assert [each.tag for each in picture] == ["svg", "figcaption"] and picture[1].text == caption
    assert picture[0].get("aria-label") == told and picture[0].get("role") == "img"
    assert not plt.fignum_exists(figure.number), "closed, so that it is not shown twice"


def test_a_figure_takes_the_colours_of_the_page(shown):
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], color="black")
    axes.plot([0, 1], [1, 0], "o", color=notebook.COLOURS["reported"], markerfacecolor="white", label="a word")
    axes.plot([0, 1], [1, 1], color=notebook.COLOURS["lens"])
    axes.legend()
    notebook.describe(figure, "A caption.", "told")
    source = shown[0].data
    assert not re.search("#(000000|ffffff|555555)", source, re.IGNORECASE)
    assert notebook.COLOURS["lens"].lower() in source.lower()
    picture = XML.fromstring(source)[0]
    assert picture.get("fill") == "currentColor"
    assert "a word" in [text.text for text in picture.iter("text")], "letters, and not their outlines"


def test_two_figures_in_a_page_do_not_share_what_they_refer_to(shown):
    for told in ("one", "another", "one"):
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1], "o")
        notebook.describe(figure, "A caption.", told)
    one, another, again = (set(re.findall(r'id="([^"]*)"', each.data)) for each in shown)
    assert one and not one & another
    assert one == again and shown[0].data == shown[2].data, "the same figure, the same page"
    for each in shown:
        assert set(re.findall(r"url\(#([^)]*)\)", each.data)) <= set(re.findall(r'id="([^"]*)"', each.data))


def test_a_figure_that_no_phone_shows_is_refused(shown):
    figure, _ = plt.subplots(1, 2, figsize=(9, 3))
    with pytest.raises(ValueError, match=r"is 9 inches wide; a phone shows 4\.5: stack its panels"):
        notebook.describe(figure, "A caption.", "told")
    figure, axes = plt.subplots()
    axes.set_xlabel("small", fontsize=8)
    with pytest.raises(ValueError, match="letters of 8 points"):
        notebook.describe(figure, "A caption.", "told")
    assert not shown
    plt.close("all")


@pytest.mark.parametrize(("low", "high"), [(1e-7, 1e6), (0.02, 0.09), (128, 4096)])
def test_powers_on_an_axis_are_as_large_as_other_letters(shown, low: float, high: float):
    figure, axes = plt.subplots()
    axes.plot([1, 2], [low, high])
    axes.set(yscale="log")
    notebook.describe(figure, "A caption.", "told")
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", shown[0].data)}
    assert sizes == {notebook.LETTERS}
    labels = [text.text for text in XML.fromstring(shown[0].data).iter("text")]
    assert len(labels) > 6 and ("10⁻⁶" in labels) == (low == 1e-7)
