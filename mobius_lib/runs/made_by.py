"""What made a result: fingerprints of code, data and configuration. By them finished work is kept, and taken.

Work is kept under a name of its own for each of them, so that of another code is neither taken nor overwritten, and
whoever goes back to that code finds it.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobius_lib.fingerprint import fingerprint
from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Data, Run

LATER = (("precision", "no"), ("accumulate", 1))
"""Settings that came later, at what was done before there was a choice: the fingerprints of that time still hold."""
log = logging.getLogger(__name__)


def data_of(data: Data) -> str:
    """The fingerprint of the tensors, as they are trained and tested on, and of the files they came from."""
    return fingerprint(data.train, data.test, data.outside, data.hashes, data.augment)


def configuration_of(run: Run, scale: str, settings: Scale, **further: Any) -> str:
    """The fingerprint of what was chosen.

    Args:
        run: at that scale.
        scale: its name.
        settings: of the scale, with what was changed; its note says nothing.
        further: whatever else was chosen: the backend, the kind of device.
    """
    chosen = {name: value for name, value in asdict(settings).items() if (name, value) not in LATER}
    chosen |= {"note": "", "weight_decay": run.weight_decay, "warmup_epochs": run.warmup_epochs}
    return fingerprint(scale, chosen, further)


def kept_name(label: str, made_by: Mapping[str, str], ending: str = "") -> str:
    """The name of a file or folder: what it is of, and twelve digits of what made it."""
    return f"{re.sub(r'[^a-zA-Z0-9_.-]+', '-', label)}.{fingerprint(made_by)[:12]}{ending}"


def tell_of_others(path: Path, made_by: Mapping[str, str], read: Callable[[Path], Any]) -> bool:
    """Says in one line that something else made work of the same label; nothing where work of this is there, too.

    Args:
        path: where that is or will be, by `kept_name`.
        made_by: the fingerprints.
        read: from the path of other work to its fingerprints.
    Returns:
        whether there was any.
    """
    ending = ".json" if path.suffix == ".json" else ""
    label = path.name.removesuffix(ending).rpartition(".")[0]
    pattern = re.compile(re.escape(label) + r"(\.[0-9a-f]{12})?" + re.escape(ending))
    folder = path.parent
    others = [each for each in folder.iterdir() if pattern.fullmatch(each.name)] if folder.is_dir() else []
    if not others or path in others:
        return False
    newest = max(others, key=lambda each: (each.stat().st_mtime, each.name))
    try:
        theirs = dict(read(newest))
        parts = " and ".join(part for part in made_by if theirs.get(part) != made_by[part])
    except Exception:  # of an older version, or damaged: whatever it is, it is not taken
        parts = "or unknown code"
    log.warning("The work of other %s stays in %s and is not taken: %s is made anew.", parts, newest, label)
    return True
