"""What the first cell of every chapter calls, and the one style of every figure."""

import math
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

SCALES = ("quick", "full")
# Okabe and Ito's palette: told apart by all common kinds of colour vision
COLOURS = {"lens": "#0072B2", "gelu": "#D55E00", "linear": "#009E73", "other": "#CC79A7", "reported": "#555555"}
WAVES = {
    "l": ("#0072B2", "-"),
    "m": ("#008561", (0, (3.5, 2))),
    "r": ("#D55E00", (0, (5, 1.5, 1, 1.5))),
}
"""Colour and line of a lens's three waves, as chapter 1's widget draws them."""
WIDTH, LETTERS, SHOWN = 4.5, 11, 520
"""A figure's width in inches and its letters in points: at the 324 pixels that a phone of 390 has for it, they have 11;
and the pixels to which it grows on a wide screen, where its letters are as large as those of the text."""
INK = {
    "#000000": "currentColor",
    "#ffffff": "var(--pst-color-background, Canvas)",
    COLOURS["reported"]: "color-mix(in srgb, currentColor 70%, transparent)",
}
"""Of a figure's colours those that are the page's, so that they follow its theme."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def setup(seed: int = 0) -> tuple[torch.device, str]:
    """Seed torch, set the figure style, and say on what and at which scale the chapter runs.

    The scale is $MOBIUS_SCALE where that is set, else "full" on a GPU and "quick" on a CPU.

    Args:
        seed: for torch's generator.
    Returns:
        the device, and "quick" or "full".
    Raises:
        ValueError: when MOBIUS_SCALE is something else.
    """
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    scale = os.environ.get("MOBIUS_SCALE") or ("full" if gpu else "quick")
    if scale not in SCALES:
        raise ValueError(f"MOBIUS_SCALE is {scale!r}; use quick or full.")
    torch.manual_seed(seed)
    figure_style()
    _let_colab_show_widgets()
    warnings.filterwarnings("ignore", message=".*IProgress not found.*")
    name = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"device: {name} · scale: {scale} · torch {torch.__version__}")
    return device, scale


def _let_colab_show_widgets() -> None:
    """Colab shows widgets that are not part of ipywidgets only when asked to; elsewhere there is nothing to do."""
    if "google.colab" in sys.modules:
        from google.colab import output

        output.enable_custom_widget_manager()


def minutes(chapter: str) -> str:
    """How long a chapter took to run, where that was measured (`make minutes` writes it down), as a sentence.

    Args:
        chapter: a notebook's name, for instance "1_waves".
    """
    import json

    from mobius_lib.datasets import data_dir

    path = data_dir() / "chapter-minutes.json"
    measured = json.loads(path.read_text()).get(chapter, {}) if path.is_file() else {}
    if not measured:
        return "How long this chapter takes to run was not measured yet."
    said = [f"{each['minutes']:.1f} minutes at {each['scale']} scale on {each['device']}" for each in measured.values()]
    missing = [kind for kind in ("cpu", "cuda") if kind not in measured]
    said += [f"not measured yet on a {'GPU' if kind == 'cuda' else 'CPU'}" for kind in missing]
    return (
        "Run from top to bottom on a machine that does nothing else, this chapter takes " + "; ".join(said) + ". "
        "What a cell prints of its own time is from the machine that built this page, which may have been busy."
    )


def show_source(function: Callable[..., Any]) -> Any:
    """The body of a function as a block of Python, without its docstring: the code that an equation stands beside.

    Args:
        function: any function written in Python.
    Returns:
        an object that a notebook shows as highlighted code.
    """
    import ast
    import inspect
    import textwrap

    from IPython.display import Markdown

    source = textwrap.dedent(inspect.getsource(function))
    definition: Any = ast.parse(source).body[0]
    first = definition.body[0]
    lines = source.split("\n")
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        del lines[first.lineno - 1 : first.end_lineno]
    return Markdown("```python\n" + "\n".join(lines).rstrip() + "\n```")


def figure_style() -> None:
    """One look for all figures: quiet axes, and letters that a phone shows at 11 pixels."""
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.4),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": LETTERS,
            "axes.titlesize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "legend.handlelength": 1.6,
            "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values())),  # type: ignore[attr-defined]  # its stub lacks it
        }
    )


def stacked(panels: int, height: float = 2.8, **options: Any) -> tuple[Any, Any]:
    """A figure of several panels, one below the other, as wide as a phone.

    Args:
        panels: at least two.
        height: of each, in inches.
        options: of `matplotlib.pyplot.subplots`.
    Returns:
        the figure, and its axes from top to bottom.
    """
    import matplotlib.pyplot as plt

    return plt.subplots(panels, 1, figsize=(WIDTH, panels * height), **options)


def describe(figure: Any, caption: str, told: str) -> None:
    """Show a matplotlib figure in the colours of the page, in the light theme and the dark one, with its caption.

    Args:
        figure: a matplotlib figure; it is closed afterwards.
        caption: what is to be seen, in a sentence.
        told: what the figure shows, for readers who hear the page.
    Raises:
        ValueError: when the figure is so wide, or its letters are so small, that nobody could read them on a phone.
    """
    from html import escape

    import matplotlib.pyplot as plt
    from IPython.display import HTML, display

    from mobius_lib.diagram import with_caption

    if figure.get_figwidth() > WIDTH:
        wide = f"The figure is {figure.get_figwidth():g} inches wide; a phone shows {WIDTH:g}"
        raise ValueError(f"{wide}: stack its panels.")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _plain_powers(axis)
    svg = _svg(figure, told)
    plt.close(figure)
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", svg)]
    if small := [size for size in sizes if size < LETTERS]:
        raise ValueError(
            f"The figure has letters of {min(small):g} points; of less than {LETTERS} a phone makes a blur."
        )
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(told, quote=True)}"', 1)
    display(HTML(with_caption(svg, caption)))


def _plain_powers(axis: Any) -> None:
    """Label a logarithmic axis without mathematics, whose exponents would be smaller than other letters."""
    from matplotlib.ticker import LogFormatter, LogFormatterMathtext

    class Plain(LogFormatter):
        def __call__(self, value: float, place: int | None = None) -> str:
            return _plain(value) if super().__call__(value, place) else ""

    if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
        axis.set_major_formatter(Plain())
    if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
        axis.set_minor_formatter(Plain(labelOnlyBase=False))


def _plain(value: float) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    if -3 <= exponent < 5:
        return f"{value:,.6g}"
    digits = f"{value / 10**exponent:.3g}"
    return ("" if digits == "1" else f"{digits} × ") + "10" + str(exponent).translate(RAISED)


def _svg(figure: Any, salt: str) -> str:
    """The figure as an SVG that stands in a page among others: letters are letters, black is the page's own ink."""
    import io

    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):  # its ids are not those of another figure
        figure.savefig(buffer, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    _, _, width, height = re.search(r'viewBox="([^"]*)"', svg)[1].split()  # type: ignore[index]  # matplotlib writes it
    body = svg[svg.index("</metadata>") + len("</metadata>") :]
    body = re.sub(r'<style type="text/css">.*?</style>|<!--.*?-->|(?<=<g) id="[^"]*"', "", body, flags=re.DOTALL)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", body)
    rounded = partial(re.sub, r"(\.\d\d)\d+", r"\1")  # a hundredth of a pixel, and half the weight of the page
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: rounded(found[0]), body)
    for colour, of_the_page in INK.items():
        body = re.sub(colour, of_the_page, body, flags=re.IGNORECASE)
    return (
        f'<svg viewBox="0 0 {width} {height}" fill="currentColor" stroke-linejoin="round" style="width:100%;'
        f'max-width:{SHOWN}px;height:auto;display:block;margin:0 auto" xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
    )
