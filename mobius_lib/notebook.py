"""What the first cell of every chapter calls, and the one style of every figure."""

import os
import sys
import warnings
from collections.abc import Callable
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
    return "Run from top to bottom, this chapter takes " + "; ".join(said) + "."


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
    """One look for all figures: quiet axes, legible on a phone, sharp on any screen."""
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "figure.figsize": (7.2, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values())),  # type: ignore[attr-defined]  # its stub lacks it
        }
    )


def describe(figure: Any, text: str) -> None:
    """Show a matplotlib figure with an alternative text, for readers who hear the page.

    Args:
        figure: a matplotlib figure; it is closed afterwards.
        text: what the figure shows, in a sentence or two.
    """
    import base64
    import io
    from html import escape

    import matplotlib.pyplot as plt
    from IPython.display import HTML, display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    plt.close(figure)
    picture = base64.b64encode(buffer.getvalue()).decode()
    display(
        HTML(
            f'<img class="dark-light" alt="{escape(text, quote=True)}" src="data:image/png;base64,{picture}" '
            'style="width:100%;max-width:760px;height:auto">'
        )
    )
