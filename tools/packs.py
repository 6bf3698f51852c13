"""What widgets fetch only once their reader asks: `_build/packs/NAME.js`, which Sphinx puts beside the pages."""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.house import BUILD, ROOT

PACKED = {
    "1_waves": "mobius_lib.runs.waves.network",
    "2_cantor": "mobius_lib.runs.simplex.network",
    "3_simplex": "mobius_lib.runs.simplex.network",
    "4_gauge": "mobius_lib.runs.gauge.squeezed",
    "5_twistor": "mobius_lib.runs.twistor.reader",
}
"""Page to the module whose `explorer()` makes the widget that its pack is of."""


def write_packs(config: dict[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """Write the packs of the pages that this book has; returns the configuration, their folder among its static files.

    They are made from the embedded data, so that nothing lies in the repository twice.
    """
    folder = root / BUILD / "packs"
    shutil.rmtree(folder, ignore_errors=True)
    found = {module for page, module in PACKED.items() if (root / "book" / f"{page}.ipynb").is_file()}
    if found:
        folder.mkdir(parents=True)
        for module in found:
            widget = import_module(module).explorer()  # here: it imports torch
            (folder / f"{widget.pack}.js").write_text(widget.page_script(widget.pack), "utf-8")
        settings = config.setdefault("sphinx", {}).setdefault("config", {})
        settings["html_static_path"] = [*settings.get("html_static_path", []), f"{BUILD}/packs"]
    return config
