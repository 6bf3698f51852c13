"""`make minutes`: write down how long each chapter took in the last build, for its first page.

Only for a quiet machine: what is written into data/chapter-minutes.json is what readers are told.
"""

import json
import os
import sys

from mobius_lib.files import write_json
from mobius_lib.runs import pick_device
from mobius_lib.runs.provenance import describe_device
from tools.build_book import Book
from tools.house import ROOT


def main() -> None:
    """Join the seconds of the last executions to what was written down before, per kind of device.

    Ends the process when a notebook shared the processors with another: its reader has them alone.
    """
    done = Book().record().get("notebooks", {})
    if any(each.get("workers", 1) > 1 for each in done.values()):
        sys.exit("Several chapters were executed at a time: `make clean && make minutes WORKERS=1` times each alone.")
    path = ROOT / "data" / "chapter-minutes.json"
    minutes = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    place = pick_device("auto")
    scale = os.environ.get("MOBIUS_SCALE") or ("full" if place.type == "cuda" else "quick")
    for name, execution in done.items():
        measured = {"minutes": round(execution["seconds"] / 60, 1), "device": describe_device(place), "scale": scale}
        chapter = name.removeprefix("book/").removesuffix(".ipynb")
        minutes.setdefault(chapter, {})[place.type] = measured
        print(f"{chapter}: {measured['minutes']} minutes, {measured['device']}")
    write_json(path, minutes)


if __name__ == "__main__":
    main()
