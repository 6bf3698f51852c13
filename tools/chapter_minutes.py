"""`make minutes`: write down how long each chapter took in the last build, for its first page.

Only for a quiet machine: what is written into data/chapter-minutes.json is what readers are told.
"""

import json
import os

from mobius_lib.files import write_json
from mobius_lib.runs import pick_device
from mobius_lib.runs.provenance import describe_device
from tools.build_book import Book
from tools.house import ROOT


def main() -> None:
    """Join the seconds of the last executions to what was written down before, per kind of device."""
    path = ROOT / "data" / "chapter-minutes.json"
    minutes = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    place = pick_device("auto")
    scale = os.environ.get("MOBIUS_SCALE") or ("full" if place.type == "cuda" else "quick")
    for name, done in Book().record().get("notebooks", {}).items():
        measured = {"minutes": round(done["seconds"] / 60, 1), "device": describe_device(place), "scale": scale}
        chapter = name.removeprefix("book/").removesuffix(".ipynb")
        minutes.setdefault(chapter, {})[place.type] = measured
        print(f"{chapter}: {measured['minutes']} minutes, {measured['device']}")
    write_json(path, minutes)


if __name__ == "__main__":
    main()
