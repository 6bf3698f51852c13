"""What every widget of the book is: a state that its reader may take along, as a link, as a picture and as Python."""

from typing import Any

import anywidget
from traitlets import Unicode

from mobius_lib.widgets.traits import List


def recipe(widget: str, last: str) -> str:
    """The Python that makes one of `mobius_lib.widgets`, and of it something more, as `Explorer.recipe` has it."""
    return f"from mobius_lib.widgets import {widget}\n\nexplorer = {widget}({{}})\n{last}\nexplorer"


class Explorer(anywidget.AnyWidget):
    """A widget whose page offers what its reader sees as a link, as a picture and as Python (`shared.js`).

    `recipe` is the Python that makes it, with {} in the arguments' place. There the page writes what its reader has
    changed, and the traits that are `given`: those that Python has set, at first or later.
    """

    recipe = Unicode().tag(sync=True)
    given = List(Unicode(), read_only=True).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        common = {*anywidget.AnyWidget.class_traits(), "recipe"}
        synced = {name: trait for name, trait in self.traits(sync=True).items() if name not in common}
        own = [name for name, trait in synced.items() if not (trait.read_only or name.startswith("_"))]
        plain = {name: getattr(self, name) for name in own if name not in traits}

        def note(_: Any = None) -> None:
            changed = [name for name in own if name not in plain or getattr(self, name) != plain[name]]
            self.set_trait("given", changed)

        note()
        self.observe(note, own)
