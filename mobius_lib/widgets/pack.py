"""Files that a widget fetches only once its reader asks, and how they travel: beside a page, or from a kernel."""

import base64
import json
from typing import Any

from mobius_lib.widgets.explorer import Explorer
from mobius_lib.widgets.source import served


class Packed(Explorer):
    """A widget that has files, and a program for workers, which the page fetches when its reader asks for them.

    A page of the book finds them beside it, in the file that `page_script` makes; elsewhere Python sends them.
    """

    engine: tuple[str, ...] = ()
    """The JavaScript files of the workers' program."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._answer)

    def files(self) -> dict[str, bytes]:
        """What the workers read, by name."""
        raise NotImplementedError

    def page_script(self, name: str) -> str:
        """The text of `_static/NAME.js`, in which a page of the book finds the files and the program."""
        files = {key: base64.b64encode(content).decode() for key, content in self.files().items()}
        pack = json.dumps({"engine": served(*self.engine), "files": files})
        return f"(globalThis.mobiusPacks ??= {{}})[{json.dumps(name)}] = {pack};\n"

    def _answer(self, _: Any, content: Any, __: Any) -> None:
        if content == {"ask": "files"}:
            files = self.files()
            self.send({"engine": served(*self.engine), "names": list(files)}, list(files.values()))
